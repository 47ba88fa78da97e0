// Package tree keeps function code and layers unpacked: each zip archive once,
// as a directory named by its SHA-256, and each list of layers that functions
// have, merged into one directory, for execution environments to mount.
//
// It is a cache: what is missing is unpacked again from the archive. A tree
// appears under its name complete or not at all, is never changed, and stays
// while somebody uses it. Files are 0644 or 0755 whatever the archive says,
// because environments run as other users.
//
// Trees are not synced, since a first start would wait for everything else that
// is being written: a tree says in which boot of the machine it was made, and
// one of another boot, which a loss of power may have torn, is made again. Only
// where the boot has no name are trees synced.
//
//	DIR/SHA256/code/   the files
//	DIR/SHA256/VIEW/   links into them, if there is something to link
//	DIR/SHA256/made    their bytes in decimal and the boot; its time: when last used
//	DIR/.tmp-*         being made or removed; gone after Open
package tree

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/blob"
)

// Config says where trees live and where archives come from.
type Config struct {
	Dir string // required; made if missing
	// Load opens the archive with this SHA-256 (hex). Required.
	Load func(ctx context.Context, sha256 string) (zip io.ReaderAt, size int64, closeZip func() error, err error)
	// MaxBytes is how much is kept; unused trees go, the least recently used
	// first, when it is more. 0: 4 GiB.
	MaxBytes int64
	Views    []View // of trees that have their folders
}

// Cache is the trees of one directory.
type Cache struct {
	cfg    Config
	limits limits
	boot   string // names this boot of the machine; empty: not known

	mu    sync.Mutex
	trees map[string]*tree
	total int64
}

// tree is one directory. Its fields are guarded by the cache's lock; err and
// size are set before ready is closed.
type tree struct {
	users int
	size  int64
	used  time.Time
	ready chan struct{}
	err   error
}

const tmpPrefix = ".tmp-"

// Open opens or creates a cache and removes what a crash left half-made.
func Open(cfg Config) (*Cache, error) {
	if cfg.Dir == "" || cfg.Load == nil {
		return nil, errors.New("tree: Dir and Load are required")
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 4 << 30
	}
	c := &Cache{cfg: cfg, limits: standard, trees: map[string]*tree{}}
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		c.boot = strings.TrimSpace(string(boot))
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("open code trees: %w", err)
	}
	if err := os.Chmod(cfg.Dir, 0o755); err != nil { // whatever the umask
		return nil, fmt.Errorf("open code trees: %w", err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open code trees: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(cfg.Dir, e.Name())
		switch t, err := c.stored(path); {
		case strings.HasPrefix(e.Name(), tmpPrefix), validHash(e.Name()) && err != nil:
			if err := os.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("open code trees: %w", err)
			}
		case validHash(e.Name()):
			c.trees[e.Name()] = t
			c.total += t.size
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c, c.evict()
}

// stored reads what is known of a tree on disk; one of another boot is refused.
func (c *Cache) stored(path string) (*tree, error) {
	text, err := os.ReadFile(filepath.Join(path, "made"))
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(filepath.Join(path, "made"))
	if err != nil {
		return nil, err
	}
	size, boot, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	if boot != c.boot {
		return nil, fmt.Errorf("made in another boot, %q", boot)
	}
	t := &tree{used: fi.ModTime(), ready: make(chan struct{})}
	close(t.ready)
	t.size, err = strconv.ParseInt(size, 10, 64)
	return t, err
}

// Code gives the unpacked archive with this SHA-256 (hex), or one tree of
// several archives, each unpacked over the ones before it. The directory stays
// in place until release is called. Errors: what Load returns, and those of
// Check; blob.ErrFull.
func (c *Cache) Code(ctx context.Context, sha256s ...string) (dir string, release func(), err error) {
	for _, sha := range sha256s {
		if !validHash(sha) {
			return "", nil, fmt.Errorf("code %.100q: %w", sha, blob.ErrNotFound)
		}
	}
	if len(sha256s) == 0 {
		return "", nil, errors.New("tree: no code is asked for")
	}
	name := hashOf(sha256s)
	return c.use(ctx, name, func() (err error) {
		all := stack{limits: c.limits}
		for _, sha := range sha256s {
			zip, size, closeZip, err := c.cfg.Load(ctx, sha)
			if err != nil {
				return err
			}
			defer func() { _ = closeZip() }() // it was only read
			if err := all.add(zip, size); err != nil {
				return err
			}
		}
		merged, err := all.merge()
		if err != nil {
			return err
		}
		return c.unpack(name, merged)
	})
}

// use takes a tree for a user; the first one makes it and the others wait.
func (c *Cache) use(ctx context.Context, sha256 string, unpack func() error) (string, func(), error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	c.mu.Lock()
	t := c.trees[sha256]
	makes := t == nil
	if makes {
		t = &tree{ready: make(chan struct{})}
		c.trees[sha256] = t
	}
	t.users++
	c.mu.Unlock()

	if makes {
		c.made(sha256, t, unpack())
	}
	select {
	case <-t.ready:
	case <-ctx.Done():
		c.release(sha256, t)
		return "", nil, ctx.Err()
	}
	if t.err != nil {
		c.release(sha256, t)
		return "", nil, fmt.Errorf("unpack code %s: %w", sha256, t.err)
	}
	var once sync.Once
	return filepath.Join(c.cfg.Dir, sha256, "code"), func() { once.Do(func() { c.release(sha256, t) }) }, nil
}

// made records the outcome of unpacking and lets the waiting know.
func (c *Cache) made(sha256 string, t *tree, err error) {
	defer close(t.ready)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		var known *tree
		if known, err = c.stored(filepath.Join(c.cfg.Dir, sha256)); err == nil {
			t.size = known.size
			c.total += t.size
			_ = c.evict() // what cannot be removed now is tried again at the next change
		}
	}
	if t.err = err; err != nil {
		delete(c.trees, sha256) // the next one tries again
	}
}

