package fulldisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/test/davytest"
)

// world is a server on a small disk and what it has acknowledged.
type world struct {
	*client
	t      *testing.T
	disk   *disk
	server *davytest.Server
	log    *journal

	mu      sync.Mutex
	objects map[string][32]byte // key to the hash of what was acknowledged
	lines   map[string]bool     // acknowledged log lines
	made    []string            // functions
	events  int
}

// journal is the server's log.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), text)
}

const bucket = "full"

func newWorld(t *testing.T, mebibytes int64) *world {
	t.Helper()
	bin, err := davytest.Binary()
	if err != nil {
		t.Skip(err)
	}
	d := newDisk(t, mebibytes)
	w := &world{t: t, disk: d, log: &journal{}, objects: map[string][32]byte{}, lines: map[string]bool{}}
	w.server = &davytest.Server{Bin: bin, Data: filepath.Join(d.dir, "data"), Log: w.log}
	w.start()
	t.Cleanup(func() {
		if err := w.server.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			t.Logf("the server's log:\n%.20000s", quiet(w.log.b.String()))
		}
	})
	w.must(w.iam(t.Context(), "CreateRole", "RoleName", "full", "AssumeRolePolicyDocument",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com","AWS":"000000000000"},"Action":"sts:AssumeRole"}]}`))
	w.must(w.iam(t.Context(), "CreateUser", "UserName", "before"))
	w.must(w.s3(t.Context(), http.MethodPut, "/"+bucket, nil))
	w.must(w.logs(t.Context(), "CreateLogGroup", map[string]any{"logGroupName": "g"}))
	w.must(w.logs(t.Context(), "CreateLogStream", map[string]any{"logGroupName": "g", "logStreamName": "s"}))
	return w
}

// quiet leaves out what is said of each event.
func quiet(log string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(log, "\n"), func(l string) bool { return strings.Contains(l, "event not run") }), "\n")
}

func (w *world) start() {
	w.t.Helper()
	flags := []string{"--pool-memory", "0", "--drain", "2s"}
	if dir := os.Getenv("DAVY_RUNTIMES"); dir != "" {
		flags = append(flags, "--runtimes", dir)
	}
	if err := w.server.Start(flags...); err != nil {
		w.t.Fatalf("start with %d bytes free: %v\n%s", w.disk.free(w.t), err, w.log.b.String())
	}
	id, secret, err := w.server.RootKey()
	if err != nil {
		w.t.Fatal(err)
	}
	w.client = &client{endpoint: w.server.API, http: http.Client{Timeout: time.Minute}}
	w.creds.AccessKeyID, w.creds.SecretAccessKey = id, secret
}

func (w *world) must(a answer, err error) answer {
	w.t.Helper()
	if err != nil || !a.ok() {
		w.t.Fatal(a, err)
	}
	return a
}

// refused demands one of AWS's errors.
func (w *world) refused(what string, a answer, err error) {
	w.t.Helper()
	codes := []string{"InsufficientStorage", "ServiceException", "InternalFailure", "ServiceUnavailableException", "ServiceFailure"}
	if err != nil || a.status < 500 || !slices.Contains(codes, a.errorCode()) {
		w.t.Errorf("%s on a full disk: %v %v", what, a, err)
	}
}

func (w *world) put(ctx context.Context, key string, body []byte) (answer, error) {
	a, err := w.s3(ctx, http.MethodPut, "/"+bucket+"/"+key, body)
	if err == nil && a.ok() {
		w.kept(key, sha256.Sum256(body))
	}
	return a, err
}

func (w *world) kept(key string, sum [32]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.objects[key] = sum
}

// multipart uploads two parts.
func (w *world) multipart(ctx context.Context, key string) (answer, error) {
	target := "/" + bucket + "/" + key
	a, err := w.s3(ctx, http.MethodPost, target+"?uploads=", nil)
	if err != nil || !a.ok() {
		return a, err
	}
	_, rest, _ := strings.Cut(string(a.body), "<UploadId>")
	id, _, _ := strings.Cut(rest, "<")
	whole, manifest := sha256.New(), &strings.Builder{}
	manifest.WriteString("<CompleteMultipartUpload>")
	for i, size := range []int{5 << 20, 100 << 10} {
		part := noise(size)
		whole.Write(part)
		a, err := w.s3(ctx, http.MethodPut, fmt.Sprintf("%s?partNumber=%d&uploadId=%s", target, i+1, id), part)
		if err != nil || !a.ok() {
			if _, err := w.s3(ctx, http.MethodDelete, target+"?uploadId="+id, nil); err != nil {
				return answer{}, err
			}
			return a, err
		}
		fmt.Fprintf(manifest, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, a.header.Get("Etag"))
	}
	manifest.WriteString("</CompleteMultipartUpload>")
	a, err = w.s3(ctx, http.MethodPost, target+"?uploadId="+id, []byte(manifest.String()))
	if err == nil && a.ok() && bytes.Contains(a.body, []byte("CompleteMultipartUploadResult")) {
		w.kept(key, [32]byte(whole.Sum(nil)))
	}
	return a, err
}

