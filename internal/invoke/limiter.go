package invoke

import (
	"sync"

	"davy/api/lambdaapi"
	"davy/internal/execenv"
)

// limiter counts what runs, per function and per account and region, and
// refuses what would exceed a limit.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
type limiter struct {
	mu        sync.Mutex
	accounts  map[scope]*usage
	functions map[string]int    // running on demand, by unqualified ARN
	ready     map[[2]string]int // running in what is kept ready, by ARN and version

	// freed receives after a place was given back that somebody waits for.
	freed        chan struct{}
	waitFunction map[string]bool
	waitScope    map[scope]bool
}

// scope is what a concurrency limit is for.
type scope struct{ account, region string }

type usage struct {
	total      int // running
	unreserved int // of them, in what no function has set aside
}

// place is the right to run a function once, until it is released.
type place struct {
	scope    scope
	function string
	version  string
	kind     placeKind
}

// placeKind is whose concurrency a place is of.
type placeKind int

const (
	placeUnreserved  placeKind = iota // everybody's
	placeReserved                     // the function's, for any version
	placeProvisioned                  // the version's
)

func newLimiter() *limiter {
	return &limiter{
		accounts: map[scope]*usage{}, functions: map[string]int{}, ready: map[[2]string]int{},
		freed: make(chan struct{}, 1), waitFunction: map[string]bool{}, waitScope: map[scope]bool{},
	}
}

// acquire takes a place; why is not empty when there is none. A version's
// provisioned concurrency comes first. What the function has reserved beyond
// that of all its versions comes next, and without a reservation what the
// account has left.
// https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
func (l *limiter) acquire(fn *execenv.Function, set Settings) (_ place, why lambdaapi.ThrottleReason) {
	p := place{scope: scope{fn.Account, fn.Region}, function: fn.ARN, version: fn.Version}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.accounts[p.scope]
	if u == nil {
		u = new(usage)
		l.accounts[p.scope] = u
	}
	switch {
	case set.Provisioned > 0 && l.ready[p.pair()] < set.Provisioned:
		p.kind = placeProvisioned
	case set.Reserved >= 0:
		p.kind = placeReserved
		if l.functions[p.function] >= set.Reserved-set.AllReady {
			why = lambdaapi.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded
		}
	case u.unreserved >= set.Unreserved:
		why = lambdaapi.ThrottleReasonConcurrentInvocationLimitExceeded
	}
	if why == "" && u.total >= set.Concurrency {
		why = lambdaapi.ThrottleReasonConcurrentInvocationLimitExceeded
	}
	if why != "" {
		l.forget(p.scope, u)
		return p, why
	}
	u.total++
	switch p.kind {
	case placeProvisioned:
		l.ready[p.pair()]++
		return p, ""
	case placeUnreserved:
		u.unreserved++
	}
	l.functions[p.function]++
	return p, ""
}

func (p place) pair() [2]string { return [2]string{p.function, p.version} }

// release gives a place back; exactly once for each that was taken.
func (l *limiter) release(p place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.accounts[p.scope]
	u.total--
	if p.kind == placeUnreserved {
		u.unreserved--
	}
	l.forget(p.scope, u)
	if p.kind == placeProvisioned {
		if l.ready[p.pair()]--; l.ready[p.pair()] == 0 {
			delete(l.ready, p.pair())
		}
	} else if l.functions[p.function]--; l.functions[p.function] == 0 {
		delete(l.functions, p.function)
	}
	if l.waitFunction[p.function] || l.waitScope[p.scope] {
		delete(l.waitFunction, p.function)
		delete(l.waitScope, p.scope)
		select {
		case l.freed <- struct{}{}:
		default:
		}
	}
}

// forget drops the count of an account that runs nothing.
func (l *limiter) forget(s scope, u *usage) {
	if u.total == 0 {
		delete(l.accounts, s)
	}
}

// acquireOrWait takes a place; when there is none, a signal on freed follows
// as soon as one may be had.
func (l *limiter) acquireOrWait(fn *execenv.Function, set Settings) (place, bool) {
	p, why := l.acquire(fn, set)
	if why == "" {
		return p, true
	}
	l.mu.Lock()
	l.waitFunction[fn.ARN] = true
	if why != lambdaapi.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded {
		l.waitScope[scope{fn.Account, fn.Region}] = true
	}
	l.mu.Unlock()
	// One may have been given back before the wish was known.
	p, why = l.acquire(fn, set)
	return p, why == ""
}
