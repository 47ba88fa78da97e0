package escape

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
)

// onDiskEach runs a test with each driver whose sandboxes have /tmp on disk.
func onDiskEach(t *testing.T, test func(t *testing.T, d sandbox.Driver, dir string)) {
	for _, e := range append([]sandboxtest.Engine{sandboxtest.Namespaces}, sandboxtest.Runtimes...) {
		t.Run(e.Name, func(t *testing.T) {
			dir := t.TempDir()
			d, _ := e.New(t, launcher.Config{ScratchDir: dir, Spares: -1, ScratchReady: -1})
			for _, m := range d.Missing() {
				if strings.HasPrefix(m, sandbox.MissingTmp) {
					t.Skip(m)
				}
			}
			test(t, d, dir)
		})
	}
}

// inTmp starts a script in a sandbox whose /tmp has a name.
func inTmp(t *testing.T, d sandbox.Driver, name, script string) (shell, error) {
	t.Helper()
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close(); in.Close() })
	b, err := d.Create(t.Context(), sandbox.Spec{
		ID: fmt.Sprint("kept-", serial.Add(1)), Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"},
		Dir: "/", Stdout: w, Stderr: w, Files: []*os.File{r}, Tmp: name, Limits: sandbox.Limits{MemoryBytes: 64 << 20, TmpBytes: 24 << 20},
	})
	w.Close()
	r.Close()
	return shell{b, out, in}, err
}

func runInTmp(t *testing.T, d sandbox.Driver, name, script string) (said string, x sandbox.Exit) {
	t.Helper()
	p, err := inTmp(t, d, name, script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.DropTmp)
	return p.rest(t), p.Exit()
}

// What a sandbox leaves in a /tmp with a name is there for the next with that
// name, as its own, whatever user ids that has; and for no other.
func TestTmpKept_ForTheNextWithItsNameOnly(t *testing.T) {
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, _ string) {
		before, x := runInTmp(t, d, "mine", `umask 077; mkdir /tmp/d; echo secret > /tmp/d/f; cat /proc/self/uid_map; kill -9 $$`)
		if !x.TmpKept || x.Signal == 0 {
			t.Fatalf("%+v", x)
		}
		if got, x := runInTmp(t, d, "other", `ls -A /tmp`); got != "" || x.TmpKept {
			t.Errorf("another name: %q, %+v", got, x)
		}
		if got, x := runInTmp(t, d, "", `ls -A /tmp; : > /tmp/f`); got != "" || x.TmpKept {
			t.Errorf("no name: %q, %+v", got, x)
		}
		got, x := runInTmp(t, d, "mine", `cat /tmp/d/f; stat -c '%u:%g %a' /tmp/d /tmp/d/f /tmp; echo more >> /tmp/d/f && cat /tmp/d/f | wc -l; cat /proc/self/uid_map; rm -r /tmp/d`)
		want := "secret\n993:990 700\n993:990 600\n0:0 1777\n2\n"
		if !strings.HasPrefix(got, want) {
			t.Errorf("the same name: %q, want %q", got, want)
		}
		if after := strings.TrimPrefix(got, want); after == before {
			t.Errorf("the test shows nothing: both had the user ids %q", after)
		}
		if x.TmpKept {
			t.Error("an empty /tmp waits")
		}
	})
}

// One sandbox at a time has it: not the next before the end of the last.
func TestTmpKept_IsOneSandboxsAtATime(t *testing.T) {
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, _ string) {
		p, err := inTmp(t, d, "one", `echo up; while :; do echo x >> /tmp/log; done`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p.out, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if q, err := inTmp(t, d, "one", `ls /tmp`); err == nil {
			t.Errorf("two at a time: the second sees %q", q.rest(t))
		} else if !strings.Contains(err.Error(), "in use") {
			t.Error(err)
		}
		p.Kill()
		<-p.Done()
		if got, _ := runInTmp(t, d, "one", `test -s /tmp/log && echo there`); got != "there" {
			t.Errorf("after the end: %q", got)
		}
	})
}

// A process of a dead sandbox that would go on with its files is dead too.
func TestTmpKept_NoProcessIsLeftAtIt(t *testing.T) {
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, _ string) {
		const writer = `setsid sh -c 'exec >> /tmp/log; while :; do echo x; done' & while ! test -s /tmp/log; do :; done; `
		const size = `stat -c %s /tmp/log`
		if got, _ := runInTmp(t, d, "w", writer+`a=$(`+size+`); while test $(`+size+`) -eq $a; do :; done; echo grows; kill -9 $$`); got != "grows" {
			t.Fatalf("the test shows nothing: the file %q", got)
		}
		const grows = `a=$(` + size + `); i=0; while test $i -lt 20000; do i=$((i+1)); done; test $a -lt $(` + size + `) && echo grows || echo still`
		if got, _ := runInTmp(t, d, "w", grows); got != "still" {
			t.Errorf("in the next sandbox the file %s", got)
		}
	})
}

