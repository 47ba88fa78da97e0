package execenv

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
)

// processDriver is a fake driver: it isolates nothing. It starts the host's
// node as a child process in a mount namespace, so that paths are the real
// ones, and knows nothing of limits, OOM or networks: tests tell it.
type processDriver struct {
	t         testing.TB
	createErr atomic.Pointer[error]
	oom       atomic.Bool                   // the next exits are reported as OOM kills
	gate      atomic.Pointer[chan struct{}] // Create waits until it is closed

	count atomic.Int64

	mu      sync.Mutex
	created []*childSandbox
}

// nthSandbox is a variable in sandboxes of the fake: how many there were.
const nthSandbox = "DAVY_TEST_NTH_SANDBOX"

// rootScript builds a root of the host's /usr and the sandbox's mounts.
const rootScript = `set -e
root=$1; shift
mount -t tmpfs davy-test "$root"
for d in usr etc dev proc tmp; do mkdir "$root/$d"; mount --rbind "/$d" "$root/$d"; done
for d in bin lib lib64; do
  if [ -L "/$d" ]; then cp -P "/$d" "$root/$d"; elif [ -d "/$d" ]; then mkdir "$root/$d"; mount --rbind "/$d" "$root/$d"; fi
done
while [ "$1" != -- ]; do mkdir -p "$root$2"; mount --bind "$1" "$root$2"; shift 2; done
shift
dir=$1; shift
exec /usr/sbin/chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$dir" "$@"`

func newProcessDriver(t testing.TB) *processDriver {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("the host has no node in PATH")
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", unshareFlags("true")...).CombinedOutput(); err != nil {
		t.Skipf("this user may not create a mount namespace: %v %s", err, out)
	}
	return &processDriver{t: t}
}

func unshareFlags(args ...string) []string {
	flags := []string{"--mount"}
	if os.Getuid() != 0 {
		flags = append(flags, "--map-root-user")
	}
	return append(flags, args...)
}

func (d *processDriver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	if gate := d.gate.Load(); gate != nil {
		select {
		case <-*gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := d.createErr.Load(); err != nil {
		return nil, *err
	}
	root, err := os.MkdirTemp("", "davy-root-")
	if err != nil {
		return nil, err
	}
	args := unshareFlags("/bin/sh", "-c", rootScript, "davy-root", root)
	for _, m := range s.Mounts {
		args = append(args, m.Source, m.Target)
	}
	args = append(append(args, "--", s.Dir), s.Args...)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(slices.Clip(s.Env), nthSandbox+"="+strconv.FormatInt(d.count.Add(1), 10))
	cmd.ExtraFiles = s.Files
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	sb := &childSandbox{driver: d, spec: s, cmd: cmd, root: root, done: make(chan struct{}), events: make(chan string, 16)}
	for _, l := range s.Listen {
		f, err := listenLoopback(l)
		if err != nil {
			return nil, err
		}
		sb.listeners = append(sb.listeners, f)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.created = append(d.created, sb)
	d.mu.Unlock()
	go func() {
		defer close(sb.done)
		defer os.RemoveAll(root)
		_ = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		sb.exit = sandbox.Exit{Code: max(0, status.ExitStatus()), OOMKilled: d.oom.Load()}
		if status.Signaled() {
			sb.exit.Signal = status.Signal()
		}
	}()
	return sb, nil
}

// listenLoopback opens a socket of the asked kind on the host's loopback.
func listenLoopback(spec string) (*os.File, error) {
	network, _, _ := strings.Cut(spec, ":")
	if network == "udp" {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.File()
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.File()
}

func (d *processDriver) Missing() []string { return []string{"all of them: this is a fake"} }
func (d *processDriver) Close() error      { return nil }

// sandboxes returns all that were created.
func (d *processDriver) sandboxes() []*childSandbox {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*childSandbox(nil), d.created...)
}

type childSandbox struct {
	driver    *processDriver
	spec      sandbox.Spec
	cmd       *exec.Cmd
	listeners []*os.File
	done      chan struct{}
	exit      sandbox.Exit

	root   string
	events chan string // freeze, thaw

	mu     sync.Mutex
	limits []sandbox.Limits
}

func (s *childSandbox) ID() string            { return s.spec.ID }
func (s *childSandbox) Listeners() []*os.File { return s.listeners }
func (s *childSandbox) Done() <-chan struct{} { return s.done }
func (s *childSandbox) Exit() sandbox.Exit    { return s.exit }
func (s *childSandbox) DropTmp()              {}
func (s *childSandbox) Kill()                 { s.signal(syscall.SIGKILL) }

// signal reaches all processes. What has ended has given its number back.
func (s *childSandbox) signal(n syscall.Signal) {
	if !isClosed(s.done) {
		_ = syscall.Kill(-s.cmd.Process.Pid, n)
	}
}

func (s *childSandbox) Attach(ctx context.Context, mounts ...sandbox.Mount) error {
	for _, m := range mounts {
		target := s.root + m.Target
		script := `mkdir -p "$2" && mount --bind "$1" "$2"`
		args := []string{"--target", strconv.Itoa(s.cmd.Process.Pid), "--mount"}
		if os.Getuid() != 0 {
			args = append(args, "--user", "--preserve-credentials")
		}
		args = append(args, "/bin/sh", "-c", script, "attach", m.Source, target)
		if out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return nil
}

func (s *childSandbox) Limit(_ context.Context, l sandbox.Limits) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = append(s.limits, l)
	return nil
}

func (s *childSandbox) Freeze(context.Context) error {
	s.signal(syscall.SIGSTOP)
	s.events <- "freeze"
	return nil
}

func (s *childSandbox) Thaw(context.Context) error {
	s.signal(syscall.SIGCONT)
	s.events <- "thaw"
	return nil
}

func (s *childSandbox) ResetPeak(context.Context) error { return nil }

func (s *childSandbox) Usage(context.Context) (sandbox.Usage, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return sandbox.Usage{}, err
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	kb, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	n, err := strconv.ParseInt(string(kb), 10, 64)
	return sandbox.Usage{MemoryPeakBytes: n << 10}, err
}

// folderCode is a CodeSource of unpacked folders.
type folderCode struct {
	mu   sync.Mutex
	dirs map[string]string
	held map[string]int
}

func (c *folderCode) Code(_ context.Context, shas ...string) (string, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sha := strings.Join(shas, "+") // a test that has several gives their folder this name
	dir, ok := c.dirs[sha]
	if !ok {
		return "", nil, fmt.Errorf("no code %s", sha)
	}
	c.held[sha]++
	var once sync.Once
	return dir, func() {
		once.Do(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.held[sha]--
		})
	}, nil
}

// logBook is a LogSink that keeps lines.
type logBook struct {
	mu      sync.Mutex
	lines   []string
	stream  LogStream
	streams []string      // each once
	seen    chan struct{} // one token for each line, if there is room
}

func (b *logBook) Write(_ context.Context, s LogStream, _ time.Time, line string) {
	b.mu.Lock()
	b.lines = append(b.lines, line)
	b.stream = s
	if !slices.Contains(b.streams, s.Stream) {
		b.streams = append(b.streams, s.Stream)
	}
	b.mu.Unlock()
	select {
	case b.seen <- struct{}{}:
	default:
	}
}

func (b *logBook) Flush(context.Context, LogStream) error { return nil }

func (b *logBook) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.lines...)
}

