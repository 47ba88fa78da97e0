package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/awsapi"
)

// leastBodies is room for the largest package and a few more, in bytes.
const leastBodies = 256 << 20

// bodies counts the bytes of request bodies that are in memory. Most operations
// take theirs as a whole, and its signature is verified when all of it is there:
// what one caller can make the server keep is bounded by its connections alone.
type bodies struct {
	log  *slog.Logger
	room int64 // for all together
	here atomic.Int64
	said atomic.Int64 // when the log told that there is no more: ns
}

// newBodies gives them an eighth of the machine's memory.
func newBodies(log *slog.Logger) *bodies {
	b := &bodies{log: log, room: leastBodies}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		b.room = max(leastBodies, int64(uint64(info.Totalram)*uint64(info.Unit)/8))
	}
	return b
}

// refuse tells, once a minute at most, that there is no room.
func (b *bodies) refuse() {
	last, now := b.said.Load(), time.Now().UnixNano()
	if now-last >= int64(time.Minute) && b.said.CompareAndSwap(last, now) {
		b.log.Warn("requests are refused: the bodies of others take the memory that there is for them", "room", b.room, "taken", b.here.Load())
	}
}

// sender is whose bodies are counted together: all callers from outside, and
// the callers at one listener inside, who are in one environment.
type sender struct {
	all  *bodies
	here atomic.Int64
}

// may reports whether n more bytes have room: a sender has as many as it leaves
// to all others, so that one of them cannot keep the others from being heard.
func (s *sender) may(n int64) bool { return s.here.Load()+n <= s.all.room-s.all.here.Load()-n }

func (s *sender) count(n int64) {
	s.here.Add(n)
	s.all.here.Add(n)
}

type senderKey struct{}

// withSender is the http.Server's ConnContext: it tells requests who sent them.
func (g *Gateway) withSender(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if pc, ok := c.(*peekedConn); ok {
		return context.WithValue(ctx, senderKey{}, pc.from)
	}
	return ctx
}

// keep makes the body of r, which is going to be kept in memory, count until
// what it returns is released. nil: there is none.
func keep(r *http.Request, be *backend) *counted {
	s, ok := r.Context().Value(senderKey{}).(*sender)
	if !ok || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	c := &counted{ReadCloser: r.Body, from: s, be: be}
	r.Body = c
	return c
}

// crowdedError is the answer while there is no room: one that clients try again
// after. The log tells of it once, not of each.
type crowdedError struct{ answer *awsapi.ErrorResponse }

func (e crowdedError) Error() string { return e.answer.Error() }

func (e crowdedError) Unwrap() error { return e.answer }

func crowded(be *backend) error {
	e := &awsapi.ErrorResponse{Status: http.StatusTooManyRequests, Code: "ThrottlingException", Message: "Rate exceeded"}
	if be.s3 {
		e = &awsapi.ErrorResponse{Status: http.StatusServiceUnavailable, Code: "SlowDown", Message: "Please reduce your request rate."}
	}
	return crowdedError{e}
}

// counted is a body that counts as it arrives.
type counted struct {
	io.ReadCloser
	from  *sender
	be    *backend
	bytes int64
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if n == 0 {
		return n, err
	}
	if !c.from.may(int64(n)) {
		c.from.all.refuse()
		return 0, crowded(c.be)
	}
	c.bytes += int64(n)
	c.from.count(int64(n))
	return n, err
}

func (c *counted) release() {
	if c != nil {
		c.from.count(-c.bytes)
	}
}
