package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// found is a version together with the part of it that a reader asked for.
type found struct {
	bucket *bucket
	v      *version
	span   byteRange
	ranged bool // answer 206
	part   *part
}

// query is what GetObject and HeadObject have in common.
type query struct {
	bucket, owner, key, id *string
	cond                   conditions
	span                   *string
	partNumber             *int32
	customerKey            [3]*string
}

// locate finds the version and the range of a query.
func (s *Service) locate(ctx context.Context, q query) (f found, err error) {
	for _, k := range q.customerKey {
		if awsapi.Val(k) != "" {
			return f, errInvalidRequest("The encryption parameters are not applicable to this object.")
		}
	}
	if f.bucket, f.v, err = s.object(ctx, q.bucket, q.owner, q.key, q.id); err != nil {
		return f, err
	}
	// A 304 carries these too.
	if err := q.cond.read(f.v); err != nil {
		setHeader(ctx, "ETag", f.v.quotedETag())
		setHeader(ctx, "Last-Modified", f.v.modified().Format(http.TimeFormat))
		return f, err
	}
	f.span = byteRange{0, f.v.Size}
	span := awsapi.Val(q.span)
	if q.partNumber != nil {
		if span != "" {
			return f, errInvalidRequest("Cannot specify both Range header and partNumber query parameter")
		}
		return f, s.locatePart(ctx, &f, int(*q.partNumber))
	}
	if span == "" || !ifRange(ctx, f.v) {
		return f, nil
	}
	r, ok, err := parseRange(span, f.v.Size)
	if ok {
		f.span, f.ranged = r, true
	}
	return f, err
}

// ifRange tells whether the If-Range header, if any, lets Range count.
func ifRange(ctx context.Context, v *version) bool {
	r := awsapi.CallFrom(ctx).Request
	if r == nil {
		return true
	}
	value := r.Header.Get("If-Range")
	if value == "" {
		return true
	}
	if t, err := http.ParseTime(value); err == nil {
		return v.modified().Equal(t)
	}
	return strings.Trim(value, `"`) == v.ETag
}

// locatePart narrows a query to one part of a multipart object.
func (s *Service) locatePart(ctx context.Context, f *found, number int) error {
	bad := fault(http.StatusRequestedRangeNotSatisfiable, "InvalidPartNumber", "The requested partnumber is not satisfiable",
		"ActualPartCount", fmt.Sprint(max(f.v.Parts, 1)), "PartNumberRequested", fmt.Sprint(number))
	if number < 1 || number > maxParts {
		return errInvalidArgument("partNumber", fmt.Sprint(number), "Part number must be an integer between 1 and 10000, inclusive")
	}
	f.ranged = true
	if f.v.Parts == 0 {
		if number != 1 {
			return bad
		}
		f.ranged = f.v.Size > 0
		return nil
	}
	if number > f.v.Parts {
		return bad
	}
	if f.v.Data.Kind != inManifest {
		return nil
	}
	m, err := s.readManifest(ctx, f.v.Data.ID)
	if err != nil {
		return err
	}
	from := int64(0)
	for i := range m.Parts {
		if i == number-1 {
			f.span, f.part = byteRange{from, m.Parts[i].Size}, &m.Parts[i]
		}
		from += m.Parts[i].Size
	}
	f.ranged = f.span.n > 0
	return nil
}

// GetObject returns an object's bytes. They stay readable while the object is
// overwritten or deleted.
func (s *Service) GetObject(ctx context.Context, in *s3api.GetObjectRequest) (*s3api.GetObjectOutput, error) {
	q := query{
		bucket: in.Bucket, owner: in.ExpectedBucketOwner, key: in.Key, id: in.VersionId, span: in.Range, partNumber: in.PartNumber,
		cond:        conditions{in.IfMatch, in.IfNoneMatch, in.IfModifiedSince, in.IfUnmodifiedSince},
		customerKey: [3]*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5},
	}
	if err := mayOverride(ctx, in.ResponseContentType, in.ResponseCacheControl, in.ResponseContentDisposition, in.ResponseContentEncoding, in.ResponseContentLanguage, in.ResponseExpires); err != nil {
		return nil, err
	}
	for range maxAttempts {
		f, err := s.locate(ctx, q)
		var body io.ReadCloser
		if err == nil {
			body, err = s.openRange(ctx, f.v, f.span.from, f.span.n)
		}
		if errors.Is(err, errAgain) {
			continue // overwritten or deleted between the two steps
		}
		if err != nil {
			return nil, err
		}
		return f.output(ctx, in, body), nil
	}
	return nil, errBusy()
}

func (f *found) output(ctx context.Context, in *s3api.GetObjectRequest, body io.ReadCloser) *s3api.GetObjectOutput {
	v := f.v
	h := overridden(v.Header, in.ResponseContentType, in.ResponseCacheControl, in.ResponseContentDisposition, in.ResponseContentEncoding, in.ResponseContentLanguage, in.ResponseExpires)
	out := &s3api.GetObjectOutput{
		Body: body, AcceptRanges: new("bytes"), ContentLength: &f.span.n, ETag: new(v.quotedETag()), LastModified: new(v.modified()),
		VersionId: shownID(f.bucket, v), Metadata: wireMetadata(v.Meta),
		ContentType: optional(h.ContentType), CacheControl: optional(h.CacheControl), ContentDisposition: optional(h.ContentDisposition),
		ContentEncoding: optional(h.ContentEncoding), ContentLanguage: optional(h.ContentLanguage),
	}
	if len(v.Tags) > 0 {
		out.TagCount = new(int32(len(v.Tags)))
	}
	if h.Expires != "" {
		setHeader(ctx, "Expires", h.Expires)
	}
	if f.ranged {
		out.ContentRange = new(f.span.contentRange(v.Size))
		awsapi.CallFrom(ctx).Response.Status = http.StatusPartialContent
	}
	if in.PartNumber != nil && v.Parts > 0 {
		out.PartsCount = new(int32(v.Parts))
	}
	if sum := f.sum(in.ChecksumMode); sum.Algorithm != "" {
		out.ChecksumType = new(s3api.ChecksumType(sum.kind()))
		fields{
			&out.ChecksumCRC32, &out.ChecksumCRC32C, &out.ChecksumCRC64NVME, &out.ChecksumSHA1, &out.ChecksumSHA256, &out.ChecksumSHA512, &out.ChecksumMD5,
		}.set(sum)
	}
	return out
}

