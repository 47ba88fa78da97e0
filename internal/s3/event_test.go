package s3

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"davy/api/s3api"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite golden files")

func lambda(id, function string, events ...s3api.Event) s3api.LambdaFunctionConfiguration {
	return s3api.LambdaFunctionConfiguration{Id: optional(id), LambdaFunctionArn: &function, Events: events}
}

func notify(l ...s3api.LambdaFunctionConfiguration) *s3api.NotificationConfiguration {
	return &s3api.NotificationConfiguration{LambdaFunctionConfigurations: l}
}

func filtered(l s3api.LambdaFunctionConfiguration, rules ...string) s3api.LambdaFunctionConfiguration {
	key := &s3api.S3KeyFilter{}
	for i := 0; i < len(rules); i += 2 {
		key.FilterRules = append(key.FilterRules, s3api.FilterRule{Name: new(s3api.FilterRuleName(rules[i])), Value: new(rules[i+1])})
	}
	l.Filter = &s3api.NotificationConfigurationFilter{Key: key}
	return l
}

type records struct {
	Records []eventRecord
}

func eventNameAndKey(t rapid.TB, e string) (name, key string) {
	var r records
	if err := json.Unmarshal([]byte(e), &r); err != nil || len(r.Records) != 1 {
		t.Fatalf("event %s: %v", e, err)
	}
	return r.Records[0].EventName, r.Records[0].S3.Object.Key
}

func sequencer(t rapid.TB, e string) string {
	var r records
	if err := json.Unmarshal([]byte(e), &r); err != nil {
		t.Fatal(err)
	}
	return r.Records[0].S3.Object.Sequencer
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(got), "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	path := filepath.Join("testdata", "event", name+".json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", b.Bytes(), want)
	}
}

// TestEvent_Golden holds the events to the files: every byte of them is what
// functions parse.
func TestEvent_Golden(t *testing.T) {
	newBucket := func(t *testing.T) *world {
		w := newWorld(t)
		w.bucketNamed("mybucket")
		_, err := w.PutBucketNotificationConfiguration(w.ctx(), &s3api.PutBucketNotificationConfigurationRequest{
			Bucket: new("mybucket"), NotificationConfiguration: notify(lambda("testConfigRule", testFunction, "s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*")),
		})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	const key = "photos/Ünïcode name+1 (2)=~&<>.jpg"
	for name, do := range map[string]func(*testing.T, *world){
		"put":   func(_ *testing.T, w *world) { w.put("mybucket", key, "hello world") },
		"empty": func(_ *testing.T, w *world) { w.put("mybucket", "empty", "") },
		"copy": func(t *testing.T, w *world) {
			w.put("mybucket", "source", "hello world")
			w.events()
			if _, err := w.CopyObject(w.ctx(), &s3api.CopyObjectRequest{Bucket: new("mybucket"), Key: new(key), CopySource: new("mybucket/source")}); err != nil {
				t.Fatal(err)
			}
		},
		"complete": func(_ *testing.T, w *world) { w.multipart("mybucket", key, "hello world") },
		"delete": func(t *testing.T, w *world) {
			w.put("mybucket", key, "hello world")
			w.events()
			if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("mybucket"), Key: new(key)}); err != nil {
				t.Fatal(err)
			}
		},
		"tagging": func(t *testing.T, w *world) {
			w.put("mybucket", key, "hello world")
			w.events()
			if _, err := w.PutObjectTagging(w.ctx(), &s3api.PutObjectTaggingRequest{
				Bucket: new("mybucket"), Key: new(key), Tagging: &s3api.Tagging{TagSet: []s3api.Tag{{Key: new("a"), Value: new("b")}}},
			}); err != nil {
				t.Fatal(err)
			}
		},
		"anonymous": func(_ *testing.T, w *world) {
			w.call.Principal.UserID = ""
			w.put("mybucket", key, "hello world")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newBucket(t)
			do(t, w)
			got := w.events()
			if len(got) != 1 {
				t.Fatalf("%d events, want 1", len(got))
			}
			golden(t, name, got[0])
		})
	}
}

