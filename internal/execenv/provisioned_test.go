package execenv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// typed tells how its environment was initialised, and by which.
const typed = `let n = 0; const type = process.env.AWS_LAMBDA_INITIALIZATION_TYPE; console.log("init of", type);
exports.handler = async (e) => {
	n++;
	if (e.started) require("fs").writeFileSync(e.started, "x");
	if (e.go) await require("fs").promises.readFile(e.go);
	if (e.exit) process.exit(1);
	return type + " " + n;
}`

const (
	ahead    = `"provisioned-concurrency %d"`
	onDemand = `"on-demand %d"`
)

func version1(f Function) Function {
	f.Version = "1"
	return f
}

// awaitFleet returns when a fleet satisfies a condition.
func (b *bench) awaitFleet(f Function, what func(*fleet) bool) {
	b.t.Helper()
	for {
		b.envs.mu.Lock()
		fl := b.envs.fleets[f.ARN+" "+f.Version]
		ok := what(fl)
		b.envs.mu.Unlock()
		if ok {
			return
		}
		b.pause()
	}
}

// awaitReady returns when n environments are kept ready and wait.
func (b *bench) awaitReady(f Function, n int) {
	b.t.Helper()
	b.awaitFleet(f, func(fl *fleet) bool { return fl != nil && fl.keep.ready == n && len(fl.keep.idle) == n })
}

// awaitNothing returns when nothing is left of a function.
func (b *bench) awaitNothing(f Function) {
	b.t.Helper()
	b.awaitFleet(f, func(fl *fleet) bool { return fl == nil })
}

func (b *bench) keep(f Function, n int) {
	b.t.Helper()
	b.envs.Provision(f.ARN, []Provision{{f, n}})
}

func TestProvisioned_UsedFirstThenOnDemand(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Idle = time.Millisecond })
	f := version1(b.js(typed))
	b.keep(f, 2)
	b.awaitReady(f, 2)
	if ready, failure := b.envs.Provisioned(f.ARN, "1"); ready != 2 || failure != "" {
		t.Fatalf("Provisioned = %d, %q", ready, failure)
	}
	before := b.logs.all()
	if got := strings.Join(before, ""); strings.Count(got, "INIT_START") != 2 || strings.Count(got, "init of provisioned-concurrency") != 2 {
		t.Errorf("the init phases were not logged when they were: %q", before)
	}
	var gates []gatedEvent
	var running []<-chan result
	for range 2 {
		g := newGatedEvent(t)
		gates, running = append(gates, g), append(running, b.start(f, g.json()))
		g.awaitStarted()
	}
	spilled := b.invoke(f, `{}`)
	if got := answer(spilled); got != fmt.Sprintf(onDemand, 1) || !spilled.Spilled || spilled.Provisioned {
		t.Errorf("beyond what is kept ready: %s, %+v", got, spilled)
	}
	for i, g := range gates {
		g.letGo()
		r := <-running[i]
		r.expect(t, fmt.Sprintf(ahead, 1))
		if !r.outcome.Provisioned || r.outcome.Spilled || r.outcome.InitDuration != 0 || r.outcome.Path != PathWarm {
			t.Errorf("outcome = %+v", r.outcome)
		}
		if tail := string(r.outcome.LogTail); !strings.Contains(tail, "Init Duration: ") {
			t.Errorf("the first report does not tell of the init phase: %q", tail)
		}
	}
	// The one that was started on demand ends when idle, the others do not.
	b.awaitFleet(f, func(fl *fleet) bool { return fl.size == 2 && len(fl.keep.idle) == 2 })
	if got := answer(b.invoke(f, `{}`)); got != fmt.Sprintf(ahead, 2) {
		t.Errorf("after a pause: %s", got)
	}
	if n := len(b.driver.sandboxes()); n != 3 {
		t.Errorf("%d sandboxes, want 3", n)
	}
}

