package pid1

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HeedSignals gives every signal that davy's parent told it to ignore its
// default effect again: a workload would inherit that, through each exec. A
// shell ignores SIGINT and SIGQUIT for what it starts in the background, and
// glibc's posix_spawn, which make uses, two signals of its own. The error names
// the signal that kept what it had.
func HeedSignals() error {
	const ignore = 1 // SIG_IGN
	var current, standard struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	for s := uintptr(1); s <= 64; s++ {
		if s == uintptr(syscall.SIGKILL) || s == uintptr(syscall.SIGSTOP) {
			continue
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, s, 0, uintptr(unsafe.Pointer(&current)), 8, 0, 0)
		if errno == 0 && current.handler == ignore {
			_, _, errno = unix.RawSyscall6(unix.SYS_RT_SIGACTION, s, uintptr(unsafe.Pointer(&standard)), 0, 8, 0, 0)
		}
		if errno != 0 {
			return fmt.Errorf("signal %d: %w", s, errno)
		}
	}
	return nil
}
