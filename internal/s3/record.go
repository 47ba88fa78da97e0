package s3

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"davy/internal/blob"
)

// version is one version of an object, as stored.
type version struct {
	Seq     uint64            `json:"q"`           // see Service.tick
	ID      string            `json:"i,omitempty"` // empty: the null version
	Marker  bool              `json:"d,omitempty"` // a delete marker: no bytes
	NullSeq uint64            `json:"n,omitempty"` // in the latest version: Seq of the older null version
	Size    int64             `json:"s,omitempty"`
	ETag    string            `json:"e,omitempty"` // without quotes
	Data    extent            `json:"b,omitzero"`
	Parts   int               `json:"p,omitempty"` // of a multipart upload
	Sum     checksum          `json:"c,omitzero"`
	Header  header            `json:"h,omitzero"`
	Meta    map[string]string `json:"m,omitempty"`
	Tags    []tag             `json:"t,omitempty"`
}

// extent says where a version's bytes are. The zero value is no bytes.
type extent struct {
	Kind  extentKind `json:"k,omitempty"`
	ID    string     `json:"i,omitempty"` // of the body row, the blob or the upload
	Owner string     `json:"o,omitempty"` // with ID, the row in s3/ref that this version owns
}

type extentKind string

const (
	inBody     extentKind = "i" // a row of s3/body that belongs to this version alone
	inBlob     extentKind = "b"
	inManifest extentKind = "m"
	leftovers  extentKind = "u" // never stored: parts of an upload that ended
)

// ref is the key of the row in s3/ref.
func (e extent) ref() string { return e.ID + "/" + e.Owner }

// header is what a client may store to be sent back on GET.
type header struct {
	ContentType        string `json:"t,omitempty"`
	CacheControl       string `json:"c,omitempty"`
	ContentDisposition string `json:"d,omitempty"`
	ContentEncoding    string `json:"e,omitempty"`
	ContentLanguage    string `json:"l,omitempty"`
	Expires            string `json:"x,omitempty"` // as it was sent
}

type tag struct {
	Key   string `json:"k"`
	Value string `json:"v"`
}

// part is a part of an upload or of a manifest.
type part struct {
	Number int      `json:"n"`
	Size   int64    `json:"s"`
	MD5    []byte   `json:"m"`
	Sum    checksum `json:"c,omitzero"`
	Blob   blob.ID  `json:"b,omitempty"` // empty: no bytes
	Seq    uint64   `json:"q"`
}

// manifest lists the bytes of a completed multipart upload.
type manifest struct {
	Parts []part `json:"p"`
}

// modified is Last-Modified: S3 keeps whole seconds.
func (v *version) modified() time.Time { return seqTime(v.Seq) }

func seqTime(seq uint64) time.Time {
	return time.Unix(0, int64(seq)).UTC().Truncate(time.Second)
}

func (v *version) quotedETag() string { return `"` + v.ETag + `"` }

// wireID is the version id as the API shows it.
func (v *version) wireID() string {
	if v.ID == "" {
		return nullVersion
	}
	return v.ID
}

const nullVersion = "null"

// newVersionID names a version so that its row can be found: the id carries
// seq. It is as long as AWS's and as hard to guess.
func newVersionID(seq uint64) string {
	var b [24]byte
	rand.Read(b[8:])
	binary.BigEndian.PutUint64(b[:8], seq^binary.BigEndian.Uint64(b[8:16]))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// versionSeq undoes newVersionID.
func versionSeq(id string) (seq uint64, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(b) != 24 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[:8]) ^ binary.BigEndian.Uint64(b[8:16]), true
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("s3: encoding %T: %v", v, err)) // only strings and numbers: cannot happen
	}
	return b
}

func decode[T any](what string, b []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("s3: stored %s is damaged: %w", what, err)
	}
	return v, nil
}
