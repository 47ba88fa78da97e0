package statetest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"davy/internal/state"
)

// Memory is a state.Store that keeps nothing: for unit tests of what sits on a
// store, and the model that engines are compared with. It is written for being
// obviously right, not for speed. It starts no goroutine and takes the time
// from time.Now, so it works inside a testing/synctest bubble.
type Memory struct {
	mu      sync.Mutex
	rev     int64
	docs    map[string]state.Doc // Value nil: a tombstone
	rows    map[string]map[string]state.Row
	msgs    map[int64]*message
	changed chan struct{} // closed and replaced when a document changes
	wake    chan struct{}
	fail    error
}

type message struct {
	state.Msg
	id       int64
	attempts int
	enqueued time.Time
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		docs:    map[string]state.Doc{},
		rows:    map[string]map[string]state.Row{},
		msgs:    map[int64]*message{},
		changed: make(chan struct{}),
		wake:    make(chan struct{}, 1),
	}
}

// FailCommits makes every later Commit and Receive return err (wrapped) and
// change nothing, until it is called with nil.
func (m *Memory) FailCommits(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Commit implements state.Store.
func (m *Memory) Commit(ctx context.Context, b state.Batch) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, fmt.Errorf("commit: %w", m.fail)
	}
	now := time.Now()
	m.expire(now)
	if err := m.check(b); err != nil {
		return 0, err
	}
	m.rev++
	for _, op := range b.Ops {
		m.apply(op)
	}
	for i, s := range b.Send {
		id := m.rev<<16 | int64(i)
		s.Body = append([]byte{}, s.Body...)
		s.Attrs = maps.Clone(s.Attrs)
		if s.VisibleAt.IsZero() {
			s.VisibleAt = now
		}
		m.msgs[id] = &message{Msg: s, id: id, enqueued: now}
	}
	back := false
	for _, s := range b.Settle {
		msg := m.byReceipt(s.Receipt)
		switch {
		case msg == nil: // deleted by an earlier entry of this batch
		case s.Delete:
			delete(m.msgs, msg.id)
		default:
			back = true
			msg.VisibleAt = s.VisibleAt
			if s.VisibleAt.IsZero() {
				msg.VisibleAt = now
			}
			if s.Body != nil {
				msg.Body = slices.Clone(s.Body)
			}
		}
	}
	if slices.ContainsFunc(b.Ops, func(op state.Op) bool { return op.Space == "" }) {
		close(m.changed)
		m.changed = make(chan struct{})
	}
	if len(b.Send) > 0 || back {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	return m.rev, nil
}

// check evaluates every precondition against the state before the batch.
func (m *Memory) check(b state.Batch) error {
	for _, c := range b.Checks {
		if m.present(c.Space, c.Key) != c.Rev {
			return fmt.Errorf("check %q: %w", c.Key, state.ErrConflict)
		}
	}
	for _, s := range b.Empty {
		if len(m.rows[s]) > 0 {
			return fmt.Errorf("space %q is not empty: %w", s, state.ErrConflict)
		}
	}
	for _, op := range b.Ops {
		if op.IfRev != state.Any && m.present(op.Space, op.Key) != op.IfRev {
			return fmt.Errorf("write %q: %w", op.Key, state.ErrConflict)
		}
	}
	for _, s := range b.Settle {
		if m.byReceipt(s.Receipt) == nil {
			return fmt.Errorf("settle %q: %w", s.Receipt, state.ErrReceipt)
		}
	}
	return nil
}

// present is the revision of a document or row, Absent if there is none.
func (m *Memory) present(space, key string) int64 {
	if space != "" {
		return m.rows[space][key].Rev
	}
	if d := m.docs[key]; d.Value != nil {
		return d.Rev
	}
	return state.Absent
}

func (m *Memory) apply(op state.Op) {
	switch {
	case op.Space == "" && op.Value == nil:
		if m.docs[op.Key].Value != nil {
			m.docs[op.Key] = state.Doc{Key: op.Key, Rev: m.rev}
		}
	case op.Space == "":
		m.docs[op.Key] = state.Doc{Key: op.Key, Rev: m.rev, Value: slices.Clone(op.Value)}
	case op.Value == nil:
		delete(m.rows[op.Space], op.Key)
	default:
		if m.rows[op.Space] == nil {
			m.rows[op.Space] = map[string]state.Row{}
		}
		m.rows[op.Space][op.Key] = state.Row{Space: op.Space, Key: op.Key, Rev: m.rev, Value: slices.Clone(op.Value)}
	}
}

