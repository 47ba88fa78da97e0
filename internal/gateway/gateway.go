// Package gateway is the door: it takes every request of every AWS client,
// finds the service and operation it is for, has its signature verified and
// its right decided, calls the service and writes the answer.
//
// The invariant: a service's method runs only for a request whose signature
// was verified, whose input obeys the model, and which the authoriser allowed.
// Errors that are not modelled are logged here, once, and leave as the
// protocol's internal error without their text.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"davy/internal/awsapi"
	"davy/internal/gateway/localca"
	"davy/internal/sigv4"
)

// Limits of one connection. Bodies are bounded per operation.
const (
	maxHeaderBytes    = 64 << 10
	readHeaderTimeout = 30 * time.Second
	idleTimeout       = 3 * time.Minute
)

// Authorizer decides whether the caller may do what the decoded input asks.
// It returns nil or the modelled refusal.
type Authorizer interface {
	Authorize(ctx context.Context, call *awsapi.Call, service, operation string, in any) error
}

// Backend is a service and what implements it: Impl has the methods of the
// API interface generated for Service.
type Backend struct {
	Service *awsapi.Service
	Impl    any
	// Select chooses what implements it for the caller of ctx; nil: Impl.
	Select func(ctx context.Context) any
}

// Config says what stands behind the door.
type Config struct {
	Backends   []Backend
	Verifier   *sigv4.Verifier // required
	Authorizer Authorizer      // required
	CA         *localca.CA     // required
	// Pages answer what lies below their path, for requests without an AWS
	// signature: each decides by itself who may come.
	Pages map[string]http.Handler
	// Used is told of every access key that signed a request well; nil: nobody.
	Used    func(accessKeyID, service, region string)
	Domain  string // of virtual hosts; "localhost" when empty
	Version string // told by the health page
	// Told says of an internal error that the log has its cause already. nil:
	// of none.
	Told func(error) bool
	Log  *slog.Logger // nil means discard
}

// Gateway serves AWS's APIs. Safe for concurrent use.
type Gateway struct {
	cfg    Config
	log    *slog.Logger
	byName map[string]*backend // by signing name
	s3     *backend

	outside, inside *side
	bodies          *bodies
	callers         *sender // from outside
}

// side is one of the two ways in. Functions have one of their own: while the
// other lets requests under way finish, functions that these have called still
// need the APIs.
type side struct {
	log  *slog.Logger
	door *door
	http *http.Server
}

// backend is a Backend with what the gateway derives from it.
type backend struct {
	Backend
	family sigv4.Family
	s3     bool
}

// New checks cfg and returns a gateway that serves once Run is called.
func New(cfg Config) (*Gateway, error) {
	if cfg.Verifier == nil || cfg.Authorizer == nil || cfg.CA == nil {
		return nil, errors.New("gateway: Verifier, Authorizer and CA are required")
	}
	if cfg.Domain == "" {
		cfg.Domain = "localhost"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{cfg: cfg, log: cfg.Log, byName: make(map[string]*backend), bodies: newBodies(cfg.Log)}
	g.callers = &sender{all: g.bodies}
	for _, b := range cfg.Backends {
		be := &backend{Backend: b, family: familyOf(b.Service.Protocol), s3: b.Service.Protocol == awsapi.RESTXML}
		g.byName[b.Service.SigningName] = be
		if be.s3 {
			g.s3 = be
		}
	}
	g.outside, g.inside = g.newSide(), g.newSide()
	return g, nil
}

func (g *Gateway) newSide() *side {
	return &side{log: g.log, door: newDoor(), http: &http.Server{
		Handler:           g,
		ConnContext:       g.withSender,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		TLSConfig:         g.cfg.CA.TLSConfig(),
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}}
}

func familyOf(p awsapi.Protocol) sigv4.Family {
	switch p {
	case awsapi.RESTXML:
		return sigv4.S3
	case awsapi.RESTJSON:
		return sigv4.RESTJSON
	case awsapi.Query:
		return sigv4.Query
	default:
		return sigv4.JSON
	}
}

// Run serves until ctx ends, then lets requests under way finish for at most
// drain and returns.
func (g *Gateway) Run(ctx context.Context, drain time.Duration) error {
	return g.outside.run(ctx, drain)
}

// RunInside is Run for ServeInside.
func (g *Gateway) RunInside(ctx context.Context, drain time.Duration) error {
	return g.inside.run(ctx, drain)
}

func (s *side) run(ctx context.Context, drain time.Duration) error {
	serving, stop := errgroup.WithContext(context.WithoutCancel(ctx))
	serving.Go(func() error { return ignoreClosed(s.http.Serve(s.door.plain)) })
	serving.Go(func() error { return ignoreClosed(s.http.ServeTLS(s.door.secure, "", "")) })
	select {
	case <-ctx.Done():
	case <-stop.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := s.http.Shutdown(limit)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.WarnContext(ctx, "requests were cut off", "drain", drain)
		err = s.http.Close()
	}
	s.door.close()
	return errors.Join(err, serving.Wait())
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Serve accepts connections from l, HTTP and TLS alike, until ctx ends or l is
// closed. It may be called for any number of listeners.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	return g.outside.door.serve(ctx, l, g.callers)
}

// ServeInside is Serve for listeners that only functions reach.
func (g *Gateway) ServeInside(ctx context.Context, l net.Listener) error {
	return g.inside.door.serve(ctx, l, &sender{all: g.bodies})
}