func TestProvisioned_MoreLessNone(t *testing.T) {
	b := newBench(t, nil)
	f := version1(b.js(typed))
	b.keep(f, 1)
	b.awaitReady(f, 1)
	b.keep(f, 3)
	b.awaitReady(f, 3)
	g := newGatedEvent(t)
	busy := b.start(f, g.json())
	g.awaitStarted()
	b.keep(f, 1)
	b.awaitFleet(f, func(fl *fleet) bool { return fl.size == 1 && fl.keep.have == 1 }) // the idle ones go
	b.keep(f, 0)
	b.awaitFleet(f, func(fl *fleet) bool { return fl.size == 1 && fl.keep.have == 0 })
	if got := answer(b.invoke(f, `{}`)); got != fmt.Sprintf(onDemand, 1) {
		t.Errorf("without provisioned concurrency: %s", got)
	}
	g.letGo()
	(<-busy).expect(t, fmt.Sprintf(ahead, 1))
	b.awaitFleet(f, func(fl *fleet) bool { return fl.size == 1 && len(fl.idle) == 1 }) // it ends after its invocation
}

// Versions that are not named any more are given up; others are not touched.
func TestProvisioned_FollowsAnAlias(t *testing.T) {
	b := newBench(t, nil)
	one := version1(b.js(typed))
	two, other := one, one
	two.Version, two.Revision = "2", "two"
	other.ARN += "-other"
	b.keep(other, 1)
	b.keep(one, 2)
	b.awaitReady(one, 2)
	b.keep(two, 1)
	b.awaitReady(two, 1)
	b.awaitNothing(one)
	b.awaitReady(other, 1)
	b.envs.Retire(two.ARN)
	b.awaitNothing(two)
	b.awaitReady(other, 1)
}

func TestProvisioned_IsReplaced(t *testing.T) {
	b := newBench(t, nil)
	f := version1(b.js(typed))
	b.keep(f, 1)
	for _, tc := range []struct {
		name string
		end  func(e *environment)
	}{
		{"its runtime exits in an invocation", func(*environment) {
			if got := answer(b.invoke(f, `{"exit":true}`)); !strings.HasPrefix(got, "Unhandled: Runtime.ExitError") {
				t.Errorf("answered %s", got)
			}
		}},
		{"it dies between invocations", func(e *environment) { e.current.Load().sb.Kill() }},
		{"its credentials become old", func(e *environment) { e.fleet.rotate(e) }},
		{"its credentials are old", func(e *environment) {
			b.envs.mu.Lock()
			e.expires = time.Now()
			b.envs.mu.Unlock()
			// It is not used: the invocation spills over, or meets its
			// successor.
			if got := answer(b.invoke(f, `{}`)); got != fmt.Sprintf(onDemand, 1) && got != fmt.Sprintf(ahead, 1) {
				t.Errorf("answered %s", got)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.awaitReady(f, 1)
			if got := answer(b.invoke(f, `{}`)); got != fmt.Sprintf(ahead, 1) {
				t.Fatalf("answered %s", got)
			}
			b.awaitReady(f, 1)
			var old *environment
			b.awaitFleet(f, func(fl *fleet) bool { old = fl.keep.idle[0]; return true })
			tc.end(old)
			b.awaitFleet(f, func(fl *fleet) bool {
				return fl.keep.ready == 1 && len(fl.keep.idle) == 1 && fl.keep.idle[0] != old
			})
			if ready, failure := b.envs.Provisioned(f.ARN, "1"); ready != 1 || failure != "" {
				t.Errorf("Provisioned = %d, %q", ready, failure)
			}
		})
	}
}

// While an environment is replaced because of its credentials, it serves.
func TestProvisioned_RotationLeavesNoGap(t *testing.T) {
	b := newBench(t, nil)
	f := version1(b.js(typed))
	b.keep(f, 1)
	b.awaitReady(f, 1)
	gate := make(chan struct{})
	b.driver.gate.Store(&gate)
	var old *environment
	b.awaitFleet(f, func(fl *fleet) bool { old = fl.keep.idle[0]; return true })
	old.fleet.rotate(old)
	for n := 1; n <= 2; n++ {
		if got := answer(b.invoke(f, `{}`)); got != fmt.Sprintf(ahead, n) {
			t.Errorf("meanwhile: %s", got)
		}
	}
	close(gate)
	b.awaitFleet(f, func(fl *fleet) bool {
		return fl.size == 1 && len(fl.keep.idle) == 1 && fl.keep.idle[0] != old
	})
}

func TestProvisioned_Failures(t *testing.T) {
	for _, tc := range []struct {
		name, code, reason string
		edit               func(*Function)
	}{
		{name: "error in init", code: `throw new Error("boom")`, reason: functionInitFailure},
		{name: "exit in init", code: `process.exit(1)`, reason: functionInitFailure},
		{name: "role", code: typed, reason: "The role defined for the function cannot be assumed by Lambda."},
		{name: "runtime", code: typed, edit: func(f *Function) { f.Runtime = "cobol74.x" }, reason: `execenv: the runtime cannot be used here: runtimes: unknown runtime: "cobol74.x"`},
		{name: "machine", code: typed, reason: "INTERNAL_ERROR"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *Config) {
				if tc.name == "role" {
					c.Credentials = noSession{errors.New("no trust")}
				}
			})
			if tc.name == "machine" {
				fault := errors.New("no memory left")
				b.driver.createErr.Store(&fault)
			}
			f := version1(b.js(tc.code))
			if tc.edit != nil {
				tc.edit(&f)
			}
			b.keep(f, 40)
			b.awaitFleet(f, func(fl *fleet) bool { return fl.keep.retry != nil && fl.size == 0 })
			if ready, failure := b.envs.Provisioned(f.ARN, "1"); ready != 0 || failure != tc.reason {
				t.Errorf("Provisioned = %d, %q; want %q", ready, failure, tc.reason)
			}
			// What fails is not begun again at once, nor by all that wait.
			if n := len(b.driver.sandboxes()); n > cap(b.envs.turns) {
				t.Errorf("%d sandboxes for a function that fails its init phase", n)
			}
			b.keep(f, 0)
			b.awaitNothing(f)
		})
	}
}

