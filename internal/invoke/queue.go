package invoke

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"davy/internal/arn"
	"davy/internal/execenv"
	"davy/internal/state"
)

const (
	// visibility is how long a claimed event stays hidden without a sign of
	// life: what a crash delays the events that were running.
	visibility = 15 * time.Second
	// beats is how often within that time a running event is hidden anew. A
	// store that stalls for longer may cause a second delivery, which this
	// process recognises.
	beats = 3
	// pause is the wait before trying again what failed in the store.
	pause = time.Second
	// share is the most events claimed from one function's queue at once, so
	// that a long queue doesn't keep others waiting.
	share = 128
	// queuesAtOnce is how many queues with events are looked at in one go.
	queuesAtOnce = 1024
	// claimers is how many queues are claimed from at the same time: their
	// writes share syncs.
	claimers = 16
)

// queue delivers events. It sleeps until the store or a running event has
// news: it never polls.
type queue struct {
	cfg   Config
	limit *limiter
	done  chan struct{} // receives when what could not start before may start now
	hide  time.Duration // visibility, but for tests that cannot wait for it

	mu      sync.Mutex
	free    int            // workers
	hungry  bool           // events wait for a worker
	running map[int64]*job // by message
	jobs    sync.WaitGroup
}

// job is an event that runs.
type job struct {
	delivery state.Delivery
	seat

	mu      sync.Mutex
	receipt string // of the latest delivery of this message
}

// seat is a place for one event, and the version that it is a place of: each
// event to an alias with two versions gets either.
type seat struct {
	place place
	fn    *execenv.Function
	set   Settings
}

func newQueue(cfg Config, limit *limiter) *queue {
	return &queue{cfg: cfg, limit: limit, done: make(chan struct{}, 1), hide: visibility, free: cfg.Workers, running: map[int64]*job{}}
}

// run delivers until ctx ends and then drains.
func (q *queue) run(ctx context.Context) error {
	alive, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	wake := q.cfg.State.Wake()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		next, failed, err := q.scan(ctx, alive)
		if err != nil && ctx.Err() == nil {
			q.cfg.Log.ErrorContext(ctx, "read event queues", "error", err)
		}
		timer.Stop()
		if failed || err != nil {
			// Nothing else ends the wait: the places that were taken in vain
			// are free again, and say so.
			timer.Reset(pause)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			continue
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-q.done:
		case <-q.limit.freed:
		case <-timer.C:
		}
	}
	drained := make(chan struct{})
	go func() {
		q.jobs.Wait()
		close(drained)
	}()
	timer.Reset(q.cfg.Grace)
	select {
	case <-drained:
	case <-timer.C:
		kill()
		<-drained
	}
	return nil
}

// scan starts what can run now. It returns when the next event becomes due on
// its own, zero if none does, and whether something failed that is to be tried
// again after a pause.
func (q *queue) scan(ctx, alive context.Context) (next time.Time, failed bool, err error) {
	for limit := queuesAtOnce; q.idle(); {
		queues, next, err := q.cfg.State.Ready(ctx, queueRoot, limit)
		if err != nil || len(queues) == 0 {
			return next, false, err
		}
		got, failed := q.claimAll(ctx, alive, queues)
		switch {
		case got > 0:
		case len(queues) == limit && !failed: // those that cannot run must not hide others
			limit *= 2
		default:
			return next, failed, nil
		}
	}
	return time.Time{}, false, nil // a worker that becomes free goes on
}

// idle reports whether a worker is free; if not, done receives when one is.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.hungry = q.free == 0
	return !q.hungry
}

// claimAll takes a fair share from each queue. failed tells that something
// should be tried again after a pause.
func (q *queue) claimAll(ctx, alive context.Context, queues []string) (got int, failed bool) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, claimers)
	for i, name := range queues {
		n := q.reserve(max(1, min(share, q.cfg.Workers/(len(queues)-i))))
		if n == 0 {
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			claimed, started, err := q.claim(ctx, alive, name, n)
			q.giveBack(n - started)
			mu.Lock()
			defer mu.Unlock()
			got += claimed
			if err != nil && ctx.Err() == nil {
				failed = true
				q.cfg.Log.Log(ctx, faultLevel(err), "claim events", "queue", name, "error", err)
			}
		})
	}
	wg.Wait()
	return got, failed
}

