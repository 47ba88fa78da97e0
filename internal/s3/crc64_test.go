package s3

import (
	"hash"
	"hash/crc64"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// The fast sum is the standard library's, however the bytes are cut.
func TestNVME_SumsAsTheStandardLibrary(t *testing.T) {
	body := make([]byte, 8*laneSize)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(body)
	rapid.Check(t, func(r *rapid.T) {
		fast, plain := newNVME(), crc64.New(nvme)
		for range rapid.IntRange(1, 4).Draw(r, "writes") {
			from := rapid.IntRange(0, 64).Draw(r, "from")
			n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(3*laneSize-9, 3*laneSize+9), rapid.IntRange(0, len(body)-from)).Draw(r, "size")
			if got, want := sumNVME(0, body[from:from+n]), crc64.Checksum(body[from:from+n], nvme); got != want {
				r.Fatalf("by tables: %x, want %x", got, want)
			}
			for _, h := range []hash.Hash{fast, plain} {
				_, _ = h.Write(body[from : from+n])
			}
			if got, want := fast.Sum(nil), plain.Sum(nil); string(got) != string(want) {
				r.Fatalf("%x, want %x", got, want)
			}
		}
	})
}

func BenchmarkNVME(b *testing.B) {
	p := make([]byte, chunkSize)
	for name, h := range map[string]hash.Hash{"fast": newNVME(), "standard": crc64.New(nvme)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				_, _ = h.Write(p)
			}
		})
	}
}
