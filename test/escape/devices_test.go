package escape

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/sandboxtest"
	"davy/internal/sandbox/wire"
)

// A node of a device that no sandbox has, in the code, is stopped twice: by
// the mount, and by the control group, whichever version that has.
func TestEscape_ForeignDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a device node")
	}
	w := newWorld(t)
	node := filepath.Join(w.dir, "kmsg") // writing to the kernel's log needs no capability
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 11))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(node, 0o666); err != nil {
		t.Fatal(err)
	}
	r := row{probe: []string{"write", "/opt/kmsg", "Davy's escape suite\n"}}
	for _, tc := range []struct {
		name   string
		ablate wire.Ablation
		want   string
	}{
		{"nodev mounts", 0, "permission denied"},
		{"device filter", wire.AblateNodev | wire.AblateLandlock, "operation not permitted"},
		{"neither", wire.AblateDevices | wire.AblateLandlock, reached},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, _ := sandboxtest.New(t, config(w, tc.ablate))
			for _, m := range d.Missing() {
				if strings.Contains(m, "device filter") && tc.ablate&wire.AblateNodev != 0 {
					t.Skip(m)
				}
			}
			if got := try(t, d, w, tc.ablate, r); !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
