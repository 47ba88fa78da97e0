package pid1

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// listen makes what Spec.Listen names in the network namespace of the calling
// thread, in its order, and returns the descriptors:
//
//	tcp:ADDR:PORT   a listening socket; ADDR is added to the loopback device
//	udp:ADDR:PORT   the same, a bound socket
//	tun:ADDR/BITS   a device with that address and the default route
//
// It brings up the loopback device first. tuns are descriptors of [OpenTun],
// opened in the same namespace, one for each "tun:" entry; they are returned
// in their place. It takes CAP_NET_ADMIN over the namespace and nothing else
// of this package, so that whoever makes or holds a namespace can call it.
func listen(specs []string, hostNetwork bool, tuns ...int) (fds []int, err error) {
	if !hostNetwork {
		if err := loopbackUp(); err != nil {
			return nil, err
		}
	}
	k, err := dialKernel()
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	defer k.close()
	have := map[netip.Addr]bool{}
	for _, s := range specs {
		var fd int
		if strings.HasPrefix(s, "tun:") {
			fd, tuns, err = tun(s, tuns)
		} else {
			fd, err = k.socket(s, have)
		}
		if err != nil {
			return nil, fmt.Errorf("listen %s: %w", s, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// tun makes a device of the first descriptor and returns the others.
func tun(spec string, tuns []int) (int, []int, error) {
	at, ok := parseTun(spec)
	if !ok {
		return -1, nil, errors.New("not an address with a prefix")
	}
	if len(tuns) == 0 {
		return -1, nil, errors.New("no descriptor for it")
	}
	return tuns[0], tuns[1:], makeTun(tuns[0], at)
}

// socket binds a socket. It gives the loopback device the address unless it is
// among those it has.
func (k kernel) socket(spec string, have map[netip.Addr]bool) (int, error) {
	proto, rest, _ := strings.Cut(spec, ":")
	at, err := netip.ParseAddrPort(rest)
	if err != nil {
		return -1, err
	}
	a := at.Addr()
	if !a.Is4() {
		return -1, errors.New("not an IPv4 address")
	}
	if !a.IsLoopback() && !have[a] {
		const loopback = 1 // the interface of every network namespace
		if err := k.addAddress(loopback, netip.PrefixFrom(a, 32), unix.RT_SCOPE_HOST); err != nil {
			return -1, err
		}
		have[a] = true
	}
	return bind(proto, at)
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
	if err := deviceUp(fd, "lo"); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// deviceUp brings up a device; fd is any IPv4 socket.
func deviceUp(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
