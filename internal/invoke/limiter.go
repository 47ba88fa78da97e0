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
	functions map[string]int // running, by unqualified ARN

	// freed receives after a place was given back that somebody waits for.
	freed        chan struct{}
	waitFunction map[string]bool
	waitScope    map[scope]bool
}

// scope is what a concurrency limit is for.
type scope struct{ account, region string }

type usage struct {
	total      int // running
	unreserved int // of them, without a reservation
}

// place is the right to run a function once, until it is released.
type place struct {
	scope    scope
	function string
	reserved bool
}

func newLimiter() *limiter {
	return &limiter{accounts: map[scope]*usage{}, functions: map[string]int{}, freed: make(chan struct{}, 1), waitFunction: map[string]bool{}, waitScope: map[scope]bool{}}
}

// acquire takes a place; why is not empty when there is none.
func (l *limiter) acquire(fn *execenv.Function, set Settings) (_ place, why lambdaapi.ThrottleReason) {
	p := place{scope: scope{fn.Account, fn.Region}, function: fn.ARN, reserved: set.Reserved >= 0}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.accounts[p.scope]
	if u == nil {
		u = new(usage)
		l.accounts[p.scope] = u
	}
	switch {
	case p.reserved && l.functions[p.function] >= set.Reserved:
		why = lambdaapi.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded
	case !p.reserved && u.unreserved >= set.Unreserved, u.total >= set.Concurrency:
		why = lambdaapi.ThrottleReasonConcurrentInvocationLimitExceeded
	}
	if why != "" {
		l.forget(p.scope, u)
		return p, why
	}
	u.total++
	if !p.reserved {
		u.unreserved++
	}
	l.functions[p.function]++
	return p, ""
}

// release gives a place back; exactly once for each that was taken.
func (l *limiter) release(p place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.accounts[p.scope]
	u.total--
	if !p.reserved {
		u.unreserved--
	}
	l.forget(p.scope, u)
	if l.functions[p.function]--; l.functions[p.function] == 0 {
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
	if why == lambdaapi.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded {
		l.waitFunction[fn.ARN] = true
	} else {
		l.waitScope[scope{fn.Account, fn.Region}] = true
	}
	l.mu.Unlock()
	// One may have been given back before the wish was known.
	p, why = l.acquire(fn, set)
	return p, why == ""
}
