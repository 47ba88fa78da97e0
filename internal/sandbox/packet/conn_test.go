package packet

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"davy/internal/sandbox/wire"
)

func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	x, y, err := Pair("test")
	if err != nil {
		t.Fatal(err)
	}
	if a, err = NewConn(x); err != nil {
		t.Fatal(err)
	}
	if b, err = NewConn(y); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestConn_KeepsMessagesAndDescriptorsTogether(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	big := make([]byte, wire.MaxMessage)
	go func() {
		_ = a.Send([]byte("one"))
		_ = a.Send([]byte("two"), int(w.Fd()))
		_ = a.Send(big)
		w.Close()
		_ = a.CloseWrite()
	}()
	for _, want := range []struct{ n, files int }{{3, 0}, {3, 1}, {len(big), 0}} {
		m, files, err := b.Receive()
		if err != nil || len(m) != want.n || len(files) != want.files {
			t.Fatalf("%d bytes, %d files, %v; want %+v", len(m), len(files), err, want)
		}
		for _, f := range files {
			if _, err := f.WriteString("through"); err != nil {
				t.Error(err)
			}
			f.Close()
		}
	}
	if _, _, err := b.Receive(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "through" {
		t.Errorf("the descriptor: %q, %v", got, err)
	}
}

// A packet that is too long is an error, and the next one is whole.
func TestConn_TooLongAMessage(t *testing.T) {
	a, b := pair(t)
	go func() {
		_ = a.Send(make([]byte, wire.MaxMessage+100))
		_ = a.Send([]byte("next"))
	}()
	if _, _, err := b.Receive(); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
	if m, _, err := b.Receive(); err != nil || string(m) != "next" {
		t.Errorf("next: %q, %v", m, err)
	}
	if err := a.Send(nil, make([]int, wire.MaxFiles+1)...); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("too many descriptors: %v", err)
	}
}

func TestNewConn_RefusesOtherFiles(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := NewConn(r); err == nil {
		t.Error("a pipe is taken for a socket")
	}
}

// Who tells something to a peer that does not listen is not held up for good.
func TestConn_LimitSend(t *testing.T) {
	a, _ := pair(t)
	a.LimitSend(10 * time.Millisecond)
	var err error
	for range 1000 { // far more than the socket holds
		if err = a.Send(make([]byte, wire.MaxMessage)); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
