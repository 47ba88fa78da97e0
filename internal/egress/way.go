package egress

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// Way is the way out of one environment. While the environment sends nothing
// it is a descriptor and a goroutine that waits; the stack comes with the first
// packet, and goes when no flow has been open for a while. Safe for concurrent
// use.
type Way struct {
	gate   *Gate
	env    string
	device *os.File
	raw    syscall.RawConn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	opens  *rate.Limiter // of flows
	asks   *rate.Limiter // of names
	asking chan struct{} // a token for each query under way
	reader chan struct{} // closed when the reader has ended
	once   sync.Once
	done   chan struct{} // closed when nothing is left

	injecting sync.Mutex // held while a packet goes into the stack, and while the stack goes

	mu     sync.Mutex
	closed bool
	net    *network // nil: none
	last   time.Time
	idle   *time.Timer
	flows  int
	udp    udpFlows
	wg     sync.WaitGroup // of flows
	logged map[destination]struct{}
}

type destination struct {
	protocol string
	to       netip.AddrPort
}

// packets are buffers for one packet, or one read of a socket; sips are for one
// read of a socket that has little room.
var (
	packets = sync.Pool{New: func() any { return new([1 << 16]byte) }}
	sips    = sync.Pool{New: func() any { return new([leastBuffer]byte) }}
)

func newWay(ctx context.Context, g *Gate, env string, fd int) (*Way, error) {
	// First, so that the runtime's poller waits for it and no thread does.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("egress: %w", err)
	}
	device := os.NewFile(uintptr(fd), "tun")
	raw, err := device.SyscallConn()
	if err != nil {
		device.Close()
		return nil, fmt.Errorf("egress: %w", err)
	}
	w := &Way{
		gate: g, env: env, device: device, raw: raw,
		opens: rate.NewLimiter(flowRate, flowBurst), asks: rate.NewLimiter(asksRate, asksRate),
		asking: make(chan struct{}, asksAtOnce),
		reader: make(chan struct{}), done: make(chan struct{}),
	}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(w.reader)
		w.read()
	}()
	return w, nil
}

// Close ends all flows and waits until nothing of them is left. Idempotent.
func (w *Way) Close() error {
	w.once.Do(func() {
		w.gate.mu.Lock()
		delete(w.gate.ways, w)
		w.gate.mu.Unlock()
		w.cancel()
		w.device.Close()
		<-w.reader
		w.mu.Lock()
		w.closed = true
		n := w.net
		w.net = nil
		if w.idle != nil {
			w.idle.Stop()
		}
		w.mu.Unlock()
		if n != nil {
			n.close()
		}
		w.wg.Wait()
		if n != nil {
			n.wait()
		}
		close(w.done)
	})
	<-w.done
	return nil
}

// read takes packets from the device until it is closed. No buffer is held
// while none comes.
func (w *Way) read() {
	_ = w.raw.Read(func(fd uintptr) (ended bool) {
		buf := packets.Get().(*[1 << 16]byte)
		defer packets.Put(buf)
		for w.ctx.Err() == nil {
			n, err := unix.Read(int(fd), buf[:])
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN):
				return false
			case err != nil || n == 0:
				return true
			default:
				w.inject(buf[:n])
			}
		}
		return true
	})
}

// inject gives a packet to the stack, and makes one for it if there is none.
func (w *Way) inject(packet []byte) {
	kind := inspect(packet)
	if kind == packetOther {
		return
	}
	w.injecting.Lock()
	defer w.injecting.Unlock()
	w.mu.Lock()
	n := w.net
	if n == nil && kind == packetOpening && !w.closed {
		var err error
		if n, err = newNetwork(w); err != nil {
			w.mu.Unlock()
			w.gate.log.Error("network stack of an environment not made", "env", w.env, "error", err)
			return
		}
		w.net = n
		w.idle = time.AfterFunc(w.gate.cfg.idle, w.dropIdle)
	}
	w.last = time.Now()
	w.mu.Unlock()
	if n != nil {
		n.inject(packet)
	}
}

// dropIdle takes the stack away when nothing has happened for a while.
func (w *Way) dropIdle() {
	w.injecting.Lock()
	w.mu.Lock()
	n := w.net
	rest := w.gate.cfg.idle - time.Since(w.last)
	switch {
	case w.closed || n == nil:
		n = nil
	case w.flows > 0:
		w.idle.Reset(w.gate.cfg.idle)
		n = nil
	case rest > 0:
		w.idle.Reset(rest)
		n = nil
	default:
		w.net = nil
		w.wg.Add(1)
		defer w.wg.Done()
	}
	w.mu.Unlock()
	w.injecting.Unlock()
	if n != nil {
		n.close()
		n.wait()
		w.gate.cfg.dropped()
	}
}

// open takes a place for a flow, which release gives back. Without one, or
// when the destination is refused, ok is false.
func (w *Way) open(protocol string, to netip.AddrPort) (release func(), ok bool) {
	if why := w.gate.judge(protocol, to); why != "" {
		w.refused(protocol, to, why)
		return nil, false
	}
	total := w.gate.flows.Add(1)
	w.mu.Lock()
	why := ""
	switch {
	case w.flows >= flowsEach:
		why = "too many flows of the environment"
	case !w.gate.may(w.flows, total-1):
		why = "too many flows of all environments"
	}
	if w.closed || why != "" && !(protocol == "udp" && w.udp.evict()) {
		closed := w.closed
		w.mu.Unlock()
		w.gate.flows.Add(-1)
		if !closed {
			w.refused(protocol, to, why)
		}
		return nil, false
	}
	w.flows++
	w.wg.Add(1)
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		w.flows--
		w.last = time.Now()
		w.mu.Unlock()
		w.gate.flows.Add(-1)
		w.gate.cfg.ended()
		w.wg.Done()
	}, true
}

// refused counts a flow that is not opened and logs the first to a
// destination, for some destinations.
func (w *Way) refused(protocol string, to netip.AddrPort, why string) {
	w.gate.cfg.Observer.FlowRefused(protocol)
	w.mu.Lock()
	d := destination{protocol, to}
	_, known := w.logged[d]
	log := !known && len(w.logged) < loggedEach && w.gate.logRate.Allow()
	if log {
		if w.logged == nil {
			w.logged = map[destination]struct{}{}
		}
		w.logged[d] = struct{}{}
	}
	w.mu.Unlock()
	if log {
		w.gate.log.Warn("way out refused", "env", w.env, "protocol", protocol, "destination", to, "why", why)
	}
}

// bufferBytes is how much may wait in each direction of a new flow: much while
// there are few, so that all flows of an environment together are bounded, and
// those of all environments.
func (w *Way) bufferBytes() int {
	w.mu.Lock()
	own := max(buffersEach/max(w.flows, 1), minBuffer)
	w.mu.Unlock()
	all := max(buffersAll/max(int(w.gate.flows.Load()), 1), leastBuffer)
	return min(own, all, maxBuffer)
}

const (
	buffersEach = 8 << 20
	buffersAll  = 64 << 20
	minBuffer   = 32 << 10 // while only the environment has many flows
	leastBuffer = 8 << 10
	maxBuffer   = 512 << 10
)
