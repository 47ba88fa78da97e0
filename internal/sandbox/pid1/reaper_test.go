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
