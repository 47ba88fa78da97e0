package pid1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"unsafe"
)

// reaper waits for every child of pid 1 and, when the one whose pid is its
// first argument ends, writes the 4-byte wait status to descriptor 3 and
// exits, which ends the sandbox. It runs in a program of its own. Processes
// that are started in the sandbox later need nothing from it: it waits for
// whoever is given to it.
//
//lint:ignore U1000 reaperCode takes its address
func reaper()

// reaperCode is the address of reaper's machine code.
func reaperCode() uintptr

// ReaperImage is a complete ELF program that is nothing but the reaper: one
// page of code, one of stack. As pid 1 it keeps a sandbox's own memory at a
// few KiB where a Go program would need megabytes.
func ReaperImage() ([]byte, error) { return image(reaperCode()) }

// image makes an ELF program of machine code that ends at eight bytes 0xCC.
func image(code uintptr) ([]byte, error) {
	const (
		limit  = 512
		base   = 0x400000
		header = 64 + 2*56
	)
	text := unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&code))), limit)
	n := bytes.Index(text, bytes.Repeat([]byte{0xCC}, 8))
	if n < 0 {
		return nil, errors.New("pid1: a program without an end")
	}
	machine := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = 183 // EM_AARCH64
	}
	var b []byte
	u16 := func(v ...uint16) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint16(b, x)
		}
	}
	u32 := func(v uint32) { b = binary.LittleEndian.AppendUint32(b, v) }
	u64 := func(v ...uint64) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, x)
		}
	}
	b = append(b, 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	u16(2, machine) // executable
	u32(1)
	u64(base+header, 64, 0) // entry, program header, no section header
	u32(0)
	u16(64, 56, 2, 0, 0, 0)
	size := uint64(header + n)
	u32(1)     // PT_LOAD
	u32(4 | 1) // readable, executable
	u64(0, base, base, size, size, 0x10000)
	u32(0x6474e551) // PT_GNU_STACK
	u32(4 | 2)      // not executable
	u64(0, 0, 0, 0, 0, 16)
	return append(b, text[:n]...), nil
}
