package execenv

import (
	"cmp"
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"
)

// How a pool adapts.
const (
	burst       = 5 * time.Second  // cold starts within it come faster than runtimes boot
	shrinkEvery = 30 * time.Second // a quarter of what is not needed any more goes
	expectFor   = time.Hour        // a function that was never invoked is expected for so long
	rememberFor = 24 * time.Hour   // since the last cold start
	maxStock    = 64               // spares of one kind
	calmWait    = 20 * time.Millisecond
	retryAfter  = 10 * time.Second // a boot that failed
	bootWait    = 2 * time.Minute  // with what a busy machine leaves over
)

// Bytes of a spare's control group, until one was measured, and of the server
// and the kernel beside it.
const (
	guessPlain = 16 << 20
	guessSDK   = 48 << 20
	overhead   = 1 << 20
)

// Processor weights of sandboxes: a spare that boots yields to functions.
const (
	weightSpare    = 20
	weightFunction = 100
)

// kind is what the processes of a pool differ in: all that a runtime must know
// when it starts. V8 reads its heap limits only then; a /tmp on disk keeps its
// size.
type kind struct {
	runtime  string
	memoryMB int
	tmpMB    int  // of /tmp, which has its size for good; 0: the usual
	sdk      bool // the AWS SDK is imported
	tls      bool // the module tls is loaded
}

// pool holds booted runtimes without a function. A cold start takes one, which
// is then that function's for good. Safe for concurrent use; a nil pool is
// always empty.
//
// Each kind that functions need has one spare at least, and as many as cold
// starts came within a burst, as far as the budget goes: who was needed last is
// served first.
type pool struct {
	es     *Environments
	budget int64         // bytes
	wake   chan struct{} // a signal when there may be something to boot
	cpus   int

	mu       sync.Mutex
	stocks   map[kind]*stock
	booting  int           // spares, of all kinds
	starting int           // environments in their init phase, which use a processor
	calm     chan struct{} // closed and replaced when fewer environments start
	closed   bool
}

// stock is the spares of one kind.
type stock struct {
	ready []*spare
	boots []*boot // the first began first
	want  int
	cost  int64 // bytes of one

	takes []time.Time // within the last burst
	most  int         // want that bursts gave since the last shrink
	last  time.Time   // demand
	until time.Time   // forgotten then
	retry time.Time   // no boot before
}

// spare is a booted runtime in the pool.
type spare struct {
	*process
	kind  kind
	taken chan struct{} // closed when it leaves the pool
}

func newPool(es *Environments, budget int64) *pool {
	if budget <= 0 {
		return nil
	}
	return &pool{es: es, budget: budget, cpus: runtime.NumCPU(), wake: make(chan struct{}, 1), calm: make(chan struct{}), stocks: map[kind]*stock{}}
}

// expect makes the pool hold a spare for cold starts to come.
func (p *pool) expect(k kind) {
	if p == nil {
		return
	}
	p.mu.Lock()
	now := time.Now()
	s := p.stock(k)
	s.want = max(s.want, 1)
	s.last = now
	s.until = later(s.until, now.Add(expectFor))
	p.mu.Unlock()
	signal(p.wake)
}

// stock returns the stock of a kind. p.mu is held.
func (p *pool) stock(k kind) *stock {
	s := p.stocks[k]
	if s == nil {
		s = &stock{cost: guessPlain + overhead}
		if k.sdk {
			s.cost = guessSDK + overhead
		}
		p.stocks[k] = s
	}
	return s
}

