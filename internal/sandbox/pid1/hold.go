package pid1

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// holder keeps the namespaces of a container that somebody else starts: it
// waits until the launcher has closed the other end of descriptor 3, or is
// dead, and exits. With pid 1 everything in the process namespace ends. It
// runs in a program of its own.
//
//lint:ignore U1000 holderCode takes its address
func holder()

// holderCode is the address of holder's machine code.
func holderCode() uintptr

// HolderImage is a complete ELF program that is nothing but the holder.
func HolderImage() ([]byte, error) { return image(holderCode()) }

// hold prepares the namespaces for a container that joins them: the loopback
// device, the listeners, the host name. Its second packet tells that the
// container is there, after which nobody may make namespaces any more. If it
// names a process of the namespace, this process becomes the reaper that tells
// how that one has ended, and otherwise the holder.
func hold(p wire.Plan, fds descriptors) error {
	off := func(a wire.Ablation) bool { return p.Ablate&a != 0 }
	listeners, err := listen(p.Listen, off(wire.AblateNetwork), fds.tuns...)
	if err != nil {
		return err
	}
	if !off(wire.AblateHostname) {
		if err := unix.Sethostname([]byte("localhost")); err != nil {
			return fmt.Errorf("sethostname: %w", err)
		}
		_ = unix.Setdomainname(nil)
	}
	var nesting []int
	if !off(wire.AblateNesting) {
		if nesting, err = nestingLimits(); err != nil {
			return err
		}
		// The container brings a mount and a cgroup namespace, but never a
		// user namespace, without which nobody inside can make any.
		if err := forbidNesting(nesting[:1]); err != nil {
			return err
		}
	}
	if err := leaveHost(); err != nil {
		return err
	}
	answer(wire.Started{}, listeners...)
	for _, fd := range listeners {
		unix.Close(fd)
	}
	var sealed [16]byte
	n, _, err := unix.Recvfrom(control, sealed[:], 0)
	for err == unix.EINTR {
		n, _, err = unix.Recvfrom(control, sealed[:], 0)
	}
	if err != nil || n == 0 {
		return errors.New("the launcher is gone")
	}
	if err := forbidNesting(nesting); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	answer(wire.Started{})
	if pid, err := strconv.Atoi(string(sealed[:n])); err == nil && pid > 0 {
		return reap(fds, pid)
	}
	return becomeHolder(fds.reaper)
}

// leaveHost puts an empty root in the place of the host's: who holds
// namespaces needs no file, and must not keep the host's mounts busy.
func leaveHost() error {
	const stage = "/proc"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("davy", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "size=4k,nr_inodes=1,mode=555"); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	if err := unix.Chdir(stage); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	return unix.Chdir("/")
}

// Masked are the paths of /proc that tell about the host or change it.
func Masked() []string {
	var v []string
	for _, name := range slices.Concat(maskedFiles, maskedDirs) {
		v = append(v, "/proc/"+name)
	}
	return v
}

// becomeHolder replaces this program. The children that orphans become are
// reaped by the kernel, because who ignores SIGCHLD is not waited for.
func becomeHolder(image int) error {
	action := struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}{handler: 1} // SIG_IGN
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); e != 0 {
		return fmt.Errorf("ignore SIGCHLD: %w", e)
	}
	if _, err := unix.FcntlInt(control, unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("keep the socket: %w", err)
	}
	args, err := syscall.SlicePtrFromStrings([]string{"init"})
	if err != nil {
		return err
	}
	return execveat(image, args, []*byte{nil})
}
