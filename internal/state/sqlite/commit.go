package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	codes "modernc.org/sqlite/lib"

	"davy/internal/state"
)

// A group takes what has arrived, up to these limits, so that one huge
// transaction cannot make everybody wait.
const (
	groupRequests = 512
	groupBytes    = 8 << 20
)

// request is one caller's wish: a batch, a receive, or neither (a sweep of
// expired messages, which every group does first).
type request struct {
	batch   *state.Batch
	receive *receive
	phase   atomic.Int32
	done    chan result
	res     result
}

type result struct {
	rev        int64
	deliveries []state.Delivery
	err        error
}

// Phases of a request. The caller may give up only while it is waiting: once
// taken, only the committer knows the outcome.
const (
	waiting int32 = iota
	taken
	abandoned
)

// submit hands a request to the committer and waits for its outcome.
func (s *Store) submit(ctx context.Context, r *request) result {
	if err := ctx.Err(); err != nil {
		return result{err: err}
	}
	r.done = make(chan result, 1)
	if err := s.send(ctx, r); err != nil {
		return result{err: err}
	}
	select {
	case res := <-r.done:
		return res
	case <-ctx.Done():
		if r.phase.CompareAndSwap(waiting, abandoned) {
			return result{err: ctx.Err()}
		}
		return <-r.done
	}
}

func (s *Store) send(ctx context.Context, r *request) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.requests <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Commit implements state.Store.
func (s *Store) Commit(ctx context.Context, b state.Batch) (int64, error) {
	if n := max(len(b.Checks), len(b.Empty), len(b.Ops), len(b.Send), len(b.Settle)); n > state.MaxBatch {
		return 0, fmt.Errorf("commit: batch of %d entries, at most %d", n, state.MaxBatch)
	}
	res := s.submit(ctx, &request{batch: &b})
	if res.err != nil {
		return 0, fmt.Errorf("commit: %w", res.err)
	}
	return res.rev, nil
}

// syncFull is SQLite's number for synchronous=FULL.
const syncFull = 2

// committer owns the writing connection. Nothing else changes the file.
type committer struct {
	*statements
	s          *Store
	conn       *sql.Conn
	rev        int64 // the last revision given out
	tombstones int   // not fewer than there are
	keep       int   // tombstones that compaction aims at
}

func newCommitter(ctx context.Context, s *Store, cfg Config) (*committer, error) {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return nil, classify(err)
	}
	c := &committer{s: s, conn: conn, keep: cfg.Tombstones}
	var compacted int64
	var gone sql.NullInt64
	err = conn.QueryRowContext(ctx, `SELECT rev, compacted, (SELECT count(*) FROM doc WHERE v IS NULL), (SELECT min(gone) FROM msg WHERE gone > 0) FROM meta`).
		Scan(&c.rev, &compacted, &c.tombstones, &gone)
	if err != nil {
		return nil, errors.Join(classify(err), conn.Close())
	}
	// What SQLite says is in force, not what was asked for: it ignores a setting
	// that it cannot follow, as WAL on some file systems.
	if err := conn.QueryRowContext(ctx, `SELECT (SELECT journal_mode FROM pragma_journal_mode), (SELECT synchronous FROM pragma_synchronous)`).Scan(&s.journal, &s.synchronous); err != nil {
		return nil, errors.Join(classify(err), conn.Close())
	}
	if s.journal != "wal" || (s.synchronous != syncFull && cfg.UnsafeSync == "FULL") {
		return nil, errors.Join(fmt.Errorf("sqlite: cannot be durable here: journal_mode=%s synchronous=%d", s.journal, s.synchronous), conn.Close())
	}
	if cfg.maxPages > 0 {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", cfg.maxPages)); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	st, err := prepareAll(ctx, conn, writeQueries...)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c.statements = &st
	s.published.Store(c.rev)
	s.compacted.Store(compacted)
	s.nextGone.Store(never)
	if gone.Valid {
		s.nextGone.Store(gone.Int64)
	}
	return c, nil
}

// run commits groups until the requests end.
func (c *committer) run() {
	defer func() {
		if err := errors.Join(c.close(), c.conn.Close()); err != nil {
			c.s.log.Warn("close committer", "error", err)
		}
	}()
	var group []*request
	for first := range c.s.requests {
		group = c.gather(group[:0], first)
		c.commit(group)
		clear(group)
	}
}

// gather takes first and whatever else has arrived.
func (c *committer) gather(group []*request, first *request) []*request {
	// The callers of the last group are runnable now: let them in rather than
	// pay one sync for the quickest of them alone.
	runtime.Gosched()
	size := 0
	for r := first; ; {
		if r.phase.CompareAndSwap(waiting, taken) {
			group = append(group, r)
			size += r.size()
		}
		if len(group) >= groupRequests || size >= groupBytes {
			return group
		}
		select {
		case next, ok := <-c.s.requests:
			if !ok {
				return group
			}
			r = next
		default:
			return group
		}
	}
}

func (r *request) size() int {
	if r.batch == nil {
		return 0
	}
	n := 0
	for _, op := range r.batch.Ops {
		n += len(op.Key) + len(op.Value)
	}
	for _, m := range r.batch.Send {
		n += len(m.Body)
	}
	return n
}

// commit makes one transaction of the group. If SQLite fails, the batches are
// tried one by one, so that one that cannot be stored harms no other.
func (c *committer) commit(group []*request) {
	if len(group) == 0 {
		return
	}
	if group = c.admit(group); len(group) == 0 {
		return
	}
	err := c.transaction(group)
	if errors.Is(err, state.ErrFull) {
		c.s.reserve.Low(err)
		if len(group) == 1 && c.mayBorrow(group[0]) {
			err = c.s.reserve.Lend(func() error { return c.transaction(group) })
		}
	}
	if err != nil && len(group) > 1 && !errors.Is(err, state.ErrUnknown) {
		for _, r := range group {
			c.commit([]*request{r})
		}
		return
	}
	for _, r := range group {
		if err != nil {
			r.res = result{err: err}
		}
		r.done <- r.res
	}
}

