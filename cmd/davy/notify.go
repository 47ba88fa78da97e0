package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// notifySocket names, in the environment, the socket on which systemd hears
// how a service of Type=notify does.
// https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
const notifySocket = "NOTIFY_SOCKET"

// notify tells systemd a state, such as "READY=1". Without a socket in the
// environment nobody listens, which is no error.
func notify(state string) error {
	address := os.Getenv(notifySocket)
	if address == "" {
		return nil
	}
	if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "@") {
		return fmt.Errorf("%s is %q: want a path or an abstract name", notifySocket, address)
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}
