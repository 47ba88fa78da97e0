// Package state declares how Davy keeps what must not be lost: documents,
// index rows and queue messages, which can change together in one transaction.
//
// What is promised: when Commit returns nil, every part of the batch survives
// kill -9 and power loss; when it returns an error, no part of the batch is
// visible, now or after a restart (except ErrUnknown, when the engine itself
// failed during commit). A batch never half-applies.
//
// The engines live in sub-packages; statetest holds the suite that each must
// pass. Services use these interfaces and never see an engine.
package state

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"
)

// Errors of every engine. They come wrapped.
var (
	ErrNotFound  = errors.New("state: not found")
	ErrConflict  = errors.New("state: precondition failed")     // an IfRev, Check or Empty did not hold
	ErrReceipt   = errors.New("state: receipt no longer valid") // the delivery was settled or has been redelivered
	ErrCompacted = errors.New("state: revision compacted")      // Watch cannot resume from there: List again
	ErrFull      = errors.New("state: storage is full")         // nothing was written
	ErrUnknown   = errors.New("state: outcome unknown")         // the engine failed while committing
)

// Preconditions of a write on the present revision.
const (
	Absent int64 = 0  // must not exist
	Any    int64 = -1 // no condition
)

// Doc is a document: control-plane state with one global revision order.
type Doc struct {
	Key   string
	Rev   int64
	Value []byte // nil in Watch: deleted
}

// Row is an entry of an ordered index, for data whose writes must not wait for
// one another's revision (S3's objects). Keys are opaque bytes and order by
// memcmp inside their space.
type Row struct {
	Space string
	Key   string
	Rev   int64 // differs for every write of this key over all time
	Value []byte
}

// Op writes a document or a row. Value nil deletes; deleting what does not
// exist is no error under Any.
type Op struct {
	Space string // empty: a document; else the row's space
	Key   string
	Value []byte
	IfRev int64 // Absent, Any or a revision
}

// Check is a precondition on something that the batch does not write.
type Check struct {
	Space string // empty: a document
	Key   string
	Rev   int64 // Absent or a revision
}

// Msg is a message to be delivered at least once.
type Msg struct {
	Queue     string
	Body      []byte
	Attrs     map[string]string
	VisibleAt time.Time // zero: now
	ExpiresAt time.Time // zero: never; once past it and visible, the message is dropped unseen
}

// Delivery is a message handed to a consumer that must settle it in time.
type Delivery struct {
	Msg
	ID         int64
	Receipt    string
	Attempts   int // 1 at the first delivery
	EnqueuedAt time.Time
}

// Settle ends or postpones a delivery.
type Settle struct {
	Receipt   string
	Delete    bool      // done
	VisibleAt time.Time // when not Delete: deliver again from then on
	Body      []byte    // when not Delete: replaces the body if not nil
}

// Batch is one transaction: all of it or nothing. Every precondition is
// evaluated against the state before the batch; then Ops apply in order, so of
// two writes of one key the later one stays. At most MaxBatch entries in each
// list.
type Batch struct {
	Checks []Check
	Empty  []string // row spaces that must hold no row
	Ops    []Op
	Send   []Msg
	Settle []Settle
	// Frees says that the batch makes room, now or by what follows it, though
	// it writes something as well: it is stored on a full disk as long as an
	// engine can. One that only deletes and settles need not say so.
	Frees bool
}

// MakesRoom reports whether the batch leaves less stored than there was.
func (b *Batch) MakesRoom() bool {
	return b.Frees || len(b.Send) == 0 && !slices.ContainsFunc(b.Ops, func(op Op) bool { return op.Value != nil })
}

// MaxBatch limits the entries of each list of a Batch.
const MaxBatch = 1 << 15

// Store is the transactional store. Safe for concurrent use.
type Store interface {
	// Commit applies the batch and returns once it is durable. rev is the
	// revision given to every document of the batch. Errors: ErrConflict,
	// ErrReceipt, ErrFull, ErrUnknown. Batches of concurrent callers share
	// one sync (group commit) but never one fate.
	Commit(ctx context.Context, b Batch) (rev int64, err error)

	// Get returns a document or ErrNotFound.
	Get(ctx context.Context, key string) (Doc, error)
	// List returns up to n documents whose key has the prefix and is greater
	// than after, in key order.
	List(ctx context.Context, prefix, after string, n int) ([]Doc, error)
	// Watch yields the documents under prefix changed after revision from, in
	// revision order, and then waits for more until ctx ends. A key may be
	// coalesced to its latest change. The error is ErrCompacted or ctx's; from
	// 0 is never compacted, so a watcher that starts there misses nothing.
	Watch(ctx context.Context, prefix string, from int64) iter.Seq2[[]Doc, error]

	// GetRow returns a row or ErrNotFound.
	GetRow(ctx context.Context, space, key string) (Row, error)
	// Rows returns up to n rows of the space with the prefix whose key is
	// >= from, in key order. A caller skips ahead by raising from.
	Rows(ctx context.Context, space, prefix, from string, n int) ([]Row, error)

	Queue
}

// Queue is the consumer's side; Batch.Send and Batch.Settle are the writer's.
type Queue interface {
	// Receive claims up to n visible messages of the queue, the one visible for
	// longest first, and hides them for vis. It never waits for a message.
	Receive(ctx context.Context, queue string, n int, vis time.Duration) ([]Delivery, error)
	// Ready lists up to n queues whose names have the prefix and that hold a
	// visible message, the longest-waiting first, and the time at which the
	// next of the other queues will hold one (zero: none).
	Ready(ctx context.Context, prefix string, n int) (queues []string, next time.Time, err error)
	// Depth counts the messages of a queue.
	Depth(ctx context.Context, queue string) (visible, hidden int64, err error)
	// Wake returns a channel that receives after messages were sent or
	// settled back. It is a hint: it may coalesce, and a spurious one is
	// possible; it is never missed after a commit in this process. All callers
	// get the same channel, which holds one hint: have one consumer, and let it
	// tell the others.
	Wake() <-chan struct{}
}
