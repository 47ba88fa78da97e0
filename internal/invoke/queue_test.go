package invoke_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/execenv"
	"davy/internal/invoke"
	"davy/internal/state"
	"davy/internal/state/statetest"
)

// start runs a dispatcher until the returned function is called.
func start(t *testing.T, d *invoke.Dispatcher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func send(t *testing.T, d *invoke.Dispatcher, name string) {
	t.Helper()
	out, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new(name), InvocationType: new(lambdaapi.InvocationTypeEvent), Payload: []byte(`{"n":1}`)})
	if err != nil || *out.StatusCode != 202 || out.ExecutedVersion != nil {
		t.Fatalf("response = %+v, %v", out, err)
	}
}

func depth(t *testing.T, store state.Store, name string) int64 {
	t.Helper()
	visible, hidden, err := store.Depth(t.Context(), "lambda/async/"+arnOf(name))
	if err != nil {
		t.Fatal(err)
	}
	return visible + hidden
}

// journal records when attempts happen, in seconds since its start.
type journal struct {
	mu      sync.Mutex
	begin   time.Time
	entries []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf("%gs ", time.Since(j.begin).Seconds())+fmt.Sprintf(format, args...))
}

func (j *journal) want(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.entries, want) {
		t.Errorf("attempts = %q\nwant      %q", j.entries, want)
	}
}

func TestQueue_Retries(t *testing.T) {
	fail := errors.New("no sandbox")
	for _, tc := range []struct {
		name    string
		set     func(*invoke.Settings)
		outcome func(attempt int) (string, error) // function error, error
		want    []string
		dropped string
	}{
		{"success", nil, func(int) (string, error) { return "", nil }, []string{"0s req-1"}, ""},
		{"function errors: after one minute, then two", nil, func(int) (string, error) { return "Unhandled", nil }, []string{"0s req-1", "60s req-1", "180s req-1"}, "retries exhausted"},
		{"success at the second attempt", nil, func(n int) (string, error) { return map[int]string{1: "Unhandled"}[n], nil }, []string{"0s req-1", "60s req-1"}, ""},
		{"no retries", func(s *invoke.Settings) { s.MaxRetries = 0 }, func(int) (string, error) { return "Unhandled", nil }, []string{"0s req-1"}, "retries exhausted"},
		{"too old to be retried", func(s *invoke.Settings) { s.MaxEventAge = time.Minute + time.Second }, func(int) (string, error) { return "Unhandled", nil }, []string{"0s req-1", "60s req-1"}, "maximum event age exceeded"},
		{"system errors: back-off until too old", func(s *invoke.Settings) { s.MaxEventAge = time.Minute }, func(int) (string, error) { return "", fail }, []string{"0s req-1", "1s req-1", "3s req-1", "7s req-1", "15s req-1", "31s req-1"}, "maximum event age exceeded"},
		{"system errors do not use up retries", nil, func(n int) (string, error) {
			if n <= 2 {
				return "", fail
			}
			return "Unhandled", nil
		}, []string{"0s req-1", "1s req-1", "3s req-1", "63s req-1", "183s req-1"}, "retries exhausted"},
		{"function errors do not lengthen the back-off", nil, func(n int) (string, error) {
			if n == 1 {
				return "Unhandled", nil
			}
			return "", map[int]error{2: fail, 3: fail}[n]
		}, []string{"0s req-1", "60s req-1", "61s req-1", "63s req-1"}, ""},
		{"back-off ends at five minutes", func(s *invoke.Settings) { s.MaxEventAge = 20 * time.Minute }, func(int) (string, error) { return "", fail }, []string{
			"0s req-1", "1s req-1", "3s req-1", "7s req-1", "15s req-1", "31s req-1", "63s req-1", "127s req-1", "255s req-1", "511s req-1", "811s req-1", "1111s req-1",
		}, "maximum event age exceeded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, set := functions(), defaults()
				if tc.set != nil {
					tc.set(&set)
				}
				c.put("fn", set)
				log, out := logged()
				j := &journal{begin: time.Now()}
				attempts := 0
				store := statetest.NewMemory()
				d := dispatcher(t, c, store, func(_ context.Context, fn execenv.Function, inv execenv.Invocation) (execenv.Outcome, error) {
					attempts++
					j.add("%s", inv.RequestID)
					if inv.InvokedARN != fnARN || string(inv.Payload) != `{"n":1}` || inv.ClientContext != "" {
						t.Errorf("invocation = %+v", inv)
					}
					functionError, err := tc.outcome(attempts)
					return execenv.Outcome{FunctionError: functionError}, err
				}, func(cfg *invoke.Config) { cfg.Log = log })
				defer start(t, d)()
				synctest.Wait() // the dispatcher sleeps
				send(t, d, "fn")
				time.Sleep(7 * time.Hour)
				synctest.Wait()
				j.want(t, tc.want...)
				if n := depth(t, store, "fn"); n != 0 {
					t.Errorf("%d events left", n)
				}
				got := out.take()
				if dropped := strings.Count(got, "event dropped"); tc.dropped == "" && dropped != 0 || tc.dropped != "" && (dropped != 1 ||
					!strings.Contains(got, fmt.Sprintf("reason=%q function=%s request_id=req-1 attempts=%d\n", tc.dropped, fnARN, len(tc.want)))) {
					t.Errorf("log = %s", got)
				}
			})
		})
	}
}

