package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
)

// The tests named Real need a machine whose control groups are version 2;
// `make test-cgroup2` boots one.

const roleVariable = "DAVY_CGROUP_TEST_ROLE"

func TestMain(m *testing.M) {
	if r := os.Getenv(roleVariable); r != "" {
		fmt.Println(play(r))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is what a process in a group does. It begins when its input says so.
func play(role string) string {
	in := bufio.NewReader(os.Stdin)
	_, _ = in.ReadString('\n')
	role, argument, _ := strings.Cut(role, " ")
	switch role {
	case "spin":
		for unix.Getppid() >= 0 {
		}
	case "hog":
		b, err := unix.Mmap(-1, 0, 200<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
		return fmt.Sprint(len(b), err)
	case "fork":
		for n := range 50 {
			if _, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{}); err != nil {
				return fmt.Sprint(n, " ", err)
			}
		}
		return "50"
	case "open":
		fd, err := unix.Open(argument, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err == nil {
			unix.Close(fd)
		}
		return fmt.Sprint(err)
	case "mknod":
		return fmt.Sprint(unix.Mknod(argument, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	}
	_, _ = in.ReadString('\n') // until the end of the input
	return "end"
}

// onV2 opens a tree, on a machine whose controllers are version 2's.
func onV2(t *testing.T, instance string) *Tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	tree, err := Open(Config{Instance: instance})
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(tree.Sweep(), tree.Close()); err != nil {
			t.Error(err)
		}
	})
	if !tree.v2 {
		t.Skip("the controllers are version 1's")
	}
	return tree
}

func newGroup(t *testing.T, tree *Tree, l sandbox.Limits, devices bool) *Group {
	t.Helper()
	g, err := tree.New("box", l, devices)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Kill()
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	return g
}

type actor struct {
	*exec.Cmd
	say io.WriteCloser
	out *bufio.Reader
}

// enter starts a process in the group.
func enter(t *testing.T, g *Group, role string) *actor {
	t.Helper()
	entry, err := g.Entry()
	if err != nil || entry == nil {
		t.Fatal(entry, err)
	}
	defer entry.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{roleVariable + "=" + role}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(entry.Fd())}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{cmd, in, bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		in.Close()
		_ = cmd.Wait()
	})
	return a
}

func (a *actor) begin(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(a.say, "begin\n"); err != nil {
		t.Fatal(err)
	}
}

// last is what the process said, up to its end.
func (a *actor) last(t *testing.T) string {
	t.Helper()
	b, err := io.ReadAll(a.out)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func kernelSays(t *testing.T, g *Group, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir[""], file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestReal_TheKernelTakesTheLimits(t *testing.T) {
	tree := onV2(t, "real-limits")
	for _, s := range tree.Missing() {
		if !strings.Contains(s, "before 6.12") { // what this kernel may lack
			t.Errorf("missing: %s", s)
		}
	}
	g := newGroup(t, tree, sandbox.Limits{MemoryBytes: 64 << 20, CPUMilli: 250, CPUWeight: 20, PIDs: 9}, true)
	want := map[string]string{
		"memory.max": "67108864", "memory.oom.group": "1", "cpu.max": "5000 20000", "cpu.weight": "20", "pids.max": "9",
	}
	if g.has("memory.swap.max") { // not without CONFIG_SWAP
		want["memory.swap.max"] = "0"
	}
	for file, v := range want {
		if got := kernelSays(t, g, file); got != v {
			t.Errorf("%s = %q, want %q", file, got, v)
		}
	}
	if err := g.Limit(sandbox.Limits{MemoryBytes: 128 << 20, CPUMilli: 4000}); err != nil {
		t.Error(err)
	}
	if got := kernelSays(t, g, "memory.max") + ", " + kernelSays(t, g, "cpu.max"); got != "134217728, 80000 20000" {
		t.Errorf("a later limit: %s", got)
	}
}

func TestReal_LimitsBite(t *testing.T) {
	tree := onV2(t, "real-bite")
	t.Run("memory kills the whole group", func(t *testing.T) {
		g := newGroup(t, tree, sandbox.Limits{MemoryBytes: 32 << 20}, false)
		bystander := enter(t, g, "sleep")
		hog := enter(t, g, "hog")
		hog.begin(t)
		if got := hog.last(t) + bystander.last(t); got != "" {
			t.Errorf("said %q", got)
		}
		for _, a := range []*actor{hog, bystander} {
			if err := a.Wait(); a.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Errorf("ended with %v", err)
			}
		}
		if g.OOMKills() == 0 {
			t.Error("no kill is counted")
		}
		if u, err := g.Usage(); err != nil || u.MemoryPeakBytes < 16<<20 || u.MemoryPeakBytes > 32<<20 {
			t.Errorf("usage = %+v, %v", u, err)
		}
	})
	t.Run("processes", func(t *testing.T) {
		g := newGroup(t, tree, sandbox.Limits{PIDs: 20}, false)
		a := enter(t, g, "fork")
		a.begin(t)
		line, err := a.out.ReadString('\n')
		if err != nil || !strings.Contains(line, "temporarily unavailable") {
			t.Errorf("said %q, %v", line, err)
		}
	})
	t.Run("processor time", func(t *testing.T) {
		g := newGroup(t, tree, sandbox.Limits{CPUMilli: 50}, false)
		enter(t, g, "spin").begin(t)
		// It ends when the kernel has held the process up; the test's own
		// time limit is the bound.
		for {
			n, err := readKey(filepath.Join(g.dir[""], "cpu.stat"), "nr_throttled")
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				return
			}
		}
	})
}

