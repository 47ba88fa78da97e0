// Package runtimes holds Lambda's runtimes as data: which interpreter each one
// is, the archive that carries it, and the bootstrap that runs functions in it.
// It serves execenv, which starts what Launch describes, and the commands that
// install runtimes.
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

// Families of runtimes: how they are started.
const (
	NodeJS   = "nodejs"
	Python   = "python"
	Provided = "provided" // the function brings its runtime
)

// Runtime is one runtime. Adding one is an entry in All, its archives in
// archives.txt and a bootstrap.
type Runtime struct {
	Name      string // as in CreateFunction: nodejs22.x
	Family    string // as in INIT_START: nodejs
	Major     int    // version of the interpreter
	Minor     int    // of python3.MINOR
	Bootstrap string // folder of the embedded bootstrap; Provided: empty
	// Callbacks tells that handlers may answer through a callback. AWS removed
	// this programming model in nodejs24.x.
	// https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html
	Callbacks bool
	// Disabled are options of Node.js that AWS turns off because it counts them
	// as experimental. A function turns them on again in NODE_OPTIONS.
	// https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html#nodejs-experimental-features
	Disabled []string
}

const (
	requireModule = "experimental-require-module"
	detectModule  = "experimental-detect-module"
)

// Custom tells that functions bring their runtime: an executable named
// bootstrap, which speaks the Runtime API over HTTP.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-provided.html
func (r Runtime) Custom() bool { return r.Family == Provided }

// All returns the runtimes, by family and oldest first.
func All() []Runtime {
	all := []Runtime{
		{Name: "nodejs20.x", Family: NodeJS, Major: 20, Bootstrap: "nodejs", Callbacks: true, Disabled: []string{requireModule}},
		{Name: "nodejs22.x", Family: NodeJS, Major: 22, Bootstrap: "nodejs", Callbacks: true, Disabled: []string{requireModule, detectModule}},
		{Name: "nodejs24.x", Family: NodeJS, Major: 24, Bootstrap: "nodejs", Disabled: []string{requireModule, detectModule}},
	}
	for minor := 9; minor <= 14; minor++ {
		all = append(all, Runtime{Name: fmt.Sprintf("python3.%d", minor), Family: Python, Major: 3, Minor: minor, Bootstrap: "python"})
	}
	return append(
		all,
		Runtime{Name: "provided.al2", Family: Provided, Bootstrap: Provided},
		Runtime{Name: "provided.al2023", Family: Provided, Bootstrap: Provided},
	)
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
