package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/server"
)

// serverUID is the user that the server runs as when davy is started by root.
// It needs no entry in /etc/passwd.
const serverUID = 64999

// prepareDataDir makes the data directory and the roots of sandboxes, and
// replaces the directories of cfg by their real paths, which a sandbox needs.
// As root the data directory belongs to the server's user, who must be able to
// reach it.
func prepareDataDir(cfg *server.Config) error {
	inside := filepath.Dir(cfg.RuntimesDir) == cfg.DataDir
	root := os.Geteuid() == 0
	var err error
	if cfg.DataDir, err = realPath(cfg.DataDir); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if root {
		if err := reachable(filepath.Dir(cfg.DataDir)); err != nil {
			return err
		}
	}
	if err := ours(cfg.DataDir); err != nil {
		return err
	}
	// What root makes on the way must let the server's user pass.
	parents := os.FileMode(0o700)
	if root {
		parents = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(cfg.DataDir), parents); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := awaitUnused(cfg.DataDir, 3*time.Second); err != nil {
		return err
	}
	if inside {
		cfg.RuntimesDir = filepath.Join(cfg.DataDir, filepath.Base(cfg.RuntimesDir))
		if err := os.MkdirAll(cfg.RuntimesDir, 0o755); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	named := cfg.RuntimesDir
	if cfg.RuntimesDir, err = filepath.EvalSymlinks(named); err != nil {
		return fmt.Errorf("no directory of runtimes (--runtimes): %w", err)
	}
	if inside && cfg.RuntimesDir != named {
		// The server owns the folder that it lies in, and what it leads to
		// could be anything of root's.
		return fmt.Errorf("%s is a symbolic link: name the directory of runtimes with --runtimes instead", named)
	}
	for _, r := range cfg.SandboxRoots() {
		if r == cfg.RuntimesDir {
			continue // the server only reads it
		}
		if err := os.MkdirAll(r, 0o755); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
		if root {
			if err := os.Lchown(r, serverUID, serverUID); err != nil {
				return fmt.Errorf("give data directory to the server: %w", err)
			}
		}
	}
	if !root {
		// Said here, where the path is known, and not by a database.
		if err := unix.Access(cfg.DataDir, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("write to data directory %s: %w", cfg.DataDir, err)
		}
		return nil
	}
	return own(cfg.DataDir, cfg.RuntimesDir)
}

// realPath resolves the symbolic links of the part of a path that exists.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || path == "/" {
		return real, err
	}
	parent, err := realPath(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// reachable fails for a directory below which the server's user cannot go.
func reachable(dir string) error {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at data directory: %w", err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode().Perm()&0o001 == 0 && (st.Uid != serverUID || info.Mode().Perm()&0o100 == 0) {
			return fmt.Errorf("the server runs without privileges, as user %d, and cannot pass %s (mode %o): choose another data directory or run chmod o+x %s",
				serverUID, dir, info.Mode().Perm(), dir)
		}
	}
	return nil
}

// ours fails for a directory that holds something, but not Davy's data: a
// mistyped --data-dir must not change the owner of somebody's files.
func ours(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	var other string
	for _, e := range entries {
		switch e.Name() {
		case "lock", "state.db": // the first and the most important of its files
			return nil
		case "bootstrap", "code", "runtimes": // made before them
		default:
			other = e.Name()
		}
	}
	if other != "" {
		return fmt.Errorf("%s is not a data directory of Davy, and is not empty (it holds %s): choose another with --data-dir", dir, other)
	}
	return nil
}

// awaitUnused fails when a server runs on the data directory. One that was
// killed a moment ago may still be on its way out, for which it has patience.
func awaitUnused(dir string, patience time.Duration) error {
	const pause = 20 * time.Millisecond
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	defer f.Close()
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil // closing f unlocks it for the server
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock data directory %s: %w", dir, err)
		}
		if time.Now().After(end) {
			pid := make([]byte, 16)
			n, _ := f.ReadAt(pid, 0)
			return fmt.Errorf("another davy serves %s (process %s)", dir, bytes.TrimSpace(pid[:n]))
		}
	}
}

// own gives the data directory, and what an earlier version or a restored
// copy left in it under another user, to the server's user. Runtimes, which
// the server only reads, keep their owner.
func own(dir, runtimes string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner == serverUID {
		return nil
	}
	// From the leaves up: the directory itself changes hands last, so that a
	// walk that was interrupted is begun again.
	var paths []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == runtimes {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		// A hard link to a file of a third user is not a gift to the server.
		switch uid := info.Sys().(*syscall.Stat_t).Uid; uid {
		case owner:
			paths = append(paths, path)
		case serverUID:
		default:
			return fmt.Errorf("%s belongs to user %d, the data directory to user %d", path, uid, owner)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give data directory to the server: %w", err)
	}
	for _, path := range slices.Backward(paths) {
		if err := os.Lchown(path, serverUID, serverUID); err != nil {
			return fmt.Errorf("give data directory to the server: %w", err)
		}
	}
	return nil
}