// await returns the lines once one has the prefix.
func (b *logBook) await(t testing.TB, prefix string) []string {
	t.Helper()
	for {
		lines := b.all()
		for _, l := range lines {
			if strings.HasPrefix(l, prefix) {
				return lines
			}
		}
		select {
		case <-b.seen:
		case <-t.Context().Done():
			t.Fatalf("no line %q in %q", prefix, lines)
		}
	}
}

// ample is a time limit for what must not run out of time, however slow and
// busy the machine is. What is to run out of it has a limit of its own, and only
// then: see step. What must happen within it nonetheless gets scarce.
const (
	ample  = 10 * time.Minute
	brief  = time.Second
	scarce = 5 * time.Second
)

// bench is a set of Environments on the fake driver.
type bench struct {
	t      testing.TB
	driver *processDriver
	code   *folderCode
	logs   *logBook
	envs   *Environments
}

func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	b := &bench{
		t: t, driver: newProcessDriver(t),
		code: &folderCode{dirs: map[string]string{}, held: map[string]int{}},
		logs: &logBook{seen: make(chan struct{}, 1)},
	}
	cfg := Config{Driver: b.driver, Runtimes: hostRuntime{openStore(t, nil)}, Code: b.code, Logs: b.logs, NoFreeze: true, InitTimeout: ample}
	if change != nil {
		change(&cfg)
	}
	envs, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.envs = envs
	envs.patience = patience{external: ample, runtime: ample, internal: ample, killed: ample, words: time.Second, oom: ample, retry: ample}
	t.Cleanup(func() {
		if err := b.envs.Close(); err != nil {
			t.Error(err)
		}
		for sha, n := range b.code.held {
			if n != 0 {
				t.Errorf("code %s is still held %d times", sha, n)
			}
		}
	})
	return b
}

// storeDir holds the installed runtimes that all tests share.
var (
	storeDir   string
	install    sync.Once
	installErr error
)

