// Package sandboxtest gives tests a real driver of package sandbox.
package sandboxtest

import (
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"davy/internal/sandbox/cgroup"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/ns"
)

// New starts a launcher for one test and returns its driver. The program's
// TestMain must call launcher.Main first thing. Without root the test is
// skipped.
func New(t testing.TB, cfg launcher.Config) (*ns.Driver, *launcher.Process) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes with all protections need root")
	}
	return NewAsIs(t, cfg)
}

// NewAsIs is New with the protections that this user can have.
func NewAsIs(t testing.TB, cfg launcher.Config) (*ns.Driver, *launcher.Process) {
	t.Helper()
	if cfg.Instance == "" {
		cfg.Instance = "test-" + suffix()
	}
	p, err := launcher.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := ns.New(p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Wait(); err != nil {
			t.Log(err) // a test may have killed it
			Sweep(t, cfg.Instance)
		}
	})
	return d, p
}

// Sweep removes the control groups that a killed launcher left.
func Sweep(t testing.TB, instance string) {
	t.Helper()
	tree, err := cgroup.Open(cgroup.Config{Instance: instance})
	if err == nil {
		err = errors.Join(tree.Sweep(), tree.Close())
	}
	if err != nil && !errors.Is(err, cgroup.ErrUnsupported) {
		t.Error(err)
	}
}

// suffix makes instances of tests that run at one time differ.
func suffix() string { return strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(counter.Add(1), 10) }

var counter atomic.Uint64