// Get implements state.Store.
func (m *Memory) Get(ctx context.Context, key string) (state.Doc, error) {
	if err := ctx.Err(); err != nil {
		return state.Doc{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.docs[key]
	if d.Value == nil {
		return state.Doc{}, fmt.Errorf("document %q: %w", key, state.ErrNotFound)
	}
	return clone(d), nil
}

// List implements state.Store.
func (m *Memory) List(ctx context.Context, prefix, after string, n int) ([]state.Doc, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []state.Doc
	for _, k := range slices.Sorted(maps.Keys(m.docs)) {
		if len(out) < n && strings.HasPrefix(k, prefix) && k > after && m.docs[k].Value != nil {
			out = append(out, clone(m.docs[k]))
		}
	}
	return out, nil
}

// Watch implements state.Store.
func (m *Memory) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[[]state.Doc, error] {
	return func(yield func([]state.Doc, error) bool) {
		for {
			docs, rev, changed := m.since(prefix, from)
			from = rev
			if len(docs) > 0 && !yield(docs, nil) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
		}
	}
}

func (m *Memory) since(prefix string, from int64) ([]state.Doc, int64, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []state.Doc
	for k, d := range m.docs {
		if d.Rev > from && strings.HasPrefix(k, prefix) {
			out = append(out, clone(d))
		}
	}
	slices.SortFunc(out, func(a, b state.Doc) int {
		if a.Rev != b.Rev {
			return int(a.Rev - b.Rev)
		}
		return strings.Compare(a.Key, b.Key)
	})
	return out, max(from, m.rev), m.changed
}

// GetRow implements state.Store.
func (m *Memory) GetRow(ctx context.Context, space, key string) (state.Row, error) {
	if err := ctx.Err(); err != nil {
		return state.Row{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[space][key]
	if !ok {
		return state.Row{}, fmt.Errorf("row %q: %w", key, state.ErrNotFound)
	}
	r.Value = slices.Clone(r.Value)
	return r, nil
}

// Rows implements state.Store.
func (m *Memory) Rows(ctx context.Context, space, prefix, from string, n int) ([]state.Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []state.Row
	for _, k := range slices.Sorted(maps.Keys(m.rows[space])) {
		if len(out) < n && strings.HasPrefix(k, prefix) && k >= from {
			r := m.rows[space][k]
			r.Value = slices.Clone(r.Value)
			out = append(out, r)
		}
	}
	return out, nil
}

// Receive implements state.Queue.
func (m *Memory) Receive(ctx context.Context, queue string, n int, vis time.Duration) ([]state.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, fmt.Errorf("receive: %w", m.fail)
	}
	now := time.Now()
	m.expire(now)
	var due []*message
	for _, msg := range m.msgs {
		if msg.Queue == queue && !msg.VisibleAt.After(now) {
			due = append(due, msg)
		}
	}
	slices.SortFunc(due, func(a, b *message) int {
		if c := a.VisibleAt.Compare(b.VisibleAt); c != 0 {
			return c
		}
		return int(a.id - b.id)
	})
	var out []state.Delivery
	for _, msg := range due[:min(len(due), max(n, 0))] {
		msg.attempts++
		msg.VisibleAt = now.Add(vis)
		d := state.Delivery{Msg: msg.Msg, ID: msg.id, Receipt: msg.receipt(), Attempts: msg.attempts, EnqueuedAt: msg.enqueued}
		d.Body = append([]byte{}, msg.Body...)
		d.Attrs = maps.Clone(msg.Attrs)
		out = append(out, d)
	}
	return out, nil
}

// Ready implements state.Queue.
func (m *Memory) Ready(ctx context.Context, prefix string, n int) ([]string, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.expire(now)
	due := map[string]time.Time{} // queue: when its first message is visible
	for _, msg := range m.msgs {
		if t, ok := due[msg.Queue]; strings.HasPrefix(msg.Queue, prefix) && (!ok || msg.VisibleAt.Before(t)) {
			due[msg.Queue] = msg.VisibleAt
		}
	}
	var ready []string
	var next time.Time
	for q, t := range due {
		switch {
		case !t.After(now):
			ready = append(ready, q)
		case next.IsZero() || t.Before(next):
			next = t
		}
	}
	slices.SortFunc(ready, func(a, b string) int {
		if c := due[a].Compare(due[b]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return ready[:min(len(ready), max(n, 0))], next, nil
}

// Depth implements state.Queue.
func (m *Memory) Depth(ctx context.Context, queue string) (visible, hidden int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.expire(now)
	for _, msg := range m.msgs {
		switch {
		case msg.Queue != queue:
		case msg.VisibleAt.After(now):
			hidden++
		default:
			visible++
		}
	}
	return visible, hidden, nil
}

// Wake implements state.Queue.
func (m *Memory) Wake() <-chan struct{} { return m.wake }

// expire drops the messages that are visible and past their expiry.
func (m *Memory) expire(now time.Time) {
	for id, msg := range m.msgs {
		if !msg.ExpiresAt.IsZero() && !msg.ExpiresAt.After(now) && !msg.VisibleAt.After(now) {
			delete(m.msgs, id)
		}
	}
}

func (m *Memory) byReceipt(receipt string) *message {
	id, _, _ := strings.Cut(receipt, ".")
	n, err := strconv.ParseInt(id, 36, 64)
	if err != nil {
		return nil
	}
	if msg := m.msgs[n]; msg != nil && msg.receipt() == receipt {
		return msg
	}
	return nil
}

func (msg *message) receipt() string {
	return strconv.FormatInt(msg.id, 36) + "." + strconv.Itoa(msg.attempts)
}

func clone(d state.Doc) state.Doc {
	d.Value = slices.Clone(d.Value)
	return d
}

var _ state.Store = (*Memory)(nil)
