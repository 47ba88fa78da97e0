package statetest

import (
	"context"
	"errors"

	"davy/internal/state"
)

var documents = []rule{
	{"what was committed can be read with its revision", func(t *tester) {
		rev := t.put("a", "1", state.Absent)
		d, err := t.Get(t.ctx(), "a")
		if err != nil || string(d.Value) != "1" || d.Rev != rev || d.Key != "a" {
			t.Fatalf("got %+v, %v; want value 1 at revision %d", d, err, rev)
		}
	}},
	{"what does not exist is not found", func(t *tester) {
		if _, err := t.Get(t.ctx(), "a"); !errors.Is(err, state.ErrNotFound) {
			t.Fatal(err)
		}
	}},
	{"revisions grow", func(t *tester) {
		a := t.put("a", "1", state.Any)
		b := t.put("b", "1", state.Any)
		c := t.put("a", "2", state.Any)
		if a >= b || b >= c {
			t.Fatal(a, b, c)
		}
	}},
	{"a write is refused unless the revision is the present one", func(t *tester) {
		rev := t.put("a", "1", state.Absent)
		t.refused(state.ErrConflict, state.Batch{Ops: []state.Op{{Key: "a", Value: []byte("x"), IfRev: state.Absent}}})
		t.refused(state.ErrConflict, state.Batch{Ops: []state.Op{{Key: "a", Value: []byte("x"), IfRev: rev + 1}}})
		t.refused(state.ErrConflict, state.Batch{Ops: []state.Op{{Key: "b", Value: []byte("x"), IfRev: rev}}})
		t.put("a", "2", rev)
		t.refused(state.ErrConflict, state.Batch{Ops: []state.Op{{Key: "a", Value: []byte("x"), IfRev: rev}}})
		if got := t.value("a"); got != "2" {
			t.Fatal(got)
		}
	}},
	{"a deleted document is absent", func(t *tester) {
		rev := t.put("a", "1", state.Any)
		t.must(state.Batch{Ops: []state.Op{{Key: "a", IfRev: rev}}})
		if got := t.value("a"); got != "-" {
			t.Fatal(got)
		}
		t.same(t.keys("", "", 10))
		t.refused(state.ErrConflict, state.Batch{Ops: []state.Op{{Key: "a", IfRev: rev}}})
		t.put("a", "2", state.Absent)
	}},
	{"deleting what does not exist is no error", func(t *tester) {
		t.must(state.Batch{Ops: []state.Op{{Key: "a", IfRev: state.Any}}})
	}},
	{"an empty value is a value", func(t *tester) {
		t.must(state.Batch{Ops: []state.Op{{Key: "a", Value: []byte{}, IfRev: state.Any}, {Space: "s", Key: "a", Value: []byte{}, IfRev: state.Any}}})
		d, err := t.Get(t.ctx(), "a")
		if err != nil || d.Value == nil || len(d.Value) != 0 {
			t.Fatalf("%+v, %v", d, err)
		}
		r, err := t.GetRow(t.ctx(), "s", "a")
		if err != nil || r.Value == nil || len(r.Value) != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		t.same(t.changes("a", 0, 1), "a=")
	}},
	{"keys are opaque bytes in byte order", func(t *tester) {
		for _, k := range []string{"b", "a\x00", "a", "\xff\xfe", "a/b", "a//b", "ä", "A", "a%", "a_"} {
			t.put(k, k, state.Absent)
		}
		t.same(t.keys("", "", 100), "A", "a", "a\x00", "a%", "a//b", "a/b", "a_", "b", "ä", "\xff\xfe")
		t.same(t.keys("a", "", 100), "a", "a\x00", "a%", "a//b", "a/b", "a_")
		t.same(t.keys("\xff", "", 100), "\xff\xfe")
		if got := t.value("a\x00"); got != "a\x00" {
			t.Fatalf("%q", got)
		}
	}},
	{"a list resumes after a key and stops at its limit", func(t *tester) {
		for _, k := range []string{"p/1", "p/2", "p/3", "q/1"} {
			t.put(k, "", state.Any)
		}
		t.same(t.keys("p/", "", 2), "p/1", "p/2")
		t.same(t.keys("p/", "p/2", 2), "p/3")
		t.same(t.keys("p/", "a", 2), "p/1", "p/2")
		t.same(t.keys("p/", "q", 2))
		t.same(t.keys("p/", "", 0))
	}},
	{"what the caller does to its buffers afterwards changes nothing", func(t *tester) {
		v := []byte("1")
		t.must(state.Batch{Ops: []state.Op{{Key: "a", Value: v, IfRev: state.Any}}})
		v[0] = 'x'
		d, _ := t.Get(t.ctx(), "a")
		d.Value[0] = 'y'
		if got := t.value("a"); got != "1" {
			t.Fatal(got)
		}
	}},
	{"a context that has ended is refused", func(t *tester) {
		ctx, cancel := context.WithCancel(t.ctx())
		cancel()
		_, err := t.Commit(ctx, state.Batch{Ops: []state.Op{{Key: "a", Value: []byte("1"), IfRev: state.Any}}})
		if !errors.Is(err, context.Canceled) || t.value("a") != "-" {
			t.Fatal(err)
		}
		if _, err := t.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}},
}

