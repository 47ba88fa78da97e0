package s3

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"io"
	"net/url"
	"strings"
	"testing"

	"davy/api/s3api"
)

// percent encodes a key for x-amz-copy-source.
func percent(key string) string { return strings.ReplaceAll(url.QueryEscape(key), "+", "%20") }

// multipart uploads body as one part.
func (w *world) multipart(bucket, key, body string) *s3api.CompleteMultipartUploadOutput {
	w.t.Helper()
	id := w.beginUpload(bucket, key)
	etag := w.part(bucket, key, id, 1, body)
	out, err := w.complete(bucket, key, id, 1, etag)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) beginUpload(bucket, key string) string {
	w.t.Helper()
	out, err := w.CreateMultipartUpload(w.ctx(), &s3api.CreateMultipartUploadRequest{Bucket: &bucket, Key: &key})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.UploadId
}

func partRequest(bucket, key, id string, number int, body string) *s3api.UploadPartRequest {
	return &s3api.UploadPartRequest{
		Bucket: &bucket, Key: &key, UploadId: &id, PartNumber: new(int32(number)),
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: new(int64(len(body))),
	}
}

func (w *world) part(bucket, key, id string, number int, body string) (etag string) {
	w.t.Helper()
	out, err := w.UploadPart(w.ctx(), partRequest(bucket, key, id, number, body))
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.ETag
}

// complete takes numbers and ETags in turn.
func (w *world) complete(bucket, key, id string, list ...any) (*s3api.CompleteMultipartUploadOutput, error) {
	in := completion(bucket, key, id, list...)
	return w.CompleteMultipartUpload(w.ctx(), in)
}

func completion(bucket, key, id string, list ...any) *s3api.CompleteMultipartUploadRequest {
	m := &s3api.CompletedMultipartUpload{}
	for i := 0; i < len(list); i += 2 {
		m.Parts = append(m.Parts, s3api.CompletedPart{PartNumber: new(int32(list[i].(int))), ETag: new(list[i+1].(string))})
	}
	return &s3api.CompleteMultipartUploadRequest{Bucket: &bucket, Key: &key, UploadId: &id, MultipartUpload: m}
}

func TestMultipart_AssemblesPartsInOrder(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	id := w.beginUpload("bkt", "big")
	one, two, three := strings.Repeat("1", minPart), strings.Repeat("2", minPart+7), "tail"
	e3 := w.part("bkt", "big", id, 30, three)
	w.part("bkt", "big", id, 7, "replaced")
	e2 := w.part("bkt", "big", id, 7, two)
	e1 := w.part("bkt", "big", id, 1, one)
	w.part("bkt", "big", id, 99, "not used")

	out, err := w.complete("bkt", "big", id, 1, e1, 7, e2, 30, e3)
	if err != nil {
		t.Fatal(err)
	}
	// 3 parts: md5 of the three binary md5s, computed by hand.
	if want := etagOfParts(t, one, two, three); *out.ETag != want {
		t.Errorf("ETag %s, want %s", *out.ETag, want)
	}
	if got, want := *out.ChecksumCRC64NVME, sumString(crc64NVME, one+two+three); got != want || *out.ChecksumType != fullObject {
		t.Errorf("CRC64NVME %s %s, want %s", got, *out.ChecksumType, want)
	}
	if got, err := w.get("bkt", "big"); err != nil || got != one+two+three {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// A range across parts, and one part by number.
	g, err := w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("big"), Range: new("bytes=5242878-5242881")})
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, g.Body); got != "1122" {
		t.Errorf("range across parts: %q", got)
	}
	g, err = w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("big"), PartNumber: new(int32(3))})
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, g.Body); got != three || *g.PartsCount != 3 || *g.ContentRange != "bytes 10485767-10485770/10485771" {
		t.Errorf("part 3: %q of %d, %s", got, *g.PartsCount, *g.ContentRange)
	}
	// The retry of a client that did not hear the answer.
	again, err := w.complete("bkt", "big", id, 1, e1, 7, e2, 30, e3)
	if err != nil || *again.ETag != *out.ETag {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	w.reap()
	if n := w.blobs.Len(); n != 3 {
		t.Errorf("%d blobs, want 3: replaced and unused parts are garbage", n)
	}
	if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: new("big")}); err != nil {
		t.Fatal(err)
	}
	w.reap()
	w.wantEmpty(t)
}

