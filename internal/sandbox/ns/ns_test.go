package ns_test

import (
	"os"
	"testing"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	launcher.Main()
	playRole()
	os.Exit(m.Run())
}

// process has the short names for what these tests do all the time.
type process struct{ sandboxtest.Process }

func start(t testing.TB, d sandbox.Driver, s sandbox.Spec, script string) process {
	t.Helper()
	return process{sandboxtest.Start(t, d, s, script)}
}

func (p process) line(t testing.TB) string { t.Helper(); return p.Line(t) }

func (p process) rest(t testing.TB) string { t.Helper(); return p.Rest(t) }

func (p process) say(t testing.TB, s string) { t.Helper(); p.Say(t, s) }

func TestConformance(t *testing.T) { sandboxtest.Conform(t, sandboxtest.Namespaces) }
