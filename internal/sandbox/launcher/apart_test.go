package launcher

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever asks, and from wherever: what runs apart is never on the process's
// first thread, which outlives what it was used for.
func TestApart_NeverOnTheFirstThread(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				runtime.Gosched()
				if err := apart(func() error {
					if unix.Gettid() == unix.Getpid() {
						t.Error("the first thread was used")
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
