package s3

import (
	"encoding/binary"
	"hash"
	"hash/crc64"
	"sync"
)

// laneSize is how many bytes of each lane are summed at once: enough that
// joining the lanes costs nothing beside it.
const laneSize = 4 << 10

// nvmeTables are what sums eight bytes at a time.
type nvmeTables struct {
	by8  [8]crc64.Table
	lane uint64 // x^(8*laneSize)
}

var tablesOfNVME = sync.OnceValue(func() *nvmeTables {
	t := &nvmeTables{lane: power(laneSize, nvmePolynomial, 64)}
	t.by8[0] = *nvme
	for i := range 256 {
		sum := nvme[i]
		for k := 1; k < 8; k++ {
			sum = nvme[byte(sum)] ^ sum>>8
			t.by8[k][i] = sum
		}
	}
	return t
})

// nvmeHash is CRC-64/NVME. A step of a table-driven CRC waits for the one
// before it, so bodies are summed in three lanes, whose steps don't wait for
// one another, and the lanes' sums joined; or not by tables, see foldNVME.
type nvmeHash struct{ sum uint64 }

func newNVME() hash.Hash { return &nvmeHash{} }

// Write implements io.Writer.
func (h *nvmeHash) Write(p []byte) (int, error) {
	n := len(p)
	h.sum, p = foldNVME(h.sum, p)
	h.sum = sumNVME(h.sum, p)
	return n, nil
}

// sumNVME sums by tables.
func sumNVME(sum uint64, p []byte) uint64 {
	if len(p) >= 3*laneSize {
		t := tablesOfNVME()
		for ; len(p) >= 3*laneSize; p = p[3*laneSize:] {
			sum = t.lanes(sum, p[:laneSize], p[laneSize:2*laneSize], p[2*laneSize:3*laneSize])
		}
	}
	return crc64.Update(sum, nvme, p)
}

// lanes appends three pieces of laneSize to what sum is of.
func (t *nvmeTables) lanes(sum uint64, p, q, r []byte) uint64 {
	a, b, c := ^sum, ^uint64(0), ^uint64(0)
	for len(p) >= 8 && len(q) >= 8 && len(r) >= 8 {
		a ^= binary.LittleEndian.Uint64(p)
		b ^= binary.LittleEndian.Uint64(q)
		c ^= binary.LittleEndian.Uint64(r)
		a = t.step(a)
		b = t.step(b)
		c = t.step(c)
		p, q, r = p[8:], q[8:], r[8:]
	}
	sum = multiply(^a, t.lane, nvmePolynomial, 64) ^ ^b
	return multiply(sum, t.lane, nvmePolynomial, 64) ^ ^c
}

func (t *nvmeTables) step(v uint64) uint64 {
	return t.by8[7][byte(v)] ^ t.by8[6][byte(v>>8)] ^ t.by8[5][byte(v>>16)] ^ t.by8[4][byte(v>>24)] ^
		t.by8[3][byte(v>>32)] ^ t.by8[2][byte(v>>40)] ^ t.by8[1][byte(v>>48)] ^ t.by8[0][v>>56]
}

// Sum64 implements hash.Hash64.
func (h *nvmeHash) Sum64() uint64 { return h.sum }

// Sum implements hash.Hash.
func (h *nvmeHash) Sum(b []byte) []byte { return binary.BigEndian.AppendUint64(b, h.sum) }

// Reset implements hash.Hash.
func (h *nvmeHash) Reset() { h.sum = 0 }

// Size implements hash.Hash.
func (h *nvmeHash) Size() int { return crc64.Size }

// BlockSize implements hash.Hash.
func (h *nvmeHash) BlockSize() int { return 1 }
