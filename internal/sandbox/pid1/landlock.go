package pid1

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock is a second layer under the mounts: what the workload may do with
// files is tied to directories of its own root, and everything else is
// refused. It holds where mounts do not: for a directory outside of the root
// whose descriptor has leaked in, and for a mount that is writable by mistake.
//
// A rule covers what is mounted below its directory, also later: the kernel
// looks for rules upwards from a file, through mount points. It does not look
// at a directory that is hidden by a mount on it: the rule for /tmp is on the
// file system that is mounted there by now, and no other may take its place.
// https://docs.kernel.org/userspace-api/landlock.html

// landlockNeeds is the first version that is of use: in the one before no file
// can be renamed into another directory.
const landlockNeeds = 2

// LandlockABI is the version of Landlock that this kernel has and uses, 0
// without.
func LandlockABI() int {
	n, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 { // not built in, or not switched on
		return 0
	}
	return int(n)
}

// LandlockMissing says what is lost without Landlock, or nothing.
func LandlockMissing() string {
	abi := LandlockABI()
	if abi >= landlockNeeds {
		return ""
	}
	return fmt.Sprintf("Landlock: version %d, needs %d (Linux 5.19 with lsm=landlock): files are protected by mounts and users alone, without a second layer", abi, landlockNeeds)
}

// Rights by what they are for.
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	landlockNode = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// landlockAttr is the part of the kernel's struct that version 6 knows. Older
// ones want what they do not know to be zero.
type landlockAttr struct {
	fs, net, scoped uint64
}

// handled is what the rules of a version decide about. TCP is left alone: the
// network namespace decides what can be reached, and functions listen and
// connect on their loopback as they like.
func handled(abi int) landlockAttr {
	a := landlockAttr{fs: landlockRead | landlockWrite}
	if abi >= 3 {
		a.fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		a.fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		a.scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return a
}

// openPlaces opens files and directories for rules.
func openPlaces(prefix string, names ...string) ([]int, error) {
	var fds []int
	for _, n := range names {
		fd, err := unix.Open(prefix+n, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, fmt.Errorf("landlock: open %s: %w", prefix+n, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// confineFiles puts this thread, and what it starts, under Landlock's rules,
// where the kernel has them: everything below / can be read and executed,
// only /tmp, /dev/shm and the devices can be written.
func confineFiles() error {
	abi := LandlockABI()
	if abi < landlockNeeds {
		return nil // LandlockMissing has told
	}
	attr := handled(abi)
	size := unsafe.Sizeof(attr)
	if abi < 6 {
		size = unsafe.Offsetof(attr.scoped)
	}
	if abi < 4 {
		size = unsafe.Offsetof(attr.net)
	}
	set, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if e != 0 {
		return fmt.Errorf("landlock: create rules: %w", e)
	}
	defer unix.Close(int(set))
	allow := func(rights uint64, places []int) error {
		for _, fd := range places {
			rule := unix.LandlockPathBeneathAttr{Allowed_access: rights & attr.fs, Parent_fd: int32(fd)}
			_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, set, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
			if e != 0 {
				return fmt.Errorf("landlock: add a rule: %w", e)
			}
		}
		return nil
	}
	root, err1 := openPlaces("/", "")
	writable, err2 := openPlaces("/", "tmp", "dev/shm")
	nodes, err3 := openPlaces("/dev/", devices...)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	if err := errors.Join(allow(landlockRead, root), allow(landlockNode, nodes), allow(attr.fs, writable)); err != nil {
		return err
	}
	flags := uintptr(0)
	if abi >= 7 {
		// A function cannot fill the host's audit log.
		flags = unix.LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF | unix.LANDLOCK_RESTRICT_SELF_LOG_SUBDOMAINS_OFF
	}
	if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, flags, 0); e != 0 {
		return fmt.Errorf("landlock: %w", e)
	}
	return nil
}
