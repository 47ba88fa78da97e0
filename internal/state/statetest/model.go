package statetest

import (
	"errors"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"davy/internal/state"
)

// checkModel runs random operations on the store and on Memory, and demands
// equal answers.
func checkModel(t *testing.T, open func(t *testing.T) state.Store) {
	rapid.Check(t, func(r *rapid.T) {
		m := &machine{t: t, model: NewMemory(), store: open(t), revs: map[int64]int64{state.Absent: state.Absent, state.Any: state.Any}, docs: map[string]string{}}
		if c, ok := m.store.(io.Closer); ok {
			defer c.Close() // now, not when the last of many runs has ended
		}
		r.Repeat(rapid.StateMachineActions(m))
	})
}

// machine pairs a store with its model. Revisions and receipts may differ
// between them, so it keeps the store's for each of the model's.
type machine struct {
	t     *testing.T
	model *Memory
	store state.Store
	revs  map[int64]int64 // model's: store's
	held  []receipts
	docs  map[string]string // as a watcher of the store sees them
	seen  int64
	clock int64
}

type receipts struct{ model, store string }

var (
	genKey   = rapid.SampledFrom([]string{"a", "a/b", "a//b", "a\x00", "b", "\xff", ""})
	genSpace = rapid.SampledFrom([]string{"", "", "s", "t"})
	genQueue = rapid.SampledFrom([]string{"q", "q/1", "r"})
	genValue = rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 8))
)

// Commit commits a random batch with preconditions that are often right.
func (m *machine) Commit(r *rapid.T) {
	var model, store state.Batch
	for range rapid.IntRange(0, 4).Draw(r, "ops") {
		op := state.Op{Space: genSpace.Draw(r, "space"), Key: genKey.Draw(r, "key"), Value: genValue.Draw(r, "value")}
		op.IfRev = m.rev(r, op.Space, op.Key, true)
		model.Ops = append(model.Ops, op)
		op.IfRev = m.revs[op.IfRev]
		store.Ops = append(store.Ops, op)
	}
	if rapid.IntRange(0, 3).Draw(r, "check") == 0 {
		c := state.Check{Space: genSpace.Draw(r, "space"), Key: genKey.Draw(r, "key")}
		c.Rev = m.rev(r, c.Space, c.Key, false)
		model.Checks = append(model.Checks, c)
		c.Rev = m.revs[c.Rev]
		store.Checks = append(store.Checks, c)
	}
	if rapid.IntRange(0, 9).Draw(r, "empty") == 0 {
		model.Empty = []string{rapid.SampledFrom([]string{"s", "t"}).Draw(r, "space")}
		store.Empty = model.Empty
	}
	for range rapid.IntRange(0, 3).Draw(r, "messages") {
		msg := state.Msg{
			Queue: genQueue.Draw(r, "queue"), Body: genValue.Draw(r, "body"), VisibleAt: m.moment(r),
			Attrs: rapid.MapOfN(rapid.String(), rapid.String(), 0, 2).Draw(r, "attrs"),
		}
		if rapid.IntRange(0, 4).Draw(r, "expires") == 0 {
			msg.ExpiresAt = rapid.SampledFrom([]time.Time{past, future}).Draw(r, "expiry")
		}
		model.Send = append(model.Send, msg)
	}
	store.Send = model.Send
	if len(m.held) > 0 {
		for range rapid.IntRange(0, 2).Draw(r, "settlements") {
			held := rapid.SampledFrom(m.held).Draw(r, "receipt")
			s := state.Settle{Receipt: held.model, Delete: rapid.Bool().Draw(r, "delete"), VisibleAt: m.moment(r), Body: genValue.Draw(r, "body")}
			model.Settle = append(model.Settle, s)
			s.Receipt = held.store
			store.Settle = append(store.Settle, s)
		}
	}
	want, err1 := m.model.Commit(m.t.Context(), model)
	got, err2 := m.store.Commit(m.t.Context(), store)
	for _, kind := range []error{state.ErrConflict, state.ErrReceipt} {
		if errors.Is(err1, kind) != errors.Is(err2, kind) {
			r.Fatalf("batch %+v: model %v, store %v", store, err1, err2)
		}
	}
	if (err1 == nil) != (err2 == nil) {
		r.Fatalf("batch %+v: model %v, store %v", store, err1, err2)
	}
	if err1 == nil {
		m.revs[want] = got
	}
}

// moment is a time that sorts the same in model and store: now, or one of a
// series of different ones in the past, or the future.
func (m *machine) moment(r *rapid.T) time.Time {
	m.clock++
	return rapid.SampledFrom([]time.Time{{}, past.Add(time.Duration(m.clock)), future.Add(time.Duration(m.clock))}).Draw(r, "moment")
}

