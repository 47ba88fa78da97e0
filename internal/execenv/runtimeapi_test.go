package execenv

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runtimeClient is a custom runtime that a test plays.
type runtimeClient struct {
	t    testing.TB
	api  *runtimeAPI
	url  string
	http http.Client
	die  func() // ends its process
}

func newRuntimeClient(t testing.TB) *runtimeClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	c := &runtimeClient{t: t, api: newRuntimeAPI(), url: "http://" + l.Addr().String() + "/2018-06-01", die: func() { close(ended) }}
	c.api.ended = ended
	served := make(chan error, 1)
	go func() { served <- c.api.serve(l) }()
	t.Cleanup(func() {
		c.api.close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve = %v", err)
		}
		c.http.CloseIdleConnections()
	})
	if f := c.frame(); f.kind != frameBooted {
		t.Fatalf("first frame is %d", f.kind)
	}
	return c
}

func soon() time.Time { return time.Now().Add(time.Minute) }

func (c *runtimeClient) frame() frame {
	c.t.Helper()
	f, err := c.api.recv(soon())
	if err != nil {
		c.t.Fatal(err)
	}
	return f
}

// do sends a request and returns what was answered: "STATUS BODY".
func (c *runtimeClient) do(method, path string, body io.Reader, header ...string) string {
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, body)
	if err != nil {
		c.t.Error(err)
		return ""
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return c.send(r)
}

func (c *runtimeClient) send(r *http.Request) string {
	res, err := c.http.Do(r)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(b)))
}

// run makes the runtime wait for an event and gives it one.
func (c *runtimeClient) run(id string) {
	c.t.Helper()
	got := make(chan string, 1)
	go func() { got <- c.do("GET", "/runtime/invocation/next", nil) }()
	if err := c.api.send(frameInvoke, invokeMeta{ID: id, ARN: "arn"}, []byte(`{"n":1}`), soon()); err != nil {
		c.t.Fatal(err)
	}
	if s := <-got; s != `200 {"n":1}` {
		c.t.Fatalf("next answered %s", s)
	}
}

const accepted = `202 {"status":"OK"}`

func forbidden(from, to string) string {
	return `403 {"errorMessage":"State transition from ` + from + ` to ` + to + ` failed for runtime. Error: State transition is not allowed","errorType":"InvalidStateTransition"}`
}

func (c *runtimeClient) expect(got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("answered\n %s\nwant\n %s", got, want)
	}
}

