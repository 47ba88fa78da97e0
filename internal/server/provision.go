package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"davy/internal/execenv"
	"davy/internal/lambda"
)

// provisioner brings what is kept ready in line with what functions ask for.
// It reads their settings anew whenever it is told that one may have changed,
// so that nothing is lost between a commit and a crash.
type provisioner struct {
	functions    provisions
	environments keeper
	log          *slog.Logger
	wake         chan struct{}

	mu      sync.Mutex
	changed map[string]bool // by function; true while it is looked at
	again   map[string]bool // changed while it was looked at
}

// provisions tells what functions ask for. lambda.Service does.
type provisions interface {
	Provisions(ctx context.Context, functionARN string) ([]lambda.Provision, error)
	EachProvisioned(ctx context.Context, fn func(functionARN string) error) error
}

// keeper keeps environments ready. execenv.Environments does.
type keeper interface {
	Provision(functionARN string, want []execenv.Provision)
	Provisioned(functionARN, version string) (ready int, failure string)
}

// provisionRetry is the wait after settings that could not be read.
const provisionRetry = time.Second

func newProvisioner(log *slog.Logger) *provisioner {
	return &provisioner{log: log, wake: make(chan struct{}, 1), changed: map[string]bool{}, again: map[string]bool{}}
}

// Provision implements lambda.Provisioner.
func (p *provisioner) Provision(functionARN string) {
	p.mu.Lock()
	if p.changed[functionARN] {
		p.again[functionARN] = true
	} else {
		p.changed[functionARN] = false
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Provisioned implements lambda.Provisioner. What failed before a change says
// nothing about what is asked for now.
func (p *provisioner) Provisioned(functionARN, version string) lambda.Allocation {
	ready, failure := p.environments.Provisioned(functionARN, version)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, pending := p.changed[functionARN]; pending {
		failure = ""
	}
	return lambda.Allocation{Ready: ready, Failure: failure}
}

// run works until ctx ends. It begins with every function that asks for
// something.
func (p *provisioner) run(ctx context.Context) error {
	for {
		err := p.functions.EachProvisioned(ctx, func(functionARN string) error {
			p.Provision(functionARN)
			return ctx.Err()
		})
		if err == nil || ctx.Err() != nil {
			break
		}
		p.log.ErrorContext(ctx, "read provisioned concurrency", "error", err)
		p.pause(ctx)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		for ctx.Err() == nil {
			functionARN, ok := p.next()
			if !ok {
				break
			}
			err := p.apply(ctx, functionARN)
			p.done(functionARN, err != nil)
			if err != nil && ctx.Err() == nil {
				p.log.ErrorContext(ctx, "read provisioned concurrency", "function", functionARN, "error", err)
				p.pause(ctx)
			}
		}
	}
}

func (p *provisioner) pause(ctx context.Context) {
	timer := time.NewTimer(provisionRetry)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// next is a function to look at.
func (p *provisioner) next() (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for functionARN := range p.changed {
		p.changed[functionARN] = true
		return functionARN, true
	}
	return "", false
}

// done ends looking at a function, unless it has to be looked at again.
func (p *provisioner) done(functionARN string, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if failed || p.again[functionARN] {
		p.changed[functionARN] = false
	} else {
		delete(p.changed, functionARN)
	}
	delete(p.again, functionARN)
}

func (p *provisioner) apply(ctx context.Context, functionARN string) error {
	want, err := p.functions.Provisions(ctx, functionARN)
	if err != nil {
		return err
	}
	list := make([]execenv.Provision, 0, len(want))
	for _, w := range want {
		list = append(list, execenv.Provision{Function: *w.Function, Count: w.Count})
	}
	p.environments.Provision(functionARN, list)
	return nil
}
