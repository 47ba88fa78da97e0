package execenv

import (
	"context"
	"slices"
	"time"
)

// linger lets a short invocation wait for an environment that is about to be
// free. While each processor has an invocation of the same function, waking
// another environment brings nothing forward: its process takes turns with the
// others, finds its caches cold and goes back to sleep. One that has just
// answered takes the next event while it is still awake, for two thirds of the
// processor time, and a burst of short calls starts no environments that
// nobody needs a moment later.
//
// Nobody waits longer than a few of the function's invocations take, or than
// maxLinger: then it gets an environment of its own, as ever.
type linger struct {
	best    time.Duration // about what the function takes at its quickest; 0: unknown
	skip    int           // so many invocations do not try: it did not help
	waiting []*waiter
}

const (
	maxLinger  = 2 * time.Millisecond
	lingerFor  = 8 // times the best duration
	lingerSkip = 64
)

// took notes the duration of an invocation.
func (l *linger) took(d time.Duration) {
	if l.best == 0 || d < l.best {
		l.best = max(d, 1)
		return
	}
	l.best += (d - l.best) / 64
}

// bound is how long an invocation waits for another to end when so many run
// on so many processors; 0: not at all.
func (l *linger) bound(running, cpus int) time.Duration {
	if l.best == 0 || running < cpus || lingerFor*l.best > maxLinger {
		return 0
	}
	if l.skip > 0 {
		l.skip--
		return 0
	}
	return lingerFor * l.best
}

// give hands an environment to who lingers longest: there is somebody.
func (l *linger) give(e *environment) {
	w := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	w.serve(e, nil)
}

// lingerIn waits for an environment of fl that becomes free. It returns nil
// when none did in time, and reports ctx's end by that too. es.mu is held, and
// let go of meanwhile.
func (es *Environments) lingerIn(ctx context.Context, fl *fleet, bound time.Duration) *environment {
	w := &waiter{served: make(chan struct{})}
	fl.linger.waiting = append(fl.linger.waiting, w)
	es.mu.Unlock()
	timer := time.NewTimer(bound)
	select {
	case <-w.served:
	case <-timer.C:
	case <-ctx.Done():
	}
	timer.Stop()
	es.mu.Lock()
	if i := slices.Index(fl.linger.waiting, w); i >= 0 {
		fl.linger.waiting = slices.Delete(fl.linger.waiting, i, i+1)
		fl.linger.skip = lingerSkip
	}
	return w.env
}
