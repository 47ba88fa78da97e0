package s3

import (
	"encoding/binary"
	"errors"
	"strings"
)

// Document keys and row spaces.
const (
	bucketDocs  = "s3/bucket/"
	droppedDocs = "s3/dropped/"
	spaceRef    = "s3/ref"
	spaceBody   = "s3/body"
	spaceSweep  = "s3/sweep" // ended uploads whose part rows are still there
)

func spaceObjects(bucketID string) string  { return "s3/obj/" + bucketID }
func spaceVersions(bucketID string) string { return "s3/ver/" + bucketID }
func spaceUploads(bucketID string) string  { return "s3/upl/" + bucketID }
func spaceParts(uploadID string) string    { return "s3/part/" + uploadID }
func spaceManifest(uploadID string) string { return "s3/man/" + uploadID }

// A NUL inside a key is written as escaped; the key ends with terminated.
// Since terminated sorts before escaped and before every other byte pair that
// starts with NUL, "a" sorts before "a\x00" and before "ab", as the raw keys do.
const (
	escaped    = "\x00\xff"
	terminated = "\x00\x01"
)

// escapeKey is the part of a composite row key that comes from the object key.
func escapeKey(key string) string {
	if strings.IndexByte(key, 0) >= 0 {
		key = strings.ReplaceAll(key, "\x00", escaped)
	}
	return key
}

// keyPrefix is what every composite row key of this object key begins with.
func keyPrefix(key string) string { return escapeKey(key) + terminated }

var errRowKey = errors.New("malformed row key")

// splitRowKey undoes keyPrefix(key) + tail.
func splitRowKey(row string) (key, tail string, err error) {
	i := strings.Index(row, terminated)
	// An escaped NUL followed by \x01 contains no terminator: \x00\xff\x01.
	if i < 0 {
		return "", "", errRowKey
	}
	return strings.ReplaceAll(row[:i], escaped, "\x00"), row[i+len(terminated):], nil
}

// versionTail orders the versions of a key from new to old.
func versionTail(seq uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], ^seq)
	return string(b[:])
}

func versionRowKey(key string, seq uint64) string { return keyPrefix(key) + versionTail(seq) }

// after is the smallest string greater than every string with this prefix;
// ok is false when there is none.
func after(prefix string) (next string, ok bool) {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1}), true
		}
	}
	return "", false
}