func TestMain(m *testing.M) {
	if strings.HasSuffix(os.Args[0], "/bootstrap") {
		playRuntime() // does not return
	}
	if strings.HasPrefix(os.Args[0], extensionDir+"/") {
		playExtension() // does not return
	}
	launcher.Main() // does not return in a launcher, which tests with a real driver start
	dir, err := os.MkdirTemp("", "davy-runtimes-")
	if err != nil {
		panic(err)
	}
	storeDir = dir
	if installed := os.Getenv("DAVY_INSTALLED_RUNTIMES"); installed != "" {
		storeDir = installed
	}
	code := m.Run()
	os.RemoveAll(dir)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// openStore opens the shared runtimes. They are the pinned ones when
// DAVY_FETCHED_RUNTIMES names the folder that scripts/fetch-runtimes filled, or
// DAVY_INSTALLED_RUNTIMES one of installed runtimes below the temporary folder.
func openStore(t testing.TB, caPEM []byte) *runtimes.Store {
	t.Helper()
	return openStoreWith(t, func(c *runtimes.Config) { c.CAPEM = caPEM })
}

func openStoreWith(t testing.TB, change func(*runtimes.Config)) *runtimes.Store {
	t.Helper()
	cfg := runtimes.Config{Dir: storeDir, BootDir: filepath.Join(storeDir, "boot")}
	change(&cfg)
	store, err := runtimes.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if from := os.Getenv("DAVY_FETCHED_RUNTIMES"); from != "" {
		install.Do(func() { installErr = store.InstallFrom(context.Background(), from) })
		if installErr != nil {
			t.Fatal(installErr)
		}
	}
	return store
}

// hostRuntime starts a runtime that is not installed with the host's node,
// whatever its version: most of the bootstrap's behaviour depends on the
// runtime's name alone.
type hostRuntime struct{ store *runtimes.Store }

func (h hostRuntime) Launch(ctx context.Context, name string) (runtimes.Launch, error) {
	want, err := runtimes.Lookup(name)
	if err != nil {
		return runtimes.Launch{}, err
	}
	if l, err := h.store.Launch(ctx, name); err == nil {
		return l, nil
	}
	for _, r := range runtimes.All() {
		if l, err := h.store.Launch(ctx, r.Name); err == nil {
			l.Runtime = want
			return l, nil
		}
	}
	return runtimes.Launch{}, runtimes.ErrNotInstalled
}

// function makes a function of files, "name": "content".
func (b *bench) function(files map[string]string) Function {
	b.t.Helper()
	dir := b.t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	sha := filepath.Base(filepath.Dir(dir)) + filepath.Base(dir)
	b.code.mu.Lock()
	b.code.dirs[sha] = dir
	b.code.mu.Unlock()
	return Function{
		ARN: "arn:aws:lambda:eu-west-1:000000000000:function:f", Name: "f", Version: "$LATEST",
		Account: "000000000000", Region: "eu-west-1", Runtime: "nodejs20.x", Handler: "index.handler",
		CodeSHA256: sha, MemoryMB: 256, Timeout: ample, EphemeralMB: 512,
		RoleARN: "arn:aws:iam::000000000000:role/r", LogGroup: "/aws/lambda/f", Revision: sha,
	}
}

// js makes a function of one CommonJS file.
func (b *bench) js(code string) Function { return b.function(map[string]string{"index.js": code}) }

// pause is what a loop does that looks for a state nobody tells of.
func (b *bench) pause() {
	select {
	case <-time.After(time.Millisecond):
	case <-b.t.Context().Done():
		b.t.Fatal("it never came to that")
	}
}

const testID = "8f507cfc-5b2a-4f1d-9d3e-000000000001"

func (b *bench) invoke(f Function, payload string) Outcome {
	b.t.Helper()
	out, err := b.envs.Invoke(b.t.Context(), f, Invocation{
		RequestID: testID, InvokedARN: f.ARN, Payload: []byte(payload), Tail: true,
	})
	if err != nil {
		b.t.Fatalf("Invoke: %v", err)
	}
	return out
}

// expire is invoke on a function that has an environment already, with so
// little time that it runs out.
func (b *bench) expire(f Function, payload string, limit time.Duration) Outcome {
	b.t.Helper()
	set := func(limit time.Duration) {
		b.envs.mu.Lock()
		defer b.envs.mu.Unlock()
		for e := range b.envs.all {
			if e.fn.ARN == f.ARN {
				e.fn.Timeout = limit
			}
		}
	}
	set(limit)
	defer set(f.Timeout) // what follows may begin with an init phase
	return b.invoke(f, payload)
}

// step is invoke, or expire with brief when that is what is wanted.
func (b *bench) step(f Function, payload, want string) Outcome {
	b.t.Helper()
	if want == timedOut(brief) {
		return b.expire(f, payload, brief)
	}
	return b.invoke(f, payload)
}

// timedOut is the answer of a function whose time ran out.
func timedOut(limit time.Duration) string {
	return fmt.Sprintf("Unhandled: Sandbox.Timedout: RequestId: %s Error: Task timed out after %.2f seconds", testID, limit.Seconds())
}

// sessionOf is a CredentialSource with one answer.
type sessionOf Credentials

func (s sessionOf) RoleSession(context.Context, string, string, string) (Credentials, error) {
	return Credentials(s), nil
}

func makeExecutable(t testing.TB, b *bench, f Function, name string) {
	t.Helper()
	if err := os.Chmod(filepath.Join(b.code.dirs[f.CodeSHA256], name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// bareNode runs node -e 0 without anything around it.
func bareNode(ctx context.Context, node string) error {
	return exec.CommandContext(ctx, node, "-e", "0").Run()
}
