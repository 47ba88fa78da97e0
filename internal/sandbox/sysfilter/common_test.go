package sysfilter

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestDefault_LeavesTheHostWhatIsTheHosts(t *testing.T) {
	table, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	run, native := compiled(t, table), arch(t)
	eperm, enosys := Outcome{Errno: uint16(unix.EPERM)}, Outcome{Errno: uint16(unix.ENOSYS)}
	allow := Outcome{Allow: true}
	for _, tc := range []struct {
		name string
		nr   uint32
		args [6]uint64
		want Outcome
	}{
		{"asynchronous I/O", unix.SYS_IO_SETUP, [6]uint64{1}, enosys},
		{"a system call filter", unix.SYS_SECCOMP, [6]uint64{1}, eperm},
		{"the same by prctl", unix.SYS_PRCTL, [6]uint64{unix.PR_SET_SECCOMP, 2}, eperm},
		{"the same, wide", unix.SYS_PRCTL, [6]uint64{1<<32 | unix.PR_SET_SECCOMP, 2}, eperm},
		{"a thread's name", unix.SYS_PRCTL, [6]uint64{unix.PR_SET_NAME}, allow},
		{"a socket's filter", unix.SYS_SETSOCKOPT, [6]uint64{3, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, eperm},
		{"the same, wide", unix.SYS_SETSOCKOPT, [6]uint64{3, 1<<32 | unix.SOL_SOCKET, 1<<32 | unix.SO_ATTACH_FILTER}, eperm},
		{"of port sharers", unix.SYS_SETSOCKOPT, [6]uint64{3, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF}, eperm},
		{"reuse of an address", unix.SYS_SETSOCKOPT, [6]uint64{3, unix.SOL_SOCKET, unix.SO_REUSEADDR}, allow},
		{"share of a port", unix.SYS_SETSOCKOPT, [6]uint64{3, unix.SOL_SOCKET, unix.SO_REUSEPORT}, allow},
		{"another limit", unix.SYS_PRLIMIT64, [6]uint64{0, unix.RLIMIT_NOFILE, 1}, allow},
		{"what the limit of cores is", unix.SYS_PRLIMIT64, [6]uint64{0, unix.RLIMIT_CORE, 0, 1}, allow},
		{"another limit of cores", unix.SYS_PRLIMIT64, [6]uint64{0, unix.RLIMIT_CORE, 1}, Outcome{}},
		{"the same, wide", unix.SYS_PRLIMIT64, [6]uint64{0, 1<<32 | unix.RLIMIT_CORE, 1 << 32}, Outcome{}},
		{"26 of another level", unix.SYS_SETSOCKOPT, [6]uint64{3, unix.IPPROTO_TCP, 26}, allow},
	} {
		if got := run(native, tc.nr, tc.args); got != want(tc.want) {
			t.Errorf("%s: %#x, want %#x", tc.name, got, want(tc.want))
		}
	}
}

func TestWithout_IsTheComplement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfNDistinct(rapid.Uint32Range(0, 80), 0, 6, rapid.ID).Draw(t, "values")
		v := rapid.OneOf(rapid.Uint32Range(0, 80), rapid.Uint32()).Draw(t, "argument")
		held := 0
		for _, c := range without(0, values) {
			if (Rule{Conds: []Cond{c}}).applies([6]uint64{uint64(v)}) {
				held++
			}
		}
		if in := slices.Contains(values, v); in && held != 0 || !in && held != 1 {
			t.Errorf("%d of the conditions without %v hold for %d", held, values, v)
		}
	})
}
