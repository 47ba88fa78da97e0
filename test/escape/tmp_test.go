package escape

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
	"davy/test/davytest"
)

func init() {
	// A database's way of writing: a mapped file, larger than the memory, all
	// of whose pages are changed twice.
	probes["map-file"] = func(a []string) error {
		n, err := strconv.Atoi(a[0])
		if err != nil {
			return err
		}
		f, err := os.Create("/tmp/mapped")
		if err == nil {
			err = f.Truncate(int64(n))
		}
		if err != nil {
			return err
		}
		b, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		for round := range 2 {
			for i := 0; i < n; i += 4096 {
				b[i] += byte(round + 1)
			}
		}
		for i := 0; i < n; i += 4096 {
			if b[i] != 3 {
				return fmt.Errorf("page %d holds %d", i/4096, b[i])
			}
		}
		return nil
	}
}

// onDisk gives a driver whose sandboxes have /tmp on disk, or skips.
func onDisk(t *testing.T, cfg launcher.Config) (sandbox.Driver, *launcher.Process) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if cfg.ScratchDir == "" {
		cfg.ScratchDir = t.TempDir()
	}
	cfg.Spares, cfg.ScratchReady = -1, -1
	d, p := sandboxtest.New(t, cfg)
	for _, m := range d.Missing() {
		if strings.HasPrefix(m, sandbox.MissingTmp) {
			t.Skip(m)
		}
	}
	return d, p
}

// shell is a sandbox that runs a script; what it prints can be read.
type shell struct {
	sandbox.Sandbox
	out *os.File
	in  *os.File // what it reads from descriptor 3
}

func runShell(t *testing.T, d sandbox.Driver, l sandbox.Limits, script string, mounts ...sandbox.Mount) shell {
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
		ID: fmt.Sprint("shell-", serial.Add(1)), Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"},
		Dir: "/", Stdout: w, Stderr: w, Files: []*os.File{r}, Limits: l, Mounts: mounts,
	})
	w.Close()
	r.Close()
	if err != nil {
		t.Fatal(err)
	}
	return shell{b, out, in}
}

// rest is what it prints until it ends.
func (s shell) rest(t *testing.T) string {
	t.Helper()
	b, err := io.ReadAll(s.out)
	if err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	return strings.TrimSpace(string(b))
}

const writeMuch = `for i in 1 2 3 4; do dd if=/dev/zero of=/tmp/$i bs=1M count=100 2>/dev/null & done
	wait; set -- $(du -sm /tmp); echo $1`

// A function writes six times its memory into /tmp, with four writers at full
// speed, in several sandboxes at once. In memory that kills it.
func TestTmp_IsNotMemory(t *testing.T) {
	limits := sandbox.Limits{MemoryBytes: 64 << 20, TmpBytes: 512 << 20}
	d, _ := onDisk(t, launcher.Config{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			p := runShell(t, d, limits, writeMuch)
			if got := p.rest(t); (got != "400" && got != "401") || p.Exit().OOMKilled {
				t.Errorf("wrote %q MB, %+v", got, p.Exit())
			}
		})
	}
	wg.Wait()
	inMemory, _ := sandboxtest.New(t, launcher.Config{Spares: -1})
	if p := runShell(t, inMemory, limits, writeMuch); p.rest(t) == "400" || !p.Exit().OOMKilled {
		t.Error("cannot fail: a /tmp in memory takes as much")
	}
}

func TestTmp_MappedFilesAreNotMemory(t *testing.T) {
	w := newWorld(t)
	cfg := config(w, 0)
	d, _ := onDisk(t, cfg)
	inMemory, _ := sandboxtest.New(t, cfg)
	r := row{probe: []string{"map-file", strconv.Itoa(300 << 20)}}
	limits := sandbox.Limits{MemoryBytes: 64 << 20, TmpBytes: 512 << 20, PIDs: 64, OpenFiles: 1024}
	if got := tryWithin(t, d, w, 0, r, limits); got != reached {
		t.Errorf("%q", got)
	}
	if got := tryWithin(t, inMemory, w, 0, r, limits); got != "killed for memory" {
		t.Errorf("cannot fail: in memory it is %q", got)
	}
}

