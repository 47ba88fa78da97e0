package oci_test

import (
	"os"
	"strings"
	"testing"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	launcher.Main()
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	for _, e := range sandboxtest.Runtimes {
		t.Run(e.Name, func(t *testing.T) { sandboxtest.Conform(t, e) })
	}
}

// A function on runc can keep more in /tmp than it has memory.
func TestTmpOnDisk(t *testing.T) {
	d, _ := sandboxtest.Runtimes[0].New(t, launcher.Config{ScratchDir: t.TempDir(), ScratchReady: -1})
	for _, m := range d.Missing() {
		if strings.HasPrefix(m, "/tmp on disk") {
			t.Skip(m)
		}
	}
	p := sandboxtest.Start(t, d, sandbox.Spec{Limits: sandbox.Limits{MemoryBytes: 32 << 20, TmpBytes: 128 << 20}},
		`dd if=/dev/zero of=/tmp/f bs=1M count=100 2>/dev/null; stat -c '%s %u' /tmp/f; grep -o ' /tmp rw,nosuid,nodev' /proc/self/mountinfo`)
	if got, want := p.Rest(t), "104857600 993\n /tmp rw,nosuid,nodev"; got != want || p.Exit().OOMKilled {
		t.Errorf("output %q, want %q; %+v", got, want, p.Exit())
	}
}
