package main

import (
	"net"
	"path/filepath"
	"testing"
)

func TestNotify(t *testing.T) {
	for _, address := range []string{filepath.Join(t.TempDir(), "notify"), "@davy-notify-test"} {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		t.Setenv(notifySocket, address)
		if err := notify("READY=1"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, err := l.Read(b); err != nil || string(b[:n]) != "READY=1" {
			t.Errorf("%s: %q, %v", address, b[:n], err)
		}
	}
	for address, fails := range map[string]bool{"": false, "vsock:2:1234": true, filepath.Join(t.TempDir(), "nobody"): true} {
		t.Setenv(notifySocket, address)
		if err := notify("READY=1"); (err != nil) != fails {
			t.Errorf("%q: %v", address, err)
		}
	}
}
