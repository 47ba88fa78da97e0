package fulldisk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a small file system that others write to as well.
type disk struct {
	dir    string
	filler string // the others' file
}

// newDisk mounts an ext4 of so many MiB, without blocks that only root gets.
// It skips where that is not allowed, as in most containers.
func newDisk(t *testing.T, mebibytes int64) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	base, err := os.MkdirTemp("", "davy-full-") // reachable for the unprivileged server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	image, at := filepath.Join(base, "image"), filepath.Join(base, "disk")
	err = errors.Join(os.Chmod(base, 0o755), os.Mkdir(at, 0o755), os.WriteFile(image, nil, 0o600), os.Truncate(image, mebibytes<<20))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-F", "-m", "0", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		t.Skipf("cannot mount an image here: %v: %s", err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() { // after the test's context has ended
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return &disk{dir: at, filler: filepath.Join(at, "others")}
}

// fill is another program that takes every block that is left. The server
// gives some back now and then.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	for range 10 {
		d.fillOnce(t)
		if d.free(t) <= 64<<10 {
			return
		}
	}
	t.Fatalf("%d bytes are free: this tests nothing", d.free(t))
}

func (d *disk) fillOnce(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(d.filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); err == nil || len(block) > 1; {
		if _, err = f.Write(block); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		if err != nil {
			block = block[:len(block)/2]
			err = nil
			if len(block) == 0 {
				return
			}
		}
	}
}

// clear is the other program giving everything back.
func (d *disk) clear(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filler); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func (d *disk) free(t *testing.T) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// fillTo leaves so many bytes.
func (d *disk) fillTo(t *testing.T, left int64) {
	t.Helper()
	f, err := os.OpenFile(d.filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, max(d.free(t)-left, 1)); err != nil && !errors.Is(err, unix.ENOSPC) { // others write too
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 2); err != nil {
		t.Fatal(err)
	}
}