func (c *Cache) release(sha256 string, t *tree) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.users--
	t.used = time.Now()
	if t.users == 0 && t.err == nil {
		// Kept for the next start only: an error costs a wrong order.
		_ = os.Chtimes(filepath.Join(c.cfg.Dir, sha256, "made"), t.used, t.used)
		_ = c.evict()
	}
}

// evict removes unused trees while there is too much. The lock is held: only
// the renaming happens under it.
func (c *Cache) evict() error {
	for c.total > c.cfg.MaxBytes {
		oldest := ""
		for sha256, t := range c.trees {
			if t.users == 0 && (oldest == "" || t.used.Before(c.trees[oldest].used)) {
				oldest = sha256
			}
		}
		if oldest == "" {
			return nil
		}
		dead, err := os.MkdirTemp(c.cfg.Dir, tmpPrefix)
		if err != nil {
			return fmt.Errorf("evict code: %w", full(err))
		}
		if err := os.Rename(filepath.Join(c.cfg.Dir, oldest), filepath.Join(dead, oldest)); err != nil {
			return errors.Join(fmt.Errorf("evict code: %w", err), os.Remove(dead))
		}
		c.total -= c.trees[oldest].size
		delete(c.trees, oldest)
		c.mu.Unlock()
		err = os.RemoveAll(dead)
		c.mu.Lock()
		if err != nil {
			return fmt.Errorf("evict code: %w", err)
		}
	}
	return nil
}

// unpack makes a tree under a temporary name and renames it.
func (c *Cache) unpack(name string, a *archive) (err error) {
	tmp, err := os.MkdirTemp(c.cfg.Dir, tmpPrefix)
	if err != nil {
		return full(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(full(err), os.RemoveAll(tmp))
		}
	}()
	code := filepath.Join(tmp, "code")
	for _, dir := range []string{tmp, code} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	n, err := a.writeTo(code)
	if err != nil {
		return err
	}
	for _, v := range c.cfg.Views {
		if err := a.writeView(v, tmp); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(tmp, "made"), fmt.Appendf(nil, "%d %s\n", n, c.boot), 0o644); err != nil {
		return err
	}
	if c.boot == "" {
		// One call for any number of files and directories.
		if err := syncFileSystem(tmp); err != nil {
			return err
		}
	}
	return os.Rename(tmp, filepath.Join(c.cfg.Dir, name))
}

// writeTo writes the archive's content below an empty directory. Names were
// checked; os.Root sees to it that a mistake there cannot lead outside.
func (a *archive) writeTo(dir string) (n int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	for _, d := range a.dirs {
		if err := errors.Join(root.Mkdir(d, 0o755), root.Chmod(d, 0o755)); err != nil {
			return 0, err
		}
	}
	err = a.each(func(f file) (io.WriteCloser, error) {
		w, err := root.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if err != nil {
			return nil, err
		}
		return &counter{w, &n}, w.Chmod(f.mode)
	})
	if err != nil {
		return 0, err
	}
	for name, target := range a.links { // last: nothing is written through one
		if err := root.Symlink(target, name); err != nil {
			return 0, err
		}
	}
	return n, nil
}

type counter struct {
	*os.File
	n *int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.File.Write(p)
	*c.n += int64(n)
	return n, err
}

func syncFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd()))), d.Close())
}

func validHash(s string) bool {
	_, err := hex.DecodeString(s)
	return len(s) == 64 && err == nil && strings.ToLower(s) == s
}

// full turns the errors of a full disk into blob.ErrFull.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	return err
}
