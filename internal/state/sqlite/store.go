package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"davy/internal/state"
)

// Config says where a store lives.
type Config struct {
	Dir string       // the data directory; required; made if missing
	Log *slog.Logger // nil: discard
	// Tombstones is how many deleted documents are remembered for watchers
	// that resume. 0: 10,000.
	Tombstones int
	// Readers is the number of reading connections. 0: 4.
	Readers int
	// UnsafeSync is for tests only: a weaker setting of synchronous (NORMAL,
	// OFF), so that the loss tests can show that they see loss. Open warns.
	UnsafeSync string

	// maxPages limits the size of the file: a full disk, for tests.
	maxPages int
}

// Store is a state.Store in one SQLite file. It owns the lock of its data
// directory and one goroutine until Close.
type Store struct {
	log     *slog.Logger
	lock    *os.File
	reserve *Reserve
	writer  *sql.DB
	reader  *sql.DB
	reads   statements

	journal     string // journal_mode in force
	synchronous int    // synchronous in force

	mu       sync.RWMutex // guards closed; held for reading while sending to requests
	closed   bool
	requests chan *request
	stopped  chan struct{} // closed when the committer has ended

	clock     atomic.Int64 // the last time given out, nanoseconds
	published atomic.Int64 // the revision that readers see
	compacted atomic.Int64 // tombstones up to this revision may be missing
	nextGone  atomic.Int64 // when the next message expires, nanoseconds
	changed   atomic.Pointer[chan struct{}]
	wake      chan struct{}
}

const never = math.MaxInt64

// schema has one step a version.
var schema = []string{`
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), rev INTEGER NOT NULL, compacted INTEGER NOT NULL);
INSERT INTO meta VALUES (1, 0, 0);

-- id = rev<<16 + position; v NULL: deleted
CREATE TABLE doc (id INTEGER PRIMARY KEY, k BLOB NOT NULL UNIQUE, v BLOB);
CREATE INDEX doc_dead ON doc (id) WHERE v IS NULL;

-- an ordinary table and an index rather than a clustered one: values are large
CREATE TABLE row (id INTEGER PRIMARY KEY, space BLOB NOT NULL, k BLOB NOT NULL, rev INTEGER NOT NULL, v BLOB NOT NULL);
CREATE UNIQUE INDEX row_key ON row (space, k);

-- times in nanoseconds; gone: when to drop it, the later of vis and expiry, 0: never
CREATE TABLE msg (id INTEGER PRIMARY KEY, q BLOB NOT NULL, vis INTEGER NOT NULL, exp INTEGER NOT NULL,
	gone INTEGER NOT NULL, tries INTEGER NOT NULL, enq INTEGER NOT NULL, attrs BLOB NOT NULL, body BLOB NOT NULL);
CREATE INDEX msg_due ON msg (q, vis);
CREATE INDEX msg_gone ON msg (gone) WHERE gone > 0;

-- one row for each queue that holds a message: how many, and the smallest vis
CREATE TABLE queue (q BLOB PRIMARY KEY, n INTEGER NOT NULL, due INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX queue_due ON queue (due, q);
`}

// Open opens or creates the store of a data directory. Errors: ErrInUse,
// ErrNewer, ErrDamaged, state.ErrFull.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("sqlite: Dir is required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Tombstones == 0 {
		cfg.Tombstones = 10_000
	}
	if cfg.Readers == 0 {
		cfg.Readers = 4
	}
	switch cfg.UnsafeSync {
	case "":
		cfg.UnsafeSync = "FULL"
	case "NORMAL", "OFF":
		cfg.Log.Warn("the store is open without durability: acknowledged writes can be lost", "synchronous", cfg.UnsafeSync)
	default:
		return nil, fmt.Errorf("sqlite: UnsafeSync %q", cfg.UnsafeSync)
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{
		log:      cfg.Log,
		requests: make(chan *request, 1024),
		stopped:  make(chan struct{}),
		wake:     make(chan struct{}, 1),
	}
	s.changed.Store(new(make(chan struct{})))
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if s.reserve, err = openReserve(cfg.Dir, cfg.Log); err != nil {
		return nil, errors.Join(fmt.Errorf("open store in %s: %w", cfg.Dir, err), s.release())
	}
	c, err := s.open(ctx, cfg)
	if errors.Is(err, state.ErrFull) {
		err = s.reserve.Lend(func() error {
			if err := s.closeFiles(); err != nil {
				return err
			}
			s.reads, s.reader, s.writer = statements{}, nil, nil
			var err error
			c, err = s.open(ctx, cfg)
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store in %s: %w", cfg.Dir, err), s.release())
	}
	go func() {
		defer close(s.stopped)
		c.run()
	}()
	return s, nil
}

func (s *Store) open(ctx context.Context, cfg Config) (_ *committer, err error) {
	path := filepath.Join(cfg.Dir, "state.db")
	// The file holds password hashes and keys: private from its first byte.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if s.writer, err = openDB(path, 1, 8<<10, cfg.UnsafeSync); err != nil {
		return nil, err
	}
	if err := prepare(ctx, s.writer, schema); err != nil {
		return nil, err
	}
	if err := syncDir(cfg.Dir); err != nil {
		return nil, err
	}
	if s.reader, err = openDB(path, cfg.Readers, 2<<10, "FULL"); err != nil {
		return nil, err
	}
	if s.reads, err = prepareAll(ctx, s.reader, readQueries...); err != nil {
		return nil, err
	}
	return newCommitter(ctx, s, cfg)
}

// Close waits for the batches that were accepted and closes the files. Later
// calls answer ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.requests)
	s.mu.Unlock()
	<-s.stopped
	err := s.release()
	s.publishDocs() // watchers look up and find the store closed
	return err
}

// Reserve is the space that is kept for when the disk is full.
func (s *Store) Reserve() *Reserve { return s.reserve }

// release closes what Open opened.
func (s *Store) release() error {
	return errors.Join(s.closeFiles(), s.reserve.close(), s.lock.Close())
}

func (s *Store) closeFiles() error {
	var errs []error
	if s.reader != nil {
		errs = append(errs, s.reads.close(), s.reader.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	return errors.Join(errs...)
}

// now is the time in nanoseconds. It never goes back, so what was made visible
// now is visible in every later call.
func (s *Store) now() int64 {
	wall := time.Now().UnixNano()
	for {
		last := s.clock.Load()
		if wall <= last {
			return last
		}
		if s.clock.CompareAndSwap(last, wall) {
			return wall
		}
	}
}

func (s *Store) publishDocs() {
	close(*s.changed.Swap(new(make(chan struct{}))))
}

var _ state.Store = (*Store)(nil)