// admit refuses what takes space while the disk has none, and returns the rest.
func (c *committer) admit(group []*request) []*request {
	full := c.s.reserve.Room()
	if full == nil {
		return group
	}
	return slices.DeleteFunc(group, func(r *request) bool {
		if c.mayBorrow(r) {
			return false
		}
		r.done <- result{err: full}
		return true
	})
}

// mayBorrow tells whether a request may be stored in the space that is kept
// for a full disk. To deliver a message, perhaps again and again, is only the
// way to be rid of it: half of the space is for what makes room at once.
func (c *committer) mayBorrow(r *request) bool {
	if r.batch != nil && !r.batch.MakesRoom() {
		return false
	}
	again := r.receive != nil || r.batch != nil && slices.ContainsFunc(r.batch.Settle, func(s state.Settle) bool { return !s.Delete })
	return !again || c.s.reserve.half()
}

// group is a transaction in progress.
type group struct {
	*committer
	now        int64
	wrote      bool             // something changed: there is a sync to wait for
	docs       bool             // watchers must look
	wake       bool             // consumers must look
	queues     map[string]int64 // touched queues, and how many messages they gained
	nextGone   int64
	compacted  int64
	tombstones int
}

// transaction applies the group and makes it durable. After an error nothing
// of it is visible.
func (c *committer) transaction(reqs []*request) (err error) {
	g := &group{
		committer: c, now: c.s.now(), queues: map[string]int64{},
		nextGone: c.s.nextGone.Load(), compacted: c.s.compacted.Load(), tombstones: c.tombstones,
	}
	if err := c.exec(sqlBegin); err != nil {
		return fmt.Errorf("begin: %w", classify(err))
	}
	defer func() {
		if err != nil {
			// After some failures SQLite has rolled back by itself.
			_ = c.exec(sqlRollback)
		}
	}()
	if err := g.sweep(); err != nil {
		return classify(err)
	}
	for _, r := range reqs {
		r.res = result{}
		switch {
		case r.batch != nil:
			r.res, err = g.apply(r.batch)
		case r.receive != nil:
			r.res.deliveries, err = g.deliver(*r.receive)
		}
		if err != nil {
			return classify(err)
		}
	}
	if err := g.finish(); err != nil {
		return classify(err)
	}
	if err := c.exec(sqlCommit); err != nil {
		if code(err) == codes.SQLITE_FULL {
			return classify(err) // the commit record did not fit, so there is none
		}
		c.s.log.Error("commit failed, outcome unknown", "error", err)
		return fmt.Errorf("%w: %w", state.ErrUnknown, err)
	}
	g.publish()
	return nil
}

// finish writes what is kept once a group.
func (g *group) finish() error {
	if !g.wrote {
		return nil
	}
	for q, gained := range g.queues {
		if err := g.updateQueue(q, gained); err != nil {
			return err
		}
	}
	if err := g.compact(); err != nil {
		return err
	}
	return g.exec(sqlSetMeta, g.rev, g.compacted)
}

// publish lets readers, watchers and consumers know of a committed group.
func (g *group) publish() {
	s := g.s
	g.committer.tombstones = g.tombstones
	s.nextGone.Store(g.nextGone)
	if !g.wrote {
		return
	}
	s.published.Store(g.rev)
	if g.docs {
		s.publishDocs()
	}
	if g.wake {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// compact forgets the older half of the tombstones when there are too many.
func (g *group) compact() error {
	if g.tombstones <= g.keep {
		return nil
	}
	var id int64
	switch err := g.row(sqlNthTombstone, g.keep/2).Scan(&id); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	default:
		if err := g.exec(sqlDropTombstones, id); err != nil {
			return err
		}
		// Before the commit, so that no watcher can miss what it removes.
		g.compacted = id >> 16
		g.s.compacted.Store(g.compacted)
	}
	return g.row(sqlCountTombstones).Scan(&g.tombstones)
}

// The writing connection is never interrupted: a context that can end would
// cost a goroutine a statement.
func (c *committer) exec(query string, args ...any) error {
	_, err := c.prepared[query].Exec(args...)
	return err
}

func (c *committer) row(query string, args ...any) *sql.Row {
	return c.prepared[query].QueryRow(args...)
}

const (
	sqlBegin           = `BEGIN IMMEDIATE`
	sqlCommit          = `COMMIT`
	sqlRollback        = `ROLLBACK`
	sqlSetMeta         = `UPDATE meta SET rev = ?, compacted = ?`
	sqlNthTombstone    = `SELECT id FROM doc WHERE v IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?`
	sqlDropTombstones  = `DELETE FROM doc WHERE v IS NULL AND id <= ?`
	sqlCountTombstones = `SELECT count(*) FROM doc WHERE v IS NULL`
)

var writeQueries = []string{
	sqlBegin, sqlCommit, sqlRollback, sqlSetMeta, sqlNthTombstone, sqlDropTombstones, sqlCountTombstones,
	sqlDocRev, sqlPutDoc, sqlDeleteDoc, sqlRowRev, sqlPutRow, sqlDeleteRow, sqlSpaceUsed,
	sqlSend, sqlMessage, sqlDeleteMessage, sqlHide, sqlRestore, sqlClaim, sqlExpired, sqlNextGone,
	sqlFirstDue, sqlSetQueue, sqlDropQueue,
}
