package pid1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// listen brings up the loopback device of the network namespace, gives it the
// addresses, and binds the sockets: "tcp:ADDR:PORT", "udp:ADDR:PORT".
func listen(specs []string, hostNetwork bool) ([]int, error) {
	if !hostNetwork {
		if err := loopbackUp(); err != nil {
			return nil, err
		}
	}
	have := map[netip.Addr]bool{}
	var fds []int
	for _, s := range specs {
		proto, rest, _ := strings.Cut(s, ":")
		at, err := netip.ParseAddrPort(rest)
		if err != nil {
			return nil, fmt.Errorf("listen %s: %w", s, err)
		}
		if a := at.Addr(); !a.IsLoopback() && !have[a] {
			if err := addAddress(a); err != nil {
				return nil, fmt.Errorf("listen %s: %w", s, err)
			}
			have[a] = true
		}
		fd, err := bind(proto, at)
		if err != nil {
			return nil, fmt.Errorf("listen %s: %w", s, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func bind(proto string, at netip.AddrPort) (int, error) {
	kind := unix.SOCK_STREAM
	if proto == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// addAddress gives the loopback device one more IPv4 address. "lo" is
// interface 1 of every network namespace.
func addAddress(a netip.Addr) error {
	if !a.Is4() {
		return errors.New("not an IPv4 address")
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	le := binary.NativeEndian
	var b []byte
	b = le.AppendUint32(b, 16+8+8+8)
	b = le.AppendUint16(b, unix.RTM_NEWADDR)
	b = le.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b = le.AppendUint32(b, 1)                              // sequence
	b = le.AppendUint32(b, 0)                              // port
	b = append(b, unix.AF_INET, 32, 0, unix.RT_SCOPE_HOST) // family, prefix, flags, scope
	b = le.AppendUint32(b, 1)                              // interface
	for _, attr := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		b = le.AppendUint16(b, 8)
		b = le.AppendUint16(b, attr)
		ip := a.As4()
		b = append(b, ip[:]...)
	}
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil {
		return err
	}
	if n < 20 || le.Uint16(reply[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink: unexpected answer")
	}
	if e := int32(le.Uint32(reply[16:])); e != 0 && unix.Errno(-e) != unix.EEXIST {
		return fmt.Errorf("netlink: %w", unix.Errno(-e))
	}
	return nil
}
