package lambda

import (
	"strings"
	"sync"
	"sync/atomic"

	"davy/internal/execenv"
)

// cache keeps resolved functions, so that an invocation finds its function
// without I/O. It is bounded; entries are dropped when their document changes.
//
// A loader takes a ticket before it reads the store; what it read is kept only
// if nothing was dropped since, so an old state never outlives its successor.
type cache struct {
	mu       sync.RWMutex
	max      int
	ticket   uint64
	entries  map[key]*entry
	reserved map[[2]string]int // by account and region: the sum of reservations
}

// entry is one state of a function.
type entry struct {
	f    *function
	used atomic.Bool // since it was last considered for eviction

	mu       sync.RWMutex
	targets  map[string]*target // by qualifier
	policies map[string][]byte  // by qualifier
}

// target is what a qualifier leads to. Immutable.
type target struct {
	fn       *execenv.Function
	settings Settings
	other    *target // an alias' second version, nil: none
	weight   float64 // of the second version
}

// maxQualifiers bounds the targets that one entry keeps: versions can be many.
const maxQualifiers = 128

func newCache(size int) *cache {
	return &cache{max: size, entries: map[key]*entry{}, reserved: map[[2]string]int{}}
}

func (c *cache) get(k key) *entry {
	c.mu.RLock()
	e := c.entries[k]
	c.mu.RUnlock()
	if e != nil && !e.used.Load() {
		e.used.Store(true)
	}
	return e
}

// take returns a ticket for put.
func (c *cache) take() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.ticket
}

func (c *cache) put(k key, e *entry, ticket uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticket != ticket {
		return
	}
	if len(c.entries) >= c.max {
		c.evict()
	}
	c.entries[k] = e
}

// evict makes room: it drops the first entry it meets that was not used since
// the last round. The map's random order is the clock's hand.
func (c *cache) evict() {
	for round := range 2 {
		seen := 0
		for k, e := range c.entries {
			if !e.used.Swap(false) || round == 1 {
				delete(c.entries, k)
				return
			}
			if seen++; seen == 64 {
				break
			}
		}
	}
}

func (c *cache) drop(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ticket++
	delete(c.entries, k)
	delete(c.reserved, [2]string{k.account, k.region})
}

// invalidate drops what a document of the store tells of.
func (c *cache) invalidate(doc string) {
	if k, ok := keyOf(doc); ok {
		c.drop(k)
		return
	}
	if rest, ok := strings.CutPrefix(doc, concurrentRoot); ok {
		account, region, _ := strings.Cut(rest, "/")
		c.drop(key{account: account, region: region})
	}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ticket++
	clear(c.entries)
	clear(c.reserved)
}

func (c *cache) getReserved(account, region string) (int, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n, ok := c.reserved[[2]string{account, region}]
	return n, ok
}

func (c *cache) putReserved(account, region string, n int, ticket uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticket != ticket {
		return
	}
	if len(c.reserved) >= c.max {
		clear(c.reserved)
	}
	c.reserved[[2]string{account, region}] = n
}

func (e *entry) target(qualifier string) *target {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.targets[qualifier]
}

func (e *entry) putTarget(qualifier string, t *target) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.targets) >= maxQualifiers {
		clear(e.targets)
	}
	e.targets[qualifier] = t
}
