package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/state"
	"davy/internal/state/statetest"
)

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func commit(t testing.TB, s *Store, b state.Batch) int64 {
	t.Helper()
	rev, err := s.Commit(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func put(key, value string) state.Batch {
	return state.Batch{Ops: []state.Op{{Key: key, Value: []byte(value), IfRev: state.Any}}}
}

// The suite is about meaning, and its random part commits thousands of times:
// it runs without syncs. That syncs happen is for the settings test below and
// for test/crash.
func TestStore(t *testing.T) {
	statetest.Run(t, func(t *testing.T) state.Store { return open(t, Config{UnsafeSync: "OFF"}) })
}

func TestOpen_SyncsEveryCommit(t *testing.T) {
	s := open(t, Config{})
	if s.journal != "wal" || s.synchronous != 2 {
		t.Fatalf("journal_mode=%s synchronous=%d, want wal and 2 (FULL)", s.journal, s.synchronous)
	}
	if s := open(t, Config{UnsafeSync: "NORMAL"}); s.synchronous != 1 {
		t.Fatalf("synchronous=%d: the setting reported is not the one in force", s.synchronous)
	}
}

func TestOpen_KeepsEverythingAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	commit(t, s, state.Batch{
		Ops:  []state.Op{{Key: "a", Value: []byte("1")}, {Space: "s", Key: "k", Value: []byte("2")}},
		Send: []state.Msg{{Queue: "q", Body: []byte("m"), Attrs: map[string]string{"k": "v"}}, {Queue: "q", ExpiresAt: time.Unix(1, 0)}},
	})
	d, err := s.Receive(t.Context(), "q", 1, time.Hour)
	if err != nil || len(d) != 1 {
		t.Fatal(d, err)
	}
	last := commit(t, s, put("b", "1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	if doc, err := s.Get(t.Context(), "a"); err != nil || string(doc.Value) != "1" {
		t.Fatal(doc, err)
	}
	if row, err := s.GetRow(t.Context(), "s", "k"); err != nil || string(row.Value) != "2" {
		t.Fatal(row, err)
	}
	if v, h, err := s.Depth(t.Context(), "q"); err != nil || v != 0 || h != 1 {
		t.Fatal(v, h, err)
	}
	if rev := commit(t, s, put("c", "1")); rev <= last {
		t.Fatalf("revision %d after %d", rev, last)
	}
	commit(t, s, state.Batch{Settle: []state.Settle{{Receipt: d[0].Receipt, Delete: true}}})
}

func TestOpen_RefusesWhatItCannotKeep(t *testing.T) {
	edit := func(query string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.ExecContext(t.Context(), query); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, dir string)
		want error
	}{
		{"a newer schema", edit(`UPDATE schema SET version = 99`), ErrNewer},
		{"another program's database", edit(`DROP TABLE schema`), ErrDamaged},
		{"an empty schema table", edit(`DELETE FROM schema`), ErrDamaged},
		{"a file that is no database", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "state.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		{"a damaged page", func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "state.db"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, 3000), 100); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := open(t, Config{Dir: dir}).Close(); err != nil {
				t.Fatal(err)
			}
			tc.harm(t, dir)
			for range 2 { // a refusal must release the lock
				_, err := Open(t.Context(), Config{Dir: dir})
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), dir) {
					t.Fatalf("%v, want %v naming the directory", err, tc.want)
				}
			}
		})
	}
}

func TestOpen_OneProcessADirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	_, err := Open(t.Context(), Config{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Fatalf("%v, want ErrInUse naming process %d", err, os.Getpid())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Dir: dir})
}

func TestOpen_PathsOfAnyName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#d%41&_pragma=x")
	s := open(t, Config{Dir: dir})
	commit(t, s, put("a", "1"))
	if fi, err := os.Stat(filepath.Join(dir, "state.db")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatal(fi, err)
	}
}

func TestClose_AnswersWhatItAccepted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	watching := make(chan error, 1)
	go func() {
		for _, err := range s.Watch(t.Context(), "", 0) {
			if err != nil {
				watching <- err
			}
		}
	}()
	var mu sync.Mutex
	acked := map[string]bool{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d", w, i)
				_, err := s.Commit(context.Background(), put(key, "1"))
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[key] = true
				mu.Unlock()
			}
		})
	}
	if _, err := s.Commit(t.Context(), put("first", "1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := <-watching; !errors.Is(err, ErrClosed) {
		t.Fatalf("watch ended with %v", err)
	}
	if _, err := s.Get(t.Context(), "first"); !errors.Is(err, ErrClosed) {
		t.Fatalf("read after close: %v", err)
	}
	s = open(t, Config{Dir: dir})
	for key := range acked {
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Errorf("acknowledged before Close, now %v", err)
		}
	}
}

