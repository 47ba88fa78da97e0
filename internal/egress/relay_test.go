package egress_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"davy/internal/egress"
	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
	"davy/test/testnet"
)

func TestMain(m *testing.M) {
	launcher.Main()
	os.Exit(m.Run())
}

// counts is an egress.Observer.
type counts struct {
	opened, refused, out, in atomic.Int64
}

func (c *counts) FlowOpened(string)     { c.opened.Add(1) }
func (c *counts) FlowRefused(string)    { c.refused.Add(1) }
func (c *counts) Carried(out, in int64) { c.out.Add(out); c.in.Add(in) }

// site is an environment with its way out, and the internet.
type site struct {
	testing.TB
	*testnet.Internet
	counts
	gate   *egress.Gate
	way    *egress.Way
	device *os.File
	ended  chan struct{} // has room for one
	log    lockedBuffer
}

// awaitNoFlows waits until no flow is open.
func (s *site) awaitNoFlows() {
	for egress.Flows(s.way) > 0 {
		<-s.ended
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const web = "8.8.4.4" // an address of the internet

func newSite(t testing.TB, p egress.Policy, addrs ...string) *site {
	t.Helper()
	return newSiteWith(t, egress.Config{Policy: p}, addrs...)
}

func newSiteWith(t testing.TB, cfg egress.Config, addrs ...string) *site {
	t.Helper()
	s := &site{TB: t, Internet: testnet.New(t, append(addrs, web)...), ended: make(chan struct{}, 1)}
	cfg = egress.WithEnded(cfg, func() {
		select {
		case s.ended <- struct{}{}:
		default:
		}
	})
	var err error
	cfg.Observer, cfg.Log = &s.counts, slog.New(slog.NewTextHandler(&s.log, nil))
	s.gate, err = egress.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.gate.Close() })
	d, _ := sandboxtest.New(t, launcher.Config{})
	if !sandbox.HasEgress(d) {
		t.Skip(d.Missing())
	}
	box, err := d.Create(t.Context(), sandbox.Spec{ID: "env", Args: []string{"/bin/sleep", "1000"}, Listen: []string{"tun:169.254.100.2/32"}})
	if err != nil {
		t.Fatal(err)
	}
	s.device = box.Listeners()[0]
	t.Cleanup(func() { s.device.Close() })
	if s.way, err = s.gate.Attach(t.Context(), "env", s.device); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.way.Close() })
	return s
}

// dial connects as a function does.
func (s *site) dial(network, address string) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 5 * time.Minute}
	if e := testnet.Inside(s.device, func() error {
		c, err = d.DialContext(s.Context(), network, address)
		return nil
	}); e != nil {
		s.Fatal(e)
	}
	return c, err
}

func (s *site) mustDial(network, address string) net.Conn {
	s.Helper()
	c, err := s.dial(network, address)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	return c
}

// serve answers each connection with f.
func (s *site) serve(address string, f func(*net.TCPConn)) {
	l := s.Listen(s, address)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c.(*net.TCPConn))
			}()
		}
	}()
}

func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

func TestTCP_Echo(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	s.serve(web+":80", echo)
	c := s.mustDial("tcp", web+":80")
	for _, text := range []string{"a", "hello", strings.Repeat("x", 100_000)} {
		go func() { _, _ = io.WriteString(c, text) }()
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
			t.Fatalf("%d bytes: %v", len(text), err)
		}
	}
	if n := s.opened.Load(); n != 1 {
		t.Errorf("%d flows opened", n)
	}
}

