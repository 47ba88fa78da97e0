package egress

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of name queries.
const (
	// asksRate is how many an environment may ask in a second.
	// https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html#vpc-dns-limits
	asksRate = 1024
	// asksAtOnce is how many of its queries may be under way.
	asksAtOnce = 64
	askWait    = 5 * time.Second // for all name servers together
	maxServers = 3               // as in resolv.conf(5)
	askBytes   = 1232            // of an answer over UDP: fits every path
)

// private are names that never belong on the internet. They are asked only for
// an operator who opened private networks.
var private = []string{
	"internal.", "local.", "lan.", "home.", "corp.", "mail.", "private.", "intranet.", "home.arpa.", "test.", "example.",
	"10.in-addr.arpa.", "168.192.in-addr.arpa.", "254.169.in-addr.arpa.",
}

// unasked are names that nobody is ever asked for.
// https://www.iana.org/assignments/special-use-domain-names
var unasked = []string{
	"localhost.", "invalid.", "onion.", "alt.",
	"127.in-addr.arpa.", "ip6.arpa.",
}

// forwarder asks this machine's name servers.
type forwarder struct {
	file    string
	private bool // private names are asked as well
	log     *slog.Logger
	wait    time.Duration // for all servers together

	mu      sync.Mutex
	checked time.Time // when file was looked at
	stamp   time.Time // of the file that was read
	size    int64
	servers []string // host:port
	search  []string // domains of this machine: private names
	failed  bool     // the last try to read it, which was logged
}

func newForwarder(file string, private bool, log *slog.Logger) *forwarder {
	return &forwarder{file: file, private: private, log: log, wait: askWait}
}

// Resolve answers a name query of the environment by asking this machine's
// name servers. It always answers: what goes wrong is a code of the reply.
// Replies may be larger than the asker takes; see dns.Msg.Truncate.
func (w *Way) Resolve(ctx context.Context, q *dns.Msg) *dns.Msg {
	if !w.asks.Allow() {
		return answer(q, dns.RcodeRefused)
	}
	select {
	case w.asking <- struct{}{}:
		defer func() { <-w.asking }()
	default:
		return answer(q, dns.RcodeServerFailure)
	}
	ctx, cancel := context.WithTimeout(ctx, w.gate.names.wait)
	defer cancel()
	stop := context.AfterFunc(w.ctx, cancel)
	defer stop()
	return w.gate.names.resolve(ctx, q)
}

func answer(q *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, code)
	m.RecursionAvailable = true
	return m
}

// resolve answers one query.
func (f *forwarder) resolve(ctx context.Context, q *dns.Msg) *dns.Msg {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery || q.Question[0].Qclass != dns.ClassINET {
		return answer(q, dns.RcodeRefused)
	}
	question := q.Question[0]
	name := dns.CanonicalName(question.Name)
	servers, search := f.config()
	switch {
	case !f.asks(name, search):
		return answer(q, dns.RcodeNameError)
	case question.Qtype == dns.TypeAAAA:
		// Environments have no IPv6: the name may exist, without such an
		// address. Nobody is asked, and nobody tries one.
		return answer(q, dns.RcodeSuccess)
	case !forwarded(question.Qtype):
		return answer(q, dns.RcodeNotImplemented)
	}
	ask := new(dns.Msg).SetQuestion(question.Name, question.Qtype)
	ask.CheckingDisabled = q.CheckingDisabled
	opt := q.IsEdns0()
	ask.SetEdns0(askBytes, opt != nil && opt.Do())
	// Each twice: a packet may be lost.
	for range 2 {
		var silent []string
		for _, server := range servers {
			got, err := exchange(ctx, ask, server, f.wait/time.Duration(2*len(servers)))
			switch {
			case isTimeout(err):
				silent = append(silent, server)
			case err == nil && got.Rcode != dns.RcodeServerFailure && got.Rcode != dns.RcodeRefused:
				return reply(q, got)
			} // else: the next may know better
		}
		if servers = silent; len(servers) == 0 {
			break
		}
	}
	return answer(q, dns.RcodeServerFailure)
}

