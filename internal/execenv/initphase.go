package execenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
)

// failure is the end of an init phase that the function is to blame for.
type failure struct {
	status    string // "timeout" or "error"
	errorType string
	payload   func(requestID string) []byte
	line      func(requestID string) string // nil: none
	lost      bool                          // it is not: the sandbox was lost
}

// admitted waits for its turn to boot. It reports false when no invocation
// needs the environment any more.
func (e *environment) admitted() bool {
	select {
	case e.es.boots <- struct{}{}:
		e.booted = sync.OnceFunc(func() { <-e.es.boots })
	case <-e.es.ctx.Done():
		e.fleet.startFailed(e, ErrClosed)
		return false
	}
	return e.fleet.needed(e)
}

// prepare gets what an environment is made of: how its runtime is started, and
// the function's code.
func (e *environment) prepare() (runtimes.Launch, error) {
	launch, err := e.es.cfg.Runtimes.Launch(e.es.ctx, e.fn.Runtime)
	if err != nil {
		return launch, fmt.Errorf("%w: %w", ErrRuntime, err)
	}
	if e.mounts == nil {
		e.mounts, err = e.functionMounts(e.es.ctx)
		e.extensions = extensionsIn(e.mounts)
	}
	return launch, err
}

// spare takes a booted runtime from the pool. It returns nil when none fits
// or none is there: then the environment boots its own, if this was the last
// time that it asks.
func (e *environment) spare(ctx context.Context, l runtimes.Launch, last bool) *spare {
	if e.es.pool == nil || len(e.extensions) > 0 || e.left.name != "" {
		return nil
	}
	k, fits := e.es.kindOf(e.fn, l, e.mounts[0].Source)
	if !fits || bringsLibraries(e.mounts) {
		return nil
	}
	sp := e.es.pool.take(ctx, k, last)
	if sp != nil || last {
		e.es.cfg.Observer.PoolAsked(e.fn, sp != nil)
	}
	return sp
}

// start makes a runtime the function's and waits until its handler is loaded.
// Without a spare it boots one.
func (e *environment) start(launch runtimes.Launch, sp *spare, deadline time.Time) (fail *failure, err error) {
	ctx := e.es.ctx
	e.initBegan = time.Now()
	session := make(chan Credentials, 1)
	sessionErr := make(chan error, 1)
	e.es.wg.Go(func() { // while the runtime boots
		c, err := e.es.session(ctx, e.fn)
		if err != nil {
			sessionErr <- err
			return
		}
		session <- c
	})
	if sp != nil && !e.adopt(sp) {
		sp = nil
	}
	var creds Credentials
	early := launch.Runtime.Custom() || len(e.extensions) > 0
	if sp == nil {
		plan := seed{launch: launch, fn: &e.fn, mounts: e.mounts, tmp: e.left.name}
		var env map[string]string
		if early { // it is given everything when it starts
			if creds, err = awaitSession(session, sessionErr); err != nil {
				return nil, err
			}
			env = functionEnv(e.fn, e.initializationType(), e.rec.stream.Stream, creds)
		}
		if launch.Runtime.Custom() {
			plan.program, plan.env = programIn(e.mounts), env
			if plan.program == "" {
				return invalidEntry("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"), nil
			}
		}
		if len(e.extensions) > 0 {
			if fail, err = e.crewFor(&plan, env); fail != nil || err != nil {
				return fail, err
			}
		}
		if fail, err = e.boot(plan, deadline); fail != nil || err != nil {
			return fail, err
		}
	}
	if !early {
		if creds, err = awaitSession(session, sessionErr); err != nil {
			return nil, err
		}
	}
	e.expires = creds.Expires
	return e.assign(e.current.Load(), launch, creds, deadline)
}

// boot starts a runtime for this environment alone.
func (e *environment) boot(plan seed, deadline time.Time) (*failure, error) {
	e.path = PathFresh
	p, err := e.es.boot(e.es.ctx, e.sandboxID(), plan)
	if reason, ok := execFailure(err, plan.program); ok {
		return invalidEntry(reason), nil
	}
	if fail := e.wrapperFailure(err); fail != nil {
		return fail, nil
	}
	if err != nil {
		return nil, err
	}
	e.own(p)
	if p.crew != nil {
		if fail, err := e.startCrew(p, plan, deadline); fail != nil || err != nil {
			e.booted()
			return fail, err
		}
	}
	err = p.awaitBooted(deadline)
	e.booted() // the function's own init may take its time
	if err != nil {
		return e.initFailure(p, err, deadline), nil
	}
	return nil, nil
}

// sandboxID names the environment's next sandbox. Each has a name of its own: a
// late request that the one before be ended must not meet its successor.
func (e *environment) sandboxID() string {
	e.boots++
	if e.boots == 1 {
		return e.id
	}
	return fmt.Sprintf("%s-%d", e.id, e.boots)
}

// adopt gives a spare the function's code and limits. It reports false when
// the spare is of no use, and ends it.
func (e *environment) adopt(sp *spare) bool {
	ctx := e.es.ctx
	limited := make(chan error, 1)
	e.es.wg.Go(func() { limited <- sp.sb.Limit(ctx, e.es.assignLimits(e.fn)) })
	err := sp.sb.Attach(ctx, e.mounts...)
	err = errors.Join(err, <-limited)
	if err != nil {
		e.es.log.Warn("runtime of the pool not used", "env", e.id, "spare", sp.sb.ID(), "error", err)
		sp.end()
		return false
	}
	// What booting took is not the function's. Kernels before 6.12 cannot
	// forget it with control groups of version 2.
	_ = sp.sb.ResetPeak(ctx)
	e.path = PathPool
	e.own(sp.process)
	return true
}

