package execenv

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"time"
)

const (
	maxTail  = 4 << 10   // bytes of LogResult
	maxEvent = 256 << 10 // bytes of one log event
)

// recorder passes an environment's log lines to the sink, in order, and keeps
// the end of the running invocation's for the caller. Safe for concurrent use:
// the platform's lines, the runtime's and its children's meet here.
type recorder struct {
	sink   LogSink
	stream LogStream
	ctx    context.Context // of the environments: lines outlive a caller
	format logFormat

	mu        sync.Mutex
	tail      []byte
	keep      bool
	partial   lineBuffer // of the runtime's output
	telemetry *telemetry // nil: nobody asked
}

// Categories of telemetry; the platform's own lines are events of their own.
const (
	fromPlatform  = ""
	fromFunction  = "function"
	fromExtension = "extension"

	fromOutput = "output" // of the function, past its runtime: telemetry of the function
)

// tell passes lines on to the extensions, too, from now on.
func (r *recorder) tell(t *telemetry) {
	r.mu.Lock()
	r.telemetry = t
	r.mu.Unlock()
	if t == nil {
		return
	}
	t.subscribed = func(name string, types []string) {
		record := namedRecord{Name: name, State: "Subscribed", Types: types}
		r.platform(subscriptionLine(name, types))
		r.system(levelInfo, "platform.telemetrySubscription", record)
		t.emit(time.Now(), "platform.telemetrySubscription", record)
	}
}

// begin starts a new invocation's tail.
func (r *recorder) begin(keepTail bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tail, r.keep = r.tail[:0], keepTail
}

// line records one event of the function's. It ends what was written of a line
// before it.
func (r *recorder) line(text string) { r.event(text, fromFunction) }

// platform records a line of Lambda's own in a log in text.
func (r *recorder) platform(text string) {
	if !r.format.json {
		r.event(text, fromPlatform)
	}
}

func (r *recorder) event(text, from string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.emit(text, from)
}

// output records what was written to stdout or stderr: a line is an event.
func (r *recorder) output(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial.split(b, func(text string) { r.emit(text, fromOutput) })
}

// voice records the output of one extension.
func (r *recorder) voice() func([]byte) {
	var partial lineBuffer
	return func(b []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		partial.split(b, func(text string) { r.emit(text, fromExtension) })
	}
}

func (r *recorder) flush() {
	r.partial.flush(func(text string) { r.emit(text, fromOutput) })
}

func (r *recorder) emit(text, from string) {
	now := time.Now()
	at, kept := r.format.place(text, from, now)
	if r.sink != nil && kept {
		r.sink.Write(r.ctx, r.stream, at, text)
	}
	if from == fromOutput {
		from = fromFunction
	}
	if from != fromPlatform {
		r.telemetry.line(now, from, strings.TrimSuffix(text, "\n"), r.format.json)
	}
	if !r.keep || !kept {
		return
	}
	r.tail = append(r.tail, text...)
	if r.format.json && !strings.HasSuffix(text, "\n") {
		r.tail = append(r.tail, '\n')
	}
	if len(r.tail) > 2*maxTail {
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-maxTail:]...)
	}
}

// lineBuffer cuts output into lines.
type lineBuffer []byte

func (l *lineBuffer) split(b []byte, emit func(string)) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n') + 1
		if end == 0 {
			end = len(b)
		}
		end = min(end, maxEvent-len(*l))
		*l = append(*l, b[:end]...)
		b = b[end:]
		if (*l)[len(*l)-1] == '\n' || len(*l) == maxEvent {
			l.flush(emit)
		}
	}
}

func (l *lineBuffer) flush(emit func(string)) {
	if len(*l) == 0 {
		return
	}
	emit(string(*l))
	*l = (*l)[:0]
}

// end returns the last 4 KB of the invocation's lines.
func (r *recorder) end() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.keep = false
	return bytes.Clone(r.tail[max(0, len(r.tail)-maxTail):])
}
