package doctor

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	if f := disk(dir); !strings.Contains(f.State, "MiB free at "+dir) || f.OK != (f.Fix == "") {
		t.Error(f)
	}
	if f := disk(filepath.Join(dir, "missing")); f.OK || f.Fix == "" {
		t.Error(f)
	}
	if err := unix.Mount("davy-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs root to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if f := disk(dir); f.OK || f.Fix == "" {
		t.Error(f)
	}
}