// own makes p the environment's process.
func (e *environment) own(p *process) {
	p.api.extensions.assign(e.fn)
	e.current.Store(p)
	if e.es.closed() { // Close may have passed by before it could see p
		p.sb.Kill()
	}
	p.record(e.rec)
}

// assign tells a booted runtime which function is its own. It happens once to a process.
func (e *environment) assign(p *process, launch runtimes.Launch, c Credentials, deadline time.Time) (*failure, error) {
	ctx := e.es.ctx
	meta := initMeta{
		Env:       functionEnv(e.fn, e.initializationType(), e.rec.stream.Stream, c),
		Handler:   e.fn.Handler,
		TaskRoot:  runtimes.TaskRoot,
		Callbacks: launch.Runtime.Callbacks,
	}
	node := launch.Runtime.Family == runtimes.NodeJS
	if len(e.es.cfg.Suffixes) > 0 && e.es.cfg.TrustCA && (!node || e.es.needs(e.fn, launch, e.mounts[0].Source).tls) {
		meta.CAFile, meta.TrustedSuffixes = runtimes.CAFile, e.es.cfg.Suffixes
	}
	if err := p.ch.send(frameInit, meta, nil, deadline); err != nil {
		return e.initFailure(p, err, deadline), nil
	}
	for {
		f, err := p.ch.recv(deadline)
		if err != nil {
			return e.initFailure(p, err, deadline), nil
		}
		switch f.kind {
		case frameLog:
			p.drainOutput()
			e.rec.line(string(f.body))
		case frameOutput:
			e.rec.output(f.body)
		case frameInitError:
			return e.initReported(p, f), nil
		case frameReady:
			p.drainOutput()
			if fail := e.extensionsReady(p, deadline); fail != nil {
				return fail, nil
			}
			// The init phase had the whole machine.
			if err := p.sb.Limit(ctx, sandbox.Limits{CPUMilli: cpuShare(e.fn.MemoryMB)}); err != nil {
				return nil, fmt.Errorf("set limits: %w", err)
			}
			return nil, nil
		default:
			return e.initFailure(p, errProtocol, deadline), nil
		}
	}
}

// initFailure ends the process and tells why its init did not.
func (e *environment) initFailure(p *process, err error, deadline time.Time) *failure {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.abandon(p, "timeout", "")
		return &failure{
			status: "timeout",
			payload: func(id string) []byte {
				return timeoutPayload(id, e.fn.Timeout).json()
			},
			line: func(id string) string { return timeoutLine(time.Now(), id, e.fn.Timeout) },
		}
	}
	if kind, reason, ok := p.crashed(); ok {
		p.drainOutput()
		e.abandon(p, "error", kind)
		return extensionFailure(kind, reason)
	}
	if !endOfProcess(err) && !errors.Is(err, errInterrupted) {
		e.es.log.Warn("runtime failed", "env", e.id, "error", err)
		p.sb.Kill()
	}
	exit := p.exited(deadline)
	p.drainOutput()
	kind := exitPayload("", exit).ErrorType
	e.abandon(p, "error", kind)
	return &failure{
		lost:      exit.Lost,
		status:    "error",
		errorType: kind,
		payload:   func(id string) []byte { return exitPayload(id, exit).json() },
		line:      func(id string) string { return exitLine(id, exit) },
	}
}

// initReported is an init error that the bootstrap told of.
func (e *environment) initReported(p *process, f frame) *failure {
	kind, body := f.errorType, f.body
	if kind == "" {
		var reported errorPayload
		_ = json.Unmarshal(body, &reported) // of a hostile runtime: no type
		kind = reported.ErrorType
	}
	kind = platformErrorType(kind)
	e.abandon(p, "error", kind)
	return &failure{status: "error", errorType: kind, payload: func(string) []byte { return body }}
}

// functionMounts are the function's code and its layers, which stay until the
// environment ends.
func (e *environment) functionMounts(ctx context.Context) ([]sandbox.Mount, error) {
	mount := func(target string, sha256s ...string) (sandbox.Mount, error) {
		dir, release, err := e.es.cfg.Code.Code(ctx, sha256s...)
		if err != nil {
			return sandbox.Mount{}, fmt.Errorf("code of function: %w", err)
		}
		before := e.release
		e.release = func() { release(); before() }
		return sandbox.Mount{Source: dir, Target: target}, nil
	}
	code, err := mount(runtimes.TaskRoot, e.fn.CodeSHA256)
	if err != nil {
		return nil, err
	}
	mounts := []sandbox.Mount{code}
	if len(e.fn.Layers) == 0 {
		return mounts, nil
	}
	layers, err := mount(runtimes.LayerDir, e.fn.Layers...)
	if err != nil {
		return nil, err
	}
	mounts = append(mounts, layers)
	if modules := layerModules(layers.Source, e.fn.Runtime); modules != "" {
		mounts = append(mounts, sandbox.Mount{Source: modules, Target: "/var/node_modules"})
	}
	return mounts, nil
}

func awaitSession(session <-chan Credentials, failed <-chan error) (Credentials, error) {
	select {
	case c := <-session:
		return c, nil
	case err := <-failed:
		return Credentials{}, err
	}
}