func TestRuntimeAPI_Headers(t *testing.T) {
	c := newRuntimeClient(t)
	type reply struct {
		res *http.Response
		err error
	}
	got := make(chan reply, 1)
	go func() {
		r, err := http.NewRequestWithContext(c.t.Context(), "GET", c.url+"/runtime/invocation/next", nil)
		if err == nil {
			var res *http.Response
			res, err = c.http.Do(r)
			got <- reply{res, err}
			return
		}
		got <- reply{nil, err}
	}()
	if f := c.frame(); f.kind != frameReady {
		t.Fatalf("frame %d, want ready", f.kind)
	}
	meta := invokeMeta{ID: "one", ARN: "arn:aws:lambda:eu-west-1:000000000000:function:f", Deadline: 1700000000123, Trace: "Root=1-2-3", ClientContext: `{"custom":{}}`}
	if err := c.api.send(frameInvoke, meta, []byte(`{}`), soon()); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.res.Body.Close()
	for name, want := range map[string]string{
		"Lambda-Runtime-Aws-Request-Id":       "one",
		"Lambda-Runtime-Deadline-Ms":          "1700000000123",
		"Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:000000000000:function:f",
		"Lambda-Runtime-Trace-Id":             "Root=1-2-3",
		"Lambda-Runtime-Client-Context":       `{"custom":{}}`,
		"Content-Type":                        "application/json",
	} {
		if got := r.res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRuntimeAPI_Invocations(t *testing.T) {
	c := newRuntimeClient(t)
	c.run("one")
	if f := c.frame(); f.kind != frameReady {
		t.Fatalf("frame %d, want ready", f.kind)
	}
	c.expect(c.do("GET", "/runtime/invocation/next", nil), forbidden("RuntimeRunning", "RuntimeReady"))
	c.expect(c.do("POST", "/runtime/invocation/two/response", strings.NewReader(`1`)), `400 {"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`)
	c.expect(c.do("POST", "/runtime/init/error", strings.NewReader(`{}`)), forbidden("RuntimeRunning", "RuntimeInitError"))
	c.expect(c.do("POST", "/runtime/invocation/one/response", strings.NewReader(`{"ok":1}`)), accepted)
	c.answered(frameResponse, "one", `{"ok":1}`)
	c.expect(c.do("POST", "/runtime/invocation/one/response", strings.NewReader(`{"ok":2}`)), forbidden("RuntimeResponseSent", "RuntimeInvocationResponse"))
	c.expect(c.do("POST", "/runtime/invocation/one/error", strings.NewReader(`{}`)), forbidden("RuntimeResponseSent", "RuntimeInvocationErrorResponse"))
	c.run("two")
	c.expect(c.do("POST", "/runtime/invocation/one/response", strings.NewReader(`1`)), `400 {"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`)
	c.expect(c.do("POST", "/runtime/invocation/two/error", strings.NewReader(`{"errorType":"T","errorMessage":"m"}`)), accepted)
	c.answered(frameError, "two", `{"errorType":"T","errorMessage":"m"}`)
	c.run("three")
	c.expect(c.do("POST", "/runtime/invocation/three/error", strings.NewReader(`no JSON`), "Lambda-Runtime-Function-Error-Type", "Function.Odd"), accepted)
	c.answered(frameError, "three", `{"errorType":"Function.Odd","errorMessage":""}`)
	c.expect(c.do("GET", "/ping", nil), "200 pong")
	c.expect(c.do("GET", "/runtime/nothing", nil), "404 404 page not found")
}

// answered checks the frame that ends an invocation.
func (c *runtimeClient) answered(kind frameType, id, payload string) {
	c.t.Helper()
	f := c.frame()
	meta, body, err := f.split()
	if err != nil || f.kind != kind || meta.ID != id || string(body) != payload {
		c.t.Errorf("frame %d of %q: %.100s, %v", f.kind, meta.ID, body, err)
	}
}

func TestRuntimeAPI_LargestResponse(t *testing.T) {
	c := newRuntimeClient(t)
	tooMuch := `413 {"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}`
	for i, tc := range []struct {
		size    int
		chunked bool
		want    string
	}{
		{MaxResponse, false, accepted},
		{MaxResponse + 1, false, tooMuch},
		{MaxResponse, true, accepted},
		{MaxResponse + 1, true, tooMuch},
	} {
		id := fmt.Sprint(i)
		c.run(id)
		if i == 0 {
			c.frame() // ready
		}
		var body io.Reader = bytes.NewReader(make([]byte, tc.size))
		if tc.chunked {
			body = io.MultiReader(body) // hides its length
		}
		if got := c.do("POST", "/runtime/invocation/"+id+"/response", body); got != tc.want && tc.want == accepted {
			t.Errorf("%d bytes: answered %s", tc.size, got)
		} else if got != tc.want && !strings.Contains(got, "connection") { // it may write on while it is refused
			t.Errorf("%d bytes: answered %s", tc.size, got)
		}
		want := frameResponse
		if tc.want == tooMuch {
			want = frameTooLarge
		}
		if f := c.frame(); f.kind != want {
			t.Errorf("%d bytes: frame %d, want %d", tc.size, f.kind, want)
		}
	}
}

func TestRuntimeAPI_StreamedResponse(t *testing.T) {
	c := newRuntimeClient(t)
	for i, failing := range []bool{false, true} {
		id := fmt.Sprint(i)
		c.run(id)
		if i == 0 {
			c.frame()
		}
		r, err := http.NewRequestWithContext(t.Context(), "POST", c.url+"/runtime/invocation/"+id+"/response", io.MultiReader(strings.NewReader("part "), strings.NewReader("two")))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Lambda-Runtime-Function-Response-Mode", "streaming")
		if failing {
			r.Trailer = http.Header{
				"Lambda-Runtime-Function-Error-Type": {"T"},
				"Lambda-Runtime-Function-Error-Body": {base64.StdEncoding.EncodeToString([]byte(`{"errorType":"T"}`))},
			}
		}
		sent := make(chan string, 1)
		go func() { sent <- c.send(r) }()
		got, f := "", c.frame()
		for ; f.kind == frameChunk; f = c.frame() {
			got += string(f.body)
		}
		c.expect(<-sent, accepted)
		c.expect(got, "part two")
		want, payload := frameResponse, ""
		if failing {
			want, payload = frameError, `{"errorType":"T"}`
		}
		if meta, body, err := f.split(); err != nil || f.kind != want || meta.ID != id || string(body) != payload {
			t.Errorf("ended with frame %d %s, %v", f.kind, body, err)
		}
	}
}

func TestRuntimeAPI_InitError(t *testing.T) {
	c := newRuntimeClient(t)
	c.expect(c.do("POST", "/runtime/invocation/x/response", strings.NewReader(`1`)), `400 {"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`)
	c.expect(c.do("POST", "/runtime/init/error", strings.NewReader(`{"errorType":"T","errorMessage":"m"}`), "Lambda-Runtime-Function-Error-Type", "Runtime.Header"), accepted)
	if f := c.frame(); f.kind != frameInitError || string(f.body) != `{"errorType":"T","errorMessage":"m"}` || f.errorType != "Runtime.Header" {
		t.Errorf("frame %d %s %s", f.kind, f.body, f.errorType)
	}
	c.expect(c.do("GET", "/runtime/invocation/next", nil), forbidden("RuntimeInitError", "RuntimeReady"))
}

func TestRuntimeAPI_RestsUntilTheNextEvent(t *testing.T) {
	c := newRuntimeClient(t)
	resting := func() bool {
		select {
		case <-c.api.resting():
			return true
		default:
			return false
		}
	}
	if resting() {
		t.Error("it rests before it started")
	}
	c.run("one")
	if resting() {
		t.Error("it rests with an invocation")
	}
	c.expect(c.do("POST", "/runtime/invocation/one/response", strings.NewReader(`1`)), accepted)
	rest := c.api.resting()
	if resting() {
		t.Error("it rests although it has not asked for the next event")
	}
	done := make(chan struct{})
	go func() { defer close(done); c.run("two") }()
	<-rest
	<-done
}

func TestRuntimeAPI_EndOfTheRuntime(t *testing.T) {
	c := newRuntimeClient(t)
	c.run("one")
	c.frame()
	c.expect(c.do("POST", "/runtime/invocation/one/response", strings.NewReader(`1`)), accepted)
	c.die()
	c.answered(frameResponse, "one", "1") // its last words
	if _, err := c.api.recv(soon()); !errors.Is(err, io.EOF) {
		t.Errorf("recv = %v, want EOF", err)
	}
	if err := c.api.send(frameInvoke, invokeMeta{}, nil, soon()); !errors.Is(err, io.EOF) {
		t.Errorf("send = %v, want EOF", err)
	}
}

func TestRuntimeAPI_Deadlines(t *testing.T) {
	c := newRuntimeClient(t)
	past := time.Now().Add(-time.Second)
	if _, err := c.api.recv(past); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("recv = %v", err)
	}
	if err := c.api.send(frameInvoke, invokeMeta{}, nil, past); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("send = %v", err)
	}
}