var rows = []rule{
	{"a row belongs to its space", func(t *tester) {
		t.putRow("s", "a", "1")
		t.putRow("t", "a", "2")
		t.put("a", "3", state.Absent)
		if t.row("s", "a") != "1" || t.row("t", "a") != "2" || t.row("u", "a") != "-" || t.value("a") != "3" {
			t.Fatal("spaces mix")
		}
		t.same(t.rowKeys("s", "", "", 10), "a")
	}},
	{"a row's revision is never used twice", func(t *tester) {
		seen := map[int64]bool{}
		for range 3 {
			t.putRow("s", "a", "1")
			r, err := t.GetRow(t.ctx(), "s", "a")
			if err != nil || seen[r.Rev] || r.Rev <= 0 {
				t.Fatal(r, err, seen)
			}
			seen[r.Rev] = true
			t.refused(state.ErrConflict, state.Batch{Ops: []state.Op{{Space: "s", Key: "a", IfRev: r.Rev + 1}}})
			t.must(state.Batch{Ops: []state.Op{{Space: "s", Key: "a", IfRev: r.Rev}}})
			if t.row("s", "a") != "-" {
				t.Fatal("not deleted")
			}
			t.refused(state.ErrConflict, state.Batch{Ops: []state.Op{{Space: "s", Key: "a", Value: []byte("2"), IfRev: r.Rev}}})
		}
	}},
	{"rows come in byte order from a key on", func(t *tester) {
		for _, k := range []string{"b", "a/b", "a//b", "a", "\x00", "a\xff", "\xff", "a\xff\x01"} {
			t.putRow("s", k, k)
		}
		t.same(t.rowKeys("s", "", "", 10), "\x00", "a", "a//b", "a/b", "a\xff", "a\xff\x01", "b", "\xff")
		t.same(t.rowKeys("s", "a", "", 10), "a", "a//b", "a/b", "a\xff", "a\xff\x01")
		t.same(t.rowKeys("s", "a", "a/", 10), "a//b", "a/b", "a\xff", "a\xff\x01")
		t.same(t.rowKeys("s", "a/", "a/0", 10), "a/b")
		t.same(t.rowKeys("s", "a", "b", 10))
		t.same(t.rowKeys("s", "", "a/b", 2), "a/b", "a\xff")
		t.same(t.rowKeys("s", "", "", 0))
	}},
}

var batches = []rule{
	{"a batch changes everything or nothing", func(t *tester) {
		t.put("present", "1", state.Any)
		all := state.Batch{
			Ops: []state.Op{
				{Key: "a", Value: []byte("1"), IfRev: state.Any},
				{Space: "s", Key: "a", Value: []byte("1"), IfRev: state.Any},
				{Key: "present", Value: []byte("2"), IfRev: state.Absent},
			},
			Send: []state.Msg{{Queue: "q", Body: []byte("m")}},
		}
		t.refused(state.ErrConflict, all)
		if t.value("a") != "-" || t.row("s", "a") != "-" || t.value("present") != "1" {
			t.Fatal("half of a refused batch is visible")
		}
		t.depth("q", 0, 0)
		all.Ops[2].IfRev = state.Any
		t.must(all)
		if t.value("a") != "1" || t.row("s", "a") != "1" || t.value("present") != "2" {
			t.Fatal("half of a batch is missing")
		}
		t.depth("q", 1, 0)
	}},
	{"documents of one batch share its revision", func(t *tester) {
		rev := t.must(state.Batch{Ops: []state.Op{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("1")}}})
		for _, k := range []string{"a", "b"} {
			if d, err := t.Get(t.ctx(), k); err != nil || d.Rev != rev {
				t.Fatal(d, err)
			}
		}
	}},
	{"a check guards what the batch does not write", func(t *tester) {
		rev := t.put("bucket", "1", state.Absent)
		write := func(checks ...state.Check) state.Batch {
			return state.Batch{Checks: checks, Ops: []state.Op{{Key: "a", Value: []byte("1"), IfRev: state.Any}}}
		}
		t.must(write(state.Check{Key: "bucket", Rev: rev}, state.Check{Key: "none", Rev: state.Absent}, state.Check{Space: "s", Key: "bucket", Rev: state.Absent}))
		t.refused(state.ErrConflict, write(state.Check{Key: "bucket", Rev: rev + 1}))
		t.refused(state.ErrConflict, write(state.Check{Key: "bucket", Rev: state.Absent}))
		t.refused(state.ErrConflict, write(state.Check{Key: "none", Rev: rev}))
		t.refused(state.ErrConflict, write(state.Check{Space: "s", Key: "bucket", Rev: rev}))
	}},
	{"a space can be required to be empty", func(t *tester) {
		drop := state.Batch{Empty: []string{"s"}, Ops: []state.Op{{Key: "gone", Value: []byte("1"), IfRev: state.Any}}}
		t.putRow("s", "a", "1")
		t.putRow("s2", "a", "1")
		t.refused(state.ErrConflict, drop)
		t.must(state.Batch{Ops: []state.Op{{Space: "s", Key: "a", IfRev: state.Any}}})
		t.must(drop)
	}},
	{"of two writes of a key the later one stays", func(t *tester) {
		t.must(state.Batch{Ops: []state.Op{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "b", Value: []byte("1")}, {Key: "b", IfRev: state.Any}}})
		if t.value("a") != "2" || t.value("b") != "-" {
			t.Fatal(t.value("a"), t.value("b"))
		}
	}},
	{"an empty batch is accepted", func(t *tester) { t.must(state.Batch{}) }},
	{"a message is settled and its successor sent in one step", func(t *tester) {
		t.send(state.Msg{Queue: "q", Body: []byte("m")})
		d := t.receiveOne("q", long)
		move := state.Batch{Settle: []state.Settle{{Receipt: d.Receipt, Delete: true}}, Send: []state.Msg{{Queue: "dead", Body: d.Body}}}
		t.must(move)
		t.depth("q", 0, 0)
		t.depth("dead", 1, 0)
		t.refused(state.ErrReceipt, move)
		t.depth("dead", 1, 0)
	}},
}

