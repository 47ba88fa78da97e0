package execenv

import (
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"davy/test/testnet"
	"golang.org/x/sys/unix"
)

func TestResolver_Answers(t *testing.T) {
	r := newResolver([]string{"amazonaws.com", "Lambda.Example."})
	for _, tc := range []struct {
		name  string
		kind  uint16
		code  int
		found bool
	}{
		{"s3.eu-west-1.amazonaws.com.", dns.TypeA, dns.RcodeSuccess, true},
		{"Bucket.S3.AmazonAWS.com.", dns.TypeA, dns.RcodeSuccess, true},
		{"amazonaws.com.", dns.TypeA, dns.RcodeSuccess, true},
		{"x.lambda.example.", dns.TypeA, dns.RcodeSuccess, true},
		{"s3.amazonaws.com.", dns.TypeAAAA, dns.RcodeSuccess, false}, // exists, without IPv6
		{"s3.amazonaws.com.", dns.TypeTXT, dns.RcodeSuccess, false},
		{"evilamazonaws.com.", dns.TypeA, dns.RcodeNameError, false},
		{"amazonaws.com.evil.example.", dns.TypeA, dns.RcodeNameError, false},
		{"example.com.", dns.TypeA, dns.RcodeNameError, false},
		{".", dns.TypeNS, dns.RcodeNameError, false},
	} {
		m := r.answer(new(dns.Msg).SetQuestion(tc.name, tc.kind))
		if m.Rcode != tc.code || (len(m.Answer) == 1) != tc.found {
			t.Errorf("%s %s: %v", tc.name, dns.TypeToString[tc.kind], m)
			continue
		}
		if tc.found && m.Answer[0].(*dns.A).A.String() != Address {
			t.Errorf("%s leads to %v", tc.name, m.Answer[0])
		}
	}
	for name, q := range map[string]*dns.Msg{
		"no question":   {},
		"two questions": {Question: make([]dns.Question, 2)},
		"another class": {Question: []dns.Question{{Name: "s3.amazonaws.com.", Qtype: dns.TypeA, Qclass: dns.ClassCHAOS}}},
		"an update":     {MsgHdr: dns.MsgHdr{Opcode: dns.OpcodeUpdate}, Question: make([]dns.Question, 1)},
	} {
		if m := r.answer(q); m.Rcode != dns.RcodeRefused {
			t.Errorf("%s: %s, want REFUSED", name, dns.RcodeToString[m.Rcode])
		}
	}
}

func TestResolver_IsServedInEachEnvironment(t *testing.T) {
	b := newBench(t, nil)
	b.invoke(b.js(waiting), `{}`)
	p := b.envs.fleets["arn:aws:lambda:eu-west-1:000000000000:function:f $LATEST"].idle[0].current.Load()
	for network, addr := range map[string]string{
		"udp": p.addrs[listenUDPNames].String(),
		"tcp": p.addrs[listenTCPNames].String(),
	} {
		m, _, err := (&dns.Client{Net: network, Timeout: ample}).Exchange(new(dns.Msg).SetQuestion("sqs.us-east-1.amazonaws.com.", dns.TypeA), addr)
		if err != nil || len(m.Answer) != 1 {
			t.Errorf("%s: %v, %v", network, m, err)
		}
	}
}

// many is a Way that knows one name, with many addresses.
type many struct{ asked []string }

func (m *many) Close() error { return nil }

func (m *many) Resolve(_ context.Context, q *dns.Msg) *dns.Msg {
	m.asked = append(m.asked, q.Question[0].Name)
	r := new(dns.Msg).SetReply(q)
	for i := range 100 {
		r.Answer = append(r.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(8, 8, 8, byte(i)),
		})
	}
	return r
}

func TestResolver_AsksTheWayOutForOtherNames(t *testing.T) {
	r := newResolver([]string{"amazonaws.com"})
	way := &many{}
	r.ctx, r.out = t.Context(), way
	for _, name := range []string{"s3.amazonaws.com.", "example.org.", "S3.AmazonAWS.com.", "amazonaws.com.example.org."} {
		r.answer(new(dns.Msg).SetQuestion(name, dns.TypeA))
	}
	if want := []string{"example.org.", "amazonaws.com.example.org."}; !slices.Equal(way.asked, want) {
		t.Errorf("asked for %q, want %q", way.asked, want)
	}
}

// An answer is no larger than the asker takes, who then asks over TCP.
func TestResolver_FitsTheAsker(t *testing.T) {
	r := newResolver(nil)
	r.ctx, r.out = t.Context(), &many{}
	l, p := testnet.ListenBoth(t)
	var wg sync.WaitGroup
	for _, s := range []*dns.Server{{Listener: l, Handler: r}, {PacketConn: p, Handler: r}} {
		wg.Go(func() { _ = s.ActivateAndServe() })
	}
	defer func() { l.Close(); p.Close(); wg.Wait() }()
	for _, tc := range []struct {
		network string
		size    uint16 // that the asker names
		most    int
		all     bool
	}{
		{"udp", 0, 512, false},
		{"udp", 100, 512, false},
		{"udp", 1232, 1232, false},
		{"udp", 4096, 4096, true},
		{"tcp", 0, 1 << 16, true},
	} {
		q := new(dns.Msg).SetQuestion("example.org.", dns.TypeA)
		if tc.size > 0 {
			q.SetEdns0(tc.size, false)
		}
		m, _, err := (&dns.Client{Net: tc.network, UDPSize: dns.MaxMsgSize - 1, Timeout: ample}).Exchange(q, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		m.Compress = true // as it came
		if m.Len() > tc.most || m.Truncated == tc.all || (len(m.Answer) == 100) != tc.all {
			t.Errorf("%s, %d bytes: %d bytes, %d addresses, truncated %v", tc.network, tc.size, m.Len(), len(m.Answer), m.Truncated)
		}
	}
}

// waysOut is a WayOut whose ways lead nowhere.
type waysOut struct {
	attached, closed atomic.Int32
}

func (w *waysOut) Attach(_ context.Context, _ string, device *os.File) (Way, error) {
	w.attached.Add(1)
	fd, err := unix.Dup(int(device.Fd()))
	return &way{out: w, device: fd}, err
}

type way struct {
	many
	out    *waysOut
	device int
}

func (w *way) Close() error {
	w.out.closed.Add(1)
	return unix.Close(w.device)
}

func TestSandboxed_EnvironmentHasADeviceAsLongAsItLives(t *testing.T) {
	out := &waysOut{}
	b := newSandboxedBench(t, func(c *Config) { c.Egress = out })
	f := b.js(`exports.handler = async () => require("os").networkInterfaces().eth0?.map((a) => a.cidr).join()`)
	if got := answer(b.invoke(f, `{}`)); got != `"169.254.100.2/32"` {
		t.Errorf("the function sees %s", got)
	}
	if a, c := out.attached.Load(), out.closed.Load(); a != 1 || c != 0 {
		t.Errorf("%d attached, %d closed", a, c)
	}
	b.envs.Close()
	if c := out.closed.Load(); c != 1 {
		t.Errorf("%d closed after the environment's end", c)
	}
}

func FuzzResolver(f *testing.F) {
	q, err := new(dns.Msg).SetQuestion("s3.amazonaws.com.", dns.TypeA).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q)
	r := newResolver([]string{"amazonaws.com"})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		if _, err := r.answer(m).Pack(); err != nil {
			t.Fatalf("the answer to %v does not pack: %v", m, err)
		}
	})
}
