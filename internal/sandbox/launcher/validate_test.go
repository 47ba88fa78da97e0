package launcher

import (
	"testing"

	"davy/internal/sandbox/wire"
)

func TestValidateListen(t *testing.T) {
	for _, tc := range []struct {
		spec string
		ok   bool
	}{
		{"tcp:169.254.100.1:80", true},
		{"udp:127.0.0.1:53", true},
		{"tcp:10.0.0.1:80", false},
		{"tcp:169.254.100.1:0", false},
		{"tcp:[::1]:80", false},
		{"sctp:127.0.0.1:80", false},
		{"tun:169.254.100.2/32", true},
		{"tun:169.254.100.2/16", true},
		{"tun:169.254.100.2/15", false},
		{"tun:169.254.100.2/0", false},
		{"tun:169.254.100.2", false},
		{"tun:127.0.0.1/32", false},
		{"tun:10.0.0.2/32", false},
		{"tun:0.0.0.0/0", false},
		{"tun:[fe80::1]/64", false},
		{"tun:fe80::1/64", false},
		{"tun:169.254.100.2/32/32", false},
		{"tun:", false},
		{"", false},
	} {
		if err := validateListen(tc.spec); (err == nil) != tc.ok {
			t.Errorf("%q: %v", tc.spec, err)
		}
	}
}

func TestValidateCreate_OneDevice(t *testing.T) {
	r := wire.Request{ID: "a", Create: wire.Create{Args: []string{"/bin/true"}, Listen: []string{"tun:169.254.100.2/32"}}}
	if err := validateCreate(&r, 0); err != nil {
		t.Fatal(err)
	}
	r.Create.Listen = append(r.Create.Listen, "tun:169.254.100.3/32")
	if err := validateCreate(&r, 0); err == nil {
		t.Error("two devices are accepted")
	}
}

// FuzzValidateListen: what is let through can be made, in the sandbox alone.
func FuzzValidateListen(f *testing.F) {
	for _, s := range []string{"tcp:169.254.100.1:80", "tun:169.254.100.2/32", "udp:127.0.0.1:53", "tun:0.0.0.0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if validateListen(s) != nil {
			return
		}
		c := wire.Create{Listen: []string{s}}
		if tun := len(s) > 4 && s[:4] == "tun:"; (c.Tuns() == 1) != tun {
			t.Errorf("%q is counted as %d devices", s, c.Tuns())
		}
	})
}
