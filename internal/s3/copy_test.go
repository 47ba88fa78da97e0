package s3

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

func TestParseCopySource(t *testing.T) {
	for _, tc := range []struct{ in, bucket, key, id, code string }{
		{"bkt/key", "bkt", "key", "", ""},
		{"/bkt/key", "bkt", "key", "", ""},
		{"bkt/a/b//c", "bkt", "a/b//c", "", ""},
		{"bkt//key", "bkt", "/key", "", ""},
		{"bkt/a%20b%2Bc+d", "bkt", "a b+c+d", "", ""},
		{"bkt%2Fkey", "bkt", "key", "", ""},
		{"bkt/%E6%97%A5", "bkt", "日", "", ""},
		{"bkt/q%3FversionId=1", "bkt", "q?versionId=1", "", ""},
		{"bkt/key?versionId=null", "bkt", "key", "null", ""},
		{"bkt/key?versionId=a%2Bb", "bkt", "key", "a+b", ""},
		{"bkt/key?versionId=", "", "", "", "InvalidArgument"},
		{"bkt/key?other=1", "", "", "", "InvalidArgument"},
		{"bkt", "", "", "", "InvalidArgument"},
		{"bkt/", "", "", "", "InvalidArgument"},
		{"/", "", "", "", "InvalidArgument"},
		{"", "", "", "", "InvalidArgument"},
		{"bkt/%zz", "", "", "", "InvalidArgument"},
		{"arn:aws:s3:us-east-1:1:accesspoint/x/object/y", "", "", "", "NotImplemented"},
		{"bkt/" + strings.Repeat("k", 1025), "bkt", strings.Repeat("k", 1025), "", "KeyTooLongError"},
	} {
		bucket, key, id, err := ParseCopySource(tc.in)
		wantCode(t, err, tc.code)
		if bucket != tc.bucket || key != tc.key || id != tc.id {
			t.Errorf("ParseCopySource(%q) = %q, %q, %q", tc.in, bucket, key, id)
		}
	}
}

func FuzzParseCopySource(f *testing.F) {
	for _, s := range []string{"bkt/key", "/bkt/a%20b?versionId=x", "bkt/%", "?", "a/b?versionId=%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		bucket, key, _, err := ParseCopySource(in)
		if err == nil && (bucket == "" || key == "" || len(key) > maxKeyLength || strings.Contains(bucket, "/")) {
			t.Errorf("ParseCopySource(%q) = %q, %q", in, bucket, key)
		}
	})
}

