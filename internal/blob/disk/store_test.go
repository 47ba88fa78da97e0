package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/blob"
	"davy/internal/blob/blobtest"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, filepath.Join(t.TempDir(), "blobs")) })
}

func write(t testing.TB, s *Store, data []byte) (blob.ID, error) {
	t.Helper()
	w, err := s.Create(t.Context())
	if err != nil {
		return "", err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return "", err
	}
	return w.Commit()
}

func TestOpen_KeepsBlobsAndDropsLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id, err := write(t, s, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context()); err != nil { // never finished, as by a crash
		t.Fatal(err)
	}
	s = open(t, dir)
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
}

func TestEach_SkipsForeignFiles(t *testing.T) {
	s := open(t, t.TempDir())
	id, err := write(t, s, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, string(id[:2]), "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.Each(t.Context(), time.Now().Add(time.Hour), func(blob.ID, int64) error { n++; return nil }); err != nil || n != 1 {
		t.Fatal(n, err)
	}
}

func TestCommit_FullFileSystemRefusesAndRecovers(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("davy-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs root to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := open(t, filepath.Join(dir, "blobs"))
	if _, err := write(t, s, make([]byte, 2<<20)); !errors.Is(err, blob.ErrFull) {
		t.Fatalf("%v, want ErrFull", err)
	}
	id, err := write(t, s, make([]byte, 512<<10)) // the failed one gave its space back
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.Open(t.Context(), id); err != nil || r.Close() != nil {
		t.Fatal(err)
	}
}

func TestDirSync_CoversEveryCaller(t *testing.T) {
	d := &dirSync{path: t.TempDir()}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := d.sync(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d.path = filepath.Join(d.path, "missing")
	if err := d.sync(); err == nil {
		t.Fatal("the error of a sync is lost")
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 8 << 20} {
		data := make([]byte, size)
		_, _ = rand.Read(data)
		for _, writers := range []int{1, 16} {
			name := fmt.Sprintf("size=%d/writers=%d", size, writers)
			s := open(b, b.TempDir())
			run(b, name+"/blob", size, writers, func(int64) error {
				w, err := s.Create(b.Context())
				if err != nil {
					return err
				}
				for c := range chunks(data) {
					if _, err := w.Write(c); err != nil {
						return err
					}
				}
				_, err = w.Commit()
				return err
			})
			dir := b.TempDir()
			run(b, name+"/floor=write+fsync", size, writers, func(i int64) error {
				f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
				if err != nil {
					return err
				}
				for c := range chunks(data) {
					if _, err := f.Write(c); err != nil {
						return err
					}
				}
				return errors.Join(f.Sync(), f.Close())
			})
		}
	}
}

// chunks cuts data into the pieces that io.Copy would write.
func chunks(data []byte) iter.Seq[[]byte] { return slices.Chunk(data, 32<<10) }

func run(b *testing.B, name string, size, writers int, op func(int64) error) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		var next atomic.Int64
		b.SetBytes(int64(size))
		b.SetParallelism(max(1, writers/2)) // times GOMAXPROCS
		if writers == 1 {
			for i := range b.N {
				if err := op(int64(i)); err != nil {
					b.Fatal(err)
				}
			}
			return
		}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := op(next.Add(1)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
