package execenv

import (
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"davy/internal/sandbox"
)

// masked replaces what changes from run to run.
func masked(lines []string) []string {
	var out []string
	for _, l := range lines {
		for _, m := range []struct{ from, to string }{
			{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`, "TIME"},
			{`Duration: \d+\.\d\d ms`, "Duration: N ms"},
			{`Billed Duration: \d+ ms`, "Billed Duration: N ms"},
			{`Max Memory Used: \d+ MB`, "Max Memory Used: N MB"},
			{`nodejs:\d+\.\d+\.\d+`, "nodejs:VERSION"},
			{`runtime:[0-9a-f]{64}`, "runtime:HASH"},
			{`\[\d{13}\]`, "[MS]"},
			{testID, "ID"},
			{`"stack":\[[^]]*\]`, `"stack":[]`},
		} {
			l = regexp.MustCompile(m.from).ReplaceAllString(l, m.to)
		}
		out = append(out, l)
	}
	return out
}

const (
	maskedInit  = "INIT_START Runtime Version: nodejs:VERSION\tRuntime Version ARN: arn:aws:lambda:eu-west-1::runtime:HASH\n"
	maskedStart = "START RequestId: ID Version: $LATEST\n"
	maskedEnd   = "END RequestId: ID\n"
	maskedRep   = "REPORT RequestId: ID\tDuration: N ms\tBilled Duration: N ms\tMemory Size: 256 MB\tMax Memory Used: N MB\t"
	maskedCold  = maskedRep + "Init Duration: N ms\t"
)

func TestLogs_Lines(t *testing.T) {
	for _, tc := range []struct {
		name    string
		code    string
		timeout time.Duration
		want    []string
	}{
		{
			name: "console and raw output keep their order",
			code: `console.log("loading");
			exports.handler = async (e) => {
				console.log("hello %s", "you", { a: 1 });
				process.stdout.write("raw\npart");
				process.stderr.write("ly\n");
				console.error("two\nlines");
				console.warn("w"); console.debug("d"); console.trace("t"); console.info("i");
				process.stdout.write("no newline");
			}`,
			want: []string{
				maskedInit, "TIME\tundefined\tINFO\tloading\n", maskedStart,
				"TIME\tID\tINFO\thello you { a: 1 }\n", "raw\n", "partly\n", "TIME\tID\tERROR\ttwo\nlines\n",
				"TIME\tID\tWARN\tw\n", "TIME\tID\tDEBUG\td\n", "TIME\tID\tTRACE\tt\n", "TIME\tID\tINFO\ti\n",
				"no newline", maskedEnd, maskedCold + "\n",
			},
		},
		{
			name: "child processes",
			code: `const { spawnSync } = require("child_process");
			exports.handler = async () => { spawnSync("/bin/sh", ["-c", "echo from a child; echo err >&2"], { stdio: "inherit" }) }`,
			want: []string{maskedInit, maskedStart, "from a child\n", "err\n", maskedEnd, maskedCold + "\n"},
		},
		{
			name: "error",
			code: `exports.handler = async () => { const e = new Error("bad"); e.code = "E1"; e.extra = [1]; throw e }`,
			want: []string{
				maskedInit, maskedStart,
				"TIME\tID\tERROR\tInvoke Error \t" + `{"errorType":"Error","errorMessage":"bad","code":"E1","extra":[1],"stack":[]}` + "\n",
				maskedEnd, maskedCold + "\n",
			},
		},
		{
			name: "uncaught exception",
			code: `exports.handler = async () => { setTimeout(() => { throw new Error("bad") }); await new Promise((r) => setTimeout(r, 1e6)) }`,
			want: []string{
				maskedInit, maskedStart,
				"TIME\tID\tERROR\tUncaught Exception \t" + `{"errorType":"Error","errorMessage":"bad","stack":[]}` + "\n",
				"RequestId: ID Error: Runtime exited with error: exit status 129\nRuntime.ExitError\n",
				maskedEnd, maskedCold + "Status: error\tError Type: Runtime.ExitError\n",
			},
		},
		{
			name: "exit",
			code: `exports.handler = async () => { console.log("last words"); process.exit(3) }`,
			want: []string{
				maskedInit, maskedStart, "TIME\tID\tINFO\tlast words\n",
				"RequestId: ID Error: Runtime exited with error: exit status 3\nRuntime.ExitError\n",
				maskedEnd, maskedCold + "Status: error\tError Type: Runtime.ExitError\n",
			},
		},
		{
			name:    "timeout",
			code:    `exports.handler = async () => { console.log("slow"); await new Promise((r) => setTimeout(r, 1e6)) }`,
			timeout: scarce + 500*time.Millisecond,
			want: []string{
				maskedInit, maskedStart, "TIME\tID\tINFO\tslow\n", "TIME ID Task timed out after 5.50 seconds\n\n",
				maskedEnd, maskedCold + "Status: timeout\n",
			},
		},
		{
			name: "response too large",
			code: `exports.handler = async () => "x".repeat(7e6)`,
			want: []string{
				maskedInit, maskedStart, "[ERROR] [MS] LAMBDA_RUNTIME Failed to post handler success response. Http response code: 413.\n",
				maskedEnd, maskedCold + "\n",
			},
		},
		{
			name: "init error",
			code: `require("nothing")`,
			want: []string{
				maskedInit,
				"TIME\tundefined\tERROR\tUncaught Exception \t" + importError + "\n",
				"INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError\n",
				"TIME\tundefined\tERROR\tUncaught Exception \t" + importError + "\n",
				"INIT_REPORT Init Duration: N ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ImportModuleError\n",
				maskedStart, maskedEnd, maskedRep + "Status: error\tError Type: Runtime.ImportModuleError\n",
			},
		},
		{
			name: "exit in init",
			code: `process.exit(1)`,
			want: []string{
				maskedInit,
				"INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\n",
				"INIT_REPORT Init Duration: N ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ExitError\n",
				maskedStart, "RequestId: ID Error: Runtime exited with error: exit status 1\nRuntime.ExitError\n",
				maskedEnd, maskedRep + "Status: error\tError Type: Runtime.ExitError\n",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			f := b.js(tc.code)
			if tc.timeout != 0 {
				f.Timeout = tc.timeout
			}
			out := b.invoke(f, `{}`)
			got := masked(b.logs.all())
			if !slices.Equal(got, tc.want) {
				t.Errorf("log\n%q\nwant\n%q", got, tc.want)
			}
			all := strings.Join(b.logs.all(), "")
			if tail := string(out.LogTail); !strings.HasSuffix(all, tail) || !strings.Contains(tail, "REPORT") || strings.HasPrefix(tail, "INIT_START") {
				t.Errorf("tail = %q", tail)
			}
		})
	}
}

const importError = `{"errorType":"Runtime.ImportModuleError","errorMessage":"Error: Cannot find module 'nothing'\nRequire stack:\n- /var/task/index.js\n- /var/runtime/index.mjs","stack":[]}`

// What took too long has taken its timeout, however long it took to end it.
func TestLogs_TimeoutIsTheDuration(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = () => new Promise((r) => setTimeout(r, 1e6))`)
	f.Timeout = time.Second
	if tail := string(b.invoke(f, `{}`).LogTail); !strings.Contains(tail, "\tDuration: 1000.00 ms\t") {
		t.Errorf("tail = %q", tail)
	}
}

func TestLogs_TailIsTheLast4KB(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = async (e) => { for (let i = 0; i < e; i++) console.log("line", i, "x".repeat(100)) }`)
	out := b.invoke(f, `1000`)
	if n := len(out.LogTail); n != 4096 || !strings.Contains(string(out.LogTail), "line 999 ") {
		t.Errorf("tail has %d bytes: %q", n, out.LogTail)
	}
	if n := len(b.logs.all()); n != 1000+4 {
		t.Errorf("%d lines, want 1004", n)
	}
}

func TestLogs_WithoutTailTheAnswerDoesNotWait(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = async () => console.log("x")`)
	out, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)})
	if err != nil || out.LogTail != nil {
		t.Fatalf("outcome = %+v, %v; want no tail", out, err)
	}
	lines := masked(b.logs.await(t, "REPORT"))
	want := []string{maskedInit, maskedStart, "TIME\tID\tINFO\tx\n", maskedEnd, maskedCold + "\n"}
	if !slices.Equal(lines, want) {
		t.Errorf("log\n%q\nwant\n%q", lines, want)
	}
}

