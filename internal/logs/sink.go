package logs

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"davy/api/logsapi"
	"davy/internal/execenv"
	"davy/internal/state"
)

// Permissions tells what an execution role may do.
type Permissions interface {
	Allowed(ctx context.Context, roleARN, action, resource string) (bool, error)
}

// SinkConfig is what NewSink needs.
type SinkConfig struct {
	Service     *Service     // required
	Permissions Permissions  // required
	Log         *slog.Logger // nil means discard
	// MaxQueued is how many bytes wait in memory before lines are dropped;
	// 0: 64 MiB.
	MaxQueued int
}

// permissionAge is how long the answer to a role's permission is used again.
const permissionAge = 5 * time.Second

// maxPermissions bounds the answers kept.
const maxPermissions = 10_000

// A pass costs about the same for one line as for hundreds, so it waits for
// more of them: gatherTime after the first, less when gatherBytes are there.
const (
	gatherTime  = 25 * time.Millisecond
	gatherBytes = 1 << 20
)

// Sink stores the lines of functions, off their path: Write queues in memory,
// one goroutine gathers for a moment what is queued and appends it, all
// streams of a group in one write.
// A line is stored if the function's role may write it, as on AWS; otherwise
// it is dropped and Davy's own log says so once in a while.
type Sink struct {
	svc   *Service
	perm  Permissions
	log   *slog.Logger
	limit int

	ctx    context.Context // ends when Close has waited
	cancel context.CancelFunc
	wake   chan struct{} // the queue is no longer empty
	hurry  chan struct{} // no more gathering
	ended  chan struct{}

	mu      sync.Mutex
	queued  map[execenv.LogStream][]state.LogEvent
	bytes   int
	sizes   map[execenv.LogStream]int // of the bytes
	dropped int
	closed  bool
	pass    int           // the last pass begun
	done    int           // the last pass ended
	turn    chan struct{} // closed at the end of each pass

	// Used by the goroutine alone.
	answers map[question]answer
	ready   map[execenv.LogStream]string // streams that exist: the group's id
	warned  map[question]time.Time
}

var _ execenv.LogSink = (*Sink)(nil)

type question struct{ role, action, resource string }

type answer struct {
	allowed bool
	at      time.Time
}