// sum is the checksum to show: SDKs verify it against the bytes that they
// receive, so a range has none, and a part its own.
func (f *found) sum(mode *s3api.ChecksumMode) checksum {
	switch {
	case awsapi.Val(mode) != s3api.ChecksumModeEnabled:
		return checksum{}
	case f.part != nil && f.v.Sum.kind() == composite && f.part.Sum.Algorithm == f.v.Sum.Algorithm:
		return checksum{Algorithm: f.part.Sum.Algorithm, Value: f.part.Sum.Value, Type: composite}
	case f.span.n != f.v.Size:
		return checksum{}
	}
	return f.v.Sum
}

// HeadObject is GetObject without the bytes.
func (s *Service) HeadObject(ctx context.Context, in *s3api.HeadObjectRequest) (*s3api.HeadObjectOutput, error) {
	if err := mayOverride(ctx, in.ResponseContentType, in.ResponseCacheControl, in.ResponseContentDisposition, in.ResponseContentEncoding, in.ResponseContentLanguage, in.ResponseExpires); err != nil {
		return nil, err
	}
	f, err := s.locate(ctx, query{
		bucket: in.Bucket, owner: in.ExpectedBucketOwner, key: in.Key, id: in.VersionId, span: in.Range, partNumber: in.PartNumber,
		cond:        conditions{in.IfMatch, in.IfNoneMatch, in.IfModifiedSince, in.IfUnmodifiedSince},
		customerKey: [3]*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5},
	})
	if errors.Is(err, errAgain) {
		err = errNoSuchKey(awsapi.Val(in.Key)) // deleted while it was looked at
	}
	if err != nil {
		return nil, err
	}
	g := f.output(ctx, &s3api.GetObjectRequest{
		PartNumber: in.PartNumber, ChecksumMode: in.ChecksumMode, ResponseContentType: in.ResponseContentType,
		ResponseCacheControl: in.ResponseCacheControl, ResponseContentDisposition: in.ResponseContentDisposition,
		ResponseContentEncoding: in.ResponseContentEncoding, ResponseContentLanguage: in.ResponseContentLanguage, ResponseExpires: in.ResponseExpires,
	}, nil)
	return &s3api.HeadObjectOutput{
		AcceptRanges: g.AcceptRanges, ContentLength: g.ContentLength, ETag: g.ETag, LastModified: g.LastModified, VersionId: g.VersionId,
		Metadata: g.Metadata, ContentType: g.ContentType, CacheControl: g.CacheControl, ContentDisposition: g.ContentDisposition,
		ContentEncoding: g.ContentEncoding, ContentLanguage: g.ContentLanguage, ContentRange: g.ContentRange, PartsCount: g.PartsCount,
		TagCount: g.TagCount, ChecksumType: g.ChecksumType, ChecksumCRC32: g.ChecksumCRC32, ChecksumCRC32C: g.ChecksumCRC32C,
		ChecksumCRC64NVME: g.ChecksumCRC64NVME, ChecksumSHA1: g.ChecksumSHA1, ChecksumSHA256: g.ChecksumSHA256,
		ChecksumSHA512: g.ChecksumSHA512, ChecksumMD5: g.ChecksumMD5,
	}, nil
}

// mayOverride refuses response-* parameters of requests that nobody signed: a
// link could make any public object a script.
func mayOverride(ctx context.Context, contentType, cache, disposition, encoding, language *string, expires *time.Time) error {
	for _, p := range []*string{contentType, cache, disposition, encoding, language} {
		if p != nil && awsapi.CallFrom(ctx).Principal.ARN == "" {
			return errInvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
		}
	}
	if expires != nil && awsapi.CallFrom(ctx).Principal.ARN == "" {
		return errInvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
	}
	return nil
}

// overridden applies a request's response-* parameters.
func overridden(h header, contentType, cache, disposition, encoding, language *string, expires *time.Time) header {
	for _, o := range []struct {
		to   *string
		from *string
	}{
		{&h.ContentType, contentType},
		{&h.CacheControl, cache},
		{&h.ContentDisposition, disposition},
		{&h.ContentEncoding, encoding},
		{&h.ContentLanguage, language},
	} {
		if o.from != nil {
			*o.to = *o.from
		}
	}
	if expires != nil {
		h.Expires = expires.UTC().Format(http.TimeFormat)
	}
	return h
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Open reads an object inside the server, on behalf of a caller that was
// authorised already: Lambda's code from a bucket. versionID empty: the
// latest. Errors are those of GetObject.
func (s *Service) Open(ctx context.Context, bucket, key, versionID string) (body io.ReadCloser, size int64, err error) {
	for range maxAttempts {
		_, v, err := s.object(ctx, &bucket, nil, &key, &versionID)
		if err != nil {
			return nil, 0, err
		}
		body, err := s.openRange(ctx, v, 0, v.Size)
		if errors.Is(err, errAgain) {
			continue
		}
		return body, v.Size, err
	}
	return nil, 0, errBusy()
}
