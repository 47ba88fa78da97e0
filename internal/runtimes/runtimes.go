// Package runtimes holds Lambda's managed runtimes as data: which Node.js
// build each one is, the archive that carries it, and the bootstrap that runs
// functions in it. It serves execenv, which starts what Launch describes, and
// the commands that install runtimes.
//
// It downloads nothing: an archive enters only through Install, which compares
// it with the hash pinned here before unpacking it.
package runtimes

import (
	_ "embed"
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// Errors of this package. They come wrapped, with what to do about them.
var (
	ErrUnknown      = errors.New("runtimes: unknown runtime")
	ErrNotInstalled = errors.New("runtimes: not installed")
	ErrIntegrity    = errors.New("runtimes: archive differs from its pinned hash")
)

// Runtime is one managed runtime. Adding one is an entry in All, its archives
// in archives.txt and a bootstrap.
type Runtime struct {
	Name      string // as in CreateFunction: nodejs22.x
	Family    string // as in INIT_START: nodejs
	Major     int    // version of the interpreter
	Bootstrap string // folder of the embedded bootstrap
	// Callbacks tells that handlers may answer through a callback. AWS removed
	// this programming model in nodejs24.x.
	// https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html
	Callbacks bool
}

// All returns the managed runtimes, oldest first.
func All() []Runtime {
	return []Runtime{
		{Name: "nodejs20.x", Family: "nodejs", Major: 20, Bootstrap: "nodejs", Callbacks: true},
		{Name: "nodejs22.x", Family: "nodejs", Major: 22, Bootstrap: "nodejs", Callbacks: true},
		{Name: "nodejs24.x", Family: "nodejs", Major: 24, Bootstrap: "nodejs"},
	}
}

// Lookup finds a runtime by its name. The error wraps ErrUnknown.
func Lookup(name string) (Runtime, error) {
	for _, r := range All() {
		if r.Name == name {
			return r, nil
		}
	}
	return Runtime{}, fmt.Errorf("%w: %q", ErrUnknown, name)
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

//go:embed archives.txt
var archiveTable string

// Archive returns the runtime's archive for this machine.
func (r Runtime) Archive() (Archive, error) { return r.archiveFor(runtime.GOARCH) }

func (r Runtime) archiveFor(arch string) (Archive, error) {
	for line := range strings.Lines(archiveTable) {
		f := strings.Fields(line)
		if len(f) == 5 && f[0] == r.Name && f[1] == arch {
			return Archive{Package: f[2], Version: f[3], Integrity: f[4]}, nil
		}
	}
	return Archive{}, fmt.Errorf("%w: no build of %s for %s is pinned", ErrNotInstalled, r.Name, arch)
}
