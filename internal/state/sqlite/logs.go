package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"davy/internal/state"
)

// LogsConfig says where a log store lives.
type LogsConfig struct {
	Dir string       // required; made if missing
	Log *slog.Logger // nil: discard
	// Reserve is space kept for deletions ([Store.Reserve]). nil: none.
	Reserve *Reserve

	unsafeSync string // weakens synchronous=FULL, for tests of meaning
}

// Logs is a state.Logs: one SQLite file for each day (UTC) of the events'
// timestamps, in which rows hold blocks of events of one stream. The last block
// of a stream grows, and is compressed when it is full. A day whose last event
// is dropped is removed as a file.
//
// Appends of concurrent callers share a transaction. One goroutine writes,
// until Close; the directory must not be open twice (the lock of the data
// directory sees to that).
type Logs struct {
	dir   string
	sync  string // synchronous of each file
	log   *slog.Logger
	codec *blockCodec

	reserve *Reserve

	mu       sync.RWMutex // guards closed and days
	closed   bool
	days     map[string]*day
	requests chan *logRequest
	stopped  chan struct{}

	seq  int64                  // of the writer
	open map[openKey]*openBlock // blocks that take more events; of the writer
}

// day is one file.
type day struct {
	path string
	use  sync.RWMutex // read: in use; write: being removed
	db   *sql.DB      // nil: removed
}

// openKey names the block of a stream that takes more events.
type openKey struct{ day, group, stream string }

// openBlock is the block of a stream that takes more events.
type openBlock struct {
	id    int64 // 0: not in the file yet
	lo    int64 // the first timestamp
	bytes int   // of messages
	plainBlock
	late []state.LogEvent // events that belong before others, to be sorted in
}

func (b *openBlock) put(e state.LogEvent) {
	b.bytes += len(e.Message)
	if b.n > 0 && compareEvents(e, b.last) < 0 {
		b.late = append(b.late, e)
		return
	}
	if b.n == 0 {
		b.lo = e.Timestamp
	}
	b.add(e)
}

func (b *openBlock) full() bool {
	return b.n+len(b.late) >= blockEvents || b.bytes >= blockBytes
}

// sort sorts the late events in.
func (b *openBlock) sort(codec *blockCodec) error {
	if len(b.late) == 0 {
		return nil
	}
	events, err := codec.unpack("", b.data)
	if err != nil {
		return err
	}
	events = append(events, b.late...)
	slices.SortFunc(events, compareEvents)
	b.plainBlock, b.late, b.lo = plainBlock{}, nil, events[0].Timestamp
	for _, e := range events {
		b.add(e)
	}
	return nil
}

// maxTimestamp is the end of the year 9999: days have names of ten characters.
const maxTimestamp = 253_402_300_799_999

// maxOpen bounds the memory of blocks that take more events.
const maxOpen = 512

var logSchema = []string{`
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL);
INSERT INTO meta VALUES (1, 0);
CREATE TABLE block (id INTEGER PRIMARY KEY AUTOINCREMENT, g BLOB NOT NULL, s BLOB NOT NULL,
	lo INTEGER NOT NULL, hi INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX block_lo ON block (g, lo, id);
CREATE INDEX block_hi ON block (g, hi, id);
CREATE INDEX block_stream_lo ON block (g, s, lo, id);
CREATE INDEX block_stream_hi ON block (g, s, hi, id);
`}

// logRequest is an append or, with drop set, a removal.
type logRequest struct {
	group  string
	events []state.LogEvent
	drop   func(*sql.Tx) error
	to     int64 // drop concerns only what is before, 0: everything
	done   chan error
}