func TestRecorder_BoundsLinesWithoutEnd(t *testing.T) {
	book := &logBook{}
	r := &recorder{sink: book, ctx: t.Context()}
	r.output([]byte(strings.Repeat("x", 2*maxEvent+1)))
	r.line("end\n")
	got := book.all()
	if len(got) != 4 || len(got[0]) != maxEvent || len(got[1]) != maxEvent || got[2] != "x" || got[3] != "end\n" {
		t.Errorf("%d events", len(got))
	}
}

func TestReport_Line(t *testing.T) {
	for _, tc := range []struct {
		r    report
		want string
	}{
		// The numbers of AWS's documentation of the new style.
		{
			report{requestID: "5b866fb1", duration: 133610 * time.Microsecond, init: 80 * time.Millisecond, memoryMB: 128, maxUsedMB: 31, status: "error", errorType: "Runtime.ExitError"},
			"REPORT RequestId: 5b866fb1\tDuration: 133.61 ms\tBilled Duration: 214 ms\tMemory Size: 128 MB\tMax Memory Used: 31 MB\tInit Duration: 80.00 ms\tStatus: error\tError Type: Runtime.ExitError\n",
		},
		{
			report{requestID: "527cb862", duration: 3016780 * time.Microsecond, init: 84 * time.Millisecond, memoryMB: 128, maxUsedMB: 31, status: "timeout"},
			"REPORT RequestId: 527cb862\tDuration: 3016.78 ms\tBilled Duration: 3101 ms\tMemory Size: 128 MB\tMax Memory Used: 31 MB\tInit Duration: 84.00 ms\tStatus: timeout\n",
		},
		{
			report{requestID: "a", duration: 1, memoryMB: 10240, maxUsedMB: 1},
			"REPORT RequestId: a\tDuration: 0.00 ms\tBilled Duration: 1 ms\tMemory Size: 10240 MB\tMax Memory Used: 1 MB\t\n",
		},
	} {
		if got := tc.r.line(); got != tc.want {
			t.Errorf("line\n %q\nwant\n %q", got, tc.want)
		}
	}
}

