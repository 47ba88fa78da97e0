//go:build linux

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	disk    = "/dev/vda"
	newRoot = "/root"
	// payload is where the initramfs has the programs, and where the machine
	// finds them.
	payload = "/davy"
)

// what the kernel of a distribution has as modules, and would load by itself
// with the help of a modprobe. dummy is a network device, for tests that look
// for one.
var modules = []string{"virtio_pci", "virtio_blk", "overlay", "loop", "tun", "veth", "fuse", "vsock", "dummy"}

type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// boot goes from the initramfs to the disk as the root.
func boot() error {
	for _, m := range []mount{
		{"proc", "/proc", "proc", quiet, ""},
		{"sysfs", "/sys", "sysfs", quiet, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	l := loader{"/modules", map[string]bool{}}
	for _, m := range modules {
		if err := l.load(m); err != nil {
			return err
		}
	}
	if err := await(disk); err != nil {
		return err
	}
	for _, m := range []mount{
		{disk, newRoot, "ext4", 0, ""},
		{"/proc", newRoot + "/proc", "", unix.MS_MOVE, ""},
		{"/sys", newRoot + "/sys", "", unix.MS_MOVE, ""},
		{"/dev", newRoot + "/dev", "", unix.MS_MOVE, ""},
		{payload, newRoot + payload, "", unix.MS_BIND, ""},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	return switchRoot(newRoot)
}

// bringUp mounts and sets what a distribution's first process would have.
func bringUp() error {
	for _, m := range []mount{
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"cgroup2", cgroups, "cgroup2", quiet, "nsdelegate,memory_recursiveprot"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	// As systemd does: mounts made anywhere are seen everywhere.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	if err := unix.Sethostname([]byte("guest")); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	return loopbackUp()
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
	}
	return nil
}

// switchRoot makes dir the root. The initramfs cannot be pivoted away; what
// is mounted over it is the root of all that follows.
func switchRoot(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}

// await waits until the kernel has found a device.
func await(path string) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no %s", path)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// loader loads kernel modules after those that they need.
type loader struct {
	dir    string
	loaded map[string]bool
}

// load ignores a module that is not there: the kernel may have it built in,
// and what then is missing says so itself.
func (l loader) load(name string) error {
	if l.loaded[name] {
		return nil
	}
	l.loaded[name] = true
	path := filepath.Join(l.dir, name+".ko")
	needs, err := dependencies(path)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	for _, n := range needs {
		if err := l.load(n); err != nil {
			return err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("module %s: %w", name, err)
	}
	return nil
}

// dependencies reads which modules a module needs from its own description.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("%s: no .modinfo", path)
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	for line := range bytes.SplitSeq(info, []byte{0}) {
		if v, ok := strings.CutPrefix(string(line), "depends="); ok && v != "" {
			return strings.Split(strings.ReplaceAll(v, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
