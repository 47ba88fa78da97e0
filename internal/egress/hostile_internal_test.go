package egress

import (
	"context"
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// One environment that opens all the flows that it gets leaves some to others.
func TestGate_NoEnvironmentTakesAllFlows(t *testing.T) {
	g := &Gate{cfg: Config{MaxFlows: 120}}
	open := func(n int, total int64) int {
		for g.may(n, total) && n < flowsEach {
			n, total = n+1, total+1
		}
		return n
	}
	if n := open(0, 0); n != 60 {
		t.Errorf("the first has %d of 120", n)
	}
	if n := open(0, 60); n != 30 {
		t.Errorf("the second has %d of 120", n)
	}
	if n := open(0, 1<<20); n != flowsSure {
		t.Errorf("a newcomer has %d when none is left", n)
	}
}

func TestWay_BuffersAreBounded(t *testing.T) {
	for _, tc := range []struct {
		own, all, want int
	}{
		{1, 1, maxBuffer},
		{64, 64, buffersEach / 64},
		{1000, 1000, minBuffer},
		{1, 4096, buffersAll / 4096},
		{1, 1 << 20, leastBuffer},
	} {
		w := &Way{gate: &Gate{}, flows: tc.own}
		w.gate.flows.Store(int64(tc.all))
		if got := w.bufferBytes(); got != tc.want {
			t.Errorf("%d of %d flows: %d bytes, want %d", tc.own, tc.all, got, tc.want)
		}
	}
}

// Whatever an environment writes to its device, nothing breaks, and with a
// closed policy nothing is opened. Packets are given to the stack with their
// lengths and checksums made right, too, so that more than these is looked at.
func FuzzInject(f *testing.F) {
	packet := func(protocol byte, payload []byte) []byte {
		b := append([]byte{
			0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0,
			169, 254, 100, 2, 8, 8, 8, 8,
		}, payload...)
		return repair(b)
	}
	f.Add(packet(unix.IPPROTO_UDP, []byte{0x10, 0, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4}))
	f.Add(packet(unix.IPPROTO_TCP, []byte{0x10, 0, 1, 187, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}))
	f.Add(packet(unix.IPPROTO_TCP, []byte{0x10, 0, 1, 187, 0, 0, 0, 1, 0, 0, 0, 0, 0x80, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 180, 3, 3, 7, 1, 4, 2, 1, 0}))
	f.Add(packet(unix.IPPROTO_ICMP, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, packet(unix.IPPROTO_UDP, make([]byte, 8))...)))
	fragment := packet(unix.IPPROTO_UDP, make([]byte, 64))
	fragment[6] = 0x20 // more follow
	f.Add(repair(fragment))
	f.Add([]byte{0x60, 0, 0, 0})

	g, err := New(Config{Policy: Policy{Mode: None}, ResolvConf: os.DevNull})
	if err != nil {
		f.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	w, err := newWay(context.Background(), g, "fuzz", fds[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		w.Close()
		unix.Close(fds[1])
		g.Close()
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		w.inject(b)
		w.inject(repair(b))
		// Answers are not read by anybody; the device must not mind.
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.flows != 0 || g.flows.Load() != 0 {
			t.Errorf("%d flows are open", w.flows)
		}
	})
}

// repair gives a copy of a packet whose length and header checksum are right.
func repair(b []byte) []byte {
	b = append([]byte(nil), b...)
	if len(b) < 20 || b[0]>>4 != 4 || len(b) > mtu {
		return b
	}
	size := int(b[0]&15) * 4
	if size < 20 || size > len(b) {
		return b
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[10], b[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < size; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return b
}
