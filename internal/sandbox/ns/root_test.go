package ns_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/ns"
	"davy/internal/sandbox/sandboxtest"
)

// A root of its own: a directory with one program and its libraries.
func TestCreate_OwnRoot(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	out, err := exec.Command("sh", "-ec", `mkdir -p "$0/bin" "$0/etc" "$0/var/lib" "$0/opt/hidden" "$0/lib/deep"
		cp /bin/sh /bin/ls /bin/cat "$0/bin/"
		for f in $(ldd /bin/sh /bin/ls /bin/cat | grep -o '/[^ ]*'); do test -f $f || continue; mkdir -p "$0$(dirname $f)"; cp -n -L $f "$0$f"; done
		echo secret > "$0/etc/passwd"; echo kept > "$0/etc/kept"; echo state > "$0/var/lib/state"; ln -s bin "$0/sbin"`, root).CombinedOutput()
	if err != nil {
		t.Fatalf("make the root: %v: %s", err, out)
	}
	d, _ := sandboxtest.New(t, launcher.Config{Roots: []string{dir}})
	p := start(t, d, sandbox.Spec{Root: root, Mounts: []sandbox.Mount{
		{Source: filepath.Join(root, "lib", "deep"), Target: "/var/runtime"},
		{Source: filepath.Join(root, "var"), Target: "/new/place"},
	}}, `cat /etc/kept /var/lib/state /new/place/lib/state; cat /etc/passwd | { read a; echo "$a"; }; ls /usr/share /opt 2>&1; ls -d /var/task /sbin/sh; : > /bin/x`)
	got := p.rest(t)
	for _, want := range []string{"kept\nstate\nstate\nroot:x:0:0", "/usr/share", "/var/task", "/sbin/sh", "Read-only file system"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	for _, not := range []string{"secret", "hidden"} {
		if strings.Contains(got, not) {
			t.Errorf("%q in:\n%s", not, got)
		}
	}
}

// playRootless runs one sandbox as an ordinary user and prints what it said.
func playRootless() int {
	fail := func(err error) int { fmt.Println("failed:", err); return 1 }
	p, err := launcher.Start(launcher.Config{Instance: "test-rootless", Roots: []string{os.Getenv("DAVY_TEST_DIR")}})
	if err != nil {
		return fail(err)
	}
	d, err := ns.New(p.Socket)
	if err != nil {
		return fail(err)
	}
	for _, m := range d.Missing() {
		fmt.Println("missing:", m)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	in, say, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	b, err := d.Create(context.Background(), sandbox.Spec{
		ID: "one", Args: []string{"/bin/sh", "-c", `read x <&3; cat /var/task/code; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; set -- /proc/[0-9]*; echo $# processes; unshare --user true`},
		Env: []string{"PATH=/usr/bin:/bin"}, Stdout: w, Stderr: w, Files: []*os.File{in}, Listen: []string{"tcp:169.254.100.1:80"},
	})
	if err != nil {
		return fail(err)
	}
	w.Close()
	if err := b.Attach(context.Background(), sandbox.Mount{Source: os.Getenv("DAVY_TEST_DIR"), Target: "/var/task"}); err != nil {
		return fail(err)
	}
	if err := b.Limit(context.Background(), sandbox.Limits{MemoryBytes: 256 << 20, CPUMilli: 500, TmpBytes: 64 << 20}); err != nil {
		return fail(err)
	}
	if err := b.Freeze(context.Background()); err == nil {
		fmt.Println("frozen without control groups?")
	}
	say.WriteString("go\n")
	io.Copy(os.Stdout, r)
	<-b.Done()
	if err := d.Close(); err != nil {
		return fail(err)
	}
	if err := p.Wait(); err != nil {
		return fail(err)
	}
	return 0
}

func TestRootless_GivesWhatUserNamespacesAllow(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "code"), []byte("the code\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for p := dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=rootless", "DAVY_TEST_DIR="+dir)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	}
	b, err := cmd.CombinedOutput()
	got := string(b)
	if strings.Contains(got, "namespaces cannot be made") || strings.Contains(got, "start the launcher") {
		t.Skipf("this machine gives users no namespaces: %s", got)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	for _, want := range []string{
		"missing: control groups", "missing: user ids", "missing: privilege separation", "the code\n",
		"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "2 processes", "unshare failed: Operation not permitted",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}
