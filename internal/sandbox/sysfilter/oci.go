package sysfilter

import (
	"fmt"
	"maps"
	"math/bits"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// OCI gives the table in the form that a container runtime takes.
//
// A runtime's filter compares all 64 bits of an argument, or, masked, for
// equality only. Comparisons of 32-bit arguments are therefore written as
// masked equalities, one for each bit that can decide: without that, a socket
// family of 1<<32|AF_VSOCK would pass.
func (t Table) OCI() (*specs.LinuxSeccomp, error) {
	arch, ok := map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64}[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("sysfilter: no filter for %s", runtime.GOARCH)
	}
	p := &specs.LinuxSeccomp{
		DefaultAction:   specs.ActErrno,
		DefaultErrnoRet: new(uint(unix.EPERM)),
		Architectures:   []specs.Arch{arch},
	}
	names := map[uint32][]string{}
	for name, nr := range numbers {
		names[nr] = append(names[nr], name)
	}
	always := map[Outcome][]string{}
	for _, nr := range slices.Sorted(maps.Keys(t)) {
		call := slices.Sorted(slices.Values(names[nr]))[:1]
		for i, r := range t[nr] {
			if slices.ContainsFunc(t[nr][:i], func(o Rule) bool { return o.Outcome != r.Outcome && !o.excludes(r) }) {
				// The order of rules means nothing to a runtime.
				return nil, fmt.Errorf("sysfilter: %s has rules with different outcomes", call[0])
			}
			for i, c := range r.Conds {
				if slices.ContainsFunc(r.Conds[:i], func(o Cond) bool { return o.Arg == c.Arg }) {
					// Runtimes read that as "or".
					return nil, fmt.Errorf("sysfilter: %s has two conditions for one argument", call[0])
				}
			}
			if len(r.Conds) == 0 {
				always[r.Outcome] = append(always[r.Outcome], call[0])
				break
			}
			for _, args := range alternatives(r.Conds) {
				p.Syscalls = append(p.Syscalls, syscallRule(call, r.Outcome, args))
			}
		}
	}
	for o, calls := range always {
		if o != (Outcome{Errno: uint16(unix.EPERM)}) { // else: the default
			p.Syscalls = append(p.Syscalls, syscallRule(calls, o, nil))
		}
	}
	slices.SortStableFunc(p.Syscalls, func(a, b specs.LinuxSyscall) int { return slices.Compare(a.Names, b.Names) })
	return p, nil
}

func syscallRule(names []string, o Outcome, args []specs.LinuxSeccompArg) specs.LinuxSyscall {
	s := specs.LinuxSyscall{Names: names, Action: specs.ActAllow, Args: args}
	if !o.Allow {
		s.Action, s.ErrnoRet = specs.ActErrno, new(uint(o.Errno))
	}
	return s
}

// excludes reports whether two rules never apply to the same call, because one
// wants an argument equal to what the other wants it not to be.
func (r Rule) excludes(o Rule) bool {
	return slices.ContainsFunc(r.Conds, func(a Cond) bool {
		return slices.ContainsFunc(o.Conds, func(b Cond) bool {
			opposite := a.Op == specs.OpEqualTo && b.Op == specs.OpNotEqual || a.Op == specs.OpNotEqual && b.Op == specs.OpEqualTo
			return opposite && a.Arg == b.Arg && a.Mask == b.Mask && a.Value == b.Value
		})
	})
}

// alternatives writes conditions, all of which must hold, as lists of
// arguments of which one must hold completely.
func alternatives(conds []Cond) [][]specs.LinuxSeccompArg {
	all := [][]specs.LinuxSeccompArg{nil}
	for _, c := range conds {
		var next [][]specs.LinuxSeccompArg
		for _, one := range c.equalities() {
			for _, before := range all {
				next = append(next, append(slices.Clone(before), one))
			}
		}
		all = next
	}
	return all
}

// equalities are masked comparisons of which one holds exactly when c does.
func (c Cond) equalities() []specs.LinuxSeccompArg {
	var v []specs.LinuxSeccompArg
	masked := func(mask, value uint64) {
		v = append(v, specs.LinuxSeccompArg{Index: c.Arg, Value: mask, ValueTwo: value, Op: specs.OpMaskedEqual})
	}
	// Where argument and value differ first decides: with a 1 in the value
	// there the argument is less, with a 0 greater.
	decide := func(bit uint64) {
		for i := range bits.Len64(c.Mask) {
			b := uint64(1) << i
			if c.Mask&b != 0 && c.Value&b == bit<<i {
				masked(c.Mask&^(b-1), (c.Value^b)&c.Mask&^(b-1))
			}
		}
	}
	equal := func() { masked(c.Mask, c.Value) }
	switch c.Op {
	case specs.OpEqualTo:
		equal()
	case specs.OpNotEqual:
		decide(1)
		decide(0)
	case specs.OpLessThan:
		decide(1)
	case specs.OpLessEqual:
		decide(1)
		equal()
	case specs.OpGreaterThan:
		decide(0)
	case specs.OpGreaterEqual:
		decide(0)
		equal()
	}
	return v
}
