// Package blobtest says what a blob.Store must do: a conformance suite that
// every engine passes, and Memory, a store for unit tests of other packages.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"davy/internal/blob"
)

// Memory is a blob.Store that keeps its blobs in memory.
type Memory struct {
	mu    sync.Mutex
	next  int
	blobs map[blob.ID]entry
	fail  error
}

type entry struct {
	data []byte
	at   time.Time
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{blobs: map[blob.ID]entry{}} }

// FailWrites makes every later Write and Commit return err (wrapped), until it
// is called with nil.
func (m *Memory) FailWrites(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Len counts the blobs.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.blobs)
}

// Create implements blob.Store.
func (m *Memory) Create(ctx context.Context) (blob.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &memoryWriter{store: m}, nil
}

// Open implements blob.Store.
func (m *Memory) Open(ctx context.Context, id blob.ID) (blob.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.blobs[id]
	if !ok {
		return nil, fmt.Errorf("open %q: %w", id, blob.ErrNotFound)
	}
	return memoryReader{bytes.NewReader(e.data)}, nil
}

// Delete implements blob.Store.
func (m *Memory) Delete(ctx context.Context, id blob.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, id)
	return ctx.Err()
}

// Each implements blob.Store.
func (m *Memory) Each(ctx context.Context, before time.Time, fn func(blob.ID, int64) error) error {
	m.mu.Lock()
	sizes := map[blob.ID]int64{}
	for id, e := range m.blobs {
		if e.at.Before(before) {
			sizes[id] = int64(len(e.data))
		}
	}
	m.mu.Unlock()
	for id, size := range sizes {
		if err := errors.Join(ctx.Err(), fn(id, size)); err != nil {
			return err
		}
	}
	return nil
}

type memoryWriter struct {
	store *Memory
	data  []byte
	done  bool
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	switch {
	case w.done:
		return 0, errors.New("write to a finished blob")
	case w.store.fail != nil:
		return 0, fmt.Errorf("write blob: %w", w.store.fail)
	}
	w.data = append(w.data, p...)
	return len(p), nil
}

func (w *memoryWriter) Flush() error {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.done {
		return errors.New("flush of a finished blob")
	}
	return w.store.fail
}

func (w *memoryWriter) Commit() (blob.ID, error) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	switch {
	case w.done:
		return "", errors.New("commit of a finished blob")
	case w.store.fail != nil:
		return "", fmt.Errorf("commit blob: %w", w.store.fail)
	}
	w.done = true
	w.store.next++
	id := blob.ID(fmt.Sprintf("%08x", w.store.next))
	w.store.blobs[id] = entry{w.data, time.Now()}
	return id, nil
}

func (w *memoryWriter) Abort() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.done = true
}

type memoryReader struct{ *bytes.Reader }

func (memoryReader) Close() error { return nil }

var _ blob.Store = (*Memory)(nil)
