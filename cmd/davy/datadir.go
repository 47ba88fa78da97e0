package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// serverUID is the user that the server runs as when davy is started by root.
// It needs no entry in /etc/passwd.
const serverUID = 64999

// prepareDataDir makes the data directory and the roots of sandboxes. As root
// the data directory belongs to the server's user, who must be able to reach
// it.
func prepareDataDir(dir, runtimes string, roots []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	for _, r := range roots {
		if err := os.MkdirAll(r, 0o755); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
		if filepath.Dir(r) == dir && os.Geteuid() == 0 {
			if err := os.Lchown(r, serverUID, serverUID); err != nil {
				return fmt.Errorf("give data directory to the server: %w", err)
			}
		}
	}
	if os.Geteuid() != 0 {
		return nil
	}
	for _, d := range []string{dir, runtimes} {
		if err := reachable(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return own(dir)
}

// reachable fails for a directory below which the server's user cannot go.
func reachable(dir string) error {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode().Perm()&0o001 == 0 && (st.Uid != serverUID || info.Mode().Perm()&0o100 == 0) {
			return fmt.Errorf("the server runs without privileges, as user %d, and cannot pass %s (mode %o): choose another directory or run chmod o+x %s",
				serverUID, dir, info.Mode().Perm(), dir)
		}
	}
	return nil
}

// own gives the data directory, and what an earlier version or a restored
// copy left in it under another user, to the server's user.
func own(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid == serverUID {
		return nil
	}
	// From the leaves up: the directory itself changes hands last, so that a
	// walk that was interrupted is begun again.
	var paths []string
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return fmt.Errorf("walk data directory: %w", err)
	}
	for i := len(paths) - 1; i >= 0; i-- {
		if err := os.Lchown(paths[i], serverUID, serverUID); err != nil {
			return fmt.Errorf("give data directory to the server: %w", err)
		}
	}
	return nil
}
