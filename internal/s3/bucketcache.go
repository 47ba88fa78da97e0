package s3

import "sync"

// cachedBucketBytes bounds the cache, in bytes of the buckets' documents.
const cachedBucketBytes = 4 << 20

// bucketCache keeps decoded buckets: every request needs its bucket several
// times, for the decision and for the work. Only the Service writes buckets,
// and it drops one before it answers the write, so nobody who was told of a
// change is served what was before it. Writes of objects check the bucket's
// revision when they commit, so they cannot follow a state that has passed.
//
// A reader takes a ticket before it reads the store; what it read is kept only
// if nothing was dropped since. What is kept is shared and never changed.
type bucketCache struct {
	mu     sync.RWMutex
	ticket uint64
	byName map[string]*bucket
	bytes  int
}

// get returns a bucket, or nil and a ticket for put.
func (c *bucketCache) get(name string) (*bucket, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byName[name], c.ticket
}

func (c *bucketCache) put(b *bucket, ticket uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticket != ticket || b.size > cachedBucketBytes {
		return
	}
	c.remove(b.Name)
	for name := range c.byName { // any one
		if c.bytes+b.size <= cachedBucketBytes {
			break
		}
		c.remove(name)
	}
	if c.byName == nil {
		c.byName = make(map[string]*bucket)
	}
	c.byName[b.Name] = b
	c.bytes += b.size
}

// drop forgets a bucket that was, or may have been, written.
func (c *bucketCache) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ticket++
	c.remove(name)
}

func (c *bucketCache) remove(name string) {
	if b := c.byName[name]; b != nil {
		c.bytes -= b.size
		delete(c.byName, name)
	}
}