// OpenLogs opens or creates the log store of a directory.
func OpenLogs(ctx context.Context, cfg LogsConfig) (_ *Logs, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("sqlite: Dir is required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	l := &Logs{
		dir: cfg.Dir, sync: cmp.Or(cfg.unsafeSync, "FULL"), log: cfg.Log, reserve: cfg.Reserve, days: map[string]*day{}, open: map[openKey]*openBlock{},
		requests: make(chan *logRequest, 256), stopped: make(chan struct{}),
	}
	if l.codec, err = newBlockCodec(); err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(cfg.Dir, "????-??-??.db"))
	if err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	for _, path := range names {
		d, err := l.openDay(path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open logs: %w", err), l.closeDays())
		}
		l.days[strings.TrimSuffix(filepath.Base(path), ".db")] = d
	}
	// What is ingested lands between 14 days ago and tomorrow, so the newest
	// days know the last number given out.
	newest := slices.Sorted(maps.Keys(l.days))
	for _, name := range newest[max(0, len(newest)-17):] {
		seq, err := l.days[name].prepare(ctx)
		if errors.Is(err, state.ErrFull) {
			err = l.reserve.Lend(func() (err error) {
				seq, err = l.days[name].prepare(ctx)
				return err
			})
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open logs %s: %w", name, err), l.closeDays())
		}
		l.seq = max(l.seq, seq)
	}
	go func() {
		defer close(l.stopped)
		l.run(context.WithoutCancel(ctx)) // until Close
	}()
	return l, nil
}

func (l *Logs) openDay(path string) (*day, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db, err := openDB(path, 4, 1<<10, l.sync)
	if err != nil {
		return nil, err
	}
	db.SetConnMaxIdleTime(time.Minute) // old days are read seldom
	return &day{path: path, db: db}, nil
}

// prepare makes the tables and returns the last number that the day knows.
func (d *day) prepare(ctx context.Context) (seq int64, err error) {
	if err := prepare(ctx, d.db, logSchema); err != nil {
		return 0, err
	}
	err = d.db.QueryRowContext(ctx, `SELECT seq FROM meta`).Scan(&seq)
	return seq, classify(err)
}

// Close waits for what was accepted and closes the files.
func (l *Logs) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.requests)
	l.mu.Unlock()
	<-l.stopped
	l.codec.close()
	return l.closeDays()
}

func (l *Logs) closeDays() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, d := range l.days {
		d.use.Lock()
		if d.db != nil {
			errs = append(errs, d.db.Close())
			d.db = nil
		}
		d.use.Unlock()
	}
	return errors.Join(errs...)
}

// Append implements state.Logs. It sets Ingested and Seq in a copy.
func (l *Logs) Append(ctx context.Context, group string, events []state.LogEvent) error {
	if len(events) == 0 {
		return nil
	}
	for _, e := range events {
		if e.Timestamp < 0 || e.Timestamp > maxTimestamp {
			return fmt.Errorf("append logs: timestamp %d out of range", e.Timestamp)
		}
	}
	if err := l.submit(ctx, &logRequest{group: group, events: slices.Clone(events)}); err != nil {
		return fmt.Errorf("append logs: %w", err)
	}
	return nil
}

// Drop implements state.Logs.
func (l *Logs) Drop(ctx context.Context, group, stream string, before time.Time) error {
	to := int64(0)
	if !before.IsZero() {
		to = before.UnixMilli()
	}
	err := l.submit(ctx, &logRequest{
		drop: func(tx *sql.Tx) error { return l.dropBlocks(tx, group, stream, to) },
		to:   to,
	})
	if err != nil {
		return fmt.Errorf("drop logs: %w", err)
	}
	return nil
}