// Whatever a sandbox leaves, the launcher follows none of it, and it gives the
// next no right.
func TestTmpKept_HostileContent(t *testing.T) {
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, _ string) {
		made, _ := runInTmp(t, d, "h", `cd /tmp; ln -s / root; ln -s /proc/self/fd fds; ln -s loop loop; mkfifo pipe; mkdir lost+found
			cp /usr/bin/id id; chmod 6755 id; mkdir -p deep; chmod 000 deep
			mknod dev b 7 0 2>/dev/null && echo device; chattr +i id 2>/dev/null && echo immutable; chown 0:0 id 2>/dev/null && echo owner
			setfattr -n trusted.x -v y id 2>/dev/null && echo trusted; setcap cap_sys_admin+ep id 2>/dev/null && echo capable
			mount -t tmpfs x /tmp/deep 2>/dev/null && echo mounted
			perl -e 'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("/tmp/socket")) or die' || true
			i=0; while test $i -lt 300; do mkdir x 2>/dev/null && cd x || break; i=$((i+1)); done; kill -9 $$`)
		if made != "" {
			t.Errorf("could make: %q", made)
		}
		got, x := runInTmp(t, d, "h", `cd /tmp; ls -A | tr '\n' ' '; /tmp/id -u; grep -E '^(CapPrm|NoNewPrivs)' /proc/self/status | tr -s '\t\n' ' '
			grep -c ' /tmp rw,nosuid,nodev' /proc/self/mountinfo; grep -c ' /tmp/' /proc/self/mountinfo`)
		want := "deep fds id loop lost+found pipe root socket x 993\nCapPrm: 0000000000000000 NoNewPrivs: 1 1\n0"
		if got != want || !x.TmpKept {
			t.Errorf("%q, want %q (%+v)", got, want, x)
		}
	})
}

func TestTmpKept_HasTheSizeItHad(t *testing.T) {
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, _ string) {
		runInTmp(t, d, "s", `dd if=/dev/zero of=/tmp/a bs=1M count=20 2>/dev/null`)
		got, _ := runInTmp(t, d, "s", `dd if=/dev/zero of=/tmp/b bs=1M count=10 2>&1 | grep -o 'No space left'; rm /tmp/a; dd if=/dev/zero of=/tmp/b bs=1M count=20 2>&1 | grep -c 'No space'`)
		if got != "No space left\n0" {
			t.Errorf("%q", got)
		}
		_, err := d.Create(t.Context(), sandbox.Spec{ID: "other", Args: []string{"/bin/true"}, Tmp: "s", Limits: sandbox.Limits{TmpBytes: 64 << 20}})
		if err == nil || !strings.Contains(err.Error(), "another size") {
			t.Errorf("another size: %v", err)
		}
		if got, _ := runInTmp(t, d, "s", `ls /tmp`); got != "b" { // that it was refused has cost nothing
			t.Errorf("%q", got)
		}
	})
}

// A sandbox that cannot be made leaves what waits for it.
func TestTmpKept_OutlivesACreateThatFails(t *testing.T) {
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, _ string) {
		runInTmp(t, d, "f", `echo kept > /tmp/x`)
		if _, err := d.Create(t.Context(), sandbox.Spec{ID: "fails", Args: []string{"/bin/none"}, Tmp: "f", Limits: sandbox.Limits{TmpBytes: 24 << 20}}); err == nil {
			t.Fatal("no error")
		}
		if got, _ := runInTmp(t, d, "f", `cat /tmp/x`); got != "kept" {
			t.Errorf("%q", got)
		}
	})
}

func TestTmpKept_GoesWhenItIsDropped(t *testing.T) {
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, dir string) {
		p, err := inTmp(t, d, "g", `: > /tmp/f`)
		if err != nil {
			t.Fatal(err)
		}
		p.rest(t)
		if n := len(images(t, dir)); n != 1 || !p.Exit().TmpKept {
			t.Fatalf("%d images, %+v", n, p.Exit())
		}
		p.DropTmp()
		p.DropTmp()
		goneSoon(t, dir)
		// While it is in use it goes with the sandbox.
		p, err = inTmp(t, d, "g", `ls -A /tmp; : > /tmp/f; echo up; read x <&3`)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 3)
		if _, err := io.ReadFull(p.out, b); err != nil || string(b) != "up\n" {
			t.Fatalf("%q, %v", b, err)
		}
		p.DropTmp()
		if _, err := p.Usage(t.Context()); err != nil { // the drop was before
			t.Fatal(err)
		}
		p.Kill()
		<-p.Done()
		goneSoon(t, dir)
	})
}

// What the launcher kept does not outlive it, whatever ends it.
func TestTmpKept_GoesWithTheLauncher(t *testing.T) {
	dir := t.TempDir()
	d, l := onDisk(t, launcher.Config{ScratchDir: dir})
	p, err := inTmp(t, d, "l", `: > /tmp/f`)
	if err != nil {
		t.Fatal(err)
	}
	p.rest(t)
	if n := len(images(t, dir)); n != 1 {
		t.Fatalf("%d images", n)
	}
	if err := unix.Kill(l.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-l.Done()
	goneSoon(t, dir)
}

// A file system that the kernel found damaged is lost, not the next sandbox.
func TestTmpKept_DamagedIsReplaced(t *testing.T) {
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, dir string) {
		runInTmp(t, d, "d", `head -c 8388608 /dev/zero > /tmp/f`)
		// The one that has the file was written to: another may wait empty.
		loop, most := "", int64(-1)
		for _, image := range images(t, dir) {
			name := filepath.Base(filepath.Dir(filepath.Dir(image)))
			kb, err := os.ReadFile(filepath.Join("/sys/fs/ext4", name, "session_write_kbytes"))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(kb)), 10, 64); err == nil && bad == nil && n > most {
				loop, most = name, n
			}
		}
		if err := os.WriteFile(filepath.Join("/sys/fs/ext4", loop, "trigger_fs_error"), []byte("1"), 0o200); err != nil {
			t.Skip(err)
		}
		if got, _ := runInTmp(t, d, "d", `ls -A /tmp; echo new > /tmp/f; cat /tmp/f`); got != "new" {
			t.Errorf("%q", got)
		}
	})
}
