package egress_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

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
	inside := func(f func() error) error { return testnet.Inside(s.device, f) }
	outside := func(f func() error) error { return f() }
	for _, way := range []struct {
		name  string
		where func(f func() error) error
	}{{"egress", inside}, {"direct", outside}} {
		run := func(what string, f func(b *testing.B) error) {
			b.Run(what+"/"+way.name, func(b *testing.B) {
				if err := way.where(func() error { return f(b) }); err != nil {
					b.Fatal(err)
				}
			})
		}
		run("send", func(b *testing.B) error {
			b.SetBytes(gib)
			buf := make([]byte, 256<<10)
			for b.Loop() {
				c, err := net.Dial("tcp", web+":80")
				if err != nil {
					return err
				}
				for range gib / len(buf) {
					if _, err := c.Write(buf); err != nil {
						return err
					}
				}
				_ = c.(*net.TCPConn).CloseWrite()
				if _, err := io.ReadFull(c, buf[:1]); err != nil {
					return err
				}
				c.Close()
			}
			return nil
		})
		run("receive", func(b *testing.B) error {
			b.SetBytes(gib)
			buf := make([]byte, 256<<10)
			for b.Loop() {
				c, err := net.Dial("tcp", web+":81")
				if err != nil {
					return err
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, c, buf)
				if n != gib || err != nil {
					return fmt.Errorf("%d bytes: %w", n, err)
				}
				c.Close()
			}
			return nil
		})
		run("connect", func(b *testing.B) error {
			// As few as an environment may open at once: more would measure
			// that bound.
			var took []time.Duration
			for range 500 {
				t0 := time.Now()
				c, err := net.Dial("tcp", web+":82")
				if err != nil {
					return err
				}
				took = append(took, time.Since(t0))
				c.Close()
			}
			for b.Loop() {
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs/p99")
			return nil
		})
		run("roundtrip", func(b *testing.B) error {
			c, err := net.Dial("tcp", web+":82")
			if err != nil {
				return err
			}
			defer c.Close()
			one := make([]byte, 1)
			for b.Loop() {
				if _, err := c.Write(one); err != nil {
					return err
				}
				if _, err := io.ReadFull(c, one); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
