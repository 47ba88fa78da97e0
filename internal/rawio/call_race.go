//go:build race

package rawio

import (
	"errors"
	"syscall"
)

// call is an ordinary one here: the race detector takes what was written before
// what is read by it.
func call(trap, fd uintptr, p []byte) (int, syscall.Errno) {
	f := syscall.Read
	if trap == syscall.SYS_WRITE {
		f = syscall.Write
	}
	for {
		n, err := f(int(fd), p)
		var errno syscall.Errno
		if errors.As(err, &errno); errno != syscall.EINTR {
			return max(n, 0), errno
		}
	}
}