// take returns a spare, or nil. When none is ready and one boots that nobody
// waits for, it waits for that: it is further than one that could be booted
// now; until ctx ends. A cold start that may still be spared counts as demand
// only when it finds one.
func (p *pool) take(ctx context.Context, k kind, last bool) *spare {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	s := p.stock(k)
	sp := p.pop(s)
	var b *boot
	if sp == nil {
		if i := slices.IndexFunc(s.boots, func(b *boot) bool { return !b.waits }); i >= 0 && !p.closed {
			b = s.boots[i]
			b.waits = true
		}
	}
	if sp != nil || b != nil || last {
		p.need(s)
	}
	if b == nil {
		p.mu.Unlock()
		return sp
	}
	p.pause() // what is waited for counts instead
	p.mu.Unlock()
	b.want()
	select {
	case <-b.done:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting++
	select {
	case <-b.done: // ctx may have ended at the same moment
	default:
		b.waits = false
	}
	return b.spare
}

// put gives a spare back that was taken and not used.
func (p *pool) put(sp *spare) {
	sp = &spare{process: sp.process, kind: sp.kind, taken: make(chan struct{})}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		sp.end()
		return
	}
	s := p.stock(sp.kind)
	s.ready = append(s.ready, sp)
	p.mu.Unlock()
	p.es.wg.Go(func() { p.watch(sp) })
}

// need notes a cold start. p.mu is held.
func (p *pool) need(s *stock) {
	now := time.Now()
	s.takes = slices.DeleteFunc(s.takes, func(t time.Time) bool { return now.Sub(t) > burst })
	if len(s.takes) < maxStock {
		s.takes = append(s.takes, now)
	}
	s.most = max(s.most, min(len(s.takes)+1, maxStock))
	s.want = max(s.want, s.most)
	s.last, s.until = now, now.Add(rememberFor)
	signal(p.wake)
}

// pop takes the spare that booted last. p.mu is held.
func (p *pool) pop(s *stock) *spare {
	for n := len(s.ready); n > 0 && !p.closed; n = len(s.ready) {
		sp := s.ready[n-1]
		s.ready = s.ready[:n-1]
		close(sp.taken)
		if !finished(sp.sb) {
			return sp
		}
		s.retry = time.Now().Add(retryAfter) // as when watch finds it
		p.es.wg.Go(sp.end)
	}
	return nil
}

// relieve ends a spare, when there is one, because something else needs its
// place, and waits until it is gone.
func (p *pool) relieve() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	var victim *stock
	for _, s := range p.stocks {
		if len(s.ready) > 0 && (victim == nil || s.last.Before(victim.last)) {
			victim = s
		}
	}
	var sp *spare
	if victim != nil {
		victim.want = max(1, victim.want/2)
		victim.retry = time.Now().Add(retryAfter)
		sp = p.pop(victim)
	}
	p.mu.Unlock()
	if sp == nil {
		return false
	}
	sp.end()
	return true
}

// began and settled tell of environments in their init phase: spares make room
// for them.
func (p *pool) began() {
	if p != nil {
		p.mu.Lock()
		p.starting++
		p.mu.Unlock()
	}
}

func (p *pool) settled() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.pause()
	p.mu.Unlock()
}

// pause notes that an environment needs no processor for its start any more.
// p.mu is held.
func (p *pool) pause() {
	p.starting--
	close(p.calm)
	p.calm = make(chan struct{})
	signal(p.wake)
}

// run fills and empties the pool until ctx ends, then ends what is in it.
func (p *pool) run(ctx context.Context) {
	tick := time.NewTicker(shrinkEvery)
	defer tick.Stop()
	defer p.drain()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.shrink(now)
		case <-p.wake:
		}
		for ctx.Err() == nil && p.awaitRoom(ctx) {
			surplus, k, b := p.plan(ctx, time.Now())
			for _, sp := range surplus {
				sp.end()
			}
			if b == nil {
				break
			}
			p.es.wg.Go(func() {
				if err := p.fill(ctx, k, b); err != nil && ctx.Err() == nil {
					p.es.log.Warn("no runtime for the pool", "runtime", k.runtime, "memory", k.memoryMB, "sdk", k.sdk, "tls", k.tls, "error", err)
				}
				signal(p.wake)
			})
		}
	}
}

