package execenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"syscall"
	"time"

	"davy/internal/sandbox"
)

var errBrokenPipe error = syscall.EPIPE

// Error types of AWS's runtimes; others appear in platform lines as unknown.
var platformType = regexp.MustCompile(`^(Runtime|Function)\.[A-Z][a-zA-Z]+$`)

func platformErrorType(t string) string {
	if platformType.MatchString(t) {
		return t
	}
	return errorUnknown
}

// verdict is how an invocation ended.
type verdict struct {
	payload   []byte
	failed    bool   // FunctionError
	status    string // of the REPORT line
	errorType string
	line      string    // of the platform, before END
	reuse     bool      // the environment can take another invocation
	lost      bool      // nobody knows how it would have ended
	began     time.Time // the response, when it came in parts
	streamed  int64     // bytes of it that are not in payload
}

// serveHere runs an invocation in its caller's goroutine: an invocation that is
// handed to another one and back pays for two wake-ups, which is as much as
// all else that Davy does for it. It reports false when the environment's own
// goroutine is to do what is left, which may be all: where there are extensions,
// when the process has ended or is to, since a caller does not wait for that,
// and the first time, when the end of the log lines takes long: they are those
// of a new stream.
func (e *environment) serveHere(j *job) (result, bool) {
	e.use.Lock()
	intact, idle := false, func() {}
	defer func() {
		if !intact { // a panic: nobody is to use it again
			close(e.quit)
		}
		e.use.Unlock()
		idle()
	}()
	p := e.current.Load()
	if p == nil || e.served == 0 || p.extended || p.finished() || e.thaw() != nil {
		intact = true
		return result{}, false
	}
	started := time.Now()
	deadline := started.Add(e.fn.Timeout)
	if !p.rests(deadline) {
		intact = true
		return result{}, false
	}
	e.rec.begin(j.inv.Tail)
	e.logStart(j.inv.RequestID)
	v := e.invoke(p, j.inv, deadline)
	took := time.Since(started)
	if !v.reuse || p.finished() {
		intact = true
		j.over, j.took = &v, took
		return result{}, false
	}
	out, r := e.conclude(j.inv, v, took)
	if tail := e.epilogue(v, r); j.inv.Tail {
		out.LogTail = tail
	}
	e.failures = 0
	idle = e.rewind()
	intact = true
	e.fleet.free(e, took) // if it is to end, its own goroutine hears of it
	return result{outcome: out}, true
}

// serve runs one invocation. It reports whether the environment lives on.
func (e *environment) serve(j job) bool {
	if j.over != nil {
		return e.finish(j, *j.over, j.took)
	}
	if e.es.closed() {
		j.done <- result{err: ErrClosed}
		return false
	}
	if err := e.thaw(); err != nil {
		e.shutdown(reasonFailure) // a runtime that cannot be woken is started anew
	}
	started := time.Now()
	deadline := started.Add(e.fn.Timeout)
	e.rec.begin(j.inv.Tail)

	if p := e.current.Load(); p != nil && !p.rests(deadline) {
		e.lastWords(p) // it ended after its last answer
		e.shutdown(reasonFailure)
	}
	var v verdict
	if e.current.Load() == nil {
		fail, err := e.restart(deadline)
		if fail != nil && fail.lost {
			err = errLost
		}
		if err != nil {
			j.done <- result{err: err}
			return false
		}
		if fail != nil {
			e.logInit(time.Since(started), phaseInvoke, fail)
			e.logStart(j.inv.RequestID)
			v = verdict{payload: fail.payload(j.inv.RequestID), failed: true, status: fail.status, errorType: fail.errorType}
			if fail.line != nil {
				v.line = fail.line(j.inv.RequestID)
			}
			return e.finish(j, v, time.Since(started))
		}
	}
	e.logStart(j.inv.RequestID)
	p := e.current.Load()
	e.announce(p, j.inv, deadline)
	v = e.invoke(p, j.inv, deadline)
	if p.extended {
		return e.finishExtended(j, v, p, started, deadline)
	}
	return e.finish(j, v, time.Since(started))
}

