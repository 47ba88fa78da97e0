package s3

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

func TestGetObject_Conditions(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	etag := *w.put("bkt", "k", "hello").ETag
	before, at, later := start.Add(-time.Hour), start.Truncate(time.Second), start.Add(time.Hour)
	other := `"00000000000000000000000000000000"`
	for _, tc := range []struct {
		name string
		cond conditions
		code string
		what string
	}{
		{"none", conditions{}, "", ""},
		{"match", conditions{match: &etag}, "", ""},
		{"match bare", conditions{match: new(strings.Trim(etag, `"`))}, "", ""},
		{"match list", conditions{match: new(other + ", " + etag)}, "", ""},
		{"match any", conditions{match: new("*")}, "", ""},
		{"match other", conditions{match: &other}, "PreconditionFailed", "If-Match"},
		{"none match", conditions{noneMatch: &etag}, "NotModified", ""},
		{"none match other", conditions{noneMatch: &other}, "", ""},
		{"modified since before", conditions{modified: &before}, "", ""},
		{"modified since then", conditions{modified: &at}, "NotModified", ""},
		{"unmodified since before", conditions{unmodified: &before}, "PreconditionFailed", "If-Unmodified-Since"},
		{"unmodified since then", conditions{unmodified: &at}, "", ""},
		{"match wins over unmodified", conditions{match: &etag, unmodified: &before}, "", ""},
		{"none match wins over modified", conditions{noneMatch: &other, modified: &later}, "", ""},
		{"none match and modified", conditions{noneMatch: &etag, modified: &before}, "NotModified", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := w.ctx()
			_, err := w.HeadObject(ctx, &s3api.HeadObjectRequest{
				Bucket: new("bkt"), Key: new("k"), IfMatch: tc.cond.match, IfNoneMatch: tc.cond.noneMatch,
				IfModifiedSince: tc.cond.modified, IfUnmodifiedSince: tc.cond.unmodified,
			})
			e := wantCode(t, err, tc.code)
			if e == nil {
				return
			}
			if e.Fields["Condition"] != tc.what {
				t.Errorf("Condition %q, want %q", e.Fields["Condition"], tc.what)
			}
			if h := awsapi.CallFrom(ctx).Response.Header; tc.code == "NotModified" && (e.Status != 304 || h.Get("ETag") != etag || h.Get("Last-Modified") == "") {
				t.Errorf("304 without its headers: %d %v", e.Status, h)
			}
		})
	}
}

func TestPutObject_Conditions(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	etag := *w.put("bkt", "there", "hello").ETag
	for _, tc := range []struct {
		name, key        string
		match, noneMatch *string
		code             string
		status           int
	}{
		{"create new", "new", nil, new("*"), "", 0},
		{"create existing", "there", nil, new("*"), "PreconditionFailed", 412},
		{"none match an ETag", "there", nil, &etag, "NotImplemented", 501},
		{"replace another", "there", new(`"00000000000000000000000000000000"`), nil, "PreconditionFailed", 412},
		{"replace nothing", "nothing", &etag, nil, "NoSuchKey", 404},
		{"replace it", "there", &etag, nil, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := putRequest("bkt", tc.key, "new")
			in.IfMatch, in.IfNoneMatch = tc.match, tc.noneMatch
			_, err := w.PutObject(w.ctx(), in)
			if e := wantCode(t, err, tc.code); e != nil && e.Status != tc.status {
				t.Errorf("status %d, want %d", e.Status, tc.status)
			}
		})
	}
}

