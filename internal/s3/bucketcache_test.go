package s3

import (
	"fmt"
	"testing"

	"davy/api/s3api"
)

func TestBucketCache_IsBounded(t *testing.T) {
	var c bucketCache
	for i := range 1000 {
		_, ticket := c.get("")
		c.put(&bucket{Name: fmt.Sprint(i), size: cachedBucketBytes / 10}, ticket)
		if b, _ := c.get(fmt.Sprint(i)); b == nil {
			t.Fatal("what was put last is not there")
		}
		held := 0
		for _, b := range c.byName {
			held += b.size
		}
		if held != c.bytes || held > cachedBucketBytes {
			t.Fatalf("%d bytes held, %d counted", held, c.bytes)
		}
	}
}

func TestBucketCache_KeepsNothingReadBeforeAChange(t *testing.T) {
	var c bucketCache
	_, ticket := c.get("b")
	c.drop("b")
	c.put(&bucket{Name: "b"}, ticket)
	if b, _ := c.get("b"); b != nil {
		t.Fatal("a state from before the change is kept")
	}
}

// A stale bucket costs a write another attempt, and nothing else.
func TestBucketCache_WritesDoNotFollowAStateThatHasPassed(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bucket")
	w.put("bucket", "k", "1")
	stale, _ := w.buckets.get("bucket")
	if stale == nil {
		t.Fatal("the bucket is not cached")
	}
	if _, err := w.PutBucketVersioning(w.ctx(), &s3api.PutBucketVersioningRequest{
		Bucket: new("bucket"), VersioningConfiguration: &s3api.VersioningConfiguration{Status: new(s3api.BucketVersioningStatusEnabled)},
	}); err != nil {
		t.Fatal(err)
	}
	for _, write := range []func() error{
		func() error {
			if out := w.put("bucket", "k", "2"); out.VersionId == nil {
				return fmt.Errorf("written without a version")
			}
			return nil
		},
		func() error {
			_, err := w.CreateMultipartUpload(w.ctx(), &s3api.CreateMultipartUploadRequest{Bucket: new("bucket"), Key: new("m")})
			return err
		},
	} {
		w.buckets.drop("bucket")
		_, ticket := w.buckets.get("bucket")
		w.buckets.put(stale, ticket)
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
}