// playRuntime is what the test binary does as the bootstrap of a function: it
// is a custom runtime whose handlers are named by the function's setting.
func playRuntime() {
	url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/"
	post := func(path, body string) {
		res, err := http.Post(url+path, "application/json", strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			os.Exit(9)
		}
		res.Body.Close()
	}
	switch os.Getenv("_HANDLER") {
	case "init-exit":
		os.Exit(5)
	case "init-error":
		post("init/error", `{"errorType":"Runtime.Odd","errorMessage":"at load"}`)
		os.Exit(1)
	case "init-silent":
		os.Exit(0)
	}
	fmt.Println("loading")
	for n := 1; ; n++ {
		res, err := http.Get(url + "invocation/next")
		if err != nil {
			os.Exit(8)
		}
		event, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			os.Exit(7)
		}
		id := "invocation/" + res.Header.Get("Lambda-Runtime-Aws-Request-Id")
		if strings.Contains(string(event), "fail") {
			switch os.Getenv("_HANDLER") {
			case "error":
				post(id+"/error", `{"errorType":"Mine","errorMessage":"m"}`)
				continue
			case "exit":
				os.Exit(3)
			case "hang":
				select {}
			case "signal":
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			case "memory":
				hold := map[int][]byte{}
				for i := 0; ; i++ {
					hold[i] = bytes.Repeat([]byte{1}, 1<<20)
				}
			case "large":
				post(id+"/response", strings.Repeat("x", MaxResponse+10))
				continue
			}
		}
		if os.Getenv("_HANDLER") == "environment" {
			_, inherited := os.LookupEnv("AWS_EXECUTION_ENV")
			wd, _ := os.Getwd()
			post(id+"/response", fmt.Sprintf("%q", []string{os.Args[0], wd, os.Getenv("MINE"), os.Getenv("AWS_ACCESS_KEY_ID"), fmt.Sprint(inherited), os.Getenv("PATH")}))
			continue
		}
		fmt.Println("running", n)
		post(id+"/response", fmt.Sprint(n))
	}
}

