package s3

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAlgorithm_CheckValues uses the check values of the CRC catalogue and of
// the hash standards: the sum of "123456789".
func TestAlgorithm_CheckValues(t *testing.T) {
	for a, want := range map[algorithm]string{
		crc32IEEE: "cbf43926",
		crc32C:    "e3069283",
		crc64NVME: "ae8b14860a799888",
		sumMD5:    "25f9e794323b453885f5181f1b624d0b",
		sumSHA1:   "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		sumSHA256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		h := a.new()
		h.Write([]byte("123456789"))
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
		if h.Size() != a.size() {
			t.Errorf("%s: size %d", a, a.size())
		}
	}
}

func TestCombinedSum_IsTheSumOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom([]algorithm{crc32IEEE, crc32C, crc64NVME}).Draw(t, "algorithm")
		bodies := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 1, 6).Draw(t, "parts")
		var parts []sized
		var whole strings.Builder
		for _, b := range bodies {
			h := a.new()
			h.Write(b)
			parts = append(parts, sized{h.Sum(nil), int64(len(b))})
			whole.Write(b)
		}
		if got, want := combinedSum(a, parts).Value, sumString(a, whole.String()); got != want {
			t.Fatalf("%s of %d parts: %s, want %s", a, len(parts), got, want)
		}
	})
}

// TestCombinedSum_LongParts reaches 4 MiB of zeros by doubling.
func TestCombinedSum_LongParts(t *testing.T) {
	h := crc64NVME.new()
	h.Write([]byte{0})
	part := sized{h.Sum(nil), 1}
	for range 22 {
		raw, err := base64.StdEncoding.DecodeString(combinedSum(crc64NVME, []sized{part, part}).Value)
		if err != nil {
			t.Fatal(err)
		}
		part = sized{raw, 2 * part.size}
	}
	h.Reset()
	h.Write(make([]byte, 1<<22))
	if string(part.raw) != string(h.Sum(nil)) {
		t.Errorf("%x, want %x", part.raw, h.Sum(nil))
	}
}
