package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// servicesLeaf holds the processes of a version 2 group whose controllers are
// handed down: only groups without processes of their own can do that. A unit
// file may name it as DelegateSubgroup=.
const servicesLeaf = "davy-services"

// openV2 makes the base group. Controllers are enabled for its children when
// it has been claimed: until then it can be swept.
func (t *Tree) openV2(h hierarchy, name string) (string, error) {
	parent := place(h)
	if err := enable(parent); err != nil {
		if e := t.vacate(parent); e != nil {
			return "", fmt.Errorf("%w: %s has processes and cannot hand controllers down: %w", ErrUnsupported, parent, errors.Join(err, e))
		}
		if err := enable(parent); err != nil {
			return "", fmt.Errorf("%w: enable controllers in %s: %w", ErrUnsupported, parent, err)
		}
	}
	dir := filepath.Join(parent, name)
	if err := t.makeDir(dir); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return dir, nil
}

// place is the group below which the base group goes: this process's own if
// it may be divided, otherwise the top of what is mounted. Every launcher of
// an instance finds the same place, or it would not find what its predecessor
// left.
func place(h hierarchy) string {
	own := h.own()
	switch {
	case filepath.Base(own) == servicesLeaf:
		return filepath.Dir(own) // divided before, by a predecessor or by systemd
	case own == h.mount, !hasNeeded(h.mount):
		return own // nowhere else to go
	case hasNeeded(own) && (delegated(own) || onlyOurs(own)):
		return own
	}
	return h.mount // a login session: its shell stays where it is
}

// delegated reports whether systemd gave the group away (Delegate=yes).
// https://systemd.io/CGROUP_DELEGATION/
func delegated(dir string) bool {
	for _, mark := range []string{"trusted.delegate", "user.delegate"} {
		var b [1]byte
		if n, err := unix.Getxattr(dir, mark, b[:]); err == nil && n == 1 && b[0] == '1' {
			return true
		}
	}
	return false
}

// onlyOurs reports whether every process in the group runs this program, as
// in a service without Delegate=.
func onlyOurs(dir string) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	for _, pid := range readFields(filepath.Join(dir, "cgroup.procs")) {
		exe, err := os.Stat(filepath.Join("/proc", pid, "exe"))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil || !os.SameFile(self, exe) {
			return false
		}
	}
	return true
}

// vacate moves the processes of a group into a leaf of it.
func (t *Tree) vacate(dir string) error {
	leaf := filepath.Join(dir, servicesLeaf)
	if err := t.makeDir(leaf); err != nil {
		return err
	}
	var err error
	for range 10 { // they may fork meanwhile
		pids := readFields(filepath.Join(dir, "cgroup.procs"))
		if len(pids) == 0 {
			return nil
		}
		err = nil
		for _, pid := range pids {
			if pid == "0" { // of another process namespace; "0" would move this process
				err = errors.Join(err, errors.New("a process from outside of this container"))
			} else if e := write(filepath.Join(leaf, "cgroup.procs"), pid); e != nil && !errors.Is(e, unix.ESRCH) {
				err = errors.Join(err, fmt.Errorf("process %s: %w", pid, e))
			}
		}
	}
	return err
}

func hasNeeded(dir string) bool {
	have := readFields(filepath.Join(dir, "cgroup.controllers"))
	for _, c := range needed {
		if !has(have, c.name) {
			return false
		}
	}
	return true
}

// enable hands down those of the needed controllers that dir has.
func enable(dir string) error {
	have := readFields(filepath.Join(dir, "cgroup.controllers"))
	on := readFields(filepath.Join(dir, "cgroup.subtree_control"))
	for _, c := range needed {
		if !has(have, c.name) || has(on, c.name) {
			continue
		}
		if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+"+c.name); err != nil {
			return err
		}
	}
	return nil
}

// setUpV2 makes the claimed base group ready, and finds out what this machine's
// version 2 does not offer.
func (t *Tree) setUpV2() error {
	base := t.base[""]
	err := enable(base)
	if err != nil {
		return fmt.Errorf("%w: enable controllers in %s: %w", ErrUnsupported, base, err)
	}
	for _, c := range needed {
		if !has(readFields(filepath.Join(base, "cgroup.controllers")), c.name) {
			t.missing = append(t.missing, "cgroup controller "+c.name+": "+c.lost)
		}
	}
	if t.devices, err = newDeviceFilter(base); err != nil {
		t.missing = append(t.missing, fmt.Sprintf("cgroup device filter: %v: device nodes are held off by nodev mounts and missing capabilities alone", err))
	}
	if !exists(filepath.Join(base, "memory.max")) {
		return nil // said already
	}
	peak := &Group{t: t, dir: map[string]string{"": base}}
	if err := peak.resetPeakV2(); err != nil {
		t.missing = append(t.missing, "memory peak: Linux before 6.12 cannot start it anew: what booting a pooled runtime took counts as its function's")
	}
	if peak.peak != nil {
		peak.peak.Close()
	}
	return nil
}