func TestQueue_RunsWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{begin: time.Now()}
		d := dispatcher(t, functions("a", "b"), statetest.NewMemory(), func(_ context.Context, fn execenv.Function, _ execenv.Invocation) (execenv.Outcome, error) {
			j.add("%s", fn.Name)
			time.Sleep(time.Second)
			return execenv.Outcome{}, nil
		})
		defer start(t, d)()
		for _, name := range []string{"a", "b"} {
			time.Sleep(10 * time.Second)
			send(t, d, name)
			synctest.Wait()
		}
		j.want(t, "10s a", "20s b")
	})
}

// deliveries counts what a store hands out.
type deliveries struct {
	*statetest.Memory
	delivered atomic.Int64
}

func (d *deliveries) Receive(ctx context.Context, queue string, n int, vis time.Duration) ([]state.Delivery, error) {
	got, err := d.Memory.Receive(ctx, queue, n, vis)
	d.delivered.Add(int64(len(got)))
	return got, err
}

func TestQueue_LongRunKeepsItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{begin: time.Now()}
		store := &deliveries{Memory: statetest.NewMemory()}
		d := dispatcher(t, functions("fn"), store, func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
			j.add("run")
			time.Sleep(15 * time.Minute)
			return execenv.Outcome{}, nil
		})
		defer start(t, d)()
		send(t, d, "fn")
		time.Sleep(time.Hour)
		j.want(t, "0s run")
		if n := depth(t, store, "fn"); n != 0 || store.delivered.Load() != 1 {
			t.Errorf("%d events left, delivered %d times", n, store.delivered.Load())
		}
	})
}

// A store that stalled lets a running event become visible again: the process
// that runs it must recognise it, not run it twice.
func TestQueue_RedeliveryOfARunningEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{begin: time.Now()}
		store := &deliveries{Memory: statetest.NewMemory()}
		d := dispatcher(t, functions("fn"), store, func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
			j.add("run")
			time.Sleep(time.Minute)
			return execenv.Outcome{}, nil
		})
		defer start(t, d)()
		send(t, d, "fn")
		synctest.Wait()
		store.FailCommits(errors.New("stalled"))
		time.Sleep(20500 * time.Millisecond) // it is visible since 15s; no sign of life until 25s
		store.FailCommits(nil)
		time.Sleep(time.Second)
		if n := store.delivered.Load(); n != 2 {
			t.Fatalf("delivered %d times; want 2", n)
		}
		time.Sleep(time.Hour)
		j.want(t, "0s run")
		if n := depth(t, store, "fn"); n != 0 {
			t.Errorf("%d events left", n)
		}
	})
}

