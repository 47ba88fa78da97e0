package execenv

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Provision is how many environments of a version are kept ready: initialised
// ahead of invocations, never ended for being idle, replaced when they end.
// https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
type Provision struct {
	Function Function
	Count    int
}

// kept is the provisioned concurrency of a fleet. Environments.mu guards it.
type kept struct {
	fn    Function
	want  int
	have  int            // environments of it, ready or on their way
	ready int            // of them, initialised
	idle  []*environment // the last was used last

	failure  string      // of the last that could not be made; empty: none
	failures int         // in a row
	retry    *time.Timer // runs: none is begun before
}

// functionInitFailure is AWS's StatusReason for code whose init phase fails.
const functionInitFailure = "FUNCTION_ERROR_INIT_FAILURE"

// keepRetryMax bounds the waits between attempts to make what fails to be made,
// which begin with patience.retry.
const keepRetryMax = 5 * time.Minute

// keepInitTimeout is how long the init phase of an environment that is kept
// ready may take, when the function's timeout is not longer.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
const keepInitTimeout = 130 * time.Second

// An environment that is kept ready is replaced so long before its credentials
// are too old, however short they last not sooner than after rotateLeast.
const (
	rotateLead  = 5 * time.Minute
	rotateLeast = time.Minute
)

// Provision sets what is kept ready of a function: all its versions that are
// not among want have nothing. It returns at once; Provisioned tells how far
// it is. A version that failed before is tried again.
func (es *Environments) Provision(functionARN string, want []Provision) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if es.closed() {
		return
	}
	named := map[string]bool{}
	for _, p := range want {
		fl := es.fleet(p.Function)
		named[fl.key] = true
		fl.provision(p.Function, p.Count)
	}
	for key, fl := range es.fleets {
		if strings.HasPrefix(key, functionARN+" ") && !named[key] {
			fl.provision(fl.keep.fn, 0)
		}
	}
}

// Provisioned tells how many environments of a version are kept ready, and why
// the others are not, in AWS's words; empty: they are on their way.
func (es *Environments) Provisioned(functionARN, version string) (ready int, failure string) {
	es.mu.Lock()
	defer es.mu.Unlock()
	fl := es.fleets[functionARN+" "+version]
	if fl == nil {
		return 0, ""
	}
	return fl.keep.ready, fl.keep.failure
}

func (fl *fleet) provision(f Function, n int) {
	k := &fl.keep
	k.stop()
	k.fn, k.want, k.failure, k.failures = f, n, "", 0
	fl.maintain()
	fl.tidy()
}

// stop forgets what was wanted.
func (k *kept) stop() {
	k.want = 0
	if k.retry != nil {
		k.retry.Stop()
		k.retry = nil
	}
}

// maintain begins what is missing and ends what is too much.
func (fl *fleet) maintain() {
	k := &fl.keep
	if fl.retired || fl.es.closed() {
		return
	}
	for k.have < k.want && k.retry == nil {
		e := fl.es.newEnvironment(fl, k.fn)
		e.provisioned, e.kept = true, true
		k.have++
		fl.begin(e)
	}
	if k.have > k.want {
		fl.shed(k.have - k.want)
	}
}

// shed gives up n environments: those that are not ready first, then idle ones,
// busy ones last.
func (fl *fleet) shed(n int) {
	var all []*environment
	for e := range fl.es.all {
		if e.fleet == fl && e.kept {
			all = append(all, e)
		}
	}
	rank := func(e *environment) int {
		switch {
		case !e.ready:
			return 0
		case slices.Contains(fl.keep.idle, e):
			return 1
		}
		return 2
	}
	slices.SortFunc(all, func(a, b *environment) int { return rank(a) - rank(b) })
	for _, e := range all[:min(n, len(all))] {
		fl.forgo(e)
	}
	fl.prune()
}

// forgo stops counting an environment as one that is kept ready. It may serve
// until another one has taken its place.
func (fl *fleet) forgo(e *environment) {
	if !e.kept {
		return
	}
	e.kept = false
	fl.keep.have--
	if e.ready {
		fl.keep.ready--
	}
}

// surplus says whether an environment that is not counted any more has done its
// duty.
func (fl *fleet) surplus(e *environment) bool {
	return e.provisioned && !e.kept && fl.keep.ready >= fl.keep.want
}

// prune ends idle environments that are not counted any more.
func (fl *fleet) prune() {
	fl.keep.idle = slices.DeleteFunc(fl.keep.idle, func(e *environment) bool {
		if fl.surplus(e) {
			close(e.quit)
			return true
		}
		return false
	})
}

