package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"davy/internal/blob"
)

// writeback is how many bytes are written before the kernel is asked to start
// writing them out, so that the sync at the end finds most of it done.
const writeback = 1 << 20

var errFinished = errors.New("blob is finished")

// writer is a blob being written. It is not safe for concurrent use.
type writer struct {
	store *Store
	id    blob.ID
	f     *os.File
	dir   *dirSync
	size  int64
	begun int64 // up to here the kernel was asked to write out
	saved int64 // up to here it is durable
	err   error // of Flush
	done  bool
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, errFinished
	}
	n, err := w.f.Write(p)
	w.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write blob: %w", w.store.full(err))
	}
	if w.size-w.begun >= writeback {
		// A hint: an error would come again, and count, at the sync.
		_ = unix.SyncFileRange(int(w.f.Fd()), w.begun, w.size-w.begun, unix.SYNC_FILE_RANGE_WRITE)
		w.begun = w.size
	}
	return n, nil
}

// Flush implements blob.Writer.
func (w *writer) Flush() error {
	if w.done {
		return errFinished
	}
	// The kernel tells of a failed write once: who asks again is told that all
	// is well.
	if w.err == nil && (w.saved < w.size || w.size == 0) {
		w.err = os.NewSyscallError("fdatasync", unix.Fdatasync(int(w.f.Fd())))
		w.saved = w.size
	}
	return w.err
}

// Commit implements blob.Writer.
func (w *writer) Commit() (blob.ID, error) {
	if w.done {
		return "", errFinished
	}
	if err := w.commit(); err != nil {
		w.Abort()
		return "", fmt.Errorf("commit blob: %w", w.store.full(err))
	}
	w.done = true
	return w.id, nil
}

func (w *writer) commit() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if err := w.f.Close(); err != nil {
		return err
	}
	target := filepath.Join(w.dir.path, string(w.id))
	if err := os.Rename(w.f.Name(), target); err != nil {
		return err
	}
	if err := w.dir.sync(); err != nil {
		return errors.Join(err, os.Remove(target))
	}
	return nil
}

// Abort implements blob.Writer.
func (w *writer) Abort() {
	if w.done {
		return
	}
	w.done = true
	// What stays behind is removed at the next Open.
	_ = w.f.Close()
	_ = os.Remove(w.f.Name())
}

// dirSync syncs one directory for many: whoever comes while a sync runs waits
// for the next one, which starts after its rename and so covers it.
type dirSync struct {
	path  string
	shard byte

	turn sync.Mutex // held while syncing
	mu   sync.Mutex // guards next
	next *round
}

type round struct {
	done chan struct{}
	err  error
}

func (d *dirSync) sync() error {
	d.mu.Lock()
	r, leads := d.next, d.next == nil
	if leads {
		r = &round{done: make(chan struct{})}
		d.next = r
	}
	d.mu.Unlock()
	if !leads {
		<-r.done
		return r.err
	}
	d.turn.Lock()
	d.mu.Lock()
	d.next = nil // who comes from now on is too late for this sync
	d.mu.Unlock()
	r.err = syncDir(d.path)
	d.turn.Unlock()
	close(r.done)
	return r.err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
