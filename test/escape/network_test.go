package escape

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"davy/internal/egress"
	"davy/internal/sandbox"
	"davy/internal/sandbox/sandboxtest"
	"davy/test/davytest"
	"davy/test/testnet"
)

// The probe "ask" sends a datagram and waits for an answer.
func init() {
	probes["ask"] = func(a []string) error {
		c, err := net.Dial("udp4", a[0])
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(davytest.Limit))
		if _, err := c.Write([]byte("question")); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 100))
		return err
	}
}

// route is an attempt to reach an address by the way out. What stops it is the
// policy; it is made again with a rule that lets it through, which shows that
// something answers there and that nothing else is in the way.
type route struct {
	name  string
	to    string
	allow string // the rule; empty: there is none for it
}

const (
	website = "8.8.4.4"
	refused = "connection refused"
)

func TestNetwork(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	neighbours := []route{
		{"metadata of the cloud", "169.254.169.254:80", "169.254.169.254:80"},
		{"credentials of a container", "169.254.170.2:80", "169.254.170.2"},
		{"metadata of Azure", "168.63.129.16:80", "168.63.129.16"},
		{"metadata of Alibaba", "100.100.100.200:80", "100.64.0.0/10"},
		{"metadata of Oracle", "192.0.0.192:80", "192.0.0.0/24"},
		{"private network 10", "10.5.5.5:80", "10.0.0.0/8"},
		{"private network 172.16", "172.16.3.3:80", "172.16.3.3:80"},
		{"private network 192.168", "192.168.7.7:80", "192.168.7.7:1-80"},
		{"carrier-grade network", "100.64.9.9:80", "100.64.9.9"},
		{"benchmarking network", "198.18.0.5:80", "198.18.0.0/15"},
		{"mail", website + ":25", website + ":25"},
	}
	host := []route{
		{"public address of the host", testnet.Host + ":8099", testnet.Host},
		{"private address of the host", testnet.HostPrivate + ":8099", testnet.HostPrivate + ":8099"},
		{"address that the host got later", "11.0.0.9:8099", "11.0.0.9"},
		{"network that the host answers for", "12.3.4.5:8099", "12.3.4.0/24"},
	}
	addrs := []string{website}
	for _, r := range neighbours {
		if a, _, _ := net.SplitHostPort(r.to); a != website {
			addrs = append(addrs, a)
		}
	}
	in := testnet.New(t, addrs...)
	for _, address := range append([]string{website + ":80"}, targets(neighbours)...) {
		answer(in.Listen(t, address))
		answerPackets(in.ListenPacket(t, address))
	}
	everywhere, err := net.Listen("tcp4", "0.0.0.0:8099") // as host services do
	if err != nil {
		t.Fatal(err)
	}
	answer(everywhere)
	t.Cleanup(func() { everywhere.Close() })
	everyPacket, err := net.ListenPacket("udp4", "0.0.0.0:8099")
	if err != nil {
		t.Fatal(err)
	}
	answerPackets(everyPacket)
	t.Cleanup(func() { everyPacket.Close() })

	w := newWorld(t)
	internet := open(t, egress.Policy{})
	for _, args := range [][]string{
		{"ip", "address", "add", "11.0.0.9/32", "dev", "lo"},
		{"ip", "route", "add", "local", "12.3.4.0/24", "dev", "lo"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}

	all := append(neighbours, host...)
	t.Run(sandboxtest.Namespaces.Name, func(t *testing.T) { outOf(t, sandboxtest.Namespaces, w, internet, all) })
	// The policy is the same program for every engine: what is tried is that
	// nothing passes it by.
	for _, e := range sandboxtest.Runtimes {
		t.Run(e.Name, func(t *testing.T) { outOf(t, e, w, internet, []route{neighbours[0], neighbours[5], host[0]}) })
	}
}

// outOf tries the way out of the sandboxes of an engine.
func outOf(t *testing.T, e sandboxtest.Engine, w *world, internet *egress.Gate, routes []route) {
	d, _ := e.New(t, config(w, 0))
	if !sandbox.HasEgress(d) {
		t.Skip(d.Missing())
	}
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			rule, err := egress.ParseRule(r.allow)
			if err != nil {
				t.Fatal(err)
			}
			opened := open(t, egress.Policy{Allow: []egress.Rule{rule}})
			for _, probe := range [][]string{{"connect", "tcp", r.to}, {"ask", r.to}} {
				if probe[0] == "ask" && r.name == "mail" {
					continue // it is the stream that is closed
				}
				if got := tryOut(t, d, w, internet, probe...); !strings.Contains(got, refused) {
					t.Errorf("%v is not refused at once: %q", probe, got)
				}
				if got := tryOut(t, d, w, opened, probe...); got != reached {
					t.Errorf("cannot fail: %v with the rule %s is %q", probe, r.allow, got)
				}
			}
		})
	}
	// What the policy is there to let through, and what closes it.
	closed := open(t, egress.Policy{Mode: egress.None})
	rule, err := egress.ParseRule("8.8.0.0/16:80")
	if err != nil {
		t.Fatal(err)
	}
	denied := open(t, egress.Policy{Deny: []egress.Rule{rule}})
	for _, probe := range [][]string{{"connect", "tcp", website + ":80"}, {"ask", website + ":80"}} {
		if got := tryOut(t, d, w, internet, probe...); got != reached {
			t.Errorf("the internet: %v is %q", probe, got)
		}
		if got := tryOut(t, d, w, nil, probe...); !strings.Contains(got, "network is unreachable") {
			t.Errorf("without a way out: %v is %q", probe, got)
		}
		if got := tryOut(t, d, w, closed, probe...); !strings.Contains(got, refused) {
			t.Errorf("--egress none: %v is %q", probe, got)
		}
		if got := tryOut(t, d, w, denied, probe...); !strings.Contains(got, refused) {
			t.Errorf("--egress-deny: %v is %q", probe, got)
		}
	}
}

