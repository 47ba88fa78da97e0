package scratch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open gives a store on a real disk, or skips.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices and mounts need root")
	}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Ready == 0 {
		cfg.Ready = -1
	}
	s, err := Open(t.Context(), cfg)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func take(t testing.TB, s *Store, bytes int64) *Volume {
	t.Helper()
	v, err := s.Take(t.Context(), bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// create makes a file of a volume, reached by its mount.
func (v *Volume) create(t testing.TB, name string) (*os.File, error) {
	t.Helper()
	fd, err := unix.Openat(int(v.base.Fd()), name, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f, nil
}

// fill writes to a file until the volume takes no more.
func fill(t testing.TB, f *os.File) (n int64, err error) {
	t.Helper()
	block := make([]byte, 64<<10)
	for {
		k, err := f.Write(block)
		n += int64(k)
		if err != nil {
			return n, errors.Join(err, f.Sync())
		}
	}
}

func TestTake_GivesWhatWasAskedForAndLittleMore(t *testing.T) {
	s := open(t, Config{})
	for _, bytes := range []int64{MinBytes, 4 << 20, 48 << 20} {
		v := take(t, s, bytes)
		f, err := v.create(t, "full")
		if err != nil {
			t.Fatal(err)
		}
		n, err := fill(t, f)
		if !errors.Is(err, unix.ENOSPC) || n < bytes || n > bytes+bytes/8+1<<20 {
			t.Errorf("%d bytes: took %d, %v", bytes, n, err)
		}
	}
	// What functions have is not filled here, but counted.
	for _, bytes := range []int64{Usual, 10 << 30} {
		v := take(t, s, bytes)
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(v.base.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if n := int64(st.Bavail) * st.Bsize; n < bytes || n > bytes+bytes/32 {
			t.Errorf("%d bytes: %d available", bytes, n)
		}
		if n := v.onDisk(); n <= 0 || n > 4<<20 {
			t.Errorf("an empty volume of %d bytes takes %d of the disk", bytes, n)
		}
	}
	if _, err := s.Take(t.Context(), MaxBytes+1); err == nil {
		t.Error("more than the most")
	}
}

func TestTake_BoundsTheNumberOfFiles(t *testing.T) {
	v := take(t, open(t, Config{}), 8<<20)
	n := 0
	for ; n < 3000; n++ {
		fd, err := unix.Openat(int(v.base.Fd()), fmt.Sprint(n), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	if n < 900 || n > 2000 {
		t.Errorf("%d files", n)
	}
}

func TestVolume_IsEmptyAndOpenToAll(t *testing.T) {
	v := take(t, open(t, Config{}), 1<<20)
	dir, err := unix.Openat(int(v.base.Fd()), ".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(dir), ".")
	defer f.Close()
	if names, err := f.Readdirnames(-1); err != nil || len(names) > 0 {
		t.Errorf("%q, %v", names, err)
	}
	info, err := f.Stat()
	if err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// When the disk runs full, volumes take no new blocks, old and new volumes
// alike; what is written stays readable and can be overwritten; when there is
// room they go on.
func TestLook_StopsVolumesBeforeTheDiskIsFull(t *testing.T) {
	s := open(t, Config{ReserveBytes: 1 << 30})
	free := int64(5 << 30)
	s.space = func() (int64, error) { return free, nil }
	v := take(t, s, 64<<20)
	f, err := v.create(t, "f")
	if err != nil {
		t.Fatal(err)
	}
	write := func(f *os.File, at int64) error {
		_, err := f.WriteAt(make([]byte, 1<<20), at)
		return errors.Join(err, f.Sync())
	}
	if next := s.look(); next < soonest || next > latest {
		t.Errorf("next look in %v", next)
	}
	if err := write(f, 0); err != nil {
		t.Fatal(err)
	}
	free = 1<<30 + 1
	if next := s.look(); next != soonest {
		t.Errorf("next look in %v although there is little room", next)
	}
	free = 1 << 30
	s.look()
	if err := write(f, 8<<20); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if err := write(f, 0); err != nil {
		t.Errorf("overwrite: %v", err)
	}
	late := take(t, s, 64<<20)
	g, err := late.create(t, "g")
	if err == nil {
		err = write(g, 0)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a new volume: %v", err)
	}
	free = 1<<30 + 1<<26 // not enough to begin again
	s.look()
	if err := write(f, 8<<20); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a nearly full disk: %v", err)
	}
	free = 3 << 30
	s.look()
	if err := write(f, 8<<20); err != nil {
		t.Errorf("room again: %v", err)
	}
	if err := write(g, 0); err != nil {
		t.Errorf("room again: %v", err)
	}
}

// Before volumes are stopped the disk gets back what functions have deleted.
func TestLook_TrimsFirst(t *testing.T) {
	s := open(t, Config{ReserveBytes: 1 << 30})
	v := take(t, s, 64<<20)
	before := v.onDisk()
	s.space = func() (int64, error) { // 8 MiB are missing or not
		return 1<<30 + 4<<20 - (v.onDisk() - before), nil
	}
	f, err := v.create(t, "f")
	if err == nil {
		_, err = f.WriteAt(make([]byte, 8<<20), 0)
	}
	if err = errors.Join(err, f.Sync()); err != nil {
		t.Fatal(err)
	}
	if n := v.onDisk() - before; n < 8<<20 {
		t.Fatalf("the image has grown by %d only", n)
	}
	if err := errors.Join(f.Truncate(0), f.Sync()); err != nil {
		t.Fatal(err)
	}
	s.look()
	if n := v.onDisk() - before; n > 1<<20 || s.isLow() {
		t.Errorf("%d bytes still taken, low %v", n, s.isLow())
	}
}

// Nothing is made ready of the last blocks of a disk; who takes a volume gets
// one all the same.
func TestStock_LeavesANearlyFullDiskAlone(t *testing.T) {
	s := open(t, Config{ReserveBytes: 1 << 30, Ready: 2})
	free := int64(1<<26 - 1)
	s.space = func() (int64, error) { return free, nil }
	for _, want := range []int{0, 2} {
		if err := s.stock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(s.shelf[0].ready); got != want {
			t.Errorf("%d volumes are ready with %d bytes free, want %d", got, free, want)
		}
		take(t, s, 32<<20)
		free = 1 << 26
	}
}

// attached tells whether a loop device has a file of a directory: another
// program may have taken the device since.
func attached(number int, dir string) bool {
	file, err := os.ReadFile(filepath.Join("/sys/block/loop"+strconv.Itoa(number), "loop/backing_file"))
	return err == nil && strings.HasPrefix(string(file), dir)
}

// soon waits, with a bound, for what the kernel does by itself.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestClose_LeavesNothing(t *testing.T) {
	s := open(t, Config{})
	v := take(t, s, 32<<20)
	number := v.number
	if !attached(number, s.cfg.Dir) {
		t.Fatal("no loop device")
	}
	v.Close()
	v.Close()
	s.wg.Wait()
	soon(t, "the loop device stays", func() bool { return !attached(number, s.cfg.Dir) })
	if entries, err := os.ReadDir(s.cfg.Dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if _, err := v.Mount(os.Stdin); !errors.Is(err, os.ErrClosed) {
		t.Errorf("mount after close: %v", err)
	}
}

const roleDir = "DAVY_TEST_SCRATCH"

// TestMain plays a process that is killed while it has volumes.
func TestMain(m *testing.M) {
	dir := os.Getenv(roleDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	fail := func(err error) { fmt.Println(err); os.Exit(1) }
	d, err := os.Open(dir)
	if err != nil {
		fail(err)
	}
	s := &Store{dir: d, mkfs: "/sbin/mke2fs"}
	im, err := newImage(context.Background(), s.mkfs, d, 64<<20)
	if err != nil {
		fail(err)
	}
	v, err := s.make(im, 64<<20)
	if err != nil {
		fail(err)
	}
	fmt.Println(v.number)
	_, _ = io.ReadAll(os.Stdin)
}

func TestKilled_LeavesNothing(t *testing.T) {
	dir := open(t, Config{}).cfg.Dir
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleDir+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var number int
	if _, err := fmt.Fscan(out, &number); err != nil || !attached(number, dir) {
		t.Fatalf("device %d, %v", number, err)
	}
	if dio, err := os.ReadFile("/sys/block/loop" + strconv.Itoa(number) + "/loop/dio"); err != nil || string(dio) != "1\n" {
		t.Logf("no direct I/O on this file system: %q, %v", dio, err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	soon(t, "the loop device stays", func() bool { return !attached(number, dir) })
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestOpen_SaysWhyNot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	shm, err := os.MkdirTemp("/dev/shm", "davy-scratch-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.Remove(shm) })
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		shm:     "lies in memory",
		"/none": "no such file",
		link:    "not a directory",
		"/proc": "/proc",
	} {
		s, err := Open(t.Context(), Config{Dir: dir})
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
		if err == nil {
			s.close()
		}
	}
}

func TestRun_KeepsSomeReady(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := open(t, Config{Ready: 2})
	full := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, sh := range s.shelf {
			if want := []int{2, 1, 1}[i]; len(sh.ready) != want {
				return false
			}
		}
		return true
	}
	if err := s.stock(t.Context()); err != nil || !full() {
		t.Fatalf("not stocked, %v", err)
	}
	take(t, s, Usual)
	take(t, s, 600<<20)
	if full() {
		t.Fatal("nothing was taken")
	}
	if err := s.stock(t.Context()); err != nil || !full() {
		t.Fatalf("not stocked again, %v", err)
	}
	// Sizes that nobody asks for any more make place.
	for i := range int64(shelves) {
		take(t, s, (700+i)<<20)
	}
	if n := len(s.shelf); n != shelves || s.shelf[0].bytes != Usual || s.shelf[1].bytes != 701<<20 {
		t.Errorf("%d shelves", n)
	}
}