// rev draws the model's revision to expect of a key.
func (m *machine) rev(r *rapid.T, space, key string, anyRev bool) int64 {
	revs := []int64{m.model.present(space, key), m.model.present(space, key), state.Absent}
	if anyRev {
		revs = append(revs, state.Any, state.Any)
	}
	for rev := range m.revs {
		if rev > 0 {
			revs = append(revs, rev)
		}
	}
	slices.Sort(revs[min(len(revs), 5):])
	return revs[rapid.IntRange(0, len(revs)-1).Draw(r, "rev")]
}

// Receive claims messages of a queue.
func (m *machine) Receive(r *rapid.T) {
	q, n := genQueue.Draw(r, "queue"), rapid.IntRange(0, 4).Draw(r, "n")
	vis := rapid.SampledFrom([]time.Duration{0, long}).Draw(r, "vis")
	want, err1 := m.model.Receive(m.t.Context(), q, n, vis)
	got, err2 := m.store.Receive(m.t.Context(), q, n, vis)
	if err1 != nil || err2 != nil || len(want) != len(got) {
		r.Fatalf("receive: model %v %v, store %v %v", want, err1, got, err2)
	}
	for i, w := range want {
		g := got[i]
		if string(w.Body) != string(g.Body) || w.Attempts != g.Attempts || !maps.Equal(w.Attrs, g.Attrs) || w.Queue != g.Queue || !w.ExpiresAt.Equal(g.ExpiresAt) {
			r.Fatalf("delivery %d: model %+v, store %+v", i, w, g)
		}
		m.held = append(m.held, receipts{w.Receipt, g.Receipt})
	}
}

// Watch follows the store's changes up to the present.
func (m *machine) Watch(r *rapid.T) {
	rev, err := m.store.Commit(m.t.Context(), state.Batch{Ops: []state.Op{{Key: "mark", Value: []byte("x"), IfRev: state.Any}}})
	if err != nil {
		r.Fatal(err)
	}
	want, err := m.model.Commit(m.t.Context(), state.Batch{Ops: []state.Op{{Key: "mark", Value: []byte("x"), IfRev: state.Any}}})
	if err != nil {
		r.Fatal(err)
	}
	m.revs[want] = rev
	for docs, err := range m.store.Watch(m.t.Context(), "", m.seen) {
		if err != nil {
			r.Fatal(err)
		}
		for _, d := range docs {
			m.seen = d.Rev
			if d.Value == nil {
				delete(m.docs, d.Key)
			} else {
				m.docs[d.Key] = string(d.Value)
			}
		}
		if m.seen >= rev {
			break
		}
	}
	all, err := m.model.List(m.t.Context(), "", "", 1000)
	if err != nil {
		r.Fatal(err)
	}
	now := map[string]string{}
	for _, d := range all {
		now[d.Key] = string(d.Value)
	}
	delete(m.docs, "")
	delete(now, "")
	if !maps.Equal(now, m.docs) {
		r.Fatalf("a watcher sees %q, there is %q", m.docs, now)
	}
}

// Check compares everything that can be read.
func (m *machine) Check(r *rapid.T) {
	ctx := m.t.Context()
	for _, prefix := range []string{"", "a", "a/", "\xff"} {
		for _, after := range []string{"", "a", "a/b"} {
			want, err1 := m.model.List(ctx, prefix, after, 3)
			got, err2 := m.store.List(ctx, prefix, after, 3)
			if err1 != nil || err2 != nil || !slices.EqualFunc(want, got, func(w, g state.Doc) bool {
				return w.Key == g.Key && string(w.Value) == string(g.Value) && m.revs[w.Rev] == g.Rev
			}) {
				r.Fatalf("list %q after %q: model %v %v, store %v %v", prefix, after, want, err1, got, err2)
			}
			for _, space := range []string{"s", "t"} {
				want, err1 := m.model.Rows(ctx, space, prefix, after, 3)
				got, err2 := m.store.Rows(ctx, space, prefix, after, 3)
				if err1 != nil || err2 != nil || !slices.EqualFunc(want, got, func(w, g state.Row) bool {
					return w.Key == g.Key && string(w.Value) == string(g.Value) && m.revs[w.Rev] == g.Rev && w.Space == g.Space
				}) {
					r.Fatalf("rows %q from %q: model %v %v, store %v %v", prefix, after, want, err1, got, err2)
				}
			}
		}
	}
	for _, q := range []string{"q", "q/1", "r"} {
		v1, h1, err1 := m.model.Depth(ctx, q)
		v2, h2, err2 := m.store.Depth(ctx, q)
		if err1 != nil || err2 != nil || v1 != v2 || h1 != h2 {
			r.Fatalf("depth of %q: model %d %d %v, store %d %d %v", q, v1, h1, err1, v2, h2, err2)
		}
	}
	want, _, err1 := m.model.Ready(ctx, "q", 10)
	got, _, err2 := m.store.Ready(ctx, "q", 10)
	if err1 != nil || err2 != nil || !slices.Equal(want, got) {
		r.Fatalf("ready: model %q %v, store %q %v", want, err1, got, err2)
	}
}