func TestParseRange(t *testing.T) {
	for _, tc := range []struct {
		in   string
		size int64
		want byteRange
		ok   bool
		bad  bool
	}{
		{"bytes=0-0", 10, byteRange{0, 1}, true, false},
		{"bytes=0-9", 10, byteRange{0, 10}, true, false},
		{"bytes=5-", 10, byteRange{5, 5}, true, false},
		{"bytes=5-100", 10, byteRange{5, 5}, true, false},
		{"bytes=-3", 10, byteRange{7, 3}, true, false},
		{"bytes=-30", 10, byteRange{0, 10}, true, false},
		{"bytes=9-", 10, byteRange{9, 1}, true, false},
		{"bytes=0-99999999999999999999", 10, byteRange{0, 10}, true, false},
		{"bytes=10-", 10, byteRange{}, false, true},
		{"bytes=99999999999999999999-", 10, byteRange{}, false, true},
		{"bytes=-0", 10, byteRange{}, false, true},
		{"bytes=0-", 0, byteRange{}, false, true},
		{"bytes=-1", 0, byteRange{}, false, true},
		{"bytes=5-4", 10, byteRange{}, false, false},
		{"bytes=0-1,4-5", 10, byteRange{}, false, false},
		{"bytes=", 10, byteRange{}, false, false},
		{"bytes=-", 10, byteRange{}, false, false},
		{"bytes=a-b", 10, byteRange{}, false, false},
		{"bytes=+1-2", 10, byteRange{}, false, false},
		{"items=0-1", 10, byteRange{}, false, false},
		{"0-1", 10, byteRange{}, false, false},
	} {
		got, ok, err := parseRange(tc.in, tc.size)
		if got != tc.want || ok != tc.ok || (err != nil) != tc.bad {
			t.Errorf("parseRange(%q, %d) = %v, %v, %v; want %v, %v, %v", tc.in, tc.size, got, ok, err, tc.want, tc.ok, tc.bad)
		}
	}
	_, _, err := parseRange("bytes=10-", 10)
	if e := wantCode(t, err, "InvalidRange"); e.Status != 416 || e.Message != "The requested range is not satisfiable" ||
		e.Fields["RangeRequested"] != "bytes=10-" || e.Fields["ActualObjectSize"] != "10" {
		t.Errorf("%+v", e)
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=-5", "bytes=5-", "bytes=1-2,3-4", "bytes=99999999999999999999-"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, in string, size int64) {
		if size < 0 {
			t.Skip()
		}
		r, ok, err := parseRange(in, size)
		if ok && (err != nil || r.n < 1 || r.from < 0 || r.from+r.n > size || r.from+r.n < 0) {
			t.Errorf("parseRange(%q, %d) = %v, %v", in, size, r, err)
		}
		if c, err := parseCopyRange(in, size); err == nil && (c.n < 1 || c.from < 0 || c.from+c.n > size) {
			t.Errorf("parseCopyRange(%q, %d) = %v", in, size, c)
		}
	})
}

func TestGetObject_Range(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	for name, body := range map[string]string{"inline": "0123456789", "blob": "0123456789" + strings.Repeat("x", maxInline)} {
		w.put("bkt", name, body)
		ctx := w.ctx()
		out, err := w.GetObject(ctx, &s3api.GetObjectRequest{Bucket: new("bkt"), Key: &name, Range: new("bytes=2-5"), ChecksumMode: new(s3api.ChecksumModeEnabled)})
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, out.Body); got != "2345" || *out.ContentLength != 4 || !strings.HasPrefix(*out.ContentRange, "bytes 2-5/") || awsapi.CallFrom(ctx).Response.Status != 206 {
			t.Errorf("%s: %q, %s, %d", name, got, *out.ContentRange, awsapi.CallFrom(ctx).Response.Status)
		}
		if out.ChecksumCRC64NVME != nil {
			t.Errorf("%s: a range carries the checksum of the whole: SDKs would call it corrupt", name)
		}
	}
	_, err := w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("inline"), Range: new("bytes=0-1"), PartNumber: new(int32(1))})
	wantCode(t, err, "InvalidRequest")
	_, err = w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("inline"), PartNumber: new(int32(2))})
	wantCode(t, err, "InvalidPartNumber")

	for value, want := range map[string]string{`"781e5e245d69b566979b86e28d23f2c7"`: "01", `"other"`: "0123456789"} {
		r := httptest.NewRequest("GET", "/bkt/inline", nil)
		r.Header.Set("If-Range", value)
		out, err := w.GetObject(w.request(r), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("inline"), Range: new("bytes=0-1")})
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, out.Body); got != want {
			t.Errorf("If-Range %s: %q, want %q", value, got, want)
		}
	}
}

