// Package scratch makes the file systems behind /tmp of sandboxes: on disk,
// so that what a function keeps in /tmp is not counted as its memory.
//
// A volume is an ext4 file system of its own in a sparse file that never had
// a name. Everything about it lives by open descriptors and mounts: when the
// launcher and the sandboxes are gone, in whatever way, so are the loop
// device and the bytes, and nothing has to be swept. The content is Davy's
// from the first byte; a function acts on it through the file system only,
// never on the image or the device.
//
// Volumes are promised more than the disk may have. Before it is full, every
// volume stops taking new blocks (ENOSPC, as on a full /tmp) and takes them
// again when there is room: see [Config.ReserveBytes].
package scratch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrUnavailable is wrapped by Open when this machine, or this user, can have
// no volumes. The text says why in plain words.
var ErrUnavailable = errors.New("scratch volumes are not available")

// Usual is the size that functions have unless they ask for another.
const Usual = 512 << 20

// Sizes that a volume can have, in bytes for files.
const (
	MinBytes = 1 << 20
	MaxBytes = 16 << 30
)

const (
	shelves = 8        // sizes that are kept in mind
	grain   = 64 << 10 // of the sizes
)

// Config of a Store.
type Config struct {
	// Dir is a directory of the file system that the images lie in. Required.
	Dir string
	// Ready is how many volumes of the usual size wait ready; a quarter of
	// them for the other sizes that were asked for lately. 0: 4; negative:
	// none.
	Ready int
	// ReserveBytes of the file system that volumes leave to others. 0: a
	// twentieth of it, 256 MiB to 4 GiB.
	ReserveBytes int64
	Log          *slog.Logger // nil: discard
}

// Store makes volumes. Safe for concurrent use.
type Store struct {
	cfg  Config
	mkfs string
	dir  *os.File
	wake chan struct{} // something is to be made ready
	used chan struct{} // a volume is in use

	mu      sync.Mutex
	closed  bool
	shelf   []*shelf // the last used is the last
	volumes map[*Volume]bool
	low     bool // the disk is

	space func() (int64, error) // bytes free for this user
	slots chan struct{}         // of unmounting, which holds a thread while the kernel waits
	wg    sync.WaitGroup
}

// shelf has the volumes of one size.
type shelf struct {
	bytes int64
	ready []*Volume // guarded by Store.mu

	once  sync.Mutex
	image *image // guarded by once
}

// Open finds out whether this machine can have volumes, by making one.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Ready == 0 {
		cfg.Ready = 4
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		cfg: cfg, slots: make(chan struct{}, 8), wake: make(chan struct{}, 1), used: make(chan struct{}, 1), volumes: map[*Volume]bool{},
	}
	s.space = s.free
	err := s.open(ctx)
	if err != nil {
		if s.dir != nil {
			s.dir.Close()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	for _, p := range []string{"/sbin/mke2fs", "/usr/sbin/mke2fs"} {
		if unix.Access(p, unix.X_OK) == nil {
			s.mkfs = p
			break
		}
	}
	if s.mkfs == "" {
		return errors.New("mke2fs (package e2fsprogs) is not installed")
	}
	fd, err := unix.Open(s.cfg.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: s.cfg.Dir, Err: err}
	}
	s.dir = os.NewFile(uintptr(fd), s.cfg.Dir)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: s.cfg.Dir, Err: err}
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%s lies in memory", s.cfg.Dir)
	}
	if s.cfg.ReserveBytes == 0 {
		s.cfg.ReserveBytes = min(max(int64(st.Blocks)*st.Bsize/20, 256<<20), 4<<30)
	}
	sh, _ := s.shelfFor(Usual)
	im, err := s.imageOf(ctx, sh)
	if err != nil {
		return err
	}
	v, err := s.make(im, Usual)
	if err != nil {
		return err
	}
	// The brake is what keeps the rest of the machine safe.
	err = errors.Join(v.brake(true), v.brake(false), v.unmount())
	return err
}