func TestCopyObject(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	w.bucketNamed("dst")
	in := putRequest("bkt", "from", strings.Repeat("x", maxInline+1))
	in.ContentType, in.Metadata, in.Tagging = new("text/plain"), map[string]string{"m": "1"}, new("t=1")
	put, err := w.PutObject(w.ctx(), in)
	if err != nil {
		t.Fatal(err)
	}
	copyTo := func(change func(*s3api.CopyObjectRequest)) (*s3api.CopyObjectOutput, error) {
		in := &s3api.CopyObjectRequest{Bucket: new("dst"), Key: new("to"), CopySource: new("/bkt/from")}
		if change != nil {
			change(in)
		}
		return w.CopyObject(w.ctx(), in)
	}
	head := func(bucket, key string) *s3api.HeadObjectOutput {
		h, err := w.HeadObject(w.ctx(), &s3api.HeadObjectRequest{Bucket: &bucket, Key: &key, ChecksumMode: new(s3api.ChecksumModeEnabled)})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}

	out, err := copyTo(nil)
	if err != nil || *out.CopyObjectResult.ETag != *put.ETag || *out.CopyObjectResult.ChecksumCRC64NVME != *put.ChecksumCRC64NVME {
		t.Fatal(out, err)
	}
	if h := head("dst", "to"); *h.ContentType != "text/plain" || h.Metadata["m"] != "1" || *h.TagCount != 1 {
		t.Errorf("copied %+v", h)
	}
	if n := w.blobs.Len(); n != 1 {
		t.Errorf("%d blobs: a copy must share its source's", n)
	}
	if _, err := copyTo(func(in *s3api.CopyObjectRequest) {
		in.MetadataDirective, in.ContentType, in.Metadata = new(s3api.MetadataDirectiveReplace), new("image/png"), map[string]string{"n": "2"}
		in.TaggingDirective, in.Tagging = new(s3api.TaggingDirectiveReplace), new("")
	}); err != nil {
		t.Fatal(err)
	}
	if h := head("dst", "to"); *h.ContentType != "image/png" || len(h.Metadata) != 1 || h.Metadata["n"] != "2" || h.TagCount != nil {
		t.Errorf("replaced %+v", h)
	}
	if out, err := copyTo(func(in *s3api.CopyObjectRequest) { in.ChecksumAlgorithm = new(s3api.ChecksumAlgorithm("SHA1")) }); err != nil ||
		*out.CopyObjectResult.ChecksumSHA1 != sumString(sumSHA1, strings.Repeat("x", maxInline+1)) {
		t.Errorf("%v %v", out, err)
	}

	before, after := start.Add(-time.Hour), start.Add(time.Hour)
	for _, tc := range []struct {
		name, code, detail string
		change             func(*s3api.CopyObjectRequest)
	}{
		{"onto itself", "InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.", func(in *s3api.CopyObjectRequest) { in.Bucket, in.Key = new("bkt"), new("from") }},
		{"no key", "NoSuchKey", "The specified key does not exist.", func(in *s3api.CopyObjectRequest) { in.CopySource = new("bkt/none") }},
		{"no source bucket", "NoSuchBucket", "The specified bucket does not exist", func(in *s3api.CopyObjectRequest) { in.CopySource = new("nobucket/none") }},
		{"no bucket", "NoSuchBucket", "The specified bucket does not exist", func(in *s3api.CopyObjectRequest) { in.Bucket = new("nobucket") }},
		{"bad version", "InvalidArgument", "Invalid version id specified", func(in *s3api.CopyObjectRequest) { in.CopySource = new("bkt/from?versionId=x") }},
		{"match", "", "", func(in *s3api.CopyObjectRequest) { in.CopySourceIfMatch = put.ETag }},
		{"not match", "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", func(in *s3api.CopyObjectRequest) { in.CopySourceIfMatch = new(`"x"`) }},
		{"none match", "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", func(in *s3api.CopyObjectRequest) { in.CopySourceIfNoneMatch = put.ETag }},
		{"modified", "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", func(in *s3api.CopyObjectRequest) { in.CopySourceIfModifiedSince = &after }},
		{"unmodified", "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", func(in *s3api.CopyObjectRequest) { in.CopySourceIfUnmodifiedSince = &before }},
		{"exists", "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", func(in *s3api.CopyObjectRequest) { in.IfNoneMatch = new("*") }},
		{"source owner", "AccessDenied", "Access Denied", func(in *s3api.CopyObjectRequest) { in.ExpectedSourceBucketOwner = new("999999999999") }},
		{"acl", "AccessControlListNotSupported", "The bucket does not allow ACLs", func(in *s3api.CopyObjectRequest) { in.ACL = new(s3api.ObjectCannedACL("public-read")) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := copyTo(tc.change)
			if e := wantCode(t, err, tc.code); e != nil && e.Message != tc.detail {
				t.Errorf("message %q, want %q", e.Message, tc.detail)
			}
		})
	}

	// Onto itself with new metadata: the bytes stay.
	if _, err := w.CopyObject(w.ctx(), &s3api.CopyObjectRequest{
		Bucket: new("bkt"), Key: new("from"), CopySource: new("bkt/from"), MetadataDirective: new(s3api.MetadataDirectiveReplace), ContentType: new("a/b"),
	}); err != nil {
		t.Fatal(err)
	}
	w.reap()
	if got, err := w.get("bkt", "from"); err != nil || len(got) != maxInline+1 || *head("bkt", "from").ContentType != "a/b" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for bucket, key := range map[string]string{"bkt": "from", "dst": "to"} {
		if w.blobs.Len() != 1 {
			t.Error("the bytes went before their last owner")
		}
		if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: &bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
		w.reap()
	}
	w.wantEmpty(t)
}

