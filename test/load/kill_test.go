package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"davy/test/davytest"
)

// One of a server's three processes is killed under load. Whatever dies, no
// function's process outlives it; after a restart, which a dead launcher does
// not need, everything works as before, events that were acknowledged have run,
// and nothing is left.
func TestKill(t *testing.T) {
	for _, tc := range []struct {
		victim string
		flags  []string
	}{
		{victim: "server"},
		{victim: "supervisor"},
		{victim: "launcher", flags: []string{"--pool-memory", "0"}}, // so that the same process can be counted
	} {
		t.Run(tc.victim, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, tc.flags...)
			ctx := t.Context()
			// What a server makes when it is first used is not a leak.
			l.functions(t)
			l.bombard(t, true).stop()
			l.withoutFunctions(t, tc.victim)
			before := l.census(t)

			l.functions(t)
			b := l.bombard(t, tc.victim == "launcher")
			l.kill(t, tc.victim)
			if tc.victim == "launcher" {
				b.goOn(t)
			}
			b.stop()
			if tc.victim != "launcher" {
				l.awaitEnd(t)
				l.settle(t, "killed", func(c census) bool { return c.Processes+c.Namespaces+c.Mounts+c.Loops == 0 })
				l.start(t)
			}
			if err := load(8, 64, func(_, n int) error { return l.check(ctx, "echo", fmt.Sprint("after-", n)) }); err != nil {
				t.Errorf("after it: %v", err)
			}
			l.awaitProvisioned(t)
			l.awaitObjects(t, b.acknowledged)
			t.Logf("%d answers, %d errors after the kill, %d events", b.right.Load(), b.wrong.Load(), len(b.acknowledged))
			l.withoutFunctions(t, tc.victim)
			l.settle(t, fmt.Sprintf("before %+v", before), before.holds)
			if err := l.Stop(); err != nil {
				t.Error(err)
			}
			l.settle(t, "stopped", census.none)
		})
	}
}

// A server that is told to stop answers what it has accepted: clients meet
// closed connections, but no error of the service. Events that were
// acknowledged run before it ends or after it was started again.
func TestDrain(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.functions(t)
	b := l.bombard(t, false)
	if err := l.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	b.stop()
	if n := b.faults.Load(); n > 0 {
		t.Errorf("%d requests were accepted and not served", n)
	}
	l.settle(t, "stopped", census.none)
	l.start(t)
	l.awaitObjects(t, b.acknowledged)
	t.Logf("%d answers, %d closed connections, %d events", b.right.Load(), b.wrong.Load(), len(b.acknowledged))
}

// functions makes the two that are called while something dies. A version of the
// first has provisioned concurrency.
func (l *lab) functions(t *testing.T) {
	t.Helper()
	for name, code := range map[string]string{"echo": echoCode, "put": putCode} {
		if err := l.create(t.Context(), name, code); err != nil {
			t.Fatal(err)
		}
		if _, err := l.must(t.Context(), "lambda", http.MethodPut, "/2017-10-31/functions/"+name+"/concurrency", []byte(`{"ReservedConcurrentExecutions":16}`)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.must(t.Context(), "lambda", http.MethodPost, functions+"/echo/versions", []byte(`{}`))
	if err == nil {
		_, err = l.must(t.Context(), "lambda", http.MethodPut, provisioned, []byte(`{"ProvisionedConcurrentExecutions":2}`))
	}
	if err != nil {
		t.Fatal(err)
	}
	l.awaitProvisioned(t)
}

const provisioned = "/2019-09-30/functions/echo/provisioned-concurrency?Qualifier=1"

// awaitProvisioned returns when what is kept ready is there.
func (l *lab) awaitProvisioned(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), davytest.Limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := l.send(ctx, "lambda", http.MethodGet, provisioned, nil)
		var state struct{ Status string }
		if err == nil && json.Unmarshal(a.body, &state) == nil && state.Status == "READY" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("provisioned concurrency: %v, %v", a, err)
		}
	}
}

