package s3

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"davy/api/s3api"
	"davy/internal/awsapi"
	"davy/internal/state"
)

const (
	maxListed = 1000
	firstPage = 16 // rows of a read where a delimiter may skip most of them
)

// walk is one page of a listing.
type walk struct {
	prefix, delimiter string
	max               int
}

// entry is an object or, when common, a common prefix.
type entry struct {
	key    string
	common bool
	v      *version
}

// commonPrefix rolls a key up; ok is false for a key that is listed itself.
func (w *walk) commonPrefix(key string) (common string, ok bool) {
	if w.delimiter == "" {
		return "", false
	}
	if i := strings.Index(key[len(w.prefix):], w.delimiter); i >= 0 {
		return key[:len(w.prefix)+i+len(w.delimiter)], true
	}
	return "", false
}

// start is the first key to look at when a listing resumes behind marker. A
// marker that is itself a common prefix skips all that it stands for.
func (w *walk) start(marker string) (from string, ok bool) {
	if marker < w.prefix {
		return w.prefix, true
	}
	if strings.HasPrefix(marker, w.prefix) {
		if common, rolled := w.commonPrefix(marker); rolled && common == marker {
			return after(marker)
		}
	}
	return marker + "\x00", true
}

// run calls read for pages of rows and collects entries; where a common
// prefix begins it continues behind it with a seek.
func (w *walk) run(from string, read func(from string, n int) ([]entry, error)) (found []entry, truncated bool, err error) {
	if w.max == 0 {
		return nil, false, nil
	}
	page := min(w.max+1, maxListed+1)
	if w.delimiter != "" {
		page = min(page, firstPage)
	}
	for {
		rows, err := read(from, page)
		if err != nil {
			return nil, false, err
		}
		skip := "" // the common prefix that this page is inside of
		for _, e := range rows {
			if skip != "" && strings.HasPrefix(e.key, skip) || e.v != nil && e.v.Marker {
				continue
			}
			skip = ""
			if len(found) == w.max {
				return found, true, nil
			}
			if common, ok := w.commonPrefix(e.key); ok {
				skip = common
				e = entry{key: common, common: true}
			}
			found = append(found, e)
		}
		if len(rows) < page {
			return found, false, nil
		}
		if skip == "" {
			from = rows[len(rows)-1].key + "\x00"
			page = min(2*page, maxListed+1)
			continue
		}
		var more bool
		if from, more = after(skip); !more {
			return found, false, nil
		}
	}
}

// objects is walk.run over the latest versions of a bucket.
func (s *Service) objects(ctx context.Context, b *bucket, w walk, marker string) ([]entry, bool, error) {
	from, ok := w.start(marker)
	if !ok {
		return nil, false, nil
	}
	return w.run(from, func(from string, n int) ([]entry, error) {
		rows, err := s.store.Rows(ctx, spaceObjects(b.ID), w.prefix, from, n)
		if err != nil {
			return nil, storageError("list objects", err)
		}
		return entries(rows)
	})
}

func entries(rows []state.Row) ([]entry, error) {
	out := make([]entry, len(rows))
	for i, r := range rows {
		v, err := decode[version]("object", r.Value)
		if err != nil {
			return nil, err
		}
		out[i] = entry{key: r.Key, v: v}
	}
	return out, nil
}

// coding is the encoding of keys in a listing.
type coding bool

func newCoding(e *s3api.EncodingType) (coding, error) {
	switch t := awsapi.Val(e); t {
	case "":
		return false, nil
	case "url":
		return true, nil
	default:
		return false, errInvalidArgument("encoding-type", string(t), "Invalid Encoding Method specified in Request")
	}
}

func (c coding) text(s string) *string {
	if c {
		s = formEncode(s)
	}
	return &s
}

// shown is text for members that are left out when empty.
func (c coding) shown(p *string) *string {
	if p == nil || *p == "" {
		return nil
	}
	return c.text(*p)
}

func pageSize(name string, p *int32) (int, error) {
	if p == nil {
		return maxListed, nil
	}
	if *p < 0 {
		return 0, errInvalidArgument(name, fmt.Sprint(*p), "Argument "+name+" must be an integer between 0 and 2147483647")
	}
	return min(int(*p), maxListed), nil
}