// NewSink starts a sink; Close ends it, not ctx: lines are stored after what
// caused them has ended.
func NewSink(ctx context.Context, cfg SinkConfig) (*Sink, error) {
	if cfg.Service == nil || cfg.Permissions == nil {
		return nil, errors.New("logs: Service and Permissions are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxQueued == 0 {
		cfg.MaxQueued = 64 << 20
	}
	s := &Sink{
		svc: cfg.Service, perm: cfg.Permissions, log: cfg.Log, limit: cfg.MaxQueued,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), ended: make(chan struct{}), turn: make(chan struct{}),
		queued: make(map[execenv.LogStream][]state.LogEvent), sizes: make(map[execenv.LogStream]int),
		answers: make(map[question]answer), ready: make(map[execenv.LogStream]string), warned: make(map[question]time.Time),
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.svc.sink.Store(s)
	go s.work()
	return s, nil
}

// Write queues a line. It never waits for storage.
func (s *Sink) Write(_ context.Context, stream execenv.LogStream, at time.Time, line string) {
	if n := maxBatchBytes - eventOverhead; len(line) > n {
		line = strings.ToValidUTF8(line[:n], "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A stream has as much as it leaves to all others: who writes without end
	// loses lines before anybody else does.
	if s.closed || s.sizes[stream]+len(line) > s.limit-s.bytes {
		s.dropped++
		return
	}
	before := s.bytes
	s.bytes += len(line) + eventOverhead
	s.sizes[stream] += len(line) + eventOverhead
	s.queued[stream] = append(s.queued[stream], state.LogEvent{Stream: stream.Stream, Timestamp: at.UnixMilli(), Message: line})
	if before == 0 {
		signal(s.wake)
	}
	if before < gatherBytes && s.bytes >= gatherBytes {
		signal(s.hurry)
	}
}

// signal makes sure that the channel, which holds one signal, holds it.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Flush waits until what was written so far can be read.
func (s *Sink) Flush(ctx context.Context, stream execenv.LogStream) error {
	s.mu.Lock()
	goal := s.pass
	if len(s.queued[stream]) > 0 {
		goal++ // the next pass takes it
		signal(s.hurry)
	}
	return s.await(ctx, goal)
}

// catchUp waits until everything that was written so far can be read.
func (s *Sink) catchUp(ctx context.Context) error {
	s.mu.Lock()
	goal := s.pass
	if len(s.queued) > 0 {
		goal++
		signal(s.hurry)
	}
	return s.await(ctx, goal)
}

// await waits until a pass has ended. It is called with mu and releases it.
func (s *Sink) await(ctx context.Context, goal int) error {
	for s.done < goal {
		turn := s.turn
		s.mu.Unlock()
		select {
		case <-turn:
		case <-s.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		if s.done < goal && s.closed && len(s.queued) == 0 {
			break
		}
	}
	s.mu.Unlock()
	return nil
}

// Close stores what is queued and ends the sink. Idempotent.
func (s *Sink) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		signal(s.hurry)
		close(s.wake)
	}
	<-s.ended
	s.cancel()
	return nil
}

func (s *Sink) work() {
	defer close(s.ended)
	for open := true; open; {
		if _, open = <-s.wake; open {
			s.gather()
		}
		s.mu.Lock()
		taken, dropped := s.queued, s.dropped
		s.queued, s.sizes, s.bytes, s.dropped = make(map[execenv.LogStream][]state.LogEvent), make(map[execenv.LogStream]int), 0, 0
		s.pass++
		s.mu.Unlock()
		if dropped > 0 {
			s.log.WarnContext(s.ctx, "log lines were dropped: storage is too slow", "lines", dropped)
		}
		s.store(taken)
		s.mu.Lock()
		s.done = s.pass
		close(s.turn)
		s.turn = make(chan struct{})
		s.mu.Unlock()
	}
}

// gather waits for more lines.
func (s *Sink) gather() {
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.hurry:
	}
}

// store appends one pass's lines, all groups beside one another: the store
// makes one transaction of them.
func (s *Sink) store(taken map[execenv.LogStream][]state.LogEvent) {
	groups := make(map[string][]state.LogEvent)
	seen := make(groupsSeen)
	for stream, events := range taken {
		id, err := s.open(stream, seen)
		if err != nil {
			s.log.ErrorContext(s.ctx, "log lines were lost", "group", stream.Group, "stream", stream.Stream, "lines", len(events), "error", err)
			continue
		}
		if id != "" {
			groups[id] = append(groups[id], events...)
		}
	}
	var writes sync.WaitGroup
	for id, events := range groups {
		writes.Go(func() {
			if err := s.svc.append(s.ctx, id, events); err != nil {
				s.log.ErrorContext(s.ctx, "log lines were lost", "lines", len(events), "error", err)
			}
		})
	}
	writes.Wait()
}

// groupsSeen are the ids of the groups that one pass has seen to exist: its
// streams are mostly of a few groups, and a pass is as good as a moment.
type groupsSeen map[groupKey]string

type groupKey struct {
	place
	name string
}

// open makes sure that the role may write to the stream and that it exists.
// The id is empty when it may not.
func (s *Sink) open(st execenv.LogStream, seen groupsSeen) (id string, err error) {
	at := place{st.Account, st.Region}
	streamARN := at.arn(st.Group) + ":log-stream:" + st.Stream
	if ok, err := s.may(st.RoleARN, "logs:PutLogEvents", streamARN); !ok {
		return "", err
	}
	key := groupKey{at, st.Group}
	if id, ok := s.ready[st]; ok {
		if seen[key] == "" {
			if g, err := s.svc.groupAt(s.ctx, at, st.Group); err == nil {
				seen[key] = g.ID
			}
		}
		if seen[key] == id {
			return id, nil
		}
		delete(s.ready, st)
	}
	g, err := s.svc.groupAt(s.ctx, at, st.Group)
	if isNotFound(err) {
		if ok, err := s.may(st.RoleARN, "logs:CreateLogGroup", at.arn(st.Group)+":log-stream:"); !ok {
			return "", err
		}
		err = s.svc.putGroup(s.ctx, &group{ID: newID(), Name: st.Group, Created: s.svc.cfg.Now().UnixMilli(), place: at}, state.Absent)
		if err != nil && !errors.Is(err, state.ErrConflict) {
			return "", err
		}
		g, err = s.svc.groupAt(s.ctx, at, st.Group)
	}
	if err != nil {
		return "", err
	}
	if err := s.svc.stream(s.ctx, g, st.Stream); isNotFound(err) {
		if ok, err := s.may(st.RoleARN, "logs:CreateLogStream", streamARN); !ok {
			return "", err
		}
		if err := s.svc.createStream(s.ctx, g, st.Stream); err != nil && !isExists(err) {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	if len(s.ready) >= maxPermissions {
		clear(s.ready)
	}
	s.ready[st] = g.ID
	return g.ID, nil
}

// may asks for a permission, or remembers the answer for a moment.
func (s *Sink) may(role, action, resource string) (bool, error) {
	q := question{role, action, resource}
	now := s.svc.cfg.Now()
	if a, ok := s.answers[q]; ok && now.Sub(a.at) < permissionAge {
		return a.allowed, nil
	}
	allowed, err := s.perm.Allowed(s.ctx, role, action, resource)
	if err != nil {
		return false, err
	}
	if len(s.answers) >= maxPermissions {
		clear(s.answers)
	}
	s.answers[q] = answer{allowed, now}
	if !allowed {
		q.resource = ""
		if now.Sub(s.warned[q]) > time.Minute {
			if len(s.warned) >= maxPermissions {
				clear(s.warned)
			}
			s.warned[q] = now
			s.log.WarnContext(s.ctx, "log lines are dropped: the execution role may not write them", "role", role, "action", action, "resource", resource)
		}
	}
	return allowed, nil
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*logsapi.ResourceNotFoundException](err)
	return ok
}

func isExists(err error) bool {
	_, ok := errors.AsType[*logsapi.ResourceAlreadyExistsException](err)
	return ok
}
