package ns_test

import (
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
)

// BenchmarkFirstInstruction measures from the call until the started program
// has written its first byte. The floor is fork and exec with no sandbox.
func BenchmarkFirstInstruction(b *testing.B) {
	b.Run("fork+exec", func(b *testing.B) {
		for b.Loop() {
			r, w, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			cmd := exec.Command("/bin/echo", "up")
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			w.Close()
			if _, err := r.Read(make([]byte, 8)); err != nil {
				b.Fatal(err)
			}
			r.Close()
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, spares := range []int{2, -1} {
		b.Run(fmt.Sprintf("sandbox/spares=%d", spares), func(b *testing.B) {
			d, _ := sandboxtest.New(b, launcher.Config{Spares: spares})
			n := 0
			for b.Loop() {
				r, w, err := os.Pipe()
				if err != nil {
					b.Fatal(err)
				}
				n++
				s, err := d.Create(b.Context(), sandbox.Spec{ID: fmt.Sprint("bench-", n), Args: []string{"/bin/echo", "up"}, Stdout: w})
				if err != nil {
					b.Fatal(err)
				}
				w.Close()
				if _, err := r.Read(make([]byte, 8)); err != nil {
					b.Fatal(err)
				}
				r.Close()
				// The end and the refill of the spares are not what a cold
				// start waits for.
				b.StopTimer()
				<-s.Done()
				time.Sleep(20 * time.Millisecond) // the spares refill
				b.StartTimer()
			}
		})
	}
}

// BenchmarkFreezeThaw measures one freeze and one thaw of an idle shell.
func BenchmarkFreezeThaw(b *testing.B) {
	d, _ := sandboxtest.New(b, launcher.Config{})
	p := start(b, d, sandbox.Spec{}, "echo up; read x <&3")
	p.line(b)
	for b.Loop() {
		if err := p.Freeze(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := p.Thaw(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateManyAtOnce is the sustained rate: 16 clients create, wait for
// the end of a program that does nothing, and start over.
func BenchmarkCreateManyAtOnce(b *testing.B) {
	d, _ := sandboxtest.New(b, launcher.Config{})
	var n atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s, err := d.Create(b.Context(), sandbox.Spec{ID: fmt.Sprint("many-", n.Add(1)), Args: []string{"/bin/true"}})
			if err != nil {
				b.Error(err)
				return
			}
			<-s.Done()
		}
	})
}
