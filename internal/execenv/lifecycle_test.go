package execenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"davy/internal/sandbox"
)

// waiting is a handler that waits until the test lets it go on.
const waiting = `let n = 0; exports.handler = async (e) => {
	n++;
	if (e.started) require("fs").writeFileSync(e.started, "x");
	if (e.go) await require("fs").promises.readFile(e.go);
	return n;
}`

// gatedEvent is an event for the handler waiting.
type gatedEvent struct {
	t             testing.TB
	started, goOn string
}

func newGatedEvent(t testing.TB) gatedEvent {
	t.Helper()
	dir := t.TempDir()
	g := gatedEvent{t, filepath.Join(dir, "started"), filepath.Join(dir, "go")}
	for _, p := range []string{g.started, g.goOn} {
		if err := syscall.Mkfifo(p, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g gatedEvent) json() string { return fmt.Sprintf(`{"started":%q,"go":%q}`, g.started, g.goOn) }

// awaitStarted returns when the handler runs.
func (g gatedEvent) awaitStarted() {
	g.t.Helper()
	if _, err := os.ReadFile(g.started); err != nil {
		g.t.Fatal(err)
	}
}

func (g gatedEvent) letGo() {
	g.t.Helper()
	if err := os.WriteFile(g.goOn, []byte("x"), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// start invokes in the background.
func (b *bench) start(f Function, event string) <-chan result {
	done := make(chan result, 1)
	go func() {
		out, err := b.envs.Invoke(context.WithoutCancel(b.t.Context()), f, Invocation{
			RequestID: testID, InvokedARN: f.ARN, Payload: []byte(event), Tail: true,
		})
		done <- result{out, err}
	}()
	return done
}

func (r result) expect(t testing.TB, payload string) {
	t.Helper()
	if r.err != nil || string(r.outcome.Payload) != payload {
		t.Fatalf("answer = %s %s, %v; want %s", r.outcome.FunctionError, r.outcome.Payload, r.err, payload)
	}
}

func TestEnvironment_IsReusedByItsRevisionOnly(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	other := f
	other.ARN, other.Name = strings.Replace(f.ARN, ":f", ":g", 1), "g"
	version := f
	version.Version = "1"
	for _, step := range []struct {
		f    Function
		want string
	}{{f, "1"}, {f, "2"}, {other, "1"}, {version, "1"}, {f, "3"}, {other, "2"}} {
		if got := answer(b.invoke(step.f, `{}`)); got != step.want {
			t.Fatalf("%s %s answered %s, want %s", step.f.Name, step.f.Version, got, step.want)
		}
	}
	f.Revision, f.Environment = "2", map[string]string{"X": "1"}
	if got := answer(b.invoke(f, `{}`)); got != "1" {
		t.Fatalf("after a change it answered %s, want 1", got)
	}
	<-b.driver.sandboxes()[0].Done() // the idle one of the old revision
	if n := len(b.driver.sandboxes()); n != 4 {
		t.Fatalf("%d sandboxes, want 4", n)
	}
}

func TestEnvironment_OldRevisionFinishesItsInvocation(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	g := newGatedEvent(t)
	old := b.start(f, g.json())
	g.awaitStarted()

	changed := b.js(`exports.handler = async () => "new"`)
	if got := answer(b.invoke(changed, `{}`)); got != `"new"` {
		t.Fatalf("new revision answered %s", got)
	}
	g.letGo()
	(<-old).expect(t, "1")
	<-b.driver.sandboxes()[0].Done()
}

// A change ends what was idle, also when nobody invokes the function any more.
func TestRevised(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	g := newGatedEvent(t)
	busy := b.start(f, g.json())
	g.awaitStarted()
	b.invoke(f, `{}`)
	b.envs.Revised(f) // to what it is
	if got := answer(b.invoke(f, `{}`)); got != "2" {
		t.Errorf("without a change it answered %s", got)
	}
	changed := f
	changed.Revision = "changed"
	b.envs.Revised(changed)
	<-b.driver.sandboxes()[1].Done()
	g.letGo()
	(<-busy).expect(t, "1")
	<-b.driver.sandboxes()[0].Done()
	b.awaitNothing(f)
}

func TestInvoke_SixteenAtOnceOnAColdFunction(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			out, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)})
			if err != nil || out.FunctionError != "" {
				t.Errorf("Invoke = %s %s, %v", out.FunctionError, out.Payload, err)
			}
		})
	}
	wg.Wait()
	if n := len(b.driver.sandboxes()); n > 16 {
		t.Errorf("%d sandboxes for 16 invocations", n)
	}
}

