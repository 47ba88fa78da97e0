package sysfilter

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// decideOCI is what the OCI runtime specification says a profile means, for
// profiles without masks under other comparisons.
func decideOCI(p *specs.LinuxSeccomp, name string, args [6]uint64) Outcome {
	for _, s := range p.Syscalls {
		if !slices.Contains(s.Names, name) {
			continue
		}
		holds := true
		for _, a := range s.Args {
			holds = holds && a.Op == specs.OpMaskedEqual && args[a.Index]&a.Value == a.ValueTwo
		}
		if holds {
			if s.Action == specs.ActAllow {
				return Outcome{Allow: true}
			}
			return Outcome{Errno: uint16(*s.ErrnoRet)}
		}
	}
	return Outcome{Errno: uint16(*p.DefaultErrnoRet)}
}

func TestOCI_MeansTheSameAsTheTable(t *testing.T) {
	table, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	p, err := table.OCI()
	if err != nil {
		t.Fatal(err)
	}
	for name, nr := range numbers {
		for _, arg := range []uint64{
			0, 1, 8, unix.AF_ALG - 1, unix.AF_ALG, unix.AF_ALG + 1, unix.AF_VSOCK, unix.AF_VSOCK + 1, 1<<32 | unix.AF_VSOCK,
			0x20000, 0x20008, 0x40000, 0xffffffff, 1<<32 | 8, unix.CLONE_NEWUSER, unix.CLONE_NEWUSER | 0x11, 0x11, ^uint64(0),
		} {
			args := [6]uint64{arg, arg, arg, arg, arg, arg}
			if got, want := decideOCI(p, name, args), table.Decide(nr, args); got != want {
				t.Errorf("%s(%#x): %+v, want %+v", name, arg, got, want)
			}
		}
	}
}

func TestOCI_ComparisonsAsEqualities(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mask := rapid.SampledFrom([]uint64{1<<32 - 1, ^uint64(0), 0xff, 0x7e020000}).Draw(t, "mask")
		c := Cond{
			Mask: mask, Value: rapid.Uint64().Draw(t, "value") & mask,
			Op: rapid.SampledFrom([]specs.LinuxSeccompOperator{
				specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual,
			}).Draw(t, "operator"),
		}
		arg := rapid.OneOf(
			rapid.Uint64(),
			rapid.Custom(func(t *rapid.T) uint64 { return c.Value + rapid.Uint64Range(0, 2).Draw(t, "near") - 1 }),
			rapid.Custom(func(t *rapid.T) uint64 { return c.Value ^ 1<<rapid.IntRange(0, 63).Draw(t, "bit") }),
		).Draw(t, "argument")
		got := false
		for _, e := range c.equalities() {
			got = got || arg&e.Value == e.ValueTwo
		}
		if want := (Rule{Conds: []Cond{c}}).applies([6]uint64{arg}); got != want {
			t.Errorf("%#x %s %#x under %#x: %v, want %v", arg, c.Op, c.Value, c.Mask, got, want)
		}
	})
}
