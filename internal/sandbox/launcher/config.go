// Package launcher is the privileged side of the sandbox: it makes
// namespaces, mounts and control groups for a server that has no privileges,
// and does nothing else.
//
// Three processes of one program:
//
//	supervisor   started by the user; starts the other two, hands signals on,
//	             starts a launcher anew when it dies (Supervise)
//	launcher     keeps the privileges; reads requests from one socket (Main)
//	server       everything else, under an unprivileged user
//
// Promised: what the server sends is treated as hostile. It can name only
// directories below the configured roots, never through a symbolic link, and
// they are mounted read-only, without set-user-id and devices. It cannot make
// more sandboxes than configured, and none without the protections the
// machine has. When the server or the launcher dies, in whatever way, every
// sandbox dies with it.
//
// Not promised: a sandbox shares the host's kernel. Who finds a bug in a
// system call that the filter lets through is not stopped here. A server that
// is taken over can run what it wants inside sandboxes and read what lies
// below the roots. Everything below /usr that everyone may read can be read
// inside as well, when a sandbox has no root of its own.
package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/oci"
	"davy/internal/sandbox/pid1"
	"davy/internal/sandbox/wire"
)

// Name is argv[0] of a launcher.
const Name = "davy-launcher"

// Config of a launcher.
type Config struct {
	// Instance names the control groups, [a-z0-9-]{1,32}: the same for every
	// start on the same data directory, so that what a killed launcher left
	// is found and removed. Required.
	Instance string
	// Roots are the host directories below which Spec.Root and the sources
	// of mounts must lie: real paths, without symbolic links.
	Roots []string
	// UIDBase is the first of the user ids given to sandboxes, which take
	// 1024 each. 0: 1,000,000. Without root it has no meaning.
	UIDBase uint32
	// MaxSandboxes at one time. 0: 2048.
	MaxSandboxes int
	// OCIRuntime is the path of an OCI runtime that makes the sandboxes
	// (package oci), which takes root. Empty: Davy makes them itself.
	OCIRuntime string
	// Spares is how many empty sandboxes wait ready. 0: 2; negative: none.
	Spares int
	// ScratchDir is a directory in whose file system /tmp of the sandboxes is
	// kept (package scratch). Empty, and where that cannot be: in memory.
	ScratchDir string
	// ScratchReady is how many volumes wait ready: see scratch.Config.
	ScratchReady int
	// Ablate leaves protections out. It is refused unless the program called
	// AllowAblation, which only test programs do.
	Ablate wire.Ablation
}

const (
	uidsEach   = 1024
	defaultUID = 1_000_000
)

func (c *Config) setDefaults() error {
	if !instanceName.MatchString(c.Instance) {
		return fmt.Errorf("launcher: instance %q: must match %s", c.Instance, instanceName)
	}
	if c.UIDBase == 0 {
		c.UIDBase = defaultUID
	}
	if c.MaxSandboxes == 0 {
		c.MaxSandboxes = 2048
	}
	if c.MaxSandboxes < 0 || int64(c.UIDBase)+int64(c.MaxSandboxes)*uidsEach > 1<<32-2 {
		return errors.New("launcher: the user ids do not suffice for MaxSandboxes")
	}
	if c.OCIRuntime != "" && !filepath.IsAbs(c.OCIRuntime) {
		return fmt.Errorf("launcher: runtime %q: not absolute", c.OCIRuntime)
	}
	if c.Spares == 0 {
		c.Spares = 2
	}
	c.Spares = max(c.Spares, 0)
	return nil
}

var ablationAllowed bool

// AllowAblation lets launchers of this program leave protections out. For
// TestMain only: a program that does not call it refuses Config.Ablate.
func AllowAblation() { ablationAllowed = true }

// Main does what this process was started for, and does not return, if it was
// started as a launcher or as the first process of a sandbox. Otherwise it
// returns at once. A program that starts launchers calls it first thing; so
// does TestMain.
func Main() {
	pid1.Main()
	oci.Main()
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	if err := runLauncher(); err != nil {
		fmt.Fprintln(os.Stderr, "davy launcher:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// settings is what a launcher is told by who starts it, over a pipe.
type settings struct {
	Config   Config
	Rootless bool
}

// settingsFile is a sealed memory file with the settings, for inheritance.
func settingsFile(s settings) (*os.File, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return memFile("launcher-settings", b, 0o400)
}

// memFile makes a sealed file in memory.
func memFile(name string, content []byte, mode uint32) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // Linux before 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(content)
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err == nil {
		err = unix.Fchmod(fd, mode)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
			unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("memory file: %w", err)
	}
	return f, nil
}
