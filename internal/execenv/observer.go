package execenv

import "time"

// InitPath tells where the environment of an invocation came from.
type InitPath string

// Ways to an environment.
const (
	PathWarm  InitPath = "warm"  // it ran already
	PathPool  InitPath = "pool"  // a booted runtime was assigned
	PathFresh InitPath = "fresh" // a runtime was booted for it
)

// Observer hears what environments do, for metrics. Its methods return at once
// and are safe for concurrent use.
type Observer interface {
	// Initialized: an environment's init phase ended.
	Initialized(f Function, path InitPath, took time.Duration, ok bool)
	// PoolAsked: a cold start that fits the pool found a runtime there, or not.
	PoolAsked(f Function, hit bool)
	// Invoked: an invocation ended. The error is that of Environments.Invoke.
	Invoked(f Function, out Outcome, err error)
}

// deaf is the Observer of who has none.
type deaf struct{}

func (deaf) Initialized(Function, InitPath, time.Duration, bool) {}
func (deaf) PoolAsked(Function, bool)                            {}
func (deaf) Invoked(Function, Outcome, error)                    {}

// Count is how many environments there are in each state, and what the pool
// holds.
type Count struct {
	Starting, Idle, Busy int
	Wanted, Ready        int // provisioned concurrency
	Pooled               int
	Booting              int   // on their way into the pool
	PoolBytes            int64 // an estimate
}

// Count counts environments.
func (es *Environments) Count() Count {
	var c Count
	es.mu.Lock()
	for _, fl := range es.fleets {
		c.Starting += fl.starting + fl.keep.have - fl.keep.ready
		c.Idle += len(fl.idle) + len(fl.keep.idle)
		c.Wanted += fl.keep.want
		c.Ready += fl.keep.ready
	}
	c.Busy = max(0, len(es.all)-c.Starting-c.Idle)
	es.mu.Unlock()
	c.Pooled, c.Booting, c.PoolBytes = es.pool.size()
	return c
}

// ExpectFunction prepares for cold starts of a function: its code is unpacked,
// and a runtime that fits it boots. It returns at once.
func (es *Environments) ExpectFunction(f Function) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if es.pool == nil || es.closed() {
		return
	}
	es.wg.Go(func() { // before Close waits
		l, err := es.cfg.Runtimes.Launch(es.ctx, f.Runtime)
		if err != nil {
			return // an error is told by its cold starts
		}
		dir, release, err := es.cfg.Code.Code(es.ctx, f.CodeSHA256)
		if err != nil {
			return
		}
		defer release()
		if k, fits := es.kindOf(f, l, dir); fits {
			es.pool.expect(k)
		}
	})
}

// Expect prepares for cold starts of functions of a runtime with this memory.
// It returns at once.
func (es *Environments) Expect(runtime string, memoryMB int) {
	if es.closed() {
		return
	}
	l, err := es.cfg.Runtimes.Launch(es.ctx, runtime)
	if err != nil || l.Runtime.Custom() {
		return // an error is told by its cold starts
	}
	k := plainKind(l, memoryMB)
	es.pool.expect(k)
	if k.sdk = hasPreload(l); k.sdk {
		es.pool.expect(k)
	}
}
