package pid1

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// devices of the sandbox, bound from the host's
var devices = []string{"null", "zero", "full", "random", "urandom"}

// Parts of /proc that tell about the host or change it. What is absent on a
// kernel is skipped.
var (
	maskedFiles = []string{
		"cmdline", "config.gz", "diskstats", "interrupts", "iomem", "ioports", "kallsyms", "kcore", "keys", "kmsg",
		"kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "modules", "mtrr", "partitions", "sched_debug",
		"slabinfo", "softirqs", "swaps", "sysrq-trigger", "timer_list", "vmallocinfo", "zoneinfo",
	}
	maskedDirs = []string{"acpi", "asound", "bus", "dynamic_debug", "fs", "irq", "scsi", "tty"}
)

const (
	devShmBytes = 16 << 20
	tmpInodes   = 1 << 18
)

// prepared is what every root needs, whatever is planned: it is made while
// the process waits for its plan.
type prepared struct {
	nodes map[string]int // detached mounts of the devices
	proc  int            // of this process namespace
	err   error
}

func prepare() prepared {
	p := prepared{nodes: map[string]int{}}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		p.err = fmt.Errorf("make mounts private: %w", err)
		return p
	}
	for _, d := range devices {
		fd, err := openTree("/dev/" + d)
		if err != nil {
			p.err = fmt.Errorf("device %s: %w", d, err)
			return p
		}
		p.nodes[d] = fd
	}
	p.proc, p.err = newProc()
	return p
}

