package statetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"davy/internal/state"
)

// Times that need no waiting: what is due in the past is due, what is due in
// the future stays hidden for the length of a test.
var (
	past   = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	future = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

const long = time.Hour

// Run checks that the stores which open returns keep the promises of package
// state. Each call of open returns a new, empty store, and
// closes it when the test that it was given ends.
func Run(t *testing.T, open func(t *testing.T) state.Store) {
	for _, group := range []struct {
		name  string
		rules []rule
	}{
		{"Documents", documents},
		{"Rows", rows},
		{"Batches", batches},
		{"Watch", watch},
		{"Messages", messages},
		{"Concurrency", concurrency},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, r := range group.rules {
				t.Run(strings.ReplaceAll(r.says, " ", "_"), func(t *testing.T) {
					r.check(&tester{T: t, Store: open(t)})
				})
			}
		})
	}
	t.Run("Model", func(t *testing.T) { checkModel(t, open) })
}

// rule is one sentence about stores and the proof that it holds.
type rule struct {
	says  string
	check func(t *tester)
}

// tester shortens the steps of a rule.
type tester struct {
	*testing.T
	state.Store
}

func (t *tester) ctx() context.Context { return t.T.Context() }

// must commits a batch that has to succeed.
func (t *tester) must(b state.Batch) int64 {
	t.Helper()
	rev, err := t.Store.Commit(t.ctx(), b)
	if err != nil {
		t.Fatalf("Commit(%+v): %v", b, err)
	}
	return rev
}

// refused commits a batch that has to fail with want.
func (t *tester) refused(want error, b state.Batch) {
	t.Helper()
	if _, err := t.Store.Commit(t.ctx(), b); !errors.Is(err, want) {
		t.Fatalf("Commit(%+v): %v, want %v", b, err, want)
	}
}

func (t *tester) put(key, value string, ifRev int64) int64 {
	t.Helper()
	return t.must(state.Batch{Ops: []state.Op{{Key: key, Value: []byte(value), IfRev: ifRev}}})
}

func (t *tester) putRow(space, key, value string) {
	t.Helper()
	t.must(state.Batch{Ops: []state.Op{{Space: space, Key: key, Value: []byte(value), IfRev: state.Any}}})
}

func (t *tester) send(msgs ...state.Msg) {
	t.Helper()
	t.must(state.Batch{Send: msgs})
}

// value is a document's value, or "-" when there is none.
func (t *tester) value(key string) string {
	t.Helper()
	d, err := t.Get(t.ctx(), key)
	if errors.Is(err, state.ErrNotFound) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(d.Value)
}

// row is a row's value, or "-" when there is none.
func (t *tester) row(space, key string) string {
	t.Helper()
	r, err := t.GetRow(t.ctx(), space, key)
	if errors.Is(err, state.ErrNotFound) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Value)
}

func (t *tester) keys(prefix, after string, n int) []string {
	t.Helper()
	docs, err := t.List(t.ctx(), prefix, after, n)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, d := range docs {
		out = append(out, d.Key)
	}
	return out
}

func (t *tester) rowKeys(space, prefix, from string, n int) []string {
	t.Helper()
	rows, err := t.Rows(t.ctx(), space, prefix, from, n)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, r := range rows {
		out = append(out, r.Key)
	}
	return out
}

func (t *tester) receive(queue string, n int, vis time.Duration) []state.Delivery {
	t.Helper()
	got, err := t.Receive(t.ctx(), queue, n, vis)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// receiveOne claims the only visible message.
func (t *tester) receiveOne(queue string, vis time.Duration) state.Delivery {
	t.Helper()
	got := t.receive(queue, 10, vis)
	if len(got) != 1 {
		t.Fatalf("received %d messages, want 1", len(got))
	}
	return got[0]
}

// depth checks the counts of a queue.
func (t *tester) depth(queue string, visible, hidden int64) {
	t.Helper()
	v, h, err := t.Depth(t.ctx(), queue)
	if err != nil {
		t.Fatal(err)
	}
	if v != visible || h != hidden {
		t.Fatalf("depth of %q: %d visible, %d hidden; want %d, %d", queue, v, h, visible, hidden)
	}
}

// ready checks which queues have a visible message.
func (t *tester) ready(prefix string, want ...string) (next time.Time) {
	t.Helper()
	got, next, err := t.Ready(t.ctx(), prefix, 100)
	if err != nil {
		t.Fatal(err)
	}
	t.same(slices.Sorted(slices.Values(got)), want...)
	return next
}

func (t *tester) same(got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// changes reads from a watch until it has seen n changes: "key=value" or
// "key-" for a deletion.
func (t *tester) changes(prefix string, from int64, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx(), 5*time.Minute)
	defer cancel()
	out := []string{}
	last := int64(0)
	for docs, err := range t.Watch(ctx, prefix, from) {
		if err != nil {
			t.Fatalf("watch after %q: %v", out, err)
		}
		for _, d := range docs {
			if d.Rev < last {
				t.Fatalf("revision %d after %d", d.Rev, last)
			}
			last = d.Rev
			if d.Value == nil {
				out = append(out, d.Key+"-")
			} else {
				out = append(out, d.Key+"="+string(d.Value))
			}
		}
		if len(out) >= n {
			break
		}
	}
	return out
}