// Either side may end its direction while the other goes on.
func TestTCP_HalfClose(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	s.serve(web+":80", func(c *net.TCPConn) {
		b, err := io.ReadAll(c)
		fmt.Fprintf(c, "%d bytes, %v", len(b), err)
	})
	s.serve(web+":81", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "first")
		_ = c.CloseWrite()
		b, _ := io.ReadAll(c)
		heard <- string(b)
	})
	c := s.mustDial("tcp", web+":80").(*net.TCPConn)
	if _, err := c.Write(make([]byte, 300_000)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "300000 bytes, <nil>" {
		t.Errorf("the function ends first: %q, %v", b, err)
	}

	c = s.mustDial("tcp", web+":81").(*net.TCPConn)
	if b, err := io.ReadAll(c); err != nil || string(b) != "first" {
		t.Errorf("the destination ends first: %q, %v", b, err)
	}
	if _, err := io.WriteString(c, "second"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := <-heard; got != "second" {
		t.Errorf("the destination hears %q", got)
	}
}

var heard = make(chan string, 1)

// A reset is passed on as one, to either side.
func TestTCP_Reset(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	ends := make(chan error, 1)
	s.serve(web+":80", func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0) // and is closed
	})
	s.serve(web+":81", func(c *net.TCPConn) {
		_, err := c.Read(make([]byte, 1))
		ends <- err
	})
	s.serve(web+":82", func(c *net.TCPConn) { // takes nothing
		<-s.Context().Done()
	})
	c := s.mustDial("tcp", web+":80")
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the destination resets: the function gets %v", err)
	}
	c = s.mustDial("tcp", web+":81")
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the function resets: the destination gets %v", err)
	}
	// While the relay waits for a destination that takes nothing.
	c = s.mustDial("tcp", web+":82")
	_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := c.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a destination that takes nothing took 64 MiB: %v", err)
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	s.awaitNoFlows()
}

// Who does not read stops who writes: little waits in between.
func TestTCP_SlowReaderStopsTheWriter(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	var sent atomic.Int64
	stopped := make(chan struct{})
	s.serve(web+":80", func(c *net.TCPConn) {
		b := make([]byte, 1<<16)
		for {
			_ = c.SetWriteDeadline(time.Now().Add(time.Second))
			n, err := c.Write(b)
			sent.Add(int64(n))
			if err != nil {
				close(stopped)
				return
			}
		}
	})
	c := s.mustDial("tcp", web+":80")
	<-stopped
	if n := sent.Load(); n > 32<<20 {
		t.Errorf("%d bytes were sent to a function that reads nothing", n)
	}
	// What was sent arrives.
	n, err := io.Copy(io.Discard, c)
	if n != sent.Load() || err != nil {
		t.Errorf("%d of %d bytes arrived, %v", n, sent.Load(), err)
	}
}

func TestTCP_64FlowsAtOnceWithChecksums(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	// It answers with the sum of what it got, and then sends it back.
	s.serve(web+":80", func(c *net.TCPConn) {
		h := sha256.New()
		b, err := io.ReadAll(io.TeeReader(c, h))
		if err != nil {
			return
		}
		_, _ = c.Write(h.Sum(nil))
		_, _ = c.Write(b)
	})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			data := make([]byte, 1<<20+i*1000)
			source := rand.NewChaCha8([32]byte{byte(i)})
			_, _ = source.Read(data)
			c, err := s.dial("tcp", web+":80")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := c.Write(data); err != nil {
				t.Error(err)
				return
			}
			_ = c.(*net.TCPConn).CloseWrite()
			got, err := io.ReadAll(c)
			sum := sha256.Sum256(data)
			if err != nil || !bytes.Equal(got, append(sum[:], data...)) {
				t.Errorf("flow %d: %d bytes of %d, %v", i, len(got), len(data)+32, err)
			}
		})
	}
	wg.Wait()
	s.awaitNoFlows()
	if out, in := s.out.Load(), s.in.Load(); out < 64<<20 || in != out+64*32 {
		t.Errorf("counted %d bytes out, %d in", out, in)
	}
}

// What the destination says about the connection is what the function hears.
func TestTCP_RefusedByDestination(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	if _, err := s.dial("tcp", web+":9"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %v", err)
	}
	if n := s.refused.Load(); n != 0 {
		t.Errorf("%d flows are counted as refused by the policy", n)
	}
}

func TestUDP_Echo(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	p := s.ListenPacket(t, web+":53")
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(b[:n], from)
		}
	}()
	c := s.mustDial("udp", web+":53")
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	for _, size := range []int{0, 1, 512, 1472, 1473, 9000, 65507} {
		sent := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := c.Write(sent); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got := make([]byte, 1<<16)
		n, err := c.Read(got)
		if err != nil || !bytes.Equal(got[:n], sent) {
			t.Errorf("%d bytes: %d came back, %v", size, n, err)
		}
	}
	if n := s.opened.Load(); n != 1 {
		t.Errorf("%d flows opened", n)
	}
}

