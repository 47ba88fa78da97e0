package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"iter"

	"davy/internal/state"
)

// watchChunk is how many documents Watch gathers before it hands them over;
// a revision is never split.
const watchChunk = 256

// Get implements state.Store.
func (s *Store) Get(ctx context.Context, key string) (state.Doc, error) {
	d := state.Doc{Key: key}
	rows, err := s.query(ctx, sqlGetDoc, []byte(key))
	if err != nil {
		return state.Doc{}, fmt.Errorf("get %q: %w", key, err)
	}
	if err := one(rows, &d.Rev, &d.Value); err != nil {
		return state.Doc{}, fmt.Errorf("get %q: %w", key, err)
	}
	d.Rev >>= 16
	d.Value = present(d.Value)
	return d, nil
}

// List implements state.Store.
func (s *Store) List(ctx context.Context, prefix, after string, n int) ([]state.Doc, error) {
	from := maxBytes([]byte(prefix), append([]byte(after), 0))
	rows, err := s.query(ctx, sqlListDocs, from, max(n, 0))
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", prefix, err)
	}
	defer rows.Close()
	var out []state.Doc
	for rows.Next() {
		var d state.Doc
		var key []byte
		if err := rows.Scan(&d.Rev, &key, &d.Value); err != nil {
			return nil, fmt.Errorf("list %q: %w", prefix, err)
		}
		if !bytes.HasPrefix(key, []byte(prefix)) {
			return out, nil
		}
		d.Rev >>= 16
		d.Key, d.Value = string(key), present(d.Value)
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list %q: %w", prefix, classify(err))
	}
	return out, nil
}

// GetRow implements state.Store.
func (s *Store) GetRow(ctx context.Context, space, key string) (state.Row, error) {
	r := state.Row{Space: space, Key: key}
	rows, err := s.query(ctx, sqlGetRow, []byte(space), []byte(key))
	if err != nil {
		return state.Row{}, fmt.Errorf("get row %q: %w", key, err)
	}
	if err := one(rows, &r.Rev, &r.Value); err != nil {
		return state.Row{}, fmt.Errorf("get row %q: %w", key, err)
	}
	r.Value = present(r.Value)
	return r, nil
}

// Rows implements state.Store.
func (s *Store) Rows(ctx context.Context, space, prefix, from string, n int) ([]state.Row, error) {
	rows, err := s.query(ctx, sqlListRows, []byte(space), maxBytes([]byte(prefix), []byte(from)), max(n, 0))
	if err != nil {
		return nil, fmt.Errorf("rows of %q: %w", space, err)
	}
	defer rows.Close()
	var out []state.Row
	for rows.Next() {
		r := state.Row{Space: space}
		var key []byte
		if err := rows.Scan(&key, &r.Rev, &r.Value); err != nil {
			return nil, fmt.Errorf("rows of %q: %w", space, err)
		}
		if !bytes.HasPrefix(key, []byte(prefix)) {
			return out, nil
		}
		r.Key, r.Value = string(key), present(r.Value)
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("rows of %q: %w", space, classify(err))
	}
	return out, nil
}

// Watch implements state.Store.
func (s *Store) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[[]state.Doc, error] {
	return func(yield func([]state.Doc, error) bool) {
		for {
			changed := *s.changed.Load() // before looking, so nothing falls between
			docs, rev, err := s.since(ctx, prefix, from)
			if err != nil {
				yield(nil, fmt.Errorf("watch %q: %w", prefix, err))
				return
			}
			if len(docs) > 0 && !yield(docs, nil) {
				return
			}
			more := rev < s.published.Load()
			from = rev
			if more {
				continue
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

// since returns changes after from, and the revision up to which they are
// complete.
func (s *Store) since(ctx context.Context, prefix string, from int64) ([]state.Doc, int64, error) {
	upTo := max(from, s.published.Load())
	rows, err := s.query(ctx, sqlChangedDocs, (from+1)<<16)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	var out []state.Doc
	for rows.Next() {
		var d state.Doc
		var key []byte
		var deleted bool
		if err := rows.Scan(&d.Rev, &key, &d.Value, &deleted); err != nil {
			return nil, 0, err
		}
		d.Rev >>= 16
		if len(out) >= watchChunk && d.Rev != out[len(out)-1].Rev {
			upTo = out[len(out)-1].Rev
			break
		}
		upTo = max(upTo, d.Rev)
		if bytes.HasPrefix(key, []byte(prefix)) {
			d.Key = string(key)
			if !deleted {
				d.Value = present(d.Value)
			}
			out = append(out, d)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, 0, classify(err)
	}
	// Looked at last: had tombstones vanished before the query, it shows.
	if from > 0 && from < s.compacted.Load() {
		return nil, 0, state.ErrCompacted
	}
	return out, upTo, nil
}

// query runs a prepared read. It is short and bounded, so ctx is looked at
// once; passing it on would cost a goroutine a query.
func (s *Store) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rows, err := s.reads.prepared[query].QueryContext(context.WithoutCancel(ctx), args...)
	if err != nil {
		return nil, s.readError(err)
	}
	return rows, nil
}

// readError tells a closed store from a broken one.
func (s *Store) readError(err error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return classify(err)
}

// one scans the only row, or returns state.ErrNotFound.
func one(rows *sql.Rows, dest ...any) error {
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return classify(err)
		}
		return state.ErrNotFound
	}
	return rows.Scan(dest...)
}

// present is a value that exists: the driver gives nil for an empty one.
func present(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}

func maxBytes(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

const (
	sqlGetDoc      = `SELECT id, v FROM doc WHERE k = ? AND v IS NOT NULL`
	sqlListDocs    = `SELECT id, k, v FROM doc WHERE k >= ? AND v IS NOT NULL ORDER BY k LIMIT ?`
	sqlChangedDocs = `SELECT id, k, v, v IS NULL FROM doc WHERE id >= ? ORDER BY id`
	sqlGetRow      = `SELECT rev, v FROM row WHERE space = ? AND k = ?`
	sqlListRows    = `SELECT k, rev, v FROM row WHERE space = ? AND k >= ? ORDER BY k LIMIT ?`
)

var readQueries = []string{
	sqlGetDoc, sqlListDocs, sqlChangedDocs, sqlGetRow, sqlListRows, sqlReadyQueues, sqlNextQueue, sqlDepth,
}