// faultLevel: of a full disk the store tells, once.
func faultLevel(err error) slog.Level {
	if errors.Is(err, state.ErrFull) {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// reserve takes up to n workers; none are left when it returns 0.
func (q *queue) reserve(n int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, q.free)
	q.free -= n
	q.hungry = n == 0
	return n
}

func (q *queue) giveBack(n int) {
	if n == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free += n
	if q.hungry {
		q.hungry = false
		select {
		case q.done <- struct{}{}:
		default:
		}
	}
}

// claim takes up to n events of a queue and starts them. claimed counts
// those that are out of the queue or known to run, started those that hold a
// worker.
func (q *queue) claim(ctx, alive context.Context, name string, n int) (claimed, started int, err error) {
	functionARN := strings.TrimPrefix(name, queueRoot)
	a, err := arn.Parse(functionARN)
	if err != nil {
		claimed, err = q.dropAll(ctx, name, n, "malformed queue name")
		return claimed, 0, err
	}
	var seats []seat
	for len(seats) < n {
		fn, set, err := q.cfg.Functions.Resolve(ctx, a.Account, a.Region, functionARN, "")
		switch {
		case len(seats) > 0 && (err != nil || set.Reserved == 0): // since a moment ago: it is seen when the next are claimed
			n = len(seats)
			continue
		case isMissing(err):
			claimed, err = q.dropAll(ctx, name, n, "function does not exist")
			return claimed, 0, err
		case err != nil:
			return 0, 0, err
		case set.Reserved == 0:
			// AWS discards events without a retry while a function is switched off.
			claimed, err = q.dropAll(ctx, name, n, "reserved concurrency is zero")
			return claimed, 0, err
		}
		p, ok := q.limit.acquireOrWait(fn, set)
		if !ok {
			break
		}
		seats = append(seats, seat{p, fn, set})
	}
	if len(seats) == 0 {
		return 0, 0, nil
	}
	deliveries, err := q.cfg.State.Receive(ctx, name, len(seats), q.hide)
	for i, s := range seats {
		if i < len(deliveries) && q.start(alive, &job{delivery: deliveries[i], seat: s, receipt: deliveries[i].Receipt}) {
			started++
			continue
		}
		q.limit.release(s.place)
	}
	return len(deliveries), started, err
}

// start runs a job unless its message already runs here: then only the receipt
// is taken over, since a delivery makes the one before void.
func (q *queue) start(alive context.Context, j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if old := q.running[j.delivery.ID]; old != nil {
		old.mu.Lock()
		old.receipt = j.receipt
		old.mu.Unlock()
		return false
	}
	q.running[j.delivery.ID] = j
	q.jobs.Go(func() {
		defer q.finish(j)
		q.work(alive, j)
	})
	return true
}

func (q *queue) finish(j *job) {
	q.mu.Lock()
	delete(q.running, j.delivery.ID)
	q.mu.Unlock()
	q.limit.release(j.place)
	q.giveBack(1)
}

// dropAll discards the events of a function that will never run.
func (q *queue) dropAll(ctx context.Context, name string, n int, reason string) (int, error) {
	deliveries, err := q.cfg.State.Receive(ctx, name, n, q.hide)
	if err != nil || len(deliveries) == 0 {
		return 0, err
	}
	b := state.Batch{}
	for _, d := range deliveries {
		b.Settle = append(b.Settle, state.Settle{Receipt: d.Receipt, Delete: true})
	}
	if _, err := q.cfg.State.Commit(ctx, b); err != nil {
		return 0, err
	}
	for _, d := range deliveries {
		r, err := decodeRecord(d.Body)
		if err != nil {
			r = &record{Invoked: strings.TrimPrefix(name, queueRoot)}
		}
		q.logDrop(ctx, r, d.Attempts-1, reason)
	}
	return len(deliveries), nil
}

func (q *queue) logDrop(ctx context.Context, r *record, attempts int, reason string) {
	q.cfg.Log.WarnContext(ctx, "event dropped", "reason", reason, "function", r.Invoked, "request_id", r.RequestID, "attempts", attempts)
}

// result is how an attempt ended.
type result struct {
	out execenv.Outcome
	err error
}

// work runs one delivery to its settlement.
func (q *queue) work(ctx context.Context, j *job) {
	d := j.delivery
	r, err := decodeRecord(d.Body)
	if err != nil {
		r = &record{Invoked: strings.TrimPrefix(d.Queue, queueRoot)}
		q.drop(ctx, j, r, d.Attempts-1, "malformed event")
		return
	}
	fn, set := j.fn, j.set
	if r.Invoked != strings.TrimPrefix(d.Queue, queueRoot) { // queues were once named by the function alone
		fn, set, err = q.cfg.Functions.Resolve(ctx, j.place.scope.account, j.place.scope.region, r.Invoked, "")
	}
	if isMissing(err) {
		q.drop(ctx, j, r, d.Attempts-1, "function does not exist")
		return
	}
	if err != nil {
		q.again(ctx, j, r, set, err)
		return
	}
	if time.Now().After(expiry(r, set)) {
		q.drop(ctx, j, r, d.Attempts-1, "maximum event age exceeded")
		return
	}
	ended := make(chan result, 1)
	go func() {
		out, err := q.cfg.Environments.Invoke(ctx, *fn, execenv.Invocation{
			RequestID:  r.RequestID,
			InvokedARN: r.Invoked,
			TraceID:    r.Trace,
			Payload:    r.payload,
		})
		ended <- result{out, err}
	}()
	beat := time.NewTicker(q.hide / beats)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			// Told to stop, and waiting any longer is in vain. The invocation
			// itself ends when the environments are closed.
			q.again(ctx, j, r, set, ctx.Err())
			return
		case <-beat.C:
			q.settle(ctx, j, state.Settle{VisibleAt: time.Now().Add(q.hide)})
		case res := <-ended:
			switch {
			case res.err != nil:
				q.again(ctx, j, r, set, res.err)
			case res.out.FunctionError != "":
				q.failed(ctx, j, r, set)
			default:
				q.settle(ctx, j, state.Settle{Delete: true})
			}
			return
		}
	}
}

