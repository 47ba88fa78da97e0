package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"davy/api/s3api"
	"davy/internal/awsapi"
	"davy/internal/blob/blobtest"
	"davy/internal/state"
	"davy/internal/state/statetest"
)

const (
	testAccount  = "111122223333"
	testFunction = "arn:aws:lambda:us-east-1:111122223333:function:resize"
	eventQueue   = "events"
)

// sink sends every event to one queue, and refuses functions called forbidden.
type sink struct{}

func (sink) Message(_ context.Context, target, _, _ string, event []byte) (state.Msg, bool, error) {
	return state.Msg{Queue: eventQueue, Body: event, Attrs: map[string]string{"target": target}}, !strings.HasSuffix(target, ":gone"), nil
}

func (sink) CheckFunction(_ context.Context, function, _, _ string) error {
	if strings.Contains(function, ":forbidden") {
		return ErrDestination
	}
	return nil
}

func (sink) ShowBucketPolicy(_ context.Context, document string, _ map[string]string) string {
	return document
}

func (sink) CheckBucketPolicy(_ context.Context, document, _ string) (map[string]string, error) {
	if strings.Contains(document, "Broken") {
		return nil, errors.New("Missing required field Principal")
	}
	return nil, nil
}

// world is a service on memory engines with a clock that tests set.
type world struct {
	*Service
	t     testing.TB
	store *statetest.Memory
	blobs *blobtest.Memory
	clock *atomic.Int64 // Unix nanoseconds
	call  awsapi.Call   // what requests carry
}

// strict fails a test whose batch says two things about one row: engines may
// differ on which of them counts.
type strict struct {
	state.Store
	t testing.TB
}

func (s strict) Commit(ctx context.Context, b state.Batch) (int64, error) {
	seen := map[[2]string]bool{}
	for _, op := range b.Ops {
		if k := [2]string{op.Space, op.Key}; seen[k] {
			s.t.Errorf("batch writes %q twice", k)
		} else {
			seen[k] = true
		}
	}
	for _, c := range b.Checks {
		if seen[[2]string{c.Space, c.Key}] {
			s.t.Errorf("batch checks and writes %q", c.Key)
		}
	}
	return s.Store.Commit(ctx, b)
}

// start is when every test begins.
var start = time.Date(2026, 11, 22, 9, 30, 15, 123_000_000, time.UTC)

