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
// left when all was given back. Functions have two versions, of which the
// first may have provisioned concurrency.
func TestLimiter_Law(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLimiter()
		total := rapid.IntRange(1, 8).Draw(t, "limit")
		n := rapid.IntRange(1, 4).Draw(t, "functions")
		reserved, ready := make([]int, n), make([]int, n)
		unreserved := total
		for i := range n {
			if reserved[i] = rapid.IntRange(-1, unreserved).Draw(t, "reserved"); reserved[i] > 0 {
				unreserved -= reserved[i]
				ready[i] = rapid.IntRange(0, reserved[i]).Draw(t, "ready of reserved")
			} else if reserved[i] < 0 {
				ready[i] = rapid.IntRange(0, unreserved).Draw(t, "ready")
				unreserved -= ready[i]
			}
		}
		type held struct {
			i int
			p place
		}
		var holds []held
		onDemand, inReady := make([]int, n), make([]int, n)
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				i := rapid.IntRange(0, n-1).Draw(t, "function")
				first := rapid.Bool().Draw(t, "first version")
				fn := &execenv.Function{ARN: fmt.Sprint("fn", i), Version: "2", Account: "a", Region: "r"}
				set := Settings{Reserved: reserved[i], Unreserved: unreserved, Concurrency: total, AllReady: ready[i]}
				if first {
					fn.Version, set.Provisioned = "1", ready[i]
				}
				free := 0
				for j := range n {
					if reserved[j] < 0 {
						free += onDemand[j]
					}
				}
				inTime := first && inReady[i] < ready[i]
				want := inTime || reserved[i] < 0 && free < unreserved || reserved[i] >= 0 && onDemand[i] < reserved[i]-ready[i]
				p, why := l.acquire(fn, set)
				if (why == "") != want {
					t.Fatalf("acquire %s:%s = %q with %v and %v running, %v reserved, %v ready, %d unreserved", fn.ARN, fn.Version, why, onDemand, inReady, reserved, ready, unreserved)
				}
				if why == "" {
					if inTime {
						inReady[i]++
					} else {
						onDemand[i]++
					}
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
				if holds[n].p.kind == placeProvisioned {
					inReady[holds[n].i]--
				} else {
					onDemand[holds[n].i]--
				}
				holds = append(holds[:n], holds[n+1:]...)
			},
		})
		for _, h := range holds {
			l.release(h.p)
		}
		if len(l.accounts) != 0 || len(l.functions) != 0 || len(l.ready) != 0 {
			t.Fatalf("left: %v %v %v", l.accounts, l.functions, l.ready)
		}
	})
}

// AWS: provisioned concurrency that adds up to the function's reservation
// throttles its unpublished version.
func TestLimiter_AllOfAReservationIsProvisioned(t *testing.T) {
	l := newLimiter()
	one := &execenv.Function{ARN: "fn", Version: "1", Account: "a", Region: "r"}
	latest := &execenv.Function{ARN: "fn", Version: "$LATEST", Account: "a", Region: "r"}
	if _, why := l.acquire(latest, Settings{Reserved: 2, AllReady: 2, Concurrency: 10}); why != "ReservedFunctionConcurrentInvocationLimitExceeded" {
		t.Errorf("$LATEST: %q", why)
	}
	for i := range 3 {
		_, why := l.acquire(one, Settings{Reserved: 2, Provisioned: 2, AllReady: 2, Concurrency: 10})
		if (why == "") != (i < 2) {
			t.Errorf("execution %d of the provisioned version: %q", i+1, why)
		}
	}
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
