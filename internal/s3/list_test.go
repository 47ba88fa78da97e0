package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"davy/api/s3api"
	"davy/internal/state"
	"pgregory.net/rapid"
)

func TestListObjectsV2(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	for _, key := range []string{"a b+c", "photos/2006/a.jpg", "photos/2006/b.jpg", "photos/2007/c.jpg", "sample.jpg"} {
		w.put("bkt", key, "x")
	}
	list := func(change func(*s3api.ListObjectsV2Request)) *s3api.ListObjectsV2Output {
		in := &s3api.ListObjectsV2Request{Bucket: new("bkt")}
		change(in)
		out, err := w.ListObjectsV2(w.ctx(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, tc := range []struct {
		name   string
		change func(*s3api.ListObjectsV2Request)
		want   []string
	}{
		{"all", func(*s3api.ListObjectsV2Request) {}, []string{"a b+c", "photos/2006/a.jpg", "photos/2006/b.jpg", "photos/2007/c.jpg", "sample.jpg"}},
		{"delimiter", func(in *s3api.ListObjectsV2Request) { in.Delimiter = new("/") }, []string{"a b+c", "*photos/", "sample.jpg"}},
		{"prefix and delimiter", func(in *s3api.ListObjectsV2Request) { in.Prefix, in.Delimiter = new("photos/"), new("/") }, []string{"*photos/2006/", "*photos/2007/"}},
		{"start after a key", func(in *s3api.ListObjectsV2Request) { in.StartAfter = new("photos/2006/a.jpg") }, []string{"photos/2006/b.jpg", "photos/2007/c.jpg", "sample.jpg"}},
		{"start after no key", func(in *s3api.ListObjectsV2Request) { in.StartAfter = new("photos/2006/aa") }, []string{"photos/2006/b.jpg", "photos/2007/c.jpg", "sample.jpg"}},
		{"start after a common prefix", func(in *s3api.ListObjectsV2Request) { in.StartAfter, in.Delimiter = new("photos/"), new("/") }, []string{"sample.jpg"}},
		{"start before the prefix", func(in *s3api.ListObjectsV2Request) { in.StartAfter, in.Prefix = new("a"), new("s") }, []string{"sample.jpg"}},
		{"start behind the prefix", func(in *s3api.ListObjectsV2Request) { in.StartAfter, in.Prefix = new("t"), new("s") }, nil},
		{"nothing", func(in *s3api.ListObjectsV2Request) { in.MaxKeys = new(int32(0)) }, nil},
		{"URL encoding", func(in *s3api.ListObjectsV2Request) {
			in.EncodingType, in.Prefix = new(s3api.EncodingTypeUrl), new("a ")
		}, []string{"a+b%2Bc"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := list(tc.change)
			if got := merge(out.Contents, out.CommonPrefixes); !slices.Equal(got, tc.want) || *out.IsTruncated || out.NextContinuationToken != nil {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	out := list(func(in *s3api.ListObjectsV2Request) { in.MaxKeys, in.FetchOwner = new(int32(5000)), new(true) })
	if *out.MaxKeys != 1000 || *out.Contents[0].Owner.ID != canonicalID(testAccount) || *out.Contents[0].StorageClass != "STANDARD" {
		t.Errorf("%+v", out)
	}
	for _, in := range []*s3api.ListObjectsV2Request{
		{MaxKeys: new(int32(-1))},
		{EncodingType: new(s3api.EncodingType("base64"))},
		{ContinuationToken: new("")},
		{ContinuationToken: new("bm90IGEgdG9rZW4")},
	} {
		in.Bucket = new("bkt")
		_, err := w.ListObjectsV2(w.ctx(), in)
		wantCode(t, err, "InvalidArgument")
	}
}

// counting counts the rows that a listing reads.
type counting struct {
	state.Store
	rows *atomic.Int64
}

func (c counting) Rows(ctx context.Context, space, prefix, from string, n int) ([]state.Row, error) {
	rows, err := c.Store.Rows(ctx, space, prefix, from, n)
	c.rows.Add(int64(len(rows)))
	return rows, err
}

func TestList_SeeksOverCommonPrefixes(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	var b state.Batch
	bucket, err := w.lookup(t.Context(), "bkt")
	if err != nil {
		t.Fatal(err)
	}
	for dir := range 10 {
		for i := range 5000 {
			b.Ops = append(b.Ops, state.Op{Space: spaceObjects(bucket.ID), Key: fmt.Sprintf("dir%d/%05d", dir, i), Value: encode(version{Seq: 1}), IfRev: state.Any})
		}
	}
	if _, err := w.store.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var rows atomic.Int64
	w.Service.store = counting{w.store, &rows}
	out, err := w.ListObjectsV2(w.ctx(), &s3api.ListObjectsV2Request{Bucket: new("bkt"), Delimiter: new("/")})
	if err != nil || len(out.CommonPrefixes) != 10 {
		t.Fatal(len(out.CommonPrefixes), err)
	}
	if n := rows.Load(); n > 10*firstPage+firstPage {
		t.Errorf("read %d of 50000 rows to find 10 prefixes", n)
	}
}

func TestToken_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := string(rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "key"))
		if got, err := parseToken(newToken(key)); err != nil || got != key {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	for _, s := range []string{"", "AWE", newToken("a/b"), "====", strings.Repeat("A", 5000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		last, err := parseToken(in)
		if err == nil && newToken(last) != in {
			t.Errorf("token %q names %q, whose token is another", in, last)
		}
	})
}

func TestRowKey_KeepsTheOrderOfKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xfe, 0xff, 'a', '/'}), 0, 5), func(b []byte) string { return string(b) })
		a, b := few.Draw(t, "a"), few.Draw(t, "b")
		tail := few.Draw(t, "tail")
		if got, want := strings.Compare(keyPrefix(a)+tail, keyPrefix(b)+tail), strings.Compare(a, b); got != want {
			t.Fatalf("order %d, want %d", got, want)
		}
		if a != b && strings.HasPrefix(keyPrefix(b)+tail, keyPrefix(a)) {
			t.Fatal("rows of one key are found among those of another")
		}
		key, rest, err := splitRowKey(keyPrefix(a) + tail)
		if err != nil || key != a || rest != tail {
			t.Fatalf("split %q, %q, %v", key, rest, err)
		}
	})
	if _, _, err := splitRowKey("no end"); !errors.Is(err, errRowKey) {
		t.Error(err)
	}
}

func TestAfter(t *testing.T) {
	for in, want := range map[string]string{"a": "b", "a/": "a0", "a\xff": "b", "": "", "\xff\xff": ""} {
		got, ok := after(in)
		if got != want || ok != (want != "") {
			t.Errorf("after(%q) = %q, %v", in, got, ok)
		}
	}
}

func TestVersionID(t *testing.T) {
	a, b := newVersionID(42), newVersionID(42)
	if a == b || len(a) != 32 {
		t.Error(a, b)
	}
	if seq, ok := versionSeq(a); !ok || seq != 42 {
		t.Error(seq, ok)
	}
	for _, bad := range []string{"", "null", "x", a + "A", a[:31], strings.Repeat("/", 32)} {
		if _, ok := versionSeq(bad); ok {
			t.Errorf("%q was taken for a version id", bad)
		}
	}
}