// Run makes volumes ready and keeps watch over the disk until ctx ends, then
// closes the Store. Volumes that are in use stay whole.
func (s *Store) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.watch(ctx) })
	for {
		if err := s.stock(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("no volume can be made ready", "error", err) // who takes one meets the same error
		}
		select {
		case <-ctx.Done():
			wg.Wait()
			s.close()
			return
		case <-s.wake:
		}
	}
}

func (s *Store) close() {
	s.mu.Lock()
	s.closed = true
	for _, sh := range s.shelf {
		s.retire(sh.ready)
		sh.ready = nil
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.dir.Close()
}

// Wait returns when every volume that was closed is gone.
func (s *Store) Wait() { s.wg.Wait() }

// Take gives a volume for at least bytes of files: one that waited, or a new
// one.
func (s *Store) Take(ctx context.Context, bytes int64) (*Volume, error) {
	if bytes > MaxBytes {
		return nil, fmt.Errorf("scratch: %d bytes are more than %d", bytes, int64(MaxBytes))
	}
	bytes = rounded(bytes)
	sh, v := s.shelfFor(bytes)
	if v == nil {
		im, err := s.imageOf(ctx, sh)
		if err == nil {
			v, err = s.make(im, bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("scratch: %w", err)
		}
	}
	if err := s.lend(v); err != nil {
		return nil, errors.Join(err, v.unmount())
	}
	signal(s.wake)
	signal(s.used)
	return v, nil
}

// rounded is the size of the volume for so many bytes.
func rounded(bytes int64) int64 { return (max(bytes, MinBytes) + grain - 1) / grain * grain }

// lend notes a volume as in use.
func (s *Store) lend(v *Volume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("scratch: %w", os.ErrClosed)
	}
	s.volumes[v] = true
	if s.low {
		return v.brake(true)
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// shelfFor finds or makes the shelf of a size, and takes a volume from it if
// there is one.
func (s *Store) shelfFor(bytes int64) (*shelf, *Volume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.shelf, func(sh *shelf) bool { return sh.bytes == bytes })
	if i < 0 {
		if len(s.shelf) == shelves { // the usual size, the first, stays
			s.retire(s.shelf[1].ready)
			s.shelf = slices.Delete(s.shelf, 1, 2)
		}
		s.shelf = append(s.shelf, &shelf{bytes: bytes})
		return s.shelf[len(s.shelf)-1], nil
	}
	sh := s.shelf[i]
	if i > 0 {
		s.shelf = append(slices.Delete(s.shelf, i, i+1), sh)
	}
	if n := len(sh.ready); n > 0 {
		v := sh.ready[n-1]
		sh.ready = sh.ready[:n-1]
		return sh, v
	}
	return sh, nil
}

func (s *Store) imageOf(ctx context.Context, sh *shelf) (*image, error) {
	sh.once.Lock()
	defer sh.once.Unlock()
	if sh.image == nil {
		im, err := newImage(ctx, s.mkfs, s.dir, sh.bytes)
		if err != nil {
			return nil, err
		}
		sh.image = im
	}
	return sh.image, nil
}

// stock fills the shelves.
func (s *Store) stock(ctx context.Context) error {
	for ctx.Err() == nil {
		sh := s.wanting()
		if sh == nil || s.nearlyFull() {
			return nil
		}
		im, err := s.imageOf(ctx, sh)
		if err != nil {
			return err
		}
		v, err := s.make(im, sh.bytes)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if slices.Contains(s.shelf, sh) {
			sh.ready = append(sh.ready, v)
		} else {
			s.retire([]*Volume{v})
		}
		s.mu.Unlock()
	}
	return nil
}

func (s *Store) wanting() *shelf {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, sh := range s.shelf {
		want := s.cfg.Ready
		if i > 0 {
			want = (want + 3) / 4
		}
		if len(sh.ready) < want {
			return sh
		}
	}
	return nil
}

// retire unmounts volumes without making the caller wait.
func (s *Store) retire(volumes []*Volume) {
	for _, v := range volumes {
		s.wg.Go(func() {
			s.slots <- struct{}{}
			defer func() { <-s.slots }()
			if err := v.unmount(); err != nil {
				s.cfg.Log.Error("volume not removed", "error", err)
			}
		})
	}
}
