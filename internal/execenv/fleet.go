package execenv

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync/atomic"
	"time"

	"davy/internal/runtimes"
)

// credentialMargin is how long before their end an environment's credentials
// are not used for a new invocation: its timeout and this.
const credentialMargin = time.Minute

// fleet is the environments of one revision of a function version, and the
// invocations that wait for one. Environments.mu guards it.
//
// There is always an environment starting for each waiting invocation; who
// waits longest gets the first that becomes free, whatever it was begun for.
type fleet struct {
	es       *Environments
	key      string // in Environments.fleets
	revision string
	size     int  // environments, whatever they do
	retired  bool // environments end when they become free

	idle     []*environment // the last was used last
	waiting  []*waiter
	starting int // for an invocation
	linger   linger
	need     atomic.Int64 // bytes of memory that one was seen to have at most

	keep kept // provisioned concurrency
}

// waiter is an invocation without an environment.
type waiter struct {
	served chan struct{} // closed when env or err is set
	env    *environment
	err    error
}

func (w *waiter) serve(e *environment, err error) {
	w.env, w.err = e, err
	close(w.served)
}

// pop takes the environment that was used last, one that is kept ready before
// others.
func (fl *fleet) pop(now time.Time) *environment {
	for _, stack := range []*[]*environment{&fl.keep.idle, &fl.idle} {
		for n := len(*stack); n > 0; n = len(*stack) {
			e := (*stack)[n-1]
			*stack = (*stack)[:n-1]
			if e.fresh(now) {
				e.used = true
				return e
			}
			fl.forgo(e)
			close(e.quit)
		}
	}
	return nil
}

// stack is where an environment waits for invocations.
func (fl *fleet) stack(e *environment) *[]*environment {
	if e.provisioned {
		return &fl.keep.idle
	}
	return &fl.idle
}

// fresh says whether an environment's credentials outlive an invocation. SDKs
// read them once, so they cannot be replaced: the environment is.
func (e *environment) fresh(now time.Time) bool {
	return e.expires.IsZero() || now.Add(e.fn.Timeout+credentialMargin).Before(e.expires)
}

func (fl *fleet) wait() *waiter {
	w := &waiter{served: make(chan struct{})}
	fl.waiting = append(fl.waiting, w)
	return w
}

// abandon withdraws a waiter. It reports false when it was served already.
func (fl *fleet) abandon(w *waiter) bool {
	i := slices.Index(fl.waiting, w)
	if i < 0 {
		return false
	}
	fl.waiting = slices.Delete(fl.waiting, i, i+1)
	return true
}

// start begins a new environment for an invocation of the function.
func (fl *fleet) start(f Function) {
	fl.starting++
	fl.begin(fl.es.newEnvironment(fl, f))
}

func (fl *fleet) begin(e *environment) {
	fl.es.all[e] = struct{}{}
	fl.size++
	fl.es.wg.Go(e.run)
}

// started is called by an environment whose init phase is over.
func (fl *fleet) started(e *environment) {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	if e.provisioned {
		fl.becameReady(e)
	} else {
		fl.starting--
	}
	fl.offer(e)
}

// needed is called by an environment before it boots: the invocation that it
// was begun for may have got another one meanwhile, or it is not to be kept
// ready any more.
func (fl *fleet) needed(e *environment) bool {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	if e.provisioned {
		e.begun = true
		return e.kept && !fl.retired && !fl.es.closed()
	}
	if len(fl.waiting) >= fl.starting {
		return true
	}
	fl.starting--
	fl.es.bursts.refund(e.fn.ARN, time.Now())
	return false
}

// startFailed is called by an environment that could not be made.
func (fl *fleet) startFailed(e *environment, err error) {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	if fl.es.closed() {
		err = ErrClosed
	}
	if e.provisioned {
		fl.keepFailed(e, provisionFailure(err))
		return
	}
	fl.starting--
	if len(fl.waiting) > fl.starting {
		w := fl.waiting[0]
		fl.waiting = fl.waiting[1:]
		w.serve(nil, err)
	}
}

// busy is how many environments run an invocation.
func (fl *fleet) busy() int {
	return fl.size - len(fl.idle) - len(fl.keep.idle) - fl.starting - (fl.keep.have - fl.keep.ready)
}

// maxServed is how many invocations an environment serves. The C library keeps
// every value that a variable of a process's environment ever had, and each
// invocation sets its trace: 240 bytes. AWS ends environments after some hours.
const maxServed = 1 << 16

// free is called by an environment that has answered. It reports false when
// the environment is to end.
func (fl *fleet) free(e *environment, took time.Duration) bool {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	fl.linger.took(took)
	return fl.offer(e)
}

// offer gives an environment to who waits longest, or keeps it.
func (fl *fleet) offer(e *environment) bool {
	switch {
	case len(fl.waiting) > 0:
		w := fl.waiting[0]
		fl.waiting = fl.waiting[1:]
		e.used = true
		w.serve(e, nil)
		return true
	case fl.retired || fl.es.closed() || fl.surplus(e) || e.served >= maxServed:
		close(e.quit)
		return false
	case len(fl.linger.waiting) > 0 && e.fresh(time.Now()):
		e.used = true
		fl.linger.give(e)
		return true
	default:
		stack := fl.stack(e)
		*stack = append(*stack, e)
		return true
	}
}

// reset is called by an environment whose runtime has failed: it is used after
// all that need no init phase. It reports false when the environment is to end.
func (fl *fleet) reset(e *environment) bool {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	if len(fl.waiting) > 0 || fl.retired || fl.es.closed() {
		return fl.offer(e)
	}
	fl.idle = slices.Insert(fl.idle, 0, e)
	return true
}

// withdraw takes an idle environment out, by its own wish. It reports false
// when an invocation took it first.
func (fl *fleet) withdraw(e *environment) bool {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	stack := fl.stack(e)
	i := slices.Index(*stack, e)
	if i < 0 {
		return false
	}
	*stack = slices.Delete(*stack, i, i+1)
	return true
}

// ended is called by an environment as its last act.
func (fl *fleet) ended(e *environment) {
	fl.es.mu.Lock()
	defer fl.es.mu.Unlock()
	delete(fl.es.all, e)
	fl.size--
	if e.provisioned {
		fl.keptEnded(e)
	}
	fl.tidy()
}

// tidy forgets a fleet of nothing.
func (fl *fleet) tidy() {
	if fl.size == 0 && fl.keep.want == 0 && len(fl.waiting) == 0 && fl.es.fleets[fl.key] == fl {
		delete(fl.es.fleets, fl.key)
	}
}

// retire ends idle environments now and the others when they become free.
func (fl *fleet) retire() {
	fl.retired = true
	fl.keep.stop()
	for _, e := range slices.Concat(fl.idle, fl.keep.idle) {
		close(e.quit)
	}
	fl.idle, fl.keep.idle = nil, nil
}

// close retires the fleet and fails who waits.
func (fl *fleet) close() {
	fl.retire()
	for _, w := range fl.waiting {
		w.serve(nil, ErrClosed)
	}
	fl.waiting = nil
}

// runtimeLabel is what INIT_START says of a function's runtime.
func runtimeLabel(l runtimes.Launch, region string) (family, version, regionName, hash string) {
	sum := sha256.Sum256([]byte(l.Runtime.Family + ":" + l.Version))
	return l.Runtime.Family, l.Version, region, hex.EncodeToString(sum[:])
}