func TestUDP_ClosedPortIsTold(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	c := s.mustDial("udp", web+":9")
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

// An environment cannot have more flows than it has descriptors. TCP is
// refused then; UDP, whose end nobody announces, loses its oldest.
func TestFlows_AreBounded(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	s.serve(web+":80", echo)
	var mu sync.Mutex
	var open []net.Conn
	refused := 0
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for range egress.FlowsEach + 20 {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c, err := s.dial("tcp", web+":80")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				open = append(open, c)
			} else if errors.Is(err, syscall.ECONNREFUSED) {
				refused++
			}
		})
	}
	wg.Wait()
	if len(open) != egress.FlowsEach || refused != 20 {
		t.Errorf("%d flows open, %d refused", len(open), refused)
	}
	for _, c := range open {
		c.Close()
	}
	s.awaitNoFlows()
}

// Of UDP flows, whose end nobody announces, the oldest makes room.
func TestFlows_OldestUDPMakesRoom(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	p := s.ListenPacket(t, web+":53")
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(b[:n], from)
		}
	}()
	if err := testnet.Inside(s.device, func() error {
		for i := range egress.FlowsEach + 100 {
			c, err := net.Dial("udp4", web+":53")
			if err != nil {
				return err
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
			if _, err := c.Write([]byte("x")); err != nil {
				return fmt.Errorf("flow %d: %w", i, err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				return fmt.Errorf("flow %d: %w", i, err)
			}
			s.Cleanup(func() { c.Close() }) // it stays open inside
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for egress.Flows(s.way) > egress.FlowsEach {
		<-s.ended
	}
	if n := s.refused.Load(); n != 0 {
		t.Errorf("%d flows were refused", n)
	}
}

// Nothing of an environment's flows is left when it ends, whatever they were
// doing.
func TestClose_LeavesNothing(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	s.serve(web+":80", echo)
	s.serve(web+":81", func(c *net.TCPConn) { _, _ = io.Copy(c, zeros{}) })
	before := egress.Goroutines()
	for range 10 {
		s.mustDial("tcp", web+":80")
		s.mustDial("tcp", web+":81")
		c := s.mustDial("udp", web+":9")
		_, _ = c.Write([]byte("x"))
	}
	s.way.Close()
	s.way.Close()
	if n := egress.Flows(s.way); n != 0 {
		t.Errorf("%d flows are left", n)
	}
	if got := egress.Goroutines(); got >= before {
		t.Errorf("%d goroutines of the package, %d before", got, before)
	}
}

// An environment that sends nothing has no stack: neither before its first
// packet nor when its flows have ended.
func TestStack_IsThereWhileItIsUsed(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	dropped := make(chan struct{}, 1) // may also tell of one that went before its flow was opened
	s := newSiteWith(t, egress.WithIdle(egress.Config{}, 100*time.Millisecond, func() {
		select {
		case dropped <- struct{}{}:
		default:
		}
	}))
	s.serve(web+":80", echo)
	if egress.HasStack(s.way) {
		t.Error("there is a stack before the first packet")
	}
	idle := egress.Goroutines()
	for range 2 {
		c := s.mustDial("tcp", web+":80")
		if !egress.HasStack(s.way) {
			t.Error("there is no stack for a flow")
		}
		c.Close()
		for egress.HasStack(s.way) {
			<-dropped
		}
		for limit := time.Now().Add(4 * time.Minute); ; time.Sleep(time.Millisecond) { // those of the stack end after it
			got := egress.Goroutines()
			if got <= idle {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%d goroutines, %d before the first packet", got, idle)
			}
		}
	}
	// It does not go while a flow is open.
	c := s.mustDial("tcp", web+":80")
	time.Sleep(300 * time.Millisecond)
	if !egress.HasStack(s.way) {
		t.Error("the stack went with a flow open")
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// A destination is logged once for an environment, and no more of them than
// are worth a line.
func TestRefused_IsLoggedOnce(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	s := newSite(t, egress.Policy{})
	slow := false // a packet without an answer for a second comes again, and counts
	dial := func(address string) error {
		began := time.Now()
		_, err := s.dial("tcp", address)
		slow = slow || time.Since(began) >= time.Second
		return err
	}
	for range 3 {
		if err := dial("10.1.1.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	if n := strings.Count(s.log.String(), "destination=10.1.1.1:80"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, s.log.String())
	}
	for port := range 50 {
		_ = dial(fmt.Sprintf("10.1.1.1:%d", 1000+port))
	}
	if n := strings.Count(s.log.String(), "way out refused"); n > 16 {
		t.Errorf("%d lines", n)
	}
	if n := s.refused.Load(); n < 53 || n > 53 && !slow {
		t.Errorf("%d flows are counted as refused", n)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