var watch = []rule{
	{"a watch from 0 begins with every document", func(t *tester) {
		t.put("p/a", "1", state.Any)
		t.put("other", "1", state.Any)
		t.put("p/b", "1", state.Any)
		t.put("p/a", "2", state.Any)
		t.same(t.changes("p/", 0, 2), "p/b=1", "p/a=2")
	}},
	{"a watch resumes after a revision and shows deletions", func(t *tester) {
		t.put("a", "1", state.Any)
		rev := t.put("b", "1", state.Any)
		t.must(state.Batch{Ops: []state.Op{{Key: "a", IfRev: state.Any}}})
		t.put("c", "1", state.Any)
		t.same(t.changes("", rev, 2), "a-", "c=1")
	}},
	{"rows and messages are not watched", func(t *tester) {
		t.putRow("s", "a", "1")
		t.send(state.Msg{Queue: "q"})
		t.put("a", "1", state.Any)
		t.same(t.changes("", 0, 1), "a=1")
	}},
	{"a watch waits for changes and ends with its context", func(t *tester) {
		ctx, cancel := context.WithCancel(t.ctx())
		defer cancel()
		type change struct {
			docs []state.Doc
			err  error
		}
		seen := make(chan change)
		go func() {
			defer close(seen)
			for docs, err := range t.Watch(ctx, "p/", 0) {
				seen <- change{docs, err}
			}
		}()
		for _, k := range []string{"p/a", "p/b"} {
			rev := t.put(k, "1", state.Any)
			t.put("other", "1", state.Any)
			if c := <-seen; c.err != nil || len(c.docs) != 1 || c.docs[0].Key != k || c.docs[0].Rev != rev {
				t.Fatalf("%+v, want %s at %d", c, k, rev)
			}
		}
		cancel()
		if c := <-seen; !errors.Is(c.err, context.Canceled) {
			t.Fatalf("%+v", c)
		}
		if c, ok := <-seen; ok {
			t.Fatalf("%+v after the end", c)
		}
	}},
	{"a long history comes in order, no revision split", func(t *tester) {
		for i := range 40 {
			b := state.Batch{}
			for j := range 50 {
				b.Ops = append(b.Ops, state.Op{Key: "k" + string(rune('A'+i)) + string(rune('A'+j)), Value: []byte("1"), IfRev: state.Absent})
			}
			t.must(b)
		}
		revs := map[int64]int{}
		chunks, n := 0, 0
		for docs, err := range t.Watch(t.ctx(), "k", 0) {
			if err != nil {
				t.Fatal(err)
			}
			inChunk := map[int64]int{}
			for _, d := range docs {
				inChunk[d.Rev]++
			}
			for rev, k := range inChunk {
				revs[rev] += k
				if k != 50 {
					t.Fatalf("%d documents of revision %d in one step, want 50", k, rev)
				}
			}
			chunks++
			if n += len(docs); n >= 2000 {
				break
			}
		}
		if n != 2000 || len(revs) != 40 {
			t.Fatalf("%d documents of %d revisions in %d steps", n, len(revs), chunks)
		}
	}},
}