func newWorld(t testing.TB) *world {
	w := &world{t: t, store: statetest.NewMemory(), blobs: blobtest.NewMemory(), clock: new(atomic.Int64)}
	w.clock.Store(start.UnixNano())
	s, err := New(Config{
		Store: strict{w.store, t}, Blobs: w.blobs, Events: sink{}, Destinations: sink{}, Policies: sink{},
		Now: func() time.Time { return time.Unix(0, w.clock.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
	w.call = awsapi.Call{
		RequestID: "C3D13FE58DE4C810", HostID: "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD", Region: "us-east-1", Account: testAccount, SourceIP: "203.0.113.7",
		Principal: awsapi.Principal{ARN: "arn:aws:iam::111122223333:user/ann", UserID: "AIDAJDPLRKLG7UEXAMPLE", Account: testAccount},
	}
	return w
}

// ctx is the context of one request.
func (w *world) ctx() context.Context { return w.request(nil) }

func (w *world) request(r *http.Request) context.Context {
	c := w.call
	c.Request = r
	return awsapi.WithCall(w.t.Context(), &c)
}

func (w *world) bucketNamed(name string) {
	w.t.Helper()
	if _, err := w.CreateBucket(w.ctx(), &s3api.CreateBucketRequest{Bucket: &name}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(bucket, key, body string) *s3api.PutObjectOutput {
	w.t.Helper()
	out, err := w.PutObject(w.ctx(), putRequest(bucket, key, body))
	if err != nil {
		w.t.Fatalf("put %s/%s: %v", bucket, key, err)
	}
	return out
}

func putRequest(bucket, key, body string) *s3api.PutObjectRequest {
	return &s3api.PutObjectRequest{Bucket: &bucket, Key: &key, Body: io.NopCloser(strings.NewReader(body)), ContentLength: new(int64(len(body)))}
}

func (w *world) get(bucket, key string) (string, error) {
	w.t.Helper()
	out, err := w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	return readAll(w.t, out.Body), nil
}

func readAll(t testing.TB, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// reap does what Run would do with the bytes that lost their owner.
func (w *world) reap() {
	w.t.Helper()
	for {
		select {
		case e := <-w.dead:
			if err := w.destroy(w.t.Context(), e); err != nil {
				w.t.Fatal(err)
			}
		default:
			return
		}
	}
}

// events takes what was sent so far.
func (w *world) events() []string {
	w.t.Helper()
	var out []string
	for {
		got, err := w.store.Receive(w.t.Context(), eventQueue, 100, time.Hour)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(got) == 0 {
			return out
		}
		var b state.Batch
		for _, d := range got {
			out = append(out, string(d.Body))
			b.Settle = append(b.Settle, state.Settle{Receipt: d.Receipt, Delete: true})
		}
		if _, err := w.store.Commit(w.t.Context(), b); err != nil {
			w.t.Fatal(err)
		}
	}
}

// wantCode fails unless err is the AWS error with this code; "" means none.
func wantCode(t testing.TB, err error, code string) *awsapi.ErrorResponse {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatalf("got %v, want success", err)
		}
		return nil
	}
	var e *awsapi.ErrorResponse
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	return e
}

func TestObject_RoundTrip(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("photos")
	for name, size := range map[string]int{"empty": 0, "small": 11, "inline": maxInline, "blob": maxInline + 1, "chunks": 3*chunkSize + 17} {
		t.Run(name, func(t *testing.T) {
			body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			w.put("photos", name, body)
			got, err := w.get("photos", name)
			if err != nil || got != body {
				t.Fatalf("got %d bytes, %v; want %d", len(got), err, size)
			}
		})
	}
	if n := w.blobs.Len(); n != 2 {
		t.Errorf("%d blobs, want 2: bodies of at most 16 KiB belong in the transaction", n)
	}
	_, err := w.get("photos", "nothing")
	e := wantCode(t, err, "NoSuchKey")
	if e.Status != 404 || e.Message != "The specified key does not exist." || e.Fields["Key"] != "nothing" {
		t.Errorf("got %+v", e)
	}
	_, err = w.get("nobucket", "a")
	if e := wantCode(t, err, "NoSuchBucket"); e.Message != "The specified bucket does not exist" || e.Fields["BucketName"] != "nobucket" {
		t.Errorf("got %+v", e)
	}
}

func TestObject_OverwriteAndDeleteFreeTheBytes(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("photos")
	big := strings.Repeat("x", maxInline+1)
	w.put("photos", "a", big)
	old, err := w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("photos"), Key: new("a")})
	if err != nil {
		t.Fatal(err)
	}
	w.put("photos", "a", big+"2")
	w.reap()
	if n := w.blobs.Len(); n != 1 {
		t.Fatalf("%d blobs after an overwrite, want 1", n)
	}
	if got := readAll(t, old.Body); got != big {
		t.Fatal("a reader lost its bytes when the object was overwritten")
	}
	if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("photos"), Key: new("a")}); err != nil {
		t.Fatal(err)
	}
	w.reap()
	if n := w.blobs.Len(); n != 0 {
		t.Fatalf("%d blobs after the deletion, want 0", n)
	}
	if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("photos"), Key: new("a")}); err != nil {
		t.Fatalf("deleting what does not exist: %v", err)
	}
}

func TestPutObject_NothingIsVisibleWhenTheCommitFails(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("photos")
	w.store.FailCommits(state.ErrFull)
	_, err := w.PutObject(w.ctx(), putRequest("photos", "a", strings.Repeat("x", maxInline+1)))
	if e := wantCode(t, err, "InsufficientStorage"); e.Status != http.StatusInsufficientStorage {
		t.Errorf("status %d", e.Status)
	}
	w.store.FailCommits(nil)
	_, err = w.get("photos", "a")
	wantCode(t, err, "NoSuchKey")
	if n := w.blobs.Len(); n != 0 {
		t.Errorf("%d blobs left behind", n)
	}
}

func TestPutObject_UnknownOutcomeKeepsTheBytes(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("photos")
	w.store.FailCommits(state.ErrUnknown)
	if _, err := w.PutObject(w.ctx(), putRequest("photos", "a", strings.Repeat("x", maxInline+1))); err == nil {
		t.Fatal("want an error")
	}
	if n := w.blobs.Len(); n != 1 {
		t.Fatalf("%d blobs: the transaction may have happened, so its blob must stay", n)
	}
	w.store.FailCommits(nil)
	if err := w.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.blobs.Len(); n != 1 {
		t.Fatal("the collector took a blob that is too young")
	}
	w.clock.Store(time.Now().Add(2 * time.Hour).UnixNano()) // the engine stamps blobs with the wall clock
	if err := w.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.blobs.Len(); n != 0 {
		t.Fatal("the collector left an old blob that nothing names")
	}
}