// Environments do not reach each other: all have one address, which is their
// own in each of them.
func TestNetwork_Neighbours(t *testing.T) {
	if !testnet.Alone(t) {
		return
	}
	testnet.New(t)
	w := newWorld(t)
	d, _ := sandboxtest.New(t, config(w, 0))
	if !sandbox.HasEgress(d) {
		t.Skip(d.Missing())
	}
	link, err := egress.ParseRule("169.254.0.0/16") // so that the policy is not what stops it
	if err != nil {
		t.Fatal(err)
	}
	g := open(t, egress.Policy{Allow: []egress.Rule{link}})
	b, err := d.Create(t.Context(), sandbox.Spec{
		ID: "neighbour", Args: []string{"/bin/sleep", "1000"}, Listen: []string{"tun:169.254.100.2/32"},
	})
	if err != nil {
		t.Fatal(err)
	}
	device := b.Listeners()[0]
	defer device.Close()
	way, err := g.Attach(t.Context(), b.ID(), device)
	if err != nil {
		t.Fatal(err)
	}
	defer way.Close()
	var l net.Listener
	if err := testnet.Inside(device, func() (err error) { l, err = net.Listen("tcp4", "0.0.0.0:7000"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answer(l)
	const there = "169.254.100.2:7000"
	if got := tryOut(t, d, w, g, "connect", "tcp", there); !strings.Contains(got, refused) {
		t.Errorf("a neighbour: %q", got)
	}
	if err := testnet.Inside(device, func() error {
		c, err := net.DialTimeout("tcp4", there, davytest.Limit)
		if err == nil {
			c.Close()
		}
		return err
	}); err != nil {
		t.Errorf("cannot fail: inside of the neighbour it is %v", err)
	}
}

func targets(routes []route) []string {
	var out []string
	for _, r := range routes {
		out = append(out, r.to)
	}
	return out
}

// answer accepts what comes.
func answer(l net.Listener) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
}

// answerPackets sends back what comes.
func answerPackets(p net.PacketConn) {
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
}

func open(t *testing.T, p egress.Policy) *egress.Gate {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	g, err := egress.New(egress.Config{Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// tryOut makes an attempt in a sandbox whose way out is g; nil: it has none.
func tryOut(t *testing.T, d sandbox.Driver, w *world, g *egress.Gate, probe ...string) string {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	// The probe waits for its way out to be there.
	ready, begin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := sandbox.Spec{
		ID: fmt.Sprint("out-", serial.Add(1)), Mounts: []sandbox.Mount{{Source: w.dir, Target: "/opt"}},
		Limits: sandbox.Limits{MemoryBytes: 128 << 20, TmpBytes: 4 << 20, PIDs: 64, OpenFiles: 1024},
		Args: append([]string{
			"/usr/bin/perl", "-e", `open(R, "<&=", 3); <R>; close R; $p = shift; exec {$p} "` + probeName + `", @ARGV`, "/opt/probe",
		}, probe...),
		Env: []string{"PATH=/usr/bin:/bin"}, Stdout: in, Stderr: in, Files: []*os.File{ready},
	}
	if g != nil {
		s.Listen = []string{"tun:169.254.100.2/32"}
	}
	b, err := d.Create(t.Context(), s)
	in.Close()
	ready.Close()
	if err != nil {
		t.Fatal(err)
	}
	if g != nil {
		device := b.Listeners()[0]
		way, err := g.Attach(t.Context(), s.ID, device)
		device.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer way.Close()
	}
	begin.Close()
	text, err := io.ReadAll(out)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	<-b.Done()
	return strings.TrimSpace(string(text))
}
