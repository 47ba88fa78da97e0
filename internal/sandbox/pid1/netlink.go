package pid1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// kernel is a conversation about addresses and routes of the network namespace
// that it was begun in.
type kernel int

func dialKernel() (kernel, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("netlink: %w", err)
	}
	return kernel(fd), nil
}

func (k kernel) close() { unix.Close(int(k)) }

// addAddress gives a device one more IPv4 address. One that it has already is
// fine.
func (k kernel) addAddress(index uint32, at netip.Prefix, scope uint8) error {
	b := []byte{unix.AF_INET, uint8(at.Bits()), 0, scope} // family, prefix, flags, scope
	b = binary.NativeEndian.AppendUint32(b, index)
	ip := at.Addr().As4()
	for _, attr := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		b = appendAttr(b, attr, ip[:])
	}
	return k.create(unix.RTM_NEWADDR, b)
}

// addDefaultRoute sends what has no other way to a device.
func (k kernel) addDefaultRoute(index uint32) error {
	b := []byte{
		unix.AF_INET, 0, 0, 0, // family, destination, source, type of service
		unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST,
		0, 0, 0, 0, // flags
	}
	return k.create(unix.RTM_NEWROUTE, appendAttr(b, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, index)))
}

func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, value...) // every value here has a multiple of four bytes
}

// create asks for something new and waits for the answer.
func (k kernel) create(kind uint16, body []byte) error {
	le := binary.NativeEndian
	b := le.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = le.AppendUint16(b, kind)
	b = le.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b = le.AppendUint32(b, 1) // sequence
	b = le.AppendUint32(b, 0) // port
	b = append(b, body...)
	if err := unix.Sendto(int(k), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(int(k), reply, 0)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if n < 20 || le.Uint16(reply[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink: unexpected answer")
	}
	if e := int32(le.Uint32(reply[16:])); e != 0 && unix.Errno(-e) != unix.EEXIST {
		return fmt.Errorf("netlink: %w", unix.Errno(-e))
	}
	return nil
}