// custom makes a function whose bootstrap is this test binary.
func (b *bench) custom(handler string) Function {
	b.t.Helper()
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.t.Fatal(err)
	}
	f := b.function(map[string]string{"bootstrap": string(exe)})
	makeExecutable(b.t, b, f, "bootstrap")
	f.Runtime, f.Handler = "provided.al2023", handler
	return f
}

func TestSandboxed_CustomRuntime(t *testing.T) {
	exitError := func(how string) string {
		return "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: " + how
	}
	for _, tc := range []struct{ handler, want string }{
		{"error", "Unhandled: Mine: m"},
		{"exit", exitError("exit status 3")},
		{"signal", exitError("signal: killed")},
		{"hang", timedOut(brief)},
		{"memory", "Unhandled: Runtime.OutOfMemory: RequestId: " + testID + " Error: Runtime exited with error: signal: killed"},
		{"large", fmt.Sprintf("Unhandled: Function.ResponseSizeTooLarge: Response payload size (%d bytes) exceeded maximum allowed payload size (%d bytes).", MaxResponse+10, MaxResponse)},
	} {
		t.Run(tc.handler, func(t *testing.T) {
			b := newSandboxedBench(t, nil)
			f := b.custom(tc.handler)
			again := "1" // in a new process
			if tc.handler == "error" || tc.handler == "large" {
				again = "3"
			}
			for _, step := range []struct{ event, want string }{{`{}`, "1"}, {`"fail"`, tc.want}, {`{}`, again}} {
				if got := answer(b.step(f, step.event, step.want)); got != step.want {
					t.Fatalf("%s answered\n %s\nwant\n %s\nlog %q", step.event, got, step.want, b.logs.all())
				}
			}
		})
	}
}

