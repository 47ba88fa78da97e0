package sqlite

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"davy/internal/state"
)

// logPage is how many blocks are looked up at once: no transaction stays open
// while a caller thinks.
const logPage = 64

// Read implements state.Logs. It sees what was appended before the call, and
// may see what is appended during it.
func (l *Logs) Read(ctx context.Context, q state.LogQuery) iter.Seq2[state.LogEvent, error] {
	return func(yield func(state.LogEvent, error) bool) {
		r := newLogReader(l, q)
		for _, name := range r.days() {
			more, err := r.day(ctx, name, yield)
			if err != nil {
				yield(state.LogEvent{}, fmt.Errorf("read logs: %w", err))
				return
			}
			if !more {
				return
			}
		}
	}
}

// logReader merges blocks into one sequence. It takes them by their first
// timestamp; what is earlier than the next block's first can be given out.
// In reverse everything is mirrored.
type logReader struct {
	logs     *Logs
	q        state.LogQuery
	from, to int64 // inclusive
	last     state.Cursor
	started  bool // last is a bound
	pending  eventHeap
}

func newLogReader(l *Logs, q state.LogQuery) *logReader {
	r := &logReader{logs: l, q: q, from: q.From, to: math.MaxInt64, pending: eventHeap{reverse: q.Reverse}}
	if q.To > 0 {
		r.to = q.To - 1
	}
	if q.After != (state.Cursor{}) {
		r.last, r.started = q.After, true
		if q.Reverse {
			r.to = min(r.to, q.After.Timestamp)
		} else {
			r.from = max(r.from, q.After.Timestamp)
		}
	}
	return r
}

// days names the files that can hold a wanted event, in order of travel.
func (r *logReader) days() []string {
	r.logs.mu.RLock()
	defer r.logs.mu.RUnlock()
	first := time.UnixMilli(r.from).UTC().Format(time.DateOnly)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(r.logs.days)), func(name string) bool {
		start, err := time.Parse(time.DateOnly, name)
		return name < first || err != nil || start.UnixMilli() > r.to
	})
	if r.q.Reverse {
		slices.Reverse(names)
	}
	return names
}

// day yields the events of one day; more is false when the caller has enough.
func (r *logReader) day(ctx context.Context, name string, yield func(state.LogEvent, error) bool) (more bool, err error) {
	r.logs.mu.RLock()
	d, closed := r.logs.days[name], r.logs.closed
	r.logs.mu.RUnlock()
	if closed {
		return false, ErrClosed
	}
	if d == nil {
		return true, nil
	}
	var at blockKey
	for page := 0; ; page++ {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		blocks, err := r.blocks(d, at, page == 0)
		if err != nil {
			return false, err
		}
		for _, b := range blocks {
			at = b.key
			if !r.emit(func(e state.LogEvent) bool {
				if r.q.Reverse {
					return e.Timestamp > b.key.edge
				}
				return e.Timestamp < b.key.edge
			}, yield) {
				return false, nil
			}
			events, err := r.logs.codec.unpack(b.stream, b.data)
			if err != nil {
				return false, err
			}
			for _, e := range events {
				if e.Timestamp >= r.from && e.Timestamp <= r.to {
					heap.Push(&r.pending, e)
				}
			}
		}
		if len(blocks) < logPage {
			return r.emit(func(state.LogEvent) bool { return true }, yield), nil
		}
	}
}

// emit yields pending events while they are ripe.
func (r *logReader) emit(ripe func(state.LogEvent) bool, yield func(state.LogEvent, error) bool) bool {
	for r.pending.Len() > 0 && ripe(r.pending.events[0]) {
		e, _ := heap.Pop(&r.pending).(state.LogEvent)
		order := cmp.Or(cmp.Compare(e.Timestamp, r.last.Timestamp), cmp.Compare(e.Seq, r.last.Seq))
		if r.q.Reverse {
			order = -order
		}
		if r.started && order <= 0 {
			continue // before the cursor, or seen in a block that has grown meanwhile
		}
		r.last, r.started = state.Cursor{Timestamp: e.Timestamp, Seq: e.Seq}, true
		if !yield(e, nil) {
			return false
		}
	}
	return true
}

// blockKey orders blocks by their edge: lo, in reverse hi.
type blockKey struct{ edge, id int64 }

type foundBlock struct {
	key    blockKey
	stream string
	data   []byte
}

// blocks returns the next page of blocks behind a key.
func (r *logReader) blocks(d *day, after blockKey, first bool) ([]foundBlock, error) {
	d.use.RLock()
	defer d.use.RUnlock()
	if d.db == nil {
		return nil, nil // dropped meanwhile
	}
	edge, other, beyond, dir := "lo", "hi >= ?", ">", "ASC"
	bound, limit := r.from, r.to
	if r.q.Reverse {
		edge, other, beyond, dir = "hi", "lo <= ?", "<", "DESC"
		bound, limit = r.to, r.from
	}
	query := `SELECT ` + edge + `, id, s, data FROM block WHERE g = ? AND ` + other
	args := []any{[]byte(r.q.Group), bound}
	if r.q.Reverse {
		query += ` AND hi >= ?`
	} else {
		query += ` AND lo <= ?`
	}
	args = append(args, limit)
	if !first {
		query += ` AND (` + edge + `, id) ` + beyond + ` (?, ?)`
		args = append(args, after.edge, after.id)
	}
	if r.q.Streams != nil {
		// As JSON, since their number is the caller's; in hex, since they are bytes.
		names, err := json.Marshal(hexNames(r.q.Streams))
		if err != nil {
			return nil, err
		}
		query += ` AND s IN (SELECT unhex(value) FROM json_each(?))`
		args = append(args, string(names))
	}
	rows, err := d.db.Query(query+` ORDER BY `+edge+` `+dir+`, id `+dir+` LIMIT ?`, append(args, logPage)...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	var out []foundBlock
	for rows.Next() {
		var b foundBlock
		var s []byte
		if err := rows.Scan(&b.key.edge, &b.key.id, &s, &b.data); err != nil {
			return nil, err
		}
		b.stream = string(s)
		out = append(out, b)
	}
	return out, classify(errors.Join(rows.Err(), rows.Close()))
}

func hexNames(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%x", n)
	}
	return out
}

// eventHeap gives the earliest event first, in reverse the latest.
type eventHeap struct {
	events  []state.LogEvent
	reverse bool
}

func (h *eventHeap) Len() int      { return len(h.events) }
func (h *eventHeap) Swap(i, j int) { h.events[i], h.events[j] = h.events[j], h.events[i] }
func (h *eventHeap) Less(i, j int) bool {
	return (compareEvents(h.events[i], h.events[j]) < 0) != h.reverse
}

// Push implements heap.Interface.
func (h *eventHeap) Push(x any) {
	e, _ := x.(state.LogEvent)
	h.events = append(h.events, e)
}

// Pop implements heap.Interface.
func (h *eventHeap) Pop() any {
	n := len(h.events) - 1
	e := h.events[n]
	h.events[n] = state.LogEvent{}
	h.events = h.events[:n]
	return e
}
