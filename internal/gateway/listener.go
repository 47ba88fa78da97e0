package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"davy/internal/rawio"
)

// sniffTimeout bounds how long a connection may stay silent before it has
// said whether it speaks TLS.
const sniffTimeout = 30 * time.Second

// maxSniffing bounds the connections of a listener that have not yet sent their
// first byte, so that silent clients cannot exhaust the process, nor those of
// one environment keep the others out.
const maxSniffing = 4096

// recordTypeHandshake is the first byte of every TLS connection; no HTTP
// method starts with it.
const recordTypeHandshake = 0x16

// door serves HTTP and TLS on the same listeners: it sorts accepted connections
// by their first byte into two queues, one for each.
type door struct {
	plain, secure *queue
}

func newDoor() *door {
	return &door{plain: newQueue(), secure: newQueue()}
}

// serve accepts from l, where those of s call, until l is closed or ctx ends,
// and closes l.
func (d *door) serve(ctx context.Context, l net.Listener, s *sender) error {
	ctx, cancel := context.WithCancel(ctx)
	var sniffing sync.WaitGroup
	slots := make(chan struct{}, maxSniffing)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer func() {
		cancel()
		stop()
		l.Close()
		sniffing.Wait()
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors and the like: let connections end first.
			select {
			case <-time.After(10 * time.Millisecond):
				continue
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		sniffing.Go(func() {
			defer func() { <-slots }()
			d.sort(ctx, c, s)
		})
	}
}

func (d *door) sort(ctx context.Context, c net.Conn, s *sender) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(sniffTimeout))
	pc := newPeekedConn(c, s)
	first, err := pc.r.Peek(1)
	if err != nil || !stop() {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	q := d.plain
	if first[0] == recordTypeHandshake {
		q = d.secure
	}
	q.put(pc)
}

func (d *door) close() {
	d.plain.Close()
	d.secure.Close()
}

// peekedConn is a connection whose first bytes were read ahead.
type peekedConn struct {
	net.Conn
	io io.ReadWriter // the same, at less cost where that can be
	r  *bufio.Reader // nil once drained

	from *sender
}

func newPeekedConn(c net.Conn, s *sender) *peekedConn {
	pc := &peekedConn{Conn: c, io: c, from: s}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := rawio.New(sc); err == nil {
			pc.io = raw
		}
	}
	pc.r = bufio.NewReaderSize(pc.io, 4096)
	return pc
}

// Write implements net.Conn.
func (c *peekedConn) Write(p []byte) (int, error) { return c.io.Write(p) }

func (c *peekedConn) Read(p []byte) (int, error) {
	if c.r == nil {
		return c.io.Read(p)
	}
	n := min(len(p), c.r.Buffered())
	if n == 0 {
		c.r = nil
		return c.io.Read(p)
	}
	return c.r.Read(p[:n])
}

// queue is a listener fed by hand.
type queue struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue() *queue {
	return &queue{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (q *queue) put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.closed:
		c.Close()
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr is asked for only by net/http's log lines.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }
