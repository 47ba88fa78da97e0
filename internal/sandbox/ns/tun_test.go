package ns_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
)

// Who closes the descriptor ends what is carried, not the sandbox.
func TestListen_DeviceGoesSilentWithItsDescriptor(t *testing.T) {
	d, _ := sandboxtest.New(t, launcher.Config{})
	if !sandbox.HasEgress(d) {
		t.Skip(d.Missing())
	}
	p := start(t, d, sandbox.Spec{Listen: []string{"tun:169.254.100.2/32"}}, `
		read x <&3; exec perl -MSocket -e '
			socket(S, PF_INET, SOCK_DGRAM, 0) or die;
			send(S, "x", 0, sockaddr_in(7, inet_aton("198.51.100.9"))); print "alive\n"' `)
	p.Listeners()[0].Close()
	p.say(t, "go")
	if got := p.rest(t); got != "alive" {
		t.Errorf("%q", got)
	}
}

// What is behind the device belongs to the server: the workload can neither
// open one nor change the one it has.
func TestListen_DeviceIsNotTheWorkloads(t *testing.T) {
	d, _ := sandboxtest.New(t, launcher.Config{})
	if !sandbox.HasEgress(d) {
		t.Skip(d.Missing())
	}
	p := start(t, d, sandbox.Spec{Listen: []string{"tun:169.254.100.2/32"}}, `
		ls /dev/net 2>&1
		perl -e 'use Fcntl; $r = pack("a16 s x22", "eth0", 0); socket(S, 2, 2, 0);
			print ioctl(S, 0x8914, $r) ? "changed\n" : "$!\n"'
		ls -l /proc/self/fd | grep -c tun`)
	defer p.Listeners()[0].Close()
	got := p.rest(t)
	if !strings.Contains(got, "/dev/net") || !strings.Contains(got, "Operation not permitted") || !strings.HasSuffix(got, "\n0") {
		t.Errorf("%s", got)
	}
}

func TestListen_WithoutDeviceNothingIsReached(t *testing.T) {
	d, _ := sandboxtest.New(t, launcher.Config{})
	p := start(t, d, sandbox.Spec{}, `exec perl -MSocket -e '
		socket(S, PF_INET, SOCK_DGRAM, 0) or die;
		print send(S, "x", 0, sockaddr_in(7, inet_aton("198.51.100.9"))) ? "sent" : $!'`)
	if got := p.rest(t); got != "Network is unreachable" {
		t.Errorf("%s", got)
	}
}

// Rootless: as far as the machine lets its users open /dev/net/tun.
func TestListen_DeviceWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("this test is about ordinary users")
	}
	d, _ := sandboxtest.NewAsIs(t, launcher.Config{})
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	if (err == nil) != sandbox.HasEgress(d) {
		t.Fatalf("open: %v; missing: %q", err, d.Missing())
	}
	if err != nil {
		return
	}
	p := start(t, d, sandbox.Spec{Listen: []string{"tun:169.254.100.2/32"}}, `read x <&3; grep -c eth0 /proc/net/dev`)
	dev := p.Listeners()[0]
	defer dev.Close()
	p.say(t, "go")
	if got := p.rest(t); got != "1" {
		t.Errorf("%s devices", got)
	}
}
