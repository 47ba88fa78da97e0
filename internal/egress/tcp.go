package egress

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// dialWait is how long a destination may take to answer. The environment's
// kernel asks again for two minutes, each time anew.
const dialWait = time.Minute

// forwardTCP is called by the stack for the first packet of a connection. The
// destination answers first: what it says is what the function is told.
func (w *Way) forwardTCP(r *tcp.ForwarderRequest) {
	if !w.opens.Allow() {
		r.Complete(false) // it asks again
		return
	}
	to := destinationOf(r.ID())
	release, ok := w.open("tcp", to)
	if !ok {
		r.Complete(true)
		return
	}
	defer release()
	conn, err := w.dial(to)
	if err != nil {
		// Silence is passed on as silence.
		r.Complete(!isTimeout(err))
		return
	}
	var queue waiter.Queue
	ep, terr := r.CreateEndpoint(&queue)
	r.Complete(terr != nil)
	if terr != nil {
		reset(conn)
		return
	}
	w.gate.cfg.Observer.FlowOpened("tcp")
	f := &tcpFlow{way: w, conn: conn, ep: ep, queue: &queue}
	f.run(w.bufferBytes())
}

var errSelf = errors.New("destination is this machine")

// dial connects to a destination that the policy lets through.
func (w *Way) dial(to netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(w.ctx, dialWait)
	defer cancel()
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second}}
	c, err := d.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	if w.isSelf("tcp", conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(), to) {
		reset(conn)
		return nil, errSelf
	}
	return conn, nil
}