func TestInvoke_WaitingTakesTheFirstThatBecomesFree(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	g := newGatedEvent(t)
	first := b.start(f, g.json())
	g.awaitStarted()

	gate := make(chan struct{}) // no second environment gets ready
	b.driver.gate.Store(&gate)
	second := b.start(f, `{}`)
	b.awaitWaiting(f, 1)
	g.letGo()
	(<-first).expect(t, "1")
	(<-second).expect(t, "2") // the same environment
	close(gate)
}

// While environments take long to begin, those that free themselves serve who
// waits: what was begun for one invocation is there for the next.
func TestInvoke_BeginsNoMoreEnvironmentsThanInvocationsWait(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	b.invoke(f, `{}`)
	gate := make(chan struct{}) // no other environment gets ready
	b.driver.gate.Store(&gate)
	for n := range 5 {
		g := newGatedEvent(t)
		first := b.start(f, g.json())
		g.awaitStarted()
		second := b.start(f, `{}`)
		b.awaitWaiting(f, 1)
		g.letGo()
		(<-first).expect(t, fmt.Sprint(2*n+2))
		(<-second).expect(t, fmt.Sprint(2*n+3))
	}
	b.envs.mu.Lock()
	size := b.envs.fleets[f.ARN+" "+f.Version].size
	b.envs.mu.Unlock()
	if size != 2 {
		t.Errorf("%d environments, want that which serves and one that begins", size)
	}
	close(gate)
}

func TestInvoke_EnvironmentsThatNobodyNeedsAnyMoreDoNotBoot(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	g := newGatedEvent(t)
	first := b.start(f, g.json())
	g.awaitStarted()
	for range cap(b.envs.boots) { // the processors are busy
		b.envs.boots <- struct{}{}
	}
	second := b.start(f, `{}`)
	b.awaitWaiting(f, 1)
	g.letGo()
	(<-first).expect(t, "1")
	(<-second).expect(t, "2")
	for range cap(b.envs.boots) {
		<-b.envs.boots
	}
	fl := b.envs.fleets[f.ARN+" "+f.Version]
	for starting := 1; starting != 0; b.pause() {
		b.envs.mu.Lock()
		starting = fl.starting
		b.envs.mu.Unlock()
	}
	if n := len(b.driver.sandboxes()); n != 1 {
		t.Errorf("%d sandboxes, want 1", n)
	}
}

// awaitWaiting returns when n invocations wait for an environment.
func (b *bench) awaitWaiting(f Function, n int) {
	b.t.Helper()
	for {
		b.envs.mu.Lock()
		fl := b.envs.fleets[f.ARN+" "+f.Version]
		ok := fl != nil && len(fl.waiting) == n
		b.envs.mu.Unlock()
		if ok {
			return
		}
		b.pause()
	}
}

func TestInvoke_GivesUpWaitingWithItsContext(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	gate := make(chan struct{})
	b.driver.gate.Store(&gate)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.envs.Invoke(ctx, f, Invocation{RequestID: testID, Payload: []byte(`{}`)})
		done <- err
	}()
	b.awaitWaiting(f, 1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Invoke = %v, want context.Canceled", err)
	}
	close(gate)
	if got := answer(b.invoke(f, `{}`)); got != "1" {
		t.Fatalf("next invocation answered %s", got)
	}
}

func TestInvoke_ErrorsOfThePlatform(t *testing.T) {
	t.Run("sandbox", func(t *testing.T) {
		b := newBench(t, nil)
		f := b.js(waiting)
		fault := errors.New("no memory left")
		b.driver.createErr.Store(&fault)
		first, second := b.start(f, `{}`), b.start(f, `{}`)
		for _, r := range []result{<-first, <-second} {
			if !errors.Is(r.err, fault) {
				t.Errorf("Invoke = %v, want %v", r.err, fault)
			}
		}
		b.driver.createErr.Store(nil)
		if got := answer(b.invoke(f, `{}`)); got != "1" {
			t.Errorf("afterwards it answered %s", got)
		}
	})
	t.Run("role", func(t *testing.T) {
		fault := errors.New("the role does not trust lambda.amazonaws.com")
		b := newBench(t, func(c *Config) { c.Credentials = noSession{fault} })
		if r := <-b.start(b.js(waiting), `{}`); !errors.Is(r.err, fault) {
			t.Errorf("Invoke = %v, want %v", r.err, fault)
		}
	})
	t.Run("code", func(t *testing.T) {
		b := newBench(t, nil)
		f := b.js(waiting)
		f.CodeSHA256 = "missing"
		if r := <-b.start(f, `{}`); r.err == nil || !strings.Contains(r.err.Error(), "no code missing") {
			t.Errorf("Invoke = %v", r.err)
		}
	})
	t.Run("runtime", func(t *testing.T) {
		b := newBench(t, nil)
		f := b.js(waiting)
		f.Runtime = "cobol74.x"
		if r := <-b.start(f, `{}`); !errors.Is(r.err, ErrRuntime) || !strings.Contains(r.err.Error(), `unknown runtime: "cobol74.x"`) {
			t.Errorf("Invoke = %v", r.err)
		}
	})
}

type noSession struct{ err error }

func (n noSession) RoleSession(context.Context, string, string, string) (Credentials, error) {
	return Credentials{}, n.err
}

func TestEnvironment_EndsBeforeItsCredentials(t *testing.T) {
	expires := time.Now().Add(time.Hour)
	b := newBench(t, func(c *Config) { c.Credentials = sessionOf(Credentials{Expires: expires}) })
	f := b.js(waiting)
	b.invoke(f, `{}`)
	fl := b.envs.fleets[f.ARN+" "+f.Version]
	if e := fl.idle[0]; !e.fresh(expires.Add(-f.Timeout-credentialMargin-time.Second)) || e.fresh(expires.Add(-f.Timeout-credentialMargin)) {
		t.Error("an environment must be taken as long as its credentials outlive an invocation, and no longer")
	}
	fl.idle[0].expires = time.Now()
	if got := answer(b.invoke(f, `{}`)); got != "1" {
		t.Errorf("the environment with old credentials answered: %s", got)
	}
	<-b.driver.sandboxes()[0].Done()
}

func TestEnvironment_EndsWhenIdle(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Idle = time.Millisecond })
	f := b.js(waiting)
	b.invoke(f, `{}`)
	<-b.driver.sandboxes()[0].Done()
	for left := 1; left != 0; b.pause() { // nothing is remembered of it
		b.envs.mu.Lock()
		left = len(b.envs.fleets) + len(b.envs.all)
		b.envs.mu.Unlock()
	}
	if got := answer(b.invoke(f, `{}`)); got != "1" {
		t.Errorf("answered %s, want 1: a new environment", got)
	}
}

// What each invocation leaves in a process does not add up for ever.
func TestEnvironment_EndsWhenItHasServedEnough(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`let n = 0; exports.handler = async () => ++n`)
	if got := answer(b.invoke(f, `{}`)); got != "1" {
		t.Fatalf("answered %s", got)
	}
	b.envs.mu.Lock()
	e := b.envs.fleet(f).idle[0]
	b.envs.mu.Unlock()
	e.use.Lock()
	e.served = maxServed - 2
	e.use.Unlock()
	for _, want := range []string{"2", "3", "1"} {
		if got := answer(b.invoke(f, `{}`)); got != want {
			t.Errorf("answered %s, want %s", got, want)
		}
	}
}

func TestEnvironment_ThatDiesBetweenInvocationsIsReplaced(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`let n = 0; exports.handler = async () => { setTimeout(() => process.exit(1), 1); return ++n }`)
	for range 3 {
		if got := answer(b.invoke(f, `{}`)); got != "1" {
			t.Fatalf("answered %s", got)
		}
		all := b.driver.sandboxes()
		<-all[len(all)-1].Done()
	}
}

func TestEnvironment_ThatDiesBetweenInvocationsIsHeard(t *testing.T) {
	b := newBench(t, nil)
	b.invoke(b.js(`exports.handler = async () => { setTimeout(() => { process.stdout.write("last words\n"); process.exit(1) }, 1) }`), `{}`)
	b.logs.await(t, "last words")
}

func TestEnvironment_IsRecycledAfterFailures(t *testing.T) {
	for _, tc := range []struct {
		name, code, want string
		oom              bool
	}{
		{name: "exit 0", code: `process.exit(0)`, want: "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited without providing a reason"},
		{name: "exit 1", code: `process.exit(1)`, want: "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 1"},
		{name: "signal", code: `process.kill(process.pid, "SIGSEGV"); for (;;);`, want: "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: signal: segmentation fault"},
		{name: "out of memory", code: `process.kill(process.pid, "SIGKILL"); for (;;);`, oom: true, want: "Unhandled: Runtime.OutOfMemory: RequestId: " + testID + " Error: Runtime exited with error: signal: killed"},
		{name: "timeout", code: `for (;;);`, want: timedOut(brief)},
		{name: "nonsense in the channel", code: `require("fs").writeSync(4, Buffer.alloc(1000, 0xff)); await new Promise(() => setTimeout(() => {}, 1e6))`, want: "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: signal: killed"},
		{name: "answer to another request", code: `const b = Buffer.from('{"id":"x"}'), h = Buffer.alloc(9); h.writeUInt32BE(4 + b.length); h[4] = 19; h.writeUInt32BE(b.length, 5); require("fs").writeSync(4, Buffer.concat([h, b])); await new Promise(() => setTimeout(() => {}, 1e6))`, want: "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: signal: killed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			f := b.js(`let n = 0; exports.handler = async (e) => { n++; if (e.fail) { ` + tc.code + ` } return n }`)
			b.driver.oom.Store(tc.oom)
			if got := answer(b.invoke(f, `{}`)); got != "1" {
				t.Fatalf("first: %s", got)
			}
			if got := answer(b.step(f, `{"fail":true}`, tc.want)); got != tc.want {
				t.Fatalf("failing:\n %s\nwant\n %s", got, tc.want)
			}
			<-b.driver.sandboxes()[0].Done()
			if got := answer(b.invoke(f, `{}`)); got != "1" {
				t.Fatalf("after it: %s, want 1", got)
			}
		})
	}
}

