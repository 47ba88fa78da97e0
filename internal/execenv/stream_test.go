package execenv

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// streamed invokes a function and gives what came in parts, and the outcome.
func (b *bench) streamed(f Function, event string, onPart func(string) error) (string, Outcome) {
	b.t.Helper()
	var all strings.Builder
	out, err := b.envs.Invoke(b.t.Context(), f, Invocation{
		RequestID: testID, InvokedARN: f.ARN, Payload: []byte(event), Tail: true,
		Stream: func(part []byte, _ time.Time) error {
			all.Write(part)
			if onPart != nil {
				return onPart(string(part))
			}
			return nil
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all.String(), out
}

func TestStream_Node(t *testing.T) {
	for _, tc := range []struct{ name, code, parts, answer string }{
		{"parts", `async (e, s) => { s.write("one "); s.write(Buffer.from("two")); s.end() }`, "one two", ""},
		{"ended after the handler", `async (e, s) => { s.setContentType("text/plain"); s.write("x"); setTimeout(() => s.end("y"), 20) }`, "xy", ""},
		{"nothing", `async (e, s) => { s.end() }`, "", ""},
		{"values", `async (e, s) => { s.write({ a: 1 }); s.write([2]); s.end() }`, `{"a":1}[2]`, ""},
		{"content type too late", `async (e, s) => { s.write("x"); s.setContentType("text/html") }`, "x", "Unhandled: Runtime.InvalidStreamingOperation: Cannot set content-type, too late."},
		{"pipeline", `async (e, s) => require("stream/promises").pipeline(require("stream").Readable.from(["a", "b"]), s)`, "ab", ""},
		{"HTTP", `async (e, s) => { s = awslambda.HttpResponseStream.from(s, { statusCode: 201 }); s.write("body"); s.end() }`, `{"statusCode":201}` + "\x00\x00\x00\x00\x00\x00\x00\x00body", ""},
		{"HTTP without a body", `async (e, s) => { awslambda.HttpResponseStream.from(s, {}).end() }`, "{}\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		{"three arguments", `async (e, s, c) => { s.write(c.awsRequestId); s.end() }`, testID, ""},
		{"error in the middle", `async (e, s) => { s.write("some"); throw new RangeError("no more") }`, "some", "Unhandled: RangeError: no more"},
		{"error of the stream", `async (e, s) => { s.write("some"); s.destroy(new Error("broken")); await new Promise((r) => setTimeout(r, 1e6)) }`, "some", "Unhandled: Error: broken"},
		{"not async", `(e, s) => { s.end("x") }`, "x", "Unhandled: Runtime.MalformedStreamingHandler: Streaming does not support non-async handlers."},
		{"exit in the middle", `async (e, s) => { s.write("some"); process.exit(3) }`, "some", "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 3"},
	} {
		for _, runtime := range allRuntimes {
			t.Run(tc.name+"/"+runtime, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, nil)
				f := b.js(`exports.handler = awslambda.streamifyResponse(` + tc.code + `)`)
				f.Runtime = runtime
				got, out := b.streamed(f, `{}`, nil)
				if got != tc.parts || answer(out) != tc.answer {
					t.Errorf("streamed %q, then %q; log %q", got, answer(out), b.logs.all())
				}
				// Whoever does not listen to parts gets them together.
				want := tc.parts
				if tc.answer != "" {
					want = tc.answer
				}
				if got := answer(b.invoke(f, `{}`)); got != want {
					t.Errorf("together: %q, want %q", got, want)
				}
			})
		}
	}
}

func TestStream_BufferedHandlerIsOnePayload(t *testing.T) {
	b := newBench(t, nil)
	got, out := b.streamed(b.js(`exports.handler = async () => "whole"`), `{}`, nil)
	if got != "" || answer(out) != `"whole"` {
		t.Errorf("streamed %q, then %q", got, answer(out))
	}
}

// The first part arrives while the function still runs.
func TestStream_FirstPartAtOnce(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = awslambda.streamifyResponse(async (e, s) => {
		s.write("first "); await require("fs").promises.readFile(e.go); s.write("last"); s.end() })`)
	g := newGatedEvent(t)
	got, _ := b.streamed(f, g.json(), func(part string) error {
		if part == "first " {
			g.letGo()
		}
		return nil
	})
	if got != "first last" {
		t.Errorf("streamed %q", got)
	}
}

// A caller that does not take its parts holds the function up.
func TestStream_BackPressure(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = awslambda.streamifyResponse(async (e, s) => {
		const part = Buffer.alloc(1 << 20, "x");
		for (let i = 0; i < 16; i++) { s.write(part); console.log("wrote", i) } s.end() })`)
	var size, most int
	_, out := b.streamed(f, `{}`, func(part string) error {
		size += len(part)
		if wrote := strings.Count(strings.Join(b.logs.all(), ""), "wrote"); wrote<<20 > size {
			most = max(most, wrote<<20-size)
		}
		return nil
	})
	if size != 16<<20 || out.FunctionError != "" || most > 4<<20 {
		t.Errorf("streamed %d bytes, %s; the function was up to %d bytes ahead", size, out.FunctionError, most)
	}
}

func TestStream_CallerGone(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`let n = 0; exports.handler = awslambda.streamifyResponse(async (e, s) => { s.write("a"); s.write("b"); s.end(); n++; console.log("done", n) })`)
	calls := 0
	_, out := b.streamed(f, `{}`, func(string) error { calls++; return errors.New("gone") })
	if calls != 1 || out.FunctionError != "" || !strings.Contains(string(out.LogTail), "done 1") {
		t.Errorf("%d calls, %s, log %s", calls, answer(out), out.LogTail)
	}
}

