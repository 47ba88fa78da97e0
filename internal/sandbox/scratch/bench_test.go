package scratch

import (
	"testing"

	"golang.org/x/sys/unix"
)

// cpu is what this process has used, the kernel's work for it included.
func cpu(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkVolume is what a volume costs in its life: made, and gone.
func BenchmarkVolume(b *testing.B) {
	for name, bytes := range map[string]int64{"512MB": Usual, "10GB": 10 << 30} {
		b.Run(name, func(b *testing.B) {
			s := open(b, Config{})
			sh, _ := s.shelfFor(bytes)
			im, err := s.imageOf(b.Context(), sh)
			if err != nil {
				b.Fatal(err)
			}
			var made, gone float64
			for b.Loop() {
				began := cpu(b)
				v, err := s.make(im, bytes)
				if err != nil {
					b.Fatal(err)
				}
				made += cpu(b) - began
				began = cpu(b)
				if err := v.unmount(); err != nil {
					b.Fatal(err)
				}
				gone += cpu(b) - began
			}
			b.ReportMetric(made/float64(b.N)/1e6, "make-cpu-ms/op")
			b.ReportMetric(gone/float64(b.N)/1e6, "end-cpu-ms/op")
		})
	}
}

// BenchmarkTake is what a sandbox waits for when a volume is ready.
func BenchmarkTake(b *testing.B) {
	s := open(b, Config{Ready: 2})
	for b.Loop() {
		b.StopTimer()
		if err := s.stock(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		v, err := s.Take(b.Context(), Usual)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		v.Close()
		s.wg.Wait()
		b.StartTimer()
	}
}
