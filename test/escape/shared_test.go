package escape

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/sandboxtest"
	"davy/internal/sandbox/wire"
)

// exhaust are ways to use up what a user, or all of the host, has only so much
// of. Each goes on until the kernel gives no more, or n times; then the host
// gives back what it took.
var exhaust = map[string]func(n int) error{
	"inotify": func(n int) error {
		for range n {
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			if err != nil {
				return err
			}
			if n == few {
				defer unix.Close(fd)
			}
		}
		return nil
	},
	// As many as enough processes have: all that root may have would be missing
	// in the tests that run beside this one.
	"timers": func(n int) error {
		const enough = 10000
		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_SIGPENDING, &was); err != nil {
			return err
		}
		less := was
		less.Cur = min(less.Cur, enough)
		if err := unix.Setrlimit(unix.RLIMIT_SIGPENDING, &less); err != nil {
			return err
		}
		defer func() { _ = unix.Setrlimit(unix.RLIMIT_SIGPENDING, &was) }()
		var event struct { // struct sigevent
			value          uint64
			signal, notify int32
			_              [48]byte
		}
		event.signal = int32(unix.SIGUSR1)
		for range n {
			var id int32
			if _, _, e := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&id))); e != 0 {
				return e
			}
			if n == few {
				defer unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(id), 0, 0)
			}
		}
		return nil
	},
}

// few is more than other processes of root give back meanwhile.
const few = 16

func init() {
	probes["exhaust"] = func(a []string) error {
		err := exhaust[a[0]](1 << 20)
		fmt.Println("full")
		_, _ = bufio.NewReader(os.NewFile(3, "hold")).ReadString('\n')
		return err
	}
	probes["aio"] = func([]string) error { return raw(unix.SYS_IO_SETUP, 1, 0) }
	probes["seccomp"] = func([]string) error { return raw(unix.SYS_SECCOMP, ^uintptr(0), 0) }
	probes["seccomp-prctl"] = func([]string) error { return raw(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, ^uintptr(0)) }
	probes["socket-filter"] = func([]string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		all := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &all})
	}
	probes["core-limit"] = func([]string) error {
		if err := unix.Setrlimit(unix.RLIMIT_CORE, new(unix.Rlimit)); err != nil {
			return err
		}
		var now unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &now); err != nil {
			return err
		}
		if now.Cur == 1 {
			return fmt.Errorf("still 1")
		}
		return nil
	}
	probes["socket-memory"] = func([]string) error { return fillSockets(40) }
}

// fillSockets connects with itself so many times and writes until nothing is
// taken any more. It is an error when that is not much.
func fillSockets(pairs int) error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listener, 8)); err != nil {
		return err
	}
	at, err := unix.Getsockname(listener)
	if err != nil {
		return err
	}
	taken, b := 0, make([]byte, 1<<16)
	for range pairs {
		out, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(out, at); err != nil {
			return err
		}
		in, _, err := unix.Accept(listener)
		if err != nil {
			return err
		}
		for _, fd := range []int{out, in} {
			n := 0
			for err := error(nil); err == nil; n, err = unix.SendmsgN(fd, b, nil, nil, unix.MSG_DONTWAIT) {
				taken += n
			}
		}
	}
	if taken < 100<<20 {
		return fmt.Errorf("held below 100 MiB")
	}
	return nil
}

// What is counted for a user counts for the user that a sandbox's namespace
// belongs to as well. A function that uses up all of it must not have used up
// the host's, or another function's.
func TestEscape_UsesUpItsOwnOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: otherwise all sandboxes belong to one user")
	}
	w := newWorld(t)
	for what, use := range exhaust {
		for name, ablate := range map[string]wire.Ablation{"sandboxed": 0, "of one owner": wire.AblateOwnUIDs} {
			t.Run(what+" "+name, func(t *testing.T) {
				d, _ := sandboxtest.New(t, config(w, ablate))
				p := sandboxtest.Start(t, d, sandbox.Spec{
					ID: "greedy", Mounts: []sandbox.Mount{{Source: w.dir, Target: "/opt"}},
					Limits: sandbox.Limits{MemoryBytes: 256 << 20, PIDs: 64, OpenFiles: 4096},
				}, `exec /usr/bin/perl -e '$p = shift; exec {$p} "`+probeName+`", @ARGV' /opt/probe exhaust `+what)
				if got := p.Line(t); got != "full" {
					t.Fatalf("the probe says %q", got)
				}
				host := use(few)
				p.Say(t, "done")
				if got := p.Rest(t); !strings.Contains(got, "stopped") {
					t.Errorf("no end to it: %q", got)
				}
				if ablate == 0 && host != nil {
					t.Errorf("nothing is left for the host: %v", host)
				}
				if ablate != 0 && host == nil {
					t.Error("cannot fail: the host has some left although the sandbox is root's")
				}
			})
		}
	}
}
