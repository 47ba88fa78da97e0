package egress

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRouteOf_ThisMachine(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "127.1.2.3"} {
		why, err := routeOf(netip.MustParseAddr(a))
		if err != nil || why != "address of this machine" {
			t.Errorf("%s: %q, %v", a, why, err)
		}
	}
}

// A machine whose routes cannot be asked for reaches nothing that no rule
// names.
func TestGate_RefusesWhenTheRouteIsNotKnown(t *testing.T) {
	g, err := New(Config{
		Policy: Policy{Allow: rules(t, "10.0.0.0/8")},
		route:  func(netip.Addr) (string, error) { return "", errors.New("broken") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if why := g.judge("tcp", netip.MustParseAddrPort("8.8.8.8:80")); why == "" {
		t.Error("it is let through")
	}
	if why := g.judge("tcp", netip.MustParseAddrPort("10.1.1.1:80")); why != "" {
		t.Errorf("a rule names it: %q", why)
	}
}

// FuzzReadRoute: no answer but a route to somewhere else lets a flow through.
func FuzzReadRoute(f *testing.F) {
	message := func(kind uint16, body ...byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		return append(append(b, make([]byte, 10)...), append(body, make([]byte, 32)...)...)
	}
	f.Add(message(unix.RTM_NEWROUTE, 2, 32, 0, 0, 254, 3, 0, unix.RTN_UNICAST))
	f.Add(message(unix.RTM_NEWROUTE, 2, 32, 0, 0, 255, 3, 0, unix.RTN_LOCAL))
	f.Add(message(unix.NLMSG_ERROR, 0x9b, 0xff, 0xff, 0xff))
	f.Add(message(unix.NLMSG_ERROR))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		why, err := readRoute(b)
		if why != "" || err != nil {
			return
		}
		if len(b) < 24 || binary.NativeEndian.Uint16(b[4:]) != unix.RTM_NEWROUTE || b[16+7] != unix.RTN_UNICAST {
			t.Errorf("%x lets a flow through", b)
		}
	})
}

func TestInspect(t *testing.T) {
	packet := func(proto byte, to [4]byte, payload ...byte) []byte {
		b := append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0, 169, 254, 100, 2}, to[:]...)
		return append(b, payload...)
	}
	segment := func(flags byte) []byte { return append(append(make([]byte, 13), flags), make([]byte, 6)...) }
	public := [4]byte{8, 8, 8, 8}
	for name, tc := range map[string]struct {
		packet []byte
		want   int
	}{
		"nothing":             {nil, packetOther},
		"IPv6":                {append([]byte{0x60}, make([]byte, 60)...), packetOther},
		"cut off":             {packet(17, public)[:19], packetOther},
		"header beyond it":    {append([]byte{0x4f}, packet(17, public, 1, 2, 3)[1:]...), packetOther},
		"header too short":    {append([]byte{0x44}, packet(17, public, 1, 2, 3)[1:]...), packetOther},
		"UDP":                 {packet(17, public, make([]byte, 8)...), packetOpening},
		"UDP to a group":      {packet(17, [4]byte{224, 0, 0, 251}, make([]byte, 8)...), packetOther},
		"UDP to everybody":    {packet(17, [4]byte{255, 255, 255, 255}, make([]byte, 8)...), packetOther},
		"TCP SYN":             {packet(6, public, segment(2)...), packetOpening},
		"TCP RST":             {packet(6, public, segment(4)...), packetOfFlow},
		"TCP cut off":         {packet(6, public, segment(2)[:19]...), packetOther},
		"ping":                {packet(1, public, 8, 0, 0, 0, 0, 0, 0, 0), packetOther},
		"ICMP port closed":    {packet(1, public, 3, 3, 0, 0, 0, 0, 0, 0), packetOfFlow},
		"a tunnel":            {packet(47, public, make([]byte, 40)...), packetOther},
		"an IPv4 in IPv4":     {packet(4, public, make([]byte, 40)...), packetOther},
		"router solicitation": {packet(2, [4]byte{224, 0, 0, 22}, make([]byte, 8)...), packetOther},
	} {
		if got := inspect(tc.packet); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