func TestObject_HeadersAndMetadata(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	r := httptest.NewRequest("PUT", "/bkt/k", nil)
	r.Header.Set("Expires", "someday") // kept as sent
	in := putRequest("bkt", "k", "hello")
	in.ContentType, in.CacheControl, in.ContentDisposition = new("text/plain"), new("no-cache"), new(`attachment; filename="a"`)
	in.ContentEncoding, in.ContentLanguage = new("gzip, aws-chunked"), new("de")
	in.Metadata = map[string]string{"Colour": "blue", "city": "Zürich", "encoded": "=?UTF-8?B?w6Q=?="}
	in.Tagging = new("a=1&b=two%20words")
	if _, err := w.PutObject(w.request(r), in); err != nil {
		t.Fatal(err)
	}
	ctx := w.ctx()
	out, err := w.HeadObject(ctx, &s3api.HeadObjectRequest{Bucket: new("bkt"), Key: new("k"), ChecksumMode: new(s3api.ChecksumModeEnabled)})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{
		*out.ContentType, *out.CacheControl, *out.ContentDisposition, *out.ContentEncoding, *out.ContentLanguage, *out.ETag, *out.ChecksumCRC64NVME,
		awsapi.CallFrom(ctx).Response.Header.Get("Expires"), string(*out.ChecksumType), out.LastModified.Format(http.TimeFormat),
	}
	want := []string{
		"text/plain", "no-cache", `attachment; filename="a"`, "gzip", "de", `"5d41402abc4b2a76b9719d911017c592"`, sumString(crc64NVME, "hello"),
		"someday", fullObject, "Sun, 22 Nov 2026 09:30:15 GMT",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if *out.TagCount != 2 || out.VersionId != nil || out.ContentRange != nil {
		t.Errorf("%+v", out)
	}
	// S3 reads header bytes as ISO 8859-1 and answers RFC 2047.
	meta := map[string]string{"colour": "blue", "city": "=?UTF-8?B?" + base64.StdEncoding.EncodeToString([]byte("Z\u00c3\u00bcrich")) + "?=", "encoded": "=?UTF-8?B?w6Q=?="}
	if !maps.Equal(out.Metadata, meta) {
		t.Errorf("metadata %q, want %q", out.Metadata, meta)
	}

	o, err := w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("k"), ResponseContentType: new("image/png"), ResponseCacheControl: new("max-age=1")})
	if err != nil {
		t.Fatal(err)
	}
	if *o.ContentType != "image/png" || *o.CacheControl != "max-age=1" || *o.ContentLanguage != "de" || o.ChecksumCRC64NVME != nil {
		t.Errorf("%+v", o)
	}
	w.call.Principal.ARN = ""
	_, err = w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("k"), ResponseContentType: new("text/html")})
	if e := wantCode(t, err, "InvalidRequest"); e.Message != "Request specific response headers cannot be used for anonymous GET requests." {
		t.Errorf("%+v", e)
	}
	w.put("bkt", "plain", "x")
	if h, err := w.HeadObject(w.ctx(), &s3api.HeadObjectRequest{Bucket: new("bkt"), Key: new("plain")}); err != nil || *h.ContentType != "binary/octet-stream" {
		t.Errorf("%+v %v", h, err)
	}
}

