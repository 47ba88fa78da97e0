package sandboxtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
)

// limit bounds waits for what must happen.
const limit = 5 * time.Minute

// Conform tests what package sandbox promises of every driver.
func Conform(t *testing.T, e Engine) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Engine)
	}{
		{"Create/RunsTheWorkloadConfined", createRunsTheWorkloadConfined},
		{"Create/Refuses", createRefuses},
		{"Exit", exit},
		{"Kill/EndsEveryProcess", killEndsEveryProcess},
		{"Attach/MountsCodeIntoTheRunningSandbox", attachMountsCodeIntoTheRunningSandbox},
		{"Listen/ReachesTheServerAndNothingElse", listenReachesTheServerAndNothingElse},
		{"Listen/DeviceCarriesPackets", listenDeviceCarriesPackets},
		{"Freeze/StopsEveryProcess", freezeStopsEveryProcess},
		{"Limit/MemoryKillsTheWholeSandbox", limitMemoryKillsTheWholeSandbox},
		{"Limit/OfARunningSandbox", limitOfARunningSandbox},
		{"Usage/PeakStartsAnew", usagePeakStartsAnew},
		{"NothingLeaks", nothingLeaks},
		{"LauncherDies/SandboxesDieAndCreateIsRefused", launcherDies},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, e) })
	}
}

// ownKernel is what a workload sees otherwise on a runtime's own kernel.
var ownKernel = map[string]string{
	"ignored signals": "",  // gVisor does not tell
	"processes":       "1", // the workload is the first
}

func createRunsTheWorkloadConfined(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	if m := d.Missing(); len(m) > 0 {
		t.Logf("missing: %q", m)
	}
	for _, tc := range []struct{ name, script, want string }{
		{"user", "id -u; id -g; id -G", "993\n990\n990"},
		{"name of the user", "id -un", "sbx_user1051"},
		{"host name", "hostname", "localhost"},
		// PWD is the shell's; a container runtime gives whoever has none a HOME.
		{"environment", "env | grep -v -e ^PWD= -e ^HOME=/home/sbx_user1051$ | sort", "A=b\nPATH=/usr/bin:/bin"},
		{"working directory", "pwd", "/tmp"},
		{"capabilities", "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2 | sort -u", "0000000000000000"},
		{"no new privileges", "grep ^NoNewPrivs /proc/self/status | cut -f2", "1"},
		{"filter", "grep ^Seccomp: /proc/self/status | cut -f2", "2"},
		{"ignored signals", "grep ^SigIgn /proc/self/status | cut -f2", "0000000000000000"},
		{"umask", "umask", "0022"},
		{"session leader", "cut -d' ' -f6 /proc/$$/stat | grep -qx $$ && echo yes", "yes"},
		{"cgroup paths", "cut -d: -f3 /proc/self/cgroup | sort -u", "/"},
		{"descriptors", "ls /proc/$$/fd", "0\n1\n2\n3"},
		{"descriptor limit", "ulimit -Sn; ulimit -Hn", "1024\n1024"},
		{"core limit", "ulimit -Hc", "0"},
		{"processes", "set -- /proc/[0-9]*; echo $#", "2"},
		{"root", "ls /", "bin\ndev\netc\nhome\nlib\nopt\nproc\nrun\nsbin\nsys\ntmp\nusr\nvar"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Start(t, d, sandbox.Spec{Env: []string{"A=b"}, Dir: "/tmp"}, tc.script)
			got := p.Rest(t)
			if want, ok := ownKernel[tc.name]; ok && e.OwnKernel {
				tc.want = want
			}
			if tc.name == "root" {
				// Which links the host has at its top differs, with the processor as well.
				got = strings.NewReplacer("lib32\n", "", "lib64\n", "", "libx32\n", "").Replace(got)
			}
			if got != tc.want {
				t.Errorf("%s:\n%s\nwant:\n%s", tc.script, got, tc.want)
			}
		})
	}
}

func exit(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	for _, tc := range []struct {
		script string
		want   sandbox.Exit
	}{
		{"exit 0", sandbox.Exit{}},
		{"exit 7", sandbox.Exit{Code: 7}},
		{"exit 255", sandbox.Exit{Code: 255}},
		{"kill -TERM $$", sandbox.Exit{Signal: syscall.SIGTERM}},
		{"sleep 1000 & exit 3", sandbox.Exit{Code: 3}}, // what is left dies too
	} {
		p := Start(t, d, sandbox.Spec{}, tc.script)
		<-p.Done()
		if got := p.Exit(); got != tc.want {
			t.Errorf("%s: exit = %+v, want %+v", tc.script, got, tc.want)
		}
	}
}

