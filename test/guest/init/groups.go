//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cgroups is where a distribution has its one tree.
const cgroups = "/sys/fs/cgroup"

// place is where on a machine a step's processes start: what systemd, a login
// or a container engine would have made of the tree.
type place int

const (
	// service: a unit with Delegate=yes.
	service place = iota
	// plainService: a unit that was not delegated its group, which all the
	// same has no process of others.
	plainService
	// subgroup: a unit with Delegate=yes and DelegateSubgroup=davy-services.
	subgroup
	// session: a login's scope, which the user's shell is in as well, and
	// which has not all controllers.
	session
	// containerRW: a cgroup namespace, as privileged containers have; its
	// top is not the tree's.
	containerRW
	// containerRO: the same with a tree that cannot be written.
	containerRO
)

// enterContainer, as the first argument, mounts what a container sees and
// starts the rest of the arguments.
const enterContainer = "enter-container"

// group makes the group that a step starts in, named after the step, and says
// where it is.
func (p place) group(name string) (string, error) {
	top, all := "system.slice", "+cpuset +cpu +io +memory +pids"
	unit := name + ".service"
	if p == session {
		top, all = "user.slice", "+memory +pids"
		unit = "session-" + name + ".scope"
	}
	if err := put(filepath.Join(cgroups, "cgroup.subtree_control"), "+cpuset +cpu +io +memory +pids"); err != nil {
		return "", err
	}
	slice := filepath.Join(cgroups, top)
	dir := filepath.Join(slice, unit)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := put(filepath.Join(slice, "cgroup.subtree_control"), all); err != nil {
		return "", err
	}
	if p == service || p == subgroup {
		for _, mark := range []string{"trusted.delegate", "user.delegate"} {
			if err := unix.Setxattr(dir, mark, []byte("1"), 0); err != nil {
				return "", fmt.Errorf("mark %s: %w", dir, err)
			}
		}
	}
	if p == subgroup {
		if err := put(filepath.Join(dir, "cgroup.subtree_control"), all); err != nil {
			return "", err
		}
		dir = filepath.Join(dir, servicesLeaf)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// command starts args in the group.
func (p place) command(dir string, args []string) (*exec.Cmd, func(), error) {
	if p == containerRW || p == containerRO {
		how := "rw"
		if p == containerRO {
			how = "ro"
		}
		args = append([]string{payload + "/init", enterContainer, how}, args...)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd()), Setsid: true}
	if p == containerRW || p == containerRO {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNS
	}
	return cmd, func() { f.Close() }, nil
}

// container enters a cgroup namespace, mounts its tree and becomes args[1:].
func container(args []string) error {
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Unmount(cgroups, unix.MNT_DETACH); err != nil {
		return err
	}
	flags := uintptr(quiet)
	if args[0] == "ro" {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("cgroup2", cgroups, "cgroup2", flags, ""); err != nil {
		return fmt.Errorf("mount the tree of the container: %w", err)
	}
	return unix.Exec(args[1], args[1:], os.Environ())
}

// leftovers says what a step has left behind, in its group and elsewhere, and
// removes its group.
func leftovers(dir string) []string {
	var left []string
	add := func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // groups vanish
		}
		if b, _ := os.ReadFile(filepath.Join(path, "cgroup.procs")); len(b) > 0 && within(dir, path) {
			for pid := range strings.FieldsSeq(string(b)) {
				name, _ := os.ReadFile("/proc/" + pid + "/cmdline")
				left = append(left, fmt.Sprintf("process %s (%s)", pid, strings.ReplaceAll(string(name), "\x00", " ")))
			}
		}
		if name := filepath.Base(path); strings.HasPrefix(name, "davy-") && name != servicesLeaf {
			left = append(left, "group "+path)
			return filepath.SkipDir
		}
		return nil
	}
	_ = filepath.WalkDir(cgroups, add)
	_ = put(filepath.Join(dir, "cgroup.kill"), "1")
	if n := len(left); n > 10 {
		left = append(left[:10], fmt.Sprintf("and %d more", n-10))
	}
	return left
}

// servicesLeaf is where Davy puts its own processes; it goes with the unit.
const servicesLeaf = "davy-services"

func within(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func put(path, s string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(s); err != nil {
		return fmt.Errorf("write %q to %s: %w", s, path, err)
	}
	return nil
}
