package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/server"
)

func TestPrepareDataDir(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files []string // in the data directory before
		want  string   // in the error; empty: none
	}{
		{"a directory that is not there yet", nil, ""},
		{"a start that did not get far", []string{"code/", "bootstrap/"}, ""},
		{"runtimes were added before the first start", []string{"runtimes/"}, ""},
		{"a data directory", []string{"lock", "state.db", "somebody's notes"}, ""},
		{"a restored copy without its lock", []string{"state.db"}, ""},
		{"somebody's files", []string{"thesis.tex"}, "not a data directory of Davy"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base := passable(t)
			dir := filepath.Join(base, "parent", "data")
			for _, f := range tc.files {
				path := filepath.Join(dir, f)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(f, "/") {
					if err := os.MkdirAll(path, 0o755); err != nil {
						t.Fatal(err)
					}
				} else if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := prepareDataDir(&server.Config{DataDir: dir, RuntimesDir: filepath.Join(dir, "runtimes")})
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(filepath.Join(dir, "code")); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "code")); err == nil {
				t.Error("it was changed")
			}
		})
	}
}

func TestPrepareDataDir_ResolvesLinks(t *testing.T) {
	base := passable(t)
	for _, d := range []string{"real", "runtimes"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(d, filepath.Join(base, d+"-link")); err != nil {
			t.Fatal(err)
		}
	}
	cfg := server.Config{DataDir: filepath.Join(base, "real-link", "data"), RuntimesDir: filepath.Join(base, "runtimes-link")}
	if err := prepareDataDir(&cfg); err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(base, "real", "data"); cfg.DataDir != want {
		t.Errorf("data directory %s, want %s", cfg.DataDir, want)
	}
	if want := filepath.Join(base, "runtimes"); cfg.RuntimesDir != want {
		t.Errorf("runtimes %s, want %s", cfg.RuntimesDir, want)
	}
}

func TestPrepareDataDir_RefusesMissingRuntimes(t *testing.T) {
	base := passable(t)
	err := prepareDataDir(&server.Config{DataDir: filepath.Join(base, "data"), RuntimesDir: filepath.Join(base, "typo")})
	if err == nil || !strings.Contains(err.Error(), "--runtimes") {
		t.Fatalf("error %v, want one that names --runtimes", err)
	}
}

func TestAwaitUnused(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("4711\n"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := awaitUnused(dir, 0); err == nil || !strings.Contains(err.Error(), "process 4711") {
		t.Fatalf("error %v, want one that names process 4711", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := awaitUnused(dir, 0); err != nil {
		t.Fatal(err)
	}
}

// Root's home, or another directory that is closed, stops the server's user.
func TestReachable(t *testing.T) {
	base := passable(t)
	closed := filepath.Join(base, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := reachable(base); err != nil {
		t.Error(err)
	}
	err := reachable(filepath.Join(closed, "below"))
	if err == nil || !strings.Contains(err.Error(), "chmod o+x "+closed) {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

// passable is a temporary directory that every user can pass, without links.
func passable(t *testing.T) string {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{base, filepath.Dir(base)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return base
}

// The server owns the data directory: a link that it leaves there must not give
// a later start's sandboxes what is root's.
func TestPrepareDataDir_LinkInPlaceOfRuntimes(t *testing.T) {
	base := passable(t)
	dir := filepath.Join(base, "data")
	if err := os.MkdirAll(filepath.Join(dir, "code"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "runtimes")); err != nil {
		t.Fatal(err)
	}
	err := prepareDataDir(&server.Config{DataDir: dir, RuntimesDir: filepath.Join(dir, "runtimes")})
	if err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("error %v", err)
	}
}
