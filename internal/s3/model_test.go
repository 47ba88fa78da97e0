package s3

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"davy/api/s3api"
	"davy/internal/awsapi"
	"pgregory.net/rapid"
)

// modelVersion is what a correct S3 remembers of a version.
type modelVersion struct {
	id     string
	marker bool
	body   string
	ctype  string
}

// model is a bucket as a map: each key's versions, newest first.
type model struct {
	versioning string
	keys       map[string][]modelVersion
}

func (m *model) put(key string, v modelVersion) {
	old := m.keys[key]
	if v.id == nullVersion {
		old = slices.DeleteFunc(slices.Clone(old), func(o modelVersion) bool { return o.id == nullVersion })
	}
	m.keys[key] = append([]modelVersion{v}, old...)
}

func (m *model) delete(key, id string) {
	rest := slices.DeleteFunc(slices.Clone(m.keys[key]), func(o modelVersion) bool { return o.id == id })
	if m.keys[key] = rest; len(rest) == 0 {
		delete(m.keys, key)
	}
}

// live returns the body of the latest version.
func (m *model) live(key string) (modelVersion, bool) {
	if v := m.keys[key]; len(v) > 0 && !v[0].marker {
		return v[0], true
	}
	return modelVersion{}, false
}

// someKey draws keys that file systems, URLs and listings confuse, and bytes
// that are no text.
var someKey = rapid.OneOf(
	rapid.SampledFrom([]string{
		"a", "a/b", "a//b", "a/", "/a", "//", "a b", "a+b", "a%20b", "ä/ö", "日本/語", "a\x00", "a\x00\x01", "a\x00\xffb", "\xff", "\xff\xff", "a\xff", "A", "a.b", "..", "./a",
	}),
	rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 6), func(b []byte) string { return string(b) }),
)

var someBody = rapid.Map(rapid.SampledFrom([]int{0, 1, 10, maxInline, maxInline + 1}), func(n int) string { return strings.Repeat("z", n) })