func TestSandboxed_CustomRuntimeThatDoesNotStart(t *testing.T) {
	b := newSandboxedBench(t, nil)
	entry := func(reason string) string {
		return "Unhandled: Runtime.InvalidEntrypoint: RequestId: " + testID + " Error: " + reason
	}
	provided := func(mode os.FileMode, content string) Function {
		f := b.function(map[string]string{"bootstrap": content})
		if err := os.Chmod(b.code.dirs[f.CodeSHA256]+"/bootstrap", mode); err != nil {
			t.Fatal(err)
		}
		f.Runtime = "provided.al2023"
		return f
	}
	none := b.js(``)
	none.Runtime = "provided.al2023"
	for name, tc := range map[string]struct {
		f    Function
		want string
	}{
		"exits":          {b.custom("init-exit"), "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 5"},
		"exits well":     {b.custom("init-silent"), "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited without providing a reason"},
		"tells":          {b.custom("init-error"), "Unhandled: Runtime.Odd: at load"},
		"no bootstrap":   {none, entry("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]")},
		"not executable": {provided(0o644, "#!/bin/sh\n"), entry("fork/exec /var/task/bootstrap: permission denied")},
		"no program":     {provided(0o755, "hello"), entry("fork/exec /var/task/bootstrap: exec format error")},
	} {
		t.Run(name, func(t *testing.T) {
			tc.f.ARN += strings.ReplaceAll(name, " ", "-")
			for range 2 {
				if got := answer(b.invoke(tc.f, `{}`)); got != tc.want {
					t.Errorf("answered\n %s\nwant\n %s\nlog %q", got, tc.want, b.logs.all())
				}
			}
		})
	}
}

func TestSandboxed_CustomRuntimeEnvironment(t *testing.T) {
	b := newSandboxedBench(t, func(c *Config) { c.Credentials = sessionOf(Credentials{AccessKeyID: "ASIA"}) })
	f := b.custom("environment")
	f.Environment = map[string]string{"MINE": "mine", "PATH": "/my/bin"}
	if got, want := answer(b.invoke(f, `{}`)), `["/var/task/bootstrap" "/var/task" "mine" "ASIA" "false" "/my/bin"]`; got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
	layer := b.custom("").CodeSHA256
	f = b.js(``)
	f.Runtime, f.Layers, f.Handler, f.ARN = "provided.al2023", []string{layer}, "environment", f.ARN+"2"
	if got := answer(b.invoke(f, `{}`)); !strings.HasPrefix(got, `["/opt/bootstrap" "/var/task"`) {
		t.Errorf("with its bootstrap in a layer it answered %s", got)
	}
}

func TestSandboxed_CustomRuntimeLogs(t *testing.T) {
	b := newSandboxedBench(t, nil)
	f := b.custom("")
	tail := string(b.invoke(f, `{}`).LogTail)
	if !strings.Contains(tail, "START RequestId: "+testID) || !strings.Contains(tail, "running 1\n") || !strings.Contains(tail, "Init Duration: ") {
		t.Errorf("tail %q", tail)
	}
	lines := b.logs.all()
	if lines[0][:45] != "INIT_START Runtime Version: provided:al2023\tR" || lines[1] != "loading\n" {
		t.Errorf("log %q", lines)
	}
}

// A custom runtime is frozen like any other, once it has asked for more.
func TestSandboxed_CustomRuntimeFrozen(t *testing.T) {
	b := newSandboxedBench(t, func(c *Config) { c.FreezeAfter = time.Nanosecond })
	f := b.custom("")
	for want := range 5 {
		if got := answer(b.invoke(f, `{}`)); got != fmt.Sprint(want+1) {
			t.Fatalf("answered %s, want %d", got, want+1)
		}
	}
}

func BenchmarkWarm_CustomRuntime(b *testing.B) {
	bn := newSandboxedBench(b, nil)
	f := bn.custom("quiet")
	f.MemoryMB = 1769
	bn.invoke(f, `{}`)
	for b.Loop() {
		if _, err := bn.envs.Invoke(b.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)}); err != nil {
			b.Fatal(err)
		}
	}
}