// awaitRoom reports whether another spare may boot: as many as there are
// processors, without those of environments that start, which keep two busy:
// the runtime has one, Davy's processes the other. The first waits for one,
// but not long: cold starts that never end must not keep the pool empty.
func (p *pool) awaitRoom(ctx context.Context) bool {
	limit := time.NewTimer(calmWait)
	defer limit.Stop()
	for {
		p.mu.Lock()
		room, first, calm := p.cpus-2*p.starting-p.booting, p.booting == 0, p.calm
		p.mu.Unlock()
		if room > 0 || !first {
			return room > 0
		}
		select {
		case <-calm:
		case <-limit.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// plan shares the budget out. It takes out what is too much and names the kind
// that a spare is booted of next, if one is missing.
func (p *pool) plan(ctx context.Context, now time.Time) (surplus []*spare, next kind, missing *boot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kinds := slices.SortedFunc(maps.Keys(p.stocks), func(a, b kind) int {
		return cmp.Or(p.stocks[b].last.Compare(p.stocks[a].last), cmp.Compare(a.runtime, b.runtime),
			cmp.Compare(a.memoryMB, b.memoryMB))
	})
	left := p.budget
	target := map[kind]int{}
	for _, k := range kinds { // one for each first
		if s := p.stocks[k]; s.want > 0 && s.cost <= left {
			target[k] = 1
			left -= s.cost
		}
	}
	for _, k := range kinds {
		if s := p.stocks[k]; target[k] > 0 {
			more := min(s.want-1, int(left/s.cost))
			target[k] += more
			left -= int64(more) * s.cost
		}
	}
	for _, k := range kinds {
		s := p.stocks[k]
		for len(s.ready) > 0 && s.size() > target[k] {
			sp := s.ready[0]
			s.ready = s.ready[1:]
			close(sp.taken)
			surplus = append(surplus, sp)
		}
		if missing == nil && s.size() < target[k] && !now.Before(s.retry) {
			missing = &boot{done: make(chan struct{})}
			missing.wanted, missing.want = context.WithCancel(ctx)
			s.boots = append(s.boots, missing)
			p.booting++
			next = k
		}
	}
	return surplus, next, missing
}

// size is how many spares there are or will be for who comes next.
func (s *stock) size() int {
	n := len(s.ready)
	for _, b := range s.boots {
		if !b.waits {
			n++
		}
	}
	return n
}

// shrink lets go of what cold starts have not needed lately.
func (p *pool) shrink(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, s := range p.stocks {
		s.want = max(1, s.most, s.want-(s.want+3)/4)
		s.most = 0
		if now.After(s.until) {
			s.want = 0
			if len(s.ready)+len(s.boots) == 0 {
				delete(p.stocks, k)
			}
		}
	}
}

// watch takes a spare out that dies.
func (p *pool) watch(sp *spare) {
	select {
	case <-sp.taken:
		return
	case <-sp.sb.Done():
	}
	p.mu.Lock()
	s := p.stock(sp.kind)
	i := slices.Index(s.ready, sp)
	if i >= 0 {
		s.ready = slices.Delete(s.ready, i, i+1)
		s.retry = time.Now().Add(retryAfter) // it may die of the machine's state
		close(sp.taken)
	}
	p.mu.Unlock()
	if i >= 0 {
		p.es.log.Warn("runtime of the pool ended", "env", sp.sb.ID(), "exit", sp.sb.Exit())
		sp.end()
	}
}

// drain ends all spares and lets none in.
func (p *pool) drain() {
	p.mu.Lock()
	p.closed = true
	var all []*spare
	for _, s := range p.stocks {
		for _, sp := range s.ready {
			close(sp.taken)
		}
		all = append(all, s.ready...)
		s.ready = nil
	}
	p.mu.Unlock()
	for _, sp := range all {
		sp.sb.Kill()
	}
	for _, sp := range all {
		sp.end()
	}
}

// size tells how many spares wait, how many boot, and the bytes that those
// hold that wait.
func (p *pool) size() (spares, booting int, bytes int64) {
	if p == nil {
		return 0, 0, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stocks {
		spares += len(s.ready)
		bytes += int64(len(s.ready)) * s.cost
	}
	return spares, p.booting, bytes
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
