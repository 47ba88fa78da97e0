package s3

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"davy/api/s3api"
	"davy/internal/state"
)

// meddling does something else just before the next commit: the interleaving
// that a race would need luck for.
type meddling struct {
	state.Store
	next func()
}

func (m *meddling) Commit(ctx context.Context, b state.Batch) (int64, error) {
	if do := m.next; do != nil {
		m.next = nil
		do()
	}
	return m.Store.Commit(ctx, b)
}

// meddle returns a world whose next commit is preceded by do.
func meddle(t *testing.T) (*world, *meddling) {
	w := newWorld(t)
	m := &meddling{Store: strict{w.store, t}}
	w.Service.store = m
	w.bucketNamed("bkt")
	return w, m
}

var large = strings.Repeat("b", maxInline+1)

func TestRace_SourceDeletedWhileItIsCopied(t *testing.T) {
	for name, source := range map[string]func(*world){
		"blob":      func(w *world) { w.put("bkt", "from", large) },
		"multipart": func(w *world) { w.multipart("bkt", "from", large) },
		"inline":    func(w *world) { w.put("bkt", "from", "small") },
	} {
		t.Run(name, func(t *testing.T) {
			w, m := meddle(t)
			source(w)
			m.next = func() {
				if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: new("from")}); err != nil {
					t.Error(err)
				}
				w.reap()
			}
			_, err := w.CopyObject(w.ctx(), &s3api.CopyObjectRequest{Bucket: new("bkt"), Key: new("to"), CopySource: new("bkt/from")})
			got, gerr := w.get("bkt", "to")
			if err == nil { // the copy came first: then it is whole
				if gerr != nil || got != "small" {
					t.Errorf("an object without its bytes: %d, %v", len(got), gerr)
				}
				return
			}
			wantCode(t, err, "NoSuchKey")
			wantCode(t, gerr, "NoSuchKey")
			w.wantEmpty(t)
		})
	}
}

func TestRace_UploadAbortedWhileAPartArrives(t *testing.T) {
	w, m := meddle(t)
	id := w.beginUpload("bkt", "k")
	m.next = func() {
		if _, err := w.AbortMultipartUpload(w.ctx(), &s3api.AbortMultipartUploadRequest{Bucket: new("bkt"), Key: new("k"), UploadId: &id}); err != nil {
			t.Error(err)
		}
		w.reap()
	}
	_, err := w.UploadPart(w.ctx(), partRequest("bkt", "k", id, 1, large))
	wantCode(t, err, "NoSuchUpload")
	w.reap()
	w.wantEmpty(t)
}

func TestRace_PartReplacedWhileTheUploadCompletes(t *testing.T) {
	w, m := meddle(t)
	id := w.beginUpload("bkt", "k")
	etag := w.part("bkt", "k", id, 1, large)
	m.next = func() {
		w.part("bkt", "k", id, 1, "other")
		w.reap()
	}
	_, err := w.complete("bkt", "k", id, 1, etag)
	wantCode(t, err, "InvalidPart")
}

func TestRace_BucketDeletedWhileAnObjectArrives(t *testing.T) {
	w, m := meddle(t)
	m.next = func() {
		if _, err := w.DeleteBucket(w.ctx(), &s3api.DeleteBucketRequest{Bucket: new("bkt")}); err != nil {
			t.Error(err)
		}
	}
	_, err := w.PutObject(w.ctx(), putRequest("bkt", "k", large))
	wantCode(t, err, "NoSuchBucket")
	w.wantEmpty(t)
}

func TestRace_ObjectArrivesWhileTheBucketIsDeleted(t *testing.T) {
	w, m := meddle(t)
	m.next = func() { w.put("bkt", "k", large) }
	_, err := w.DeleteBucket(w.ctx(), &s3api.DeleteBucketRequest{Bucket: new("bkt")})
	wantCode(t, err, "BucketNotEmpty")
	if _, err := w.get("bkt", "k"); err != nil {
		t.Error(err)
	}
}

func TestRace_NotificationPutWhileAnObjectArrives(t *testing.T) {
	w, m := meddle(t)
	m.next = func() {
		if _, err := w.PutBucketNotificationConfiguration(w.ctx(), &s3api.PutBucketNotificationConfigurationRequest{
			Bucket: new("bkt"), NotificationConfiguration: notify(lambda("n", testFunction, "s3:ObjectCreated:*")),
		}); err != nil {
			t.Error(err)
		}
	}
	w.put("bkt", "k", "x")
	if got := w.events(); len(got) != 1 {
		t.Errorf("%d events: the object was visible only after the configuration was acknowledged", len(got))
	}
}

func TestRace_OneOfManyCreates(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			in := putRequest("bkt", "lock", "mine")
			in.IfNoneMatch = new("*")
			if _, err := w.PutObject(w.ctx(), in); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d writers created the same object", won.Load())
	}
}

func TestUpdate_GivesUpInTheEnd(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	w.store.FailCommits(state.ErrConflict)
	_, err := w.PutObject(w.ctx(), putRequest("bkt", "k", large))
	if e := wantCode(t, err, "OperationAborted"); e.Status != 409 {
		t.Errorf("status %d", e.Status)
	}
	w.store.FailCommits(nil)
	w.wantEmpty(t)
}

func TestRun_DeletesInTheBackgroundAndEnds(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	w.put("bkt", "k", large)
	w.put("bkt", "k", "small")
	for w.blobs.Len() != 0 {
		runtime.Gosched() // Run does its work, or the test times out
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}
