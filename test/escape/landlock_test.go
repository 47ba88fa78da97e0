package escape

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/pid1"
	"davy/internal/sandbox/sandboxtest"
	"davy/internal/sandbox/wire"
)

func init() {
	// A descriptor of a directory of the host, as bugs in container runtimes
	// have left one in containers.
	probes["leaked-directory"] = func(a []string) error {
		fd, err := unix.Openat(3, a[0], unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if n, err := unix.Read(fd, make([]byte, 8)); err != nil || n == 0 {
			return fmt.Errorf("read %d bytes, %w", n, err)
		}
		return nil
	}
}

func needLandlock(t *testing.T, version int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if n := pid1.LandlockABI(); n < version {
		t.Skipf("the kernel has version %d of Landlock, this needs %d: see /sys/kernel/security/lsm", n, version)
	}
}

// attempt is try with a descriptor 3.
func attempt(t *testing.T, d sandbox.Driver, w *world, leaked *os.File, probe ...string) string {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	b, err := d.Create(t.Context(), sandbox.Spec{
		ID: fmt.Sprint("landlock-", serial.Add(1)), Mounts: []sandbox.Mount{{Source: w.dir, Target: "/opt"}},
		Args: append([]string{"/usr/bin/perl", "-e", `$^F = 3; $p = shift; exec {$p} "` + probeName + `", @ARGV`, "/opt/probe"}, probe...),
		Env:  []string{"PATH=/usr/bin:/bin"}, Stdout: in, Stderr: in, Files: []*os.File{leaked},
	})
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	<-b.Done()
	return strings.TrimSpace(string(text))
}

// What Landlock stops when another protection has failed, and that nothing
// else does then.
func TestLandlock_IsASecondLayer(t *testing.T) {
	w := newWorld(t)
	outside, err := os.Open(filepath.Dir(w.secret))
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	denied, eperm := "permission denied", "operation not permitted"
	for _, r := range []struct {
		name    string
		version int
		probe   []string
		without wire.Ablation // the first layer
		stopped string
	}{
		{"a leaked directory", 2, []string{"leaked-directory", "secret"}, 0, denied},
		{"write to mounted code", 2, []string{"write", "/opt/new", "x"}, wire.AblateReadOnly, denied},
		{"fill the root", 2, []string{"fill", "/run", "4096"}, wire.AblateReadOnly | caps, denied},
		{"own out-of-memory score", 2, []string{"write", "/proc/self/oom_score_adj", "900"}, wire.AblateMasks, denied},
		{"mount", 2, []string{"mount"}, caps, eperm},
		{"abstract socket of the host", 6, []string{"connect", "unix", w.unix}, wire.AblateNetwork, eperm},
	} {
		t.Run(r.name, func(t *testing.T) {
			needLandlock(t, r.version)
			try := func(off wire.Ablation) string {
				_ = os.Remove(filepath.Join(w.dir, "new"))
				d, _ := sandboxtest.New(t, config(w, off))
				return attempt(t, d, w, outside, r.probe...)
			}
			if got := try(r.without); !strings.Contains(got, r.stopped) || strings.Contains(got, reached) {
				t.Errorf("not stopped: %q, want %q", got, r.stopped)
			}
			if got := try(r.without | lock); got != reached {
				t.Errorf("cannot fail: without Landlock it is %q", got)
			}
		})
	}
}

// What programs do in a sandbox is none of Landlock's business.
func TestLandlock_LeavesTheOrdinaryAlone(t *testing.T) {
	needLandlock(t, 2)
	code := t.TempDir()
	if err := os.WriteFile(filepath.Join(code, "run"), []byte("#!/bin/sh\necho attached\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(code), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := launcher.Config{Roots: []string{code}, Spares: -1}
	inMemory, _ := sandboxtest.New(t, cfg)
	drivers := map[string]sandbox.Driver{"/tmp in memory": inMemory}
	cfg.ScratchDir = t.TempDir()
	drivers["/tmp on disk"], _ = sandboxtest.New(t, cfg)
	for where, d := range drivers {
		for _, tc := range []struct{ name, script, want string }{
			{"rename and link across directories", `for d in /tmp /dev/shm; do mkdir $d/a $d/b; echo x > $d/a/f; mv $d/a/f $d/b/g; ln $d/b/g $d/a/h; cat $d/a/h; rm -r $d/a $d/b; done`, "x\nx"},
			{"pipes, links, truncation", `cd /tmp; mkfifo p; ln -s p q; echo long > f; : > f; truncate -s 5 f; wc -c < f; ls`, "5\nf\np\nq"},
			{"devices", `echo x > /dev/null; : > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c`, "3\n3"},
			{"programs in /tmp", `cp /bin/echo /tmp/e && /tmp/e run`, "run"},
			{"signals", `sleep 100 & kill -0 $! && kill $!; echo $?; cat /proc/$$/comm`, "0\nsh"},
			{"memory files", `perl -e 'require "syscall.ph" if 0; my $fd = syscall(` + fmt.Sprint(unix.SYS_MEMFD_CREATE) + `, my $n = "m", 0); open my $f, "+<&=", $fd or die $!; print $f "in memory"; $f->flush; open my $g, "<", "/proc/self/fd/$fd" or die $!; print <$g>' -MIO::Handle`, "in memory"},
			{"sockets", `perl -MSocket -MIO::Socket::INET -MIO::Socket::UNIX -e '
				for my $name ("/tmp/s", "\0abstract") {
					my $l = IO::Socket::UNIX->new(Local => $name, Listen => 1) or die "listen: $!";
					IO::Socket::UNIX->new(Peer => $name) or die "connect: $!"; print "unix\n";
				}
				my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1) or die "listen: $!";
				IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $l->sockport) or die "connect: $!"; print "tcp\n"'`, "unix\nunix\ntcp"},
		} {
			t.Run(where+"/"+tc.name, func(t *testing.T) {
				if got := runShell(t, d, sandbox.Limits{}, tc.script).rest(t); got != tc.want {
					t.Errorf("%q, want %q", got, tc.want)
				}
			})
		}
		t.Run(where+"/code that comes later", func(t *testing.T) {
			p := runShell(t, d, sandbox.Limits{}, `read x <&3; /var/task/run; cat /var/task/run | wc -l; ls /opt; cd /var/task && ./run`)
			err := p.Attach(t.Context(), sandbox.Mount{Source: code, Target: "/var/task"}, sandbox.Mount{Source: code, Target: "/opt"})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(p.in, "go")
			if got := p.rest(t); got != "attached\n2\nrun\nattached" {
				t.Errorf("%q", got)
			}
		})
	}
	t.Run("a /tmp in memory that grows", func(t *testing.T) {
		p := runShell(t, inMemory, sandbox.Limits{TmpBytes: 1 << 20}, `read x <&3; head -c 3000000 /dev/zero > /tmp/f && stat -c %s /tmp/f`)
		if err := p.Limit(t.Context(), sandbox.Limits{TmpBytes: 8 << 20}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(p.in, "go")
		if got := p.rest(t); got != "3000000" {
			t.Errorf("%q", got)
		}
	})
}
