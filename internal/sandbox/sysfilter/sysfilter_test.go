package sysfilter

import (
	"encoding/binary"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// machine interprets a program as the kernel does, on a call.
func machine(t fataler, prog []unix.SockFilter) func(arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	var raw []bpf.RawInstruction
	for _, i := range prog {
		raw = append(raw, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	ins, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("an instruction is unknown")
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return func(arch, nr uint32, args [6]uint64) uint32 {
		// The interpreter loads big-endian words, the kernel native ones.
		var b []byte
		for _, w := range []uint32{nr, arch, 0, 0} {
			b = binary.BigEndian.AppendUint32(b, w)
		}
		for _, a := range args {
			b = binary.BigEndian.AppendUint32(b, uint32(a))
			b = binary.BigEndian.AppendUint32(b, uint32(a>>32))
		}
		n, err := vm.Run(b)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
}

func want(o Outcome) uint32 { return ret(o).K }

func compiled(t testing.TB, table Table) func(arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	prog, err := Compile(table)
	if err != nil {
		t.Fatal(err)
	}
	return machine(t, prog)
}

func arch(t testing.TB) uint32 {
	a, err := auditArch()
	if err != nil {
		t.Skip(err)
	}
	return a
}

func TestDefault_DecidesAsTheProfileSays(t *testing.T) {
	table, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	run, native := compiled(t, table), arch(t)
	eperm, enosys := Outcome{Errno: uint16(unix.EPERM)}, Outcome{Errno: uint16(unix.ENOSYS)}
	allow := Outcome{Allow: true}
	flags := uint64(unix.CLONE_VM | unix.CLONE_THREAD)
	for _, tc := range []struct {
		name string
		nr   uint32
		arg0 uint64
		want Outcome
	}{
		{"read", unix.SYS_READ, 0, allow},
		{"clone a thread", unix.SYS_CLONE, flags, allow},
		{"clone a user namespace", unix.SYS_CLONE, flags | unix.CLONE_NEWUSER, eperm},
		{"clone a network namespace", unix.SYS_CLONE, unix.CLONE_NEWNET, eperm},
		{"clone3", unix.SYS_CLONE3, 0, enosys},
		{"UNIX pair", unix.SYS_SOCKETPAIR, unix.AF_UNIX, allow},
		{"AF_ALG socket", unix.SYS_SOCKET, unix.AF_ALG, eperm},
		{"AF_VSOCK socket", unix.SYS_SOCKET, unix.AF_VSOCK, eperm},
		{"AF_XDP socket", unix.SYS_SOCKET, unix.AF_XDP, eperm},
		{"TIPC pair", unix.SYS_SOCKETPAIR, unix.AF_TIPC, eperm},
		{"AF_VSOCK to the kernel, greater to the eye", unix.SYS_SOCKET, 1<<32 | unix.AF_VSOCK, eperm},
		{"query the personality", unix.SYS_PERSONALITY, 0xffffffff, allow},
		{"no address randomisation", unix.SYS_PERSONALITY, 0x40000, eperm},
		{"unshare", unix.SYS_UNSHARE, 0, eperm},
		{"setns", unix.SYS_SETNS, 0, eperm},
		{"mount", unix.SYS_MOUNT, 0, eperm},
		{"bpf", unix.SYS_BPF, 0, eperm},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, 0, eperm},
		{"userfaultfd", unix.SYS_USERFAULTFD, 0, eperm},
		{"keyctl", unix.SYS_KEYCTL, 0, eperm},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0, eperm},
		{"ptrace", unix.SYS_PTRACE, 0, eperm},
		{"a call of the future", 9999, 0, eperm},
	} {
		args := [6]uint64{tc.arg0}
		if got := run(native, tc.nr, args); got != want(tc.want) {
			t.Errorf("%s: %#x, want %#x", tc.name, got, want(tc.want))
		}
	}
	if got := run(unix.AUDIT_ARCH_I386, 3, [6]uint64{}); got != want(enosys) {
		t.Errorf("32-bit call: %#x", got)
	}
	if got := run(native, unix.SYS_READ|x32Bit, [6]uint64{}); got != want(enosys) {
		t.Errorf("x32 call: %#x", got)
	}
}

func TestDefault_AllowsTheSocketsOfOrdinaryPrograms(t *testing.T) {
	table, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	run, native := compiled(t, table), arch(t)
	const wide = 1 << 32
	for _, tc := range []struct {
		name string
		args [3]uint64
		ok   bool
	}{
		{"TCP", [3]uint64{unix.AF_INET, unix.SOCK_STREAM, 0}, true},
		{"TCP, not blocking, closed on exec", [3]uint64{unix.AF_INET6, unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK, unix.IPPROTO_TCP}, true},
		{"multipath TCP, which Go's listeners are", [3]uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP}, true},
		{"UDP", [3]uint64{unix.AF_INET, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC, unix.IPPROTO_UDP}, true},
		{"ping", [3]uint64{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6}, true},
		{"UNIX", [3]uint64{unix.AF_UNIX, unix.SOCK_SEQPACKET, 0}, true},
		{"network devices", [3]uint64{unix.AF_NETLINK, unix.SOCK_RAW | unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE}, true},
		{"netfilter", [3]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, false},
		{"netfilter, by a wide argument", [3]uint64{unix.AF_NETLINK, unix.SOCK_RAW, wide | unix.NETLINK_NETFILTER}, false},
		{"device list, by a wide argument", [3]uint64{wide | unix.AF_NETLINK, wide | unix.SOCK_RAW, wide | unix.NETLINK_ROUTE}, true},
		{"SCTP", [3]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, false},
		{"SCTP by kind", [3]uint64{unix.AF_INET, unix.SOCK_SEQPACKET, 0}, false},
		{"raw", [3]uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, false},
		{"packets", [3]uint64{unix.AF_PACKET, unix.SOCK_RAW, 0}, false},
		{"RDS", [3]uint64{unix.AF_RDS, unix.SOCK_SEQPACKET, 0}, false},
		{"CAN", [3]uint64{unix.AF_CAN, unix.SOCK_RAW, 1}, false},
		{"Bluetooth", [3]uint64{unix.AF_BLUETOOTH, unix.SOCK_STREAM, 3}, false},
	} {
		o := Outcome{Allow: tc.ok, Errno: uint16(unix.EPERM)}
		if got := run(native, unix.SYS_SOCKET, [6]uint64{tc.args[0], tc.args[1], tc.args[2]}); got != want(o) {
			t.Errorf("%s: %#x, want %#x", tc.name, got, want(o))
		}
	}
}

// The compiled program and the plain reading of the table agree.
func TestCompile_AgreesWithTheTable(t *testing.T) {
	native := arch(t)
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Uint64Range(0, 4), rapid.Uint64(), rapid.SampledFrom([]uint64{1 << 32, 1<<32 + 1, 1<<32 - 1, ^uint64(0)}))
		cond := rapid.Custom(func(t *rapid.T) Cond {
			mask := ^uint64(0)
			if rapid.Bool().Draw(t, "masked") {
				mask = value.Draw(t, "mask")
			}
			return Cond{Arg: uint(rapid.IntRange(0, 5).Draw(t, "arg")), Op: rapid.SampledFrom(ops).Draw(t, "op"), Value: value.Draw(t, "value"), Mask: mask}
		})
		rule := rapid.Custom(func(t *rapid.T) Rule {
			o := Outcome{Allow: true}
			if rapid.Bool().Draw(t, "deny") {
				o = Outcome{Errno: rapid.Uint16Range(1, 100).Draw(t, "errno")}
			}
			return Rule{Conds: rapid.SliceOfN(cond, 0, 3).Draw(t, "conds"), Outcome: o}
		})
		table := Table(rapid.MapOfN(rapid.Uint32Range(0, 600), rapid.SliceOfN(rule, 0, 3), 0, 60).Draw(t, "table"))
		prog, err := Compile(table)
		if err != nil {
			t.Fatal(err)
		}
		run := machine(t, prog)
		for range 50 {
			nr := rapid.Uint32Range(0, 610).Draw(t, "nr")
			var args [6]uint64
			for i := range args {
				args[i] = value.Draw(t, "argument")
			}
			if got, w := run(native, nr, args), want(table.Decide(nr, args)); got != w {
				t.Fatalf("call %d %v: %#x, want %#x", nr, args, got, w)
			}
		}
	})
}

// fataler is what testing.T and rapid.T share.
type fataler interface {
	Helper()
	Fatal(args ...any)
}
