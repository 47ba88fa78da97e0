package execenv

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"davy/internal/sandbox"
)

// Phases in INIT_REPORT lines.
const (
	phaseInit   = "init"
	phaseInvoke = "invoke"
)

// environment runs one revision of one function, one invocation at a time. Who
// holds use is the only one that uses its process: its own goroutine, run, or
// the caller whose invocation runs (serveHere).
type environment struct {
	es    *Environments
	fleet *fleet
	fn    Function
	id    string
	rec   *recorder

	// Of provisioned concurrency. Environments.mu guards all but the first,
	// which never changes.
	provisioned bool
	kept        bool // counted as being kept ready
	begun       bool // its init phase
	ready       bool // its init phase went well
	used        bool // it was given to an invocation

	jobs chan job      // holds one: sent only to an environment taken from its fleet
	quit chan struct{} // closed, once, to end an idle environment

	use    sync.Mutex  // guards what follows, once the init phase is over
	served int         // invocations
	idle   *time.Timer // to end, or to be replaced; from the end of the last invocation
	chill  *time.Timer // to be frozen; likewise

	current  atomic.Pointer[process] // for Close to kill; nil: to be started
	frozen   bool
	frozenAt time.Time
	pause    time.Duration // between an answer and the freeze: see thaw
	failures int           // of its runtime, in a row
	initFor  time.Duration // of a first init not yet reported
	path     InitPath      // of the process, until its first invocation; then warm
	peak     int64         // bytes of memory used at most, when last measured
	measured time.Time
	expires  time.Time       // of its credentials; zero: not started
	mounts   []sandbox.Mount // of the code; nil: not there yet
	release  func()          // of the code
	booted   func()          // lets the next runtime boot

	left leftTmp // by its last process

	grown func()        // the memory promised to it is in use, or not needed
	gone  chan struct{} // closed when nothing of it is left

	boots      int         // sandboxes made for it
	extensions []string    // programs of the external ones
	phase      string      // of the present or the last init
	initBegan  time.Time   // likewise
	busy       atomic.Bool // with its init phase or an invocation
}

// job is an invocation on its way through an environment.
type job struct {
	inv  Invocation
	done chan result // holds one
	over *verdict    // it ran already, for so long: what is left is its end
	took time.Duration
}

type result struct {
	outcome Outcome
	err     error
}

func (es *Environments) newEnvironment(fl *fleet, f Function) *environment {
	id := randomHex(16)
	now := time.Now().UTC()
	stream := LogStream{
		Account: f.Account, Region: f.Region, Group: f.LogGroup, RoleARN: f.RoleARN,
		Stream: streamName(f, now, id),
	}
	e := &environment{
		es: es, fleet: fl, fn: f, id: "env-" + id,
		rec:  &recorder{sink: es.cfg.Logs, stream: stream, ctx: es.ctx, format: logFormatOf(f)},
		jobs: make(chan job, 1), quit: make(chan struct{}),
		release: func() {},
		grown:   func() {}, gone: make(chan struct{}),
		pause:  es.cfg.FreezeAfter,
		booted: func() {},
		phase:  phaseInit,
	}
	e.busy.Store(true)
	return e
}

// run is an environment's life: init, invocations, end.
func (e *environment) run() {
	defer e.stop()
	turned, ok := e.turn()
	if !ok {
		return
	}
	e.es.pool.began()
	settled := sync.OnceFunc(func() {
		e.es.pool.settled()
		turned()
	})
	defer settled()
	launch, err := e.prepare()
	if err != nil {
		e.fleet.startFailed(e, err)
		return
	}
	sp := e.spare(e.es.ctx, launch, false)
	if sp != nil && !e.fleet.needed(e) { // any more: it may have waited for the spare
		e.es.pool.put(sp)
		return
	}
	if sp == nil {
		if !e.admitted() {
			return
		}
		if sp = e.spare(e.es.ctx, launch, true); sp != nil { // it came meanwhile
			e.booted()
		}
	}
	started := time.Now()
	e.logInitStart(launch)
	fail, err := e.start(launch, sp, started.Add(e.initLimit()))
	if fail != nil && fail.lost {
		err = errLost
	}
	if err != nil {
		e.fleet.startFailed(e, err)
		return
	}
	took := time.Since(started)
	if fail == nil {
		e.initFor = took
	}
	e.logInit(took, phaseInit, fail)
	e.es.log.Debug("environment ready", "env", e.id, "function", e.fn.ARN, "path", e.path, "init", took, "ok", fail == nil)
	e.es.cfg.Observer.Initialized(e.fn, e.path, took, fail == nil)
	if e.provisioned {
		if fail != nil {
			e.fleet.initFailed(e)
			return
		}
		e.path = PathWarm
	}
	e.busy.Store(false)
	e.idle, e.chill = time.NewTimer(e.rest()), time.NewTimer(e.pause)
	defer e.idle.Stop()
	defer e.chill.Stop()
	e.fleet.started(e)
	settled()
	e.keep()
}

func (e *environment) stop() {
	e.booted()
	e.shutdown(reasonSpindown)
	e.dropTmp()
	e.release()
	e.grown()
	close(e.gone)
	e.fleet.ended(e)
}

func endOfProcess(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, errBrokenPipe)
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
