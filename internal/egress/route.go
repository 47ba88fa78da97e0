package egress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// routeOf asks the kernel what it would do with a packet to an IPv4 address,
// and tells why no flow may be opened to it; empty: it leaves this machine.
//
// A list of the addresses of all devices would be old when it is used, and
// would lack whole networks that are routed to this machine itself.
func routeOf(a netip.Addr) (string, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return "", fmt.Errorf("netlink: %w", err)
	}
	defer unix.Close(fd)
	le := binary.NativeEndian
	b := le.AppendUint32(nil, unix.SizeofNlMsghdr+unix.SizeofRtMsg+8)
	b = le.AppendUint16(b, unix.RTM_GETROUTE)
	b = le.AppendUint16(b, unix.NLM_F_REQUEST)
	b = le.AppendUint32(b, 1)                                     // sequence
	b = le.AppendUint32(b, 0)                                     // port
	b = append(b, unix.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // family, bits, defaults
	b = le.AppendUint16(b, 8)
	b = le.AppendUint16(b, unix.RTA_DST)
	ip := a.As4()
	b = append(b, ip[:]...)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return "", fmt.Errorf("netlink: %w", err)
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil {
		return "", fmt.Errorf("netlink: %w", err)
	}
	return readRoute(reply[:n])
}

// readRoute reads the kernel's answer.
func readRoute(b []byte) (string, error) {
	if len(b) < unix.SizeofNlMsghdr+unix.SizeofNlMsgerr {
		return "", errors.New("netlink: short answer")
	}
	body := b[unix.SizeofNlMsghdr:]
	switch binary.NativeEndian.Uint16(b[4:]) {
	case unix.NLMSG_ERROR:
		switch e := unix.Errno(-int32(binary.NativeEndian.Uint32(body))); e {
		case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL:
			return "no route", nil
		default:
			return "", fmt.Errorf("netlink: %w", e)
		}
	case unix.RTM_NEWROUTE:
		switch body[7] {
		case unix.RTN_UNICAST:
			return "", nil
		case unix.RTN_LOCAL:
			return "address of this machine", nil
		case unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST:
			return "broadcast", nil
		}
		return "no route", nil
	}
	return "", errors.New("netlink: unexpected answer")
}
