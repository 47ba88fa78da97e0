package egress

import (
	"bytes"
	"container/list"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// udpFlows are an environment's, the oldest first: one must go when there are
// too many, because nothing tells when they have ended.
type udpFlows struct{ list list.List }

// evict ends the oldest.
func (u *udpFlows) evict() bool {
	e := u.list.Front()
	if e == nil {
		return false
	}
	u.list.Remove(e)
	e.Value.(*udpFlow).end()
	return true
}

// udpFlow is what is sent between a port of an environment and one of a
// destination.
type udpFlow struct {
	way   *Way
	id    stack.TransportEndpointID
	conn  *net.UDPConn
	ep    tcpip.Endpoint
	queue *waiter.Queue
	ended chan struct{}
	once  sync.Once
	used  atomic.Int64 // Unix time in nanoseconds
}

// forwardUDP is called by the stack for the first packet of a flow. It reports
// whether the flow is carried; otherwise the function is told that the port is
// closed.
func (w *Way) forwardUDP(r *udp.ForwarderRequest) (handled bool) {
	if !w.opens.Allow() {
		return true // lost, as packets may be
	}
	to := destinationOf(r.ID())
	release, ok := w.open("udp", to)
	if !ok {
		return false
	}
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err == nil && w.isSelf("udp", conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), to) {
		conn.Close()
		err = errSelf
	}
	if err != nil {
		release()
		return false
	}
	f := &udpFlow{way: w, id: r.ID(), conn: conn, queue: new(waiter.Queue), ended: make(chan struct{})}
	ep, terr := r.CreateEndpoint(f.queue)
	if terr != nil {
		conn.Close()
		release()
		return true
	}
	f.ep = ep
	f.touch()
	w.gate.cfg.Observer.FlowOpened("udp")
	w.mu.Lock()
	place := w.udp.list.PushBack(f)
	w.mu.Unlock()
	go func() { // release ends it for who waits
		defer release()
		var wg sync.WaitGroup
		wg.Go(f.outward)
		wg.Go(f.inward)
		wg.Wait()
		f.ep.Close()
		w.mu.Lock()
		w.udp.list.Remove(place)
		w.mu.Unlock()
	}()
	return true
}

func (f *udpFlow) touch() { f.used.Store(time.Now().UnixNano()) }

// end ends both directions. The endpoint is closed after them.
func (f *udpFlow) end() {
	f.once.Do(func() {
		close(f.ended)
		f.conn.Close()
	})
}

// outward carries what the function sends.
func (f *udpFlow) outward() {
	defer f.end()
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr)
	f.queue.EventRegister(&entry)
	defer f.queue.EventUnregister(&entry)
	buf := packets.Get().(*[1 << 16]byte)
	defer func() {
		if buf != nil {
			packets.Put(buf)
		}
	}()
	for {
		if buf == nil {
			buf = packets.Get().(*[1 << 16]byte)
		}
		into := tcpip.SliceWriter(buf[:])
		r, err := f.ep.Read(&into, tcpip.ReadOptions{})
		switch err.(type) {
		case nil:
			f.touch()
			if _, err := f.conn.Write(buf[:r.Count]); err == nil {
				f.way.gate.cfg.Observer.Carried(int64(r.Count), 0)
			} else if errors.Is(err, net.ErrClosed) {
				return
			} // else: of an earlier packet, or this one is lost
		case *tcpip.ErrWouldBlock:
			packets.Put(buf)
			buf = nil
			select {
			case <-readable:
			case <-f.ended:
				return
			case <-f.way.ctx.Done():
				return
			}
		default: // the function's port is closed
			return
		}
	}
}

// inward carries what the destination sends, and ends the flow when nothing
// has been sent for a while.
func (f *udpFlow) inward() {
	defer f.end()
	raw, err := f.conn.SyscallConn()
	if err != nil {
		return
	}
	for {
		if err := f.conn.SetReadDeadline(time.Unix(0, f.used.Load()).Add(udpIdle)); err != nil {
			return
		}
		var failure error
		err := raw.Read(func(fd uintptr) bool {
			failure = f.receive(int(fd))
			return !errors.Is(failure, unix.EAGAIN)
		})
		switch {
		case errors.Is(failure, unix.ECONNREFUSED):
			f.way.tellUnreachable(f.id)
		case isTimeout(err) && time.Since(time.Unix(0, f.used.Load())) < udpIdle:
			// the function has sent meanwhile
		case err != nil || failure != nil:
			return
		}
	}
}

// receive carries packets until there is none. The buffer is held only that
// long.
func (f *udpFlow) receive(fd int) error {
	buf := packets.Get().(*[1 << 16]byte)
	defer packets.Put(buf)
	for {
		n, err := unix.Read(fd, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		f.touch()
		f.way.gate.cfg.Observer.Carried(0, int64(n))
		// One that does not fit is lost, as packets may be.
		_, _ = f.ep.Write(bytes.NewReader(buf[:n]), tcpip.WriteOptions{})
	}
}

// tellUnreachable tells the function that a destination's port is closed, as
// the destination has told us.
func (w *Way) tellUnreachable(id stack.TransportEndpointID) {
	_ = w.raw.Write(func(fd uintptr) bool {
		_, _ = unix.Write(int(fd), unreachable(id))
		return true
	})
}
