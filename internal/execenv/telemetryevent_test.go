package execenv

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// AWS's records tell of tracing when an invocation is traced, with a span that
// is the invocation's in all of them.
func TestTelemetryRecord_Tracing(t *testing.T) {
	const sampled = "Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=1"
	for _, tc := range []struct{ id, want string }{
		{"", `null`},
		{"Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=0", `null`},
		{"Root=1-62e900b2-710d76f009d6e7785905449a;Sampled=10", `null`},
		{sampled, `{"spanId":"37a8eec1ce19687d","type":"X-Amzn-Trace-Id","value":"` + sampled + `"}`},
	} {
		if got, err := json.Marshal(traceOf(tc.id, "r")); err != nil || len(got) != len(tc.want) || tc.want == "null" && string(got) != "null" {
			t.Errorf("%q: %s, %v; want %s", tc.id, got, err, tc.want)
		}
	}
	first, second := traceOf(sampled, "r"), traceOf(sampled, "s")
	if first.SpanID == second.SpanID || len(first.SpanID) != 16 || *traceOf(sampled, "r") != *first {
		t.Errorf("spans %+v, %+v", first, second)
	}
}

// An instance is named like its log stream, with the function's name.
func TestTelemetryRecord_Instance(t *testing.T) {
	e := &environment{id: "env-22be53a8cfde4e68b844f8ec293b2543", fn: Function{Name: "notifier", Version: "$LATEST"}, rec: &recorder{}}
	for stream, want := range map[string]string{
		"2026/10/08/[$LATEST]22be53a8cfde4e68b844f8ec293b2543":         "2026/10/08/notifier[$LATEST]22be53a8cfde4e68b844f8ec293b2543",
		"2026/10/08/notifier[$LATEST]22be53a8cfde4e68b844f8ec293b2543": "2026/10/08/notifier[$LATEST]22be53a8cfde4e68b844f8ec293b2543",
		"": "env-22be53a8cfde4e68b844f8ec293b2543",
	} {
		e.rec.stream.Stream = stream
		if got := e.instance(); got != want {
			t.Errorf("stream %q: %q, want %q", stream, got, want)
		}
	}
}

// A response in parts began with the first, and all that was passed on counts
// as produced.
func TestResponse_TellsWhenItBegan(t *testing.T) {
	r := response{inv: Invocation{Stream: func([]byte, time.Time) error { return nil }}}
	if !r.began.IsZero() {
		t.Error("it has begun")
	}
	r.add([]byte("ab"), time.Time{})
	began := r.began
	r.add([]byte("cde"), time.Time{})
	if began.IsZero() || r.began != began || r.streamed != 5 {
		t.Errorf("began %v, then %v; %d bytes", began, r.began, r.streamed)
	}
}

// A failed init phase is told as one: how the runtime's part ended, then the
// report. What the extension wrote of it outlives the reset.
func TestExtension_TelemetryOfAFailedInit(t *testing.T) {
	b := newExtensionBenchOn(t, newOnDiskBench, nil)
	f := b.extended(b.js(`const fs = require("fs");
if (!fs.existsSync("/tmp/again")) { fs.writeFileSync("/tmp/again", ""); throw new RangeError("first") }
const read = () => fs.readFileSync("/tmp/telemetry", "utf8").split("\n").slice(0, -1);
exports.handler = async () => {
  while (read().filter((l) => l.includes("platform.initStart")).length < 2) await new Promise((r) => setTimeout(r, 10));
  return read().filter((l) => l.includes("platform.init")).map((l) => { const e = JSON.parse(l); return [e.type, e.record.phase, e.record.status ?? "", e.record.errorType ?? ""].join(" ").trim() }).join("|") }`), "x.telemetry.curious")
	got := answer(b.invoke(f, `{}`))
	const failed = "platform.initStart init|platform.initRuntimeDone init error Runtime.Unknown|platform.initReport init error Runtime.Unknown|platform.initStart invoke"
	if !strings.HasPrefix(got, `"`+failed) {
		t.Errorf("%s, want %s first; log %q", got, failed, b.logs.all())
	}
}