func etagOfParts(t *testing.T, bodies ...string) string {
	t.Helper()
	var all []byte
	for _, b := range bodies {
		h := sumMD5.new()
		h.Write([]byte(b))
		all = h.Sum(all)
	}
	h := sumMD5.new()
	h.Write(all)
	return `"` + hex.EncodeToString(h.Sum(nil)) + "-" + string('0'+rune(len(bodies))) + `"`
}

func sumString(a algorithm, body string) string {
	h := a.new()
	io.WriteString(h, body)
	return encodeSum(h)
}

func TestMultipart_ReaderOutlivesDeletion(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	id := w.beginUpload("bkt", "big")
	one := strings.Repeat("1", minPart)
	out, err := w.complete("bkt", "big", id, 1, w.part("bkt", "big", id, 1, one), 2, w.part("bkt", "big", id, 2, "end"))
	if err != nil {
		t.Fatal(out, err)
	}
	g, err := w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("big")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: new("big")}); err != nil {
		t.Fatal(err)
	}
	w.reap()
	if got := readAll(t, g.Body); got != one+"end" {
		t.Fatalf("%d bytes", len(got))
	}
	w.reap()
	w.wantEmpty(t)
}

func TestCompleteMultipartUpload_Refusals(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	id := w.beginUpload("bkt", "k")
	small, tail := w.part("bkt", "k", id, 1, "small"), w.part("bkt", "k", id, 2, "tail")
	for _, tc := range []struct {
		name    string
		in      *s3api.CompleteMultipartUploadRequest
		code    string
		message string
	}{
		{"empty list", completion("bkt", "k", id), "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"},
		{"descending", completion("bkt", "k", id, 2, tail, 1, small), "InvalidPartOrder", "The list of parts was not in ascending order. The parts list must be specified in order by part number."},
		{"twice", completion("bkt", "k", id, 1, small, 1, small), "InvalidPartOrder", "The list of parts was not in ascending order. The parts list must be specified in order by part number."},
		{"missing", completion("bkt", "k", id, 3, tail), "InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."},
		{"wrong ETag", completion("bkt", "k", id, 1, tail), "InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."},
		{"small part", completion("bkt", "k", id, 1, small, 2, tail), "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"},
		{"no such upload", completion("bkt", "k", strings.Repeat("0", 48), 1, small), "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."},
		{"not an id", completion("bkt", "k", "../x", 1, small), "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."},
		{"other key", completion("bkt", "other", id, 1, small), "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := w.CompleteMultipartUpload(w.ctx(), tc.in)
			if e := wantCode(t, err, tc.code); e.Message != tc.message {
				t.Errorf("message %q, want %q", e.Message, tc.message)
			}
		})
	}
	w.put("bkt", "k", "there")
	in := completion("bkt", "k", id, 2, tail)
	in.IfNoneMatch = new("*")
	_, err := w.CompleteMultipartUpload(w.ctx(), in)
	wantCode(t, err, "PreconditionFailed")
	in.IfNoneMatch = nil
	in.MpuObjectSize = new(int64(3))
	_, err = w.CompleteMultipartUpload(w.ctx(), in)
	wantCode(t, err, "InvalidRequest")
	in.MpuObjectSize = new(int64(4))
	_, err = w.CompleteMultipartUpload(w.ctx(), in)
	wantCode(t, err, "")
}