// submit hands a request to the writer and waits for it.
func (l *Logs) submit(ctx context.Context, r *logRequest) error {
	r.done = make(chan error, 1)
	send := func() error {
		l.mu.RLock()
		defer l.mu.RUnlock()
		if l.closed {
			return ErrClosed
		}
		select {
		case l.requests <- r:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := cmp.Or(ctx.Err(), send()); err != nil {
		return err
	}
	return <-r.done // bounded: the writer answers everything it takes
}

// run writes until the requests end.
func (l *Logs) run(ctx context.Context) {
	for first := range l.requests {
		group := []*logRequest{first}
		for more := first.drop == nil; more && len(group) < groupRequests; {
			select {
			case next, ok := <-l.requests:
				if !ok {
					more = false
					break
				}
				group = append(group, next)
				more = next.drop == nil
			default:
				more = false
			}
		}
		var drop *logRequest
		if last := group[len(group)-1]; last.drop != nil {
			drop, group = last, group[:len(group)-1]
		}
		if len(group) > 0 {
			l.append(ctx, group)
		}
		if drop != nil {
			err := l.drop(ctx, drop.drop, drop.to)
			if errors.Is(err, state.ErrFull) {
				err = l.reserve.Lend(func() error { return l.drop(ctx, drop.drop, drop.to) })
			}
			drop.done <- err
		}
	}
}

// append stores the events of several callers, a transaction a day. A caller
// fails when a day of its events does.
func (l *Logs) append(ctx context.Context, group []*logRequest) {
	if err := l.reserve.Room(); err != nil {
		for _, r := range group {
			r.done <- err
		}
		return
	}
	now := time.Now()
	l.seq = max(l.seq, now.UnixNano())
	byDay := map[string]map[openKey][]state.LogEvent{}
	users := map[string][]*logRequest{}
	for _, r := range group {
		for _, e := range r.events {
			l.seq++
			e.Seq, e.Ingested = l.seq, now.UnixMilli()
			name := time.UnixMilli(e.Timestamp).UTC().Format(time.DateOnly)
			key := openKey{name, r.group, e.Stream}
			if byDay[name] == nil {
				byDay[name] = map[openKey][]state.LogEvent{}
			}
			byDay[name][key] = append(byDay[name][key], e)
			if u := users[name]; len(u) == 0 || u[len(u)-1] != r {
				users[name] = append(u, r)
			}
		}
	}
	failed := map[*logRequest]error{}
	for name, streams := range byDay {
		if err := l.appendDay(ctx, name, streams); err != nil {
			if errors.Is(err, state.ErrFull) {
				l.reserve.Low(err)
			}
			for _, r := range users[name] {
				failed[r] = err
			}
		}
	}
	for _, r := range group {
		r.done <- failed[r]
	}
}

func (l *Logs) appendDay(ctx context.Context, name string, streams map[openKey][]state.LogEvent) (err error) {
	d, err := l.day(ctx, name)
	if err != nil {
		return classify(err)
	}
	tx, err := d.db.Begin()
	if err != nil {
		return classify(err)
	}
	changed := map[openKey]*openBlock{}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
			for key := range streams {
				delete(l.open, key)
			}
		}
	}()
	for key, events := range streams {
		b, err := l.store(tx, key, events)
		if err != nil {
			return classify(err)
		}
		changed[key] = b
	}
	if _, err := tx.Exec(`UPDATE meta SET seq = ?`, l.seq); err != nil {
		return classify(err)
	}
	if err := tx.Commit(); err != nil {
		return classify(err)
	}
	for key, b := range changed {
		delete(l.open, key)
		if b != nil {
			for other := range l.open { // any one
				if len(l.open) < maxOpen {
					break
				}
				delete(l.open, other)
			}
			l.open[key] = b
		}
	}
	return nil
}

// store writes events of one stream: into its open block while that is small,
// and into new ones. It returns the block that takes more, if one does.
func (l *Logs) store(tx *sql.Tx, key openKey, events []state.LogEvent) (*openBlock, error) {
	cur := openBlock{}
	if b := l.open[key]; b != nil {
		cur = *b // what it appends to is the writer's alone; a failure forgets it
	}
	flush := func() error {
		if err := cur.sort(l.codec); err != nil {
			return err
		}
		data := cur.data
		if cur.full() {
			data = l.codec.compress(data)
		}
		if cur.id != 0 {
			_, err := tx.Exec(`UPDATE block SET lo = ?, hi = ?, data = ? WHERE id = ?`, cur.lo, cur.last.Timestamp, data, cur.id)
			return err
		}
		res, err := tx.Exec(`INSERT INTO block (g, s, lo, hi, data) VALUES (?, ?, ?, ?, ?)`,
			[]byte(key.group), []byte(key.stream), cur.lo, cur.last.Timestamp, data)
		if err != nil {
			return err
		}
		cur.id, err = res.LastInsertId()
		return err
	}
	for _, e := range events {
		cur.put(e)
		if cur.full() {
			if err := flush(); err != nil {
				return nil, err
			}
			cur = openBlock{}
		}
	}
	if cur.n == 0 {
		return nil, nil
	}
	return &cur, flush()
}

