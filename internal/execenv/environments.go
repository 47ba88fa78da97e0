// Package execenv runs functions in execution environments, as Lambda does:
// an environment is a sandbox with a runtime that has loaded one function
// version; it takes one invocation at a time and stays for the next. It serves
// package invoke.
//
// No environment is ever shared between functions or revisions of one.
package execenv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
)

// Errors of an invocation. They come wrapped.
var (
	ErrClosed  = errors.New("execenv: closed")                          // Close ended or prevented it
	ErrRuntime = errors.New("execenv: the runtime cannot be used here") // it is not installed, say
)

// RuntimeSource tells how a runtime is started. runtimes.Store is one.
type RuntimeSource interface {
	Launch(ctx context.Context, name string) (runtimes.Launch, error)
}

// Config of Environments.
type Config struct {
	Driver      sandbox.Driver   // required
	Runtimes    RuntimeSource    // required
	Code        CodeSource       // required
	Credentials CredentialSource // nil: functions have no credentials
	Logs        LogSink          // nil: logs are dropped
	Door        Door             // nil: nothing answers inside environments
	Egress      WayOut           // nil: environments reach nothing but the door
	TrustCA     bool             // functions trust the authority at runtimes.CAFile for Suffixes
	Suffixes    []string         // domains that lead to the door; nil: amazonaws.com
	InitTimeout time.Duration    // 0: 10 s, as AWS's
	Idle        time.Duration    // an environment unused for so long ends; 0: 10 min
	FreezeAfter time.Duration    // an environment idle for so long is frozen; 0: 10 ms
	NoFreeze    bool             // environments run on between invocations
	// Starter gives the folder of the program that starts external extensions,
	// starter.File. nil: functions that have any cannot run.
	Starter    func() (dir string, err error)
	PoolMemory int64        // bytes that booted runtimes without a function may hold; 0: no pool
	Observer   Observer     // nil: nobody
	Log        *slog.Logger // nil: discard
	// Memory tells how many bytes of memory the machine could give to new
	// processes, and has. nil: as the kernel says. No environment begins that
	// would leave less than MemoryReserve bytes; 0: a twentieth of it all,
	// 64 MiB to 2 GiB.
	Memory        func() (available, total int64, err error)
	MemoryReserve int64
}

// Environments are all execution environments of this node. Safe for
// concurrent use.
type Environments struct {
	cfg      Config
	log      *slog.Logger
	cpus     int
	resolver resolver
	guests   *guests
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	// boots holds a token for each runtime that boots: more at a time than
	// the processors carry would only make all of them late.
	boots    chan struct{}
	turns    chan struct{} // a token for each that begins without an invocation
	patience patience
	pool     *pool // nil: none
	imports  importTable
	room     room

	mu     sync.Mutex
	fleets map[string]*fleet // by function and version
	all    map[*environment]struct{}
	bursts bursts
}

// New returns Environments without any environment: the first invocation of a
// function starts one. They live until Close, whatever becomes of ctx.
func New(ctx context.Context, cfg Config) (*Environments, error) {
	if cfg.Driver == nil || cfg.Runtimes == nil || cfg.Code == nil {
		return nil, errors.New("execenv: Driver, Runtimes and Code are required")
	}
	if cfg.Suffixes == nil {
		cfg.Suffixes = []string{"amazonaws.com"}
	}
	if cfg.InitTimeout == 0 {
		cfg.InitTimeout = 10 * time.Second
	}
	if cfg.Idle == 0 {
		cfg.Idle = 10 * time.Minute
	}
	if cfg.FreezeAfter == 0 {
		cfg.FreezeAfter = 10 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Memory == nil {
		cfg.Memory = machineMemory
	}
	if cfg.Observer == nil {
		cfg.Observer = deaf{}
	}
	es := &Environments{
		cfg: cfg, log: cfg.Log, cpus: runtime.NumCPU(), resolver: newResolver(cfg.Suffixes), guests: newGuests(),
		boots:    make(chan struct{}, 2*runtime.NumCPU()),
		turns:    make(chan struct{}, runtime.NumCPU()),
		patience: usualPatience(),
		fleets:   map[string]*fleet{}, all: map[*environment]struct{}{},
		room: room{memory: cfg.Memory, reserve: cfg.MemoryReserve, log: cfg.Log},
	}
	es.ctx, es.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if es.pool = newPool(es, cfg.PoolMemory); es.pool != nil {
		es.wg.Go(func() { es.pool.run(es.ctx) })
	}
	return es, nil
}

// Run keeps environments until ctx ends, then closes them.
func (es *Environments) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-es.ctx.Done():
	}
	return es.Close()
}

// Close ends all environments, at once but for those that have extensions,
// which are told, and waits until nothing of them is left.
// Invocations still running fail with ErrClosed. Idempotent.
func (es *Environments) Close() error {
	es.mu.Lock()
	es.cancel()
	for _, fl := range es.fleets {
		fl.close()
	}
	for e := range es.all {
		if p := e.current.Load(); p != nil {
			e.halt(p)
		}
	}
	es.mu.Unlock()
	es.wg.Wait()
	return nil
}

func (es *Environments) closed() bool { return es.ctx.Err() != nil }

// Invoke runs one event in an idle environment of the function, or in the
// first that becomes free: one is started for it. A function that fails is an
// outcome; the error tells that Davy could not run it. Once an environment has
// taken the invocation it runs to its end, whatever becomes of ctx.
func (es *Environments) Invoke(ctx context.Context, f Function, inv Invocation) (Outcome, error) {
	out, err := es.invoke(ctx, f, inv)
	es.cfg.Observer.Invoked(f, out, err)
	return out, err
}