func TestTmp_IsTheSandboxsOwnAndBounded(t *testing.T) {
	d, _ := onDisk(t, launcher.Config{})
	limits := sandbox.Limits{MemoryBytes: 64 << 20, TmpBytes: 24 << 20}
	for _, tc := range []struct{ name, script, want string }{
		{"owner", `: > /tmp/f; mkdir /tmp/d; stat -c %u:%g /tmp /tmp/f /tmp/d | tr '\n' ' '`, "0:0 993:990 993:990"},
		{"empty", `ls -A /tmp; stat -c %a /tmp`, "1777"},
		{"size", `dd if=/dev/zero of=/tmp/f bs=1M 2>&1 | grep -o 'No space left on device'; m=$(stat -c %s /tmp/f); test $m -ge 25165824 -a $m -le 27000000 && echo right || echo $m`, "No space left on device\nright"},
		{"files", `i=0; while true 2>/dev/null > /tmp/f$i; do i=$((i+1)); test $i -gt 9000 && break; done 2>/dev/null; test $i -gt 3000 -a $i -lt 9000 && echo bounded || echo $i`, "bounded"},
		{"renames across directories", `mkdir /tmp/a /tmp/b; echo x > /tmp/a/f; mv /tmp/a/f /tmp/b/g; ln /tmp/b/g /tmp/a/h; cat /tmp/a/h`, "x"},
		{"runs programs", `cp /bin/echo /tmp/e; /tmp/e runs`, "runs"},
		{"mount", `grep -c ' /tmp rw,nosuid,nodev,.*- ext4 ' /proc/self/mountinfo`, "1"},
		{"no device", `ls /dev | grep -c loop; ls /sys | wc -l`, "0\n0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := runShell(t, d, limits, tc.script).rest(t); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// A /tmp on disk has its size for good.
func TestTmp_KeepsItsSize(t *testing.T) {
	d, _ := onDisk(t, launcher.Config{})
	p := runShell(t, d, sandbox.Limits{}, `read x <&3; df -m --output=avail /tmp | tail -1`)
	if err := p.Limit(t.Context(), sandbox.Limits{TmpBytes: 512 << 20, CPUMilli: 500}); err != nil {
		t.Errorf("the size it has: %v", err)
	}
	if err := p.Limit(t.Context(), sandbox.Limits{TmpBytes: 800 << 20}); err == nil || !strings.Contains(err.Error(), "cannot change") {
		t.Errorf("another size: %v", err)
	}
	fmt.Fprintln(p.in, "go")
	if mb, err := strconv.Atoi(p.rest(t)); err != nil || mb < 512 || mb > 530 {
		t.Errorf("%d MB, %v", mb, err)
	}
}

// images lists the loop devices that have a file below dir.
func images(t *testing.T, dir string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(b), dir+"/") {
			found = append(found, f)
		}
	}
	return found
}

func goneSoon(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(davytest.Limit); len(images(t, dir)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("left: %v", images(t, dir))
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestTmp_GoesWithItsSandbox(t *testing.T) {
	dir := t.TempDir()
	d, l := onDisk(t, launcher.Config{ScratchDir: dir})
	write := `dd if=/dev/zero of=/tmp/f bs=1M count=40 2>/dev/null; echo done; sleep 1000`
	start := func() shell {
		p := runShell(t, d, sandbox.Limits{TmpBytes: 64 << 20}, write)
		if _, err := p.out.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, b := start(), start()
	if n := len(images(t, dir)); n != 2 {
		t.Fatalf("%d images", n)
	}
	a.Kill()
	<-a.Done()
	b.Kill()
	<-b.Done()
	goneSoon(t, dir)
	// A launcher that is killed takes its volumes along.
	start()
	if n := len(images(t, dir)); n != 1 {
		t.Fatalf("%d images", n)
	}
	if err := unix.Kill(l.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-l.Done()
	goneSoon(t, dir)
}

// A sandbox finds nothing of another's files, whichever volume it gets.
func TestTmp_IsEmptyForTheNext(t *testing.T) {
	d, _ := onDisk(t, launcher.Config{})
	secret := "what-the-first-wrote"
	runShell(t, d, sandbox.Limits{TmpBytes: 8 << 20}, `yes `+secret+` | head -c 6000000 > /tmp/f; sync`).rest(t)
	got := runShell(t, d, sandbox.Limits{TmpBytes: 8 << 20}, `ls -A /tmp; fallocate -l 6000000 /tmp/f; grep -c `+secret+` /tmp/f`).rest(t)
	if got != "0" {
		t.Errorf("%q", got)
	}
}
