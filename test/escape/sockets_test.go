package escape

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/sandboxtest"
	"davy/internal/sandbox/wire"
)

func init() {
	probes["socket"] = func(a []string) error {
		var n [3]int
		for i := range n {
			v, err := strconv.Atoi(a[i])
			if err != nil {
				return err
			}
			n[i] = v
		}
		fd, err := unix.Socket(n[0], n[1]|unix.SOCK_CLOEXEC, n[2])
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

// Kernel code that a function has no use for is not reached through a socket.
func TestSockets_OfOrdinaryProgramsOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	w := newWorld(t)
	full, _ := sandboxtest.New(t, config(w, 0))
	open, _ := sandboxtest.New(t, config(w, wire.AblateFilter))
	for _, tc := range []struct {
		name         string
		f, kind, pro int
		ok           bool
	}{
		{"netfilter", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, false},
		{"IPsec", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM, false},
		{"generic netlink", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC, false},
		{"network devices", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, true},
		{"TCP", unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP, true},
		{"UDP", unix.AF_INET, unix.SOCK_DGRAM, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := row{probe: []string{"socket", fmt.Sprint(tc.f), fmt.Sprint(tc.kind), fmt.Sprint(tc.pro)}}
			got := try(t, full, w, 0, r)
			if tc.ok && got != reached || !tc.ok && !strings.Contains(got, "operation not permitted") {
				t.Errorf("%q", got)
			}
			switch got := try(t, open, w, wire.AblateFilter, r); {
			case strings.Contains(got, "not supported"):
				t.Log("this kernel has none")
			case got != reached:
				t.Errorf("cannot fail: without the filter it is %q", got)
			}
		})
	}
}
