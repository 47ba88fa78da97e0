package egress_test

import (
	"io"
	"net"
	"testing"

	"davy/internal/egress"
	"davy/test/testnet"
)

// BenchmarkTCP is a stream through the way out, each way, and a connection
// with one byte each way, beside the same without the way out: from this
// machine to the same addresses.
func BenchmarkTCP(b *testing.B) {
	if !testnet.Alone(b) {
		return
	}
	s := newSite(b, egress.Policy{})
	const gib = 1 << 30
	s.serve(web+":80", func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c); _, _ = c.Write([]byte{1}) })
	s.serve(web+":81", func(c *net.TCPConn) { _, _ = io.Copy(c, io.LimitReader(zeros{}, gib)) })
	s.serve(web+":82", echo)
	direct := func(network, address string) (net.Conn, error) { return net.Dial(network, address) }
	for _, way := range []struct {
		name string
		dial func(network, address string) (net.Conn, error)
	}{{"egress", s.dial}, {"direct", direct}} {
		b.Run("send/"+way.name, func(b *testing.B) {
			b.SetBytes(gib)
			for b.Loop() {
				c, err := way.dial("tcp", web+":80")
				if err != nil {
					b.Fatal(err)
				}
				buf := make([]byte, 256<<10)
				for range gib / len(buf) {
					if _, err := c.Write(buf); err != nil {
						b.Fatal(err)
					}
				}
				_ = c.(*net.TCPConn).CloseWrite()
				if _, err := io.ReadFull(c, buf[:1]); err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
		b.Run("receive/"+way.name, func(b *testing.B) {
			b.SetBytes(gib)
			for b.Loop() {
				c, err := way.dial("tcp", web+":81")
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, c); n != gib || err != nil {
					b.Fatal(n, err)
				}
				c.Close()
			}
		})
		b.Run("connect/"+way.name, func(b *testing.B) {
			for b.Loop() {
				c, err := way.dial("tcp", web+":82")
				if err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
		b.Run("roundtrip/"+way.name, func(b *testing.B) {
			c, err := way.dial("tcp", web+":82")
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			one := make([]byte, 1)
			for b.Loop() {
				if _, err := c.Write(one); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, one); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
