package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"davy/api/s3api"
	"davy/internal/awsapi"
	"davy/internal/blob/disk"
	"davy/internal/state"
	"davy/internal/state/sqlite"
)

// onDisk is a service on the engines that Davy runs on.
func onDisk(t testing.TB) *Service {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := disk.Open(disk.Config{Dir: filepath.Join(dir, "blobs")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Store: store, Blobs: blobs, Events: sink{}, Destinations: sink{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.CreateBucket(signed(t), &s3api.CreateBucketRequest{Bucket: new("bkt")}); err != nil {
		t.Fatal(err)
	}
	return s
}

func signed(t testing.TB) context.Context {
	return awsapi.WithCall(t.Context(), &awsapi.Call{Region: "us-east-1", Account: testAccount, RequestID: "B"})
}

// TestOnDisk takes every kind of bytes through the real engines.
func TestOnDisk(t *testing.T) {
	s := onDisk(t)
	w := &world{Service: s, t: t, call: awsapi.Call{Region: "us-east-1", Account: testAccount}}
	for key, body := range map[string]string{"empty": "", "small\x00\xff": "x", "large": large, "larger": strings.Repeat("l", 3*chunkSize+1)} {
		w.put("bkt", key, body)
		w.multipart("bkt", "m/"+key, body)
		for _, from := range []string{key, "m/" + key} {
			if _, err := s.CopyObject(w.ctx(), &s3api.CopyObjectRequest{Bucket: new("bkt"), Key: new("c/" + from), CopySource: new("bkt/" + percent(from))}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: &from}); err != nil {
				t.Fatal(err)
			}
			if got, err := w.get("bkt", "c/"+from); err != nil || got != body {
				t.Errorf("%q: %d bytes, %v; want %d", from, len(got), err, len(body))
			}
		}
	}
	if got := w.listV2("", "/", 1); len(got) != 1 || got[0] != "*c/" {
		t.Errorf("%q", got)
	}
	if got := w.listV2("", "", 3); len(got) != 8 {
		t.Errorf("%q", got)
	}
}

func benchPut(b *testing.B, size, clients int) {
	s := onDisk(b)
	body := bytes.Repeat([]byte{'x'}, size)
	ctx := signed(b)
	var n atomic.Int64
	b.SetBytes(int64(size))
	b.SetParallelism(max(clients/2, 1)) // of 2 cores
	b.ResetTimer()
	run := func() {
		in := &s3api.PutObjectRequest{Bucket: new("bkt"), Key: new(fmt.Sprintf("k%d", n.Add(1))), Body: io.NopCloser(bytes.NewReader(body)), ContentLength: new(int64(size))}
		if _, err := s.PutObject(ctx, in); err != nil {
			b.Error(err)
		}
	}
	if clients == 1 {
		for b.Loop() {
			run()
		}
		return
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			run()
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "64KiB": 64 << 10, "8MiB": 8 << 20} {
		for _, clients := range []int{1, 16} {
			if size == 8<<20 && clients > 1 {
				continue
			}
			b.Run(fmt.Sprintf("%s/%d", name, clients), func(b *testing.B) { benchPut(b, size, clients) })
		}
	}
}

// BenchmarkPut_Floor is a plain file: written, synced, renamed, the directory
// synced.
func BenchmarkPut_Floor(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "64KiB": 64 << 10, "8MiB": 8 << 20} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			d, err := os.Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			body := bytes.Repeat([]byte{'x'}, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				f, err := os.Create(filepath.Join(dir, "tmp"))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.Write(body); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				f.Close()
				if err := os.Rename(f.Name(), filepath.Join(dir, "file")); err != nil {
					b.Fatal(err)
				}
				if err := d.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "8MiB": 8 << 20} {
		b.Run(name, func(b *testing.B) {
			s := onDisk(b)
			w := &world{Service: s, t: b, call: awsapi.Call{Region: "us-east-1", Account: testAccount}}
			w.put("bkt", "k", strings.Repeat("x", size))
			ctx := signed(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				out, err := s.GetObject(ctx, &s3api.GetObjectRequest{Bucket: new("bkt"), Key: new("k")})
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, out.Body); err != nil || n != int64(size) {
					b.Fatal(n, err)
				}
				out.Body.Close()
			}
		})
	}
}

func BenchmarkCopy8MiB(b *testing.B) {
	s := onDisk(b)
	w := &world{Service: s, t: b, call: awsapi.Call{Region: "us-east-1", Account: testAccount}}
	w.put("bkt", "k", strings.Repeat("x", 8<<20))
	ctx := signed(b)
	n := 0
	for b.Loop() {
		n++
		if _, err := s.CopyObject(ctx, &s3api.CopyObjectRequest{Bucket: new("bkt"), Key: new(fmt.Sprintf("c%d", n)), CopySource: new("bkt/k")}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList100k(b *testing.B) {
	s := onDisk(b)
	bkt, err := s.lookup(b.Context(), "bkt")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 20 {
		var batch state.Batch
		for j := range 5000 {
			v := version{Seq: uint64(time.Now().UnixNano()), Size: 1024, ETag: strings.Repeat("a", 32), Sum: checksum{Algorithm: crc64NVME, Value: "AAAAAAAAAAA="}, Header: header{ContentType: defaultContentType}, Data: extent{Kind: inBody, ID: newID()}}
			batch.Ops = append(batch.Ops, state.Op{Space: spaceObjects(bkt.ID), Key: fmt.Sprintf("dir%02d/key%05d", i, j), Value: encode(v), IfRev: state.Any})
		}
		if _, err := s.store.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	w := &world{Service: s, t: b, call: awsapi.Call{Region: "us-east-1", Account: testAccount}}
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			if n := len(w.listV2("", "", 1000)); n != 100_000 {
				b.Fatal(n)
			}
		}
	})
	b.Run("directories", func(b *testing.B) {
		for b.Loop() {
			if n := len(w.listV2("", "/", 1000)); n != 20 {
				b.Fatal(n)
			}
		}
	})
}