// Waits between attempts grow up to a bound, and a new setting ends them.
func TestProvisioned_TriedAgain(t *testing.T) {
	b := newBench(t, nil)
	b.envs.patience.retry = 50 * time.Millisecond
	fault := errors.New("no memory left")
	b.driver.createErr.Store(&fault)
	f := version1(b.js(typed))
	b.keep(f, 1)
	b.awaitFleet(f, func(fl *fleet) bool { return fl.keep.retry != nil && fl.size == 0 })
	b.driver.createErr.Store(nil)
	b.awaitReady(f, 1) // by itself
	b.driver.createErr.Store(&fault)
	b.keep(f, 2)
	b.awaitFleet(f, func(fl *fleet) bool { return fl.keep.retry != nil && fl.size == 1 })
	b.driver.createErr.Store(nil)
	b.keep(f, 2)
	b.awaitReady(f, 2)
}

// One that dies before it has served at all is not replaced in a loop.
func TestProvisioned_DiesUnused(t *testing.T) {
	b := newBench(t, nil)
	f := version1(b.js(`setTimeout(() => process.exit(1), 20); exports.handler = async () => 1`))
	b.keep(f, 1)
	b.awaitFleet(f, func(fl *fleet) bool { return fl.keep.retry != nil && fl.size == 0 })
	if _, failure := b.envs.Provisioned(f.ARN, "1"); failure != functionInitFailure {
		t.Errorf("failure = %q", failure)
	}
}

// Close ends what is kept ready, what is on its way and what is tried again.
func TestProvisioned_Close(t *testing.T) {
	b := newBench(t, nil)
	one := version1(b.js(typed))
	two, three := one, version1(b.js(`throw 1`))
	two.ARN += "-two"
	three.ARN += "-three"
	b.keep(one, 1)
	b.awaitReady(one, 1)
	b.keep(three, 1)
	b.awaitFleet(three, func(fl *fleet) bool { return fl.keep.retry != nil && fl.size == 0 })
	b.keep(two, 20)
	if err := b.envs.Close(); err != nil {
		t.Fatal(err)
	}
	b.keep(one, 1)
	for _, s := range b.driver.sandboxes() {
		<-s.Done()
	}
}

