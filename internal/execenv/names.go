package execenv

import (
	"context"
	"net"
	"strings"

	"github.com/miekg/dns"
)

// Address is where an environment reaches Davy: AWS's own host names lead
// there. It exists only inside environments, each has its own.
const Address = "169.254.100.1"

const nameTTL = 60 // seconds

// resolver answers the name queries of environments: the served suffixes lead
// to Davy, other names exist only for those with a way out.
type resolver struct {
	suffixes []string // lower case, fully qualified: "amazonaws.com."
	ctx      context.Context
	out      Way // nil: none
}

func newResolver(suffixes []string) resolver {
	var r resolver
	for _, s := range suffixes {
		r.suffixes = append(r.suffixes, dns.CanonicalName(s))
	}
	return r
}

func (r resolver) serves(name string) bool {
	name = dns.CanonicalName(name)
	for _, s := range r.suffixes {
		if name == s || strings.HasSuffix(name, "."+s) {
			return true
		}
	}
	return false
}

// ServeDNS implements dns.Handler.
func (r resolver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := r.answer(q)
	if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
		m.Truncate(sizeFor(q)) // who wants the rest asks again over TCP
	}
	// An answer that cannot be written is the asker's loss alone.
	_ = w.WriteMsg(m)
}

// sizeFor is how many bytes of an answer the asker takes over UDP.
func sizeFor(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return max(int(opt.UDPSize()), dns.MinMsgSize)
	}
	return dns.MinMsgSize
}

func (r resolver) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		return m.SetRcode(q, dns.RcodeRefused)
	}
	m.SetReply(q)
	m.RecursionAvailable = true
	question := q.Question[0]
	if !r.serves(question.Name) {
		if r.out != nil {
			return r.out.Resolve(r.ctx, q)
		}
		m.Rcode = dns.RcodeNameError
		return m
	}
	if question.Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: nameTTL},
			A:   net.ParseIP(Address),
		}}
	}
	return m
}
