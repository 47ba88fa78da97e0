package cgroup

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// Launchers that start while others sweep keep every one of their groups. On
// the machine's own hierarchies: a fake has no flock on what is being removed.
func TestOpen_NobodySweepsTheStarting(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	probe, err := Open(Config{Instance: fmt.Sprintf("race-%d-probe", os.Getpid())})
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	probe.lock.Close()
	// Each launcher dies and starts again on its name; the others sweep what
	// it left while it starts.
	var launchers sync.WaitGroup
	for n := range 4 {
		launchers.Go(func() {
			for range 100 {
				tree, err := Open(Config{Instance: fmt.Sprintf("race-%d-%d", os.Getpid(), n)})
				if err != nil {
					t.Errorf("open: %v", err)
					return
				}
				for c, dir := range tree.base {
					if _, err := os.Stat(dir); err != nil {
						t.Errorf("a group of %q is gone: %v", c, err)
					}
				}
				tree.lock.Close() // as the kernel does for a killed process
			}
		})
	}
	launchers.Wait()
	last, err := Open(Config{Instance: fmt.Sprintf("race-%d-probe", os.Getpid())}) // sweeps the rest
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range last.base {
		_ = os.Remove(dir)
	}
	last.lock.Close()
}
