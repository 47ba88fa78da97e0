package wire

import (
	"encoding/binary"
	"fmt"

	"davy/internal/sandbox"
)

// encoder appends fields; the first bound that is crossed is kept as the
// error.
type encoder struct {
	b   []byte
	err error
}

func (e *encoder) u8(v uint8)   { e.b = append(e.b, v) }
func (e *encoder) u32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) i64(v int64)  { e.b = binary.LittleEndian.AppendUint64(e.b, uint64(v)) }

func (e *encoder) u16(n int) {
	if n > maxList && e.err == nil {
		e.err = fmt.Errorf("%w: list of %d", ErrMalformed, n)
	}
	e.b = binary.LittleEndian.AppendUint16(e.b, uint16(n))
}

func (e *encoder) flag(v bool) {
	if v {
		e.u8(1)
	} else {
		e.u8(0)
	}
}

func (e *encoder) str(s string) {
	if len(s) > maxString && e.err == nil {
		e.err = fmt.Errorf("%w: string of %d bytes", ErrMalformed, len(s))
	}
	e.u32(uint32(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) strs(v []string) {
	e.u16(len(v))
	for _, s := range v {
		e.str(s)
	}
}

func (e *encoder) mounts(v []Mount) {
	e.u16(len(v))
	for _, m := range v {
		e.str(m.Source)
		e.str(m.Target)
	}
}

func (e *encoder) limits(l sandbox.Limits) {
	e.i64(l.MemoryBytes)
	e.i64(l.CPUMilli)
	e.i64(l.TmpBytes)
	e.i64(l.PIDs)
	e.i64(l.OpenFiles)
	e.i64(l.CPUWeight)
}

func (e *encoder) usage(u sandbox.Usage) {
	e.i64(u.MemoryPeakBytes)
	e.i64(u.MemoryBytes)
	e.i64(u.CPUMicros)
}

func (e *encoder) create(c Create) {
	e.str(c.Root)
	e.strs(c.Args)
	e.strs(c.Env)
	e.str(c.Dir)
	e.str(c.Tmp)
	e.strs(c.Listen)
	e.flag(c.Stdout)
	e.flag(c.Stderr)
	e.u8(c.Files)
}

func (e *encoder) done() ([]byte, error) {
	if e.err == nil && len(e.b) > MaxMessage {
		e.err = fmt.Errorf("%w: %d bytes", ErrMalformed, len(e.b))
	}
	return e.b, e.err
}

// decoder reads fields; after the first error every read gives zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail("truncated")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) i64() int64 {
	if v := d.take(8); v != nil {
		return int64(binary.LittleEndian.Uint64(v))
	}
	return 0
}

func (d *decoder) flag() bool {
	v := d.u8()
	if v > 1 {
		d.fail("flag")
	}
	return v == 1
}

func (d *decoder) str() string {
	n := d.u32()
	if n > maxString {
		d.fail("string too long")
		return ""
	}
	return string(d.take(int(n)))
}

// count reads the length of a list. Each element takes at least one byte, so
// a list longer than the rest of the packet cannot be true.
func (d *decoder) count() int {
	v := d.take(2)
	if v == nil {
		return 0
	}
	n := int(binary.LittleEndian.Uint16(v))
	if n > maxList || n > len(d.b) {
		d.fail("list too long")
		return 0
	}
	return n
}

func (d *decoder) strs() []string {
	var v []string
	for range d.count() {
		v = append(v, d.str())
	}
	return v
}

func (d *decoder) mounts() []Mount {
	var v []Mount
	for range d.count() {
		v = append(v, Mount{Source: d.str(), Target: d.str()})
	}
	return v
}

func (d *decoder) limits() sandbox.Limits {
	return sandbox.Limits{MemoryBytes: d.i64(), CPUMilli: d.i64(), TmpBytes: d.i64(), PIDs: d.i64(), OpenFiles: d.i64(), CPUWeight: d.i64()}
}

func (d *decoder) usage() sandbox.Usage {
	return sandbox.Usage{MemoryPeakBytes: d.i64(), MemoryBytes: d.i64(), CPUMicros: d.i64()}
}

func (d *decoder) create() Create {
	return Create{
		Root: d.str(), Args: d.strs(), Env: d.strs(), Dir: d.str(), Tmp: d.str(), Listen: d.strs(),
		Stdout: d.flag(), Stderr: d.flag(), Files: d.u8(),
	}
}

func (d *decoder) kind(k uint8) {
	if d.u8() != k {
		d.fail("unexpected kind")
	}
}

func (d *decoder) done() error {
	if d.err == nil && len(d.b) != 0 {
		d.fail("trailing bytes")
	}
	return d.err
}
