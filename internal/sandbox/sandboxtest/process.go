package sandboxtest

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"

	"davy/internal/sandbox"
)

// Process is a sandbox whose output a test reads.
type Process struct {
	sandbox.Sandbox
	out *bufio.Reader
	in  *os.File // descriptor 3 inside reads from it
}

// Start creates a sandbox that runs a shell script.
func Start(t testing.TB, d sandbox.Driver, s sandbox.Spec, script string) Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); inW.Close() })
	if s.ID == "" {
		s.ID = "box"
	}
	s.Args = []string{"/bin/sh", "-c", script}
	s.Env = append(s.Env, "PATH=/usr/bin:/bin")
	s.Stdout, s.Stderr, s.Files = w, w, []*os.File{inR}
	b, err := d.Create(t.Context(), s)
	w.Close()
	inR.Close()
	if err != nil {
		t.Fatal(err)
	}
	return Process{b, bufio.NewReader(r), inW}
}

// Line reads one line of the output.
func (p Process) Line(t testing.TB) string {
	t.Helper()
	s, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("read the output: %v (%q)", err, s)
	}
	return strings.TrimSuffix(s, "\n")
}

// Rest reads the output up to the end of the sandbox.
func (p Process) Rest(t testing.TB) string {
	t.Helper()
	b, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	return strings.TrimSpace(string(b))
}

// Say writes a line that the workload reads from descriptor 3.
func (p Process) Say(t testing.TB, s string) {
	t.Helper()
	if _, err := io.WriteString(p.in, s+"\n"); err != nil {
		t.Fatal(err)
	}
}