func TestQueue_SurvivesAStoppedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := statetest.NewMemory(), functions("fn")
		crashed := dispatcher(t, c, store, echo)
		send(t, crashed, "fn")
		send(t, crashed, "fn")
		// The first was claimed by a process that is no more.
		if ds, err := store.Receive(t.Context(), "lambda/async/"+fnARN, 1, 15*time.Second); err != nil || len(ds) != 1 {
			t.Fatal(ds, err)
		}
		j := &journal{begin: time.Now()}
		d := dispatcher(t, c, store, func(_ context.Context, _ execenv.Function, inv execenv.Invocation) (execenv.Outcome, error) {
			j.add("%s", inv.RequestID)
			return execenv.Outcome{}, nil
		})
		defer start(t, d)()
		time.Sleep(time.Minute)
		j.want(t, "0s req-1", "15s req-1")
	})
}

func TestQueue_WaitsForAPlace(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*invoke.Settings)
	}{
		{"reserved", func(s *invoke.Settings) { s.Reserved = 2 }},
		{"account", func(s *invoke.Settings) { s.Unreserved = 2 }},
		{"provisioned and reserved", func(s *invoke.Settings) { s.Reserved, s.Provisioned, s.AllReady = 2, 1, 1 }},
		{"all provisioned", func(s *invoke.Settings) { s.Unreserved, s.Provisioned, s.AllReady = 0, 2, 2 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, set := functions(), defaults()
				tc.set(&set)
				c.put("fn", set)
				j := &journal{begin: time.Now()}
				d := dispatcher(t, c, statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
					j.add("run")
					time.Sleep(10 * time.Second)
					return execenv.Outcome{}, nil
				})
				defer start(t, d)()
				for range 5 {
					send(t, d, "fn")
				}
				time.Sleep(time.Minute)
				j.want(t, "0s run", "0s run", "10s run", "10s run", "20s run")
			})
		})
	}
}

func TestQueue_LimitsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, set := functions(), defaults()
		set.Reserved = 1
		c.put("fn", set)
		j := &journal{begin: time.Now()}
		d := dispatcher(t, c, statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
			j.add("run")
			time.Sleep(time.Hour)
			return execenv.Outcome{}, nil
		}, func(c *invoke.Config) { c.Grace = 2 * time.Hour })
		defer start(t, d)()
		for range 3 {
			send(t, d, "fn")
		}
		time.Sleep(time.Minute)
		set.Reserved = 2
		c.put("fn", set)
		d.LimitsChanged()
		synctest.Wait()
		j.want(t, "0s run", "60s run")
	})
}

func TestQueue_WorkersAreBoundedAndFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most, firstOfB := 0, 0, time.Duration(0)
		begin := time.Now()
		d := dispatcher(t, functions("a", "b"), statetest.NewMemory(), func(_ context.Context, fn execenv.Function, _ execenv.Invocation) (execenv.Outcome, error) {
			mu.Lock()
			running++
			most = max(most, running)
			if fn.Name == "b" && firstOfB == 0 {
				firstOfB = time.Since(begin)
			}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return execenv.Outcome{}, nil
		}, func(c *invoke.Config) { c.Workers = 8 })
		for range 100 {
			send(t, d, "a")
		}
		time.Sleep(time.Second)
		begin = time.Now()
		send(t, d, "b") // behind the hundred
		defer start(t, d)()
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most != 8 {
			t.Errorf("%d ran at once; want 8", most)
		}
		if firstOfB > time.Second {
			t.Errorf("b waited %v behind a's queue", firstOfB)
		}
	})
}

func TestQueue_DropsWhatCannotRun(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		change       func(*catalogue)
	}{
		{"deleted", "function does not exist", func(c *catalogue) { c.remove("fn") }},
		{"switched off", "reserved concurrency is zero", func(c *catalogue) {
			set := defaults()
			set.Reserved = 0
			c.put("fn", set)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, store := functions("fn"), statetest.NewMemory()
				log, out := logged()
				d := dispatcher(t, c, store, func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
					t.Error("the function ran")
					return execenv.Outcome{}, nil
				}, func(cfg *invoke.Config) { cfg.Log = log })
				send(t, d, "fn")
				tc.change(c)
				defer start(t, d)()
				synctest.Wait()
				want := fmt.Sprintf("level=WARN msg=\"event dropped\" reason=%q function=%s request_id=req-1 attempts=0\n", tc.reason, fnARN)
				if got := out.take(); got != want {
					t.Errorf("log = %q\nwant  %q", got, want)
				}
				if n := depth(t, store, "fn"); n != 0 {
					t.Errorf("%d events left", n)
				}
			})
		})
	}
}

