package oci_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// A runtime that fails after it has made the container, or while it does,
// leaves processes to the launcher. They end with the sandbox that there is
// not, which could not end before them.
func TestCreate_RuntimeFails(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("runc is not installed")
	}
	for _, how := range []string{`"$runc" "$@"; exit 1`, `"$runc" "$@" & sleep 0.02; kill -9 $$`} {
		program := filepath.Join(t.TempDir(), "failing")
		script := "#!/bin/sh\nrunc=" + runc + "\ncase \" $* \" in *\" create \"*) " + how + ";; esac\nexec $runc \"$@\"\n"
		if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		d, l := sandboxtest.Engine{Name: "failing", Program: program}.New(t, launcher.Config{Spares: -1})
		for i := range 3 {
			b, err := d.Create(t.Context(), sandbox.Spec{ID: fmt.Sprint("failing-", i), Args: []string{"/bin/sleep", "1000"}})
			if err == nil {
				b.Kill()
				<-b.Done()
				t.Errorf("%s: no error", how)
			}
		}
		left, err := exec.Command("ps", "-o", "pid,stat,args", "--ppid", fmt.Sprint(l.PID())).Output()
		if lines := strings.Split(strings.TrimSpace(string(left)), "\n"); len(lines) != 1 {
			t.Errorf("%s: left: %q, %v", how, lines, err)
		}
	}
}
