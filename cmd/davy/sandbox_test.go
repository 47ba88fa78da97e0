package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

func TestSandboxSettings(t *testing.T) {
	for _, tc := range []struct {
		args  []string
		fails string // part of the error; empty: none
	}{
		{nil, ""},
		{[]string{"--sandbox", "namespaces"}, ""},
		{[]string{"--sandbox", "oci"}, ""},
		{[]string{"--sandbox", "oci", "--oci-runtime", "runsc"}, ""},
		{[]string{"--sandbox", "docker"}, `--sandbox "docker": want namespaces or oci`},
		{[]string{"--oci-runtime", "runc"}, "--oci-runtime goes with --sandbox oci"},
	} {
		_, err := parseServe(append(tc.args, "--data-dir", t.TempDir()), io.Discard)
		if tc.fails == "" && err != nil || tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)) {
			t.Errorf("%q: %v, want %q", tc.args, err, tc.fails)
		}
	}
}

// A runtime that is not there is told at the start and not at the first
// function.
func TestSandboxSettings_MissingRuntime(t *testing.T) {
	want := "OCI runtime there-is-none is not installed"
	if os.Geteuid() != 0 {
		want = "needs root"
	}
	s := sandboxSettings{Driver: driverOCI, Runtime: "there-is-none"}
	if _, err := s.program(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	s = sandboxSettings{Driver: driverNamespaces}
	if p, err := s.program(t.Context()); p != "" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
}