// withoutFunctions deletes them. A pool is full of what they needed: a server
// that was started without functions holds none.
func (l *lab) withoutFunctions(t *testing.T, victim string) {
	t.Helper()
	for _, name := range []string{"echo", "put"} {
		if err := l.remove(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if victim != "launcher" {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
		l.start(t)
	}
}

// kill ends one of the server's processes.
func (l *lab) kill(t *testing.T, victim string) {
	t.Helper()
	supervisor, server, launcher, err := roles(l.Server)
	if err != nil {
		t.Fatal(err)
	}
	pid := map[string]int{"supervisor": supervisor.pid, "server": server.pid, "launcher": launcher.pid}[victim]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd returns when the process that was started has ended.
func (l *lab) awaitEnd(t *testing.T) {
	t.Helper()
	path := fmt.Sprintf("/proc/%d", l.PID())
	ctx, cancel := context.WithTimeout(t.Context(), davytest.Limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err != nil {
			l.Kill() // which finds it gone
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the supervisor lives on without its server")
		}
	}
}

// awaitObjects returns when every event has left its object.
func (l *lab) awaitObjects(t *testing.T, ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*davytest.Limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; i < len(ids); {
		if l.exists(ctx, ids[i]) {
			i++
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("event %s was acknowledged and never ran", ids[i])
		}
	}
}

// bombardment is clients that call without a pause.
type bombardment struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	right  atomic.Int64 // answers
	wrong  atomic.Int64 // errors, after the kill
	faults atomic.Int64 // of them, answers of the service
	goal   atomic.Int64 // of right answers
	met    chan struct{}

	mu           sync.Mutex
	acknowledged []string
}

const (
	answersBefore = 200
	eventsBefore  = 40
	answersAfter  = 200
)

// bombard starts clients and returns when they have got some answers, all of
// which must be right. Later ones may be errors: the service's own, or, unless
// the server stays, of the connection.
func (l *lab) bombard(t *testing.T, stays bool) *bombardment {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &bombardment{cancel: cancel, met: make(chan struct{}, 1)}
	enough := make(chan struct{})
	var events atomic.Int64
	said := sync.OnceFunc(func() { close(enough) })
	check := func() {
		if b.right.Load() >= answersBefore && events.Load() >= eventsBefore {
			said()
		}
		if goal := b.goal.Load(); goal > 0 && b.right.Load() >= goal {
			select {
			case b.met <- struct{}{}:
			default:
			}
		}
	}
	killed := func() bool {
		select {
		case <-enough:
			return true
		default:
			return false
		}
	}
	for i := range 8 {
		b.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				a, err := l.invoke(ctx, "echo", fmt.Sprintf("%d-%d", i, n))
				switch {
				case ctx.Err() != nil:
				case err == nil && a.status == 200 && string(a.body) == fmt.Sprintf(`{"function":"echo","id":"%d-%d"}`, i, n):
					b.right.Add(1)
				case !killed():
					t.Errorf("before the kill: %v, %v", a, err)
					said()
					return
				case err != nil && stays:
					t.Errorf("the server has gone too: %v", err)
					return
				case err == nil && !serviceError(a):
					t.Errorf("an answer that is neither right nor an error of the service: %v", a)
				case err != nil:
					b.wrong.Add(1)
					return // there is nobody to call any more
				default:
					b.wrong.Add(1)
					b.faults.Add(1)
				}
				check()
			}
		})
	}
	for i := range 2 {
		b.wg.Go(func() {
			for n := 0; ctx.Err() == nil && n < 2*eventsBefore; n++ {
				id := fmt.Sprintf("event-%d-%d", i, n)
				if l.post(ctx, "put", id) {
					b.mu.Lock()
					b.acknowledged = append(b.acknowledged, id)
					b.mu.Unlock()
					events.Add(1)
				}
				check()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(davytest.Limit):
		t.Errorf("%d answers and %d events, no more", b.right.Load(), events.Load())
	}
	return b
}

// serviceError says whether an answer is AWS's for a fault of Lambda itself.
func serviceError(a answer) bool {
	var e struct{ Message, Type string }
	return a.status == 500 && a.header.Get("X-Amzn-Errortype") == "ServiceException" && json.Unmarshal(a.body, &e) == nil
}

// goOn returns when clients have got many more right answers.
func (b *bombardment) goOn(t *testing.T) {
	t.Helper()
	b.goal.Store(b.right.Load() + answersAfter)
	select {
	case <-b.met:
	case <-time.After(davytest.Limit):
		t.Errorf("%d answers and %d errors after the kill", b.right.Load(), b.wrong.Load())
	}
}

func (b *bombardment) stop() {
	b.cancel()
	b.wg.Wait()
}