func killEndsEveryProcess(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	for _, frozen := range []bool{false, true} {
		p := Start(t, d, sandbox.Spec{}, "sleep 1000 & setsid sleep 1000 & echo up; wait")
		p.Line(t)
		if frozen {
			if err := p.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p.Kill()
		p.Kill()
		p.Rest(t) // ends only when nobody holds the pipe any more
		if got := p.Exit(); got.Signal != syscall.SIGKILL {
			t.Errorf("frozen %v: exit = %+v", frozen, got)
		}
		if err := p.Freeze(t.Context()); !errors.Is(err, sandbox.ErrClosed) {
			t.Errorf("freeze after the end: %v", err)
		}
	}
}

func attachMountsCodeIntoTheRunningSandbox(t *testing.T, e Engine) {
	dir := t.TempDir()
	code := filepath.Join(dir, "code")
	if err := os.MkdirAll(filepath.Join(code, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(code, "lib", "index.txt"), []byte("the code\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(code, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	d, _ := e.New(t, launcher.Config{Roots: []string{dir}})
	p := Start(t, d, sandbox.Spec{}, `ls /var/task; echo up; read x <&3; cat /var/task/lib/index.txt; touch /var/task/x 2>&1`)
	if got := p.Line(t); got != "up" {
		t.Fatalf("/var/task before: %q", got)
	}
	for _, tc := range []struct{ name, source, target string }{
		{"outside of the roots", "/etc", "/var/task"},
		{"out of the roots by dots", dir + "/../..", "/var/task"},
		{"symbolic link", filepath.Join(dir, "link"), "/var/task"},
		{"below a symbolic link", filepath.Join(dir, "link", "lib"), "/var/task"},
		{"absent", filepath.Join(dir, "none"), "/var/task"},
		{"file", filepath.Join(code, "lib", "index.txt"), "/var/task"},
		{"reserved place", code, "/proc"},
		{"the root", code, "/"},
		{"outside by dots", code, "/var/task/../../proc"},
	} {
		if err := p.Attach(t.Context(), sandbox.Mount{Source: tc.source, Target: tc.target}); err == nil {
			t.Errorf("attach %s: no error", tc.name)
		}
	}
	if err := p.Attach(t.Context(), sandbox.Mount{Source: code, Target: "/var/task"}); err != nil {
		t.Fatal(err)
	}
	p.Say(t, "go")
	want := "the code\ntouch: cannot touch '/var/task/x': Read-only file system"
	if e.OwnKernel { // looks at the directory's permissions first
		want = strings.Replace(want, "Read-only file system", "Permission denied", 1)
	}
	if got := p.Rest(t); got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

func listenReachesTheServerAndNothingElse(t *testing.T, e Engine) {
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	d, _ := e.New(t, launcher.Config{})
	p := Start(t, d, sandbox.Spec{Listen: []string{"tcp:169.254.100.1:4566", "udp:169.254.100.1:53", "tcp:127.0.0.1:9001"}},
		`perl -MIO::Socket::INET -e '
			for (@ARGV) { my ($proto, $to) = split /=/;
				my $s = IO::Socket::INET->new(Proto => $proto, PeerAddr => $to, Timeout => 300) or do { print "$to: $!\n"; next };
				print $s "hello\n"; my $l = <$s>; print "$to: $l" }' tcp=169.254.100.1:4566 udp=169.254.100.1:53 tcp=127.0.0.1:9001 tcp=`+outside.Addr().String()+` tcp=192.0.2.1:80`)
	l := p.Listeners()
	if len(l) != 3 {
		t.Fatalf("%d listeners", len(l))
	}
	for _, f := range []*os.File{l[0], l[2]} {
		ln, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f.Close()
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, strings.ToUpper(line))
			c.Close()
		}()
	}
	pc, err := net.FilePacketConn(l[1])
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	l[1].Close()
	go func() {
		b := make([]byte, 100)
		n, from, err := pc.ReadFrom(b)
		if err == nil {
			pc.WriteTo([]byte(strings.ToUpper(string(b[:n]))), from)
		}
	}()
	want := "169.254.100.1:4566: HELLO\n169.254.100.1:53: HELLO\n127.0.0.1:9001: HELLO\n" +
		outside.Addr().String() + ": Connection refused\n192.0.2.1:80: Network is unreachable"
	if got := p.Rest(t); got != want {
		t.Errorf("output:\n%s\nwant:\n%s", got, want)
	}
}

func listenDeviceCarriesPackets(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	if !sandbox.HasEgress(d) {
		t.Skip(d.Missing())
	}
	p := Start(t, d, sandbox.Spec{Listen: []string{"tcp:169.254.100.1:80", "tun:169.254.100.2/32"}}, `
		read x <&3
		cat /proc/net/if_inet6 2>/dev/null | grep -c eth0
		exec perl -MSocket -e '
			socket(S, PF_INET, SOCK_DGRAM, 0) or die;
			send(S, "question", 0, sockaddr_in(7, inet_aton("198.51.100.9"))) or die "send: $!";
			$from = recv(S, $b, 100, 0);
			my ($port, $ip) = sockaddr_in($from);
			print "$b from ", inet_ntoa($ip), ":$port\n"'`)
	files := p.Listeners()
	if len(files) != 2 {
		t.Fatalf("%d descriptors", len(files))
	}
	files[0].Close()
	dev := files[1]
	defer dev.Close()
	p.Say(t, "go")
	if got := p.Line(t); got != "0" {
		t.Errorf("%s IPv6 addresses on the device", got)
	}
	if err := dev.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 1<<16)
	n, err := dev.Read(packet)
	if err != nil {
		t.Fatal(err)
	}
	packet = packet[:n]
	if n < 28 || packet[0]>>4 != 4 || !bytes.Equal(packet[12:20], []byte{169, 254, 100, 2, 198, 51, 100, 9}) || string(packet[28:]) != "question" {
		t.Fatalf("packet %q", packet)
	}
	// The same back, addresses and ports exchanged, which leaves every
	// checksum as it is.
	for i := range 4 {
		packet[12+i], packet[16+i] = packet[16+i], packet[12+i]
	}
	packet[20], packet[21], packet[22], packet[23] = packet[22], packet[23], packet[20], packet[21]
	if _, err := dev.Write(packet); err != nil {
		t.Fatal(err)
	}
	if got := p.Rest(t); got != "question from 198.51.100.9:7" {
		t.Errorf("inside: %q", got)
	}
}

func freezeStopsEveryProcess(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	p := Start(t, d, sandbox.Spec{}, `while :; do :; done & echo up; while read x; do echo "$x"; done <&3`)
	p.Line(t)
	for range 3 {
		if err := p.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Say(t, "echo")
		// The last steps into the freezer are counted late, and on a busy
		// machine take long. A running process uses the CPU for ever.
		for used, end := int64(-1), time.Now().Add(limit); ; {
			u, err := p.Usage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if u.CPUMicros == used {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("uses CPU while frozen: %d us, then %d", used, u.CPUMicros)
			}
			used = u.CPUMicros
			time.Sleep(30 * time.Millisecond) // time in which a running process would use the CPU
		}
		if err := p.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.Line(t); got != "echo" {
			t.Errorf("after thaw: %q", got)
		}
	}
}

func limitMemoryKillsTheWholeSandbox(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	// The hog is a child: its death must end the sandbox all the same.
	p := Start(t, d, sandbox.Spec{Limits: sandbox.Limits{MemoryBytes: 32 << 20}},
		`echo up; perl -e '$x = "x" x (200<<20); print length $x, "\n"'; echo survived; sleep 1000`)
	p.Line(t)
	if got := p.Rest(t); strings.Contains(got, "209715200") {
		t.Errorf("output %q", got)
	}
	if x := p.Exit(); !x.OOMKilled || x.Signal != syscall.SIGKILL {
		t.Errorf("exit = %+v", x)
	}
	u, err := p.Usage(t.Context())
	if err != nil || u.MemoryPeakBytes < 16<<20 || u.MemoryPeakBytes > 32<<20 {
		t.Errorf("last usage = %+v, %v", u, err)
	}
}

func limitOfARunningSandbox(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	p := Start(t, d, sandbox.Spec{Limits: sandbox.Limits{MemoryBytes: 32 << 20, TmpBytes: 1 << 20}},
		`echo up; read x <&3; perl -e '$x = "x" x (100<<20); print length $x, "\n"'; df -k /tmp | tail -1 | tr -s ' ' | cut -d' ' -f2`)
	p.Line(t)
	if err := p.Limit(t.Context(), sandbox.Limits{MemoryBytes: 512 << 20, CPUMilli: 500, TmpBytes: 64 << 20, PIDs: 50}); err != nil {
		t.Fatal(err)
	}
	if err := p.Limit(t.Context(), sandbox.Limits{MemoryBytes: 1}); err == nil {
		t.Error("a limit of one byte: no error")
	}
	p.Say(t, "go")
	if got, want := p.Rest(t), "104857600\n65536"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

func usagePeakStartsAnew(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	p := Start(t, d, sandbox.Spec{}, `perl -e '$x = "x" x (50<<20)'; echo up; read x <&3`)
	p.Line(t)
	before, err := p.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ResetPeak(t.Context()); err != nil {
		if slices.ContainsFunc(d.Missing(), func(m string) bool { return strings.HasPrefix(m, "memory peak:") }) {
			t.Skip("this kernel cannot start a peak anew, and the driver says so")
		}
		t.Fatal(err)
	}
	after, err := p.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bound := int64(25 << 20)
	if e.OwnKernel { // which gives memory back when it sees fit
		bound = before.MemoryPeakBytes - 1
	}
	if before.MemoryPeakBytes < 50<<20 || after.MemoryPeakBytes > bound || after.CPUMicros == 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func createRefuses(t *testing.T, e Engine) {
	d, _ := e.New(t, launcher.Config{})
	ok := sandbox.Spec{ID: "ok", Args: []string{"/bin/true"}}
	for _, tc := range []struct {
		name   string
		change func(*sandbox.Spec)
	}{
		{"no id", func(s *sandbox.Spec) { s.ID = "" }},
		{"path as id", func(s *sandbox.Spec) { s.ID = "../x" }},
		{"no arguments", func(s *sandbox.Spec) { s.Args = nil }},
		{"relative program", func(s *sandbox.Spec) { s.Args = []string{"true"} }},
		{"absent program", func(s *sandbox.Spec) { s.Args = []string{"/bin/none"} }},
		{"absent directory", func(s *sandbox.Spec) { s.Dir = "/none" }},
		{"root outside", func(s *sandbox.Spec) { s.Root = "/root" }},
		{"mount outside", func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Source: "/root", Target: "/opt"}} }},
		{"public listener", func(s *sandbox.Spec) { s.Listen = []string{"tcp:8.8.8.8:80"} }},
		{"bad listener", func(s *sandbox.Spec) { s.Listen = []string{"raw:127.0.0.1:80"} }},
		{"too much memory", func(s *sandbox.Spec) { s.Limits.MemoryBytes = 1 << 50 }},
		{"negative limit", func(s *sandbox.Spec) { s.Limits.PIDs = -1 }},
		{"bad environment", func(s *sandbox.Spec) { s.Env = []string{"novalue"} }},
	} {
		s := ok
		tc.change(&s)
		if b, err := d.Create(t.Context(), s); err == nil {
			t.Errorf("%s: no error", tc.name)
			b.Kill()
		}
	}
	b, err := d.Create(t.Context(), ok) // the id was not kept
	if err != nil {
		t.Fatal(err)
	}
	<-b.Done()
}

func launcherDies(t *testing.T, e Engine) {
	orphan := "test-orphan-" + suffix() // engines are tested at the same time
	d, l := e.New(t, launcher.Config{Instance: orphan, Spares: -1})
	p := Start(t, d, sandbox.Spec{}, "sleep 1000 & echo up; wait")
	p.Line(t)
	// Somebody stays in a group: another launcher that starts at this moment
	// would sweep groups without a process.
	stays := exec.Command("/bin/sleep", "1000")
	if err := stays.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = stays.Wait() }()
	t.Cleanup(func() { _ = stays.Process.Kill(); <-ended })
	groups := groupsOf(t, orphan)
	if len(groups) == 0 {
		t.Fatal("a sandbox without a group: the test shows nothing")
	}
	for _, dir := range groups { // of the one sandbox, in each hierarchy
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(stays.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(l.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.Rest(t) // the pipe closes when the last process is dead
	<-l.Done()
	if _, err := d.Create(context.Background(), sandbox.Spec{ID: "x", Args: []string{"/bin/true"}}); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("create: %v", err)
	}
	if len(groupsOf(t, orphan)) == 0 {
		t.Fatal("the killed launcher left no group: the test shows nothing")
	}
	// The successor removes what was left, with whoever is in it.
	d2, _ := e.New(t, launcher.Config{Instance: orphan, Spares: -1})
	q := Start(t, d2, sandbox.Spec{}, "echo up")
	q.Rest(t)
	<-ended
	if left := groupsOf(t, orphan); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
