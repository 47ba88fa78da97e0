package s3

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"math/bits"
	"strconv"
	"strings"

	"github.com/minio/crc64nvme"
)

// algorithm names a checksum as the API spells it.
type algorithm string

const (
	crc32IEEE  algorithm = "CRC32"
	crc32C     algorithm = "CRC32C"
	crc64NVME  algorithm = "CRC64NVME"
	sumSHA1    algorithm = "SHA1"
	sumSHA256  algorithm = "SHA256"
	sumSHA512  algorithm = "SHA512"
	sumMD5     algorithm = "MD5"
	fullObject           = "FULL_OBJECT"
	composite            = "COMPOSITE"
)

// algorithms are those that Davy computes, in the order in which headers are
// looked for.
var algorithms = []algorithm{crc32IEEE, crc32C, crc64NVME, sumSHA1, sumSHA256, sumSHA512, sumMD5}

// unsupportedAlgorithms exist on AWS; a value of theirs could not be verified.
var unsupportedAlgorithms = []algorithm{"XXHASH64", "XXHASH3", "XXHASH128"}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// nvmePolynomial is the reflected polynomial of CRC-64/NVME.
const nvmePolynomial = 0x9a6c9329ac4bc9b5

// header is the header that carries the value.
func (a algorithm) header() string { return "x-amz-checksum-" + strings.ToLower(string(a)) }

func (a algorithm) known() bool { return a.size() != 0 }

// size is the length of the raw value in bytes; 0: not an algorithm of Davy's.
func (a algorithm) size() int {
	switch a {
	case crc32IEEE, crc32C:
		return 4
	case crc64NVME:
		return 8
	case sumMD5:
		return md5.Size
	case sumSHA1:
		return sha1.Size
	case sumSHA256:
		return sha256.Size
	case sumSHA512:
		return sha512.Size
	}
	return 0
}

// isCRC tells whether the sum of a whole follows from the sums of its parts.
func (a algorithm) isCRC() bool { return a == crc32IEEE || a == crc32C || a == crc64NVME }

func (a algorithm) new() hash.Hash {
	switch a {
	case crc32IEEE:
		return crc32.NewIEEE()
	case crc32C:
		return crc32.New(castagnoli)
	case crc64NVME:
		return crc64nvme.New()
	case sumMD5:
		return md5.New()
	case sumSHA1:
		return sha1.New()
	case sumSHA256:
		return sha256.New()
	case sumSHA512:
		return sha512.New()
	}
	return nil
}

// checksum is a stored value: base64, with "-N" behind a composite one.
type checksum struct {
	Algorithm algorithm `json:"a,omitempty"`
	Type      string    `json:"t,omitempty"` // empty: FULL_OBJECT
	Value     string    `json:"v,omitempty"`
}

func (c checksum) kind() string {
	if c.Type == "" {
		return fullObject
	}
	return c.Type
}

// decodeSum reads a header's value; ok is false when it can't be one.
func decodeSum(a algorithm, v string) (raw []byte, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(v)
	return raw, err == nil && len(raw) == a.size()
}

func encodeSum(h hash.Hash) string { return base64.StdEncoding.EncodeToString(h.Sum(nil)) }

// sized is a part's sum with the number of bytes that it covers.
type sized struct {
	raw  []byte
	size int64
}

// compositeSum is the checksum of the parts' checksums.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
func compositeSum(a algorithm, parts []sized) checksum {
	h := a.new()
	for _, p := range parts {
		h.Write(p.raw)
	}
	return checksum{Algorithm: a, Type: composite, Value: encodeSum(h) + "-" + strconv.Itoa(len(parts))}
}

// combinedSum is the CRC of the concatenation, from the CRCs of the parts.
func combinedSum(a algorithm, parts []sized) checksum {
	var sum uint64
	var raw []byte
	poly, width := uint64(nvmePolynomial), 64
	switch a {
	case crc32IEEE:
		poly, width = crc32.IEEE, 32
	case crc32C:
		poly, width = crc32.Castagnoli, 32
	}
	for i, p := range parts {
		var v uint64
		if width == 32 {
			v = uint64(binary.BigEndian.Uint32(p.raw))
		} else {
			v = binary.BigEndian.Uint64(p.raw)
		}
		if i == 0 {
			sum = v
			continue
		}
		sum = multiply(sum, power(uint64(p.size), poly, width), poly, width) ^ v
	}
	if width == 32 {
		raw = binary.BigEndian.AppendUint32(nil, uint32(sum))
	} else {
		raw = binary.BigEndian.AppendUint64(nil, sum)
	}
	return checksum{Algorithm: a, Value: base64.StdEncoding.EncodeToString(raw)}
}

// multiply and power are arithmetic in GF(2)[x] modulo the CRC's polynomial,
// in its reflected form: the top bit is x^0. Appending n bytes to a message
// multiplies its CRC by x^(8n); the initial and final inversions cancel out.
func multiply(a, b, poly uint64, width int) uint64 {
	var product uint64
	for bit := uint64(1) << (width - 1); bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		carry := b & 1
		b >>= 1
		if carry != 0 {
			b ^= poly
		}
	}
	return product
}

// power is x^(8n).
func power(n, poly uint64, width int) uint64 {
	result := uint64(1) << (width - 1) // x^0
	square := uint64(1) << (width - 9) // x^8
	for ; n != 0; n >>= 1 {
		if n&1 != 0 {
			result = multiply(result, square, poly, width)
		}
		if bits.Len64(n) > 1 {
			square = multiply(square, square, poly, width)
		}
	}
	return result
}
