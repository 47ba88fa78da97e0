package wire

import (
	"davy/internal/sandbox"
	"davy/internal/sandbox/field"
)

// encoder appends what the messages have in common.
type encoder struct{ field.Encoder }

func (e *encoder) mounts(v []Mount) {
	e.Count(len(v))
	for _, m := range v {
		e.Str(m.Source)
		e.Str(m.Target)
	}
}

func (e *encoder) limits(l sandbox.Limits) {
	e.I64(l.MemoryBytes)
	e.I64(l.CPUMilli)
	e.I64(l.TmpBytes)
	e.I64(l.PIDs)
	e.I64(l.OpenFiles)
	e.I64(l.CPUWeight)
}

func (e *encoder) usage(u sandbox.Usage) {
	e.I64(u.MemoryPeakBytes)
	e.I64(u.MemoryBytes)
	e.I64(u.CPUMicros)
}

func (e *encoder) create(c Create) {
	e.Str(c.Root)
	e.Strs(c.Args)
	e.Strs(c.Env)
	e.Str(c.Dir)
	e.Str(c.Tmp)
	e.Strs(c.Listen)
	e.Flag(c.Stdout)
	e.Flag(c.Stderr)
	e.U8(c.Files)
}

// decoder reads what the messages have in common.
type decoder struct{ field.Decoder }

func decode(b []byte) decoder { return decoder{field.NewDecoder(b)} }

func (d *decoder) mounts() []Mount {
	var v []Mount
	for range d.Count() {
		v = append(v, Mount{Source: d.Str(), Target: d.Str()})
	}
	return v
}

func (d *decoder) limits() sandbox.Limits {
	return sandbox.Limits{MemoryBytes: d.I64(), CPUMilli: d.I64(), TmpBytes: d.I64(), PIDs: d.I64(), OpenFiles: d.I64(), CPUWeight: d.I64()}
}

func (d *decoder) usage() sandbox.Usage {
	return sandbox.Usage{MemoryPeakBytes: d.I64(), MemoryBytes: d.I64(), CPUMicros: d.I64()}
}

func (d *decoder) create() Create {
	return Create{
		Root: d.Str(), Args: d.Strs(), Env: d.Strs(), Dir: d.Str(), Tmp: d.Str(), Listen: d.Strs(),
		Stdout: d.Flag(), Stderr: d.Flag(), Files: d.U8(),
	}
}

func (d *decoder) kind(k uint8) {
	if d.U8() != k {
		d.Fail("unexpected kind")
	}
}
