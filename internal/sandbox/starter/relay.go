package starter

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	maxRelays  = 32 // at a time
	relayChunk = 16 << 10
	// connectWait bounds a connection to a listener that does not accept.
	connectWait = 5 // seconds
)

// dial connects a socket of Davy's with a port of the loopback. It takes the
// descriptor over.
func (s *starter) dial(d Dial, fd int) {
	select {
	case s.slots <- struct{}{}:
	default:
		unix.Close(fd)
		return
	}
	go func() {
		defer func() { <-s.slots }()
		inner, err := connect(d.Port)
		if err != nil {
			unix.Close(fd)
			return
		}
		relay(fd, inner)
	}()
}

func connect(port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: connectWait})
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, nil
}

// relay copies both ways until either side ends, then closes both.
func relay(outer, inner int) {
	a, b := pollable(outer, "outer"), pollable(inner, "inner")
	done := make(chan struct{})
	pass := func(to, from *os.File) {
		_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, relayChunk))
		done <- struct{}{}
	}
	go pass(b, a)
	go pass(a, b)
	<-done
	a.Close()
	b.Close()
	<-done
}

// pollable is a socket whose reads Close ends.
func pollable(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}
