// Package server joins all parts of Davy, starts them in order and stops them
// in reverse. It is the only package that sees all others, and the only place
// where one part is given to another.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"davy/internal/console"
	"davy/internal/sandbox"
	"davy/internal/sandbox/shed"
)

// Config says what to serve. All fields but Driver and Log are settings of
// `davy serve`.
type Config struct {
	DataDir       string // absolute
	RuntimesDir   string // absolute
	RuntimesView  string // RuntimesDir as this process can reach it; empty: RuntimesDir
	Listen        string // HOST:PORT of the AWS APIs
	ConsoleListen string // HOST:PORT of the console port
	Domain        string // parent of virtual hosts
	Account       string // 12 digits
	RootAccessKey string // empty: generated at the first start
	RootSecretKey string
	Concurrency   int // concurrent executions of an account in a region
	MemoryReserve int // MiB of the machine's memory that no new environment may take; 0: a twentieth of it, 64 to 2048
	PoolMemory    int // MiB that booted runtimes without a function may hold; 0: none are kept
	Egress        Egress
	Drain         time.Duration
	Version       string

	Driver sandbox.Driver `json:"-"` // required; closed by Run
	Log    *slog.Logger   `json:"-"` // nil means discard
}

// Where things are in the data directory.
const (
	logsDir      = "logs"
	objectsDir   = "objects"
	packagesDir  = "packages"
	codeDir      = "code"
	bootstrapDir = "bootstrap"
)

// SandboxRoots are the only directories that a sandbox may be given.
func (c Config) SandboxRoots() []string {
	return []string{filepath.Join(c.DataDir, codeDir), filepath.Join(c.DataDir, bootstrapDir), c.RuntimesDir}
}

var errBehind = errors.New("server: a part has ended")

// lastRequests is how long what functions ask for may take when they are about
// to be ended.
const lastRequests = time.Second

// Run serves until ctx ends, drains, and stops everything. ready is called
// with the addresses once requests are answered.
func Run(ctx context.Context, cfg Config, ready func(api, console string)) (err error) {
	if cfg.Driver == nil {
		return errors.New("server: Driver is required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	began := time.Now()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	api, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for the AWS APIs: %w", err)
	}
	defer api.Close()
	page, err := net.Listen("tcp", cfg.ConsoleListen)
	if err != nil {
		return fmt.Errorf("listen for the console: %w", err)
	}
	defer page.Close()

	p, err := build(ctx, cfg, endpoint(api.Addr()))
	if err != nil {
		return errors.Join(err, cfg.Driver.Close())
	}
	defer func() { err = errors.Join(err, p.close()) }()

	web := &http.Server{
		Handler:           console.Handler(console.Config{API: endpoint(api.Addr()), Version: cfg.Version, Health: p.gateway.Health, Metrics: &p.metrics}),
		ReadHeaderTimeout: 30 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}

	// The parts behind the door outlive it: what was accepted is finished
	// before they are told to stop.
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()
	rear, behind := errgroup.WithContext(behind)
	for _, run := range p.background() {
		rear.Go(func() error { return run(behind) })
	}
	// Functions have the APIs until nothing runs any more.
	rear.Go(func() error { return p.gateway.RunInside(behind, lastRequests) })
	front, door := errgroup.WithContext(ctx)
	stopOnFailure := context.AfterFunc(behind, func() { api.Close() })
	defer stopOnFailure()
	front.Go(func() error { return p.gateway.Run(door, cfg.Drain) })
	front.Go(func() error { return p.gateway.Serve(door, api) })
	front.Go(func() error { return p.invoker.Run(door) })
	front.Go(func() error {
		if err := web.Serve(page); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	front.Go(func() error {
		select {
		case <-door.Done():
			return web.Close()
		case <-behind.Done(): // one of them has failed, and says why
			return errors.Join(errBehind, web.Close())
		}
	})
	cfg.Log.InfoContext(ctx, "davy is ready", "api", endpoint(api.Addr()), "console", endpoint(page.Addr()),
		"data", cfg.DataDir, "version", cfg.Version, "after", time.Since(began))
	ready(endpoint(api.Addr()), endpoint(page.Addr()))
	started := time.AfterFunc(shed.Rest, func() {
		if err := shed.All(); err != nil {
			cfg.Log.DebugContext(ctx, "memory kept", "error", err)
		}
	})
	defer started.Stop()

	err = front.Wait()
	stopBehind()
	err = errors.Join(err, ignoreCanceled(rear.Wait()))
	cfg.Log.InfoContext(ctx, "davy has stopped")
	return err
}

// endpoint is the URL of a listener; one on all addresses is reached at
// loopback.
func endpoint(a net.Addr) string {
	t := a.(*net.TCPAddr)
	host := t.IP.String()
	if t.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(t.Port))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
