package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"davy/internal/awsapi"
	"davy/internal/sigv4"
)

// defaultBody bounds the body of an operation that says nothing else.
const defaultBody = 1 << 20

// HealthPath answers whoever watches over the server; it needs no signature.
const HealthPath = pageRoot + "health"

// pageRoot is where Davy's own pages are.
const pageRoot = "/_davy/"

// ServeHTTP handles one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if page := g.page(r); page != nil {
		page.ServeHTTP(w, r)
		return
	}
	began := time.Now()
	id := newRequestID()
	call := &awsapi.Call{
		RequestID: id, Time: began, SourceIP: sourceIP(r), Secure: r.TLS != nil, Request: r,
	}
	call.Response.Header = make(http.Header)
	ctx := awsapi.WithCall(r.Context(), call)
	// The body is replaced below, in a copy: net/http asks the body of its own
	// request whether it was left unread, and would otherwise take what follows
	// of it for the connection's next request.
	r = r.WithContext(ctx)
	aw := &answerWriter{ResponseWriter: w, unread: holdUnread(r)}
	call.Request = r

	be, bucket, err := g.route(r)
	if err != nil {
		g.writeUnrouted(w, r, id, err)
		return
	}
	call.Service = be.Service.SigningName
	if be.s3 {
		call.RequestID, call.HostID = newS3IDs()
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			g.log.ErrorContext(ctx, "request panicked", "request_id", call.RequestID, "service", call.Service,
				"operation", call.Operation, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if aw.status != 0 {
				panic(http.ErrAbortHandler) // an answer is under way: cut it off, visibly
			}
			g.writeError(aw, r, call, be, nil, errors.New("panic"))
		}
		g.log.DebugContext(ctx, "request", "request_id", call.RequestID, "service", call.Service, "operation", call.Operation,
			"principal", call.Principal.ARN, "status", aw.status, "bytes", aw.bytes, "duration", time.Since(began))
	}()

	op, out, err := g.handle(ctx, r, call, be, bucket)
	if err != nil {
		g.fail(ctx, aw, r, call, be, op, err)
		return
	}
	if call.HostID != "" {
		aw.Header().Set("X-Amz-Id-2", call.HostID)
	}
	if err := be.Service.WriteOutput(aw, call, op, out); err != nil {
		// Headers are gone: the client sees a short body.
		g.log.WarnContext(ctx, "answer was cut off", "request_id", call.RequestID, "operation", call.Operation, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// handle takes a request from the door to the service and back.
func (g *Gateway) handle(ctx context.Context, r *http.Request, call *awsapi.Call, be *backend, bucket string) (op *awsapi.Operation, out any, err error) {
	var form *rewindable
	var kept *counted
	defer func() { kept.release() }()
	if be.Service.Protocol == awsapi.Query {
		kept = keep(r, be)
		// The operation stands in the body, which is signed and decoded too.
		if form, err = readForm(r, bodyLimit(be.Service, nil)); err != nil {
			return nil, nil, err
		}
		form.rewind(r)
	}
	match, err := be.Service.Match(r, bucket, awsapi.Limits{})
	form.rewind(r)
	if form == nil && (err != nil || !match.Op.StreamsInput(be.Service)) {
		kept = keep(r, be)
	}
	if err != nil {
		// An unknown operation is told only to those who may be told anything.
		if verr := g.verify(r, call, be, bucket, nil); verr != nil {
			return nil, nil, verr
		}
		return nil, nil, err
	}
	op = match.Op
	call.Operation = op.Name
	if !op.StreamsInput(be.Service) && r.ContentLength > bodyLimit(be.Service, op) {
		// Refused by its length alone, in the operation's own words, before
		// any of it is kept.
		_, err := match.Decode(ctx, r, awsapi.Limits{})
		return op, nil, err
	}
	if err := g.verify(r, call, be, bucket, op); err != nil {
		return op, nil, err
	}
	form.rewind(r)
	in, err := match.Decode(ctx, r, awsapi.Limits{})
	if err != nil {
		return op, nil, err
	}
	if err := g.cfg.Authorizer.Authorize(ctx, call, call.Service, op.Name, in); err != nil {
		return op, nil, err
	}
	impl := be.Impl
	if be.Select != nil {
		impl = be.Select(ctx)
	}
	out, err = op.Call(ctx, impl, in)
	return op, out, err
}

func (g *Gateway) verify(r *http.Request, call *awsapi.Call, be *backend, bucket string, op *awsapi.Operation) error {
	id, err := g.cfg.Verifier.Verify(r, sigv4.Target{
		Service:        be.Service.SigningName,
		Family:         be.family,
		Bucket:         bucket,
		MaxBody:        bodyLimit(be.Service, op),
		AllowAnonymous: be.s3 || op != nil && op.NoAuth,
	})
	if err != nil {
		return err
	}
	call.Region = id.Scope.Region
	if g.cfg.Used != nil && !id.Anonymous {
		g.cfg.Used(id.AccessKeyID, id.Scope.Service, id.Scope.Region)
	}
	if p, ok := id.Principal.(awsapi.Principal); ok {
		call.Principal, call.Account = p, p.Account
	}
	return nil
}

// bodyLimit is how many bytes of a body may be kept in memory.
func bodyLimit(s *awsapi.Service, op *awsapi.Operation) int64 {
	switch {
	case op != nil && op.MaxBody > 0:
		return op.MaxBody
	case s.MaxBody > 0:
		return s.MaxBody
	}
	return defaultBody
}

func (g *Gateway) logFailure(ctx context.Context, call *awsapi.Call, err error) {
	level := slog.LevelError
	if g.cfg.Told != nil && g.cfg.Told(err) {
		level = slog.LevelDebug
	}
	g.log.Log(ctx, level, "request failed", "request_id", call.RequestID, "service", call.Service, "operation", call.Operation, "error", err)
}

// fail logs what is Davy's own fault and answers.
func (g *Gateway) fail(ctx context.Context, w *answerWriter, r *http.Request, call *awsapi.Call, be *backend, op *awsapi.Operation, err error) {
	if _, told := errors.AsType[crowdedError](err); told {
		g.writeError(w, r, call, be, op, err)
		return
	}
	if e, ok := errors.AsType[awsapi.Error](err); !ok {
		if r.Context().Err() != nil {
			g.log.DebugContext(ctx, "client went away", "request_id", call.RequestID, "operation", call.Operation, "error", err)
			panic(http.ErrAbortHandler)
		}
		g.logFailure(ctx, call, err)
	} else if e.Fault() == "server" && e.HTTPStatus() != http.StatusNotImplemented {
		g.logFailure(ctx, call, err)
	}
	g.writeError(w, r, call, be, op, err)
}

func (g *Gateway) writeError(w *answerWriter, r *http.Request, call *awsapi.Call, be *backend, op *awsapi.Operation, err error) {
	w.unread.drain()
	for k, v := range call.Response.Header {
		w.Header()[k] = v
	}
	be.Service.WriteError(w, awsapi.ErrorContext{
		Method: r.Method, RequestID: call.RequestID, HostID: call.HostID, Resource: r.URL.Path,
	}, err)
}

// newRequestID returns a random UUID.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var s [36]byte
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// newS3IDs returns S3's two ids of a request: 16 upper-case hexadecimal digits,
// and 48 bytes in base64. Both are opaque.
func newS3IDs() (requestID, hostID string) {
	var b [56]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToUpper(hex.EncodeToString(b[:8])), base64.StdEncoding.EncodeToString(b[8:])
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// page finds the page that a request is for. A bucket cannot have its name:
// names of buckets begin with a letter or a digit.
func (g *Gateway) page(r *http.Request) http.Handler {
	if !strings.HasPrefix(r.URL.Path, pageRoot) || placeOf(r.Host, g.cfg.Domain).bucket != "" {
		return nil
	}
	if r.URL.Path == HealthPath {
		return http.HandlerFunc(g.Health)
	}
	for path, page := range g.cfg.Pages {
		if strings.HasPrefix(r.URL.Path, path) {
			return page
		}
	}
	return nil
}

// Health answers 200 once the server is ready.
func (g *Gateway) Health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"status": "ok", "version": g.cfg.Version})
}

// answerWriter notes what was answered.
type answerWriter struct {
	http.ResponseWriter
	unread *unread
	status int
	bytes  int64
}

func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps net/http's way of sending a file without copying it.
func (w *answerWriter) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, src)
	w.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// rewindable is a body in memory that is read several times.
type rewindable struct{ data []byte }

// readForm reads a form's body, at most limit bytes.
func readForm(r *http.Request, limit int64) (*rewindable, error) {
	if r.Body == nil {
		return &rewindable{}, nil
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read form: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, awsapi.Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request must be smaller than %d bytes", limit)
	}
	return &rewindable{data}, nil
}

// rewind makes the body readable from its beginning.
func (b *rewindable) rewind(r *http.Request) {
	if b != nil {
		r.Body = io.NopCloser(bytes.NewReader(b.data))
	}
}
