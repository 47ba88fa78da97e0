package statetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"davy/internal/state"
)

var messages = []rule{
	{"a message arrives as it was sent", func(t *tester) {
		body := bytes.Repeat([]byte("x\x00\xff"), 100_000)
		attrs := map[string]string{"k": "v", "": "empty key", "bytes\x00": "\xff"}
		before := time.Now()
		t.send(state.Msg{Queue: "q", Body: body, Attrs: attrs, ExpiresAt: future})
		d := t.receiveOne("q", long)
		if !bytes.Equal(d.Body, body) || !maps.Equal(d.Attrs, attrs) || d.Queue != "q" || d.Attempts != 1 ||
			d.Receipt == "" || !d.ExpiresAt.Equal(future) || d.EnqueuedAt.Before(before) || d.EnqueuedAt.After(time.Now()) {
			t.Fatalf("%+.200v", d)
		}
	}},
	{"a body may be empty", func(t *tester) {
		t.send(state.Msg{Queue: "q"})
		if d := t.receiveOne("q", long); len(d.Body) != 0 || len(d.Attrs) != 0 {
			t.Fatalf("%+v", d)
		}
	}},
	{"messages come in the order they became visible", func(t *tester) {
		t.send(state.Msg{Queue: "q", Body: []byte("1")}, state.Msg{Queue: "q", Body: []byte("2")}, state.Msg{Queue: "other", Body: []byte("x")})
		t.send(state.Msg{Queue: "q", Body: []byte("3")})
		t.send(state.Msg{Queue: "q", Body: []byte("0"), VisibleAt: past})
		t.send(state.Msg{Queue: "q", Body: []byte("later"), VisibleAt: future})
		t.same(bodies(t.receive("q", 3, long)), "0", "1", "2")
		t.same(bodies(t.receive("q", 10, long)), "3")
		t.same(bodies(t.receive("q", 10, long)))
		t.same(bodies(t.receive("other", 0, long)))
	}},
	{"a received message is hidden until it is due, then comes again", func(t *tester) {
		t.send(state.Msg{Queue: "q", Body: []byte("m")})
		first := t.receiveOne("q", 0)
		t.depth("q", 1, 0)
		second := t.receiveOne("q", long)
		t.depth("q", 0, 1)
		if first.ID != second.ID || second.Attempts != 2 || first.Receipt == second.Receipt {
			t.Fatalf("%+v, %+v", first, second)
		}
		t.refused(state.ErrReceipt, state.Batch{Settle: []state.Settle{{Receipt: first.Receipt, Delete: true}}})
		t.must(state.Batch{Settle: []state.Settle{{Receipt: second.Receipt, Delete: true}}})
		t.depth("q", 0, 0)
		t.refused(state.ErrReceipt, state.Batch{Settle: []state.Settle{{Receipt: second.Receipt, Delete: true}}})
	}},
	{"a receipt stays valid until the message is received again", func(t *tester) {
		t.send(state.Msg{Queue: "q"})
		d := t.receiveOne("q", 0)
		for range 2 {
			t.must(state.Batch{Settle: []state.Settle{{Receipt: d.Receipt, VisibleAt: future}}})
			t.depth("q", 0, 1)
		}
		t.must(state.Batch{Settle: []state.Settle{{Receipt: d.Receipt, Delete: true}}})
	}},
	{"a message can be given back, with another body", func(t *tester) {
		t.send(state.Msg{Queue: "q", Body: []byte("m")})
		d := t.receiveOne("q", long)
		t.must(state.Batch{Settle: []state.Settle{{Receipt: d.Receipt}}})
		d = t.receiveOne("q", long)
		if string(d.Body) != "m" {
			t.Fatalf("%+v", d)
		}
		t.must(state.Batch{Settle: []state.Settle{{Receipt: d.Receipt, VisibleAt: past, Body: []byte("changed")}}})
		if d = t.receiveOne("q", long); string(d.Body) != "changed" || d.Attempts != 3 {
			t.Fatalf("%+v", d)
		}
	}},
	{"a receipt that was never given is refused", func(t *tester) {
		for _, r := range []string{"", "x", "1.1", "1.0", ".", "1.-1", "zzzzzzzzzzzzzzzzzzzz.1", "1.99999999999999999999"} {
			t.refused(state.ErrReceipt, state.Batch{Settle: []state.Settle{{Receipt: r, Delete: true}}})
		}
	}},
	{"many attempts are counted", func(t *tester) {
		t.send(state.Msg{Queue: "q", Body: []byte("m")})
		for i := 1; i <= 300; i++ {
			if d := t.receiveOne("q", 0); d.Attempts != i {
				t.Fatalf("attempt %d, want %d", d.Attempts, i)
			}
		}
	}},
	{"an expired message is dropped unseen", func(t *tester) {
		t.send(state.Msg{Queue: "q", Body: []byte("old"), ExpiresAt: past}, state.Msg{Queue: "q", Body: []byte("new"), ExpiresAt: future})
		t.depth("q", 1, 0)
		t.same(bodies(t.receive("q", 10, long)), "new")
		t.send(state.Msg{Queue: "only-old", ExpiresAt: past})
		t.ready("only-old")
		t.depth("only-old", 0, 0)
	}},
	{"a message in flight does not expire", func(t *tester) {
		var soon time.Time
		var got []state.Delivery
		for life := 300 * time.Millisecond; len(got) == 0; life *= 2 { // which a slow disk may need alone
			soon = time.Now().Add(life)
			t.send(state.Msg{Queue: "q", ExpiresAt: soon})
			got = t.receive("q", 10, long)
		}
		d := got[0]
		<-time.After(time.Until(soon.Add(time.Millisecond)))
		t.depth("q", 0, 1)
		t.must(state.Batch{Settle: []state.Settle{{Receipt: d.Receipt, VisibleAt: future}}})
		t.must(state.Batch{Settle: []state.Settle{{Receipt: d.Receipt}}}) // visible and expired
		t.depth("q", 0, 0)
		t.refused(state.ErrReceipt, state.Batch{Settle: []state.Settle{{Receipt: d.Receipt, Delete: true}}})
	}},
	{"ready lists the queues that hold a visible message", func(t *tester) {
		if next := t.ready(""); !next.IsZero() {
			t.Fatal(next)
		}
		later := future.Add(time.Hour)
		t.send(
			state.Msg{Queue: "a/later", VisibleAt: later},
			state.Msg{Queue: "a/2"}, state.Msg{Queue: "a/2"}, state.Msg{Queue: "a/1", VisibleAt: past},
			state.Msg{Queue: "a/delayed", VisibleAt: future},
			state.Msg{Queue: "b/delayed", VisibleAt: past.Add(time.Hour)},
		)
		if next := t.ready("a/", "a/1", "a/2"); !next.Equal(future) {
			t.Fatal(next)
		}
		if next := t.ready("b/", "b/delayed"); !next.IsZero() {
			t.Fatal(next)
		}
		if next := t.ready("a/later"); !next.Equal(later) {
			t.Fatal(next)
		}
		first, _, err := t.Ready(t.ctx(), "", 1)
		if err != nil {
			t.Fatal(err)
		}
		t.same(first, "a/1")
		t.receive("a/2", 10, long)
		t.ready("a/", "a/1")
	}},
	{"a drained queue leaves nothing behind", func(t *tester) {
		t.send(state.Msg{Queue: "q"}, state.Msg{Queue: "q"})
		for _, d := range t.receive("q", 10, 0) {
			t.must(state.Batch{Settle: []state.Settle{{Receipt: d.Receipt, Delete: true}}})
		}
		t.depth("q", 0, 0)
		if next := t.ready(""); !next.IsZero() {
			t.Fatal(next)
		}
	}},
	{"wake follows what becomes deliverable", func(t *tester) {
		t.send(state.Msg{Queue: "q"})
		<-t.Wake()
		d := t.receiveOne("q", long)
		t.must(state.Batch{Settle: []state.Settle{{Receipt: d.Receipt}}})
		<-t.Wake()
	}},
}