// restart gives an environment whose runtime has ended another one.
func (e *environment) restart(deadline time.Time) (*failure, error) {
	began := time.Now()
	e.phase = phaseInvoke
	launch, err := e.prepare()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(e.es.ctx, deadline)
	sp := e.spare(ctx, launch, true)
	cancel()
	fail, err := e.start(launch, sp, deadline)
	if err == nil {
		e.es.cfg.Observer.Initialized(e.fn, e.path, time.Since(began), fail == nil)
	}
	return fail, err
}

// invoke passes the event to the handler and waits for its answer.
func (e *environment) invoke(p *process, inv Invocation, deadline time.Time) verdict {
	meta := invokeMeta{
		ID: inv.RequestID, ARN: inv.InvokedARN, Deadline: deadline.UnixMilli(),
		Trace: inv.TraceID, ClientContext: inv.ClientContext,
	}
	if err := p.ch.send(frameInvoke, meta, inv.Payload, deadline); err != nil {
		return e.broken(p, inv, err, deadline)
	}
	parts := response{inv: inv}
	for {
		f, err := p.ch.recv(deadline)
		if err != nil {
			return e.broken(p, inv, err, deadline)
		}
		switch f.kind {
		case frameChunk:
			if !parts.add(f.body, deadline) {
				e.measure(p)
				p.sb.Kill()
				return verdict{payload: parts.tooLarge().json(), failed: true, status: "error", errorType: errorTooLarge}
			}
			continue
		case frameLog:
			p.drainOutput()
			e.rec.line(string(f.body))
			continue
		case frameOutput:
			e.rec.output(f.body)
			continue
		}
		v, ok := e.answer(f, inv)
		if !ok {
			return e.broken(p, inv, errProtocol, deadline)
		}
		v.began, v.streamed = parts.began, parts.streamed
		if !v.failed {
			v.payload = append(parts.buffered, v.payload...)
		}
		p.drainOutput()
		if !v.reuse { // it exits by itself
			exit := p.exited(deadline)
			p.drainOutput()
			v.status, v.errorType, v.line = "error", errorExit, exitLine(inv.RequestID, exit)
		}
		return v
	}
}

// answer reads the frame that ends an invocation.
func (e *environment) answer(f frame, inv Invocation) (verdict, bool) {
	switch f.kind {
	case frameResponse:
		meta, payload, err := f.split()
		return verdict{payload: payload, reuse: true}, err == nil && meta.ID == inv.RequestID
	case frameError:
		meta, payload, err := f.split()
		return verdict{payload: payload, failed: true, reuse: !meta.Fatal}, err == nil && meta.ID == inv.RequestID
	case frameTooLarge:
		var meta replyMeta
		err := json.Unmarshal(f.body, &meta)
		return verdict{payload: tooLargePayload(meta.Size).json(), failed: true, reuse: true}, err == nil && meta.ID == inv.RequestID
	default:
		return verdict{}, false
	}
}

// errLost is told to who invoked a function whose sandbox was lost: the
// function is not to blame.
var errLost = fmt.Errorf("%w: the launcher has ended", sandbox.ErrUnavailable)

// broken is the verdict on an invocation whose runtime gave no answer: it took
// too long, ended, or spoke nonsense.
func (e *environment) broken(p *process, inv Invocation, err error, deadline time.Time) verdict {
	if v, ok := e.extensionVerdict(p, inv, err); ok {
		return v
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.measure(p)
		p.sb.Kill()
		return verdict{
			payload: timeoutPayload(inv.RequestID, e.fn.Timeout).json(), failed: true,
			status: "timeout", line: timeoutLine(time.Now(), inv.RequestID, e.fn.Timeout),
		}
	}
	if !endOfProcess(err) && !errors.Is(err, errInterrupted) {
		e.es.log.Warn("runtime failed", "env", e.id, "error", err)
		p.sb.Kill()
	}
	exit := p.exited(deadline)
	if exit.Lost {
		return verdict{lost: true}
	}
	p.drainOutput()
	payload := exitPayload(inv.RequestID, exit)
	return verdict{
		payload: payload.json(), failed: true,
		status: "error", errorType: payload.ErrorType, line: exitLine(inv.RequestID, exit),
	}
}