func (w *world) line(ctx context.Context, text string) (answer, error) {
	a, err := w.logs(ctx, "PutLogEvents", map[string]any{
		"logGroupName": "g", "logStreamName": "s",
		"logEvents": []map[string]any{{"timestamp": time.Now().UnixMilli(), "message": text + " " + fmt.Sprintf("%x", noise(20<<10))}},
	})
	if err == nil && a.ok() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lines[text] = true
	}
	return a, err
}

// flood writes in every way until each is refused.
func (w *world) flood(ctx context.Context, name string) {
	w.t.Helper()
	kinds := map[string]func(key string) (answer, error){
		"PutObject":        func(key string) (answer, error) { return w.put(ctx, key, noise(1<<20)) },
		"PutObject, small": func(key string) (answer, error) { return w.put(ctx, key, noise(12<<10)) },
		"multipart upload": func(key string) (answer, error) { return w.multipart(ctx, key) },
		"PutLogEvents":     func(key string) (answer, error) { return w.line(ctx, key) },
		"CreateFunction": func(key string) (answer, error) {
			a, err := w.create(ctx, key, `exports.handler = async () => 1`, 1<<20)
			if err == nil && a.ok() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.made = append(w.made, key)
			}
			return a, err
		},
		"Invoke Event": func(string) (answer, error) {
			a, err := w.invoke(ctx, "stuck", "Event", fmt.Appendf(nil, `{"x":"%x"}`, noise(50<<10)))
			if err == nil && a.ok() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.events++
			}
			return a, err
		},
	}
	var all sync.WaitGroup
	for kind, write := range kinds {
		all.Go(func() {
			short := strings.ReplaceAll(strings.ToLower(kind), ", ", "-")
			for n := range 2000 {
				a, err := write(strings.ReplaceAll(fmt.Sprintf("%s-%s-%d", name, short, n), " ", "-"))
				if err == nil && a.ok() {
					continue
				}
				w.refused(kind, a, err)
				return
			}
			w.t.Errorf("%s was never refused", kind)
		})
	}
	all.Wait()
}

// verify compares what is there with what was acknowledged.
func (w *world) verify(when string) {
	w.t.Helper()
	ctx := w.t.Context()
	lost := 0
	for key, want := range w.objects {
		a, err := w.s3(ctx, http.MethodGet, "/"+bucket+"/"+key, nil)
		if err != nil || a.status != 200 || sha256.Sum256(a.body) != want {
			if lost++; lost < 5 {
				w.t.Errorf("%s: object %s: %d, %d bytes, %v", when, key, a.status, len(a.body), err)
			}
		}
	}
	listed := map[string]bool{}
	for token := ""; ; {
		a := w.must(w.s3(ctx, http.MethodGet, "/"+bucket+"?list-type=2"+token, nil))
		rest := string(a.body)
		for {
			_, after, found := strings.Cut(rest, "<Key>")
			if !found {
				break
			}
			key, after, _ := strings.Cut(after, "</Key>")
			listed[key], rest = true, after
		}
		_, next, more := strings.Cut(string(a.body), "<NextContinuationToken>")
		if !more {
			break
		}
		next, _, _ = strings.Cut(next, "<")
		token = "&continuation-token=" + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(next)
	}
	for key := range listed {
		if _, ok := w.objects[key]; !ok {
			w.t.Errorf("%s: object %s is there and was refused", when, key)
		}
	}
	if len(listed) != len(w.objects) {
		w.t.Errorf("%s: %d objects are listed of %d", when, len(listed), len(w.objects))
	}
	found := map[string]bool{}
	for token := any(nil); ; {
		in := map[string]any{"logGroupName": "g", "logStreamNames": []string{"s"}}
		if token != nil {
			in["nextToken"] = token
		}
		var out struct {
			Events    []struct{ Message string }
			NextToken *string
		}
		if err := json.Unmarshal(w.must(w.logs(ctx, "FilterLogEvents", in)).body, &out); err != nil {
			w.t.Fatal(err)
		}
		for _, e := range out.Events {
			text, _, _ := strings.Cut(e.Message, " ")
			found[text] = true
		}
		if out.NextToken == nil {
			break
		}
		token = *out.NextToken
	}
	if !maps.Equal(found, w.lines) {
		w.t.Errorf("%s: %d log lines are there of %d", when, len(found), len(w.lines))
	}
	for _, name := range w.made {
		if a, err := w.send(ctx, "lambda", http.MethodGet, functions+"/"+name, nil); err != nil || !a.ok() {
			w.t.Errorf("%s: function %s: %v %v", when, name, a, err)
		}
	}
}

