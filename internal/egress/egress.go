// Package egress is the way out of execution environments: it carries their
// TCP and UDP flows and their name queries to other networks, as far as a
// policy allows.
//
// An environment has a network device whose other end is a descriptor of this
// process. A TCP/IP stack in this process (gVisor's) ends the environment's
// flows; an ordinary socket of this process, without any privilege, continues
// each of them. No packet of an environment reaches a network, none of a
// network an environment, and the host's firewall and routes stay as they are.
//
// The invariant: no socket is connected to an address before the policy has
// said yes to that address and port.
package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// Bounds of an environment that are not configured.
const (
	// flowsEach is how many flows it can have, as it can have that many
	// descriptors.
	flowsEach = 1024
	// flowRate and flowBurst bound how fast it opens them.
	flowRate, flowBurst = 1000, 2000
	// loggedEach is how many refused destinations are logged.
	loggedEach = 16
	// flowsSure is how many an environment has whatever the others do.
	flowsSure = 8
)

// Config of a Gate.
type Config struct {
	Policy Policy
	// ResolvConf names the file that lists the name servers to ask. Empty:
	// /etc/resolv.conf.
	ResolvConf string
	// MaxFlows of all environments together. An environment has as many as it
	// leaves to the others, and a few in any case. 0: half of the descriptors
	// that this process may have.
	MaxFlows int
	Observer Observer     // nil: nobody
	Log      *slog.Logger // nil: discard

	// Of tests.
	route   func(netip.Addr) (string, error) // nil: routeOf
	idle    time.Duration                    // 0: idleAfter
	dropped func()                           // a stack has gone
	ended   func()                           // a flow has ended
}

// Observer hears what flows do, for metrics. Its methods return at once and
// are safe for concurrent use. Protocol is "tcp" or "udp".
type Observer interface {
	FlowOpened(protocol string)
	FlowRefused(protocol string)
	// Carried tells bytes of payload that left environments and that came.
	Carried(out, in int64)
}

type deaf struct{}

func (deaf) FlowOpened(string)    {}
func (deaf) FlowRefused(string)   {}
func (deaf) Carried(int64, int64) {}

// Gate carries the flows of all environments. Safe for concurrent use.
type Gate struct {
	cfg     Config
	log     *slog.Logger
	names   *forwarder
	logRate *rate.Limiter
	flows   atomic.Int64

	mu     sync.Mutex
	closed bool
	ways   map[*Way]struct{}
}

// New returns a Gate that carries nothing yet.
func New(cfg Config) (*Gate, error) {
	if err := cfg.Policy.Check(); err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	if cfg.MaxFlows == 0 {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return nil, fmt.Errorf("egress: %w", err)
		}
		cfg.MaxFlows = int(min(limit.Cur/2, 1<<20))
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	if cfg.Observer == nil {
		cfg.Observer = deaf{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.route == nil {
		cfg.route = routeOf
	}
	if cfg.idle == 0 {
		cfg.idle = idleAfter
	}
	if cfg.dropped == nil {
		cfg.dropped = func() {}
	}
	if cfg.ended == nil {
		cfg.ended = func() {}
	}
	return &Gate{
		cfg: cfg, log: cfg.Log, logRate: rate.NewLimiter(10, 100), ways: map[*Way]struct{}{},
		names: newForwarder(cfg.ResolvConf, len(cfg.Policy.Allow) > 0, cfg.Log),
	}, nil
}

// Attach carries what an environment sends to its device until the Way is
// closed, whatever becomes of ctx. The descriptor stays the caller's.
func (g *Gate) Attach(ctx context.Context, env string, device *os.File) (*Way, error) {
	raw, err := device.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(orig uintptr) { fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	if dupErr != nil {
		return nil, fmt.Errorf("egress: %w", dupErr)
	}
	w, err := newWay(ctx, g, env, fd)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		w.Close()
		return nil, ErrClosed
	}
	g.ways[w] = struct{}{}
	g.mu.Unlock()
	return w, nil
}

// ErrClosed is returned by Attach after Close.
var ErrClosed = errors.New("egress: closed")

// Close ends every Way and waits until nothing of them is left.
func (g *Gate) Close() error {
	g.mu.Lock()
	g.closed = true
	ways := g.ways
	g.ways = map[*Way]struct{}{}
	g.mu.Unlock()
	for w := range ways {
		w.Close()
	}
	return nil
}

// may reports whether an environment that has n flows can have another when all
// have total: one that takes all it gets leaves half of them, two a third, and
// a newcomer always finds some.
func (g *Gate) may(n int, total int64) bool {
	return n < flowsSure || int64(n) < int64(g.cfg.MaxFlows)-total
}

// judge tells why a flow is refused; empty: it is not.
func (g *Gate) judge(protocol string, to netip.AddrPort) string {
	why, own := g.cfg.Policy.refuses(protocol, to)
	if why != "" || own {
		return why
	}
	why, err := g.cfg.route(to.Addr())
	if err != nil {
		g.log.Error("route of a destination not known", "destination", to, "error", err)
		return "its route is not known"
	}
	return why
}

// idleAfter is how long an environment's stack stays without flows, udpIdle a
// UDP flow without packets (RFC 4787: at least two minutes), halfOpen a TCP
// flow that one side has ended and on which the other sends nothing.
const (
	idleAfter = 30 * time.Second
	udpIdle   = 2 * time.Minute
	halfOpen  = 5 * time.Minute
)
