package gateway

import (
	"io"
	"net/http"
	"strings"
)

// maxDrained is how much of a body that nobody wants is read anyway, so that
// the client finishes sending and reads the error it gets.
const maxDrained = 1 << 30

// unread is the body of a request as it comes from the connection. Services
// close theirs wherever they stop; this one stays open until the answer, so
// that the gateway decides what becomes of the rest. net/http would close the
// connection, and when 256 KiB are left to the byte without announcing it in the
// answer: the client's next request then fails.
type unread struct {
	body io.ReadCloser
	// held: the client sends it when it is told to go on.
	held bool
}

// holdUnread replaces the body of r. nil: it has none.
func holdUnread(r *http.Request) *unread {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	u := &unread{body: r.Body, held: strings.EqualFold(r.Header.Get("Expect"), "100-continue")}
	r.Body = u
	return u
}

// Read implements io.Reader.
func (u *unread) Read(p []byte) (int, error) {
	u.held = false
	return u.body.Read(p)
}

// Close implements io.Closer.
func (u *unread) Close() error { return nil }

// drain reads what is left. A client that waits to be told is not told.
func (u *unread) drain() {
	if u != nil && !u.held {
		_, _ = io.CopyN(io.Discard, u.body, maxDrained)
	}
}
