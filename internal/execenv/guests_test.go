package execenv

import (
	"io"
	"net"
	"testing"
)

// connect dials so many times and gives the connections that stay.
func connect(t *testing.T, l net.Listener, n int) []net.Conn {
	t.Helper()
	var open []net.Conn
	for range n {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			continue // closed so soon that the kernel tells it here
		}
		t.Cleanup(func() { c.Close() })
		// The server says a byte to whom it takes.
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			open = append(open, c)
		}
	}
	return open
}

// greet accepts until the listener is closed. What is accepted is told.
func greet(t *testing.T, p *party, most int64) (net.Listener, chan net.Conn) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := p.receive(inner, most)
	taken := make(chan net.Conn, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte{1})
			taken <- c
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
		for len(taken) > 0 {
			(<-taken).Close()
		}
	})
	return l, taken
}

func TestGuests_AreBounded(t *testing.T) {
	all := &guests{room: 60}
	greedy, modest := &party{all: all}, &party{all: all}
	l, taken := greet(t, greedy, 1000)
	if n := len(connect(t, l, 100)); n != 30 {
		t.Errorf("one environment has %d connections, want half of the room", n)
	}
	other, _ := greet(t, modest, 1000)
	if n := len(connect(t, other, 100)); n != 15 {
		t.Errorf("the next has %d, want half of what was left", n)
	}
	(<-taken).Close()
	c := <-taken
	c.Close()
	c.Close() // counts once
	if got := all.here.Load(); got != 30+15-2 {
		t.Errorf("%d are counted", got)
	}
	few, _ := greet(t, modest, 3)
	if n := len(connect(t, few, 10)); n != 1 {
		t.Errorf("a second listener gives an environment %d more, want what became free", n)
	}
}

func TestGuests_EveryEnvironmentHasSome(t *testing.T) {
	all := &guests{room: 10}
	all.here.Store(1000)
	l, _ := greet(t, &party{all: all}, 1000)
	if n := len(connect(t, l, 20)); n != guestsSure {
		t.Errorf("%d connections, want %d", n, guestsSure)
	}
	narrow, _ := greet(t, &party{all: all}, 2)
	if n := len(connect(t, narrow, 20)); n != 2 {
		t.Errorf("%d connections to a listener for 2", n)
	}
	if !(&guests{room: 1 << 20}).may(guestsEach-1) || (&guests{room: 1 << 20}).may(guestsEach) {
		t.Error("an environment has another number than it may have descriptors")
	}
}