var concurrency = []rule{
	{"of many writers of one revision one wins", func(t *tester) {
		const writers, rounds = 8, 10
		rev := t.put("a", "0", state.Absent)
		for range rounds {
			var wins atomic.Int64
			var next atomic.Int64
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					got, err := t.Commit(t.ctx(), state.Batch{Ops: []state.Op{{Key: "a", Value: []byte("1"), IfRev: rev}}})
					switch {
					case err == nil:
						wins.Add(1)
						next.Store(got)
					case !errors.Is(err, state.ErrConflict):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if wins.Load() != 1 {
				t.Fatalf("%d writers won", wins.Load())
			}
			rev = next.Load()
		}
	}},
	{"a refused batch does not take its neighbours along", func(t *tester) {
		t.put("taken", "1", state.Absent)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				b := state.Batch{Ops: []state.Op{{Space: "s", Key: fmt.Sprintf("%02d", i), Value: []byte("1"), IfRev: state.Absent}}}
				if i%2 == 0 {
					b.Ops = append(b.Ops, state.Op{Key: "taken", Value: []byte("2"), IfRev: state.Absent})
				}
				if _, err := t.Commit(t.ctx(), b); errors.Is(err, state.ErrConflict) != (i%2 == 0) || (i%2 != 0 && err != nil) {
					t.Errorf("batch %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := len(t.rowKeys("s", "", "", 100)); n != 32 {
			t.Fatalf("%d rows, want 32", n)
		}
	}},
	{"every message is received once by many consumers", func(t *tester) {
		const total = 400
		var wg sync.WaitGroup
		for p := range 4 {
			wg.Go(func() {
				for i := range total / 4 {
					if _, err := t.Commit(t.ctx(), state.Batch{Send: []state.Msg{{Queue: "q", Body: fmt.Appendf(nil, "%d-%d", p, i)}}}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		var mu sync.Mutex
		seen := map[string]int{}
		for range 4 {
			wg.Go(func() {
				for {
					got, err := t.Receive(t.ctx(), "q", 7, long)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, d := range got {
						seen[string(d.Body)]++
					}
					done := len(seen) >= total
					mu.Unlock()
					if done || t.Failed() {
						return
					}
				}
			})
		}
		wg.Wait()
		for body, n := range seen {
			if n != 1 {
				t.Errorf("%s received %d times", body, n)
			}
		}
		t.depth("q", 0, total)
	}},
}

func bodies(ds []state.Delivery) []string {
	out := []string{}
	for _, d := range ds {
		out = append(out, string(d.Body))
	}
	return out
}