func TestPutObject_Limits(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	put := func(change func(*s3api.PutObjectRequest)) error {
		in := putRequest("bkt", "k", "x")
		change(in)
		_, err := w.PutObject(w.ctx(), in)
		return err
	}
	for _, tc := range []struct {
		name, code, message string
		change              func(*s3api.PutObjectRequest)
	}{
		{"longest key", "", "", func(in *s3api.PutObjectRequest) { in.Key = new(strings.Repeat("k", 1024)) }},
		{"long key", "KeyTooLongError", "Your key is too long", func(in *s3api.PutObjectRequest) { in.Key = new(strings.Repeat("ä", 513)) }},
		{"most metadata", "", "", func(in *s3api.PutObjectRequest) { in.Metadata = map[string]string{"k": strings.Repeat("v", 2047)} }},
		{"much metadata", "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size", func(in *s3api.PutObjectRequest) { in.Metadata = map[string]string{"k": strings.Repeat("v", 2048)} }},
		{"large", "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", func(in *s3api.PutObjectRequest) { in.ContentLength = new(int64(maxBody + 1)) }},
		{"short", "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header", func(in *s3api.PutObjectRequest) { in.ContentLength = new(int64(2)) }},
		{"cut", "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header", func(in *s3api.PutObjectRequest) { in.Body = io.NopCloser(&broken{io.ErrUnexpectedEOF}) }},
		{"KMS", "NotImplemented", "A header you provided implies functionality that is not implemented", func(in *s3api.PutObjectRequest) { in.ServerSideEncryption = new(s3api.ServerSideEncryption("aws:kms")) }},
		{"AES256", "NotImplemented", "A header you provided implies functionality that is not implemented", func(in *s3api.PutObjectRequest) { in.ServerSideEncryption = new(s3api.ServerSideEncryption("AES256")) }},
		{"customer key", "NotImplemented", "A header you provided implies functionality that is not implemented", func(in *s3api.PutObjectRequest) { in.SSECustomerAlgorithm = new("AES256") }},
		{"class", "NotImplemented", "A header you provided implies functionality that is not implemented", func(in *s3api.PutObjectRequest) { in.StorageClass = new(s3api.StorageClass("GLACIER")) }},
		{"no class", "InvalidStorageClass", "The storage class you specified is not valid", func(in *s3api.PutObjectRequest) { in.StorageClass = new(s3api.StorageClass("WARM")) }},
		{"standard", "", "", func(in *s3api.PutObjectRequest) { in.StorageClass = new(s3api.StorageClass("STANDARD")) }},
		{"public", "AccessControlListNotSupported", "The bucket does not allow ACLs", func(in *s3api.PutObjectRequest) { in.ACL = new(s3api.ObjectCannedACL("public-read")) }},
		{"private", "", "", func(in *s3api.PutObjectRequest) { in.ACL = new(s3api.ObjectCannedACL("private")) }},
		{"owner's", "", "", func(in *s3api.PutObjectRequest) { in.ACL = new(s3api.ObjectCannedACL("bucket-owner-full-control")) }},
		{"grant", "AccessControlListNotSupported", "The bucket does not allow ACLs", func(in *s3api.PutObjectRequest) { in.GrantRead = new("uri=x") }},
		{"redirect", "NotImplemented", "A header you provided implies functionality that is not implemented", func(in *s3api.PutObjectRequest) { in.WebsiteRedirectLocation = new("/") }},
		{"lock", "InvalidRequest", "Bucket is missing Object Lock Configuration", func(in *s3api.PutObjectRequest) { in.ObjectLockMode = new(s3api.ObjectLockMode("GOVERNANCE")) }},
		{"append", "NotImplemented", "A header you provided implies functionality that is not implemented", func(in *s3api.PutObjectRequest) { in.WriteOffsetBytes = new(int64(0)) }},
		{"MD5 form", "InvalidDigest", "The Content-MD5 you specified was invalid.", func(in *s3api.PutObjectRequest) { in.ContentMD5 = new("x") }},
		{"MD5", "BadDigest", "The Content-MD5 you specified did not match what we received.", func(in *s3api.PutObjectRequest) { in.ContentMD5 = new("AAAAAAAAAAAAAAAAAAAAAA==") }},
		{"CRC32 form", "InvalidRequest", "Value for x-amz-checksum-crc32 header is invalid.", func(in *s3api.PutObjectRequest) { in.ChecksumCRC32 = new("AAAA") }},
		{"CRC32", "BadDigest", "The CRC32 you specified did not match the calculated checksum.", func(in *s3api.PutObjectRequest) { in.ChecksumCRC32 = new("AAAAAA==") }},
		{"two sums", "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.", func(in *s3api.PutObjectRequest) {
			in.ChecksumCRC32, in.ChecksumCRC32C = new("AAAAAA=="), new("AAAAAA==")
		}},
		{"sum announced", "InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.", func(in *s3api.PutObjectRequest) {
			in.ChecksumAlgorithm = new(s3api.ChecksumAlgorithm("CRC32"))
		}},
		{"tags", "InvalidArgument", "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.", func(in *s3api.PutObjectRequest) { in.Tagging = new("a=1&a=2") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if e := wantCode(t, put(tc.change), tc.code); e != nil && e.Message != tc.message {
				t.Errorf("message %q, want %q", e.Message, tc.message)
			}
		})
	}
}

type broken struct{ err error }

func (b *broken) Read([]byte) (int, error) { return 0, b.err }

