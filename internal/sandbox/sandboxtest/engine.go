package sandboxtest

import (
	"os"
	"os/exec"
	"testing"

	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/ns"
)

// Engine is a way of making sandboxes.
type Engine struct {
	Name    string
	Program string // OCI runtime; empty: Davy's own namespaces
	// OwnKernel: the workload's system calls are answered by the runtime's
	// kernel, not the host's.
	OwnKernel bool
}

// Namespaces is Davy's own.
var Namespaces = Engine{Name: "namespaces"}

// Runtimes are the OCI runtimes that the product is tested with.
var Runtimes = []Engine{
	{Name: "runc", Program: "runc"},
	{Name: "runsc", Program: "runsc", OwnKernel: true},
}

// New starts a launcher for one test and returns its driver. The program's
// TestMain must call launcher.Main first thing. Without root, or where the
// runtime is not installed, the test is skipped.
func (e Engine) New(t testing.TB, cfg launcher.Config) (*ns.Driver, *launcher.Process) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes with all protections need root")
	}
	if e.Program != "" {
		p, err := exec.LookPath(e.Program)
		if err != nil {
			t.Skipf("the OCI runtime %s is not installed", e.Program)
		}
		cfg.OCIRuntime = p
	}
	return NewAsIs(t, cfg)
}