// finish answers the caller and closes the invocation's log. What a caller
// does not wait for happens after its answer: it is not on the response path.
func (e *environment) finish(j job, v verdict, took time.Duration) bool {
	if e.es.closed() && !v.reuse { // killed, it did not fail
		j.done <- result{err: ErrClosed}
		return false
	}
	if v.lost {
		j.done <- result{err: errLost}
		return false
	}
	out, r := e.conclude(j.inv, v, took)
	if j.inv.Tail {
		out.LogTail = e.epilogue(v, r)
	}
	p := e.current.Load()
	sound := v.reuse && p != nil && !p.finished()
	alive := false
	switch {
	case sound:
		e.failures = 0
		alive = e.fleet.free(e, took)
	case e.resettable():
		e.failures++
		alive = e.fleet.reset(e)
	}
	j.done <- result{outcome: out}
	if !j.inv.Tail {
		e.epilogue(v, r)
	}
	if !sound {
		e.shutdown(reasonFailure)
	}
	return alive
}

// conclude is what the caller hears of an invocation, and the log.
func (e *environment) conclude(inv Invocation, v verdict, took time.Duration) (Outcome, report) {
	r := report{
		requestID: inv.RequestID, duration: took, init: e.initFor, memoryMB: e.fn.MemoryMB,
		status: v.status, errorType: v.errorType, traceID: inv.TraceID, ahead: e.provisioned,
	}
	e.initFor = 0
	out := Outcome{Payload: v.payload, Duration: took, Path: e.path}
	if !e.provisioned {
		out.InitDuration = r.init
	}
	e.path = PathWarm
	if v.failed {
		out.FunctionError = unhandled
	}
	return out, r
}

// maxFailures is how often in a row a runtime can fail before its environment
// ends instead of getting another one.
const maxFailures = 5

// resettable says whether an environment whose runtime has failed gets another
// one with its next invocation, whose duration then has that init phase in it:
// AWS's suppressed init. One that is kept ready is replaced at once instead.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-invoke-with-errors
func (e *environment) resettable() bool {
	return !e.provisioned && e.failures < maxFailures-1
}

// epilogue writes the lines that close an invocation and returns its tail.
func (e *environment) epilogue(v verdict, r report) []byte {
	if p := e.current.Load(); p != nil && e.measurable(v, r) {
		e.measure(p)
	}
	r.maxUsedMB = e.maxUsedMB()
	e.logEnd(v, r)
	return e.rec.end()
}

// measurable says whether an invocation can have changed the peak of the
// memory used so much that it is worth asking, which costs as much as a short
// invocation: in a burst of those the peak is some milliseconds old.
func (e *environment) measurable(v verdict, r report) bool {
	const short, old = 5 * time.Millisecond, 100 * time.Millisecond
	return r.duration > short || r.init > 0 || !v.reuse || time.Since(e.measured) > old
}

// measure notes how much memory the environment has used.
func (e *environment) measure(p *process) {
	e.measured = time.Now()
	if u, err := p.sb.Usage(e.es.ctx); err == nil {
		e.peak = max(e.peak, u.MemoryPeakBytes)
		e.fleet.saw(e.peak)
	}
	e.grown()
}

func (e *environment) maxUsedMB() int64 {
	return min((e.peak+(1<<20)-1)>>20, int64(e.fn.MemoryMB))
}

// rests waits until the runtime has done what it had to do after its last
// answer. It reports false when the runtime ended instead: the function is not
// to blame in the invocation that comes next.
func (p *process) rests(deadline time.Time) bool {
	if p.finished() {
		return false
	}
	resting := p.ch.resting()
	select {
	case <-resting:
		return true
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-resting:
		return true
	case <-p.ended():
		return false
	case <-timer.C:
		return true // and will time out
	}
}

func finished(sb sandbox.Sandbox) bool {
	select {
	case <-sb.Done():
		return true
	default:
		return false
	}
}
