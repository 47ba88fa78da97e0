package s3

import (
	"context"
	"sync"

	"davy/internal/blob"
)

// keyLocks makes the writers of one key take turns inside this process. It is
// not what keeps the data right (the revisions in every batch are): it keeps
// writers from retrying against each other, and sequence numbers in commit
// order.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	turn  chan struct{}
	users int
}

// lock waits for the key's turn. The caller must call unlock if err is nil.
func (l *keyLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*keyLock)
	}
	k := l.held[key]
	if k == nil {
		k = &keyLock{turn: make(chan struct{}, 1)}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, key)
		}
	}
	select {
	case k.turn <- struct{}{}:
		return func() { <-k.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// pins counts the readers of manifests: a manifest's blobs are opened one
// after the other, so they must outlive the version while it is being read.
type pins struct {
	mu      sync.Mutex
	readers map[string]int
	orphans map[string]extent // lost its last owner while pinned
}

func (p *pins) pin(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers == nil {
		p.readers = make(map[string]int)
	}
	p.readers[id]++
}

// unpin returns the extent to look at again if its last owner left meanwhile.
func (p *pins) unpin(id string) (orphan extent, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers[id]--; p.readers[id] > 0 {
		return extent{}, false
	}
	delete(p.readers, id)
	orphan, ok = p.orphans[id]
	delete(p.orphans, id)
	return orphan, ok
}

// retire tells whether nobody reads e; otherwise the last unpin returns it.
func (p *pins) retire(e extent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers[e.ID] == 0 {
		return true
	}
	if p.orphans == nil {
		p.orphans = make(map[string]extent)
	}
	p.orphans[e.ID] = e
	return false
}

// pending holds the blobs whose metadata is being committed by this process:
// the collector leaves them alone whatever their age.
type pending struct {
	mu  sync.Mutex
	ids map[blob.ID]struct{}
}

func (p *pending) add(id blob.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == nil {
		p.ids = make(map[blob.ID]struct{})
	}
	p.ids[id] = struct{}{}
}

func (p *pending) remove(id blob.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ids, id)
}

func (p *pending) has(id blob.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.ids[id]
	return ok
}
