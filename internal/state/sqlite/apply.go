package sqlite

import (
	"database/sql"
	"errors"
	"fmt"

	"davy/internal/state"
)

// apply checks a batch against the state as the earlier batches of the group
// left it, and then writes it. A batch whose precondition fails has written
// nothing and only gets its own result; an error is SQLite's and dooms the
// group.
func (g *group) apply(b *state.Batch) (result, error) {
	switch refusal, err := g.check(b); {
	case err != nil:
		return result{}, err
	case refusal != nil:
		return result{err: refusal}, nil
	}
	g.rev++
	rev := g.rev
	for i, op := range b.Ops {
		if err := g.write(op, rev, i); err != nil {
			return result{}, err
		}
	}
	for i, m := range b.Send {
		if err := g.enqueue(m, rev<<16|int64(i)); err != nil {
			return result{}, err
		}
	}
	for _, s := range b.Settle {
		if err := g.settle(s); err != nil {
			return result{}, err
		}
	}
	return result{rev: rev}, nil
}

// check evaluates the preconditions of a batch.
func (g *group) check(b *state.Batch) (refusal, err error) {
	for _, c := range b.Checks {
		if rev, err := g.present(c.Space, c.Key); err != nil {
			return nil, err
		} else if rev != c.Rev {
			return fmt.Errorf("check %q: %w", c.Key, state.ErrConflict), nil
		}
	}
	for _, space := range b.Empty {
		var one int
		switch err := g.row(sqlSpaceUsed, []byte(space)).Scan(&one); {
		case err == nil:
			return fmt.Errorf("space %q is not empty: %w", space, state.ErrConflict), nil
		case !errors.Is(err, sql.ErrNoRows):
			return nil, err
		}
	}
	for _, op := range b.Ops {
		if op.IfRev == state.Any {
			continue
		}
		if rev, err := g.present(op.Space, op.Key); err != nil {
			return nil, err
		} else if rev != op.IfRev {
			return fmt.Errorf("write %q: %w", op.Key, state.ErrConflict), nil
		}
	}
	for _, s := range b.Settle {
		if _, ok, err := g.message(s.Receipt); err != nil {
			return nil, err
		} else if !ok {
			return fmt.Errorf("settle %q: %w", s.Receipt, state.ErrReceipt), nil
		}
	}
	return nil, nil
}

// present is the revision of a document or row, Absent if there is none.
func (g *group) present(space, key string) (int64, error) {
	var n int64
	var err error
	if space == "" {
		err = g.row(sqlDocRev, []byte(key)).Scan(&n)
		n >>= 16
	} else {
		err = g.row(sqlRowRev, []byte(space), []byte(key)).Scan(&n)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return state.Absent, nil
	}
	return n, err
}

func (g *group) write(op state.Op, rev int64, i int) error {
	g.wrote = true
	key := []byte(op.Key)
	switch {
	case op.Space != "" && op.Value == nil:
		return g.exec(sqlDeleteRow, []byte(op.Space), key)
	case op.Space != "":
		return g.exec(sqlPutRow, []byte(op.Space), key, rev, op.Value)
	case op.Value == nil:
		g.docs = true
		g.tombstones++
		return g.exec(sqlDeleteDoc, rev<<16|int64(i), key)
	default:
		g.docs = true
		return g.exec(sqlPutDoc, rev<<16|int64(i), key, op.Value)
	}
}

const (
	sqlDocRev    = `SELECT id FROM doc WHERE k = ? AND v IS NOT NULL`
	sqlPutDoc    = `INSERT OR REPLACE INTO doc (id, k, v) VALUES (?, ?, ?)`
	sqlDeleteDoc = `UPDATE doc SET id = ?, v = NULL WHERE k = ? AND v IS NOT NULL`
	sqlRowRev    = `SELECT rev FROM row WHERE space = ? AND k = ?`
	sqlPutRow    = `INSERT INTO row (space, k, rev, v) VALUES (?, ?, ?, ?)
		ON CONFLICT (space, k) DO UPDATE SET rev = excluded.rev, v = excluded.v`
	sqlDeleteRow = `DELETE FROM row WHERE space = ? AND k = ?`
	sqlSpaceUsed = `SELECT 1 FROM row WHERE space = ? LIMIT 1`
)
