// Package blob declares the store of immutable byte sequences: the bodies of
// objects and parts, and the code of functions.
//
// A blob becomes visible only when Commit returns, and is then durable:
// readers never see a partial one, even across a crash. A blob that no
// metadata names after a crash is garbage and is found by Each.
package blob

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors of every engine. They come wrapped.
var (
	ErrNotFound = errors.New("blob: not found")
	ErrFull     = errors.New("blob: storage is full")
)

// ID names a blob. It is assigned by the store, opaque, and safe in file names.
type ID string

// Store keeps blobs. Safe for concurrent use.
type Store interface {
	// Create starts a blob.
	Create(ctx context.Context) (Writer, error)
	// Open returns a reader, or ErrNotFound. A reader stays valid after
	// Delete until it is closed.
	Open(ctx context.Context, id ID) (Reader, error)
	// Delete removes a blob; one that does not exist is no error.
	Delete(ctx context.Context, id ID) error
	// Each calls fn for every blob committed before the given time, in no
	// particular order, until fn returns an error.
	Each(ctx context.Context, before time.Time, fn func(ID, int64) error) error
}

// Writer receives the bytes of one blob.
type Writer interface {
	io.Writer
	// Flush makes what was written durable, so that a Commit that follows has
	// less to wait for. It is no promise: an error of it is Commit's too.
	Flush() error
	// Commit makes the blob durable and visible.
	Commit() (ID, error)
	// Abort drops it. After Commit it does nothing, so it can be deferred.
	Abort()
}

// Reader reads a blob.
type Reader interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}