func TestMultipart_CompositeChecksum(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	c, err := w.CreateMultipartUpload(w.ctx(), &s3api.CreateMultipartUploadRequest{
		Bucket: new("bkt"), Key: new("k"), ChecksumAlgorithm: new(s3api.ChecksumAlgorithm("SHA256")),
	})
	if err != nil || *c.ChecksumType != composite {
		t.Fatal(c, err)
	}
	body := "hello"
	sum := sha256.Sum256([]byte(body))
	value := base64.StdEncoding.EncodeToString(sum[:])

	wrong := partRequest("bkt", "k", *c.UploadId, 1, body)
	var b4 [4]byte
	crc := crc32.ChecksumIEEE([]byte(body))
	b4[0], b4[1], b4[2], b4[3] = byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc)
	wrong.ChecksumCRC32 = new(base64.StdEncoding.EncodeToString(b4[:]))
	_, err = w.UploadPart(w.ctx(), wrong)
	if e := wantCode(t, err, "InvalidRequest"); e.Message != "Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: crc32" {
		t.Errorf("%q", e.Message)
	}

	_, err = w.UploadPart(w.ctx(), partRequest("bkt", "k", *c.UploadId, 1, body))
	if e := wantCode(t, err, "InvalidRequest"); e.Message != "Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: null" {
		t.Errorf("%q", e.Message)
	}
	p := partRequest("bkt", "k", *c.UploadId, 1, body)
	p.ChecksumSHA256 = &value
	up, err := w.UploadPart(w.ctx(), p)
	if err != nil || *up.ChecksumSHA256 != value {
		t.Fatal(up, err)
	}
	in := completion("bkt", "k", *c.UploadId, 1, *up.ETag)
	_, err = w.CompleteMultipartUpload(w.ctx(), in)
	if e := wantCode(t, err, "InvalidRequest"); e.Message != "The upload was created using a sha256 checksum. The complete request must include the checksum for each part. It was missing for part 1 in the request." {
		t.Errorf("%q", e.Message)
	}
	in.MultipartUpload.Parts[0].ChecksumSHA256 = &value
	out, err := w.CompleteMultipartUpload(w.ctx(), in)
	if err != nil {
		t.Fatal(err)
	}
	again := sha256.Sum256(sum[:])
	if want := base64.StdEncoding.EncodeToString(again[:]) + "-1"; *out.ChecksumSHA256 != want || *out.ChecksumType != composite {
		t.Errorf("%s %s, want %s", *out.ChecksumSHA256, *out.ChecksumType, want)
	}
	a, err := w.GetObjectAttributes(w.ctx(), &s3api.GetObjectAttributesRequest{
		Bucket: new("bkt"), Key: new("k"), ObjectAttributes: []s3api.ObjectAttributes{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"},
	})
	if err != nil || `"`+*a.ETag+`"` != *out.ETag || *a.ObjectSize != 5 || *a.Checksum.ChecksumSHA256+"-1" != *out.ChecksumSHA256 ||
		*a.ObjectParts.TotalPartsCount != 1 || len(a.ObjectParts.Parts) != 1 || *a.ObjectParts.Parts[0].ChecksumSHA256 != value {
		t.Errorf("attributes %+v, %v", a, err)
	}
	_, err = w.GetObjectAttributes(w.ctx(), &s3api.GetObjectAttributesRequest{Bucket: new("bkt"), Key: new("k"), ObjectAttributes: []s3api.ObjectAttributes{"Colour"}})
	wantCode(t, err, "InvalidArgument")
}

func TestSumType(t *testing.T) {
	for _, tc := range []struct {
		a         algorithm
		in, want  string
		wantError string
	}{
		{"", "", fullObject, ""},
		{"CRC32", "", composite, ""},
		{"CRC32", fullObject, fullObject, ""},
		{"CRC32C", composite, composite, ""},
		{"CRC64NVME", "", fullObject, ""},
		{"CRC64NVME", composite, "", "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm."},
		{"SHA256", fullObject, "", "The FULL_OBJECT checksum type cannot be used with the sha256 checksum algorithm."},
		{"SHA1", "", composite, ""},
	} {
		got, err := sumType(tc.a, tc.in)
		if got != tc.want || (err != nil) != (tc.wantError != "") || err != nil && !strings.Contains(err.Error(), tc.wantError) {
			t.Errorf("sumType(%s, %s) = %s, %v; want %s %s", tc.a, tc.in, got, err, tc.want, tc.wantError)
		}
	}
}

