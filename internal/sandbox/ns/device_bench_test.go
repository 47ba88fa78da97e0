package ns_test

import (
	"fmt"
	"testing"
	"time"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
)

// BenchmarkDevice is what the network device adds to a sandbox: until it runs,
// and until nothing of it is left.
func BenchmarkDevice(b *testing.B) {
	d, _ := sandboxtest.New(b, launcher.Config{})
	for _, tc := range []struct {
		name   string
		listen []string
	}{{"without", []string{"tcp:169.254.100.1:80"}}, {"with", []string{"tcp:169.254.100.1:80", "tun:169.254.100.2/32"}}} {
		b.Run(tc.name, func(b *testing.B) {
			var up, closing, down time.Duration
			n := 0
			for b.Loop() {
				t0 := time.Now()
				s, err := d.Create(b.Context(), sandbox.Spec{ID: fmt.Sprint("b", n), Args: []string{"/bin/sleep", "1000"}, Listen: tc.listen})
				if err != nil {
					b.Fatal(err)
				}
				n++
				t1 := time.Now()
				s.Kill()
				<-s.Done()
				t2 := time.Now()
				for _, f := range s.Listeners() {
					f.Close()
				}
				t3 := time.Now()
				up, down, closing = up+t1.Sub(t0), down+t2.Sub(t1), closing+t3.Sub(t2)
			}
			b.ReportMetric(float64(up.Microseconds())/float64(n), "µs/create")
			b.ReportMetric(float64(down.Microseconds())/float64(n), "µs/end")
			b.ReportMetric(float64(closing.Microseconds())/float64(n), "µs/close")
		})
	}
}
