package rawio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pipes are two ends that Go's poller knows, the writing one first.
func pipes(t *testing.T) map[string][2]interface {
	syscall.Conn
	io.Closer
	SetDeadline(time.Time) error
} {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	type end = interface {
		syscall.Conn
		io.Closer
		SetDeadline(time.Time) error
	}
	all := map[string][2]end{"pipe": {w, r}, "TCP": {out.(*net.TCPConn), in.(*net.TCPConn)}}
	t.Cleanup(func() {
		for _, p := range all {
			p[0].Close()
			p[1].Close()
		}
	})
	return all
}

func open(t *testing.T, c syscall.Conn) *Conn {
	t.Helper()
	conn, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// More than a buffer holds: both sides wait for each other again and again.
func TestConn_PassesEverythingOn(t *testing.T) {
	sent := make([]byte, 5<<20+3)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	for name, ends := range pipes(t) {
		t.Run(name, func(t *testing.T) {
			w, r := open(t, ends[0]), open(t, ends[1])
			failed := make(chan error, 1)
			go func() {
				n, err := w.Write(sent)
				if n != len(sent) && err == nil {
					err = io.ErrShortWrite
				}
				failed <- errors.Join(err, ends[0].Close())
			}()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d of %d bytes, %v", len(got), len(sent), err)
			}
			if err := <-failed; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestConn_Deadline(t *testing.T) {
	for name, ends := range pipes(t) {
		t.Run(name, func(t *testing.T) {
			w, r := open(t, ends[0]), open(t, ends[1])
			past := time.Unix(1, 0)
			if err := errors.Join(ends[0].SetDeadline(past), ends[1].SetDeadline(past)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
			if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write: %v", err)
			}
			if err := ends[1].SetDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			woken := make(chan error, 1)
			go func() {
				_, err := r.Read(make([]byte, 1))
				woken <- err
			}()
			if err := ends[1].SetDeadline(past); err != nil {
				t.Fatal(err)
			}
			if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a read that waited: %v", err)
			}
		})
	}
}

// Who waits hears of the end, whoever ends it.
func TestConn_Closed(t *testing.T) {
	for name, ends := range pipes(t) {
		t.Run(name, func(t *testing.T) {
			r := open(t, ends[1])
			woken := make(chan error, 1)
			go func() {
				_, err := r.Read(make([]byte, 1))
				woken <- err
			}()
			ends[1].Close()
			if err := <-woken; err == nil {
				t.Error("read went well")
			}
		})
	}
}

func TestConn_NobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	if _, err := open(t, w).Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write: %v", err)
	}
}

func TestRead_AndWaiting(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := r.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	expect := func(waiting int, text string, want error) {
		t.Helper()
		err := raw.Control(func(fd uintptr) {
			if n, err := Waiting(fd); n != waiting || err != nil {
				t.Errorf("%d bytes wait, %v; want %d", n, err, waiting)
			}
			b := make([]byte, 8)
			if n, err := Read(fd, b); string(b[:n]) != text || !errors.Is(err, want) {
				t.Errorf("read %q, %v; want %q, %v", b[:n], err, text, want)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	expect(0, "", syscall.EAGAIN)
	if _, err := w.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	expect(4, "text", nil)
	w.Close()
	expect(0, "", nil)
}
