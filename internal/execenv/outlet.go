package execenv

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// outlet is the stdout and stderr of a process of the sandbox, and of its
// children.
type outlet struct {
	file *os.File

	mu  sync.Mutex
	on  func([]byte) // nil: nobody listens yet
	buf []byte
}

// newOutlet returns an outlet and the file to write to.
func newOutlet() (*outlet, *os.File, error) {
	ours, theirs, err := pipe(ourRead)
	if err != nil {
		return nil, nil, err
	}
	return &outlet{file: ours, buf: make([]byte, 16<<10)}, theirs, nil
}

// to passes what is written on to f from now on.
func (o *outlet) to(f func([]byte)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = f
}

// pump passes on what is written until all who can write have ended.
func (o *outlet) pump() {
	raw, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool { return o.read(int(fd)) })
}

// drain passes on what was written up to now.
func (o *outlet) drain() {
	raw, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { o.read(int(fd)) })
}

// read reads until nothing is left. It reports whether the pipe ended.
func (o *outlet) read(fd int) (ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		n, err := unix.Read(fd, o.buf)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil || n <= 0:
			return true
		case o.on != nil:
			o.on(o.buf[:n])
		}
	}
}
