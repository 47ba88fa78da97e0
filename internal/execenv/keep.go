package execenv

import (
	"context"
	"fmt"
	"time"
)

// keep is an environment's life after its init phase: what is to be done
// between invocations, and in those that serveHere leaves to it.
func (e *environment) keep() {
	var resting <-chan struct{} // to be frozen then
	served := 0                 // invocations, then
	var dead *process           // whose end was seen
	for {
		var ended <-chan struct{}
		if p := e.current.Load(); p != nil && p != dead {
			ended = p.ended()
		}
		select {
		case j := <-e.jobs:
			if !e.work(j) {
				return
			}
		case <-e.chill.C:
			if p := e.current.Load(); p != nil && e.use.TryLock() {
				resting, served = e.resting(p), e.served
				e.use.Unlock()
			}
		case <-resting:
			resting = nil
			if e.use.TryLock() { // or it is not idle
				if e.served == served && len(e.jobs) == 0 {
					e.freeze()
				}
				e.use.Unlock()
			}
		case <-e.idle.C:
			if e.provisioned {
				e.fleet.rotate(e)
			} else if e.fleet.withdraw(e) {
				return
			}
		case <-ended:
			dead = e.current.Load()
			if e.bury(dead) {
				return
			}
		case <-e.quit:
			return
		}
	}
}

// work runs an invocation in the environment's own goroutine. It reports
// whether the environment lives on.
func (e *environment) work(j job) bool {
	e.use.Lock()
	defer e.use.Unlock()
	e.busy.Store(true)
	lives := e.serve(j)
	e.busy.Store(false)
	e.rewind()() // keep looks at the timers after this
	return lives
}

// bury ends an environment whose process has ended while it was idle. Was it
// taken, it reports false: the invocation finds out and starts another process.
func (e *environment) bury(p *process) bool {
	e.use.Lock() // after an invocation that was answered
	defer e.use.Unlock()
	if !e.fleet.withdraw(e) {
		return false
	}
	e.lastWords(p)
	e.shutdown(reasonFailure)
	return true
}

// rewind ends an invocation. The time that the environment is idle begins with
// what it returns, which is for calling when e.use is free: a timer that fires
// before finds the environment in use, and nothing would be done about it.
func (e *environment) rewind() (begin func()) {
	e.served++
	rest, pause := e.rest(), e.pause
	return func() {
		if !e.provisioned {
			e.idle.Reset(rest)
		}
		e.chill.Reset(pause)
	}
}

// halt ends a process because Davy closes. One that has extensions goes on
// until they have been told.
func (e *environment) halt(p *process) {
	_, internal := p.api.extensions.count()
	switch {
	case (p.crew != nil || internal > 0) && !e.busy.Load():
	case p.crew != nil:
		p.crew.halt(ErrClosed)
	default:
		p.sb.Kill()
	}
}

// lastWords records what a runtime that died between invocations had to say.
func (e *environment) lastWords(p *process) {
	deadline := time.Now().Add(e.es.patience.words) // it has ended: nothing is waited for
	for {
		f, err := p.ch.recv(deadline)
		switch {
		case err != nil:
			p.drainOutput()
			return
		case f.kind == frameLog:
			e.rec.line(string(f.body))
		case f.kind == frameOutput:
			e.rec.output(f.body)
		}
	}
}

func (e *environment) freeze() {
	p := e.current.Load()
	if p == nil || e.frozen || e.es.cfg.NoFreeze {
		return
	}
	p.telemetry.freeze()
	// Whatever becomes of Davy: what is frozen must be known to be.
	if err := p.sb.Freeze(context.WithoutCancel(e.es.ctx)); err != nil {
		p.telemetry.thaw()
		e.es.log.Debug("environment does not freeze", "env", e.id, "error", err)
		return
	}
	e.frozen, e.frozenAt = true, time.Now()
}

// thaw wakes a frozen environment. One that is needed soon after it was frozen
// stays awake twice as long the next time, within bounds: to freeze and to wake
// it costs more than a short invocation.
func (e *environment) thaw() error {
	p := e.current.Load()
	if p == nil || !e.frozen {
		return nil
	}
	if err := p.sb.Thaw(e.es.ctx); err != nil {
		return fmt.Errorf("thaw environment: %w", err)
	}
	e.frozen = false
	if after := e.es.cfg.FreezeAfter; time.Since(e.frozenAt) < 10*e.pause {
		e.pause = min(2*e.pause, 16*after)
	} else {
		e.pause = after
	}
	p.telemetry.thaw()
	return nil
}
