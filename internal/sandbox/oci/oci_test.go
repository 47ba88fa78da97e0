package oci_test

import (
	"os"
	"testing"

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
