package sysfilter

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Calls that take from what all of the host has together, whatever the limits
// of a sandbox are. A function that takes all of it stops others and the host.
//
// Asynchronous I/O of the older kind: fs.aio-max-nr is the host's. Programs
// do without where a kernel has none.
var hostWide = []string{"io_setup", "io_submit", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents"}

// Programs for the kernel's BPF: their machine code is charged to nobody, and
// net.core.bpf_jit_limit bounds that of all unprivileged users together. When
// it is reached no sandbox gets its own filter any more, and none starts.
var (
	attachOptions = []uint32{unix.SO_ATTACH_FILTER, unix.SO_ATTACH_BPF, unix.SO_ATTACH_REUSEPORT_CBPF, unix.SO_ATTACH_REUSEPORT_EBPF}
	filterCalls   = []string{"seccomp"} // and prctl with PR_SET_SECCOMP
)

// A core goes to a program of the host's where core_pattern says so: it runs as
// root, outside of every namespace, on what a function wrote. The limit that
// keeps it from running is 1, and a function may not make it 0, which would be
// no limit: who asks for that is told that it was done, as there is no core
// either way. Programs that guard secrets give up when they are refused.
func keepCoreLimit(t Table) {
	const limitCore = unix.RLIMIT_CORE
	core := func(arg uint, op specs.LinuxSeccompOperator) Cond {
		return Cond{Arg: arg, Op: op, Value: limitCore, Mask: wholeInt}
	}
	value := func(op specs.LinuxSeccompOperator) Cond {
		return Cond{Arg: 2, Op: op, Mask: ^uint64(0)}
	}
	allow, done := Outcome{Allow: true}, Outcome{}
	t[numbers["prlimit64"]] = []Rule{
		{Conds: []Cond{core(1, specs.OpNotEqual)}, Outcome: allow},
		{Conds: []Cond{core(1, specs.OpEqualTo), value(specs.OpEqualTo)}, Outcome: allow}, // only asks
		{Conds: []Cond{core(1, specs.OpEqualTo), value(specs.OpNotEqual)}, Outcome: done},
	}
	t[numbers["setrlimit"]] = []Rule{
		{Conds: []Cond{core(0, specs.OpNotEqual)}, Outcome: allow},
		{Conds: []Cond{core(0, specs.OpEqualTo)}, Outcome: done},
	}
}

// spareTheHost takes out of a table what would take from the host.
func spareTheHost(t Table) {
	enosys := Outcome{Errno: uint16(unix.ENOSYS)}
	for _, name := range hostWide {
		if nr, ok := numbers[name]; ok {
			t[nr] = []Rule{{Outcome: enosys}}
		}
	}
	for _, name := range filterCalls {
		if nr, ok := numbers[name]; ok {
			delete(t, nr)
		}
	}
	allow := func(conds ...Cond) Rule { return Rule{Conds: conds, Outcome: Outcome{Allow: true}} }
	t[numbers["prctl"]] = []Rule{
		allow(Cond{Arg: 0, Op: specs.OpNotEqual, Value: unix.PR_SET_SECCOMP, Mask: wholeInt}),
	}
	rules := []Rule{allow(Cond{Arg: 1, Op: specs.OpNotEqual, Value: unix.SOL_SOCKET, Mask: wholeInt})}
	level := Cond{Arg: 1, Op: specs.OpEqualTo, Value: unix.SOL_SOCKET, Mask: wholeInt}
	for _, option := range without(2, attachOptions) {
		rules = append(rules, allow(level, option))
	}
	t[numbers["setsockopt"]] = rules
	keepCoreLimit(t)
}

// without gives conditions of which one holds exactly when a 32-bit argument
// is none of the values: blocks of numbers that have their upper bits in
// common. Every condition is one comparison, which all runtimes understand.
func without(arg uint, values []uint32) []Cond {
	var conds []Cond
	var split func(first uint32, size int, values []uint32)
	split = func(first uint32, size int, values []uint32) {
		if len(values) == 0 {
			mask := uint64(wholeInt) &^ (1<<size - 1)
			conds = append(conds, Cond{Arg: arg, Op: specs.OpEqualTo, Value: uint64(first), Mask: mask})
			return
		}
		if size == 0 {
			return
		}
		size--
		var low, high []uint32
		for _, v := range values {
			if v>>size&1 == 0 {
				low = append(low, v)
			} else {
				high = append(high, v)
			}
		}
		split(first, size, low)
		split(first|1<<size, size, high)
	}
	split(0, 32, values)
	return conds
}
