package egress

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"

	"davy/test/testnet"
)

// upstream is a name server of the machine. It answers on one port over UDP
// and TCP and notes what it was asked.
type upstream struct {
	addr   string
	answer func(w dns.ResponseWriter, q *dns.Msg)

	mu    sync.Mutex
	asked []string // "network name type"
}

func newUpstream(t testing.TB, answer func(dns.ResponseWriter, *dns.Msg)) *upstream {
	t.Helper()
	u := &upstream{answer: answer}
	l, p := testnet.ListenBoth(t)
	u.addr = l.Addr().String()
	var wg sync.WaitGroup
	for _, s := range []*dns.Server{{Listener: l, Handler: u}, {PacketConn: p, Handler: u}} {
		wg.Go(func() { _ = s.ActivateAndServe() })
	}
	t.Cleanup(func() { l.Close(); p.Close(); wg.Wait() })
	return u
}

func (u *upstream) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	u.mu.Lock()
	u.asked = append(u.asked, fmt.Sprintf("%s %s %s", w.RemoteAddr().Network(), q.Question[0].Name, dns.TypeToString[q.Question[0].Qtype]))
	u.mu.Unlock()
	u.answer(w, q)
}

func (u *upstream) questions() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

// asking is a forwarder of these servers, which have time.
func asking(private bool, search []string, servers ...*upstream) *forwarder {
	f := newForwarder("", private, slog.New(slog.DiscardHandler))
	f.search, f.checked, f.wait = search, time.Now().Add(time.Hour), time.Hour
	for _, u := range servers {
		f.servers = append(f.servers, u.addr)
	}
	return f
}

func address(q *dns.Msg, ip string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.ParseIP(ip),
	}}
	return m
}

func always(ip string) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(address(q, ip)) }
}

func code(rcode int) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) }
}

func TestResolve_AsksTheMachinesServers(t *testing.T) {
	u := newUpstream(t, always("8.8.4.4"))
	q := new(dns.Msg).SetQuestion("WWW.Example.org.", dns.TypeA)
	q.SetEdns0(4096, true)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: net.ParseIP("169.254.100.2")}}
	m := asking(false, nil, u).resolve(t.Context(), q)
	if m.Id != q.Id || !m.Response || !m.RecursionAvailable || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "8.8.4.4" || m.Question[0] != q.Question[0] {
		t.Fatalf("%v", m)
	}
	if got := u.questions(); !slices.Equal(got, []string{"udp WWW.Example.org. A"}) {
		t.Errorf("asked %q", got)
	}
}

func TestResolve_TellsNothingOfTheEnvironment(t *testing.T) {
	seen := make(chan *dns.Msg, 1)
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { seen <- q.Copy(); always("8.8.4.4")(w, q) })
	q := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA)
	q.Id = 77
	q.SetEdns0(4096, false)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: dns.EDNS0LOCALSTART, Data: []byte("secret")}}
	asking(false, nil, u).resolve(t.Context(), q)
	if o := (<-seen).IsEdns0(); o == nil || len(o.Option) != 0 || o.UDPSize() != askBytes {
		t.Errorf("options %v", o)
	}
}

