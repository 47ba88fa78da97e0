package sysfilter

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Offsets in the kernel's struct seccomp_data; both architectures are
// little-endian.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

const (
	retAllow = 0x7fff0000
	retErrno = 0x00050000
	x32Bit   = 0x40000000
)

// auditArch is what the kernel calls this architecture.
func auditArch() (uint32, error) {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64, nil
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64, nil
	}
	return 0, fmt.Errorf("sysfilter: no filter for %s", runtime.GOARCH)
}

// Compile makes the BPF program of a table: the checks of architecture and
// x32, then a binary search over the ranges of numbers that are treated alike.
func Compile(t Table) ([]unix.SockFilter, error) {
	arch, err := auditArch()
	if err != nil {
		return nil, err
	}
	enosys := ret(Outcome{Errno: uint16(unix.ENOSYS)})
	prog := []unix.SockFilter{
		load(offArch),
		jump(unix.BPF_JEQ, arch, 1, 0),
		enosys,
		load(offNumber),
		jump(unix.BPF_JGE, x32Bit, 0, 1),
		enosys,
	}
	leaves, err := ranges(t)
	if err != nil {
		return nil, err
	}
	prog = append(prog, search(leaves)...)
	if len(prog) > 4096 { // BPF_MAXINSNS
		return nil, errors.New("sysfilter: program too long")
	}
	return prog, nil
}

// leaf is the code for the numbers from first up to the next leaf's.
type leaf struct {
	first uint32
	code  []unix.SockFilter
}

func ranges(t Table) ([]leaf, error) {
	deny := []unix.SockFilter{ret(Outcome{Errno: uint16(unix.EPERM)})}
	leaves := []leaf{{0, deny}}
	add := func(first uint32, code []unix.SockFilter) {
		last := &leaves[len(leaves)-1]
		switch {
		case slices.Equal(last.code, code):
		case last.first == first:
			last.code = code
		default:
			leaves = append(leaves, leaf{first, code})
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(t)) {
		code, err := body(t[nr])
		if err != nil {
			return nil, err
		}
		add(nr, code)
		if _, next := t[nr+1]; !next {
			add(nr+1, deny)
		}
	}
	return leaves, nil
}

// search is a binary tree of comparisons whose leaves are the code. A
// conditional jump reaches 255 instructions only, so the far side is reached
// with an unconditional one.
func search(leaves []leaf) []unix.SockFilter {
	if len(leaves) == 1 {
		return leaves[0].code
	}
	mid := len(leaves) / 2
	low, high := search(leaves[:mid]), search(leaves[mid:])
	code := []unix.SockFilter{
		jump(unix.BPF_JGE, leaves[mid].first, 0, 1),
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(low))},
	}
	return append(append(code, low...), high...)
}

// body is the code of one call's rules, in order.
func body(rules []Rule) ([]unix.SockFilter, error) {
	var code []unix.SockFilter
	for _, r := range rules {
		part := []unix.SockFilter{ret(r.Outcome)}
		for _, c := range slices.Backward(r.Conds) {
			check, err := condition(c, len(part))
			if err != nil {
				return nil, err
			}
			part = append(check, part...)
		}
		code = append(code, part...)
		if len(r.Conds) == 0 {
			return code, nil // later rules cannot apply
		}
	}
	return append(code, ret(Outcome{Errno: uint16(unix.EPERM)})), nil
}

// condition falls through when it holds and else skips itself and the rest
// instructions that follow. The argument is compared in two halves.
func condition(c Cond, rest int) ([]unix.SockFilter, error) {
	// A comparison ends in one of two places: "next", the instruction after
	// the check, or "skip". Each step names where it goes.
	const next, skip = -1, -2
	type step struct {
		ins    unix.SockFilter
		jt, jf int // index of a step, next or skip; used by jumps
	}
	low, high := uint32(offArgs+8*c.Arg), uint32(offArgs+8*c.Arg+4)
	vl, vh := uint32(c.Value), uint32(c.Value>>32)
	var s []step
	loadMasked := func(off, mask uint32) {
		s = append(s, step{ins: load(off)})
		if mask != ^uint32(0) {
			s = append(s, step{ins: unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}})
		}
	}
	cmp := func(op uint16, k uint32, jt, jf int) {
		s = append(s, step{jump(op, k, 0, 0), jt, jf})
	}
	loadMasked(high, uint32(c.Mask>>32))
	yes, no := next, skip
	op := uint16(unix.BPF_JEQ)
	switch c.Op {
	case specs.OpEqualTo, specs.OpNotEqual:
		if c.Op == specs.OpNotEqual {
			yes, no = skip, next
		}
		cmp(unix.BPF_JEQ, vh, len(s)+1, no)
	case specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual:
		// Less is not greater-or-equal, less-or-equal is not greater.
		if c.Op == specs.OpLessThan || c.Op == specs.OpLessEqual {
			yes, no = skip, next
		}
		cmp(unix.BPF_JGT, vh, yes, len(s)+1)
		cmp(unix.BPF_JEQ, vh, len(s)+1, no)
		op = unix.BPF_JGT
		if c.Op == specs.OpGreaterEqual || c.Op == specs.OpLessThan {
			op = unix.BPF_JGE
		}
	default:
		return nil, fmt.Errorf("sysfilter: operator %s", c.Op)
	}
	loadMasked(low, uint32(c.Mask))
	cmp(op, vl, yes, no)

	var code []unix.SockFilter
	for i, st := range s {
		if st.ins.Code&0x07 == unix.BPF_JMP {
			offset := func(target int) (uint8, error) {
				n := target - i - 1
				switch target {
				case next:
					n = len(s) - i - 1
				case skip:
					n = len(s) - i - 1 + rest
				}
				if n > 255 {
					return 0, errors.New("sysfilter: rule too long")
				}
				return uint8(n), nil
			}
			var err1, err2 error
			st.ins.Jt, err1 = offset(st.jt)
			st.ins.Jf, err2 = offset(st.jf)
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
		}
		code = append(code, st.ins)
	}
	return code, nil
}

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

func jump(op uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: jt, Jf: jf, K: k}
}

func ret(o Outcome) unix.SockFilter {
	k := uint32(retAllow)
	if !o.Allow {
		k = retErrno | uint32(o.Errno)
	}
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}
