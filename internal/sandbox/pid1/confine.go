package pid1

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// nestingLimits opens the limits of this user namespace on the namespaces
// that may be made below it. They are opened while the host's /proc can be
// written and set when all mounts are made, which take namespaces too.
func nestingLimits() ([]int, error) {
	var fds []int
	for _, kind := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"} {
		p := "/proc/sys/user/max_" + kind + "_namespaces"
		fd, err := unix.Open(p, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			if kind == "time" { // Linux before 5.6
				continue
			}
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// forbidNesting makes the kernel refuse new namespaces, whoever asks: a
// second layer under the system call filter.
func forbidNesting(limits []int) error {
	for _, fd := range limits {
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return fmt.Errorf("forbid namespaces: %w", err)
		}
	}
	return nil
}

// noCore is the limit with which no core is written, whatever core_pattern is:
// core(5). The filter keeps it: see package sysfilter.
const noCore = 1

// setLimits sets the resource limits that the workload inherits.
func setLimits(p wire.Plan) error {
	limits := []struct {
		name  string
		which int
		value uint64
		off   wire.Ablation
	}{
		// Not 0: where cores go to a program (core_pattern), which runs as root
		// and outside of every namespace, the kernel heeds no limit but this.
		{"core", unix.RLIMIT_CORE, noCore, 0},
		{"nofile", unix.RLIMIT_NOFILE, uint64(p.OpenFiles), wire.AblateFiles},
		{"nproc", unix.RLIMIT_NPROC, uint64(p.PIDs), wire.AblatePIDs},
		{"memlock", unix.RLIMIT_MEMLOCK, 64 << 10, 0},
		{"msgqueue", unix.RLIMIT_MSGQUEUE, 64 << 10, 0},
		// Whatever davy was started with: nobody goes before the host's.
		{"rtprio", unix.RLIMIT_RTPRIO, 0, 0},
		{"nice", unix.RLIMIT_NICE, 0, 0},
	}
	for _, l := range limits {
		if p.Ablate&l.off != 0 {
			continue
		}
		// syscall and not unix: the former also tells Go's fork not to
		// restore the descriptor limit that the program was started with.
		if err := syscall.Setrlimit(l.which, &syscall.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("limit %s to %d: %w", l.name, l.value, err)
		}
	}
	return nil
}

// dropCapabilities empties what an exec could give back: the bounding set and
// the inheritable set of this thread. The permitted set goes with the change
// of user and at the next exec.
func dropCapabilities() error {
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL && c > 0 {
			break // past the last capability
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// installFilter puts the system call filter on this thread.
func installFilter(prog []byte) error {
	if len(prog) == 0 || len(prog)%8 != 0 || len(prog)/8 > 4096 {
		return fmt.Errorf("seccomp: program of %d bytes", len(prog))
	}
	f := unix.SockFprog{Len: uint16(len(prog) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&prog[0]))}
	const setModeFilter = 1
	// Without no_new_privs (left out by a test) it takes CAP_SYS_ADMIN, which
	// this process still has.
	if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, setModeFilter, 0, uintptr(unsafe.Pointer(&f))); e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	return nil
}

// execveat replaces this program by the one that fd has open.
func execveat(fd int, argv, env []*byte) error {
	empty := []byte{0}
	_, _, e := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return fmt.Errorf("execveat: %w", e)
}
