package escape

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
	"davy/internal/sandbox/wire"
)

func TestMain(m *testing.M) {
	playProbe()
	launcher.AllowAblation()
	launcher.Main()
	os.Exit(m.Run())
}

// onHost as the ablation of a row: it gets through outside of any sandbox, as
// an ordinary user unless the probe needs more.
const (
	onHost     wire.Ablation = 1 << 31
	onHostRoot wire.Ablation = 1 << 30
)

// world is what the hostile programs try to reach.
type world struct {
	dir    string // an allowed root; world-writable, with the probe program
	secret string // a file of the host that everyone may read
	tcp    string
	unix   string // abstract
	shm    int
	host   string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), shm: 0x64000000 | os.Getpid()} // of this run only
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(w.dir, 0o777))
	must(os.Chmod(filepath.Dir(w.dir), 0o755))
	copyFile(t, "/proc/self/exe", filepath.Join(w.dir, "probe"), 0o755)
	copyFile(t, "/bin/dash", filepath.Join(w.dir, "suid"), 0o755)
	must(os.Chmod(filepath.Join(w.dir, "suid"), 0o755|os.ModeSetuid))
	must(unix.Mknod(filepath.Join(w.dir, "zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	must(os.Chmod(filepath.Join(w.dir, "zero"), 0o666))
	outside := t.TempDir()
	must(os.Chmod(outside, 0o755))
	w.secret = filepath.Join(outside, "secret")
	must(os.WriteFile(w.secret, []byte("secret"), 0o644))

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	t.Cleanup(func() { tcp.Close() })
	w.tcp = tcp.Addr().String()
	w.unix = fmt.Sprintf("@davy-escape-%d", os.Getpid())
	ul, err := net.Listen("unix", w.unix)
	must(err)
	t.Cleanup(func() { ul.Close() })
	id, err := unix.SysvShmGet(w.shm, 4096, unix.IPC_CREAT|0o666)
	must(err)
	t.Cleanup(func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
	w.host, err = os.Hostname()
	must(err)
	return w
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// row is one attempt.
type row struct {
	name    string
	defence string   // what stops it
	probe   []string // name and arguments
	stopped string   // part of what the probe then says
	ablate  wire.Ablation
	// layered: with only this left out, a second layer still stops the
	// attempt, with this text.
	first  wire.Ablation
	second string
	// on says where an engine differs.
	on map[string]differs
}

// anyhow: how an attempt is stopped differs from time to time.
const anyhow = "anyhow"

// differs is how a row reads on another engine, and why it may. What is empty
// is as in the row.
type differs struct {
	why     string
	stopped string
	second  string
	// unshown: no ablation of this engine lets the attempt through, because
	// of another layer that cannot be left out.
	unshown bool
	// harmless: the attempt gets through, to something else than in the row.
	harmless bool
}

const (
	filter = wire.AblateFilter
	caps   = wire.AblateFilter | wire.AblateCaps
	lock   = wire.AblateLandlock // a second layer, where the kernel has it: landlock_test.go
)

func rows(w *world) []row {
	eperm, pid := "operation not permitted", fmt.Sprint(os.Getpid())
	return []row{
		{name: "new user namespace", defence: "filter, then user.max_user_namespaces", probe: []string{"unshare-user"}, stopped: eperm, ablate: filter | wire.AblateNesting, first: filter, second: "no space left"},
		{name: "new user namespace by clone", defence: "argument filter, then user.max_user_namespaces", probe: []string{"clone-user"}, stopped: eperm, ablate: filter | wire.AblateNesting, first: filter, second: "no space left"},
		{name: "mount", defence: "filter, then no capabilities", probe: []string{"mount"}, stopped: eperm, ablate: caps | lock, first: filter, second: eperm},
		{name: "chroot", defence: "filter, then no capabilities", probe: []string{"chroot"}, stopped: eperm, ablate: caps, first: filter, second: eperm},
		{name: "make the root writable", defence: "filter, then no capabilities", probe: []string{"remount-root"}, stopped: eperm, ablate: caps | lock, first: filter, second: eperm, on: map[string]differs{
			"runc": {why: "the root was mounted outside of the user namespace, which locks its flags", unshown: true},
		}},
		{name: "join a namespace", defence: "filter, then no capabilities", probe: []string{"setns"}, stopped: eperm, ablate: caps, first: filter, second: eperm},
		{name: "packet socket", defence: "no capabilities", probe: []string{"raw-socket"}, stopped: eperm, ablate: caps},
		{name: "capabilities", defence: "bounding set emptied, unprivileged user", probe: []string{"capabilities"}, stopped: "none", ablate: caps},
		{name: "set-user-id program", defence: "no_new_privs, nosuid mounts, user namespace", probe: []string{"setuid-program", "suid"}, stopped: "still user 993", ablate: onHost},
		{name: "vsock", defence: "argument filter", probe: []string{"vsock"}, stopped: eperm, ablate: filter},
		{name: "vsock by a wide argument", defence: "argument filter on 32 bits", probe: []string{"wide-vsock"}, stopped: eperm, ablate: filter},
		{name: "io_uring", defence: "filter", probe: []string{"io_uring"}, stopped: eperm, ablate: filter},
		{name: "keyctl", defence: "filter", probe: []string{"keyctl"}, stopped: eperm, ablate: filter},
		{name: "add_key", defence: "filter", probe: []string{"add_key"}, stopped: eperm, ablate: filter},
		{name: "perf_event_open", defence: "filter", probe: []string{"perf"}, stopped: eperm, ablate: filter},
		{name: "userfaultfd", defence: "filter", probe: []string{"userfaultfd"}, stopped: eperm, ablate: filter},
		{name: "bpf", defence: "filter", probe: []string{"bpf"}, stopped: eperm, ablate: onHostRoot},
		{name: "clone3", defence: "filter: not implemented, so that libraries fall back to clone", probe: []string{"clone3"}, stopped: "function not implemented", ablate: filter},
		{name: "ptrace", defence: "filter", probe: []string{"ptrace"}, stopped: eperm, ablate: filter},
		{name: "personality without address randomisation", defence: "argument filter", probe: []string{"personality", "0x40000"}, stopped: eperm, ablate: filter},
		{name: "asynchronous I/O, of which the host has only so much", defence: "filter", probe: []string{"aio"}, stopped: "function not implemented", ablate: filter},
		{name: "BPF by a socket, whose code is charged to nobody", defence: "argument filter", probe: []string{"socket-filter"}, stopped: eperm, ablate: filter},
		{name: "BPF by a system call filter", defence: "filter", probe: []string{"seccomp"}, stopped: eperm, ablate: filter},
		{name: "the same by prctl", defence: "argument filter", probe: []string{"seccomp-prctl"}, stopped: eperm, ablate: filter},
		{name: "a limit of cores that a program of the host's is not held by", defence: "argument filter", probe: []string{"core-limit"}, stopped: "still 1", ablate: filter},
		{name: "memory of sockets", defence: "limit of its own, or the memory limit", probe: []string{"socket-memory"}, stopped: anyhow, ablate: onHost},
		{name: "signal a host process", defence: "process namespace", probe: []string{"kill", pid}, stopped: "no such process", ablate: onHostRoot},
		{name: "see a host process", defence: "process namespace, own /proc", probe: []string{"see-process", pid, "escape.test"}, stopped: "no such file", ablate: onHost},
		{name: "memory of the first process", defence: "another user, not dumpable", probe: []string{"read", "/proc/1/environ"}, stopped: "permission denied", ablate: onHostRoot},
		{name: "read a host file", defence: "own root", probe: []string{"read", w.secret}, stopped: "no such file", ablate: wire.AblateRoot},
		{name: "host password file", defence: "own root", probe: []string{"contains", "/etc/passwd", "/var/spool"}, stopped: "not in", ablate: wire.AblateRoot},
		{name: "control group files", defence: "own root", probe: []string{"list", "/sys/fs/cgroup"}, stopped: "no such file", ablate: wire.AblateRoot},
		{name: "write to mounted code", defence: "read-only mounts", probe: []string{"write", "/opt/new", "x"}, stopped: "read-only", ablate: wire.AblateReadOnly | lock},
		{name: "kernel symbols", defence: "masked /proc", probe: []string{"read", "/proc/kallsyms"}, stopped: "empty", ablate: wire.AblateMasks},
		{name: "host's command line", defence: "masked /proc", probe: []string{"read", "/proc/cmdline"}, stopped: "empty", ablate: wire.AblateMasks},
		{name: "own out-of-memory score", defence: "read-only /proc", probe: []string{"write", "/proc/self/oom_score_adj", "900"}, stopped: "read-only", ablate: wire.AblateMasks | lock},
		{name: "core pattern", defence: "user namespace, read-only /proc", probe: []string{"write", "/proc/sys/kernel/core_pattern", "core"}, stopped: "permission denied", ablate: onHostRoot, on: map[string]differs{
			"runc": {why: "not only the mount of /proc is read-only but the file system, at which the kernel looks first", stopped: "read-only"},
		}},
		{name: "device of the host", defence: "/dev of its own", probe: []string{"open-device", "/dev/kmsg"}, stopped: "no such file", ablate: onHostRoot},
		{name: "device node in the code", defence: "nodev mounts", probe: []string{"open-device", "/opt/zero"}, stopped: "permission denied", ablate: wire.AblateDevices},
		{name: "host's loopback", defence: "network namespace", probe: []string{"connect", "tcp", w.tcp}, stopped: "connection refused", ablate: wire.AblateNetwork},
		{name: "abstract socket of the host", defence: "network namespace", probe: []string{"connect", "unix", w.unix}, stopped: "connection refused", ablate: wire.AblateNetwork | lock},
		{name: "network devices", defence: "network namespace", probe: []string{"interfaces"}, stopped: "loopback only", ablate: wire.AblateNetwork},
		{name: "shared memory of the host", defence: "IPC namespace", probe: []string{"shm", fmt.Sprint(w.shm)}, stopped: "no such file", ablate: wire.AblateIPC},
		{name: "host's name", defence: "UTS namespace", probe: []string{"hostname", w.host}, stopped: "neutral", ablate: wire.AblateHostname},
		{name: "path of the control group", defence: "cgroup namespace, entered after placement", probe: []string{"contains", "/proc/self/cgroup", "davy-"}, stopped: "not in", ablate: wire.AblateCgroupNS},
		{name: "user ids of another sandbox", defence: "a range of ids each", probe: []string{"contains", "/proc/self/uid_map", " 777000000 "}, stopped: "not in", ablate: wire.AblateOwnUIDs},
		{name: "fork bomb", defence: "process limit", probe: []string{"fork-bomb", "100"}, stopped: "temporarily unavailable", ablate: wire.AblatePIDs},
		{name: "memory", defence: "memory limit", probe: []string{"memory", fmt.Sprint(200 << 20)}, stopped: "killed for memory", ablate: wire.AblateMemory},
		{name: "fill /tmp", defence: "size of /tmp", probe: []string{"fill", "/tmp", fmt.Sprint(16 << 20)}, stopped: "no space left", ablate: wire.AblateTmp},
		{name: "fill the root", defence: "read-only root", probe: []string{"fill", "/run", "4096"}, stopped: "read-only", ablate: wire.AblateReadOnly | caps | lock, on: map[string]differs{
			"runc": {why: "the root's directories belong to nobody inside", unshown: true},
		}},
		{name: "descriptors", defence: "descriptor limit", probe: []string{"descriptors", "1100"}, stopped: "too many open files", ablate: wire.AblateFiles},
	}
}

func TestEscape(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the escape suite needs root: without it sandboxes lack control groups and user ids of their own")
	}
	w := newWorld(t)
	for _, e := range append([]sandboxtest.Engine{sandboxtest.Namespaces}, sandboxtest.Runtimes...) {
		t.Run(e.Name, func(t *testing.T) { escapeFrom(t, e, w) })
	}
}

func escapeFrom(t *testing.T, e sandboxtest.Engine, w *world) {
	full, _ := e.New(t, config(w, 0))
	// One sandbox holds the first range of user ids, as another function's
	// would.
	if _, err := full.Create(t.Context(), sandbox.Spec{ID: "neighbour", Args: []string{"/bin/sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows(w) {
		t.Run(r.name, func(t *testing.T) {
			d := r.on[e.Name]
			if e.OwnKernel {
				d = onOwnKernel[r.name]
			}
			if d.stopped != "" {
				r.stopped = d.stopped
			}
			if d.second != "" {
				r.second = d.second
			}
			if d.harmless {
				if got := try(t, full, w, 0, r); !strings.Contains(got, reached) {
					t.Errorf("is said to get through (%s): %q", d.why, got)
				}
				return
			}
			if got := try(t, full, w, 0, r); r.stopped != anyhow && !strings.Contains(got, r.stopped) || strings.Contains(got, reached) {
				t.Errorf("not stopped by %s: %q, want %q", r.defence, got, r.stopped)
			}
			if r.first != 0 {
				d, _ := e.New(t, config(w, r.first))
				if got := try(t, d, w, r.first, r); !strings.Contains(got, r.second) {
					t.Errorf("the second layer of %s: %q, want %q", r.defence, got, r.second)
				}
			}
			var got string
			switch {
			case d.unshown:
				return
			case r.ablate == onHost || r.ablate == onHostRoot:
				if e != sandboxtest.Namespaces { // the same host
					return
				}
				got = tryOnHost(t, w, r)
			default:
				d, _ := e.New(t, config(w, r.ablate))
				got = try(t, d, w, r.ablate, r)
			}
			if !strings.Contains(got, reached) {
				t.Errorf("cannot fail: without %s it is %q", r.defence, got)
			}
		})
	}
	for name := range onOwnKernel {
		if !slices.ContainsFunc(rows(w), func(r row) bool { return r.name == name }) {
			t.Errorf("no row %q", name)
		}
	}
	// What the filter is not to stop.
	for _, p := range [][]string{{"personality", "0xffffffff"}, {"inet-socket"}, {"nothing"}, {"fill", "/tmp", "4096"}, {"fork-bomb", "10"}} {
		if got := try(t, full, w, 0, row{probe: p}); got != reached {
			t.Errorf("%v is stopped: %q", p, got)
		}
	}
}

func config(w *world, a wire.Ablation) launcher.Config {
	return launcher.Config{Roots: []string{w.dir}, Spares: -1, UIDBase: 777_000_000, Ablate: a}
}

var serial atomic.Int64

// try makes the attempt in a sandbox and gives what the probe said.
func try(t *testing.T, d sandbox.Driver, w *world, ablate wire.Ablation, r row) string {
	t.Helper()
	return tryWithin(t, d, w, ablate, r, sandbox.Limits{MemoryBytes: 128 << 20, TmpBytes: 4 << 20, PIDs: 64, OpenFiles: 1024})
}

func tryWithin(t *testing.T, d sandbox.Driver, w *world, ablate wire.Ablation, r row, limits sandbox.Limits) string {
	t.Helper()
	_ = os.Remove(filepath.Join(w.dir, "new")) // of an attempt that got through
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	probe := "/opt/probe"
	if ablate&wire.AblateRoot != 0 {
		probe = filepath.Join(w.dir, "probe")
	}
	args := append([]string{}, r.probe...)
	if args[0] == "setuid-program" {
		args[1] = "/opt/" + args[1]
	}
	s := sandbox.Spec{
		ID: fmt.Sprint("escape-", serial.Add(1)), Mounts: []sandbox.Mount{{Source: w.dir, Target: "/opt"}},
		Limits: limits,
		// argv[0] is what makes the program a probe.
		Args: append([]string{"/usr/bin/perl", "-e", `$p = shift; exec {$p} "` + probeName + `", @ARGV`, probe}, args...),
		Env:  []string{"PATH=/usr/bin:/bin"}, Stdout: in, Stderr: in,
	}
	b, err := d.Create(t.Context(), s)
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	<-b.Done()
	if b.Exit().OOMKilled {
		return "killed for memory"
	}
	if len(text) == 0 {
		return "no answer"
	}
	// What a crash has printed is long.
	return strings.TrimSpace(string(text[:min(len(text), 300)]))
}

// tryOnHost makes the attempt with no sandbox around it.
func tryOnHost(t *testing.T, w *world, r row) string {
	t.Helper()
	args := append([]string{}, r.probe...)
	if args[0] == "setuid-program" {
		args[1] = filepath.Join(w.dir, args[1])
	}
	if args[0] == "write" { // what the host has is written back
		b, err := os.ReadFile(args[1])
		if err != nil {
			t.Fatal(err)
		}
		args[2] = string(b)
	}
	for i := range args { // the nearest that the host has for the same probe
		args[i] = strings.Replace(args[i], "/proc/1/", "/proc/self/", 1)
	}
	cmd := exec.Command(filepath.Join(w.dir, "probe"))
	cmd.Args = append([]string{probeName}, args...)
	if r.ablate == onHost {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
