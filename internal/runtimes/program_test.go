package runtimes_test

import (
	"os"
	"path/filepath"
	"testing"

	"davy/internal/runtimes"
)

func TestStore_ProgramIsThisOneAndTheOnlyOne(t *testing.T) {
	boot := filepath.Join(t.TempDir(), "boot")
	old := filepath.Join(boot, "program-0000-init")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := runtimes.New(runtimes.Config{Dir: t.TempDir(), BootDir: boot})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := s.Program("init")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.Stat(filepath.Join(dir, "init"))
	if err != nil || copied.Size() != mine.Size() || copied.Mode().Perm() != 0o755 {
		t.Errorf("the copy: %v, %v", copied, err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old program is still there: %v", err)
	}
	if again, err := s.Program("init"); err != nil || again != dir {
		t.Errorf("again: %s, %v; want %s", again, err, dir)
	}
}
