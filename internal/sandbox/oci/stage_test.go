package oci

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// apart runs f in a mount namespace that ends with it.
func apart(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func detached(t *testing.T, dir string) *os.File {
	t.Helper()
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		t.Error(err)
		return nil
	}
	f := os.NewFile(uintptr(fd), dir)
	t.Cleanup(func() { f.Close() })
	return f
}

// A root that a server names can hold any link: a mount point or a file below
// it must not come to be outside.
func TestBuildRoot_StaysInside(t *testing.T) {
	outside, code, root := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(code, "f"), []byte("code"), 0o644); err != nil {
		t.Fatal(err)
	}
	// What the links name is there in the root as well.
	if err := os.MkdirAll(filepath.Join(root, outside), 0o755); err != nil {
		t.Fatal(err)
	}
	apart(t, func() {
		err := buildRoot(root, Root{
			Links: []wire.Mount{{Target: "/away", Source: outside}, {Target: "/up", Source: "../../../../../.." + outside}, {Target: "/here", Source: "/var/task"}},
			Texts: []wire.Mount{{Target: "/away/text", Source: "text"}},
			Parts: []Part{
				{PlanMount: wire.PlanMount{Target: "/up/part"}, Tree: detached(t, code)},
				{PlanMount: wire.PlanMount{Target: "/here"}, Tree: detached(t, code)},
			},
		})
		if err != nil {
			t.Error(err)
			return
		}
		for _, p := range []string{outside + "/text", outside + "/part/f", "/var/task/f"} {
			if _, err := os.Stat(root + p); err != nil {
				t.Errorf("not below the root: %v", err)
			}
		}
	})
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 0 {
		t.Errorf("outside: %v, %v", left, err)
	}
}

func TestBuildRoot_MakesWhatASandboxNeeds(t *testing.T) {
	root, code := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(code, "f"), []byte("code"), 0o644); err != nil {
		t.Fatal(err)
	}
	apart(t, func() {
		err := buildRoot(root, Root{
			Links: []wire.Mount{{Target: "/bin", Source: "usr/bin"}},
			Texts: []wire.Mount{{Target: "/etc/hosts", Source: "127.0.0.1 localhost\n"}},
			Parts: []Part{
				{PlanMount: wire.PlanMount{Target: "/usr"}, Tree: detached(t, code)},
				{PlanMount: wire.PlanMount{Target: "/etc/f", File: true}, Tree: detached(t, filepath.Join(code, "f"))},
			},
		})
		if err != nil {
			t.Error(err)
			return
		}
		for p, want := range map[string]string{"/usr/f": "code", "/etc/f": "code", "/etc/hosts": "127.0.0.1 localhost\n"} {
			if b, err := os.ReadFile(root + p); err != nil || string(b) != want {
				t.Errorf("%s: %q, %v", p, b, err)
			}
		}
		if st, err := os.Stat(root + "/tmp"); err != nil || st.Mode().Perm() != 0o777 || st.Mode()&os.ModeSticky == 0 {
			t.Errorf("/tmp: %v, %v", st.Mode(), err)
		}
	})
}
