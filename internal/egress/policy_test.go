package egress

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func rules(t testing.TB, list ...string) []Rule {
	t.Helper()
	var out []Rule
	for _, s := range list {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestNotInternet(t *testing.T) {
	for addr, want := range map[string]string{
		"8.8.8.8": "", "1.1.1.1": "", "9.255.255.255": "", "11.0.0.0": "", "172.15.255.255": "", "172.32.0.0": "",
		"100.63.255.255": "", "100.128.0.0": "", "192.167.255.255": "", "192.169.0.0": "", "169.253.255.255": "",
		"169.255.0.0": "", "223.255.255.255": "", "126.255.255.255": "", "128.0.0.0": "", "198.17.255.255": "", "198.20.0.0": "",

		"0.0.0.0": "this machine", "0.1.2.3": "this machine", "127.0.0.1": "this machine", "127.255.255.255": "this machine",
		"169.254.169.254": "link-local", "169.254.170.2": "link-local", "169.254.0.0": "link-local",
		"10.0.0.0": "private", "10.255.255.255": "private", "172.16.0.0": "private", "172.31.255.255": "private",
		"192.168.0.0": "private", "192.168.255.255": "private", "100.64.0.0": "private", "100.127.255.255": "private",
		"100.100.100.200": "private", // Alibaba's metadata
		"168.63.129.16":   "metadata", "192.0.0.192": "reserved",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "reserved",
		"192.0.2.1": "reserved", "198.51.100.1": "reserved", "203.0.113.1": "reserved", "198.18.0.1": "reserved", "192.88.99.1": "reserved",

		"2606:4700:4700::1111": "", "2a00:1450:4001::1": "", "2001:4860:4860::8888": "",
		"::": "this machine", "::1": "this machine", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"fd00:ec2::254": "private", "fc00::1": "private", "fec0::1": "private", "ff02::1": "multicast",
		"2001:db8::1": "reserved", "2001::1": "reserved", "100::1": "reserved", "3fff::1": "reserved", "::2": "reserved", "4000::1": "reserved",
		// IPv4 in IPv6
		"::ffff:10.0.0.1": "private", "::ffff:127.0.0.1": "this machine", "::ffff:8.8.8.8": "",
		"2002:0a00:0001::": "private", "2002:7f00:1::1": "this machine", "2002:0808:0808::": "", "2002:a9fe:a9fe::1": "link-local",
		"64:ff9b::10.0.0.1": "private", "64:ff9b::169.254.169.254": "link-local", "64:ff9b::8.8.8.8": "", "64:ff9b:1::8.8.8.8": "reserved",
		"::127.0.0.1": "reserved",
	} {
		got := notInternet(netip.MustParseAddr(addr))
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if notInternet(netip.Addr{}) == "" {
		t.Error("no address at all is the internet")
	}
}

func TestPolicy_Refuses(t *testing.T) {
	for _, tc := range []struct {
		name        string
		policy      Policy
		protocol    string
		to          string
		refused, of bool // of: the destination may be this machine
	}{
		{"internet", Policy{}, "tcp", "8.8.8.8:443", false, false},
		{"internet, by UDP", Policy{Mode: Internet}, "udp", "8.8.8.8:53", false, false},
		{"mail", Policy{}, "tcp", "8.8.8.8:25", true, false},
		{"mail, by UDP it is none", Policy{}, "udp", "8.8.8.8:25", false, false},
		{"mail, allowed", Policy{Allow: rules(t, "8.8.8.8:25")}, "tcp", "8.8.8.8:25", false, true},
		{"private", Policy{}, "tcp", "10.1.2.3:443", true, false},
		{"private, allowed", Policy{Allow: rules(t, "10.1.0.0/16")}, "tcp", "10.1.2.3:443", false, true},
		{"private, mapped, allowed", Policy{Allow: rules(t, "10.1.0.0/16")}, "tcp", "[::ffff:10.1.2.3]:443", false, true},
		{"private, mapped", Policy{}, "tcp", "[::ffff:10.1.2.3]:443", true, false},
		{"beside what is allowed", Policy{Allow: rules(t, "10.1.0.0/16")}, "tcp", "10.2.2.3:443", true, false},
		{"another port", Policy{Allow: rules(t, "10.1.2.3:5432")}, "tcp", "10.1.2.3:5433", true, false},
		{"a port of a range", Policy{Allow: rules(t, "10.1.2.3:5000-6000")}, "tcp", "10.1.2.3:6000", false, true},
		{"after a range", Policy{Allow: rules(t, "10.1.2.3:5000-6000")}, "tcp", "10.1.2.3:6001", true, false},
		{"metadata", Policy{}, "tcp", "169.254.169.254:80", true, false},
		{"denied", Policy{Deny: rules(t, "8.8.0.0/16")}, "tcp", "8.8.8.8:443", true, false},
		{"denied by port", Policy{Deny: rules(t, "0.0.0.0/0:443")}, "tcp", "8.8.8.8:443", true, false},
		{"not the denied port", Policy{Deny: rules(t, "0.0.0.0/0:443")}, "tcp", "8.8.8.8:80", false, false},
		{"denied and allowed", Policy{Allow: rules(t, "10.0.0.0/8"), Deny: rules(t, "10.1.2.3")}, "tcp", "10.1.2.3:1", true, false},
		{"none", Policy{Mode: None}, "tcp", "8.8.8.8:443", true, false},
		{"none, allowed", Policy{Mode: None, Allow: rules(t, "8.8.8.8")}, "tcp", "8.8.8.8:443", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			why, own := tc.policy.refuses(tc.protocol, netip.MustParseAddrPort(tc.to))
			if (why != "") != tc.refused || own != tc.of {
				t.Errorf("%q, %v", why, own)
			}
		})
	}
}

// However it is written, an address that a policy without rules lets through is
// a public unicast address.
func TestPolicy_OnlyPublicAddressesWithoutRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		switch rapid.IntRange(0, 4).Draw(t, "form") {
		case 0:
			copy(b, make([]byte, 10))
			b[10], b[11] = 255, 255
		case 1:
			b[0], b[1] = 0x20, 0x02
		case 2:
			copy(b, []byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0})
		case 3:
			copy(b, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		}
		a := netip.AddrFrom16([16]byte(b))
		if why, _ := (Policy{}).refuses("tcp", netip.AddrPortFrom(a, 443)); why != "" {
			return
		}
		inner := a.Unmap()
		switch {
		case sixTo4.Contains(inner):
			inner = netip.AddrFrom4([4]byte(b[2:6]))
		case nat64.Contains(inner):
			inner = netip.AddrFrom4([4]byte(b[12:16]))
		}
		if inner.IsPrivate() || inner.IsLoopback() || inner.IsLinkLocalUnicast() || inner.IsMulticast() || inner.IsUnspecified() ||
			inner.IsInterfaceLocalMulticast() || !inner.IsGlobalUnicast() || inner == netip.MustParseAddr("255.255.255.255") {
			t.Errorf("%s is let through", a)
		}
	})
}

