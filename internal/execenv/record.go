package execenv

import (
	"bytes"
	"context"
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

	mu      sync.Mutex
	tail    []byte
	keep    bool
	partial []byte // of a line not yet ended
}

// begin starts a new invocation's tail.
func (r *recorder) begin(keepTail bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tail, r.keep = r.tail[:0], keepTail
}

// line records one event. It ends what was written of a line before it.
func (r *recorder) line(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.emit(text)
}

// output records what was written to stdout or stderr: a line is an event.
func (r *recorder) output(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n') + 1
		if end == 0 {
			end = len(b)
		}
		end = min(end, maxEvent-len(r.partial))
		r.partial = append(r.partial, b[:end]...)
		b = b[end:]
		if r.partial[len(r.partial)-1] == '\n' || len(r.partial) == maxEvent {
			r.flush()
		}
	}
}

func (r *recorder) flush() {
	if len(r.partial) == 0 {
		return
	}
	r.emit(string(r.partial))
	r.partial = r.partial[:0]
}

func (r *recorder) emit(text string) {
	if r.sink != nil {
		r.sink.Write(r.ctx, r.stream, time.Now(), text)
	}
	if !r.keep {
		return
	}
	r.tail = append(r.tail, text...)
	if len(r.tail) > 2*maxTail {
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-maxTail:]...)
	}
}

// end returns the last 4 KB of the invocation's lines.
func (r *recorder) end() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.keep = false
	return bytes.Clone(r.tail[max(0, len(r.tail)-maxTail):])
}
