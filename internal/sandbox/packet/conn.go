// Package packet sends whole messages with file descriptors over a
// SOCK_SEQPACKET socket pair.
package packet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// Pair returns the two ends of a new packet socket, close-on-exec.
func Pair(name string) (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	for _, fd := range fds {
		// A packet must fit whole.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4*wire.MaxMessage)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// Conn sends and receives packets with descriptors. Send is safe for
// concurrent use, Receive for one goroutine.
type Conn struct {
	c    *net.UnixConn
	send sync.Mutex
	wait time.Duration // 0: as long as it takes
	buf  []byte
	oob  []byte
}

// NewConn takes over a socket made by Pair: f is closed.
func NewConn(f *os.File) (*Conn, error) {
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok || uc.LocalAddr().Network() != "unixpacket" {
		nc.Close()
		return nil, errors.New("packet socket: not SOCK_SEQPACKET")
	}
	return &Conn{c: uc, buf: make([]byte, wire.MaxMessage+1), oob: make([]byte, unix.CmsgSpace(4*wire.MaxFiles))}, nil
}

// LimitSend bounds how long a Send may take whose peer does not receive. It
// comes before the first.
func (c *Conn) LimitSend(wait time.Duration) { c.wait = wait }

// Send writes one packet. The descriptors stay the caller's.
func (c *Conn) Send(b []byte, fds ...int) error {
	var oob []byte
	if len(fds) > wire.MaxFiles {
		return fmt.Errorf("%w: %d descriptors", wire.ErrMalformed, len(fds))
	}
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	c.send.Lock()
	defer c.send.Unlock()
	if c.wait > 0 {
		if err := c.c.SetWriteDeadline(time.Now().Add(c.wait)); err != nil {
			return err
		}
	}
	_, _, err := c.c.WriteMsgUnix(b, oob, nil)
	return err
}

// Receive reads one packet; the bytes are valid until the next call. The
// descriptors are the caller's, close-on-exec. io.EOF: the peer is gone. An
// error that wraps wire.ErrMalformed leaves the connection usable.
func (c *Conn) Receive() ([]byte, []*os.File, error) {
	n, oobn, flags, _, err := c.c.ReadMsgUnix(c.buf, c.oob)
	if err != nil {
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
			err = io.EOF
		}
		return nil, nil, err
	}
	files, err := parseRights(c.oob[:oobn])
	switch {
	case err != nil:
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || n > wire.MaxMessage:
		err = fmt.Errorf("%w: truncated packet", wire.ErrMalformed)
	case n == 0 && oobn == 0:
		// Nobody sends empty packets: a zero read is the end.
		err = io.EOF
	}
	if err != nil {
		CloseFiles(files)
		return nil, nil, err
	}
	return c.buf[:n], files, nil
}

// CloseWrite tells the peer that nothing more comes; what it still sends can
// be received.
func (c *Conn) CloseWrite() error { return c.c.CloseWrite() }

// Close ends the connection and a Receive under way.
func (c *Conn) Close() error { return c.c.Close() }

func parseRights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: control message", wire.ErrMalformed)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // not descriptors
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// CloseFiles closes all of them.
func CloseFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
