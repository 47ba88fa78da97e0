package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rule is a set of destinations: a network and, if it names them, ports.
type Rule struct {
	Net       netip.Prefix
	Low, High uint16 // 0, 0: every port
}

// ParseRule reads CIDR, CIDR:PORT or CIDR:PORT-PORT, where CIDR may be one
// address. Environments speak IPv4, so that a rule about IPv6 would be about
// nothing: it is an error.
func ParseRule(s string) (Rule, error) {
	var r Rule
	network, ports, hasPorts := strings.Cut(s, ":")
	if strings.Contains(ports, ":") || strings.HasPrefix(s, "[") {
		return r, fmt.Errorf("%q: environments have no IPv6", s)
	}
	if hasPorts {
		low, high, isRange := strings.Cut(ports, "-")
		if !isRange {
			high = low
		}
		var errLow, errHigh error
		r.Low, errLow = parsePort(low)
		r.High, errHigh = parsePort(high)
		if err := errors.Join(errLow, errHigh); err != nil || r.Low > r.High {
			return Rule{}, fmt.Errorf("%q: want a port or LOW-HIGH after the colon, of 1 to 65535", s)
		}
	}
	var err error
	if strings.Contains(network, "/") {
		r.Net, err = netip.ParsePrefix(network)
	} else {
		var a netip.Addr
		if a, err = netip.ParseAddr(network); err == nil {
			r.Net = netip.PrefixFrom(a, a.BitLen())
		}
	}
	switch {
	case err != nil || !r.Net.IsValid() || !r.Net.Addr().Is4():
		return Rule{}, fmt.Errorf("%q: want an IPv4 address or network (10.1.0.0/16), and :PORT if only one is meant", s)
	case r.Net != r.Net.Masked():
		return Rule{}, fmt.Errorf("%q: the network of that size is %s", s, r.Net.Masked())
	}
	return r, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && (n == 0 || s[0] == '0' || s[0] == '+') {
		err = strconv.ErrSyntax
	}
	return uint16(n), err
}

// String is the rule as ParseRule reads it.
func (r Rule) String() string {
	s := r.Net.String()
	switch {
	case r.Low == 0:
		return s
	case r.Low == r.High:
		return fmt.Sprintf("%s:%d", s, r.Low)
	}
	return fmt.Sprintf("%s:%d-%d", s, r.Low, r.High)
}

// Matches reports whether a destination is of the set.
func (r Rule) Matches(to netip.AddrPort) bool {
	return r.Net.Contains(to.Addr()) && (r.Low == 0 || r.Low <= to.Port() && to.Port() <= r.High)
}

// Modes of a policy.
const (
	Internet = "internet" // public addresses, as functions have them on AWS
	None     = "none"     // what is allowed by name, and nothing else
)

// Policy says what environments may reach.
type Policy struct {
	Mode  string // Internet or None; empty: Internet
	Allow []Rule // private networks, and addresses of this machine
	Deny  []Rule // refused whatever else is said
}

// unusable are networks that an environment's packets never leave it for: its
// own loopback, and what no network carries.
var unusable = prefixes("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")

// Check says what is wrong with a policy: a rule to allow what cannot be
// reached, or more than anyone means to.
func (p Policy) Check() error {
	if p.Mode != "" && p.Mode != Internet && p.Mode != None {
		return fmt.Errorf("%q: want %s or %s", p.Mode, Internet, None)
	}
	for _, r := range p.Allow {
		for _, u := range unusable {
			if u.Contains(r.Net.Addr()) && u.Bits() <= r.Net.Bits() {
				return fmt.Errorf("%s: nothing outside of an environment has such an address", r)
			}
		}
		if r.Net.Bits() < 8 {
			return fmt.Errorf("%s: that is every private network and this machine; name those that are meant, the internet is mode %s", r, Internet)
		}
	}
	return nil
}

// Closed reports whether nothing at all can be reached.
func (p Policy) Closed() bool { return p.Mode == None && len(p.Allow) == 0 }

// special are networks that are not the internet. The order does not matter.
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
var special = []struct {
	why  string
	nets []netip.Prefix
}{
	{"this machine", prefixes("0.0.0.0/8", "127.0.0.0/8", "::/127")},
	{"link-local address, where clouds have their metadata", prefixes("169.254.0.0/16", "fe80::/10")},
	{"private network", prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")},
	{"metadata of a cloud", prefixes("168.63.129.16/32")}, // Azure's; the others' lie in other rows
	{"multicast", prefixes("224.0.0.0/4", "ff00::/8")},
	{"reserved network", prefixes(
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
	)},
}

var (
	global6 = netip.MustParsePrefix("2000::/3") // all IPv6 that was ever given out to be global
	sixTo4  = netip.MustParsePrefix("2002::/16")
	nat64   = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// notInternet tells why an address is none of the internet; empty: it is one.
// One that carries an IPv4 address is judged by that.
func notInternet(a netip.Addr) string {
	if !a.IsValid() {
		return "no address"
	}
	a = a.Unmap().WithZone("")
	if b := a.As16(); a.Is6() {
		switch {
		case sixTo4.Contains(a):
			return notInternet(netip.AddrFrom4([4]byte(b[2:6])))
		case nat64.Contains(a):
			return notInternet(netip.AddrFrom4([4]byte(b[12:16])))
		}
	}
	for _, s := range special {
		if slices.ContainsFunc(s.nets, func(n netip.Prefix) bool { return n.Contains(a) }) {
			return s.why
		}
	}
	if a.Is6() && !global6.Contains(a) {
		return "reserved network"
	}
	return ""
}

// smtp is refused as AWS does it: "TCP port 25 traffic is also blocked as an
// anti-spam measure."
// https://aws.amazon.com/lambda/faqs/
const smtp = 25

// refuses tells why a flow to a destination is refused; empty: it is not, if
// the destination is no address of this machine, unless own says that this
// does not matter because a rule names it.
func (p Policy) refuses(protocol string, to netip.AddrPort) (why string, own bool) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	matches := func(r Rule) bool { return r.Matches(to) }
	switch {
	case slices.ContainsFunc(p.Deny, matches):
		return "a rule denies it", false
	case slices.ContainsFunc(p.Allow, matches):
		return "", true
	case p.Mode == None:
		return "no rule allows it", false
	case protocol == "tcp" && to.Port() == smtp:
		return "port 25, as on AWS", false
	}
	return notInternet(to.Addr()), false
}