func TestResolve_WhatIsNotAsked(t *testing.T) {
	u := newUpstream(t, always("8.8.4.4"))
	for _, tc := range []struct {
		name    string
		kind    uint16
		private bool // private networks are open
		code    int
		asked   bool
	}{
		{"www.example.org", dns.TypeA, false, dns.RcodeSuccess, true},
		{"www.example.org", dns.TypeMX, false, dns.RcodeSuccess, true},
		{"www.example.org", dns.TypeHTTPS, false, dns.RcodeSuccess, true},
		{"8.8.8.8.in-addr.arpa", dns.TypePTR, false, dns.RcodeSuccess, true},
		{".", dns.TypeNS, false, dns.RcodeSuccess, true},
		// No IPv6: the answer is there at once, and no error.
		{"www.example.org", dns.TypeAAAA, false, dns.RcodeSuccess, false},
		{"www.example.org", dns.TypeANY, false, dns.RcodeNotImplemented, false},
		{"example.org", dns.TypeAXFR, false, dns.RcodeNotImplemented, false},
		{"example.org", dns.TypeIXFR, false, dns.RcodeNotImplemented, false},
		{"localhost", dns.TypeA, false, dns.RcodeNameError, false},
		{"db.localhost", dns.TypeA, true, dns.RcodeNameError, false},
		{"x.onion", dns.TypeA, true, dns.RcodeNameError, false},
		{"printer", dns.TypeA, false, dns.RcodeNameError, false},
		{"printer", dns.TypeA, true, dns.RcodeSuccess, true},
		{"metadata.google.internal", dns.TypeA, false, dns.RcodeNameError, false},
		{"metadata.google.internal", dns.TypeA, true, dns.RcodeSuccess, true},
		{"nas.local", dns.TypeA, false, dns.RcodeNameError, false},
		{"router.home.arpa", dns.TypeA, false, dns.RcodeNameError, false},
		{"db.corp.example.com", dns.TypeA, false, dns.RcodeNameError, false}, // of the search domain
		{"corp.example.com", dns.TypeA, false, dns.RcodeNameError, false},
		{"DB.Corp.Example.com", dns.TypeA, false, dns.RcodeNameError, false},
		{"db.corp.example.com", dns.TypeA, true, dns.RcodeSuccess, true},
		{"notcorp.example.com", dns.TypeA, false, dns.RcodeSuccess, true},
		{"1.0.0.10.in-addr.arpa", dns.TypePTR, false, dns.RcodeNameError, false},
		{"1.0.16.172.in-addr.arpa", dns.TypePTR, false, dns.RcodeNameError, false},
		{"1.0.64.100.in-addr.arpa", dns.TypePTR, false, dns.RcodeNameError, false},
		{"1.0.32.172.in-addr.arpa", dns.TypePTR, false, dns.RcodeSuccess, true},
		{"1.1.168.192.in-addr.arpa", dns.TypePTR, false, dns.RcodeNameError, false},
		{"1.0.0.127.in-addr.arpa", dns.TypePTR, true, dns.RcodeNameError, false},
	} {
		before := len(u.questions())
		m := asking(tc.private, []string{"corp.example.com."}, u).resolve(t.Context(), new(dns.Msg).SetQuestion(dns.Fqdn(tc.name), tc.kind))
		if m.Rcode != tc.code || (len(u.questions()) > before) != tc.asked || !tc.asked && len(m.Answer) > 0 {
			t.Errorf("%s %s (private networks open: %v): %s, asked: %v", tc.name, dns.TypeToString[tc.kind], tc.private, dns.RcodeToString[m.Rcode], len(u.questions()) > before)
		}
	}
}

func TestResolve_LargeAnswersCome(t *testing.T) {
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for i := range 200 {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(8, 8, 0, byte(i)),
			})
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(512)
		}
		_ = w.WriteMsg(m)
	})
	m := asking(false, nil, u).resolve(t.Context(), new(dns.Msg).SetQuestion("many.example.org.", dns.TypeA))
	if len(m.Answer) != 200 || m.Truncated {
		t.Errorf("%d addresses, truncated %v", len(m.Answer), m.Truncated)
	}
	if got := u.questions(); len(got) != 2 || !strings.HasPrefix(got[1], "tcp ") {
		t.Errorf("asked %q", got)
	}
}

func TestResolve_TheNextServerMayKnow(t *testing.T) {
	good := newUpstream(t, always("8.8.4.4"))
	for name, bad := range map[string]func(dns.ResponseWriter, *dns.Msg){
		"fails":   code(dns.RcodeServerFailure),
		"refuses": code(dns.RcodeRefused),
		"answers another question": func(w dns.ResponseWriter, q *dns.Msg) {
			m := address(q, "6.6.6.6")
			m.Question[0].Name = "other.example.org."
			_ = w.WriteMsg(m)
		},
		"is no server":  func(w dns.ResponseWriter, _ *dns.Msg) { _, _ = w.Write([]byte{1}) },
		"asks a return": func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(q) },
	} {
		m := asking(false, nil, newUpstream(t, bad), good).resolve(t.Context(), new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA))
		if len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "8.8.4.4" {
			t.Errorf("the first %s: %v", name, m)
		}
	}
	// That a name does not exist is an answer.
	m := asking(false, nil, newUpstream(t, code(dns.RcodeNameError)), good).resolve(t.Context(), new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA))
	if m.Rcode != dns.RcodeNameError {
		t.Errorf("%v", m)
	}
	// Nobody to ask.
	m = asking(false, nil).resolve(t.Context(), new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA))
	if m.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", m)
	}
}

// A packet that is lost is sent again.
func TestResolve_AsksAgain(t *testing.T) {
	var times atomic.Int32
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if times.Add(1) > 1 {
			always("8.8.4.4")(w, q)
		}
	})
	f := asking(false, nil, u)
	f.wait = 10 * time.Second // of which the first has half
	m := f.resolve(t.Context(), new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA))
	if len(m.Answer) != 1 || times.Load() != 2 {
		t.Errorf("asked %d times: %v", times.Load(), m)
	}
}

