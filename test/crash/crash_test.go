package crash

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writer is a process under test.
type writer struct {
	cmd   *exec.Cmd
	out   *os.File
	first string // its first acknowledgement: it works
}

func startWriter(t *testing.T, dir, round string, env ...string) *writer {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// A full pipe would stop the writer: this holds what a round can say.
	if _, err := unix.FcntlInt(r.Fd(), unix.F_SETPIPE_SZ, 1<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), append(env, envDir+"="+dir, envRound+"="+round)...)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p := &writer{cmd: cmd, out: r}
	if p.first, err = bufio.NewReaderSize(oneByte{r}, 16).ReadString('\n'); err != nil {
		t.Fatalf("the writer says nothing: %v", err)
	}
	return p
}

// oneByte reads no further than it is asked for.
type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:1]) }

// kill ends the writer as kill -9 does and returns all that it said.
func (p *writer) kill(t *testing.T) string {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the writer ended by itself: %v", err)
	}
	if err := p.out.Close(); err != nil {
		t.Fatal(err)
	}
	return p.first + string(rest)
}

// pause lets the writer work for a random time: the moment of a crash is the
// one thing here that must not be an event.
func pause(least, most time.Duration) {
	<-time.After(least + rand.N(most-least))
}

func TestKill_NothingAcknowledgedIsLost(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	said := acks{}
	for round := 0; round < rounds || len(said["d"]) == 0 || len(said["l"]) == 0; round++ {
		p := startWriter(t, dir, fmt.Sprint(round))
		pause(0, 400*time.Millisecond)
		said.add(p.kill(t))
	}
	found := verify(t, dir, said, true)
	t.Log(rounds, "kills;", found)
	if len(found.missing)+len(found.halves) > 0 {
		t.Fail()
	}
	if found.batches < rounds || found.done == 0 || found.lines == 0 {
		t.Fatal("the writers did too little to prove anything")
	}
}

// The test above would be worthless if it could not see loss: forget an
// acknowledged batch and tear another.
func TestVerify_SeesLoss(t *testing.T) {
	dir := t.TempDir()
	p := startWriter(t, dir, "0")
	pause(100*time.Millisecond, 200*time.Millisecond)
	said := acks{}
	said.add(p.kill(t))
	said.add("a never-1\nd never-2\nl never-3\na torn")
	if found := verify(t, dir, said, true); len(found.missing) != 3 || len(found.halves) != 0 {
		t.Fatal(found)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "??", "*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(blobs, err)
	}
	for _, b := range blobs {
		if err := os.Truncate(b, 10); err != nil {
			t.Fatal(err)
		}
	}
	if found := verify(t, dir, said, true); len(found.halves) == 0 {
		t.Fatal("shortened blobs go unseen")
	}
}

func TestPowerLoss_NothingAcknowledgedIsLost(t *testing.T) {
	found := losePower(t, true)
	t.Log(found)
	if len(found.missing)+len(found.halves) > 0 {
		t.Fail()
	}
}

// The control: the same store told not to sync loses acknowledged batches, so
// the model sees what it is meant to see.
func TestPowerLoss_ControlWithoutSyncLoses(t *testing.T) {
	// NORMAL syncs at checkpoints: a crash right behind one loses nothing.
	for range 6 {
		found := losePower(t, false, envSync+"=NORMAL", envParts+"=state")
		t.Log(found)
		if len(found.missing) > 0 {
			return
		}
	}
	t.Fatal("nothing is lost without syncs: the test cannot see loss")
}

// losePower runs a writer on a file system in an image, stops it, copies the
// image as it is, and verifies the copy: what the page cache held is gone, as
// after a loss of power. The copy is not taken at one instant, and the cache of
// the drive is not modelled.
func losePower(t *testing.T, all bool, env ...string) damage {
	t.Helper()
	if testing.Short() {
		t.Skip("writes an image of 192 MB")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount images")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	base, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	image, copied := filepath.Join(base, "image"), filepath.Join(base, "copy")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 192<<20)); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", image)
	live := mount(t, image, filepath.Join(base, "live"))

	p := startWriter(t, filepath.Join(live, "data"), "0", env...)
	pause(1500*time.Millisecond, 2*time.Second)
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	run(t, "cp", "--sparse=always", image, copied)
	said := acks{}
	said.add(p.kill(t)) // it was stopped: all it said is from before the copy

	dir := mount(t, copied, filepath.Join(base, "after"))
	return verify(t, filepath.Join(dir, "data"), said, all)
}

// mount mounts an image until the test ends; it skips where that is not
// allowed, as in most containers.
func mount(t *testing.T, image, at string) string {
	t.Helper()
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		t.Skipf("cannot mount an image here: %v: %s", err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() { // after the test's context has ended
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return at
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
