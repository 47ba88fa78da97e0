package egress

import (
	"runtime"
	"strings"
	"time"
)

// WithIdle makes stacks go after another time, and tells when one has gone.
func WithIdle(c Config, after time.Duration, dropped func()) Config {
	c.idle, c.dropped = after, dropped
	return c
}

// WithEnded tells when a flow has ended.
func WithEnded(c Config, ended func()) Config {
	c.ended = ended
	return c
}

// FlowsEach is how many flows an environment can have.
const FlowsEach = flowsEach

// Flows is how many are open.
func Flows(w *Way) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flows
}

// HasStack reports whether the environment has one now.
func HasStack(w *Way) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.net != nil
}

// Goroutines counts those that this package or a stack of its own runs, without
// the one that has just told that a stack has gone.
func Goroutines() int {
	buf := make([]byte, 8<<20)
	n := 0
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "dropIdle") {
			continue
		}
		if strings.Contains(g, "gvisor.dev/") || strings.Contains(g, "davy/internal/egress.") {
			n++
		}
	}
	return n
}