// One that does not answer does not hold the asker for ever, nor more askers
// than there may be.
func TestResolve_IsBounded(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{}, asksAtOnce)
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		arrived <- struct{}{}
		<-release
		always("8.8.4.4")(w, q)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	names := asking(false, nil, u)
	names.wait = askWait
	w := &Way{
		gate: &Gate{names: names}, ctx: ctx,
		asks: rate.NewLimiter(asksRate, asksAtOnce+2), asking: make(chan struct{}, asksAtOnce),
	}
	ask := func() int {
		return w.Resolve(t.Context(), new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA)).Rcode
	}
	codes := make(chan int, asksAtOnce)
	for range asksAtOnce {
		go func() { codes <- ask() }()
	}
	for range asksAtOnce {
		<-arrived
	}
	if c := ask(); c != dns.RcodeServerFailure {
		t.Errorf("one more at once: %s", dns.RcodeToString[c])
	}
	w.asks.SetLimit(0) // nothing comes back
	for w.asks.Allow() {
	}
	if c := ask(); c != dns.RcodeRefused {
		t.Errorf("too many a second: %s", dns.RcodeToString[c])
	}
	cancel() // the environment ends
	for range asksAtOnce {
		if c := <-codes; c != dns.RcodeServerFailure {
			t.Errorf("the environment has ended: %s", dns.RcodeToString[c])
		}
	}
	close(release)
}

func TestReadResolvConf(t *testing.T) {
	for text, want := range map[string]struct{ servers, search string }{
		"":                             {"[]", "[]"},
		"nameserver 10.0.0.2\n":        {"[10.0.0.2:53]", "[]"},
		"# nameserver 1.1.1.1\n;x\n":   {"[]", "[]"},
		"nameserver 127.0.0.53 # stub": {"[127.0.0.53:53]", "[]"},
		"nameserver ::1\nnameserver fe80::1%eth0":                                        {"[[::1]:53 [fe80::1%eth0]:53]", "[]"},
		"nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4": {"[1.1.1.1:53 2.2.2.2:53 3.3.3.3:53]", "[]"},
		"nameserver host\nnameserver\n":                                                  {"[]", "[]"},
		"search Corp.example.com lan\n":                                                  {"[]", "[corp.example.com. lan.]"},
		"domain a.example\nsearch b.example c.example\n":                                 {"[]", "[b.example. c.example.]"},
		"search .\nnameserver 1.1.1.1\noptions edns0 trust-ad":                           {"[1.1.1.1:53]", "[]"},
	} {
		servers, search := readResolvConf(text)
		if fmt.Sprint(servers) != want.servers || fmt.Sprint(search) != want.search {
			t.Errorf("%q: %v %v, want %v", text, servers, search, want)
		}
	}
}

// A machine that changes its name servers has no need to restart the server.
func TestConfig_IsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		f := newForwarder(file, false, slog.New(slog.DiscardHandler))
		if s, _ := f.config(); len(s) != 0 {
			t.Fatal(s)
		}
		for _, server := range []string{"1.1.1.1", "10.10.10.10"} {
			if err := os.WriteFile(file, []byte("nameserver "+server+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if s, _ := f.config(); len(s) != 1 || s[0] != server+":53" {
				t.Fatal(s)
			}
		}
	})
}

func FuzzReadResolvConf(f *testing.F) {
	f.Add("nameserver 1.1.1.1\nsearch a b\n")
	f.Add("domain .\nnameserver ::%x")
	f.Fuzz(func(t *testing.T, text string) {
		servers, search := readResolvConf(text)
		if len(servers) > maxServers {
			t.Errorf("%d servers", len(servers))
		}
		for _, s := range servers {
			if _, port, err := net.SplitHostPort(s); err != nil || port != "53" {
				t.Errorf("server %q", s)
			}
		}
		for _, d := range search {
			if !strings.HasSuffix(d, ".") || d == "." {
				t.Errorf("search %q", d)
			}
		}
	})
}

// FuzzReply: whatever a server answers and an environment asks, there is an
// answer that can be sent, to that question.
func FuzzReply(f *testing.F) {
	q := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA)
	q.SetEdns0(1232, true)
	ask, _ := q.Pack()
	got, _ := address(q, "8.8.4.4").Pack()
	f.Add(ask, got)
	bad := address(q, "8.8.4.4")
	bad.SetEdns0(512, false)
	bad.Rcode = dns.RcodeBadVers
	got, _ = bad.Pack()
	f.Add(ask, got)
	f.Fuzz(func(t *testing.T, ask, got []byte) {
		q, m := new(dns.Msg), new(dns.Msg)
		if q.Unpack(ask) != nil || m.Unpack(got) != nil {
			return
		}
		closed := newForwarder("", false, slog.New(slog.DiscardHandler))
		closed.checked = time.Now().Add(time.Hour)
		for _, r := range []*dns.Msg{closed.resolve(t.Context(), q), reply(q, m)} {
			if r.Id != q.Id || !r.Response {
				t.Fatalf("%v is no answer to %v", r, q)
			}
			r.Truncate(dns.MinMsgSize)
			if _, err := r.Pack(); err != nil && len(q.Question) == 1 {
				t.Fatalf("%v does not pack: %v", r, err)
			}
		}
	})
}