// listing splits entries into S3's two lists.
func listing(found []entry, c coding, owner *s3api.Owner) (contents []s3api.Object, prefixes []s3api.CommonPrefix) {
	for _, e := range found {
		if e.common {
			prefixes = append(prefixes, s3api.CommonPrefix{Prefix: c.text(e.key)})
			continue
		}
		o := s3api.Object{
			Key: c.text(e.key), ETag: new(e.v.quotedETag()), Size: &e.v.Size, LastModified: new(e.v.modified()),
			StorageClass: new(s3api.ObjectStorageClass("STANDARD")), Owner: owner,
		}
		if e.v.Sum.Algorithm != "" {
			o.ChecksumAlgorithm = []s3api.ChecksumAlgorithm{s3api.ChecksumAlgorithm(e.v.Sum.Algorithm)}
			o.ChecksumType = new(s3api.ChecksumType(e.v.Sum.kind()))
		}
		contents = append(contents, o)
	}
	return contents, prefixes
}

// ListObjects lists a bucket, version 1.
func (s *Service) ListObjects(ctx context.Context, in *s3api.ListObjectsRequest) (*s3api.ListObjectsOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	enc, err := newCoding(in.EncodingType)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize("max-keys", in.MaxKeys)
	if err != nil {
		return nil, err
	}
	w := walk{prefix: awsapi.Val(in.Prefix), delimiter: awsapi.Val(in.Delimiter), max: limit}
	found, truncated, err := s.objects(ctx, b, w, awsapi.Val(in.Marker))
	if err != nil {
		return nil, err
	}
	out := &s3api.ListObjectsOutput{
		Name: in.Bucket, Prefix: enc.text(w.prefix), Marker: enc.text(awsapi.Val(in.Marker)), Delimiter: enc.shown(in.Delimiter),
		MaxKeys: new(int32(limit)), IsTruncated: &truncated, EncodingType: in.EncodingType,
	}
	out.Contents, out.CommonPrefixes = listing(found, enc, ownerOf(b.Owner))
	if truncated && w.delimiter != "" { // without one, clients resume behind the last key
		out.NextMarker = enc.text(found[len(found)-1].key)
	}
	return out, nil
}

// ListObjectsV2 lists a bucket, version 2.
func (s *Service) ListObjectsV2(ctx context.Context, in *s3api.ListObjectsV2Request) (*s3api.ListObjectsV2Output, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	enc, err := newCoding(in.EncodingType)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize("max-keys", in.MaxKeys)
	if err != nil {
		return nil, err
	}
	marker := awsapi.Val(in.StartAfter)
	if in.ContinuationToken != nil {
		if marker, err = parseToken(*in.ContinuationToken); err != nil {
			return nil, err
		}
	}
	w := walk{prefix: awsapi.Val(in.Prefix), delimiter: awsapi.Val(in.Delimiter), max: limit}
	found, truncated, err := s.objects(ctx, b, w, marker)
	if err != nil {
		return nil, err
	}
	out := &s3api.ListObjectsV2Output{
		Name: in.Bucket, Prefix: enc.text(w.prefix), Delimiter: enc.shown(in.Delimiter), MaxKeys: new(int32(limit)),
		KeyCount: new(int32(len(found))), IsTruncated: &truncated, EncodingType: in.EncodingType,
		ContinuationToken: in.ContinuationToken, StartAfter: enc.shown(in.StartAfter),
	}
	var owner *s3api.Owner
	if awsapi.Val(in.FetchOwner) {
		owner = ownerOf(b.Owner)
	}
	out.Contents, out.CommonPrefixes = listing(found, enc, owner)
	if truncated {
		out.NextContinuationToken = new(newToken(found[len(found)-1].key))
	}
	return out, nil
}

// A continuation token is the last key or common prefix that was listed. The
// leading byte is the token's version.
const tokenVersion = "\x01"

func newToken(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenVersion + last))
}

func parseToken(token string) (last string, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	last, ok := strings.CutPrefix(string(raw), tokenVersion)
	if err != nil || !ok || last == "" || len(last) > maxKeyLength {
		return "", errToken()
	}
	return last, nil
}
