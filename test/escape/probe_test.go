package escape

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"davy/test/davytest"
)

// probeName is argv[0] of this test program when it plays the hostile one.
const probeName = "probe"

// reached is what a probe answers when the attempt got through.
const reached = "reached"

// probes are the attempts. An error tells what stopped one.
var probes = map[string]func(args []string) error{
	"unshare-user": func([]string) error { // of one thread only, so not in this program
		if out, err := exec.Command("/usr/bin/unshare", "--user", "/bin/true").CombinedOutput(); err != nil {
			return fmt.Errorf("%s", strings.ToLower(string(out)))
		}
		return nil
	},
	"clone-user": func([]string) error {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = []string{probeName, "nothing"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		return cmd.Run()
	},
	"mount":  func([]string) error { return unix.Mount("x", "/tmp", "tmpfs", 0, "") },
	"chroot": func([]string) error { return unix.Chroot("/usr") },
	"remount-root": func([]string) error {
		return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "")
	},
	"raw-socket": func([]string) error { return socket(unix.AF_PACKET, unix.SOCK_RAW) },
	"vsock":      func([]string) error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM) },
	"wide-vsock": func([]string) error { // the kernel takes 32 bits of it
		fd, _, e := unix.RawSyscall(unix.SYS_SOCKET, 1<<32|unix.AF_VSOCK, unix.SOCK_STREAM, 0)
		if e != 0 {
			return e
		}
		return unix.Close(int(fd))
	},
	"inet-socket": func([]string) error { return socket(unix.AF_INET, unix.SOCK_STREAM) },
	"io_uring":    func([]string) error { return raw(unix.SYS_IO_URING_SETUP, 0, 0) },
	"keyctl":      func([]string) error { return raw(unix.SYS_KEYCTL, ^uintptr(0), 0) },
	"add_key":     func([]string) error { return raw(unix.SYS_ADD_KEY, 0, 0) },
	"perf":        func([]string) error { return raw(unix.SYS_PERF_EVENT_OPEN, 0, 0) },
	"userfaultfd": func([]string) error { return raw(unix.SYS_USERFAULTFD, ^uintptr(0), 0) },
	"bpf":         func([]string) error { return raw(unix.SYS_BPF, ^uintptr(0), 0) },
	"clone3":      func([]string) error { return raw(unix.SYS_CLONE3, 0, 0) },
	// Of a process that there cannot be: who asks to be traced is stopped by the
	// next signal, as Go's own of a thread that runs for long.
	"ptrace": func([]string) error { return raw(unix.SYS_PTRACE, unix.PTRACE_CONT, 1<<30) },
	"personality": func(a []string) error {
		p, err := strconv.ParseUint(a[0], 0, 32)
		if err != nil {
			return err
		}
		return raw(unix.SYS_PERSONALITY, uintptr(p), 0)
	},
	"setns": func([]string) error {
		fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, unix.CLONE_NEWNET)
	},
	"nothing": func([]string) error { return nil },
	"kill": func(a []string) error {
		pid, err := strconv.Atoi(a[0])
		if err != nil {
			return err
		}
		return unix.Kill(pid, 0)
	},
	"see-process": func(a []string) error {
		b, err := os.ReadFile("/proc/" + a[0] + "/cmdline")
		if err == nil && !strings.Contains(string(b), a[1]) {
			err = fmt.Errorf("another process: %q", b)
		}
		return err
	},
	"read": func(a []string) error {
		b, err := os.ReadFile(a[0])
		if err == nil && len(b) == 0 {
			err = fmt.Errorf("empty")
		}
		return err
	},
	"list": func(a []string) error {
		e, err := os.ReadDir(a[0])
		if err == nil && len(e) == 0 {
			err = fmt.Errorf("empty")
		}
		return err
	},
	"open-device": func(a []string) error {
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	},
	"write": func(a []string) error {
		f, err := os.OpenFile(a[0], os.O_WRONLY|os.O_CREATE, 0o666)
		if err == nil {
			_, err = f.WriteString(a[1])
			f.Close()
		}
		return err
	},
	"contains": func(a []string) error {
		b, err := os.ReadFile(a[0])
		if err == nil && !strings.Contains(string(b), a[1]) {
			err = fmt.Errorf("not in %s", a[0])
		}
		return err
	},
	"connect": func(a []string) error {
		c, err := net.DialTimeout(a[0], a[1], davytest.Limit)
		if err == nil {
			c.Close()
		}
		return err
	},
	"interfaces": func([]string) error {
		v, err := net.Interfaces()
		if err == nil && len(v) == 1 && v[0].Name == "lo" {
			err = fmt.Errorf("loopback only")
		}
		return err
	},
	"shm": func(a []string) error {
		key, err := strconv.Atoi(a[0])
		if err != nil {
			return err
		}
		_, err = unix.SysvShmGet(key, 4096, 0)
		return err
	},
	"hostname": func(a []string) error {
		h, err := os.Hostname()
		if err == nil && h != a[0] {
			err = fmt.Errorf("neutral")
		}
		return err
	},
	"capabilities": func([]string) error {
		b, err := os.ReadFile("/proc/self/status")
		if err == nil && strings.Contains(string(b), "CapEff:\t0000000000000000") {
			err = fmt.Errorf("none")
		}
		return err
	},
	"setuid-program": func(a []string) error {
		out, err := exec.Command(a[0], "-p", "-c", "id -u").Output()
		if err == nil && strings.TrimSpace(string(out)) != "0" {
			err = fmt.Errorf("still user %s", out)
		}
		return err
	},
	"fork-bomb":   func(a []string) error { return forkBomb(a[0]) },
	"descriptors": func(a []string) error { return descriptors(a[0]) },
	"memory": func(a []string) error {
		n, err := strconv.Atoi(a[0])
		if err != nil {
			return err
		}
		b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
		if err == nil {
			b[0] = 1
		}
		return err
	},
	"fill": func(a []string) error {
		n, err := strconv.Atoi(a[1])
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(a[0], "fill"), make([]byte, n), 0o600)
	},
}

func socket(family, kind int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// raw makes a call with arguments that the kernel itself would refuse with
// another error than a filter: that error shows that the call arrived.
func raw(nr, a, b uintptr) error {
	_, _, e := unix.RawSyscall6(nr, a, b, 0, ^uintptr(0), 0, 0)
	switch e {
	case unix.EPERM, unix.ENOSYS, unix.EACCES:
		return e
	}
	return nil
}

// forkBomb starts n processes that stay.
func forkBomb(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for i := range n {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{})
		r.Close()
		w.Close()
		if err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
		defer syscall.Kill(pid, syscall.SIGKILL)
	}
	return nil
}

func descriptors(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
			return fmt.Errorf("after %d: %w", i, err)
		}
	}
	return nil
}

// playProbe does not return if this process is a probe.
func playProbe() {
	if len(os.Args) < 2 || os.Args[0] != probeName {
		return
	}
	if err := probes[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println("stopped:", err)
	} else {
		fmt.Println(reached)
	}
	os.Exit(0)
}