func TestUploadPartCopy(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	w.put("bkt", "from", "0123456789"+strings.Repeat("x", maxInline))
	id := w.beginUpload("bkt", "to")
	part := func(number int, span *string) (*s3api.UploadPartCopyOutput, error) {
		return w.UploadPartCopy(w.ctx(), &s3api.UploadPartCopyRequest{
			Bucket: new("bkt"), Key: new("to"), UploadId: &id, PartNumber: new(int32(number)), CopySource: new("bkt/from"), CopySourceRange: span,
		})
	}
	out, err := part(1, new("bytes=2-5"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.complete("bkt", "to", id, 1, *out.CopyPartResult.ETag); err != nil {
		t.Fatal(err)
	}
	if got, err := w.get("bkt", "to"); err != nil || got != "2345" {
		t.Errorf("%q %v", got, err)
	}
	id = w.beginUpload("bkt", "to")
	for span, code := range map[string]string{"bytes=0-99999": "InvalidArgument", "bytes=5-": "InvalidArgument", "5-6": "InvalidArgument", "bytes=6-5": "InvalidArgument"} {
		_, err := part(1, &span)
		wantCode(t, err, code)
	}
	_, err = part(10001, nil)
	wantCode(t, err, "InvalidArgument")
	if _, err = part(1, nil); err != nil {
		t.Fatal(err)
	}
}

// TestSharedBytes_SurviveRacesUntilTheLastOwnerLeaves copies and deletes the
// same bytes from many goroutines while the collector, for which every blob is
// old enough, runs without pause. An object that can be found must be readable
// in full, and in the end nothing may be left.
func TestSharedBytes_SurviveRacesUntilTheLastOwnerLeaves(t *testing.T) {
	w := newWorld(t)
	w.clock.Store(time.Now().Add(24 * time.Hour).UnixNano())
	for _, b := range []string{"bkt", "ver"} {
		w.bucketNamed(b)
	}
	if _, err := w.PutBucketVersioning(w.ctx(), &s3api.PutBucketVersioningRequest{
		Bucket: new("ver"), VersioningConfiguration: &s3api.VersioningConfiguration{Status: new(s3api.BucketVersioningStatusEnabled)},
	}); err != nil {
		t.Fatal(err)
	}
	const keys, workers, rounds = 4, 8, 150
	key := func(i int) string { return fmt.Sprintf("k%d", i%keys) }
	body := strings.Repeat("b", maxInline+1)
	expected := func(err error) bool {
		var e *awsapi.ErrorResponse
		return err == nil || errors.As(err, &e) && (e.Code == "NoSuchKey" || e.Code == "OperationAborted")
	}

	stop := make(chan struct{})
	var collector, wg sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			case e := <-w.dead:
				if err := w.destroy(t.Context(), e); err != nil {
					t.Error(err)
				}
			default:
				if err := w.collectUploads(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for n := range workers {
		wg.Go(func() {
			for i := range rounds {
				from, to := key(n+i), key(n*7+i*3)
				bucket := []string{"bkt", "ver"}[(n+i)%2]
				var err error
				switch (n + i) % 5 {
				case 0:
					_, err = w.PutObject(w.ctx(), putRequest(bucket, from, body))
				case 1:
					id := w.beginUpload(bucket, from)
					_, err = w.complete(bucket, from, id, 3, w.part(bucket, from, id, 3, body))
				case 2, 3:
					_, err = w.CopyObject(w.ctx(), &s3api.CopyObjectRequest{
						Bucket: &bucket, Key: &to, CopySource: new([]string{"bkt", "ver"}[i%2] + "/" + from), MetadataDirective: new(s3api.MetadataDirectiveReplace),
					})
				case 4:
					_, err = w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: &bucket, Key: &from})
				}
				if !expected(err) {
					t.Error(err)
				}
				switch got, err := w.get(bucket, to); {
				case err == nil && got != body:
					t.Errorf("%s/%s: %d bytes", bucket, to, len(got))
				case !expected(err):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	collector.Wait()

	for _, bucket := range []string{"bkt", "ver"} {
		out, err := w.ListObjectVersions(w.ctx(), &s3api.ListObjectVersionsRequest{Bucket: &bucket})
		if err != nil || *out.IsTruncated {
			t.Fatal(out, err)
		}
		for _, v := range out.Versions {
			g, err := w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: &bucket, Key: v.Key, VersionId: v.VersionId})
			if err != nil {
				t.Fatalf("%s %s: %v", *v.Key, *v.VersionId, err)
			}
			if got := readAll(t, g.Body); got != body {
				t.Errorf("%d bytes", len(got))
			}
			if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: &bucket, Key: v.Key, VersionId: v.VersionId}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.reap()
	if err := w.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.reap()
	w.wantEmpty(t)
}

// TestCollect_LeavesWhatIsOwned runs the collector over everything that may
// own a blob, with every blob old enough.
func TestCollect_LeavesWhatIsOwned(t *testing.T) {
	w := newWorld(t)
	w.clock.Store(time.Now().Add(24 * time.Hour).UnixNano())
	w.bucketNamed("bkt")
	body := strings.Repeat("b", maxInline+1)
	w.put("bkt", "one", body)
	w.multipart("bkt", "many", body)
	id := w.beginUpload("bkt", "open")
	etag := w.part("bkt", "open", id, 1, body)
	orphan, err := w.writeBlob(t.Context(), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.blobs.Len(); n != 4 {
		t.Fatalf("%d blobs, want 4: the one being committed counts", n)
	}
	w.pending.remove(orphan) // its request is over and named it nowhere
	if err := w.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.blobs.Len(); n != 3 {
		t.Fatalf("%d blobs, want 3", n)
	}
	if _, err := w.complete("bkt", "open", id, 1, etag); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"one", "many", "open"} {
		if got, err := w.get("bkt", key); err != nil || got != body {
			t.Errorf("%s: %d bytes, %v", key, len(got), err)
		}
	}
	// A crash after the last claim went and before the bytes did.
	for len(w.dead) > 0 {
		<-w.dead
	}
	for _, key := range []string{"one", "many", "open"} {
		if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: &key}); err != nil {
			t.Fatal(err)
		}
		for len(w.dead) > 0 {
			<-w.dead
		}
	}
	for range 2 {
		if err := w.collect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.wantEmpty(t)
}
