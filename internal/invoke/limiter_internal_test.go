package invoke

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"davy/internal/execenv"
)

// TestLimiter_Law: whatever is taken and given back in whatever order, what
// runs never exceeds a limit, a free place is never refused, and nothing is
// left when all was given back.
func TestLimiter_Law(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLimiter()
		total := rapid.IntRange(1, 8).Draw(t, "limit")
		fns := make([]*execenv.Function, rapid.IntRange(1, 4).Draw(t, "functions"))
		reserved := make([]int, len(fns))
		unreserved := total
		for i := range fns {
			fns[i] = &execenv.Function{ARN: fmt.Sprint("fn", i), Account: "a", Region: "r"}
			if reserved[i] = rapid.IntRange(-1, unreserved).Draw(t, "reserved"); reserved[i] > 0 {
				unreserved -= reserved[i]
			}
		}
		type held struct {
			i int
			p place
		}
		var holds []held
		running := make([]int, len(fns))
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				i := rapid.IntRange(0, len(fns)-1).Draw(t, "function")
				free := 0
				for j := range fns {
					if reserved[j] < 0 {
						free += running[j]
					}
				}
				want := free < unreserved
				if reserved[i] >= 0 {
					want = running[i] < reserved[i]
				}
				p, why := l.acquire(fns[i], Settings{Reserved: reserved[i], Unreserved: unreserved, Concurrency: total})
				if (why == "") != want {
					t.Fatalf("acquire fn%d = %q with %v running, %v reserved, %d unreserved", i, why, running, reserved, unreserved)
				}
				if why == "" {
					running[i]++
					holds = append(holds, held{i, p})
				}
				if len(holds) > total {
					t.Fatalf("%d run; the limit is %d", len(holds), total)
				}
			},
			"release": func(t *rapid.T) {
				if len(holds) == 0 {
					t.Skip("nothing runs")
				}
				n := rapid.IntRange(0, len(holds)-1).Draw(t, "which")
				l.release(holds[n].p)
				running[holds[n].i]--
				holds = append(holds[:n], holds[n+1:]...)
			},
		})
		for _, h := range holds {
			l.release(h.p)
		}
		if len(l.accounts) != 0 || len(l.functions) != 0 {
			t.Fatalf("left: %v %v", l.accounts, l.functions)
		}
	})
}

// A reservation that appears while the function runs counts what runs already.
func TestLimiter_ReservationChangesWhileRunning(t *testing.T) {
	l := newLimiter()
	fn := &execenv.Function{ARN: "fn", Account: "a", Region: "r"}
	before, _ := l.acquire(fn, Settings{Reserved: -1, Unreserved: 10, Concurrency: 10})
	now := Settings{Reserved: 1, Unreserved: 9, Concurrency: 10}
	if _, why := l.acquire(fn, now); why == "" {
		t.Fatal("two run; one is reserved")
	}
	l.release(before)
	after, why := l.acquire(fn, now)
	if why != "" {
		t.Fatal(why)
	}
	l.release(after)
	if len(l.accounts) != 0 || len(l.functions) != 0 {
		t.Fatalf("left: %v %v", l.accounts, l.functions)
	}
}

// A reservation cannot be used while others still run in the concurrency that
// it was taken from.
func TestLimiter_AccountIsNeverExceeded(t *testing.T) {
	l := newLimiter()
	a, b := &execenv.Function{ARN: "fn1", Account: "a", Region: "r"}, &execenv.Function{ARN: "fn2", Account: "a", Region: "r"}
	for range 2 {
		if _, why := l.acquire(a, Settings{Reserved: -1, Unreserved: 2, Concurrency: 2}); why != "" {
			t.Fatal(why)
		}
	}
	if _, why := l.acquire(b, Settings{Reserved: 1, Unreserved: 1, Concurrency: 2}); why != "ConcurrentInvocationLimitExceeded" {
		t.Fatalf("acquire = %q with two of two running", why)
	}
	b.Region = "elsewhere"
	if _, why := l.acquire(b, Settings{Reserved: 1, Unreserved: 1, Concurrency: 2}); why != "" {
		t.Fatalf("another region's limit: %q", why)
	}
}

func TestLimiter_Concurrent(t *testing.T) {
	l := newLimiter()
	fn := &execenv.Function{ARN: "fn", Account: "a", Region: "r"}
	set := Settings{Reserved: 3, Concurrency: 10}
	var mu sync.Mutex
	var wg sync.WaitGroup
	running, most := 0, 0
	for range 16 {
		wg.Go(func() {
			for range 1000 {
				p, why := l.acquire(fn, set)
				if why != "" {
					continue
				}
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				mu.Lock()
				running--
				mu.Unlock()
				l.release(p)
			}
		})
	}
	wg.Wait()
	if most > 3 || len(l.accounts) != 0 || len(l.functions) != 0 {
		t.Fatalf("most = %d, left: %v %v", most, l.accounts, l.functions)
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := newLimiter()
	fn := &execenv.Function{ARN: "fn", Account: "a", Region: "r"}
	set := Settings{Reserved: -1, Unreserved: 1000, Concurrency: 1000}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := l.acquire(fn, set)
			l.release(p)
		}
	})
}