func TestBucket_BehavesLikeAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.bucketNamed("bkt")
		if _, err := w.PutBucketNotificationConfiguration(w.ctx(), &s3api.PutBucketNotificationConfigurationRequest{
			Bucket: new("bkt"), NotificationConfiguration: notify(lambda("all", testFunction, "s3:ObjectCreated:*", "s3:ObjectRemoved:*")),
		}); err != nil {
			rt.Fatal(err)
		}
		m := &model{keys: map[string][]modelVersion{}}
		serial := 0
		sequencers := map[string]string{}

		// announced checks the events since the last call.
		announced := func(want ...string) {
			got := w.events()
			if len(got) != len(want)/2 {
				rt.Fatalf("%d events, want %d: %v", len(got), len(want)/2, got)
			}
			for i, e := range got {
				name, key := eventNameAndKey(rt, e)
				if name != want[2*i] || key != formEncode(want[2*i+1]) {
					rt.Fatalf("event %s %s, want %s %q", name, key, want[2*i], want[2*i+1])
				}
				seq := sequencer(rt, e)
				if seq <= sequencers[key] {
					rt.Fatalf("sequencer %s after %s", seq, sequencers[key])
				}
				sequencers[key] = seq
			}
		}
		newID := func(id *string) string {
			switch {
			case m.versioning == "" && id != nil:
				rt.Fatalf("a bucket without versioning answered version id %q", *id)
			case m.versioning == "":
				return nullVersion
			case id == nil:
				rt.Fatal("no version id")
			case m.versioning == versioningSuspended && *id != nullVersion, m.versioning == versioningEnabled && *id == nullVersion:
				rt.Fatalf("version id %q in a bucket that is %s", *id, m.versioning)
			}
			return *id
		}
		// pick draws a version that exists, of any key.
		pick := func() (key string, v modelVersion) {
			if len(m.keys) == 0 {
				rt.Skip("empty")
			}
			key = rapid.SampledFrom(slices.Sorted(maps.Keys(m.keys))).Draw(rt, "key")
			return key, rapid.SampledFrom(m.keys[key]).Draw(rt, "version")
		}

		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				key, body := someKey.Draw(rt, "key"), someBody.Draw(rt, "body")
				serial++
				if len(body) > 0 {
					body = fmt.Sprint(serial) + body[min(len(body), len(fmt.Sprint(serial))):]
				}
				in := putRequest("bkt", key, body)
				in.ContentType = new(fmt.Sprintf("text/%d", serial))
				out, err := w.PutObject(w.ctx(), in)
				if err != nil {
					rt.Fatal(err)
				}
				m.put(key, modelVersion{id: newID(out.VersionId), body: body, ctype: *in.ContentType})
				announced(eventPut, key)
			},
			"copy": func(rt *rapid.T) {
				from, v := pick()
				to := rapid.OneOf(rapid.Just(from), someKey).Draw(rt, "to")
				in := &s3api.CopyObjectRequest{Bucket: new("bkt"), Key: &to, CopySource: new("bkt/" + percent(from) + "?versionId=" + v.id)}
				out, err := w.CopyObject(w.ctx(), in)
				if v.marker {
					wantCode(t, err, "InvalidRequest")
					return
				}
				if err != nil {
					rt.Fatal(err)
				}
				m.put(to, modelVersion{id: newID(out.VersionId), body: v.body, ctype: v.ctype})
				announced(eventCopy, to)
			},
			"multipart": func(rt *rapid.T) {
				key, body := someKey.Draw(rt, "key"), someBody.Draw(rt, "body")
				out := w.multipart("bkt", key, body)
				m.put(key, modelVersion{id: newID(out.VersionId), body: body, ctype: defaultContentType})
				announced(eventComplete, key)
			},
			"delete": func(rt *rapid.T) {
				key := someKey.Draw(rt, "key")
				if len(m.keys) > 0 && rapid.Bool().Draw(rt, "existing") {
					key, _ = pick()
				}
				out, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: &key})
				if err != nil {
					rt.Fatal(err)
				}
				_, existed := m.keys[key]
				switch {
				case m.versioning != "":
					m.put(key, modelVersion{id: newID(out.VersionId), marker: true})
					announced(eventDeleteMarker, key)
				case existed:
					m.delete(key, nullVersion)
					announced(eventDelete, key)
				default:
					announced()
				}
			},
			"deleteVersion": func(rt *rapid.T) {
				key, v := pick()
				out, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: &key, VersionId: &v.id})
				if err != nil || *out.VersionId != v.id || awsapi.Val(out.DeleteMarker) != v.marker {
					rt.Fatalf("%+v, %v", out, err)
				}
				m.delete(key, v.id)
				announced(eventDelete, key)
			},
			"versioning": func(rt *rapid.T) {
				m.versioning = rapid.SampledFrom([]string{versioningEnabled, versioningSuspended}).Draw(rt, "status")
				_, err := w.PutBucketVersioning(w.ctx(), &s3api.PutBucketVersioningRequest{
					Bucket:                  new("bkt"),
					VersioningConfiguration: &s3api.VersioningConfiguration{Status: new(s3api.BucketVersioningStatus(m.versioning))},
				})
				if err != nil {
					rt.Fatal(err)
				}
			},
			"list": func(rt *rapid.T) {
				prefix := rapid.SampledFrom([]string{"", "", "a", "a/", "\xff", "a\x00"}).Draw(rt, "prefix")
				delimiter := rapid.SampledFrom([]string{"", "/", "b", "//", "\xff"}).Draw(rt, "delimiter")
				page := int32(rapid.SampledFrom([]int{1, 2, 3, 1000}).Draw(rt, "page"))
				want := m.list(prefix, delimiter)
				for name, list := range map[string]func(string, string, int32) []string{"v1": w.listV1, "v2": w.listV2} {
					if got := list(prefix, delimiter, page); !slices.Equal(got, want) {
						rt.Fatalf("list %s %q by %q, pages of %d: got %q, want %q", name, prefix, delimiter, page, got, want)
					}
				}
				if delimiter == "" {
					if got, want := w.listVersions(prefix, page), m.listVersions(prefix); !slices.Equal(got, want) {
						rt.Fatalf("versions of %q, pages of %d: got %q, want %q", prefix, page, got, want)
					}
				}
			},
			"": func(rt *rapid.T) {
				for key := range m.keys {
					for _, v := range m.keys[key] {
						w.sameVersion(rt, key, v)
					}
					want, ok := m.live(key)
					got, err := w.get("bkt", key)
					if ok && (err != nil || got != want.body) || !ok && err == nil {
						rt.Fatalf("get %q: %d bytes, %v; want %d, %v", key, len(got), err, len(want.body), ok)
					}
				}
			},
		})

		// Nothing may be left of an emptied bucket.
		if len(m.keys) > 0 {
			_, err := w.DeleteBucket(w.ctx(), &s3api.DeleteBucketRequest{Bucket: new("bkt")})
			wantCode(t, err, "BucketNotEmpty")
		}
		for key, versions := range m.keys {
			for _, v := range versions {
				if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: &key, VersionId: &v.id}); err != nil {
					rt.Fatal(err)
				}
			}
		}
		w.reap()
		w.wantEmpty(rt)
		if _, err := w.DeleteBucket(w.ctx(), &s3api.DeleteBucketRequest{Bucket: new("bkt")}); err != nil {
			rt.Fatal(err)
		}
	})
}

// wantEmpty fails if bytes or claims on bytes are left.
func (w *world) wantEmpty(t rapid.TB) {
	t.Helper()
	if n := w.blobs.Len(); n != 0 {
		t.Errorf("%d blobs left", n)
	}
	for _, space := range []string{spaceRef, spaceBody, spaceSweep} {
		rows, err := w.store.Rows(w.t.Context(), space, "", "", 10)
		if err != nil || len(rows) != 0 {
			t.Errorf("%d rows left in %s, %v", len(rows), space, err)
		}
	}
}