// late is a body that ends with an error, as one with a bad chunk signature.
type late struct {
	r   io.Reader
	err error
}

func (l *late) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = l.err
	}
	return n, err
}

func TestPutObject_NothingBeforeTheBodyHasVerified(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	bad := awsapi.Errorf(403, "SignatureDoesNotMatch", "The chunk signature does not match.")
	for _, size := range []int{0, 5, maxInline, maxInline + 1, chunkSize, 2*chunkSize + 1} {
		in := putRequest("bkt", "k", "")
		in.ContentLength = new(int64(size))
		in.Body = io.NopCloser(&late{bytes.NewReader(make([]byte, size)), bad})
		_, err := w.PutObject(w.ctx(), in)
		wantCode(t, err, "SignatureDoesNotMatch")
	}
	_, err := w.get("bkt", "k")
	wantCode(t, err, "NoSuchKey")
	if w.blobs.Len() != 0 {
		t.Error("bytes were kept")
	}
}

// trailing is a body whose trailer appears at its end.
type trailing struct {
	io.Reader
	r     *http.Request
	value string
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		b.r.Trailer = http.Header{"X-Amz-Checksum-Crc32c": {b.value}}
	}
	return n, err
}

func TestPutObject_ChecksumInTrailer(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	for _, size := range []int{5, chunkSize + 5} {
		body := strings.Repeat("h", size)
		for value, code := range map[string]string{sumString(crc32C, body): "", "AAAAAA==": "BadDigest", "": "InvalidRequest"} {
			r := httptest.NewRequest("PUT", "/bkt/k", nil)
			r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32c")
			in := putRequest("bkt", "k", "")
			in.Body, in.ContentLength = io.NopCloser(&trailing{strings.NewReader(body), r, value}), new(int64(size))
			in.ChecksumAlgorithm = new(s3api.ChecksumAlgorithm("CRC32C"))
			out, err := w.PutObject(w.request(r), in)
			if wantCode(t, err, code); err == nil && *out.ChecksumCRC32C != value {
				t.Errorf("answered %v", *out.ChecksumCRC32C)
			}
		}
	}
	r := httptest.NewRequest("PUT", "/bkt/k", nil)
	r.Header.Set("X-Amz-Trailer", "x-amz-checksum-xxhash64")
	_, err := w.PutObject(w.request(r), putRequest("bkt", "k", "x"))
	wantCode(t, err, "NotImplemented")
}

func TestPutObject_NeedsALength(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	r := httptest.NewRequest("PUT", "/bkt/k", nil)
	r.ContentLength = -1
	in := putRequest("bkt", "k", "hello")
	in.ContentLength = nil
	_, err := w.PutObject(w.request(r), in)
	if e := wantCode(t, err, "MissingContentLength"); e.Status != 411 {
		t.Errorf("status %d", e.Status)
	}
	r.Header.Set("X-Amz-Decoded-Content-Length", "5")
	in.Body = io.NopCloser(strings.NewReader("hello"))
	_, err = w.PutObject(w.request(r), in)
	wantCode(t, err, "")
	r.Header.Set("X-Amz-Decoded-Content-Length", "6")
	in.Body = io.NopCloser(strings.NewReader("hello"))
	_, err = w.PutObject(w.request(r), in)
	wantCode(t, err, "IncompleteBody")
}

func TestDeleteObjects(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	request := func(quiet bool, keys ...string) *s3api.DeleteObjectsRequest {
		d := &s3api.Delete{Quiet: &quiet}
		for _, k := range keys {
			d.Objects = append(d.Objects, s3api.ObjectIdentifier{Key: &k})
		}
		return &s3api.DeleteObjectsRequest{Bucket: new("bkt"), Delete: d}
	}
	long := strings.Repeat("x", 1025)
	for _, quiet := range []bool{false, true} {
		w.put("bkt", "a", "x")
		out, err := w.DeleteObjects(w.ctx(), request(quiet, "a", "missing", long))
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{false: 2, true: 0}[quiet]; len(out.Deleted) != want {
			t.Errorf("quiet %v: %d deleted, want %d", quiet, len(out.Deleted), want)
		}
		if len(out.Errors) != 1 || *out.Errors[0].Code != "KeyTooLongError" || *out.Errors[0].Message != "Your key is too long" || *out.Errors[0].Key != long {
			t.Errorf("errors %+v", out.Errors)
		}
		_, err = w.get("bkt", "a")
		wantCode(t, err, "NoSuchKey")
	}
	_, err := w.DeleteObjects(w.ctx(), request(false))
	wantCode(t, err, "MalformedXML")
	_, err = w.DeleteObjects(w.ctx(), request(false, slices.Repeat([]string{"k"}, 1001)...))
	wantCode(t, err, "MalformedXML")
	out, err := w.DeleteObjects(w.ctx(), request(false, slices.Repeat([]string{"k"}, 1000)...))
	if err != nil || len(out.Deleted) != 1000 {
		t.Errorf("%d, %v", len(out.Deleted), err)
	}
}