func TestReal_FreezeAndKill(t *testing.T) {
	tree := onV2(t, "real-freeze")
	g := newGroup(t, tree, sandbox.Limits{}, false)
	a := enter(t, g, "spin")
	a.begin(t)
	for range 3 {
		if err := g.Freeze(); err != nil {
			t.Fatal(err)
		}
		if got := kernelSays(t, g, "cgroup.events"); !strings.Contains(got, "frozen 1") {
			t.Errorf("events: %q", got)
		}
		if err := g.Thaw(); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	g.Kill() // frozen
	if got := a.last(t); got != "" {
		t.Errorf("said %q", got)
	}
	// Removal waits until the group is empty, also before anybody has waited
	// for its processes.
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

func TestReal_StartsInItsGroup(t *testing.T) {
	tree := onV2(t, "real-entry")
	g := newGroup(t, tree, sandbox.Limits{}, false)
	a := enter(t, g, "sleep")
	if got := kernelSays(t, g, "cgroup.procs"); got != fmt.Sprint(a.Process.Pid) {
		t.Errorf("in the group: %q, want %d", got, a.Process.Pid)
	}
	if err := g.Complete(a.Process.Pid); err != nil {
		t.Error(err)
	}
	other, err := tree.New("other", sandbox.Limits{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Add(a.Process.Pid); err != nil || kernelSays(t, g, "cgroup.procs") != "" {
		t.Errorf("moved: %v", err)
	}
}

// The device filter allows what the list allows, and without it all is
// reached.
func TestReal_Devices(t *testing.T) {
	tree := onV2(t, "real-devices")
	dir := t.TempDir()
	node := func(name string, kind uint32, major, minor uint32) string {
		p := filepath.Join(dir, name)
		if err := unix.Mknod(p, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
			t.Fatal(err)
		}
		return p
	}
	const char, block = unix.S_IFCHR, unix.S_IFBLK
	const denied = "operation not permitted"
	for _, tc := range []struct{ name, role, within, without string }{
		{"null", "open " + node("null", char, 1, 3), "<nil>", "<nil>"},
		{"zero", "open " + node("zero", char, 1, 5), "<nil>", "<nil>"},
		{"full", "open " + node("full", char, 1, 7), "<nil>", "<nil>"},
		{"random", "open " + node("random", char, 1, 8), "<nil>", "<nil>"},
		{"urandom", "open " + node("urandom", char, 1, 9), "<nil>", "<nil>"},
		{"port", "open " + node("port", char, 1, 4), denied, ""},
		{"kmsg", "open " + node("kmsg", char, 1, 11), denied, "<nil>"},
		{"terminal", "open " + node("ptmx", char, 5, 2), denied, ""},
		{"another major", "open " + node("other", char, 2, 3), denied, ""},
		{"network tunnel", "open " + node("tun", char, 10, 200), denied, ""},
		{"block device of the same number", "open " + node("block", block, 1, 3), denied, ""},
		{"make a node", "mknod " + filepath.Join(dir, "made"), denied, "<nil>"},
	} {
		for _, filtered := range []bool{true, false} {
			want := tc.without
			if filtered {
				want = tc.within
			}
			g := newGroup(t, tree, sandbox.Limits{}, filtered)
			a := enter(t, g, tc.role)
			a.begin(t)
			got := a.last(t)
			switch {
			case want != "" && got != want:
				t.Errorf("%s, filter %v: %s, want %s", tc.name, filtered, got, want)
			case want == "" && got == denied:
				t.Errorf("%s: refused without the filter as well: the test shows nothing", tc.name)
			}
			g.Kill()
			if err := g.Remove(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A successor finds the groups of a launcher that was killed, wherever this
// process is by then.
func TestReal_SuccessorFindsWhatWasLeft(t *testing.T) {
	first := onV2(t, "real-successor")
	g, err := first.New("left", sandbox.Limits{}, true)
	if err != nil {
		t.Fatal(err)
	}
	a := enter(t, g, "sleep")
	// As the kernel does for a killed process.
	first.lock.Close()
	first.devices.close()
	next, err := Open(Config{Instance: "real-successor"})
	if err != nil {
		t.Fatal(err)
	}
	if next.base[""] != first.base[""] {
		t.Errorf("went to %s, its predecessor to %s", next.base[""], first.base[""])
	}
	if err := next.Sweep(); err != nil {
		t.Error(err)
	}
	if got := a.last(t); got != "" || exists(g.dir[""]) {
		t.Errorf("the process said %q; group there: %v", got, exists(g.dir[""]))
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	first.lock, first.devices, first.base = next.lock, nil, nil // for the clean-up
}

// The group goes below a service's own, and to the top from a login session,
// whose processes stay. DAVY_CGROUP_TEST_PLACE says which.
func TestReal_Place(t *testing.T) {
	before := readFields("/proc/self/cgroup")
	tree := onV2(t, "real-place")
	want := os.Getenv("DAVY_CGROUP_TEST_PLACE")
	if want == "" {
		t.Skip("nobody says where this is")
	}
	l, err := detect("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Dir(tree.base[""])
	moved := filepath.Base(l.v2.own()) == servicesLeaf
	switch want {
	case "own":
		if !moved || parent != filepath.Dir(l.v2.own()) {
			t.Errorf("the base group is in %s, this process in %s", parent, l.v2.own())
		}
	case "top":
		if moved || parent != l.v2.mount || !slices.Equal(before, readFields("/proc/self/cgroup")) {
			t.Errorf("the base group is in %s, this process in %s, before in %s", parent, l.v2.own(), before)
		}
	default:
		t.Fatalf("no place %q", want)
	}
}

// Below a group that has less, as a container of half a processor is, a
// sandbox has what that group has.
func TestQuota_BelowASmallerOne(t *testing.T) {
	l, err := detect("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	h, ok := l.v1["cpu"]
	if os.Geteuid() != 0 || !ok {
		t.Skip("needs root, and version 1 of the controller cpu")
	}
	outer := filepath.Join(h.own(), fmt.Sprint("quota-test-", os.Getpid()))
	inner := filepath.Join(outer, "box")
	for _, dir := range []string{outer, inner} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("no control groups here: %v", err)
		}
		t.Cleanup(func() { _ = unix.Rmdir(dir) })
	}
	around := &Group{t: &Tree{}, dir: map[string]string{"cpu": outer}}
	g := &Group{t: &Tree{}, dir: map[string]string{"cpu": inner}}
	quota := func(limit int64) string {
		t.Helper()
		if err := g.Limit(sandbox.Limits{CPUMilli: limit}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(inner, "cpu.cfs_quota_us"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	if got := quota(500); got != "10000" {
		t.Errorf("half a processor of all: %s", got)
	}
	if err := g.Limit(sandbox.Limits{CPUMilli: 100}); err != nil {
		t.Fatal(err)
	}
	if err := around.Limit(sandbox.Limits{CPUMilli: 200}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		limit int64
		want  string
	}{{2000, "-1"}, {150, "3000"}, {201, "-1"}} {
		if got := quota(tc.limit); got != tc.want {
			t.Errorf("%d of 200 thousandths of a processor: quota %s, want %s", tc.limit, got, tc.want)
		}
	}
}

// A container's tree is often mounted read-only.
func TestUnwritable_IsSaid(t *testing.T) {
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil || st.Flags&unix.ST_RDONLY == 0 {
		t.Skip("the control groups can be written")
	}
	_, err := Open(Config{Instance: "real-unwritable"})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("open: %v", err)
	}
}