// expiry is when an event is too old to be run.
func expiry(r *record, set Settings) time.Time {
	return time.UnixMilli(r.Accepted).Add(set.MaxEventAge)
}

// again puts an event back that Davy could not run.
func (q *queue) again(ctx context.Context, j *job, r *record, set Settings, cause error) {
	if ctx.Err() != nil { // stopping: whoever runs next shall not wait
		q.settle(ctx, j, state.Settle{VisibleAt: time.Now()})
		return
	}
	delay := backoff(j.delivery.Attempts - r.Errors)
	at := time.Now().Add(delay)
	if set.MaxEventAge > 0 && at.After(expiry(r, set)) {
		q.drop(ctx, j, r, j.delivery.Attempts, "maximum event age exceeded")
		return
	}
	q.cfg.Log.WarnContext(ctx, "event not run", "function", r.Invoked, "request_id", r.RequestID, "retry_in", delay, "error", cause)
	q.settle(ctx, j, state.Settle{VisibleAt: at})
}

// backoff is the wait after the nth attempt that Davy could not make: from one
// second, doubling, up to five minutes.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
func backoff(n int) time.Duration {
	const most = 5 * time.Minute
	if n < 1 {
		return time.Second
	}
	return min(most, time.Second<<min(n-1, 16))
}

// failed puts an event back that its function failed on: after one minute, then
// after two.
func (q *queue) failed(ctx context.Context, j *job, r *record, set Settings) {
	r.Errors++
	if r.Errors > set.MaxRetries {
		q.drop(ctx, j, r, j.delivery.Attempts, "retries exhausted")
		return
	}
	at := time.Now().Add(time.Duration(r.Errors) * time.Minute)
	if at.After(expiry(r, set)) {
		q.drop(ctx, j, r, j.delivery.Attempts, "maximum event age exceeded")
		return
	}
	body, err := r.encode()
	if err != nil {
		q.again(ctx, j, r, set, err)
		return
	}
	q.settle(ctx, j, state.Settle{VisibleAt: at, Body: body})
}

// drop discards an event for good.
func (q *queue) drop(ctx context.Context, j *job, r *record, attempts int, reason string) {
	if q.settle(ctx, j, state.Settle{Delete: true}) {
		q.logDrop(ctx, r, attempts, reason)
	}
}

// settle writes how a delivery ends or goes on. What cannot be written is
// delivered again when its visibility ends.
func (q *queue) settle(ctx context.Context, j *job, s state.Settle) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), visibility)
	defer cancel()
	for range 2 {
		j.mu.Lock()
		s.Receipt = j.receipt
		j.mu.Unlock()
		_, err := q.cfg.State.Commit(ctx, state.Batch{Settle: []state.Settle{s}})
		if err == nil {
			return true
		}
		if errors.Is(err, state.ErrReceipt) {
			continue // a newer delivery may have brought a newer receipt
		}
		q.cfg.Log.LogAttrs(ctx, faultLevel(err), "settle event", slog.String("queue", j.delivery.Queue), slog.Any("error", err))
		return false
	}
	return false
}
