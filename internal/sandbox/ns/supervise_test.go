package ns_test

import (
	"bufio"
	"context"
	"fmt"
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

// role makes this test program a supervisor or its server.
const role = "DAVY_TEST_ROLE"

// instance is the supervisor's, which no other test has.
const instance = "DAVY_TEST_INSTANCE"

var supervisors int

func playRole() {
	switch os.Getenv(role) {
	case "supervisor":
		os.Setenv(role, "server")
		code, err := launcher.Supervise(context.Background(), launcher.SuperviseConfig{
			Launcher:   launcher.Config{Instance: os.Getenv(instance), Spares: 1, Roots: strings.Fields(os.Getenv("DAVY_TEST_ROOTS"))},
			ServerArgs: []string{"serve"},
			ExtraFiles: []*os.File{os.Stdin},
		})
		if err != nil {
			fmt.Println("supervise:", err)
			code = 99
		}
		os.Exit(code)
	case "rootless":
		os.Exit(playRootless())
	case "server":
		os.Exit(serve())
	}
}

// serve obeys commands from descriptor 4 and answers a line to each.
func serve() int {
	d, err := ns.Connect(launcher.ControlFD)
	if err != nil {
		fmt.Println("connect:", err)
		return 98
	}
	term := make(chan os.Signal, 1)
	notify(term)
	fmt.Println("ready", os.Getpid())
	in := bufio.NewScanner(os.NewFile(4, "commands"))
	var last sandbox.Sandbox
	for in.Scan() {
		cmd, arg, _ := strings.Cut(in.Text(), " ")
		switch cmd {
		case "create":
			b, err := d.Create(context.Background(), sandbox.Spec{ID: arg, Args: []string{"/bin/sleep", "1000"}})
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			last = b
			fmt.Println("created")
		case "gone": // waits for the end of the last sandbox
			<-last.Done()
			fmt.Println("gone")
		case "status":
			b, _ := os.ReadFile("/proc/self/status")
			var v []string
			for l := range strings.Lines(string(b)) {
				for _, k := range []string{"Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:"} {
					if strings.HasPrefix(l, k) {
						v = append(v, strings.Join(strings.Fields(l), " "))
					}
				}
			}
			fmt.Println(strings.Join(v, "; "))
		case "missing":
			fmt.Println(strings.Join(d.Missing(), "; "))
		case "term":
			fmt.Println(<-term)
		case "exit":
			return 42
		}
	}
	return 0
}

type supervised struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Reader
	pid int // of the server
}

func supervise(t *testing.T, env ...string) *supervised {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	supervisors++
	name := fmt.Sprintf("test-sup-%d-%d", os.Getpid(), supervisors)
	cmd.Env = append(os.Environ(), role+"=supervisor", instance+"="+name)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	s := &supervised{t: t, cmd: cmd, in: w, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		w.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		sandboxtest.Sweep(t, name)
	})
	if _, err := fmt.Sscanf(s.line(), "ready %d", &s.pid); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *supervised) line() string {
	s.t.Helper()
	l, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("server's output: %v (%q)", err, l)
	}
	return strings.TrimSpace(l)
}

func (s *supervised) do(cmd string) string {
	s.t.Helper()
	if _, err := s.in.WriteString(cmd + "\n"); err != nil {
		s.t.Fatal(err)
	}
	return s.line()
}

// child finds the child of a process with a given argv[0].
func child(t *testing.T, parent int, argv0 string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "status"))
		if strings.HasPrefix(string(b), argv0+"\x00") && strings.Contains(string(stat), fmt.Sprintf("PPid:\t%d\n", parent)) {
			var pid int
			fmt.Sscanf(f, "/proc/%d/", &pid)
			return pid
		}
	}
	t.Fatalf("%d has no child %s", parent, argv0)
	return 0
}

// workload finds a grandchild of a process with a given argv[0].
func workload(t *testing.T, launcher int, argv0 string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if !strings.HasPrefix(string(b), argv0+"\x00") {
			continue
		}
		var pid int
		fmt.Sscanf(f, "/proc/%d/", &pid)
		if parentOf(parentOf(pid)) == launcher {
			return pid
		}
	}
	t.Fatalf("%d has no workload %s", launcher, argv0)
	return 0
}

func parentOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for l := range strings.Lines(string(b)) {
		var n int
		if _, err := fmt.Sscanf(l, "PPid: %d", &n); err == nil {
			return n
		}
	}
	return 0
}

func TestSupervise_ServerHasNoPrivileges(t *testing.T) {
	s := supervise(t)
	zero := "0000000000000000"
	want := "Uid: 64999 64999 64999 64999; Gid: 64999 64999 64999 64999; Groups:; CapPrm: " + zero + "; CapEff: " + zero + "; CapBnd: " + zero + "; NoNewPrivs: 1"
	if got := s.do("status"); got != want {
		t.Errorf("status:\n%s\nwant:\n%s", got, want)
	}
	if got := s.do("create one"); got != "created" {
		t.Error(got)
	}
}

func TestSupervise_HandsSignalsAndExitCodeOn(t *testing.T) {
	s := supervise(t)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := s.do("term"); got != "terminated" {
		t.Error(got)
	}
	s.in.WriteString("exit\n")
	if err := s.cmd.Wait(); s.cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("exit: %v", err)
	}
}

func TestSupervise_RestartsTheLauncher(t *testing.T) {
	s := supervise(t)
	if got := s.do("create one"); got != "created" {
		t.Fatal(got)
	}
	old := child(t, s.cmd.Process.Pid, launcher.Name)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := s.do("gone"); got != "gone" {
		t.Fatal(got)
	}
	if got := s.do("create two"); got != "created" { // which waits for the next
		t.Fatal(got)
	}
	if now := child(t, s.cmd.Process.Pid, launcher.Name); now == old {
		t.Error("the launcher is the old one")
	}
}

// A launcher that cannot start leaves a server that says so.
func TestSupervise_LauncherCannotStart(t *testing.T) {
	s := supervise(t, "DAVY_TEST_ROOTS=/no/such/root")
	if got := s.do("missing"); !strings.Contains(got, sandbox.ErrUnavailable.Error()) {
		t.Errorf("missing: %q", got)
	}
	if got := s.do("create one"); !strings.Contains(got, sandbox.ErrUnavailable.Error()) {
		t.Errorf("create: %q", got)
	}
}

// A killed server or supervisor leaves nothing behind.
func TestSupervise_DiesTogether(t *testing.T) {
	for _, victim := range []string{"server", "supervisor"} {
		t.Run(victim, func(t *testing.T) {
			s := supervise(t)
			if got := s.do("create one"); got != "created" {
				t.Fatal(got)
			}
			pid := s.cmd.Process.Pid
			l := child(t, pid, launcher.Name)
			// The workload: its parent is the first process of the sandbox.
			box := workload(t, l, "/bin/sleep")
			watch := []int{l, box, s.pid}
			var fds []int
			for _, p := range watch {
				fds = append(fds, pidfd(t, p))
			}
			if victim == "server" {
				pid = s.pid
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for i, fd := range fds {
				if !ended(t, fd) {
					t.Errorf("process %d of %v still runs", i, watch)
				}
			}
			_ = s.cmd.Wait()
			if code := s.cmd.ProcessState.ExitCode(); victim == "server" && code != 128+9 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