// buildRoot assembles the root on a small tmpfs out of the planned trees and
// makes it this namespace's only root.
func buildRoot(p wire.Plan, ready prepared, trees []int) error {
	if ready.err != nil {
		return ready.err
	}
	writable := p.Ablate&wire.AblateReadOnly != 0
	// Any directory does as the place to build at: it is hidden from this
	// namespace only, and left behind with the old root.
	const stage = "/proc"
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if p.Ablate&wire.AblateDevices != 0 {
		flags &^= unix.MS_NODEV
	}
	if err := unix.Mount("davy", stage, "tmpfs", flags, "size=4m,nr_inodes=4096,mode=755"); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	if err := unix.Chdir(stage); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	for _, d := range []string{"proc", "dev/shm", "tmp", "etc", "opt", "var/task", "var/runtime", "var/node_modules", "sys", "run", "home"} {
		if err := mkdirAll(d); err != nil {
			return err
		}
	}
	for _, l := range p.Links {
		if err := inside(l.Target, func(rel string) error { return unix.Symlink(l.Source, rel) }); err != nil {
			return fmt.Errorf("link %s: %w", l.Target, err)
		}
	}
	for _, t := range p.Texts {
		if err := inside(t.Target, func(rel string) error { return create(rel, t.Source) }); err != nil {
			return fmt.Errorf("file %s: %w", t.Target, err)
		}
	}
	for i, m := range p.Mounts {
		if err := inside(m.Target, func(rel string) error { return place(trees[i], rel, m.File) }); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	if err := makeDev(ready.nodes); err != nil {
		return err
	}
	if err := makeTmp(p); err != nil {
		return err
	}
	if err := moveMount(ready.proc, "proc"); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	if p.Ablate&wire.AblateMasks == 0 {
		if err := maskProc(); err != nil {
			return err
		}
	}
	if !writable {
		if err := setAttr(unix.AT_FDCWD, ".", unix.MOUNT_ATTR_RDONLY); err != nil {
			return fmt.Errorf("read-only root: %w", err)
		}
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	// Both roots are stacked now, the old one on top.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	return nil
}

// inside runs f with the path relative to the stage, its parent made. No part of
// it may be a link: until the stage is the root, one that is absolute leads to
// the host's.
func inside(target string, f func(rel string) error) error {
	rel := strings.TrimPrefix(path.Clean("/"+target), "/")
	if rel == "" {
		return unix.EINVAL
	}
	parent := path.Dir(rel)
	for at := parent; at != "."; at = path.Dir(at) {
		var st unix.Stat_t
		// From the longest on: what has a parent that is a link is found there.
		if unix.Lstat(at, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return unix.ELOOP
		}
	}
	if err := mkdirAll(parent); err != nil {
		return err
	}
	return f(rel)
}

func mkdirAll(rel string) error {
	if rel == "." {
		return nil
	}
	for i, c := range rel + "/" {
		if c != '/' {
			continue
		}
		err := unix.Mkdir(rel[:i], 0o755)
		// A parent below a mounted tree is there or is an error at the next step.
		if err != nil && err != unix.EEXIST && err != unix.EROFS {
			return fmt.Errorf("make %s: %w", rel[:i], err)
		}
	}
	return nil
}

func create(rel, content string) error {
	fd, err := unix.Open(rel, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(content))
	return err
}

// place mounts a detached tree, on a mount point that is made if need be.
func place(tree int, rel string, file bool) error {
	if file {
		if err := create(rel, ""); err != nil && err != unix.EEXIST {
			return err
		}
	} else if err := mkdirAll(rel); err != nil {
		return err
	}
	return moveMount(tree, rel)
}

func makeDev(nodes map[string]int) error {
	for _, d := range devices {
		if err := create("dev/"+d, ""); err != nil {
			return fmt.Errorf("device %s: %w", d, err)
		}
		// A device is written to although its mount is read-only.
		attr := uint64(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC)
		if err := setAttr(nodes[d], "", attr); err != nil {
			return fmt.Errorf("device %s: %w", d, err)
		}
		if err := moveMount(nodes[d], "dev/"+d); err != nil {
			return fmt.Errorf("device %s: %w", d, err)
		}
	}
	for _, l := range [][2]string{
		{"/proc/self/fd", "dev/fd"},
		{"/proc/self/fd/0", "dev/stdin"},
		{"/proc/self/fd/1", "dev/stdout"},
		{"/proc/self/fd/2", "dev/stderr"},
	} {
		if err := unix.Symlink(l[0], l[1]); err != nil {
			return fmt.Errorf("link %s: %w", l[1], err)
		}
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("shm", "dev/shm", "tmpfs", flags, "mode=1777,nr_inodes=4096,size="+strconv.Itoa(devShmBytes)); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

// makeTmp mounts a /tmp in memory, unless one on disk was planned.
func makeTmp(p wire.Plan) error {
	if slices.ContainsFunc(p.Mounts, func(m wire.PlanMount) bool { return m.Target == "/tmp" }) {
		return nil
	}
	options := "mode=1777,nr_inodes=" + strconv.Itoa(tmpInodes)
	if p.Ablate&wire.AblateTmp == 0 {
		options += ",size=" + strconv.FormatInt(p.TmpBytes, 10)
	}
	if err := unix.Mount("tmp", "tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount /tmp: %w", err)
	}
	return nil
}

// newProc makes a /proc of this process namespace, not mounted anywhere yet:
// the kernel allows it only while the host's /proc is in sight.
func newProc() (int, error) {
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open proc: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create proc: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount proc: %w", err)
	}
	return fd, nil
}

// maskProc hides what tells about the host and makes the rest read-only.
func maskProc() error {
	for _, name := range maskedFiles {
		if unix.Access("proc/"+name, unix.F_OK) != nil {
			continue
		}
		fd, err := openTree("dev/null")
		if err == nil {
			err = moveMount(fd, "proc/"+name)
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("mask /proc/%s: %w", name, err)
		}
	}
	for _, name := range maskedDirs {
		if unix.Access("proc/"+name, unix.F_OK) != nil {
			continue
		}
		fd, err := openTree("sys") // an empty directory
		if err == nil {
			if err = setAttr(fd, "", unix.MOUNT_ATTR_RDONLY); err == nil {
				err = moveMount(fd, "proc/"+name)
			}
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("mask /proc/%s: %w", name, err)
		}
	}
	if err := setAttr(unix.AT_FDCWD, "proc", unix.MOUNT_ATTR_RDONLY); err != nil {
		return fmt.Errorf("read-only /proc: %w", err)
	}
	return nil
}

func openTree(p string) (int, error) {
	return unix.OpenTree(unix.AT_FDCWD, p, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
}

func setAttr(fd int, p string, attr uint64) error {
	flags := uint(0)
	if p == "" {
		flags = unix.AT_EMPTY_PATH
	}
	return unix.MountSetattr(fd, p, flags, &unix.MountAttr{Attr_set: attr})
}

func moveMount(tree int, rel string) error {
	return unix.MoveMount(tree, "", unix.AT_FDCWD, rel, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
