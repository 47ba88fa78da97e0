// Package logs is CloudWatch Logs: groups and streams as documents, their
// events in state.Logs, and the sink that takes the lines of functions.
//
// What PutLogEvents acknowledged is durable. What a function prints is queued
// in memory first, so that an invocation never waits for storage: those lines
// are durable moments later, and a kill loses at most what was queued. Who
// reads a group, or deletes it, sees every line that was queued before.
//
// Documents (neither an account nor a region contains a slash; a group's name
// may, and is the rest of its key):
//
//	logs/group/ACCOUNT/REGION/NAME    a group; its id keys its events
//	logs/stream/ID/NAME               a stream of the group with that id
package logs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"davy/api/logsapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// Config of a Service.
type Config struct {
	State state.Store      // required
	Logs  state.Logs       // required
	Now   func() time.Time // nil means the wall clock
	Log   *slog.Logger     // nil means discard
}

// Service implements logsapi.API. Safe for concurrent use.
type Service struct {
	logsapi.Unimplemented
	cfg Config

	sink atomic.Pointer[Sink] // whose lines readers wait for; nil: none

	mu    sync.Mutex
	spans map[string]span // by group id and stream: when its events happened
}

var _ logsapi.API = (*Service)(nil)

// New returns a Service. Run keeps retention.
func New(cfg Config) (*Service, error) {
	if cfg.State == nil || cfg.Logs == nil {
		return nil, errors.New("logs: State and Logs are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg, spans: make(map[string]span)}, nil
}

// group is the document of a log group.
type group struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Created   int64             `json:"created"` // ms
	Retention int32             `json:"retention,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`

	place place
	rev   int64
}

// stream is the document of a log stream.
type stream struct {
	Name    string `json:"name"`
	Created int64  `json:"created"` // ms
}

// place is where groups live.
type place struct{ account, region string }

func placeOf(ctx context.Context) place {
	call := awsapi.CallFrom(ctx)
	return place{call.Account, call.Region}
}

func (p place) arn(name string) string {
	return arn.New("logs", p.region, p.account, "log-group:"+name).String()
}

const groupRoot, streamRoot = "logs/group/", "logs/stream/"

func (p place) prefix() string {
	return groupRoot + p.account + "/" + p.region + "/"
}

func (p place) key(name string) string { return p.prefix() + name }

func (g *group) streams() string { return streamRoot + g.ID + "/" }

// cutoff is the time, in ms, before which events have expired; 0: none have.
func (g *group) cutoff(now time.Time) int64 {
	if g.Retention == 0 {
		return 0
	}
	return now.AddDate(0, 0, -int(g.Retention)).UnixMilli()
}

func notFound(what string) error {
	return &logsapi.ResourceNotFoundException{Message: new("The specified log " + what + " does not exist.")}
}

func exists(what string) error {
	return &logsapi.ResourceAlreadyExistsException{Message: new("The specified log " + what + " already exists")}
}

func invalid(format string, args ...any) error {
	return &logsapi.InvalidParameterException{Message: new(fmt.Sprintf(format, args...))}
}

// unsupported refuses a setting that would have no effect here.
func unsupported(setting string) error {
	return invalid("%s is not supported.", setting)
}

// group finds a group by name or by identifier (a name or an ARN).
func (s *Service) group(ctx context.Context, name, identifier *string) (*group, error) {
	at := placeOf(ctx)
	switch {
	case name != nil && identifier != nil:
		return nil, invalid("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
	case name == nil && identifier == nil:
		return nil, invalid("LogGroup name or LogGroup ARN must be specified.")
	case name == nil:
		n, err := groupName(*identifier, at)
		if err != nil {
			return nil, err
		}
		name = &n
	}
	return s.groupAt(ctx, at, *name)
}

// catchUp waits until the lines queued so far are stored.
func (s *Service) catchUp(ctx context.Context) error {
	if sink := s.sink.Load(); sink != nil {
		return sink.catchUp(ctx)
	}
	return nil
}

// groupName is the name in a group's identifier.
func groupName(identifier string, at place) (string, error) {
	if !strings.HasPrefix(identifier, "arn:") {
		return identifier, nil
	}
	a, err := arn.Parse(identifier)
	name, ok := strings.CutPrefix(a.Resource, "log-group:")
	if err != nil || !ok || a.Service != "logs" {
		return "", invalid("Invalid log group ARN: %s", identifier)
	}
	if a.Account != at.account || a.Region != at.region {
		return "", notFound("group")
	}
	return strings.TrimSuffix(name, ":*"), nil
}

func (s *Service) groupAt(ctx context.Context, at place, name string) (*group, error) {
	d, err := s.cfg.State.Get(ctx, at.key(name))
	if errors.Is(err, state.ErrNotFound) {
		return nil, notFound("group")
	}
	if err != nil {
		return nil, fmt.Errorf("get log group %q: %w", name, err)
	}
	return readGroup(d, at)
}

func readGroup(d state.Doc, at place) (*group, error) {
	g := group{place: at, rev: d.Rev}
	if err := json.Unmarshal(d.Value, &g); err != nil {
		return nil, fmt.Errorf("read log group %s: %w", d.Key, err)
	}
	return &g, nil
}

func (s *Service) putGroup(ctx context.Context, g *group, ifRev int64) error {
	text, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("write log group %q: %w", g.Name, err)
	}
	_, err = s.cfg.State.Commit(ctx, state.Batch{Ops: []state.Op{{Key: g.place.key(g.Name), Value: text, IfRev: ifRev}}})
	return err
}

func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// update changes a group, again when another change came in between.
func (s *Service) update(ctx context.Context, name string, change func(*group) error) error {
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	for {
		g, err := s.group(ctx, &name, nil)
		if err != nil {
			return err
		}
		if err := change(g); err != nil {
			return err
		}
		err = s.putGroup(ctx, g, g.rev)
		if errors.Is(err, state.ErrConflict) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("update log group %q: %w", name, err)
		}
		return nil
	}
}
