package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"davy/internal/sandbox"
)

// All groups together leave the host something, whatever the limits of each.
func TestTree_LeavesTheHostSomething(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	tree, err := Open(Config{Instance: fmt.Sprintf("host-%d", os.Getpid())})
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}()
	pids := tree.base["pids"]
	if tree.v2 {
		pids = tree.base[""]
	}
	ids, err := readInt("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readInt(filepath.Join(pids, "pids.max")); err != nil || got <= 0 || got > ids/2 {
		t.Errorf("all groups may have %d of %d process ids, %v", got, ids, err)
	}

	g, err := tree.New("one", sandbox.Limits{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	}()
	if tree.v2 || !exists(filepath.Join(tree.base["memory"], socketLimit)) {
		return // counted as memory
	}
	for _, tc := range []struct{ memory, want int64 }{{0, 16 << 20}, {128 << 20, 32 << 20}, {10 << 30, 64 << 20}} {
		if err := g.Limit(sandbox.Limits{MemoryBytes: tc.memory}); err != nil {
			t.Fatal(err)
		}
		if got, err := readInt(filepath.Join(g.dir["memory"], socketLimit)); err != nil || got != tc.want {
			t.Errorf("with %d bytes of memory the sockets may have %d, %v; want %d", tc.memory, got, err, tc.want)
		}
	}
	if got, err := readInt(filepath.Join(tree.base["memory"], socketLimit)); err != nil || got <= 0 || got > 1<<40 {
		t.Errorf("the sockets of all groups may have %d, %v", got, err)
	}
}