// isSelf reports whether a flow goes to an address that this machine was given
// after the policy was asked: such a flow comes from that address.
func (w *Way) isSelf(protocol string, from netip.Addr, to netip.AddrPort) bool {
	if from.Unmap() != to.Addr() {
		return false
	}
	_, own := w.gate.cfg.Policy.refuses(protocol, to)
	return !own
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// reset ends a connection so that the other side sees it was not finished.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// tcpFlow is a connection of an environment and its continuation.
type tcpFlow struct {
	way   *Way
	conn  *net.TCPConn   // to the destination
	ep    tcpip.Endpoint // to the function
	queue *waiter.Queue
	out   atomic.Int64 // bytes not yet told to the observer
	in    atomic.Int64
	small bool // it has little room

	broken atomic.Bool
	half   atomic.Bool // one direction has ended
}

// run carries both directions until both have ended or one has failed.
func (f *tcpFlow) run(buffers int) {
	o := f.ep.SocketOptions()
	f.small = buffers < 1<<16
	o.SetReceiveBufferSize(int64(buffers), true)
	o.SetSendBufferSize(int64(buffers), true)
	o.SetDelayOption(false)
	// A function that was killed answers no more; a frozen one does, by its
	// kernel.
	o.SetKeepAlive(true)
	idle, interval := tcpip.KeepaliveIdleOption(time.Minute), tcpip.KeepaliveIntervalOption(15*time.Second)
	_ = f.ep.SetSockOpt(&idle)
	_ = f.ep.SetSockOpt(&interval)
	_ = f.ep.SetSockOptInt(tcpip.KeepaliveCountOption, 4)

	ended := make(chan struct{})
	events := make(chan struct{}, 1)
	watch := waiter.NewFunctionEntry(waiter.EventErr, func(waiter.EventMask) {
		select {
		case events <- struct{}{}:
		default:
		}
	})
	f.queue.EventRegister(&watch)
	var wg sync.WaitGroup
	wg.Go(f.outward)
	wg.Go(f.inward)
	var guard sync.WaitGroup
	guard.Go(func() { f.guard(events, ended) })
	wg.Wait()
	close(ended)
	guard.Wait()
	f.queue.EventUnregister(&watch)
	if f.broken.Load() {
		reset(f.conn)
		f.ep.Abort()
	} else {
		f.conn.Close()
		f.ep.Close()
	}
	f.tell(0)
}

// guard ends a flow whose environment ends, whose function's side is reset
// while a direction waits for the destination, and one that stays half open.
func (f *tcpFlow) guard(events, ended chan struct{}) {
	tick := time.NewTicker(halfOpen)
	defer tick.Stop()
	var seen int64 = -1
	var total int64
	for {
		select {
		case <-ended:
			return
		case <-f.way.ctx.Done():
			f.fail()
			return
		case <-events:
			if e := f.ep.LastError(); e != nil {
				f.fail()
				return
			}
		case <-tick.C:
			total = f.out.Load() + f.in.Load()
			if f.half.Load() && total == seen {
				f.fail()
				return
			}
			seen = total
		}
	}
}

// fail ends both directions at once, with a reset to both sides.
func (f *tcpFlow) fail() {
	if f.broken.CompareAndSwap(false, true) {
		_ = f.conn.SetLinger(0)
		_ = f.conn.SetDeadline(time.Unix(1, 0)) // wakes what waits for it
		f.ep.Abort()
	}
}

// socketWriter writes to a socket until it would have to wait.
type socketWriter struct {
	fd   int
	err  error // errFull when it would have to wait
	sent int
}

var errFull = errors.New("socket is full")

func (s *socketWriter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.SendmsgN(s.fd, b[done:], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if n > 0 {
			done += n
			s.sent += n
			continue
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			s.err = errFull
		default:
			s.err = err
		}
		return done, s.err
	}
	return done, nil
}

// outward carries what the function sends. The stack's memory is written to
// the socket as it is.
func (f *tcpFlow) outward() {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	f.queue.EventRegister(&entry)
	defer f.queue.EventUnregister(&entry)
	raw, err := f.conn.SyscallConn()
	if err != nil {
		f.fail()
		return
	}
	for {
		var result tcpip.Error
		var failure error
		err := raw.Write(func(fd uintptr) bool {
			for {
				s := socketWriter{fd: int(fd)}
				_, result = f.ep.Read(&s, tcpip.ReadOptions{})
				f.tellOut(s.sent)
				switch {
				case errors.Is(s.err, errFull):
					return false // until the destination takes more
				case s.err != nil:
					failure = s.err
					return true
				case result != nil:
					return true
				}
			}
		})
		if err != nil || failure != nil || f.broken.Load() {
			f.fail()
			return
		}
		switch result.(type) {
		case *tcpip.ErrWouldBlock:
			select {
			case <-readable:
			case <-f.way.ctx.Done():
				f.fail()
				return
			}
		case *tcpip.ErrClosedForReceive:
			f.half.Store(true)
			if f.conn.CloseWrite() != nil {
				f.fail()
			}
			return
		default:
			f.fail()
			return
		}
	}
}

// inward carries what the destination sends.
func (f *tcpFlow) inward() {
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents)
	f.queue.EventRegister(&entry)
	defer f.queue.EventUnregister(&entry)
	raw, err := f.conn.SyscallConn()
	if err != nil {
		f.fail()
		return
	}
	for {
		var buf []byte
		n := 0
		var failure error
		err := raw.Read(func(fd uintptr) bool {
			buf = f.borrow() // held only while there is something
			for {
				n, failure = unix.Read(int(fd), buf)
				switch {
				case errors.Is(failure, unix.EINTR):
					continue
				case errors.Is(failure, unix.EAGAIN):
					f.giveBack(buf)
					buf = nil
					return false
				}
				return true
			}
		})
		if err == nil {
			err = failure
		}
		ok := err == nil && !f.broken.Load() && f.give(buf[:max(n, 0)], writable)
		if buf != nil {
			f.giveBack(buf)
		}
		switch {
		case !ok:
			f.fail()
			return
		case n == 0:
			f.half.Store(true)
			if f.ep.Shutdown(tcpip.ShutdownWrite) != nil {
				f.fail()
			}
			return
		}
	}
}

// borrow takes a buffer for one read.
func (f *tcpFlow) borrow() []byte {
	if f.small {
		return sips.Get().(*[leastBuffer]byte)[:]
	}
	return packets.Get().(*[1 << 16]byte)[:]
}

func (f *tcpFlow) giveBack(b []byte) {
	if f.small {
		sips.Put((*[leastBuffer]byte)(b))
		return
	}
	packets.Put((*[1 << 16]byte)(b))
}

// give hands bytes to the function, when it takes them.
func (f *tcpFlow) give(b []byte, writable chan struct{}) bool {
	rest := bytes.NewReader(b)
	for rest.Len() > 0 {
		m, err := f.ep.Write(rest, tcpip.WriteOptions{})
		f.tellIn(int(m))
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			select {
			case <-writable:
			case <-f.way.ctx.Done():
				return false
			}
		default:
			return false
		}
	}
	return true
}

// tellEvery is how many bytes are carried before the observer hears of them.
const tellEvery = 1 << 20

func (f *tcpFlow) tellOut(n int) { f.out.Add(int64(n)); f.tell(tellEvery) }
func (f *tcpFlow) tellIn(n int)  { f.in.Add(int64(n)); f.tell(tellEvery) }

// tell tells the observer of at least so many bytes.
func (f *tcpFlow) tell(least int64) {
	if f.out.Load()+f.in.Load() >= least {
		f.way.gate.cfg.Observer.Carried(f.out.Swap(0), f.in.Swap(0))
	}
}
