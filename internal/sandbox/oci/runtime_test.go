package oci

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	for _, tc := range []struct {
		name, program string
		own           bool
		fails         string // part of the error
	}{
		{"runc", script("runc", "echo runc version 1.1.5; echo spec: 1.0.2-dev"), false, ""},
		{"by name", "runc", false, ""},
		{"gVisor", script("runsc", "echo runsc version release-1; echo spec: 1.2.1"), true, ""},
		{"no runtime", script("cat", "echo a cat"), false, "does not look like one"},
		{"fails", script("broken", "exit 3"), false, "exit status 3"},
		{"absent", "crun-that-is-not-there", false, "is not installed"},
		{"absent path", dir + "/none", false, "no such file"},
	} {
		rt, err := Find(t.Context(), tc.program)
		switch {
		case tc.fails != "":
			if !errors.Is(err, ErrRuntime) || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%s: %v", tc.name, err)
			}
		case err != nil || !filepath.IsAbs(rt.Path) || rt.OwnKernel != tc.own:
			t.Errorf("%s: %+v, %v", tc.name, rt, err)
		}
	}
}

func TestLogged_IsTheLastError(t *testing.T) {
	p := filepath.Join(t.TempDir(), "log")
	text := `{"level":"warning","msg":"cgroup is not empty"}
{"level":"error","msg":"first"}
not JSON
{"level":"error","msg":"exec: \"/bin/none\": no such file"}
`
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Machine{}).logged(p, &os.ProcessState{}); err == nil || err.Error() != `exec: "/bin/none": no such file` {
		t.Error(err)
	}
}