// becameReady is for an environment whose init phase went well.
func (fl *fleet) becameReady(e *environment) {
	k := &fl.keep
	if e.kept {
		e.ready = true
		k.ready++
		k.failure, k.failures = "", 0
	}
	fl.prune()
}

// keepFailed is for an environment that could not be made. What has not begun
// yet waits with it for the next attempt: code that fails its init phase is
// not run in a loop.
func (fl *fleet) keepFailed(e *environment, reason string) {
	k := &fl.keep
	if !e.kept {
		return // nobody wants it any more
	}
	fl.forgo(e)
	if fl.es.closed() || fl.retired {
		return
	}
	k.failure = reason
	for other := range fl.es.all {
		if other.fleet == fl && other.kept && !other.begun {
			fl.forgo(other)
		}
	}
	if k.retry != nil {
		return
	}
	wait := min(keepRetryMax, fl.es.patience.retry<<min(k.failures, 16))
	k.failures++
	k.retry = time.AfterFunc(wait, func() {
		fl.es.mu.Lock()
		defer fl.es.mu.Unlock()
		if k.retry != nil { // it was not stopped in the last moment
			k.retry = nil
			fl.maintain()
		}
	})
}

// keptEnded is for an environment that is gone. One that was kept ready is
// replaced; if it ended before it had served at all, not at once.
func (fl *fleet) keptEnded(e *environment) {
	if e.kept && e.ready && !e.used {
		fl.keepFailed(e, functionInitFailure)
	}
	fl.forgo(e)
	fl.maintain()
}

// rotate begins an environment in place of one whose credentials will soon be
// too old.
func (fl *fleet) rotate(e *environment) {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	fl.forgo(e)
	fl.maintain()
}

// initFailed is called by an environment that is kept ready, when the function
// is to blame that it is not.
func (fl *fleet) initFailed(e *environment) {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	fl.keepFailed(e, functionInitFailure)
}

// errRole marks an execution role that could not be assumed.
var errRole = errors.New("assume execution role")

// provisionFailure is what the owner of a function is told.
func provisionFailure(err error) string {
	switch {
	case errors.Is(err, errRole):
		return "The role defined for the function cannot be assumed by Lambda."
	case errors.Is(err, ErrNoMemory):
		return noMemoryReason
	case errors.Is(err, ErrRuntime):
		return err.Error()
	}
	return "INTERNAL_ERROR"
}

// turn waits until an environment may begin. Of those that are kept ready there
// are never more beginning than processors, so that invocations do not wait
// behind them. It reports false when it is not needed any more, or the machine
// has no memory for it. done is for calling when the
// init phase is over.
func (e *environment) turn() (done func(), ok bool) {
	if !e.provisioned {
		if err := e.es.roomFor(e); err != nil {
			e.fleet.startFailed(e, err)
			return nil, false
		}
		return func() {
			if e.fleet.need.Load() <= guessNeed {
				e.grown() // as far as is known: others have not needed more
			}
		}, true
	}
	select {
	case e.es.turns <- struct{}{}:
	case <-e.es.ctx.Done():
		e.fleet.startFailed(e, ErrClosed)
		return nil, false
	}
	over := func() { <-e.es.turns }
	if !e.fleet.needed(e) {
		over()
		return nil, false
	}
	if err := e.es.roomFor(e); err != nil {
		over()
		e.fleet.startFailed(e, err)
		return nil, false
	}
	return func() {
		over()
		e.grown() // as far as it will before its first invocation
	}, true
}

// initLimit is how long the init phase may take.
func (e *environment) initLimit() time.Duration {
	if e.provisioned {
		return max(keepInitTimeout, e.fn.Timeout)
	}
	return e.es.cfg.InitTimeout
}

// rest is how long an environment may be idle before something is done about
// it: one that is kept ready is replaced when its credentials become old.
func (e *environment) rest() time.Duration {
	switch {
	case !e.provisioned:
		return e.es.cfg.Idle
	case e.expires.IsZero():
		return 1<<63 - 1
	}
	return max(rotateLeast, time.Until(e.expires)-e.fn.Timeout-credentialMargin-rotateLead)
}

// initializationType is AWS_LAMBDA_INITIALIZATION_TYPE.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func (e *environment) initializationType() string {
	if e.provisioned {
		return "provisioned-concurrency"
	}
	return "on-demand"
}