func TestTagging(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	w.put("bkt", "k", "x")
	set := func(pairs ...string) error {
		tags := &s3api.Tagging{TagSet: []s3api.Tag{}}
		for i := 0; i < len(pairs); i += 2 {
			tags.TagSet = append(tags.TagSet, s3api.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		_, err := w.PutObjectTagging(w.ctx(), &s3api.PutObjectTaggingRequest{Bucket: new("bkt"), Key: new("k"), Tagging: tags})
		return err
	}
	var eleven []string
	for c := 'a'; c < 'l'; c++ {
		eleven = append(eleven, string(c), "")
	}
	for _, tc := range []struct {
		pairs         []string
		code, message string
	}{
		{[]string{"a", "1", "b:/=+-_.@ c", "ä"}, "", ""},
		{[]string{"a", "1", "a", "2"}, "InvalidTag", "Cannot provide multiple Tags with the same key"},
		{[]string{"", "1"}, "InvalidTag", "The TagKey you have provided is invalid"},
		{[]string{strings.Repeat("k", 129), ""}, "InvalidTag", "The TagKey you have provided is invalid"},
		{[]string{"a", strings.Repeat("v", 257)}, "InvalidTag", "The TagValue you have provided is invalid"},
		{[]string{"a<b", ""}, "InvalidTag", "The TagKey you have provided is invalid"},
		{[]string{"aws:x", ""}, "InvalidTag", "System tags cannot be added/updated by requester"},
		{eleven, "BadRequest", "Object tags cannot be greater than 10"},
	} {
		if e := wantCode(t, set(tc.pairs...), tc.code); e != nil && e.Message != tc.message {
			t.Errorf("%q: message %q, want %q", tc.pairs, e.Message, tc.message)
		}
	}
	got, err := w.ObjectTags(t.Context(), "bkt", "k", "")
	if err != nil || len(got) != 2 || got["b:/=+-_.@ c"] != "ä" {
		t.Errorf("%v %v", got, err)
	}
	if _, err := w.DeleteObjectTagging(w.ctx(), &s3api.DeleteObjectTaggingRequest{Bucket: new("bkt"), Key: new("k")}); err != nil {
		t.Fatal(err)
	}
	out, err := w.GetObjectTagging(w.ctx(), &s3api.GetObjectTaggingRequest{Bucket: new("bkt"), Key: new("k")})
	if err != nil || len(out.TagSet) != 0 {
		t.Errorf("%v %v", out, err)
	}
	if body, err := w.get("bkt", "k"); err != nil || body != "x" {
		t.Errorf("tagging changed the object: %q %v", body, err)
	}
}

func FuzzParseTagging(f *testing.F) {
	for _, s := range []string{"", "a=1", "a=1&b=2", "a", "=", "a=%zz", "a=%ff", "a+b=c%20d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		tags, err := parseTagging(in)
		if err == nil && validTags(tags, maxObjectTags) != nil {
			t.Errorf("parseTagging(%q) let through %q", in, tags)
		}
	})
}

func TestOpen(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	w.put("bkt", "code.zip", strings.Repeat("z", maxInline+1))
	body, size, err := w.Open(t.Context(), "bkt", "code.zip", "")
	if err != nil || size != maxInline+1 || len(readAll(t, body)) != int(size) {
		t.Fatal(size, err)
	}
	_, _, err = w.Open(t.Context(), "bkt", "none", "")
	wantCode(t, err, "NoSuchKey")
}