// day returns the file of a day, made if it is missing.
func (l *Logs) day(ctx context.Context, name string) (*day, error) {
	l.mu.RLock()
	d := l.days[name]
	l.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	d, err := l.openDay(filepath.Join(l.dir, name+".db"))
	if err != nil {
		return nil, err
	}
	if _, err := d.prepare(ctx); err != nil {
		return nil, errors.Join(err, d.db.Close())
	}
	if err := syncDir(l.dir); err != nil {
		return nil, errors.Join(err, d.db.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.days[name] = d
	return d, nil
}

// drop runs a removal on every day up to a time (0: all), and removes the days
// that it leaves empty.
func (l *Logs) drop(ctx context.Context, remove func(*sql.Tx) error, to int64) error {
	clear(l.open)
	l.mu.RLock()
	days := maps.Clone(l.days)
	l.mu.RUnlock()
	var errs []error
	last := time.UnixMilli(to).UTC().Format(time.DateOnly)
	for name, d := range days {
		if to != 0 && name > last {
			continue
		}
		empty, err := d.drop(ctx, remove)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, classify(err)))
			continue
		}
		if empty && name < time.Now().UTC().Format(time.DateOnly) {
			errs = append(errs, l.unlink(name, d))
		}
	}
	return errors.Join(errs...)
}

func (d *day) drop(ctx context.Context, remove func(*sql.Tx) error) (empty bool, err error) {
	if _, err := d.prepare(ctx); err != nil {
		return false, err
	}
	tx, err := d.db.Begin()
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	if err := remove(tx); err != nil {
		return false, err
	}
	if err := tx.QueryRow(`SELECT NOT EXISTS (SELECT 1 FROM block)`).Scan(&empty); err != nil {
		return false, err
	}
	return empty, tx.Commit()
}

func (l *Logs) unlink(name string, d *day) error {
	l.mu.Lock()
	delete(l.days, name)
	l.mu.Unlock()
	d.use.Lock() // readers have left
	defer d.use.Unlock()
	errs := []error{d.db.Close()}
	d.db = nil
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Remove(d.path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// dropBlocks removes the blocks of a group, or of a stream of it, with events
// before a time (0: all); a block that only begins before it is shortened.
func (l *Logs) dropBlocks(tx *sql.Tx, group, stream string, before int64) error {
	where, args := `g = ?`, []any{[]byte(group)}
	if stream != "" {
		where, args = where+` AND s = ?`, append(args, []byte(stream))
	}
	if before == 0 {
		_, err := tx.Exec(`DELETE FROM block WHERE `+where, args...)
		return err
	}
	if _, err := tx.Exec(`DELETE FROM block WHERE `+where+` AND hi < ?`, append(args, before)...); err != nil {
		return err
	}
	rows, err := tx.Query(`SELECT id, s, data FROM block WHERE `+where+` AND lo < ?`, append(args, before)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	shortened := map[int64][]state.LogEvent{}
	for rows.Next() {
		var id int64
		var s, data []byte
		if err := rows.Scan(&id, &s, &data); err != nil {
			return err
		}
		events, err := l.codec.unpack(string(s), data)
		if err != nil {
			return err
		}
		shortened[id] = slices.DeleteFunc(events, func(e state.LogEvent) bool { return e.Timestamp < before })
	}
	if err := cmp.Or(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for id, events := range shortened {
		if _, err := tx.Exec(`UPDATE block SET lo = ?, data = ? WHERE id = ?`, events[0].Timestamp, l.codec.pack(events), id); err != nil {
			return err
		}
	}
	return nil
}

func compareEvents(a, b state.LogEvent) int {
	return cmp.Or(cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Seq, b.Seq))
}

var _ state.Logs = (*Logs)(nil)
