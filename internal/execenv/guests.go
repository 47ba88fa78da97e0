package execenv

import (
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Bounds of the connections that come from inside. A function has a thousand
// processes with a thousand descriptors each; the server has one table for the
// functions' connections and everybody else's.
const (
	// guestsEach is how many connections an environment can have, as it can
	// have that many descriptors on AWS.
	guestsEach = 1024
	// guestsSure is what it has whatever the others do.
	guestsSure = 8
	// guestsLocal of them may be at the local API, which holds a body for each.
	guestsLocal = 64
	// guestsNames of them may be at the name server.
	guestsNames = 64
)

// guests counts the connections from all environments.
type guests struct {
	room int64 // that all have together
	here atomic.Int64
}

// newGuests leaves three quarters of the descriptors to other things.
func newGuests() *guests {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024 // what every system gives
	}
	return &guests{room: int64(min(limit.Cur/4, 1<<20))}
}

// may reports whether an environment that has n connections can have another:
// as many as are left for all others. So one that takes all it gets leaves half
// of the room, two a third, and a newcomer always finds some.
func (g *guests) may(n int64) bool {
	return n < guestsEach && (n < guestsSure || n < g.room-g.here.Load())
}

// party is the connections from one environment.
type party struct {
	all  *guests
	here atomic.Int64
}

// receive is l for at most so many connections of the party at a time. Those
// that are too many are closed at once.
func (p *party) receive(l net.Listener, most int64) net.Listener {
	return &reception{Listener: l, party: p, most: most}
}

type reception struct {
	net.Listener
	party *party
	most  int64
	here  atomic.Int64
}

// Accept implements net.Listener.
func (r *reception) Accept() (net.Conn, error) {
	for {
		c, err := r.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if r.here.Load() < r.most && r.party.all.may(r.party.here.Load()) {
			r.count(1)
			return &guest{Conn: c, r: r}, nil
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // nothing of it stays, not even a state
		}
		c.Close()
	}
}

func (r *reception) count(n int64) {
	r.here.Add(n)
	r.party.here.Add(n)
	r.party.all.here.Add(n)
}

// guest is a connection that is counted until it is closed.
type guest struct {
	net.Conn
	r    *reception
	once sync.Once
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.once.Do(func() { g.r.count(-1) })
	return g.Conn.Close()
}