func TestPayloads(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  errorPayload
		want string
	}{
		{"timeout", timeoutPayload("r", 3*time.Second), `{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r Error: Task timed out after 3.00 seconds"}`},
		{"exit status", exitPayload("r", sandbox.Exit{Code: 1}), `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: r Error: Runtime exited with error: exit status 1"}`},
		{"exit without reason", exitPayload("r", sandbox.Exit{}), `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: r Error: Runtime exited without providing a reason"}`},
		{"signal", exitPayload("r", sandbox.Exit{Signal: syscall.SIGSEGV}), `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: r Error: Runtime exited with error: signal: segmentation fault"}`},
		{"killed", exitPayload("r", sandbox.Exit{Signal: syscall.SIGKILL}), `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: r Error: Runtime exited with error: signal: killed"}`},
		{"out of memory", exitPayload("r", sandbox.Exit{Signal: syscall.SIGKILL, OOMKilled: true}), `{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: r Error: Runtime exited with error: signal: killed"}`},
		{"too large", tooLargePayload(6291557), `{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size (6291557 bytes) exceeded maximum allowed payload size (6291556 bytes)."}`},
	} {
		if got := string(tc.got.json()); got != tc.want {
			t.Errorf("%s\n %s\nwant\n %s", tc.name, got, tc.want)
		}
	}
}

func TestStreamName(t *testing.T) {
	at := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	for group, want := range map[string]string{
		"/aws/lambda/f":     "2026/11/02/[$LATEST]0a",
		"/aws/lambda/other": "2026/11/02/f[$LATEST]0a",
		"shared":            "2026/11/02/f[$LATEST]0a",
	} {
		if got := streamName(Function{Name: "f", Version: "$LATEST", LogGroup: group}, at, "0a"); got != want {
			t.Errorf("in %s: %s, want %s", group, got, want)
		}
	}
}