// TestEvent_Versioned checks what differs where objects have versions.
func TestEvent_Versioned(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	if _, err := w.PutBucketVersioning(w.ctx(), &s3api.PutBucketVersioningRequest{
		Bucket: new("bkt"), VersioningConfiguration: &s3api.VersioningConfiguration{Status: new(s3api.BucketVersioningStatusEnabled)},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutBucketNotificationConfiguration(w.ctx(), &s3api.PutBucketNotificationConfigurationRequest{
		Bucket: new("bkt"), NotificationConfiguration: notify(lambda("n", testFunction, "s3:ObjectCreated:Put", "s3:ObjectRemoved:*")),
	}); err != nil {
		t.Fatal(err)
	}
	put := w.put("bkt", "k", "x")
	marker, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: new("k")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: new("k"), VersionId: put.VersionId}); err != nil {
		t.Fatal(err)
	}
	got := w.events()
	for i, want := range []string{
		`"object":{"key":"k","size":1,"eTag":"9dd4e461268c8034f5c8564e155c67a6","versionId":"` + *put.VersionId + `","sequencer":`,
		`"object":{"key":"k","eTag":"d41d8cd98f00b204e9800998ecf8427e","versionId":"` + *marker.VersionId + `","sequencer":`,
		`"object":{"key":"k","versionId":"` + *put.VersionId + `","sequencer":`,
	} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("event %d: got %v, want %s", i, got, want)
		}
	}
}

func TestEvent_IsSentWithTheObjectOrNotAtAll(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	if _, err := w.PutBucketNotificationConfiguration(w.ctx(), &s3api.PutBucketNotificationConfigurationRequest{
		Bucket: new("bkt"),
		NotificationConfiguration: notify(
			filtered(lambda("jpg", testFunction, "s3:ObjectCreated:*"), "prefix", "in/", "suffix", ".jpg"),
			filtered(lambda("png", testFunction+":live", "s3:ObjectCreated:*"), "Prefix", "in/", "Suffix", ".png"),
			filtered(lambda("lost", "arn:aws:lambda:us-east-1:111122223333:function:gone", "s3:ObjectCreated:*"), "suffix", ".gone"),
			filtered(lambda("space", testFunction, "s3:ObjectCreated:*"), "prefix", "my+dir%2F", "suffix", ".txt"),
		),
	}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int{
		"in/a.jpg": 1, "in/a.png": 1, "in/a.gif": 0, "out/a.jpg": 0, "a.gone": 0, "my dir/a.txt": 1, "my+dir/a.txt": 0,
	} {
		w.put("bkt", key, "x")
		if got := w.events(); len(got) != want {
			t.Errorf("%s: %d events, want %d", key, len(got), want)
		}
	}
	in := putRequest("bkt", "in/b.jpg", "x")
	in.ContentMD5 = new("AAAAAAAAAAAAAAAAAAAAAA==")
	_, err := w.PutObject(w.ctx(), in)
	wantCode(t, err, "BadDigest")
	in = putRequest("bkt", "in/a.jpg", "x")
	in.IfNoneMatch = new("*")
	_, err = w.PutObject(w.ctx(), in)
	wantCode(t, err, "PreconditionFailed")
	if got := w.events(); len(got) != 0 {
		t.Errorf("refused writes sent %v", got)
	}
}

func TestFormEncode(t *testing.T) {
	for in, want := range map[string]string{
		"a b": "a+b", "a+b": "a%2Bb", "a/b": "a/b", "é": "%C3%A9", "test(3).png": "test%283%29.png", "dt=1": "dt%3D1", "~*-_.": "%7E*-_.", "\x00": "%00",
	} {
		if got := formEncode(in); got != want {
			t.Errorf("formEncode(%q) = %q, want %q", in, got, want)
		}
	}
}
