package s3

import (
	"encoding/binary"
	"hash/crc64"
	"sync"

	"golang.org/x/sys/cpu"
)

// fold takes blocks of 64 bytes into four accumulators of 128 bits: it
// multiplies each by what 64 bytes that follow multiply a message by, and adds
// the block's 16 bytes. What is behind the last whole block is left out.
//
//go:noescape
func fold(acc *[8]uint64, p []byte, by *[2]uint64)

// byBlock is x^575 and x^511 modulo the polynomial: the shift by 64 bytes of
// the two halves of an accumulator. The one that is missing to 576 and 512 is
// the bit that the product of two reversed numbers is short of.
var byBlock = sync.OnceValue(func() *[2]uint64 { return &[2]uint64{powerOfX(575), powerOfX(511)} })

// powerOfX is x^n modulo the polynomial, bits reversed.
func powerOfX(n int) uint64 {
	v := uint64(1) << 63
	for range n {
		carry := v & 1
		if v >>= 1; carry == 1 {
			v ^= nvmePolynomial
		}
	}
	return v
}

// foldNVME sums the blocks of 64 bytes at the beginning of p with the
// processor's multiplication without carries, and returns the rest. The
// accumulators are, in the end, a message of 64 bytes with the same remainder.
func foldNVME(sum uint64, p []byte) (uint64, []byte) {
	if !cpu.X86.HasPCLMULQDQ || len(p) < 256 {
		return sum, p
	}
	whole := len(p) &^ 63
	var acc [8]uint64
	for i := range acc {
		acc[i] = binary.LittleEndian.Uint64(p[8*i:])
	}
	acc[0] ^= ^sum
	fold(&acc, p[64:whole], byBlock())
	var last [64]byte
	for i, v := range acc {
		binary.LittleEndian.PutUint64(last[8*i:], v)
	}
	return crc64.Update(^uint64(0), nvme, last[:]), p[whole:]
}
