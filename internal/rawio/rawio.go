// Package rawio reads and writes descriptors that never block without telling
// Go's scheduler of it.
//
// Before an ordinary system call the scheduler prepares for the case that it
// blocks: it wakes its monitor thread, which from then on looks every 20 µs
// whether it does, until nothing runs any more. For a server that mostly waits
// that is once for each short burst of work, and costs as much as the calls
// themselves. Calls on a descriptor in non-blocking mode return at once, or
// would: then Go's poller waits, as ever, and deadlines work as ever.
package rawio

import (
	"io"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// maxCall is how many bytes one call moves, so that none takes long: the
// scheduler cannot interrupt it.
const maxCall = 64 << 10

// A Conn reads and writes a socket or a pipe that is in non-blocking mode, as
// all are that Go's poller knows. One goroutine may read and another write at
// the same time. Deadlines are set, and it is closed, where it comes from.
type Conn struct {
	raw  syscall.RawConn
	r, w transfer
}

// transfer is one direction. Its function is made once: it would be allocated
// in each call.
type transfer struct {
	mu    sync.Mutex
	call  func(fd uintptr) bool
	p     []byte
	n     int
	errno syscall.Errno
}

// New returns a Conn of what c, an *os.File or a net.Conn, has open.
func New(c syscall.Conn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	conn := &Conn{raw: raw}
	conn.r.call = func(fd uintptr) bool { return conn.r.do(syscall.SYS_READ, fd) }
	conn.w.call = func(fd uintptr) bool { return conn.w.do(syscall.SYS_WRITE, fd) }
	return conn, nil
}

// do makes one call. It reports false when it would block.
func (t *transfer) do(trap, fd uintptr) bool {
	t.n, t.errno = call(trap, fd, t.p[:min(len(t.p), maxCall)])
	return t.errno != syscall.EAGAIN
}

// Read reads once from a descriptor in non-blocking mode. It returns
// syscall.EAGAIN when nothing is there, and 0 at the end.
func Read(fd uintptr, p []byte) (int, error) {
	n, errno := call(syscall.SYS_READ, fd, p[:min(len(p), maxCall)])
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// Waiting tells how many bytes a pipe holds.
func Waiting(fd uintptr) (int, error) {
	var n int32
	if _, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Read implements io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := &c.r
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = p
	err := c.raw.Read(t.call)
	t.p = nil
	switch {
	case err != nil:
		return 0, err
	case t.errno != 0:
		return 0, os.NewSyscallError("read", t.errno)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// Write implements io.Writer.
func (c *Conn) Write(p []byte) (int, error) {
	t := &c.w
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() { t.p = nil }()
	done := 0
	for done < len(p) {
		t.p = p[done:]
		if err := c.raw.Write(t.call); err != nil {
			return done, err
		}
		if t.errno != 0 {
			return done, os.NewSyscallError("write", t.errno)
		}
		done += t.n
	}
	return done, nil
}
