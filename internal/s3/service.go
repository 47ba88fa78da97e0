package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"davy/api/s3api"
	"davy/internal/blob"
	"davy/internal/state"
)

// Service implements s3api.API. Safe for concurrent use.
type Service struct {
	s3api.Unimplemented

	store    state.Store
	blobs    blob.Store
	events   EventSink
	dests    Destinations
	deletes  DeleteAuthorizer
	lists    ListAuthorizer
	policies PolicyChecker
	log      *slog.Logger
	now      func() time.Time
	age      time.Duration
	every    time.Duration

	clock   atomic.Uint64 // the last sequence number handed out
	buckets bucketCache
	keys    keyLocks
	pins    pins
	pending pending
	dead    chan extent // bytes that lost an owner, for Run to look at
}

var _ s3api.API = (*Service)(nil)

// EventSink turns an event into the message that will deliver it. S3 sends
// the message in the transaction that makes the object visible.
type EventSink interface {
	// Message returns the message for the function named by its ARN (which
	// may carry a qualifier). ok is false when the function no longer exists
	// or no longer lets S3 call it: the event is dropped, as on AWS. An error
	// fails the write. It is called while the object's key is held, so it
	// must not wait for anything but the store.
	Message(ctx context.Context, target, bucketARN, account string, event []byte) (m state.Msg, ok bool, err error)
}

// Destinations checks a notification's target when it is configured.
type Destinations interface {
	// CheckFunction returns nil when s3.amazonaws.com may invoke the function
	// on behalf of the bucket and its owner's account; ErrDestination,
	// wrapped, when it may not or there is none.
	CheckFunction(ctx context.Context, functionARN, bucketARN, account string) error
}

// ErrDestination says that a notification's target can't be used.
var ErrDestination = errors.New("s3: destination cannot be used")

// Config is what New needs.
type Config struct {
	Store state.Store // required
	Blobs blob.Store  // required; for S3 alone: Run deletes blobs that no object names

	Events       EventSink    // nil: notifications can't be configured
	Destinations Destinations // nil: notifications can't be configured

	Policies PolicyChecker    // nil: bucket policies can't be put
	Deletes  DeleteAuthorizer // nil: who may call DeleteObjects may delete every key
	Lists    ListAuthorizer   // nil: who may read a key may learn that it does not exist

	Log *slog.Logger     // nil: discard
	Now func() time.Time // nil: the wall clock

	// OrphanAge is how old a blob without an owner must be before Run deletes
	// it; 0: 1 hour. It must exceed the longest time between a blob's commit
	// and the commit of its metadata.
	OrphanAge time.Duration
	// CollectEvery is the pause between searches for orphans; 0: 1 hour.
	CollectEvery time.Duration
}

// New returns the service. It starts nothing: see Run.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Blobs == nil {
		return nil, errors.New("s3: Store and Blobs are required")
	}
	s := &Service{
		store: cfg.Store, blobs: cfg.Blobs, events: cfg.Events, dests: cfg.Destinations, deletes: cfg.Deletes, lists: cfg.Lists, policies: cfg.Policies,
		log: cfg.Log, now: cfg.Now, age: cfg.OrphanAge, every: cfg.CollectEvery,
		dead: make(chan extent, 4096),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.age == 0 {
		s.age = time.Hour
	}
	if s.every == 0 {
		s.every = time.Hour
	}
	return s, nil
}

// tick returns a sequence number: nanoseconds since the epoch, but greater
// than every one before it in this process and than floor, which is the
// number stored with the key. It orders a key's versions, its Last-Modified
// times and the sequencers of its events.
func (s *Service) tick(floor uint64) uint64 {
	for {
		last := s.clock.Load()
		next := max(uint64(s.now().UnixNano()), last+1, floor+1)
		if s.clock.CompareAndSwap(last, next) {
			return next
		}
	}
}

// newID is a fresh random name.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
