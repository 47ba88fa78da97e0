package egress

import (
	"os"
	"runtime"
	"testing"
)

// BenchmarkMemory is what a way out holds in this process: while its
// environment has sent nothing, and with a stack without flows.
func BenchmarkMemory(b *testing.B) {
	g, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	const n = 500
	held := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	for b.Loop() {
		var ways []*Way
		var files []*os.File
		before := held()
		for range n {
			r, w, err := os.Pipe() // as silent as an idle device
			if err != nil {
				b.Fatal(err)
			}
			way, err := g.Attach(b.Context(), "env", r)
			if err != nil {
				b.Fatal(err)
			}
			r.Close()
			ways, files = append(ways, way), append(files, w)
		}
		idle := held()
		for _, w := range ways {
			w.inject(append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 169, 254, 100, 2, 10, 1, 1, 1}, make([]byte, 8)...))
		}
		active := held()
		b.ReportMetric(float64(idle-before)/n, "B/idle")
		b.ReportMetric(float64(active-idle)/n, "B/stack")
		b.ReportMetric(float64(Goroutines())/n, "goroutines/stack")
		for i, w := range ways {
			w.Close()
			files[i].Close()
		}
	}
}
