// Package disk keeps blobs as files on one machine.
//
//	DIR/tmp/ID     being written; removed at Open
//	DIR/xx/ID      committed and durable; never changed again
//
// Commit syncs the file, renames it into its directory and syncs that. New
// blobs go to the same directory xx for a while, so that concurrent commits
// share one sync of it. The IDs are random, so a file says nothing about who
// wrote it, and two stores never make the same one.
//
// One process at a time may have a directory open; the lock of the data
// directory (package state/sqlite) sees to that.
package disk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/blob"
)

// perShard is how many blobs go to one directory before the next is taken.
const perShard = 1024

const tmp = "tmp"

// Config says where a store lives.
type Config struct {
	Dir string // required; made if missing
	// Room returns an error when there is no space for new blobs, and is asked
	// before each. nil: there is always.
	Room func() error
	// Full is told of a write that met a full disk. nil: nobody is.
	Full func(error)
}

// Store is a blob.Store in a directory.
type Store struct {
	dir    string
	room   func() error
	onFull func(error)

	mu    sync.Mutex
	shard byte // where new blobs go
	left  int  // how many more
	syncs map[byte]*dirSync
}

// Open opens or creates a store and removes what a crash left half-written.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("disk: Dir is required")
	}
	for _, dir := range []string{cfg.Dir, filepath.Join(cfg.Dir, tmp)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open blob store: %w", full(err))
		}
	}
	s := &Store{dir: cfg.Dir, room: cfg.Room, onFull: cfg.Full, syncs: map[byte]*dirSync{}}
	left, err := os.ReadDir(filepath.Join(cfg.Dir, tmp))
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	for _, e := range left {
		if err := os.Remove(filepath.Join(cfg.Dir, tmp, e.Name())); err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
	}
	n, err := rand.Int(rand.Reader, big.NewInt(256))
	if err != nil {
		return nil, err
	}
	s.shard = byte(n.Int64())
	return s, errors.Join(syncDir(filepath.Dir(cfg.Dir)), syncDir(cfg.Dir))
}

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context) (blob.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.room != nil {
		if err := s.room(); err != nil {
			return nil, fmt.Errorf("create blob: %w: %w", blob.ErrFull, err)
		}
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	ds, err := s.place()
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", s.full(err))
	}
	id := blob.ID(hex.EncodeToString(append([]byte{ds.shard}, raw[:]...)))
	f, err := os.OpenFile(filepath.Join(s.dir, tmp, string(id)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", s.full(err))
	}
	return &writer{store: s, id: id, f: f, dir: ds}, nil
}

// place chooses the directory of a new blob, and makes it if it is missing.
func (s *Store) place() (*dirSync, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		s.shard++
		s.left = perShard
	}
	ds := s.syncs[s.shard]
	if ds == nil {
		ds = &dirSync{path: filepath.Join(s.dir, hex.EncodeToString([]byte{s.shard})), shard: s.shard}
		if err := os.Mkdir(ds.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := syncDir(s.dir); err != nil {
			return nil, err
		}
		s.syncs[s.shard] = ds
	}
	s.left--
	return ds, nil
}

// path is where a blob is, or not ok for what cannot be an ID.
func (s *Store) path(id blob.ID) (string, bool) {
	if len(id) != 34 {
		return "", false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return filepath.Join(s.dir, string(id[:2]), string(id)), true
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, id blob.ID) (blob.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path, ok := s.path(id)
	if !ok {
		return nil, fmt.Errorf("open blob %q: %w", id, blob.ErrNotFound)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open blob %q: %w", id, blob.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open blob: %w", err), f.Close())
	}
	return reader{f, fi.Size()}, nil
}

// Delete implements blob.Store. It is not synced: a blob that comes back after
// a power loss is garbage again.
func (s *Store) Delete(ctx context.Context, id blob.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, ok := s.path(id)
	if !ok {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob: %w", err)
	}
	return nil
}

// Each implements blob.Store. The time of a blob is that of its last write.
func (s *Store) Each(ctx context.Context, before time.Time, fn func(blob.ID, int64) error) error {
	for shard := range 256 {
		entries, err := os.ReadDir(filepath.Join(s.dir, hex.EncodeToString([]byte{byte(shard)})))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted meanwhile
			}
			if err != nil {
				return fmt.Errorf("list blobs: %w", err)
			}
			if _, ok := s.path(blob.ID(e.Name())); !ok || !fi.Mode().IsRegular() || !fi.ModTime().Before(before) {
				continue
			}
			if err := fn(blob.ID(e.Name()), fi.Size()); err != nil {
				return err
			}
		}
	}
	return nil
}

type reader struct {
	*os.File
	size int64
}

func (r reader) Size() int64 { return r.size }

// full is the function full, and tells who wants to know.
func (s *Store) full(err error) error {
	err = full(err)
	if s.onFull != nil && errors.Is(err, blob.ErrFull) {
		s.onFull(err)
	}
	return err
}

// full turns the errors of a full disk into blob.ErrFull.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	return err
}

var _ blob.Store = (*Store)(nil)
