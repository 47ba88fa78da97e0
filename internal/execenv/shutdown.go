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

// patience is how long is waited for what others do. Tests have more of it, as
// the machine that they run on may be slow.
type patience struct {
	// Of a shutdown. Without extensions it takes no time: the runtime is killed.
	// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown
	external time.Duration // with external extensions
	runtime  time.Duration // of it, the runtime's part
	internal time.Duration // the runtime's with an internal extension

	killed time.Duration // for the end of what is killed
	words  time.Duration // for what a runtime that has ended said
	oom    time.Duration // for the end of a sandbox after that of a process that its memory limit killed
	retry  time.Duration // first wait before what could not be kept ready is tried again
}

func usualPatience() patience {
	return patience{
		external: 2 * time.Second, runtime: 300 * time.Millisecond, internal: 500 * time.Millisecond,
		killed: time.Second, words: 50 * time.Millisecond, oom: time.Second, retry: time.Second,
	}
}

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
	wait := e.es.patience.runtime
	if internal {
		wait = e.es.patience.internal
	}
	if p.crew == nil {
		if p.terminate(began.Add(wait)) {
			p.sb.Kill()
			<-p.sb.Done()
			e.lastWords(p)
		}
		return
	}
	c := p.crew
	c.stopping.Store(true)
	c.signal(starter.Runtime, syscall.SIGTERM)
	if !c.awaitGone(starter.Runtime, began.Add(wait)) {
		c.signal(starter.Runtime, syscall.SIGKILL)
		c.awaitGone(starter.Runtime, time.Now().Add(e.es.patience.killed))
	}
	if _, frames := p.ch.(*watched); frames {
		e.lastWords(p)
	}
	deadline := began.Add(e.es.patience.external)
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
