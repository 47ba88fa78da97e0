package pid1

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is the name inside of the device that a "tun:" entry makes, and MTU
// its packet size in bytes: the largest that IPv4 has. Nothing but memory is
// between its two ends, and a packet costs the same whatever is in it.
const (
	Device = "eth0"
	MTU    = 65535
)

// tunPath is the kernel's door to such devices.
const tunPath = "/dev/net/tun"

// OpenTun opens what a device will be made of. The device will be in the
// network namespace that the calling thread is in now, which is why the first
// process of a sandbox is given the descriptor: it is in the right namespace,
// but its user may not open the file, and its control group no such device.
func OpenTun() (int, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", tunPath, err)
	}
	return fd, nil
}

// RehearseTun makes a device as a sandbox has it in a network namespace of the
// calling thread's own, and tells why that does not work here. The thread must
// end with it.
func RehearseTun() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	fd, err := OpenTun()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return makeTun(fd, netip.MustParsePrefix("169.254.100.2/32"))
}

// makeTun turns the descriptor into a device with an address and the default
// route. Packets written to the descriptor arrive inside, those that leave can
// be read from it, each with its IPv4 header in front.
func makeTun(fd int, at netip.Prefix) error {
	if !at.Addr().Is4() {
		return errors.New("not an IPv4 address")
	}
	ifr, err := unix.NewIfreq(Device)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("make the device: %w", err)
	}
	// The device ends with its namespace, which the kernel clears up behind our
	// backs. To end with its descriptor it would hold up who closes that, the
	// server, for tens of milliseconds.
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keep the device: %w", err)
	}
	// IPv4 is all that is carried. Without this the kernel would send packets
	// of its own accord (router solicitations), and each of them costs the
	// server something. Where it cannot be written they are dropped there.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+Device+"/disable_ipv6", []byte("1"), 0)

	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if ifr, err = unix.NewIfreq(Device); err != nil {
		return err
	}
	ifr.SetUint32(MTU)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFMTU, ifr); err != nil {
		return fmt.Errorf("packet size: %w", err)
	}
	if ifr, err = unix.NewIfreq(Device); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, ifr); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	index := ifr.Uint32()
	if err := deviceUp(s, Device); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	k, err := dialKernel()
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.addAddress(index, at, unix.RT_SCOPE_UNIVERSE); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if err := k.addDefaultRoute(index); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	return nil
}

// parseTun reads ADDR/PREFIX.
func parseTun(s string) (netip.Prefix, bool) {
	rest, ok := strings.CutPrefix(s, "tun:")
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(rest)
	return p, err == nil
}
