// Package sysfilter compiles a seccomp profile into the kernel's BPF, without
// cgo.
//
// The profile is the maintained default of the container world
// (github.com/moby/profiles), narrowed to a workload that has no capability.
// Rules that filter arguments are compiled too. Only the machine's own system
// call table is let through: x32 and 32-bit calls answer ENOSYS.
package sysfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Outcome of a system call.
type Outcome struct {
	Allow bool
	Errno uint16 // when not allowed
}

// Cond compares an argument: (arg & Mask) Op Value.
type Cond struct {
	Arg   uint
	Op    specs.LinuxSeccompOperator
	Value uint64
	Mask  uint64
}

// Rule applies when all conditions hold. Without conditions: always.
type Rule struct {
	Conds   []Cond
	Outcome Outcome
}

// Table has the rules of each known system call. The first that applies wins;
// when none does, and for calls without rules: EPERM.
type Table map[uint32][]Rule

// narrow has the filtered calls whose arguments the kernel takes as 32 bits.
// A filter sees all 64: without the mask, a personality of 1<<32|8 is another
// than 8 to the filter and the same to the kernel.
var narrow = map[string]bool{"personality": true}

// Default is what a workload without capabilities may call.
func Default() (Table, error) {
	t := Table{}
	p := seccomp.DefaultProfile()
	if p.DefaultAction != specs.ActErrno || p.DefaultErrnoRet == nil || *p.DefaultErrnoRet != uint(unix.EPERM) {
		return nil, errors.New("sysfilter: the profile's default is not EPERM")
	}
	for _, s := range p.Syscalls {
		if !selected(s) {
			continue
		}
		o, err := outcome(s.LinuxSyscall)
		if err != nil {
			return nil, err
		}
		r := Rule{Outcome: o}
		for _, a := range s.Args {
			c := Cond{Arg: a.Index, Op: a.Op, Value: a.Value, Mask: ^uint64(0)}
			if a.Op == specs.OpMaskedEqual {
				// The profile has the mask first and the value second.
				c = Cond{Arg: a.Index, Op: specs.OpEqualTo, Value: a.ValueTwo, Mask: a.Value}
			}
			if c.Arg > 5 {
				return nil, fmt.Errorf("sysfilter: argument %d", c.Arg)
			}
			r.Conds = append(r.Conds, c)
		}
		for _, name := range s.Names {
			if narrow[name] {
				for i := range r.Conds {
					r.Conds[i].Mask &= 1<<32 - 1
				}
			}
			if nr, ok := numbers[name]; ok { // else: of another architecture
				t[nr] = append(t[nr], r)
			}
		}
	}
	// What a container may want and a function has no use for.
	for _, name := range []string{
		"io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "bpf",
		"perf_event_open", "keyctl", "add_key", "request_key", "unshare", "setns", "mount",
		"open_by_handle_at", "process_vm_readv", "process_vm_writev", "ptrace",
		"modify_ldt",
	} {
		if nr, ok := numbers[name]; ok {
			delete(t, nr)
		}
	}
	for _, name := range []string{"socket", "socketpair"} {
		t[numbers[name]] = socketRules()
	}
	spareTheHost(t)
	return t, nil
}

// selected evaluates a profile entry's conditions for this architecture, no
// capabilities, and a kernel that is new enough for all of them (the driver
// needs Linux 5.12, the newest that the profile asks for is 4.8).
func selected(s *seccomp.Syscall) bool {
	if f := s.Includes; f != nil {
		if len(f.Caps) > 0 || len(f.Arches) > 0 && !slices.Contains(f.Arches, runtime.GOARCH) {
			return false
		}
		if k := f.MinKernel; k != nil && (k.Kernel > 5 || k.Kernel == 5 && k.Major > 12) {
			return false
		}
	}
	if f := s.Excludes; f != nil {
		// Capabilities that the workload does not have exclude nothing.
		if slices.Contains(f.Arches, runtime.GOARCH) {
			return false
		}
		if k := f.MinKernel; k != nil && (k.Kernel < 5 || k.Kernel == 5 && k.Major <= 12) {
			return false
		}
	}
	return true
}

func outcome(s specs.LinuxSyscall) (Outcome, error) {
	switch s.Action {
	case specs.ActAllow:
		return Outcome{Allow: true}, nil
	case specs.ActErrno:
		if s.ErrnoRet == nil {
			return Outcome{Errno: uint16(unix.EPERM)}, nil
		}
		return Outcome{Errno: uint16(*s.ErrnoRet)}, nil
	}
	return Outcome{}, fmt.Errorf("sysfilter: action %s", s.Action)
}

// Decide says what the table means, without BPF: the reference for tests.
func (t Table) Decide(nr uint32, args [6]uint64) Outcome {
	for _, r := range t[nr] {
		if r.applies(args) {
			return r.Outcome
		}
	}
	return Outcome{Errno: uint16(unix.EPERM)}
}

func (r Rule) applies(args [6]uint64) bool {
	for _, c := range r.Conds {
		v := args[c.Arg] & c.Mask
		var ok bool
		switch c.Op {
		case specs.OpEqualTo:
			ok = v == c.Value
		case specs.OpNotEqual:
			ok = v != c.Value
		case specs.OpLessThan:
			ok = v < c.Value
		case specs.OpLessEqual:
			ok = v <= c.Value
		case specs.OpGreaterThan:
			ok = v > c.Value
		case specs.OpGreaterEqual:
			ok = v >= c.Value
		}
		if !ok {
			return false
		}
	}
	return true
}

// Marshal gives the program in the kernel's layout, 8 bytes an instruction.
func Marshal(prog []unix.SockFilter) []byte {
	var b []byte
	for _, i := range prog {
		b = binary.NativeEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b
}
