package execenv

import (
	"context"
	"fmt"
	"slices"
	"time"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
)

// boot is a spare that boots. A cold start that waits for it makes it boot with
// the weight of a function.
type boot struct {
	wanted context.Context // done when somebody waits
	want   context.CancelFunc
	waits  bool // guarded by pool.mu
	done   chan struct{}
	spare  *spare // after done, if somebody waited; nil: it failed
}

// fill boots a spare and gives it to who waits for it, or puts it into the pool.
func (p *pool) fill(ctx context.Context, k kind, b *boot) error {
	defer b.want() // frees its context
	began := time.Now()
	sp, cost, err := p.boot(ctx, k, b)
	p.mu.Lock()
	s := p.stock(k)
	s.boots = slices.DeleteFunc(s.boots, func(other *boot) bool { return other == b })
	p.booting--
	if cost > 0 {
		s.cost = min(s.cost, cost)
	}
	waits := b.waits
	closed := p.closed
	switch {
	case err != nil || closed:
		s.retry = time.Now().Add(retryAfter)
	case waits:
		b.spare = sp
		close(sp.taken)
	default:
		s.ready = append(s.ready, sp)
	}
	close(b.done)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if closed {
		sp.end()
		return nil
	}
	if !waits {
		p.es.wg.Go(func() { p.watch(sp) })
	}
	p.es.log.Debug("runtime waits in the pool", "env", sp.sb.ID(), "runtime", k.runtime, "memory", k.memoryMB,
		"sdk", k.sdk, "tls", k.tls, "boot", time.Since(began), "bytes", cost, "taken", waits)
	return nil
}

// boot starts a runtime of the kind and tells what it costs.
func (p *pool) boot(ctx context.Context, k kind, b *boot) (*spare, int64, error) {
	launch, err := p.es.cfg.Runtimes.Launch(ctx, k.runtime)
	if err != nil {
		return nil, 0, err
	}
	proc, err := p.es.boot(ctx, "env-"+randomHex(16), seed{launch: launch, kind: k})
	if err != nil {
		return nil, 0, err
	}
	stop := context.AfterFunc(ctx, proc.sb.Kill)
	defer stop()
	stopBoost := context.AfterFunc(b.wanted, func() { // an error is told by who gets it
		_ = proc.sb.Limit(ctx, sandbox.Limits{CPUMilli: p.es.allCPUs(), CPUWeight: weightFunction})
	})
	defer stopBoost()
	if err := proc.prepare(k, p.es.cfg, time.Now().Add(bootWait)); err != nil {
		proc.end()
		return nil, 0, fmt.Errorf("boot: %w", err)
	}
	var cost int64 // unknown without control groups
	if u, err := proc.sb.Usage(ctx); err == nil && u.MemoryBytes > 0 {
		cost = u.MemoryBytes + overhead
	}
	return &spare{process: proc, kind: k, taken: make(chan struct{})}, cost, nil
}

// prepare waits until a runtime of the pool can be assigned a function.
func (p *process) prepare(k kind, cfg Config, deadline time.Time) error {
	if err := p.awaitBooted(deadline); err != nil {
		return err
	}
	var w warmMeta
	switch {
	case k.sdk:
		w.Modules, w.ExerciseSDK = []string{runtimes.SDKModule}, true
		if cfg.TrustCA && cfg.Door != nil && len(cfg.Suffixes) > 0 {
			w.CAFile, w.Host = runtimes.CAFile, "s3."+cfg.Suffixes[0]
		}
	case k.tls:
		w.Modules = []string{"node:tls"}
	default:
		return nil
	}
	if err := p.ch.send(frameWarm, w, nil, deadline); err != nil {
		return err
	}
	return p.awaitBooted(deadline)
}

// assignLimits are those of a function that gets a booted runtime: its own,
// and the whole machine's processors for its init phase.
func (es *Environments) assignLimits(f Function) sandbox.Limits {
	l := functionLimits(f)
	l.CPUMilli, l.CPUWeight = es.allCPUs(), weightFunction
	return l
}