func TestPolicy_Check(t *testing.T) {
	for _, tc := range []struct {
		policy Policy
		say    string // empty: it is fine
	}{
		{Policy{}, ""},
		{Policy{Mode: Internet, Allow: rules(t, "10.0.0.0/8", "169.254.169.254:80", "192.0.2.0/24")}, ""},
		{Policy{Mode: "open"}, "want internet or none"},
		{Policy{Allow: rules(t, "0.0.0.0/0")}, "name those"},
		{Policy{Allow: rules(t, "128.0.0.0/1:443")}, "name those"},
		{Policy{Allow: rules(t, "127.0.0.1:5432")}, "nothing outside"},
		{Policy{Allow: rules(t, "224.0.0.251")}, "nothing outside"},
		{Policy{Allow: rules(t, "255.255.255.255")}, "nothing outside"},
		{Policy{Allow: rules(t, "0.0.0.0")}, "nothing outside"},
		{Policy{Deny: rules(t, "0.0.0.0/0:25")}, ""},
	} {
		err := tc.policy.Check()
		if (err == nil) != (tc.say == "") || err != nil && !strings.Contains(err.Error(), tc.say) {
			t.Errorf("%+v: %v, want %q", tc.policy, err, tc.say)
		}
	}
	if !(Policy{Mode: None}).Closed() || (Policy{}).Closed() || (Policy{Mode: None, Allow: rules(t, "10.0.0.1")}).Closed() {
		t.Error("Closed")
	}
}

func TestParseRule(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "10.1.2.3:80": "10.1.2.3/32:80", "0.0.0.0/0:25": "0.0.0.0/0:25",
		"10.0.0.0/8:1-65535": "10.0.0.0/8:1-65535", "10.0.0.0/8:80-80": "10.0.0.0/8:80",
	} {
		if r, err := ParseRule(in); err != nil || r.String() != want {
			t.Errorf("%q: %s, %v", in, r, err)
		}
	}
	for in, say := range map[string]string{
		"": "want an IPv4", "10.0.0.1/8": "the network of that size is 10.0.0.0/8", "10.0.0.0/33": "want an IPv4", "host": "want an IPv4", "10.0.0.0/8:": "want a port",
		"10.0.0.0/8:0": "want a port", "10.0.0.0/8:65536": "want a port", "10.0.0.0/8:2-1": "want a port", "10.0.0.0/8:http": "want a port", "10.0.0.1:+80": "want a port",
		"10.0.0.1:080": "want a port", "::1": "no IPv6", "[::1]:80": "no IPv6", "fd00::/8": "no IPv6", "::ffff:10.0.0.1": "no IPv6", "10.0.0.0/8:1-2-3": "want a port",
		"10.0.0.1,10.0.0.2": "want an IPv4", " 10.0.0.1": "want an IPv4", "010.0.0.1": "want an IPv4",
	} {
		if _, err := ParseRule(in); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v, want %q", in, err, say)
		}
	}
}

// FuzzParseRule: what is read is written as it is read, and matches what is in
// its network and nothing else.
func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "1.2.3.4:5", "0.0.0.0/0:1-2", "[::1]:80", "::", "1.2.3.4/32:65535", ":", "/"} {
		f.Add(s, uint32(0x0a000001), uint16(80))
	}
	f.Fuzz(func(t *testing.T, s string, addr uint32, port uint16) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Errorf("%q is %s, which is %s, %v", s, r, again, err)
		}
		a := netip.AddrFrom4([4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)})
		shift := 32 - r.Net.Bits()
		b := r.Net.Addr().As4()
		base := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		want := uint64(addr)>>shift == uint64(base)>>shift && (r.Low == 0 || port >= r.Low && port <= r.High)
		if got := r.Matches(netip.AddrPortFrom(a, port)); got != want {
			t.Errorf("%s matches %s:%d: %v", r, a, port, got)
		}
	})
}