func TestWatch_ForgottenDeletionsAreReported(t *testing.T) {
	s := open(t, Config{Tombstones: 10, UnsafeSync: "OFF"})
	start := commit(t, s, put("a", "1"))
	for i := range 100 {
		key := fmt.Sprint("k", i)
		commit(t, s, put(key, "1"))
		commit(t, s, state.Batch{Ops: []state.Op{{Key: key, IfRev: state.Any}}})
	}
	last := commit(t, s, put("z", "1"))
	next := func(from int64) ([]state.Doc, error) {
		for docs, err := range s.Watch(t.Context(), "", from) {
			return docs, err
		}
		return nil, nil
	}
	if _, err := next(start); !errors.Is(err, state.ErrCompacted) {
		t.Fatalf("watch from before the compaction: %v", err)
	}
	docs, err := next(0)
	if err != nil || docs[0].Key != "a" || docs[len(docs)-1].Key != "z" {
		t.Fatal(docs, err)
	}
	if dead := len(docs) - 2; dead < 4 || dead > 11 {
		t.Fatalf("%d tombstones kept, want about 5 to 10", dead)
	}
	if docs, err := next(last - 1); err != nil || len(docs) != 1 {
		t.Fatal(docs, err)
	}
}

func TestCommit_FullDiskRefusesAndRecovers(t *testing.T) {
	s := open(t, Config{maxPages: 60})
	testFull(t, s, func() {
		for i := range 200 {
			commit(t, s, state.Batch{Ops: []state.Op{{Key: fmt.Sprint("big", i), IfRev: state.Any}}})
		}
	})
}

func TestCommit_FullFileSystemRefusesAndRecovers(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("davy-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs root to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 300<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir})
	testFull(t, s, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	if doc, err := s.Get(t.Context(), "after"); err != nil || string(doc.Value) != "1" {
		t.Fatal(doc, err)
	}
}

// testFull fills the store, looks at how it bears it, makes room, and looks
// whether it works again.
func testFull(t *testing.T, s *Store, makeRoom func()) {
	t.Helper()
	commit(t, s, put("a", "1"))
	stored := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			key := fmt.Sprint("big", i)
			_, err := s.Commit(t.Context(), put(key, strings.Repeat("x", 10_000)))
			if err != nil && !errors.Is(err, state.ErrFull) {
				t.Errorf("a full disk gives %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			stored[key] = err == nil
		})
	}
	wg.Wait()
	full := 0
	for key, ok := range stored {
		if _, err := s.Get(t.Context(), key); (err == nil) != ok {
			t.Errorf("%s: stored %v, then read %v", key, ok, err)
		}
		if !ok {
			full++
		}
	}
	if full == 0 || full == len(stored) {
		t.Fatalf("%d of %d batches refused: the disk was not filled half-way", full, len(stored))
	}
	if doc, err := s.Get(t.Context(), "a"); err != nil || string(doc.Value) != "1" {
		t.Fatal(doc, err)
	}
	makeRoom()
	commit(t, s, put("after", "1"))
}

func TestCommit_AStatementThatFailsHarmsNoOther(t *testing.T) {
	s := open(t, Config{UnsafeSync: "OFF", maxPages: 200})
	huge := strings.Repeat("x", 1<<20) // more than fits
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			b := put(fmt.Sprint("k", i), "1")
			if i == 7 { // its first half fits
				b.Ops = append(b.Ops, state.Op{Key: "huge", Value: []byte(huge), IfRev: state.Any})
			}
			if _, err := s.Commit(t.Context(), b); errors.Is(err, state.ErrFull) != (i == 7) || (err != nil && i != 7) {
				t.Errorf("batch %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	docs, err := s.List(t.Context(), "k", "", 100)
	if err != nil || len(docs) != 31 {
		t.Fatal(len(docs), err)
	}
}

func TestCommit_WhoGaveUpWaitingChangedNothing(t *testing.T) {
	s := open(t, Config{UnsafeSync: "OFF"})
	b := put("abandoned", "1")
	r := &request{batch: &b, done: make(chan result, 1)}
	r.phase.Store(abandoned) // as submit does when its context ends first
	if err := s.send(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	commit(t, s, put("next", "1"))
	if _, err := s.Get(t.Context(), "abandoned"); !errors.Is(err, state.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestCommit_TooLargeABatchIsRefused(t *testing.T) {
	s := open(t, Config{})
	if _, err := s.Commit(t.Context(), state.Batch{Send: make([]state.Msg, state.MaxBatch+1)}); err == nil {
		t.Fatal("accepted")
	}
}
