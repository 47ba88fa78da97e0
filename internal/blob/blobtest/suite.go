package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/internal/blob"
)

// Run checks that the stores which open returns keep the promises of package
// blob. Each call of open returns a new, empty store.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, r := range rules {
		t.Run(strings.ReplaceAll(r.says, " ", "_"), func(t *testing.T) {
			r.check(&tester{T: t, Store: open(t)})
		})
	}
}

// rule is one sentence about stores and the proof that it holds.
type rule struct {
	says  string
	check func(t *tester)
}

type tester struct {
	*testing.T
	blob.Store
}

func (t *tester) create() blob.Writer {
	t.Helper()
	w, err := t.Create(t.T.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (t *tester) put(data []byte) blob.ID {
	t.Helper()
	w := t.create()
	defer w.Abort()
	if n, err := w.Write(data); n != len(data) || err != nil {
		t.Fatal(n, err)
	}
	id, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (t *tester) get(id blob.ID) []byte {
	t.Helper()
	r, err := t.Open(t.T.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || r.Size() != int64(len(data)) {
		t.Fatal(r.Size(), len(data), err)
	}
	return data
}

func (t *tester) all(before time.Time) map[blob.ID]int64 {
	t.Helper()
	out := map[blob.ID]int64{}
	if err := t.Each(t.T.Context(), before, func(id blob.ID, size int64) error { out[id] = size; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func (t *tester) absent(id blob.ID) {
	t.Helper()
	if _, err := t.Open(t.T.Context(), id); !errors.Is(err, blob.ErrNotFound) {
		t.Fatalf("open %q: %v, want ErrNotFound", id, err)
	}
}

var soon = func() time.Time { return time.Now().Add(time.Minute) }

var rules = []rule{
	{"a committed blob can be read", func(t *tester) {
		data := make([]byte, 3<<20)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		for _, d := range [][]byte{{}, []byte("x"), data} {
			if got := t.get(t.put(d)); !bytes.Equal(got, d) {
				t.Fatalf("read %d bytes that differ from the %d written", len(got), len(d))
			}
		}
	}},
	{"a flush changes nothing and ends with the blob", func(t *tester) {
		w := t.create()
		for _, p := range []string{"", "one", "two"} {
			if _, err := io.WriteString(w, p); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		id, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		if got := t.get(id); string(got) != "onetwo" {
			t.Fatalf("%q", got)
		}
		if w.Flush() == nil {
			t.Error("a finished blob was flushed")
		}
	}},
	{"a blob can be written in pieces and read from any place", func(t *tester) {
		w := t.create()
		for _, p := range []string{"one", "", "two", "three"} {
			if _, err := io.WriteString(w, p); err != nil {
				t.Fatal(err)
			}
		}
		id, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		r, err := t.Open(t.T.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		buf := make([]byte, 3)
		if _, err := r.ReadAt(buf, 3); err != nil || string(buf) != "two" {
			t.Fatalf("%q, %v", buf, err)
		}
		if _, err := r.Seek(-5, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "three" {
			t.Fatalf("%q, %v", rest, err)
		}
	}},
	{"equal bytes are two blobs", func(t *tester) {
		a, b := t.put([]byte("x")), t.put([]byte("x"))
		if a == b {
			t.Fatal(a)
		}
		if err := t.Delete(t.T.Context(), a); err != nil {
			t.Fatal(err)
		}
		t.absent(a)
		t.get(b)
	}},
	{"an aborted blob leaves nothing", func(t *tester) {
		w := t.create()
		if _, err := io.WriteString(w, "x"); err != nil {
			t.Fatal(err)
		}
		if n := len(t.all(soon())); n != 0 {
			t.Fatalf("%d blobs before the commit", n)
		}
		w.Abort()
		w.Abort()
		if _, err := w.Commit(); err == nil {
			t.Fatal("committed after abort")
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Fatal("written after abort")
		}
		if n := len(t.all(soon())); n != 0 {
			t.Fatalf("%d blobs", n)
		}
	}},
	{"abort after commit does nothing", func(t *tester) {
		w := t.create()
		id, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		w.Abort()
		t.get(id)
		if _, err := w.Commit(); err == nil {
			t.Fatal("committed twice")
		}
	}},
	{"a reader outlives the deletion", func(t *tester) {
		id := t.put([]byte("x"))
		r, err := t.Open(t.T.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range 2 {
			if err := t.Delete(t.T.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		t.absent(id)
		if data, err := io.ReadAll(r); err != nil || string(data) != "x" {
			t.Fatalf("%q, %v", data, err)
		}
	}},
	{"what is no ID is not found", func(t *tester) {
		for _, id := range []blob.ID{"", ".", "..", "../x", "/etc/passwd", "x\x00", "00", blob.ID(strings.Repeat("0", 34)), blob.ID(strings.Repeat("A", 34))} {
			t.absent(id)
			if err := t.Delete(t.T.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"each names the blobs older than a time", func(t *tester) {
		a, b := t.put([]byte("1")), t.put([]byte("22"))
		got := t.all(soon())
		if len(got) != 2 || got[a] != 1 || got[b] != 2 {
			t.Fatal(got)
		}
		if got := t.all(time.Now().Add(-time.Hour)); len(got) != 0 {
			t.Fatal(got)
		}
		stop := errors.New("stop")
		n := 0
		if err := t.Each(t.T.Context(), soon(), func(blob.ID, int64) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
			t.Fatal(n, err)
		}
	}},
	{"many writers do not meet", func(t *tester) {
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				want := bytes.Repeat([]byte{byte(i)}, 1000*i)
				w, err := t.Create(t.T.Context())
				if err != nil {
					t.Error(err)
					return
				}
				defer w.Abort()
				if _, err := w.Write(want); err != nil {
					t.Error(err)
				}
				id, err := w.Commit()
				if err != nil {
					t.Error(err)
					return
				}
				r, err := t.Open(t.T.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
					t.Errorf("writer %d reads %d bytes, %v", i, len(got), err)
				}
			})
		}
		wg.Wait()
		if n := len(t.all(soon())); n != 32 {
			t.Fatalf("%d blobs", n)
		}
	}},
	{"a context that has ended is refused", func(t *tester) {
		ctx, cancel := context.WithCancel(t.T.Context())
		cancel()
		if _, err := t.Create(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if _, err := t.Open(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}},
}