func (w *world) sameVersion(t rapid.TB, key string, v modelVersion) {
	out, err := w.GetObject(w.ctx(), &s3api.GetObjectRequest{Bucket: new("bkt"), Key: &key, VersionId: &v.id})
	var known *awsapi.ErrorResponse
	if v.marker {
		if !errors.As(err, &known) || known.Code != "MethodNotAllowed" {
			t.Fatalf("get delete marker %q: %v", key, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("get %q %s: %v", key, v.id, err)
	}
	if got := readAll(w.t, out.Body); got != v.body || *out.ContentType != v.ctype {
		t.Fatalf("get %q %s: %d bytes of %s, want %d of %s", key, v.id, len(got), *out.ContentType, len(v.body), v.ctype)
	}
}

// list is what a listing of everything looks like: keys, and prefixes marked
// by a star.
func (m *model) list(prefix, delimiter string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m.keys)) {
		if _, ok := m.live(key); !ok || !strings.HasPrefix(key, prefix) {
			continue
		}
		if i := strings.Index(key[len(prefix):], delimiter); delimiter != "" && i >= 0 {
			key = "*" + key[:len(prefix)+i+len(delimiter)]
		}
		if len(out) == 0 || out[len(out)-1] != key {
			out = append(out, key)
		}
	}
	return out
}

func (m *model) listVersions(prefix string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m.keys)) {
		for _, v := range m.keys[key] {
			if strings.HasPrefix(key, prefix) {
				out = append(out, key+" "+v.id)
			}
		}
	}
	return out
}

// merge puts the two lists of a page back into the order of keys.
func merge(contents []s3api.Object, prefixes []s3api.CommonPrefix) []string {
	var out []string
	for len(contents) > 0 || len(prefixes) > 0 {
		if len(prefixes) == 0 || len(contents) > 0 && *contents[0].Key < *prefixes[0].Prefix {
			out = append(out, *contents[0].Key)
			contents = contents[1:]
			continue
		}
		out = append(out, "*"+*prefixes[0].Prefix)
		prefixes = prefixes[1:]
	}
	return out
}

func (w *world) listV1(prefix, delimiter string, page int32) (all []string) {
	for marker := ""; ; {
		out, err := w.ListObjects(w.ctx(), &s3api.ListObjectsRequest{Bucket: new("bkt"), Prefix: &prefix, Delimiter: &delimiter, MaxKeys: &page, Marker: &marker})
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, merge(out.Contents, out.CommonPrefixes)...)
		if !*out.IsTruncated {
			return all
		}
		marker = awsapi.Val(out.NextMarker)
		if delimiter == "" {
			marker = *out.Contents[len(out.Contents)-1].Key
		}
	}
}

func (w *world) listV2(prefix, delimiter string, page int32) (all []string) {
	var token *string
	for {
		out, err := w.ListObjectsV2(w.ctx(), &s3api.ListObjectsV2Request{Bucket: new("bkt"), Prefix: &prefix, Delimiter: &delimiter, MaxKeys: &page, ContinuationToken: token})
		if err != nil {
			w.t.Fatal(err)
		}
		if int(*out.KeyCount) != len(out.Contents)+len(out.CommonPrefixes) || *out.KeyCount > page {
			w.t.Fatalf("KeyCount %d", *out.KeyCount)
		}
		all = append(all, merge(out.Contents, out.CommonPrefixes)...)
		if token = out.NextContinuationToken; token == nil {
			return all
		}
	}
}

func (w *world) listVersions(prefix string, page int32) (all []string) {
	var key, id *string
	for {
		out, err := w.ListObjectVersions(w.ctx(), &s3api.ListObjectVersionsRequest{Bucket: new("bkt"), Prefix: &prefix, MaxKeys: &page, KeyMarker: key, VersionIdMarker: id})
		if err != nil {
			w.t.Fatal(err)
		}
		// The two lists interleave within a key by age, which neither shows:
		// with pages of one there is nothing to merge; otherwise compare sets.
		var names []string
		for _, v := range out.Versions {
			names = append(names, *v.Key+" "+*v.VersionId)
		}
		for _, d := range out.DeleteMarkers {
			names = append(names, *d.Key+" "+*d.VersionId)
		}
		if page > 1 {
			names = w.inOrder(names)
		}
		all = append(all, names...)
		if !*out.IsTruncated {
			return all
		}
		key, id = out.NextKeyMarker, out.NextVersionIdMarker
	}
}

// inOrder sorts a page by key and age, with the ages asked of the store.
func (w *world) inOrder(names []string) []string {
	age := func(name string) uint64 {
		i := strings.LastIndex(name, " ")
		b, err := w.lookup(w.t.Context(), "bkt")
		if err != nil {
			w.t.Fatal(err)
		}
		v, err := w.find(w.t.Context(), b, name[:i], name[i+1:])
		if err != nil || v == nil {
			w.t.Fatalf("%q: %v", name, err)
		}
		return v.Seq
	}
	slices.SortFunc(names, func(a, b string) int {
		ka, kb := a[:strings.LastIndex(a, " ")], b[:strings.LastIndex(b, " ")]
		if c := strings.Compare(ka, kb); c != 0 {
			return c
		}
		return -int(int64(age(a)) - int64(age(b)))
	})
	return names
}
