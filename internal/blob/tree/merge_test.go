package tree

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"davy/internal/blob"
)

// merged gives the tree of several archives.
func merged(t testing.TB, c *Cache, archives map[string][]byte, layers ...[]byte) (string, error) {
	t.Helper()
	var names []string
	for _, l := range layers {
		archives[hash(l)] = l
		names = append(names, hash(l))
	}
	dir, release, err := c.Code(t.Context(), names...)
	if err == nil {
		t.Cleanup(release)
	}
	return dir, err
}

func TestCode_LaterLayersReplaceEarlierOnes(t *testing.T) {
	const link = fs.ModeSymlink
	for _, tc := range []struct {
		name   string
		layers [][]entry
		want   string
	}{
		{
			"of two files with one name the last stays, with its mode",
			[][]entry{
				{{name: "bin/tool", content: "1", mode: 0o755}, {name: "only-1", content: "1"}},
				{{name: "bin/tool", content: "2", mode: 0o644}, {name: "only-2", content: "2"}},
				{{name: "bin/tool", content: "3", mode: 0o755}},
			},
			"drwxr-xr-x . \ndrwxr-xr-x bin \n-rwxr-xr-x bin/tool 3\n-rw-r--r-- only-1 1\n-rw-r--r-- only-2 2\n",
		},
		{
			"folders are united",
			[][]entry{{{name: "a/b/1", content: "1"}}, {{name: "a/b/2", content: "2"}, {name: "a/c/", mode: fs.ModeDir | 0o755}}},
			"drwxr-xr-x . \ndrwxr-xr-x a \ndrwxr-xr-x a/b \n-rw-r--r-- a/b/1 1\n-rw-r--r-- a/b/2 2\ndrwxr-xr-x a/c \n",
		},
		{
			"a file replaces a folder with all that is below it",
			[][]entry{{{name: "a/b/1", content: "1"}, {name: "a/b/c/2", content: "2"}}, {{name: "a", content: "file"}}},
			"drwxr-xr-x . \n-rw-r--r-- a file\n",
		},
		{
			"a folder replaces a file",
			[][]entry{{{name: "a", content: "file"}}, {{name: "a/b", content: "2"}}},
			"drwxr-xr-x . \ndrwxr-xr-x a \n-rw-r--r-- a/b 2\n",
		},
		{
			"a link is not followed: what a later layer has below its name replaces it",
			[][]entry{{{name: "real/1", content: "1"}, {name: "lib", content: "real", mode: link}}, {{name: "lib/2", content: "2"}}},
			"drwxr-xr-x . \ndrwxr-xr-x lib \n-rw-r--r-- lib/2 2\ndrwxr-xr-x real \n-rw-r--r-- real/1 1\n",
		},
		{
			"a link replaces a folder",
			[][]entry{{{name: "lib/1", content: "1"}}, {{name: "x/2", content: "2"}, {name: "lib", content: "x", mode: link}}},
			"drwxr-xr-x . \nLrwxrwxrwx lib x\ndrwxr-xr-x x \n-rw-r--r-- x/2 2\n",
		},
		{
			"a link can lead into another layer",
			[][]entry{{{name: "lib/v1", content: "1"}}, {{name: "y", content: "y"}, {name: "current", content: "lib/v1", mode: link}}},
			"drwxr-xr-x . \nLrwxrwxrwx current lib/v1\ndrwxr-xr-x lib \n-rw-r--r-- lib/v1 1\n-rw-r--r-- y y\n",
		},
		{
			"a layer twice is a layer once",
			[][]entry{{{name: "a", content: "1"}}, {{name: "a", content: "1"}}},
			"drwxr-xr-x . \n-rw-r--r-- a 1\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, archives, _ := newCache(t, t.TempDir(), 0)
			var layers [][]byte
			for _, entries := range tc.layers {
				layers = append(layers, archiveOf(t, entries...))
			}
			dir, err := merged(t, c, archives, layers...)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(t, dir); got != tc.want {
				t.Fatalf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

func TestCode_OrderOfLayersMakesAnotherTree(t *testing.T) {
	c, archives, loads := newCache(t, t.TempDir(), 0)
	one, two := archiveOf(t, entry{name: "a", content: "1"}), archiveOf(t, entry{name: "a", content: "2"})
	for _, tc := range []struct {
		layers [][]byte
		want   string
	}{{[][]byte{one, two}, "2"}, {[][]byte{two, one}, "1"}, {[][]byte{one}, "1"}} {
		dir, err := merged(t, c, archives, tc.layers...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != tc.want {
			t.Fatalf("got %q, %v; want %q", got, err, tc.want)
		}
	}
	before := loads.Load()
	if _, err := merged(t, c, archives, one, two); err != nil || loads.Load() != before {
		t.Fatalf("%v; the tree was made twice", err)
	}
}

// Each archive is harmless alone; together a link would lead outside.
func TestCode_RefusesLinksThatLeadOutsideTogether(t *testing.T) {
	c, archives, _ := newCache(t, t.TempDir(), 0)
	one := archiveOf(t, entry{name: "b/c/d", content: "1"}, entry{name: "a", content: "b/c/../../b", mode: fs.ModeSymlink})
	two := archiveOf(t, entry{name: "b/x", content: "2"}, entry{name: "b/c", content: ".", mode: fs.ModeSymlink})
	for _, alone := range [][]byte{one, two} {
		if _, err := merged(t, c, archives, alone); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := merged(t, c, archives, one, two); !errors.Is(err, ErrUnsafe) {
		t.Fatalf("got %v, want %v", err, ErrUnsafe)
	}
	if err := together(one, two); !errors.Is(err, ErrUnsafe) {
		t.Fatalf("checked before: %v, want %v", err, ErrUnsafe)
	}
	if err := together(two, one); err != nil { // whose folder replaces the link
		t.Fatal(err)
	}
}

func together(layers ...[]byte) error {
	var zips []*io.SectionReader
	for _, l := range layers {
		zips = append(zips, io.NewSectionReader(bytes.NewReader(l), 0, int64(len(l))))
	}
	return CheckTogether(zips)
}

// Layers together have no more names than one archive may.
func TestStack_CountsNamesOfAll(t *testing.T) {
	one, two := archiveOf(t, entry{name: "a/b", content: "1"}), archiveOf(t, entry{name: "c", content: "1"}, entry{name: "d", content: "1"})
	for _, tc := range []struct {
		most int
		want error
	}{{4, nil}, {3, ErrTooLarge}} {
		s := stack{limits: limits{bytes: 10, entries: tc.most}}
		var err error
		for _, l := range [][]byte{one, two} {
			err = errors.Join(err, s.add(bytes.NewReader(l), int64(len(l))))
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%d names: got %v, want %v", tc.most, err, tc.want)
		}
	}
}

func TestCode_MissingLayer(t *testing.T) {
	c, archives, _ := newCache(t, t.TempDir(), 0)
	there := archiveOf(t, entry{name: "a", content: "1"})
	archives[hash(there)] = there
	for _, names := range [][]string{{hash(there), strings.Repeat("0", 64)}, {hash(there), "../../etc"}} {
		if _, _, err := c.Code(t.Context(), names...); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("%v: got %v, want %v", names, err, blob.ErrNotFound)
		}
	}
}

// Whatever two archives hold, their tree stays within its folder, and every
// file of the second has the second's content.
func FuzzMerge(f *testing.F) {
	f.Add(archiveOf(f, entry{name: "a/b", content: "x"}), archiveOf(f, entry{name: "a", content: "y"}))
	f.Add(
		archiveOf(f, entry{name: "b/c/d", content: "1"}, entry{name: "a", content: "b/c/../../x", mode: fs.ModeSymlink}),
		archiveOf(f, entry{name: "y", content: "2"}, entry{name: "b", content: ".", mode: fs.ModeSymlink}),
	)
	f.Add(
		archiveOf(f, entry{name: "r/1", content: "1"}, entry{name: "l", content: "r", mode: fs.ModeSymlink}),
		archiveOf(f, entry{name: "l/1", content: "2"}),
	)
	f.Fuzz(func(t *testing.T, one, two []byte) {
		if check(one) != nil || check(two) != nil {
			return
		}
		c, archives, _ := newCache(t, t.TempDir(), 0)
		c.limits = limits{bytes: 1 << 20, entries: 100}
		c.cfg.Views = []View{{Name: "view", Mounted: "/opt", Folders: []string{"m", "a"}}}
		dir, err := merged(t, c, archives, one, two)
		if err != nil {
			return
		}
		second, err := merged(t, c, archives, two)
		if err != nil {
			t.Fatal(err)
		}
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type() != fs.ModeSymlink {
				return err
			}
			if real, err := filepath.EvalSymlinks(path); err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
				t.Fatalf("%s leads to %s", path, real)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := filepath.WalkDir(second, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			want, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(second, path)
			if fi, err := os.Lstat(filepath.Join(dir, rel)); err != nil || !fi.Mode().IsRegular() {
				t.Fatalf("%s is missing or no file (%v)", rel, err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, rel)); err != nil || string(got) != string(want) {
				t.Fatalf("%s is not the second archive's (%v)", rel, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
