package execenv

import (
	"errors"
	"math"
	"os"
	"sync"
	"syscall"

	"davy/internal/rawio"
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
	_ = raw.Read(func(fd uintptr) bool { return o.read(int(fd), math.MaxInt) })
}

// drain passes on what was written up to now, and not what is written
// meanwhile: a function can write faster than anybody reads.
func (o *outlet) drain() {
	raw, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if n, err := rawio.Waiting(fd); err == nil {
			o.read(int(fd), n)
		}
	})
}

// read reads until nothing is left, or at least so many bytes. It reports
// whether the pipe ended.
func (o *outlet) read(fd, enough int) (ended bool) {
	for enough > 0 {
		n, err := o.pass(fd)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil || n <= 0:
			return true
		}
		enough -= n
	}
	return false
}

// pass reads and passes on once. Who else wants to comes in between.
func (o *outlet) pass(fd int) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := rawio.Read(uintptr(fd), o.buf)
	if n > 0 && o.on != nil {
		o.on(o.buf[:n])
	}
	return n, err
}