func TestRun_Drains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.NewMemory()
		d := dispatcher(t, functions("fn"), store, func(ctx context.Context, _ execenv.Function, _ execenv.Invocation) (execenv.Outcome, error) {
			select {
			case <-time.After(10 * time.Second):
				return execenv.Outcome{}, nil
			case <-ctx.Done():
				return execenv.Outcome{}, ctx.Err()
			}
		})
		stop := start(t, d)
		send(t, d, "fn")
		synctest.Wait()
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 10*time.Second || depth(t, store, "fn") != 0 {
			t.Errorf("drained in %v, %d events left", took, depth(t, store, "fn"))
		}
	})
}

func TestRun_GivesUpDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.NewMemory()
		end := make(chan struct{})
		defer close(end)
		d := dispatcher(t, functions("fn"), store, func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
			<-end // the environments don't end with the context
			return execenv.Outcome{}, nil
		}, func(c *invoke.Config) { c.Grace = 3 * time.Second })
		stop := start(t, d)
		send(t, d, "fn")
		synctest.Wait()
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("stopped after %v; want 3s", took)
		}
		if visible, _, err := store.Depth(t.Context(), "lambda/async/"+fnARN); visible != 1 || err != nil {
			t.Errorf("%d events are ready for the next process, %v; want 1", visible, err)
		}
	})
}

func TestQueue_StoreFailuresAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.NewMemory()
		j := &journal{begin: time.Now()}
		d := dispatcher(t, functions("fn"), store, func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
			j.add("run")
			return execenv.Outcome{}, nil
		})
		send(t, d, "fn")
		store.FailCommits(errors.New("disk"))
		defer start(t, d)()
		time.Sleep(2500 * time.Millisecond)
		store.FailCommits(nil)
		time.Sleep(time.Minute)
		j.want(t, "3s run")
	})
}

// flooded is a store whose queues cannot be written to, until it was asked too
// often.
type flooded struct {
	*statetest.Memory
	asked atomic.Int64
}

func (f *flooded) Receive(ctx context.Context, queue string, n int, vis time.Duration) ([]state.Delivery, error) {
	if f.asked.Add(1) > 1000 {
		f.FailCommits(nil)
	}
	return f.Memory.Receive(ctx, queue, n, vis)
}

// The places that a claim gives back when it fails wake nobody who would claim
// again at once.
func TestQueue_StoreFailuresLeaveTheProcessorFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flooded{Memory: statetest.NewMemory()}
		c, set := functions(), defaults()
		set.Reserved = 1
		c.put("fn", set)
		d := dispatcher(t, c, store, echo)
		for range 5 {
			send(t, d, "fn")
		}
		store.FailCommits(state.ErrFull)
		defer start(t, d)()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := store.asked.Load(); n < 50 || n > 70 {
			t.Errorf("asked %d times in a minute, want once a second", n)
		}
		store.FailCommits(nil)
		time.Sleep(time.Minute)
		if n := depth(t, store, "fn"); n != 0 {
			t.Errorf("%d events are left", n)
		}
	})
}

func TestEvent_NotAcknowledgedWhenNotDurable(t *testing.T) {
	store := statetest.NewMemory()
	store.FailCommits(state.ErrFull)
	d := dispatcher(t, functions("fn"), store, echo)
	out, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new("fn"), InvocationType: new(lambdaapi.InvocationTypeEvent)})
	if !errors.Is(err, state.ErrFull) || out != nil {
		t.Fatalf("response = %+v, %v", out, err)
	}
}
