// Package testnet makes, for one test, a machine and an internet out of
// network namespaces, so that what reaches what can be tried without touching
// the machine that the test runs on and without an uplink.
//
// The test runs again in a process of its own whose network namespace is the
// machine's: its address is Host, it serves on Host and HostPrivate, and
// everything else it reaches through its default route, which leads to the
// internet. The internet is one more namespace that has the addresses that the
// test asks for, whatever they are: public ones, a cloud's metadata, a
// neighbour's.
package testnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Addresses of the machine. The other end of its uplink is Router.
const (
	Host        = "11.0.0.1" // as though the provider had given it a public one
	HostPrivate = "10.77.0.1"
	Router      = "11.0.0.2"
)

const again = "DAVY_TESTNET"

// Alone runs the test that calls it in a machine of its own and reports false;
// there, it reports true, and the test goes on. It takes root.
func Alone(t testing.TB) bool {
	t.Helper()
	if os.Getenv(again) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces with addresses of the test's choice need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("the program ip is missing (package iproute2)")
	}
	which, kind := "^"+t.Name()+"$", "-test.run="
	args := []string{kind + which, "-test.v", "-test.count=1", "-test.timeout=5m"}
	if _, ok := t.(*testing.B); ok {
		name, _, _ := strings.Cut(t.Name(), "/")
		args = []string{"-test.run=^$", "-test.bench=^" + name + "$", "-test.count=1", "-test.timeout=10m"}
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), again+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the child dies with the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	t.Logf("in a machine of its own:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "--- SKIP: "+t.Name()+" (") {
		t.Skip("skipped there")
	}
	return false
}

// Internet is what the machine's default route leads to.
type Internet struct {
	ns int // its namespace
}

// New makes the machine and the internet. addrs are the IPv4 addresses that
// the internet has.
func New(t testing.TB, addrs ...string) *Internet {
	t.Helper()
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "address", "add", HostPrivate+"/32", "dev", "lo")
	run(t, "ip", "link", "add", "uplink", "type", "veth", "peer", "name", "router")
	n := &Internet{}
	if err := apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		n.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(n.ns) })
	run(t, "ip", "link", "set", "router", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.ns))
	run(t, "ip", "address", "add", Host+"/24", "dev", "uplink")
	run(t, "ip", "link", "set", "uplink", "up")
	n.run(t, "ip", "link", "set", "lo", "up")
	n.run(t, "ip", "address", "add", Router+"/24", "dev", "router")
	n.run(t, "ip", "link", "set", "router", "up")
	for _, a := range addrs {
		n.run(t, "ip", "address", "add", a+"/32", "dev", "lo")
	}
	run(t, "ip", "route", "add", "default", "via", Router)
	return n
}

// Do runs f in the internet.
func (n *Internet) Do(f func() error) error {
	return apart(func() error {
		if err := unix.Setns(n.ns, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func (n *Internet) run(t testing.TB, args ...string) {
	t.Helper()
	if err := n.Do(func() error { return output(args) }); err != nil {
		t.Fatal(err)
	}
}

// Listen listens in the internet.
func (n *Internet) Listen(t testing.TB, address string) net.Listener {
	t.Helper()
	var l net.Listener
	err := n.Do(func() (err error) { l, err = net.Listen("tcp4", address); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket opens a UDP socket in the internet.
func (n *Internet) ListenPacket(t testing.TB, address string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	err := n.Do(func() (err error) { c, err = net.ListenPacket("udp4", address); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Inside runs f in the network namespace of a device: what f dials comes out
// of the environment that the device is of.
func Inside(device *os.File, f func() error) error {
	raw, err := device.SyscallConn()
	if err != nil {
		return err
	}
	const getNamespace = 0x54e3 // TUNGETDEVNETNS
	var ns uintptr
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) { ns, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, getNamespace, 0) }); err != nil {
		return err
	}
	if errno != 0 {
		return fmt.Errorf("namespace of the device: %w", errno)
	}
	defer unix.Close(int(ns))
	return apart(func() error {
		if err := unix.Setns(int(ns), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// apart runs f on a thread that ends with it.
func apart(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

func run(t testing.TB, args ...string) {
	t.Helper()
	if err := output(args); err != nil {
		t.Fatal(err)
	}
}

// output runs a program, on this thread and so in its namespace.
func output(args []string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		err = errors.Join(fmt.Errorf("%s: %s", strings.Join(args, " "), out), err)
	}
	return err
}

// ListenBoth gives a listener for TCP and one for UDP, on one port of loopback.
func ListenBoth(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return l, p
		}
		l.Close()
		if !errors.Is(err, unix.EADDRINUSE) { // by somebody else, over UDP
			t.Fatal(err)
		}
	}
}
