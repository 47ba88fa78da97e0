package execenv

import (
	"testing"
	"time"
)

// An environment whose invocation ends in a panic, of a caller that recovers
// from it, is not used again and is in nobody's way.
func TestServeHere_Panic(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`let n = 0; exports.handler = awslambda.streamifyResponse(async (e, s) => { s.write(String(++n)); s.end() })`)
	if got, _ := b.streamed(f, `{}`, nil); got != "1" {
		t.Fatalf("answered %q", got)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = b.envs.Invoke(t.Context(), f, Invocation{
			RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`),
			Stream: func([]byte, time.Time) error { panic("of the caller") },
		})
	}()
	if got, _ := b.streamed(f, `{}`, nil); got != "1" {
		t.Errorf("answered %q, not by a new environment", got)
	}
	if err := b.envs.Close(); err != nil {
		t.Error(err)
	}
}

// The end of a process is seen to by the environment's own goroutine, whichever
// goroutine the invocation ran in: the caller has its answer before that.
func TestServeHere_LeavesTheEndToItsEnvironment(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = async (e) => { if (e === "exit") process.exit(1); return process.pid }`)
	first := string(b.invoke(f, `1`).Payload)
	if again := string(b.invoke(f, `1`).Payload); again != first {
		t.Fatalf("answered by %s and %s", first, again)
	}
	if out := b.invoke(f, `"exit"`); out.FunctionError == "" {
		t.Fatalf("answered %s", out.Payload)
	}
	if after := string(b.invoke(f, `1`).Payload); after == first {
		t.Errorf("process %s has ended and answers", after)
	}
}