func TestStream_TooLarge(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = awslambda.streamifyResponse(async (e, s) => { const p = Buffer.alloc(1 << 20); for (let i = 0; i < 7; i++) s.write(p); s.end() })`)
	want := fmt.Sprintf("Unhandled: Function.ResponseSizeTooLarge: Response payload size exceeded maximum allowed payload size (%d bytes).", MaxResponse)
	if got := answer(b.invoke(f, `{}`)); got != want {
		t.Errorf("together it answered %s", got)
	}
	got, out := b.streamed(f, `{}`, nil)
	if len(got) != 7<<20 || out.FunctionError != "" {
		t.Errorf("streamed %d bytes, %s", len(got), answer(out))
	}
	r := response{inv: Invocation{Stream: func([]byte, time.Time) error { return nil }}, size: MaxStreamed - 1}
	if !r.add([]byte{1}, time.Time{}) || r.add([]byte{1}, time.Time{}) {
		t.Error("the limit of a stream does not hold")
	}
}

func TestStream_TimeoutInTheMiddle(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.expectSomeThenTimeout(b.js(`exports.handler = awslambda.streamifyResponse(async (e, s) => { s.write("some"); await new Promise((r) => setTimeout(r, 1e6)) })`))
}

// expectSomeThenTimeout invokes a function that sends "some" and does not end.
// It gets more time until it has come to that.
func (b *bench) expectSomeThenTimeout(f Function) {
	b.t.Helper()
	for f.Timeout = brief; ; f.Timeout *= 2 {
		f.Revision = f.Timeout.String()
		got, out := b.streamed(f, `{}`, nil)
		if got == "" && answer(out) == timedOut(f.Timeout) && f.Timeout < ample {
			continue
		}
		if got != "some" || answer(out) != timedOut(f.Timeout) {
			b.t.Errorf("%s: streamed %q, then %s", f.Runtime, got, answer(out))
		}
		return
	}
}

// A stream that nobody ends is an invocation that does not end, as on AWS.
func TestStream_NotEnded(t *testing.T) {
	for _, runtime := range allRuntimes {
		b := newBench(t, nil)
		f := b.js(`exports.handler = awslambda.streamifyResponse(async (e, s) => { s.write("some") })`)
		f.Runtime = runtime
		b.expectSomeThenTimeout(f)
	}
}

// What a handler leaves in the event loop keeps its invocation running up to
// nodejs22.x, unless it says otherwise, and not later.
func TestStream_EmptyLoop(t *testing.T) {
	const code = `exports.handler = awslambda.streamifyResponse(async (e, s, c) => {
		if (e.goOn) c.callbackWaitsForEmptyEventLoop = false;
		setTimeout(() => console.log("left"), e.late); s.end("x"); return 5 }, { highWaterMark: 1 })`
	for _, tc := range []struct {
		runtime, event string
		waits          bool
	}{
		{"nodejs20.x", `{"late":50}`, true},
		{"nodejs22.x", `{"late":50}`, true},
		{"nodejs22.x", `{"late":100000,"goOn":true}`, false}, // it is heard of only by who waits
		{"nodejs24.x", `{"late":100000}`, false},
	} {
		b := newBench(t, nil)
		f := b.js(code)
		f.Runtime = tc.runtime
		got, out := b.streamed(f, tc.event, nil)
		log := string(out.LogTail)
		if got != "x" || answer(out) != "" || !strings.Contains(log, "\tWARN\tStreaming handlers ignore return values.") {
			t.Errorf("%s %s: streamed %q, then %s; log %s", tc.runtime, tc.event, got, answer(out), log)
		}
		if strings.Contains(log, "left") != tc.waits {
			t.Errorf("%s %s: log %s", tc.runtime, tc.event, log)
		}
	}
}
