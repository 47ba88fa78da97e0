package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// claimWait bounds how long a predecessor of the same instance may take to
// end.
const claimWait = 5 * time.Second

// lockDir is the base directory that is locked: of every launcher on a
// machine the same one, so that each can tell whether another lives.
func (t *Tree) lockDir() string {
	for _, c := range append([]string{""}, v1Controllers...) {
		if dir := t.base[c]; dir != "" {
			return dir
		}
	}
	return ""
}

// claim locks the base group, so that it is this launcher's until it ends, in
// whatever way.
func (t *Tree) claim() error {
	deadline := time.Now().Add(claimWait)
	for {
		f, err := tryLock(t.lockDir())
		if err == nil {
			t.lock = f
		} else if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.ENOENT) || time.Now().After(deadline) {
			return fmt.Errorf("%w: claim %s: %w", ErrUnsupported, t.lockDir(), err)
		}
		for _, dir := range t.base {
			if err := t.makeDir(dir); err != nil {
				return fmt.Errorf("%w: %w", ErrUnsupported, err)
			}
		}
		if t.lock != nil {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// tryLock locks the group that is at dir. The error wraps EWOULDBLOCK when
// another has it, and ENOENT when there is none, or when a launcher that
// sweeps removed it between its opening and the lock: a lock on that would
// say nothing about the group that its owner has made at the same place since.
func tryLock(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	var there, held unix.Stat_t
	if unix.Stat(dir, &there) != nil || unix.Fstat(fd, &held) != nil || there.Ino != held.Ino {
		unix.Close(fd)
		return nil, &os.PathError{Op: "lock", Path: dir, Err: unix.ENOENT}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// sweepDead removes the groups of killed launchers of other instances, which
// may never start again. Only groups without a process are touched.
func (t *Tree) sweepDead() {
	beside := map[string]string{} // controller -> directory of the base group
	for c, dir := range t.base {
		beside[c] = filepath.Dir(dir)
	}
	t.sweepDeadIn(filepath.Dir(t.lockDir()), beside)
	// One that was started from a shell left its groups at the top.
	if t.v2 && t.top != beside[""] {
		t.sweepDeadIn(t.top, map[string]string{"": t.top})
	}
}

func (t *Tree) sweepDeadIn(lockParent string, parents map[string]string) {
	entries, err := os.ReadDir(lockParent)
	if err != nil {
		return
	}
	for _, e := range entries {
		locked := filepath.Join(lockParent, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "davy-") || locked == t.lockDir() || e.Name() == servicesLeaf {
			continue
		}
		f, err := tryLock(locked)
		if err != nil {
			continue // it lives, or is gone
		}
		// The locked group goes last: an owner that is just starting waits
		// for it, and would lose its others if it came back earlier.
		var bases []string
		for _, parent := range parents {
			if dir := filepath.Join(parent, e.Name()); dir != locked {
				bases = append(bases, dir)
			}
		}
		bases = append(bases, locked)
		if !anyProcess(bases) {
			for _, base := range bases {
				groups, _ := filepath.Glob(filepath.Join(base, "*", "cgroup.procs"))
				for _, g := range groups {
					_ = unix.Rmdir(filepath.Dir(g))
				}
				_ = unix.Rmdir(base)
			}
		}
		f.Close()
	}
}

func anyProcess(bases []string) bool {
	for _, base := range bases {
		groups, err := filepath.Glob(filepath.Join(base, "*", "cgroup.procs"))
		if err != nil {
			return true
		}
		for _, g := range append(groups, filepath.Join(base, "cgroup.procs")) {
			if len(readFields(g)) > 0 {
				return true
			}
		}
	}
	return false
}
