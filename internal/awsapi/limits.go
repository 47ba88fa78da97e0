package awsapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Limits bounds what decoding one request may cost. Zero fields mean the
// operation's default.
type Limits struct {
	Body     int64 // bytes of a body that is not streamed
	Depth    int   // nesting of JSON and XML
	Elements int   // members, list elements and map entries of one request
}

const (
	defaultBody     = 1 << 20
	defaultDepth    = 64
	defaultElements = 200_000
)

// limits completes lim for an operation, which may be unknown yet.
func (s *Service) limits(op *Operation, lim Limits) Limits {
	if lim.Body == 0 && op != nil {
		lim.Body = op.MaxBody
	}
	if lim.Body == 0 {
		lim.Body = s.MaxBody
	}
	if lim.Body == 0 {
		lim.Body = defaultBody
	}
	if lim.Depth == 0 {
		lim.Depth = defaultDepth
	}
	if lim.Elements == 0 {
		lim.Elements = defaultElements
	}
	return lim
}

// readBody reads the whole body of r, at most limit bytes.
func (s *Service) readBody(r *http.Request, op *Operation, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, s.tooLarge(op, limit)
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		// At most 1 MiB on the client's word; the rest grows as it arrives.
		buf.Grow(int(min(r.ContentLength, 1<<20)) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, s.bodyError(err)
	}
	if n > limit {
		return nil, s.tooLarge(op, limit)
	}
	return buf.Bytes(), nil
}

// bodyError is the answer to a body that could not be read: the reason if the
// reader knows one (a signature that does not match), else that it ended early.
func (s *Service) bodyError(err error) error {
	if e, ok := errors.AsType[Error](err); ok {
		return e
	}
	if s.Protocol == RESTXML && errors.Is(err, io.ErrUnexpectedEOF) {
		return Errorf(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	return fmt.Errorf("read request body: %w", err)
}

func (s *Service) tooLarge(op *Operation, limit int64) error {
	if s.Protocol == RESTXML {
		return Errorf(http.StatusBadRequest, "MaxMessageLengthExceeded", "Your request was too big.")
	}
	if op == nil {
		return Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request must be smaller than %d bytes", limit)
	}
	name := op.Name
	if name == "Invoke" {
		name = "InvokeFunction" // what Lambda calls it here
	}
	return Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException",
		"Request must be smaller than %d bytes for the %s operation", limit, name)
}

// budget counts the elements and the depth that a decoder may still use.
type budget struct {
	elements, depth int
}

var (
	errDepth    = errors.New("nested too deeply")
	errElements = errors.New("too many elements")
)

func (b *budget) enter() error {
	if b.depth--; b.depth < 0 {
		return errDepth
	}
	return nil
}

func (b *budget) leave() { b.depth++ }

func (b *budget) element() error {
	if b.elements--; b.elements < 0 {
		return errElements
	}
	return nil
}
