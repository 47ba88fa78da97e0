package pid1

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The reaper is a program that the kernel runs. Without a child there is
// nothing to wait for and it leaves in order. What it does with children is
// tested with real sandboxes, in package ns.
func TestReaperImage_IsAProgram(t *testing.T) {
	image, err := ReaperImage()
	if err != nil {
		t.Fatal(err)
	}
	if len(image) > 512 {
		t.Errorf("%d bytes: more than it says", len(image))
	}
	p := filepath.Join(t.TempDir(), "reaper")
	if err := os.WriteFile(p, image, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(p, "2").CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("%v, %q", err, out)
	}
}

// The holder waits for the end of descriptor 3.
func TestHolderImage_EndsWithItsSocket(t *testing.T) {
	image, err := HolderImage()
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "holder")
	if err := os.WriteFile(p, image, 0o755); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(p)
	cmd.ExtraFiles = []*os.File{r}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
