// Package oci makes containers with an OCI runtime (runc, gVisor's runsc, and
// what has their command line) for the launcher.
//
// The runtime gets a bundle: a root put together in a private place, and a
// config.json. It joins namespaces that a process of the launcher's holds (see
// package pid1): user, process, network, IPC and UTS namespace. That process
// is pid 1 of the container's process namespace, so that whatever ends it, the
// launcher's death first of all, ends every process of the container, and no
// monitor has to stay for that. gVisor, whose containers are processes of its
// own kernel, joins the network namespace only: see gvisor.go.
//
// Promised: no path of a bundle is resolved through what the server or a
// function could have changed. Not promised: what the runtime itself does
// wrong; it runs with the launcher's privileges.
package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// ErrRuntime is wrapped by the errors about a runtime that is missing or is
// none.
var ErrRuntime = errors.New("OCI runtime")

// Runtime is an installed runtime.
type Runtime struct {
	Path    string // absolute
	Version string // its own first line, such as "runc version 1.1.5"
	// OwnKernel: containers run on a kernel of the runtime's (gVisor), not on
	// the host's.
	OwnKernel bool
}

// Known are the names of the runtimes that Davy is tested with.
var Known = []string{"runc", "runsc"}

// Find looks a runtime up: a path, or a name in PATH.
func Find(ctx context.Context, name string) (Runtime, error) {
	p, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return Runtime{}, fmt.Errorf("%w %s is not installed", ErrRuntime, name)
	}
	if err != nil {
		return Runtime{}, fmt.Errorf("%w %s: %w", ErrRuntime, name, err)
	}
	if p, err = filepath.Abs(p); err != nil {
		return Runtime{}, fmt.Errorf("%w %s: %w", ErrRuntime, name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p, "--version")
	cmd.Env = environment
	out, err := cmd.Output()
	if err != nil {
		return Runtime{}, fmt.Errorf("%w %s --version: %w", ErrRuntime, p, err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if !strings.Contains(string(out), "spec:") && !strings.Contains(first, "version") {
		return Runtime{}, fmt.Errorf("%w: %s --version does not look like one: %.80q", ErrRuntime, p, first)
	}
	return Runtime{Path: p, Version: first, OwnKernel: strings.HasPrefix(first, "runsc ")}, nil
}

// environment is the runtime's: nothing of Davy's.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// command is one call of the runtime.
type command struct {
	args  []string
	files []*os.File // from descriptor 0
	log   string     // file
}

// call runs the runtime to its end. Its error is what the runtime has logged.
func (m *Machine) call(c command) error {
	args := append([]string{m.rt.Path, "--root", m.state(), "--log", c.log, "--log-format", "json"}, c.args...)
	for len(c.files) < 3 {
		c.files = append(c.files, m.null)
	}
	for i, f := range c.files[:3] {
		if f == nil {
			c.files[i] = m.null
		}
	}
	p, err := m.fork(args, c.files)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.rt.Path, err)
	}
	return m.finish(p, c.log, c.args[0])
}

// finish waits for the end of a runtime's process. Its error is what the
// runtime has logged.
func (m *Machine) finish(p *os.Process, log, what string) error {
	defer os.Remove(log)
	alarm := time.AfterFunc(callWait, func() { _ = p.Kill() })
	state, err := p.Wait()
	if err != nil || !state.Success() {
		endGroup(p.Pid)
	}
	if !alarm.Stop() {
		return fmt.Errorf("%s %s: took longer than %s", m.rt.Path, what, callWait)
	}
	if err == nil && !state.Success() {
		err = m.logged(log, state)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(m.rt.Path), what, err)
	}
	return nil
}

// callWait bounds one call of the runtime.
const callWait = time.Minute

// fork starts the runtime. It dies with this process.
func (m *Machine) fork(args []string, files []*os.File) (p *os.Process, err error) {
	done := make(chan struct{})
	m.forks <- func() {
		defer close(done)
		p, err = os.StartProcess(m.rt.Path, args, &os.ProcAttr{
			Dir: "/", Env: environment, Files: files,
			Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true},
		})
	}
	<-done
	return p, err
}

// forker starts children. A child dies with the thread that has forked it, so
// they all come from this one.
func (m *Machine) forker() {
	runtime.LockOSThread()
	for f := range m.forks {
		f()
	}
}

// logged is the last error in the runtime's log.
func (m *Machine) logged(path string, state *os.ProcessState) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s", state)
	}
	said := ""
	for line := range bytes.Lines(b) {
		var e struct{ Level, Msg string }
		if json.Unmarshal(line, &e) == nil && (e.Level == "error" || e.Level == "fatal" || e.Level == "warning" && said == "") {
			said = e.Msg
		}
	}
	if said == "" {
		return fmt.Errorf("%s", state)
	}
	return errors.New(said)
}