// Whatever is asked for and invoked at the same time, in the end there is what
// was asked for last.
func TestProvisioned_Concurrently(t *testing.T) {
	b := newBench(t, nil)
	f := version1(b.js(typed))
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, n := range []int{3, 0, 2, 1, 4, 2} {
			b.keep(f, n)
			if out, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, Payload: []byte(`{}`)}); err != nil || out.FunctionError != "" {
				t.Errorf("Invoke = %s %s, %v", out.FunctionError, out.Payload, err)
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if out, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, Payload: []byte(`{}`)}); err != nil || out.FunctionError != "" {
					t.Errorf("Invoke = %s %s, %v", out.FunctionError, out.Payload, err)
				}
			}
		})
	}
	wg.Wait()
	b.awaitReady(f, 2)
	b.awaitFleet(f, func(fl *fleet) bool { return fl.keep.have == 2 && fl.size == 2+len(fl.idle) })
}

// A function that has got all the environments that AWS gives it in so short a
// time is refused another; those that it has serve on.
func TestInvoke_NotFasterThanAWSScales(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(typed)
	b.invoke(f, `{}`)
	b.envs.mu.Lock()
	b.envs.bursts.buckets[f.ARN] = &bucket{-1e9, time.Now()} // so that none comes back while this runs
	b.envs.mu.Unlock()
	if got := answer(b.invoke(f, `{}`)); got != fmt.Sprintf(onDemand, 2) {
		t.Errorf("a warm environment answered %s", got)
	}
	g := newGatedEvent(t)
	busy := b.start(f, g.json())
	g.awaitStarted()
	if _, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, Payload: []byte(`{}`)}); !errors.Is(err, ErrBurst) {
		t.Errorf("Invoke = %v, want %v", err, ErrBurst)
	}
	other := f
	other.ARN += "-other"
	if got := answer(b.invoke(other, `{}`)); got != fmt.Sprintf(onDemand, 1) {
		t.Errorf("another function answered %s", got)
	}
	g.letGo()
	(<-busy).expect(t, fmt.Sprintf(onDemand, 3))
}

// AWS's suppressed init: after a failure the environment stays, and its next
// invocation begins with an init phase that is no cold start, in the same log
// stream. A runtime that does nothing but fail gets another environment.
func TestEnvironment_IsResetAfterAFailure(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(typed)
	streams := func() (names []string) {
		b.logs.mu.Lock()
		defer b.logs.mu.Unlock()
		return slices.Clone(b.logs.streams)
	}
	if out := b.invoke(f, `{"exit":true}`); out.InitDuration == 0 {
		t.Error("the first invocation was no cold start")
	}
	out := b.invoke(f, `{}`)
	if got := answer(out); got != fmt.Sprintf(onDemand, 1) || out.InitDuration != 0 || strings.Contains(string(out.LogTail), "Init Duration") {
		t.Errorf("after it: %s, init %v, log %q", got, out.InitDuration, out.LogTail)
	}
	if n := strings.Count(strings.Join(b.logs.all(), ""), "INIT_START"); n != 1 {
		t.Errorf("%d INIT_START lines, want 1", n)
	}
	for i := range maxFailures {
		if n := len(streams()); n != 1 {
			t.Fatalf("after %d failures in a row %d log streams", i, n)
		}
		b.invoke(f, `{"exit":true}`)
	}
	b.invoke(f, `{}`)
	if n := len(streams()); n != 2 {
		t.Errorf("after %d failures in a row the environment is still the same", maxFailures)
	}
}

// An environment that needs an init phase is taken after those that do not.
func TestEnvironment_ResetOnesAreUsedLast(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(typed)
	g := newGatedEvent(t)
	first := b.start(f, g.json())
	g.awaitStarted()
	b.invoke(f, `{"exit":true}`)
	g.letGo()
	(<-first).expect(t, fmt.Sprintf(onDemand, 1))
	h := newGatedEvent(t)
	second := b.start(f, h.json())
	h.awaitStarted()
	if got := answer(b.invoke(f, `{}`)); got != fmt.Sprintf(onDemand, 1) {
		t.Errorf("the second answered %s", got)
	}
	h.letGo()
	(<-second).expect(t, fmt.Sprintf(onDemand, 2))
}
