package execenv

import (
	"context"
	"sync"
	"syscall"
	"time"

	"davy/internal/sandbox/starter"
)

// Reasons of a shutdown, as extensions are told.
const (
	reasonSpindown = "spindown"
	reasonTimeout  = "timeout"
	reasonFailure  = "failure"
)

// How long a shutdown may take. Without extensions it takes no time: the
// runtime is killed.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown
const (
	shutdownExternal = 2 * time.Second        // with external extensions
	shutdownRuntime  = 300 * time.Millisecond // of it, the runtime's part
	shutdownInternal = 500 * time.Millisecond // the runtime's with an internal extension
	killWait         = time.Second            // for the end of what is killed
)

// shutdown ends the environment's process: in order when it has extensions,
// else at once.
func (e *environment) shutdown(reason string) {
	p := e.current.Swap(nil)
	if p == nil {
		return
	}
	_, internal := p.api.extensions.count()
	if (p.crew != nil || internal > 0) && !isClosed(p.sb.Done()) {
		if e.frozen {
			// Davy may be closing already.
			if err := p.sb.Thaw(context.WithoutCancel(e.es.ctx)); err != nil {
				e.es.log.Debug("environment does not thaw", "env", e.id, "error", err)
			}
			p.telemetry.thaw()
		}
		e.farewell(p, reason, internal > 0)
		p.drainOutput()
	}
	e.endKeepingTmp(p)
	e.frozen = false
}

// farewell tells the runtime, then the extensions, that the end has come, and
// waits for theirs.
func (e *environment) farewell(p *process, reason string, internal bool) {
	began := time.Now()
	patience := shutdownRuntime
	if internal {
		patience = shutdownInternal
	}
	if p.crew == nil {
		if p.terminate(began.Add(patience)) {
			p.sb.Kill()
			<-p.sb.Done()
			e.lastWords(p)
		}
		return
	}
	c := p.crew
	c.stopping.Store(true)
	c.signal(starter.Runtime, syscall.SIGTERM)
	if !c.awaitGone(starter.Runtime, began.Add(patience)) {
		c.signal(starter.Runtime, syscall.SIGKILL)
		c.awaitGone(starter.Runtime, time.Now().Add(killWait))
	}
	if _, frames := p.ch.(*watched); frames {
		e.lastWords(p)
	}
	deadline := began.Add(shutdownExternal)
	event := eventJSON(shutdownEvent{EventType: eventShutdown, DeadlineMs: deadline.UnixMilli(), ShutdownReason: reason})
	for _, n := range p.api.extensions.shutdown(event) {
		c.signal(n, syscall.SIGKILL)
	}
	p.telemetry.hurry()
	var wg sync.WaitGroup
	for i := range c.paths {
		wg.Go(func() { c.awaitGone(1+i, deadline) })
	}
	wg.Wait()
}

// frameTerminate tells a managed runtime to send itself SIGTERM.
const frameTerminate frameType = 4

// terminate lets the signal handlers of a runtime run that has no starter
// beside it: a managed one raises the signal itself, which it reports. Others
// are not told.
func (p *process) terminate(deadline time.Time) bool {
	ch, ok := p.ch.(*channel)
	if !ok || ch.send(frameTerminate, struct{}{}, nil, deadline) != nil {
		return false
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-p.sb.Done():
	case <-timer.C:
	}
	return true
}