func TestInit_FailedInitIsTriedAgainByTheInvocation(t *testing.T) {
	b := newBench(t, func(c *Config) { c.InitTimeout = 100 * time.Millisecond })
	f := b.js(`if (process.env.` + nthSandbox + ` === "1") for (;;);
		exports.handler = async () => "second init"`)
	out := b.invoke(f, `{}`)
	if got := answer(out); got != `"second init"` {
		t.Fatalf("answered %s", got)
	}
	if out.InitDuration != 0 {
		t.Errorf("InitDuration = %v: an init that belongs to the invocation is in its duration", out.InitDuration)
	}
	want := []string{maskedInit, "INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: timeout\n", maskedStart, maskedEnd, maskedRep + "\n"}
	if got := masked(b.logs.all()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("log\n%q\nwant\n%q", got, want)
	}
}

func TestEnvironment_Limits(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	f.MemoryMB, f.EphemeralMB = 1769*2, 1024
	b.invoke(f, `{}`)
	sb := b.driver.sandboxes()[0]
	want := sandbox.Limits{
		MemoryBytes: 1769 * 2 << 20, TmpBytes: 1024 << 20, PIDs: 1024, OpenFiles: 1024,
		CPUMilli: int64(runtime.NumCPU()) * 1000,
	}
	if sb.spec.Limits != want {
		t.Errorf("in init: %+v, want %+v", sb.spec.Limits, want)
	}
	if len(sb.limits) != 1 || sb.limits[0] != (sandbox.Limits{CPUMilli: 2000}) {
		t.Errorf("after init: %+v, want two processors", sb.limits)
	}
}

func TestEnvironment_IsFrozenBetweenInvocations(t *testing.T) {
	b := newBench(t, func(c *Config) { c.NoFreeze, c.FreezeAfter = false, time.Nanosecond })
	f := b.js(waiting)
	for i := range 3 {
		if got, want := answer(b.invoke(f, `{}`)), fmt.Sprint(i+1); got != want {
			t.Fatalf("answered %s, want %s", got, want)
		}
		sb := b.driver.sandboxes()[0]
		for e := "thaw"; e != "freeze"; { // thaw of this invocation, if it was frozen before
			select {
			case e = <-sb.events:
			case <-sb.Done():
				t.Fatalf("its process has ended after invocation %d: %+v", i+1, sb.Exit())
			}
		}
	}
}

func TestClose_EndsEverything(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	g := newGatedEvent(t)
	busy := b.start(f, g.json())
	g.awaitStarted()
	gate := make(chan struct{})
	b.driver.gate.Store(&gate)
	queued := b.start(f, `{}`)
	b.awaitWaiting(f, 1)
	// A busy environment of a revision that is gone.
	changed := f
	changed.Revision = "2"
	late := b.start(changed, `{}`)
	b.awaitWaiting(changed, 1)

	if err := b.envs.Close(); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]result{"busy": <-busy, "queued": <-queued, "late": <-late, "after": <-b.start(f, `{}`)} {
		if !errors.Is(r.err, ErrClosed) {
			t.Errorf("%s invocation: %s, %v; want ErrClosed", name, r.outcome.Payload, r.err)
		}
	}
	for _, sb := range b.driver.sandboxes() {
		<-sb.Done()
	}
}

func TestRun_ClosesWithItsContext(t *testing.T) {
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.envs.Run(ctx) }()
	f := b.js(waiting)
	b.invoke(f, `{}`)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	<-b.driver.sandboxes()[0].Done()
}

func TestRetire(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(waiting)
	other := f
	other.ARN += "2" // a longer name is another function
	b.invoke(f, `{}`)
	b.invoke(other, `{}`)
	b.envs.Retire(f.ARN)
	<-b.driver.sandboxes()[0].Done()
	if got := answer(b.invoke(f, `{}`)); got != "1" {
		t.Errorf("the retired function answered %s", got)
	}
	if got := answer(b.invoke(other, `{}`)); got != "2" {
		t.Errorf("the other answered %s", got)
	}
}