// asks reports whether a name may be asked for.
func (f *forwarder) asks(name string, search []string) bool {
	in := func(domains []string) bool {
		for _, d := range domains {
			if name == d || strings.HasSuffix(name, "."+d) {
				return true
			}
		}
		return false
	}
	if in(unasked) {
		return false
	}
	if f.private {
		return true
	}
	// A name of one label means something to this machine's network, if to
	// anybody. The root is asked for by resolvers.
	if name != "." && strings.Count(name, ".") < 2 {
		return false
	}
	return !in(private) && !in(search) && !carrierGrade(name)
}

// carrierGrade reports whether a name is the reverse of an address of
// 172.16.0.0/12 or 100.64.0.0/10, which have many zones.
func carrierGrade(name string) bool {
	rest, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	if !ok {
		return false
	}
	labels := strings.Split(rest, ".")
	if len(labels) < 2 {
		return false
	}
	first, second := labels[len(labels)-1], labels[len(labels)-2]
	a, err := netip.ParseAddr(first + "." + second + ".0.0")
	return err == nil && notInternet(a) != ""
}

// forwarded reports whether a type is one that is asked: no transfer, no
// question about all, nothing about the conversation itself.
func forwarded(t uint16) bool {
	switch t {
	case dns.TypeNone, dns.TypeOPT, dns.TypeTKEY, dns.TypeTSIG:
		return false
	}
	return t < dns.TypeIXFR-1 || t > dns.TypeANY // IXFR, AXFR, MAILB, MAILA, ANY lie in between
}

// exchange asks one server, over TCP when the answer does not fit.
func exchange(ctx context.Context, ask *dns.Msg, server string, wait time.Duration) (*dns.Msg, error) {
	ask = ask.Copy()
	ask.Id = dns.Id()
	for _, network := range []string{"udp", "tcp"} {
		c := dns.Client{Net: network, UDPSize: askBytes, Timeout: wait}
		got, _, err := c.ExchangeContext(ctx, ask, server)
		if err != nil {
			return nil, err
		}
		if !got.Response || len(got.Question) != 1 || got.Question[0].Qtype != ask.Question[0].Qtype ||
			!strings.EqualFold(got.Question[0].Name, ask.Question[0].Name) {
			return nil, errors.New("answer to another question")
		}
		if !got.Truncated {
			return got, nil
		}
	}
	return nil, errors.New("answer does not fit")
}

// reply makes a server's answer the answer to q.
func reply(q, got *dns.Msg) *dns.Msg {
	m := answer(q, got.Rcode)
	m.AuthenticatedData = got.AuthenticatedData
	m.Answer, m.Ns = got.Answer, got.Ns
	for _, rr := range got.Extra {
		if rr.Header().Rrtype != dns.TypeOPT { // which is between two hosts
			m.Extra = append(m.Extra, rr)
		}
	}
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(askBytes, opt.Do())
	}
	return m
}

// config is what resolv.conf says, read again when it has changed.
func (f *forwarder) config() (servers, search []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.checked) < time.Second {
		return f.servers, f.search
	}
	f.checked = now
	info, err := os.Stat(f.file)
	if err == nil && info.ModTime().Equal(f.stamp) && info.Size() == f.size {
		return f.servers, f.search
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(f.file)
	}
	if err == nil {
		f.stamp, f.size = info.ModTime(), info.Size()
		f.servers, f.search = readResolvConf(string(text))
		if len(f.servers) == 0 {
			err = errors.New("no name server in it")
		}
	}
	if err != nil && !f.failed {
		f.log.Warn("names of the internet are not resolved", "file", f.file, "error", err)
	}
	f.failed = err != nil
	return f.servers, f.search
}

// readResolvConf reads what the forwarder needs of a resolv.conf.
func readResolvConf(text string) (servers, search []string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ";")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			a, err := netip.ParseAddr(fields[1])
			if err == nil && len(servers) < maxServers {
				servers = append(servers, net.JoinHostPort(a.String(), "53"))
			}
		case "search", "domain":
			search = nil // the last line counts
			for _, d := range fields[1:] {
				if _, ok := dns.IsDomainName(d); ok && d != "." {
					search = append(search, dns.CanonicalName(d))
				}
			}
		}
	}
	return servers, search
}