func (es *Environments) invoke(ctx context.Context, f Function, inv Invocation) (Outcome, error) {
	e, spilled, err := es.take(ctx, f)
	if err != nil {
		return Outcome{}, err
	}
	j := job{inv: inv}
	r, ok := e.serveHere(&j)
	if !ok {
		j.done = make(chan result, 1)
		e.jobs <- j
		r = <-j.done
	}
	r.outcome.Provisioned, r.outcome.Spilled = e.provisioned, spilled
	return r.outcome, r.err
}

// fleet returns that of a function version's present revision. es.mu is held.
func (es *Environments) fleet(f Function) *fleet {
	key := f.ARN + " " + f.Version
	old := es.fleets[key]
	if old != nil && old.revision == f.Revision {
		return old
	}
	fl := &fleet{es: es, key: key, revision: f.Revision}
	es.fleets[key] = fl
	if old != nil {
		want := old.keep.want
		old.retire()
		if want > 0 {
			fl.provision(f, want)
		}
	}
	return fl
}

// Retire ends a function's environments, of all versions: idle ones now, busy
// ones after their invocation. For functions that are deleted.
func (es *Environments) Retire(functionARN string) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for key, fl := range es.fleets {
		if strings.HasPrefix(key, functionARN+" ") {
			fl.retire()
			delete(es.fleets, key)
		}
	}
}

// Revised ends the environments of a function version's earlier revisions: idle
// ones now, busy ones after their invocation. Without it the next invocation
// does.
func (es *Environments) Revised(f Function) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if old := es.fleets[f.ARN+" "+f.Version]; old != nil && !es.closed() {
		es.fleet(f).tidy()
	}
}

// take returns an environment that is the caller's until it frees itself.
// spilled tells that the function's version has provisioned concurrency, and
// the environment is none of it.
func (es *Environments) take(ctx context.Context, f Function) (_ *environment, spilled bool, _ error) {
	es.mu.Lock()
	if es.closed() {
		es.mu.Unlock()
		return nil, false, ErrClosed
	}
	fl := es.fleet(f)
	provisioned := fl.keep.want > 0
	if bound := fl.linger.bound(fl.busy(), es.cpus); bound > 0 && len(fl.keep.idle) == 0 {
		e := es.lingerIn(ctx, fl, bound)
		if e != nil {
			es.mu.Unlock()
			return e, provisioned && !e.provisioned, nil
		}
		if es.closed() {
			es.mu.Unlock()
			return nil, false, ErrClosed
		}
		fl = es.fleet(f) // which may be another meanwhile
	}
	now := time.Now()
	if e := fl.pop(now); e != nil {
		es.mu.Unlock()
		return e, provisioned && !e.provisioned, nil
	}
	// One that others do not need any more, who got one that became free, is on
	// its way already. Else a busy machine would start ever more of them.
	begin := len(fl.waiting) >= fl.starting
	if begin && !es.bursts.take(f.ARN, now) {
		fl.tidy()
		es.mu.Unlock()
		return nil, false, ErrBurst
	}
	w := fl.wait()
	if begin {
		fl.start(f)
	}
	es.mu.Unlock()

	select {
	case <-w.served:
	case <-ctx.Done():
		es.mu.Lock()
		defer es.mu.Unlock()
		if fl.abandon(w) {
			return nil, false, ctx.Err()
		}
		// It came at the same moment.
	}
	if w.err != nil {
		return nil, false, w.err
	}
	return w.env, provisioned && !w.env.provisioned, nil
}

// session assumes the execution role for an environment.
func (es *Environments) session(ctx context.Context, f Function) (Credentials, error) {
	if es.cfg.Credentials == nil {
		return Credentials{}, nil
	}
	c, err := es.cfg.Credentials.RoleSession(ctx, f.RoleARN, f.Name, f.ARN)
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: %w", errRole, err)
	}
	return c, nil
}

// bootLimits are the limits of the init phase: the whole machine's processors.
// A runtime without a function takes one, and only what nobody else wants.
func (es *Environments) bootLimits(s seed) sandbox.Limits {
	l := sandbox.Limits{CPUMilli: 1000, CPUWeight: weightSpare, TmpBytes: int64(cmp.Or(s.kind.tmpMB, usualTmpMB)) << 20}
	if s.fn != nil {
		l = functionLimits(*s.fn)
		l.CPUMilli = es.allCPUs()
	}
	l.PIDs, l.OpenFiles = maxProcesses, maxOpenFiles
	return l
}

func (es *Environments) allCPUs() int64 { return int64(runtime.NumCPU()) * 1000 }

// functionLimits are the limits that are a function's own.
func functionLimits(f Function) sandbox.Limits {
	return sandbox.Limits{MemoryBytes: int64(f.MemoryMB) << 20, TmpBytes: int64(f.EphemeralMB) << 20}
}

// Limits of an environment that do not depend on the function.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	maxProcesses = 1024
	usualTmpMB   = 512
	maxOpenFiles = 1024
	// memoryPerCore is the memory setting, in MB, that comes with one full
	// processor.
	memoryPerCore = 1769
)

func cpuShare(memoryMB int) int64 { return max(1, int64(memoryMB)*1000/memoryPerCore) }
