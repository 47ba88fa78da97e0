package execenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// announce tells the extensions of an invocation, as the runtime is told.
func (e *environment) announce(p *process, inv Invocation, deadline time.Time) {
	if !p.extended {
		return
	}
	p.telemetry.emit(time.Now(), "platform.start", startRecord{inv.RequestID, e.fn.ARN, e.fn.Version, traceOf(inv.TraceID, inv.RequestID)})
	p.api.extensions.invoke(eventJSON(invokeEvent{
		EventType: eventInvoke, DeadlineMs: deadline.UnixMilli(), RequestID: inv.RequestID,
		InvokedFunctionARN: inv.InvokedARN, Tracing: tracing{traceHeader, inv.TraceID},
	}))
}

// extensionVerdict is the verdict on an invocation that got no answer where
// there are extensions: they take part in the shutdown, so nothing is killed
// yet. It reports false when the runtime is the one to be looked at.
func (e *environment) extensionVerdict(p *process, inv Invocation, err error) (verdict, bool) {
	if !p.extended {
		return verdict{}, false
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.measure(p)
		return verdict{
			payload: timeoutPayload(inv.RequestID, e.fn.Timeout).json(), failed: true,
			status: "timeout", line: timeoutLine(time.Now(), inv.RequestID, e.fn.Timeout),
		}, true
	}
	kind, reason, ok := p.crashed()
	if !ok {
		kind = p.api.extensions.fatalType()
		if ok = kind != "" && endOfProcess(err) && !e.es.closed(); ok {
			reason = exitReason(p.exited(time.Now().Add(e.es.patience.killed)))
		}
	}
	switch {
	case ok:
		p.drainOutput()
		return verdict{
			payload: errorPayload{kind, fmt.Sprintf("RequestId: %s Error: %s", inv.RequestID, reason)}.json(), failed: true,
			status: "error", errorType: kind, line: fmt.Sprintf("RequestId: %s Error: %s\n%s\n", inv.RequestID, reason, kind),
		}, true
	case p.crew != nil && p.crew.halted() != nil:
		return verdict{failed: true, status: "error"}, true
	}
	return verdict{}, false
}

// finishExtended is finish where there are extensions: the answer goes to the
// caller when the runtime has given it, and the invocation lasts until every
// extension waits for the next one.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-invoke
func (e *environment) finishExtended(j job, v verdict, p *process, started, deadline time.Time) bool {
	if e.es.closed() && !v.reuse {
		j.done <- result{err: ErrClosed}
		e.shutdown(reasonSpindown)
		return false
	}
	if v.lost {
		j.done <- result{err: errLost}
		return false
	}
	answered := time.Now()
	out := Outcome{Payload: v.payload, Duration: answered.Sub(started), Path: e.path}
	if !e.provisioned {
		out.InitDuration = e.initFor
	}
	if v.failed {
		out.FunctionError = unhandled
	}
	e.path = PathWarm
	sent := false
	send := func() {
		if !sent {
			sent = true
			j.done <- result{outcome: out}
		}
	}
	produced := len(v.payload) + int(v.streamed)

	var spans []span
	rested := answered
	if v.reuse {
		// Who waits for the log waits for all of it.
		if done := isClosed(p.ch.resting()) && p.api.extensions.settled(); !done && !j.inv.Tail {
			send()
		}
		late := e.awaitRuntime(p, deadline)
		rested = time.Now()
		e.runtimeDone(p, j, v, started, answered, rested, produced)
		if late == nil {
			late = p.api.extensions.await(p.api.extensions.allReady, p.ended(), deadline)
			spans = append(spans, spanOf("extensionOverhead", rested, time.Now()))
		}
		if late != nil {
			v = e.lateVerdict(p, j.inv, late)
		}
	} else {
		e.runtimeDone(p, j, v, started, answered, rested, produced)
	}
	p.drainOutput()

	r := report{
		requestID: j.inv.RequestID, duration: time.Since(started), init: e.initFor, memoryMB: e.fn.MemoryMB,
		status: v.status, errorType: v.errorType, traceID: j.inv.TraceID, ahead: e.provisioned,
	}
	e.initFor = 0
	sound := v.reuse && !p.finished()
	alive := false
	if sound {
		e.failures = 0
		e.busy.Store(false) // what is left to do is no invocation that Close could spoil
		alive = e.fleet.free(e, r.duration)
	}
	if !j.inv.Tail {
		send()
	}
	tail := e.epilogue(v, r)
	if j.inv.Tail {
		out.LogTail = tail
		send()
	}
	if v.line != "" {
		p.telemetry.emit(time.Now(), "platform.fault", v.line)
	}
	r.maxUsedMB = e.maxUsedMB()
	p.telemetry.emit(time.Now(), "platform.report", r.record(spans))
	if sound {
		return alive
	}
	reason := reasonFailure
	if v.status == "timeout" {
		reason = reasonTimeout
	}
	e.shutdown(reason)
	if e.resettable() { // AWS's reset takes place before the next invocation comes
		e.failures++
		alive = e.fleet.reset(e)
	}
	return alive
}

// awaitRuntime waits until the runtime asks for the next event.
func (e *environment) awaitRuntime(p *process, deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-p.ch.resting():
		return nil
	case <-p.ended():
		return errInterrupted
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// lateVerdict is the verdict on an invocation that was answered, and then went
// wrong: the caller does not hear of it.
func (e *environment) lateVerdict(p *process, inv Invocation, err error) verdict {
	if errors.Is(err, errInterrupted) && p.crew == nil {
		err = io.EOF
	}
	if v, ok := e.extensionVerdict(p, inv, err); ok {
		return v
	}
	exit := p.exited(time.Now().Add(e.es.patience.killed))
	p.drainOutput()
	return verdict{failed: true, status: "error", errorType: exitPayload("", exit).ErrorType, line: exitLine(inv.RequestID, exit)}
}

func (e *environment) runtimeDone(p *process, j job, v verdict, started, answered, rested time.Time, produced int) {
	status := v.status
	if status == "" {
		status = "success"
	}
	var spans []span
	if v.reuse { // else there was no response
		began := answered
		if !v.began.IsZero() {
			began = v.began
		}
		spans = []span{
			spanOf("responseLatency", started, began),
			spanOf("responseDuration", began, answered),
			spanOf("runtimeOverhead", answered, rested),
		}
	}
	p.telemetry.emit(rested, "platform.runtimeDone", runtimeDoneRecord{
		RequestID: j.inv.RequestID, Status: status, ErrorType: v.errorType, Spans: spans,
		Metrics: runtimeDoneMetrics{ms(rested.Sub(started)), produced},
		Tracing: traceOf(j.inv.TraceID, j.inv.RequestID),
	})
}

// flushWait bounds how long telemetry can put freezing off.
const flushWait = 500 * time.Millisecond

// resting is closed when the environment can be frozen: the runtime waits, and
// telemetry has been delivered.
func (e *environment) resting(p *process) <-chan struct{} {
	if p.telemetry == nil {
		return p.ch.resting()
	}
	rest, done := p.ch.resting(), make(chan struct{})
	p.wg.Go(func() {
		select {
		case <-rest:
		case <-p.sb.Done():
			return
		case <-p.telemetry.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(p.telemetry.ctx, flushWait)
		defer cancel()
		p.telemetry.flush(ctx)
		close(done)
	})
	return done
}