func TestAbortMultipartUpload(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	id := w.beginUpload("bkt", "k")
	w.part("bkt", "k", id, 1, "x")
	w.part("bkt", "k", id, 2, strings.Repeat("y", maxInline+1))
	abort := &s3api.AbortMultipartUploadRequest{Bucket: new("bkt"), Key: new("k"), UploadId: &id}
	if _, err := w.AbortMultipartUpload(w.ctx(), abort); err != nil {
		t.Fatal(err)
	}
	_, err := w.UploadPart(w.ctx(), partRequest("bkt", "k", id, 3, "late"))
	wantCode(t, err, "NoSuchUpload")
	_, err = w.AbortMultipartUpload(w.ctx(), abort)
	wantCode(t, err, "NoSuchUpload")
	w.reap()
	w.wantEmpty(t)
}

// TestDeleteBucket_DropsUploads shows that uploads in progress neither keep a
// bucket nor leave bytes behind.
func TestDeleteBucket_DropsUploads(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	id := w.beginUpload("bkt", "k")
	w.part("bkt", "k", id, 1, "x")
	if _, err := w.DeleteBucket(w.ctx(), &s3api.DeleteBucketRequest{Bucket: new("bkt")}); err != nil {
		t.Fatal(err)
	}
	w.bucketNamed("bkt")
	_, err := w.UploadPart(w.ctx(), partRequest("bkt", "k", id, 2, "late"))
	wantCode(t, err, "NoSuchUpload")
	if err := w.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.reap()
	w.wantEmpty(t)
	docs, err := w.store.List(t.Context(), droppedDocs, "", 10)
	if err != nil || len(docs) != 0 {
		t.Errorf("%d deleted buckets remembered, %v", len(docs), err)
	}
}

func TestListParts_Pages(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	id := w.beginUpload("bkt", "k")
	for n := range 5 {
		w.part("bkt", "k", id, 2*n+1, strings.Repeat("p", n))
	}
	var got []int32
	for marker := int32(0); ; {
		out, err := w.ListParts(w.ctx(), &s3api.ListPartsRequest{Bucket: new("bkt"), Key: new("k"), UploadId: &id, MaxParts: new(int32(2)), PartNumberMarker: &marker})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range out.Parts {
			got = append(got, *p.PartNumber, int32(*p.Size))
		}
		if !*out.IsTruncated {
			break
		}
		marker = *out.NextPartNumberMarker
	}
	if len(got) != 10 || got[8] != 9 || got[9] != 4 {
		t.Errorf("%v", got)
	}
}

func TestListMultipartUploads_Pages(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	var want []string
	for _, key := range []string{"a/1", "a/2", "b", "b", "c\x00", "d/1"} {
		want = append(want, key+" "+w.beginUpload("bkt", key))
	}
	for _, page := range []int32{1, 2, 1000} {
		var got []string
		var key, id *string
		for {
			out, err := w.ListMultipartUploads(w.ctx(), &s3api.ListMultipartUploadsRequest{Bucket: new("bkt"), MaxUploads: &page, KeyMarker: key, UploadIdMarker: id})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range out.Uploads {
				got = append(got, *u.Key+" "+*u.UploadId)
			}
			if !*out.IsTruncated {
				break
			}
			key, id = out.NextKeyMarker, out.NextUploadIdMarker
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("pages of %d: got %q, want %q", page, got, want)
		}
		var rolled []string
		key = nil
		for {
			out, err := w.ListMultipartUploads(w.ctx(), &s3api.ListMultipartUploadsRequest{Bucket: new("bkt"), MaxUploads: &page, KeyMarker: key, UploadIdMarker: id, Delimiter: new("/")})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range out.CommonPrefixes {
				rolled = append(rolled, *p.Prefix)
			}
			for _, u := range out.Uploads {
				rolled = append(rolled, *u.Key)
			}
			if !*out.IsTruncated {
				break
			}
			key, id = out.NextKeyMarker, out.NextUploadIdMarker
		}
		if len(rolled) != 5 {
			t.Errorf("pages of %d by /: %q", page, rolled)
		}
	}
}