// works demands what has to work without a free block.
func (w *world) works(when string) {
	w.t.Helper()
	ctx := w.t.Context()
	for what, call := range map[string]func() (answer, error){
		"GetCallerIdentity": func() (answer, error) { return w.query(ctx, "sts", "2011-06-15", "GetCallerIdentity") },
		"GetSessionToken": func() (answer, error) {
			return w.query(ctx, "sts", "2011-06-15", "GetSessionToken")
		},
		"ListBuckets": func() (answer, error) { return w.s3(ctx, http.MethodGet, "/", nil) },
		"ListFunctions": func() (answer, error) {
			return w.send(ctx, "lambda", http.MethodGet, functions, nil)
		},
		"GetUser": func() (answer, error) { return w.iam(ctx, "GetUser", "UserName", "before") },
	} {
		if a, err := call(); err != nil || !a.ok() {
			w.t.Errorf("%s: %s: %v %v", when, what, a, err)
		}
	}
}

// metric reads a number of /metrics.
func (w *world) metric(name string) float64 {
	w.t.Helper()
	resp, err := http.Get(w.server.Console + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(l, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				w.t.Fatal(err)
			}
			return n
		}
	}
	w.t.Fatalf("no metric %s", name)
	return 0
}

func TestFull_NothingAcknowledgedIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a disk of 224 MB")
	}
	w := newWorld(t, 224)
	ctx := t.Context()
	// Its events are tried again in a minute: they stay in the queue.
	w.must(w.create(ctx, "stuck", `exports.handler = async () => { throw new Error("no") }`, 0))
	w.must(w.send(ctx, "lambda", http.MethodPut, "/2017-10-31/functions/stuck/concurrency", []byte(`{"ReservedConcurrentExecutions":1}`)))
	w.must(w.put(ctx, "first", noise(3<<20)))
	if w.metric("davy_disk_full") != 0 {
		t.Error("an empty disk is said to be full")
	}

	w.disk.fillTo(t, 96<<20)
	w.flood(ctx, "a")
	w.disk.fill(t)
	w.flood(ctx, "b")
	a, err := w.s3(ctx, http.MethodPut, "/"+bucket+"/copy", nil, "X-Amz-Copy-Source", "/"+bucket+"/first")
	if a.ok() { // a row, which found a place
		w.kept("copy", w.objects["first"])
	} else {
		w.refused("CopyObject", a, err)
	}
	t.Logf("acknowledged: %d objects, %d log lines, %d functions, %d events", len(w.objects), len(w.lines), len(w.made), w.events)
	if len(w.objects) < 20 || len(w.lines) < 20 || len(w.made) < 2 || w.events < 20 {
		t.Error("too little was written to prove anything")
	}
	w.works("full")
	w.verify("full")

	w.server.Kill()
	w.start()
	w.works("killed on a full disk")
	w.verify("killed on a full disk")
	if err := w.server.Stop(); err != nil {
		t.Fatalf("stop on a full disk: %v", err)
	}
	w.start()
	w.works("started on a full disk")
	w.flood(ctx, "c")

	// Deleting needs no room and gives some.
	a, err = w.iam(ctx, "DeleteUser", "UserName", "before")
	w.must(a, err)
	for key := range w.objects {
		if strings.Contains(key, "multipart") || strings.Contains(key, "-putobject-0") || strings.HasPrefix(key, "a-putobject-1") {
			w.must(w.s3(ctx, http.MethodDelete, "/"+bucket+"/"+key, nil))
			delete(w.objects, key)
		}
	}
	for _, name := range w.made {
		w.must(w.send(ctx, "lambda", http.MethodDelete, functions+"/"+name, nil))
	}
	w.made = nil
	w.recovers(ctx)
	if n := w.log.count("the disk is full"); n < 1 || n > 8 {
		t.Errorf("the log says %d times that the disk is full", n)
	}
	w.verify("deleted")

	w.disk.clear(t)
	w.recovers(ctx)
	w.must(w.multipart(ctx, "end-multipart"))
	w.must(w.iam(ctx, "CreateUser", "UserName", "after"))
	w.must(w.line(ctx, "end-line"))
	w.server.Kill()
	w.start()
	w.verify("cleared")
	if w.metric("davy_disk_full") != 0 {
		t.Error("a disk with room is said to be full")
	}
}

// recovers writes until it is let.
func (w *world) recovers(ctx context.Context) {
	w.t.Helper()
	deadline := time.Now().Add(davytest.Limit)
	for n := 0; ; n++ {
		a, err := w.put(ctx, fmt.Sprintf("again-%d", n), noise(64<<10))
		if err == nil && a.ok() {
			return
		}
		w.refused("PutObject", a, err)
		if time.Now().After(deadline) {
			w.t.Fatalf("nothing is stored though %d bytes are free", w.disk.free(w.t))
		}
		<-time.After(50 * time.Millisecond) // blobs go after the answer
	}
}
