package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/state"
)

// Reserve is disk space that is kept for the day that there is no more: a file
// with blocks and no content.
//
// On a full disk not even a deletion can be stored, which is written to the log
// before anything becomes free. When such a write meets the full disk, the file
// gives some blocks up, what makes room is stored in them, and the file takes
// back what is left of them before somebody else does. What would take room is
// refused until the reserve is whole again.
// Nobody has to start anything anew for that.
//
// The methods of a nil Reserve are those of one that is always there.
type Reserve struct {
	f    *os.File
	size int64
	log  *slog.Logger

	whole atomic.Bool // all of its blocks are there
	low   atomic.Bool // the disk was found full, and this was said

	mu   sync.Mutex
	next time.Time // before then room is not looked for again
}

// Size of a reserve: this part of the file system, and bounds in bytes.
const (
	reservePart = 16
	reserveMin  = 4 << 20
	reserveMax  = 32 << 20 // the log of what is not in the database yet, twice
)

// reserveFirst is how much of a reserve is given up at first, in bytes: more
// than most transactions need.
const reserveFirst = 128 << 10

// reserveRetry is how often a full disk is looked at for room.
const reserveRetry = 100 * time.Millisecond

// openReserve opens the reserve of a directory and fills it if it can. A file
// system that lies in memory or cannot promise space has none: nil.
func openReserve(dir string, log *slog.Logger) (*Reserve, error) {
	f, err := os.OpenFile(filepath.Join(dir, "reserve"), os.O_RDWR|os.O_CREATE, 0o600)
	if full(err) {
		return nil, nil // it has not been there before: the disk is as full as it was
	}
	if err != nil {
		return nil, fmt.Errorf("open reserve: %w", err)
	}
	r := &Reserve{f: f, log: log}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return nil, errors.Join(fmt.Errorf("open reserve: %w", err), f.Close())
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return nil, f.Close()
	}
	r.size = min(max(int64(fs.Blocks)*fs.Bsize/reservePart, reserveMin), reserveMax)
	if r.has() >= r.size {
		r.whole.Store(true)
		return r, nil
	}
	switch err := r.fill(); {
	case err == nil:
	case full(err):
		r.tell(err)
	default:
		log.Info("no disk space can be kept for when it is full", "error", err)
		return nil, f.Close()
	}
	return r, nil
}

// has is how many bytes of blocks the file has.
func (r *Reserve) has() int64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(r.f.Fd()), &st); err != nil {
		return 0
	}
	return st.Blocks * 512
}

// fill takes the blocks; after an error, as many as it could get.
func (r *Reserve) fill() error {
	const least = 64 << 10
	at := max(min(r.has(), r.size)-least, 0) // not all of the blocks need be content
	for step := r.size - at; ; step /= 2 {
		err := unix.Fallocate(int(r.f.Fd()), 0, 0, at+step)
		if err == nil {
			at += step
		}
		if at == r.size {
			r.whole.Store(true)
			return nil
		}
		// Some file systems take nothing if they cannot have all.
		if err != nil && !full(err) {
			return err
		}
		if step < least {
			return unix.ENOSPC
		}
	}
}

// Lend gives blocks up while write runs, which has met a full disk before, and
// may find it full again and leave nothing behind: then it runs again with more
// of them. They are given up in small parts, because whoever fills the disk at
// that time takes what is there. Lend returns what write does.
func (r *Reserve) Lend(write func() error) error {
	if r == nil {
		return write() // perhaps there is room by now
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { _ = r.fill() }()
	r.whole.Store(false)
	for left, part := r.has(), int64(reserveFirst); ; part *= 2 {
		left = max(left-part, 0)
		// Synced: some file systems give blocks to others only when that is done.
		if err := errors.Join(r.f.Truncate(left), r.f.Sync()); err != nil {
			r.log.Error("the disk space kept for deletions is not given up", "error", err)
		}
		if err := write(); left == 0 || !full(err) {
			return err
		}
	}
}

// full tells whether an error is that of a full disk.
func full(err error) bool {
	return errors.Is(err, state.ErrFull) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// half tells whether at least half of the blocks are there.
func (r *Reserve) half() bool { return r == nil || r.whole.Load() || r.has() >= r.size/2 }

// Low notes that a write has met a full disk, and says so once.
func (r *Reserve) Low(err error) {
	if r != nil && !r.low.Load() {
		r.tell(err)
	}
}

func (r *Reserve) tell(err error) {
	if !r.low.Swap(true) {
		r.log.Error("the disk is full: what takes space is refused until there is room", "reserve", r.size, "error", err)
	}
}

// Room returns an error that wraps state.ErrFull as long as there is none for
// what takes space.
func (r *Reserve) Room() error {
	if r == nil || r.whole.Load() && !r.low.Load() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.After(r.next) {
		r.next = now.Add(reserveRetry)
		r.look()
	}
	if r.whole.Load() {
		return nil // there may be room for this one
	}
	return fmt.Errorf("%w: the space kept for deletions is not whole", state.ErrFull)
}

// look takes blocks back and finds out whether as much is left beside them.
// r.mu is held.
func (r *Reserve) look() {
	if !r.whole.Load() && r.fill() != nil {
		return
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(r.f.Fd()), &fs); err != nil || int64(fs.Bavail)*fs.Bsize < r.size {
		return
	}
	if r.low.Swap(false) {
		r.log.Info("the disk has room again")
	}
}

// Full tells whether the disk was found full and has no room yet.
func (r *Reserve) Full() bool {
	if r == nil {
		return false
	}
	_ = r.Room()
	return r.low.Load()
}

func (r *Reserve) close() error {
	if r == nil {
		return nil
	}
	return r.f.Close()
}
