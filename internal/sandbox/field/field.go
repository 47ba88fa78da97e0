// Package field writes and reads the fields of the sandbox's messages: of the
// launcher's protocol (package wire) and the starter's.
//
// Integers are little-endian, strings and lists carry their length first. What
// is read is hostile: every bound is checked, nothing is allocated that the
// message does not hold, and there is one form of each message.
//
// The starter runs in the function's memory, so this package needs next to
// nothing of the standard library.
package field

import (
	"encoding/binary"
	"errors"
)

// Bounds of a message, of a string in it in bytes, and of a list's elements.
const (
	MaxMessage = 64 << 10
	MaxString  = 32 << 10
	MaxList    = 1024
)

// ErrMalformed is what every error of this package is.
var ErrMalformed = errors.New("malformed message")

// malformed tells what is wrong with a message.
type malformed string

func (m malformed) Error() string        { return ErrMalformed.Error() + ": " + string(m) }
func (m malformed) Is(target error) bool { return target == ErrMalformed }

// Encoder appends fields. The first bound that is crossed is kept as the error.
// The zero value is ready.
type Encoder struct {
	b   []byte
	err error
}

func (e *Encoder) fail(what string) {
	if e.err == nil {
		e.err = malformed(what)
	}
}

// U8 appends a byte.
func (e *Encoder) U8(v uint8) { e.b = append(e.b, v) }

// U16 appends two bytes.
func (e *Encoder) U16(v uint16) { e.b = binary.LittleEndian.AppendUint16(e.b, v) }

// U32 appends four bytes.
func (e *Encoder) U32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }

// I64 appends eight bytes.
func (e *Encoder) I64(v int64) { e.b = binary.LittleEndian.AppendUint64(e.b, uint64(v)) }

// Count appends the length of a list, whose elements come next.
func (e *Encoder) Count(n int) {
	if n > MaxList {
		e.fail("list too long")
	}
	e.U16(uint16(n))
}

// Flag appends a byte, 1 for true.
func (e *Encoder) Flag(v bool) {
	if v {
		e.U8(1)
	} else {
		e.U8(0)
	}
}

// Str appends a string.
func (e *Encoder) Str(s string) {
	if len(s) > MaxString {
		e.fail("string too long")
	}
	e.U32(uint32(len(s)))
	e.b = append(e.b, s...)
}

// Strs appends a list of strings.
func (e *Encoder) Strs(v []string) {
	e.Count(len(v))
	for _, s := range v {
		e.Str(s)
	}
}

// Done gives the message.
func (e *Encoder) Done() ([]byte, error) {
	if len(e.b) == 0 || len(e.b) > MaxMessage {
		e.fail("empty or too long")
	}
	return e.b, e.err
}

// Decoder reads fields. After the first error every read gives zero.
type Decoder struct {
	b   []byte
	err error
}

// NewDecoder reads a message.
func NewDecoder(b []byte) Decoder { return Decoder{b: b} }

// Fail makes the message a malformed one.
func (d *Decoder) Fail(what string) {
	if d.err == nil {
		d.err = malformed(what)
	}
	d.b = nil
}

func (d *Decoder) take(n int) []byte {
	if n > len(d.b) {
		d.Fail("truncated")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

// U8 reads a byte.
func (d *Decoder) U8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

// U16 reads two bytes.
func (d *Decoder) U16() uint16 {
	if v := d.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

// U32 reads four bytes.
func (d *Decoder) U32() uint32 {
	if v := d.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

// I64 reads eight bytes.
func (d *Decoder) I64() int64 {
	if v := d.take(8); v != nil {
		return int64(binary.LittleEndian.Uint64(v))
	}
	return 0
}

// Flag reads a byte that is 0 or 1.
func (d *Decoder) Flag() bool {
	v := d.U8()
	if v > 1 {
		d.Fail("flag")
	}
	return v == 1
}

// Str reads a string.
func (d *Decoder) Str() string {
	n := d.U32()
	if n > MaxString {
		d.Fail("string too long")
		return ""
	}
	return string(d.take(int(n)))
}

// Count reads the length of a list. Each element takes at least one byte, so a
// list longer than the rest of the message cannot be true.
func (d *Decoder) Count() int {
	n := int(d.U16())
	if n > MaxList || n > len(d.b) {
		d.Fail("list too long")
		return 0
	}
	return n
}

// Strs reads a list of strings; nil: an empty one.
func (d *Decoder) Strs() []string {
	var v []string
	for range d.Count() {
		v = append(v, d.Str())
	}
	return v
}

// Done tells whether the message was read, all of it and without an error.
func (d *Decoder) Done() error {
	if d.err == nil && len(d.b) != 0 {
		d.Fail("trailing bytes")
	}
	return d.err
}
