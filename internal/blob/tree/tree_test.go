package tree

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"davy/internal/blob"
)

// entry is one record of a test archive.
type entry struct {
	name    string
	content string
	mode    fs.FileMode
	stored  bool
	flags   uint16
}

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Flags: e.flags}
		if e.stored {
			h.Method = zip.Store
		}
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// newCache is a cache whose archives come from a map that the test fills.
func newCache(t testing.TB, dir string, max int64) (*Cache, map[string][]byte, *atomic.Int64) {
	t.Helper()
	archives := map[string][]byte{}
	loads := &atomic.Int64{}
	c, err := Open(Config{Dir: dir, MaxBytes: max, Load: func(_ context.Context, sha string) (io.ReaderAt, int64, func() error, error) {
		loads.Add(1)
		data, ok := archives[sha]
		if !ok {
			return nil, 0, nil, blob.ErrNotFound
		}
		return bytes.NewReader(data), int64(len(data)), func() error { return nil }, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c, archives, loads
}

func check(data []byte) error {
	_, err := Check(bytes.NewReader(data), int64(len(data)))
	return err
}

// describe lists a tree: mode, path, content or link target.
func describe(t testing.TB, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		what := ""
		switch fi.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = string(data)
		case fs.ModeSymlink:
			if what, err = os.Readlink(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&out, "%s %s %s\n", fi.Mode(), rel, what)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCode_IsWhatTheArchiveHolds(t *testing.T) {
	c, archives, _ := newCache(t, t.TempDir(), 0)
	data := archiveOf(t,
		entry{name: "./index.mjs", content: "export"},
		entry{name: "bin/run", content: "#!", mode: 0o700},
		entry{name: "private", content: "p", mode: 0o600 | fs.ModeSetuid},
		entry{name: "empty/", mode: fs.ModeDir | 0o700},
		entry{name: "node_modules/.bin/x", content: "../pkg/x.js", mode: fs.ModeSymlink | 0o777},
		entry{name: "node_modules/pkg/x.js", content: "x", stored: true},
	)
	archives[hash(data)] = data
	dir, release, err := c.Code(t.Context(), hash(data))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	want := `drwxr-xr-x . 
drwxr-xr-x bin 
-rwxr-xr-x bin/run #!
drwxr-xr-x empty 
-rw-r--r-- index.mjs export
drwxr-xr-x node_modules 
drwxr-xr-x node_modules/.bin 
Lrwxrwxrwx node_modules/.bin/x ../pkg/x.js
drwxr-xr-x node_modules/pkg 
-rw-r--r-- node_modules/pkg/x.js x
-rw-r--r-- private p
`
	if got := describe(t, dir); got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
}

var badArchives = []struct {
	name    string
	entries []entry
	want    error
}{
	{"nothing", nil, ErrEmpty},
	{"only a directory", []entry{{name: "d/"}}, ErrEmpty},
	{"a parent path", []entry{{name: "../x"}}, ErrUnsafe},
	{"a parent path inside", []entry{{name: "a/../../x"}}, ErrUnsafe},
	{"an absolute path", []entry{{name: "/etc/passwd"}}, ErrUnsafe},
	{"a backslash", []entry{{name: `a\b`}}, ErrUnsafe},
	{"a NUL", []entry{{name: "a\x00b"}}, ErrUnsafe},
	{"the root as a file", []entry{{name: "."}}, ErrUnsafe},
	{"a long element", []entry{{name: strings.Repeat("x", 256)}}, ErrUnsafe},
	{"a long path", []entry{{name: strings.Repeat("x/", 1100) + "x"}}, ErrUnsafe},
	{"a name twice", []entry{{name: "a"}, {name: "a"}}, ErrUnsafe},
	{"a name twice, spelled differently", []entry{{name: "a"}, {name: "./a"}}, ErrUnsafe},
	{"a file as a directory", []entry{{name: "a"}, {name: "a/b"}}, ErrUnsafe},
	{"a directory as a file", []entry{{name: "a/b"}, {name: "a"}}, ErrUnsafe},
	{"a link as a directory", []entry{{name: "a", content: "b", mode: fs.ModeSymlink}, {name: "a/x"}}, ErrUnsafe},
	{"an absolute link", []entry{{name: "f"}, {name: "a", content: "/etc", mode: fs.ModeSymlink}}, ErrUnsafe},
	{"a link outside", []entry{{name: "f"}, {name: "d/a", content: "../../x", mode: fs.ModeSymlink}}, ErrUnsafe},
	{"a link outside by way of another", []entry{{name: "f"}, {name: "a/b/d", content: "../..", mode: fs.ModeSymlink}, {name: "a/b/e", content: "d/..", mode: fs.ModeSymlink}}, ErrUnsafe},
	{"links in a circle", []entry{{name: "f"}, {name: "a", content: "b", mode: fs.ModeSymlink}, {name: "b", content: "a", mode: fs.ModeSymlink}}, ErrUnsafe},
	{"an empty link", []entry{{name: "f"}, {name: "a", mode: fs.ModeSymlink}}, ErrUnsafe},
	{"a long link", []entry{{name: "f"}, {name: "a", content: strings.Repeat("x/", 1000), mode: fs.ModeSymlink}}, ErrUnsafe},
	{"a device", []entry{{name: "f"}, {name: "null", mode: fs.ModeDevice | fs.ModeCharDevice}}, ErrUnsafe},
	{"a pipe", []entry{{name: "f"}, {name: "p", mode: fs.ModeNamedPipe}}, ErrUnsafe},
	{"an encrypted file", []entry{{name: "f", flags: 1}}, ErrMalformed},
}

func TestCheck_RefusesWhatMustNotBeUnpacked(t *testing.T) {
	for _, tc := range badArchives {
		t.Run(tc.name, func(t *testing.T) {
			data := archiveOf(t, tc.entries...)
			if err := check(data); !errors.Is(err, tc.want) {
				t.Fatalf("Check: %v, want %v", err, tc.want)
			}
			dir := t.TempDir()
			c, archives, _ := newCache(t, dir, 0)
			archives[hash(data)] = data
			if _, _, err := c.Code(t.Context(), hash(data)); !errors.Is(err, tc.want) {
				t.Fatalf("Code: %v, want %v", err, tc.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Fatalf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestCheck_RefusesDamage(t *testing.T) {
	whole := archiveOf(t, entry{name: "a", content: strings.Repeat("content ", 100), stored: true}, entry{name: "b", content: "x"})
	if err := check(whole); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[bytes.Index(flipped, []byte("content"))] ^= 1
	unknown := bytes.Clone(whole)
	binary.LittleEndian.PutUint16(unknown[bytes.Index(unknown, []byte("PK\x01\x02"))+10:], 99)
	for _, tc := range []struct {
		name string
		data []byte
	}{
		{"no bytes", nil},
		{"text", []byte("this is not a zip archive, whatever its name says")},
		{"truncated", whole[:len(whole)/2]},
		{"the end missing", whole[:len(whole)-1]},
		{"the start missing", whole[len(whole)/2:]},
		{"a flipped bit", flipped},
		{"an unknown compression", unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := check(tc.data); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v, want ErrMalformed", err)
			}
		})
	}
}

// zeros writes n zero bytes.
func zeros(t testing.TB, z *zip.Writer, name string, n int64) {
	t.Helper()
	w, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeroReader{}, n); err != nil {
		t.Fatal(err)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestCheck_CountsRealBytes(t *testing.T) {
	bomb := func(sizes ...int64) []byte {
		var buf bytes.Buffer
		z := zip.NewWriter(&buf)
		for i, n := range sizes {
			zeros(t, z, fmt.Sprint(i), n)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	if standard.bytes != 250<<20 { // as AWS documents
		t.Fatal(standard.bytes)
	}
	const most = 4 << 20
	check := func(data []byte) error {
		_, err := limits{bytes: most, entries: 10}.check(bytes.NewReader(data), int64(len(data)))
		return err
	}
	if err := check(bomb(most)); err != nil {
		t.Fatalf("as much as is allowed: %v", err)
	}
	if err := check(bomb(most/2, most/2+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one byte too many: %v", err)
	}
	// An archive that understates the size of its content.
	lie := bomb(most + 1)
	at := bytes.LastIndex(lie, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(lie[at+24:], 5)
	if err := check(lie); !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrMalformed) {
		t.Fatalf("a false size: %v", err)
	}
}

func TestCheck_CountsEntries(t *testing.T) {
	small := limits{bytes: 1 << 20, entries: 10}
	var entries []entry
	for i := range 11 {
		entries = append(entries, entry{name: fmt.Sprint(i)})
	}
	data := archiveOf(t, entries...)
	if _, err := open(bytes.NewReader(data), int64(len(data)), small); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	for i := range 100 {
		entries = append(entries, entry{name: fmt.Sprint("x", i)})
	}
	data = archiveOf(t, entries...)
	if err := countRecords(bytes.NewReader(data), int64(len(data)), small); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	deep := archiveOf(t, entry{name: strings.Repeat("d/", 100) + "f"})
	if _, err := open(bytes.NewReader(deep), int64(len(deep)), small); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestCode_UnpacksOnce(t *testing.T) {
	dir := t.TempDir()
	c, archives, loads := newCache(t, dir, 0)
	data := archiveOf(t, entry{name: "a", content: "x"})
	archives[hash(data)] = data
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			dir, release, err := c.Code(t.Context(), hash(data))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := os.Stat(filepath.Join(dir, "a")); err != nil {
				t.Error(err)
			}
			release()
		})
	}
	wg.Wait()
	if loads.Load() != 1 {
		t.Fatalf("loaded %d times", loads.Load())
	}
	// The next process finds it there.
	if err := os.Mkdir(filepath.Join(dir, tmpPrefix+"crashed"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, _, loads = newCache(t, dir, 0)
	if _, release, err := c.Code(t.Context(), hash(data)); err != nil || loads.Load() != 0 {
		t.Fatal(err, loads.Load())
	} else {
		release()
	}
	if _, err := os.Stat(filepath.Join(dir, tmpPrefix+"crashed")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("leftovers stay")
	}
}

func TestOpen_DropsTreesOfAnotherBoot(t *testing.T) {
	data := archiveOf(t, entry{name: "a", content: "x"})
	for _, made := range []string{"1 another-boot\n", "1\n", "", "x y"} {
		dir := t.TempDir()
		c, archives, _ := newCache(t, dir, 0)
		archives[hash(data)] = data
		_, release, err := c.Code(t.Context(), hash(data))
		if err != nil {
			t.Fatal(err)
		}
		release()
		if err := os.WriteFile(filepath.Join(dir, hash(data), "made"), []byte(made), 0o600); err != nil {
			t.Fatal(err)
		}
		newCache(t, dir, 0)
		if _, err := os.Stat(filepath.Join(dir, hash(data))); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("made %q: %v", made, err)
		}
	}
}

func TestUnpack_SyncsWhereTheBootHasNoName(t *testing.T) {
	data := archiveOf(t, entry{name: "a", content: "x"})
	c, archives, _ := newCache(t, t.TempDir(), 0)
	c.boot = ""
	archives[hash(data)] = data
	if _, release, err := c.Code(t.Context(), hash(data)); err != nil {
		t.Fatal(err)
	} else {
		release()
	}
}

func TestCode_FailureIsTriedAgain(t *testing.T) {
	c, archives, _ := newCache(t, t.TempDir(), 0)
	data := archiveOf(t, entry{name: "a", content: "x"})
	if _, _, err := c.Code(t.Context(), hash(data)); !errors.Is(err, blob.ErrNotFound) {
		t.Fatal(err)
	}
	archives[hash(data)] = data
	if _, release, err := c.Code(t.Context(), hash(data)); err != nil {
		t.Fatal(err)
	} else {
		release()
	}
	for _, name := range []string{"", "..", "../" + hash(data)[3:], strings.ToUpper(hash(data))} {
		if _, _, err := c.Code(t.Context(), name); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("%q: %v", name, err)
		}
	}
}

func TestCode_UnusedTreesMakeRoom(t *testing.T) {
	dir := t.TempDir()
	c, archives, _ := newCache(t, dir, 2500)
	var names []string
	for i := range 4 {
		data := archiveOf(t, entry{name: "f", content: strings.Repeat(fmt.Sprint(i), 1000)})
		archives[hash(data)] = data
		names = append(names, hash(data))
	}
	use := func(i int) func() {
		t.Helper()
		d, release, err := c.Code(t.Context(), names[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(d, "f")); err != nil {
			t.Fatal(err)
		}
		return release
	}
	present := func(i int) bool {
		_, err := os.Stat(filepath.Join(dir, names[i]))
		return err == nil
	}
	held := use(0)
	use(1)()
	use(2)() // too much: 1 is the least recently used that is free
	if !present(0) || present(1) || !present(2) {
		t.Fatal(present(0), present(1), present(2))
	}
	r1, r3 := use(1), use(3) // all in use but 2
	if !present(0) || !present(1) || present(2) || !present(3) {
		t.Fatal("a tree in use is gone, or an unused one stays")
	}
	held()
	held() // twice is once
	if present(0) {
		t.Fatal("the last user left and there is too much")
	}
	r1()
	r3()
	c, _, _ = newCache(t, dir, 1500) // a smaller bound takes effect at the start
	if c.total > 1500 || present(1) == present(3) {
		t.Fatal(c.total, present(1), present(3))
	}
}

func FuzzCheck(f *testing.F) {
	for _, tc := range badArchives {
		f.Add(archiveOf(f, tc.entries...))
	}
	f.Add(archiveOf(f, entry{name: "a/b", content: "x"}, entry{name: "c", content: "a", mode: fs.ModeSymlink}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		c, archives, _ := newCache(t, dir, 0)
		c.limits = limits{bytes: 1 << 20, entries: 100}
		archives[hash(data)] = data
		code, release, err := c.Code(t.Context(), hash(data))
		if err != nil {
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Fatalf("refused (%v) and left %v", err, left)
			}
			return
		}
		defer release()
		if err := check(data); err != nil {
			t.Fatalf("unpacked, but Check says %v", err)
		}
		size := int64(0)
		if err := filepath.WalkDir(code, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			switch fi.Mode().Type() {
			case 0:
				size += fi.Size()
			case fs.ModeDir:
			case fs.ModeSymlink:
				if real, err := filepath.EvalSymlinks(path); err == nil && real != code && !strings.HasPrefix(real, code+"/") {
					t.Fatalf("%s leads to %s", path, real)
				}
			default:
				t.Fatalf("%s is a %s", path, fi.Mode())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if size > 1<<20 {
			t.Fatalf("%d bytes unpacked", size)
		}
	})
}

// A first use unpacks; later ones only count users.
func BenchmarkCode(b *testing.B) {
	small := archiveOf(b, entry{name: "index.js", content: strings.Repeat("exports.handler = async () => 1\n", 20)})
	b.Run("first", func(b *testing.B) {
		dir := b.TempDir()
		for i := range b.N {
			c, archives, _ := newCache(b, filepath.Join(dir, fmt.Sprint(i)), 0)
			archives[hash(small)] = small
			b.StartTimer()
			_, release, err := c.Code(b.Context(), hash(small))
			if err != nil {
				b.Fatal(err)
			}
			release()
			b.StopTimer()
		}
	})
	b.Run("again", func(b *testing.B) {
		c, archives, _ := newCache(b, b.TempDir(), 0)
		archives[hash(small)] = small
		for range b.N {
			_, release, err := c.Code(b.Context(), hash(small))
			if err != nil {
				b.Fatal(err)
			}
			release()
		}
	})
}
