package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// place is where bundles and the runtime's state are, in the mount namespace
// of the launcher only: on the host it is an empty directory.
const place = "/run/davy-oci"

// Config of a Machine.
type Config struct {
	Runtime string // absolute path
	// Filter is the system call filter, for runtimes on the host's kernel.
	Filter *specs.LinuxSeccomp
	Null   *os.File // /dev/null
}

// Machine makes containers with one runtime. Safe for concurrent use.
type Machine struct {
	cfg   Config
	rt    Runtime
	null  *os.File
	forks chan func()
}

// New prepares the place for bundles. The calling process must have a mount
// namespace of its own, in which everything vanishes with it, and becomes the
// parent of containers whose runtime has ended.
func New(ctx context.Context, cfg Config) (*Machine, error) {
	rt, err := Find(ctx, cfg.Runtime)
	if err != nil {
		return nil, err
	}
	m := &Machine{cfg: cfg, rt: rt, null: cfg.Null, forks: make(chan func())}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("subreaper: %w", err)
	}
	// What is unmounted on the host is to vanish here too, and nothing of
	// ours to appear there.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, fmt.Errorf("make mounts slaves: %w", err)
	}
	if err := newStage(place, "size=256m,mode=711"); err != nil {
		return nil, fmt.Errorf("place for containers: %w", err)
	}
	if err := os.Mkdir(m.state(), 0o700); err != nil {
		return nil, fmt.Errorf("place for containers: %w", err)
	}
	go m.forker()
	return m, nil
}

// Runtime is what the containers are made with.
func (m *Machine) Runtime() Runtime { return m.rt }

// Missing says what the runtime's containers lack that Davy's own sandboxes
// have.
func (m *Machine) Missing() []string {
	if m.rt.OwnKernel {
		return []string{fmt.Sprintf("process limit: %s counts threads of its kernel, %d for each of a function's and %d more; who needs more is ended",
			filepath.Base(m.rt.Path), ThreadsEach, OverheadThreads)}
	}
	return []string{"Landlock: an OCI runtime gives containers no rules, the second layer under the mounts"}
}

func (m *Machine) state() string { return filepath.Join(place, "state") }

// Container is one that a runtime has made.
type Container struct {
	m      *Machine
	id     string
	holder int
	dir    string      // bundle, log
	init   *os.Process // nil on a runtime's own kernel
	mounts *os.File    // nil on a runtime's own kernel
	inner  int         // see Process
}

// Create makes a container. Its workload waits for Start.
func (m *Machine) Create(p Plan) (_ *Container, err error) {
	c := &Container{m: m, id: p.ID, holder: p.Holder, dir: filepath.Join(place, p.ID)}
	defer func() {
		if err != nil {
			c.Delete()
		}
	}()
	root, err := c.stage(p)
	if err != nil {
		return nil, err
	}
	if err := c.write(m.config(p, root)); err != nil {
		return nil, err
	}
	pid := filepath.Join(c.dir, "pid")
	err = m.call(command{
		args:  []string{"create", "--bundle", c.dir, "--pid-file", pid, "--preserve-fds", strconv.Itoa(len(p.Files)), p.ID},
		files: append([]*os.File{nil, p.Stdout, p.Stderr}, p.Files...),
		log:   c.dir + ".log",
	})
	if err != nil {
		return nil, err
	}
	if err := c.find(pid); err != nil {
		return nil, err
	}
	return c, nil
}

// stage puts the container's root together.
func (c *Container) stage(p Plan) (root string, err error) {
	if err := newStage(c.dir, "size=4m,nr_inodes=8192,mode=711"); err != nil {
		return "", err
	}
	root = filepath.Join(c.dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", err
	}
	if p.off(wire.AblateRoot) {
		err = unix.Mount("/", root, "", unix.MS_BIND|unix.MS_REC, "")
	} else {
		err = buildRoot(root, p.Root)
	}
	if err != nil {
		return "", fmt.Errorf("root: %w", err)
	}
	return root, nil
}

func (c *Container) write(s *specs.Spec) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir, "config.json"), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// find takes hold of the container's first process, which is this process's
// child since the runtime has ended.
func (c *Container) find(pidFile string) error {
	b, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("the runtime's process: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("the runtime's process: %w", err)
	}
	if c.init, err = os.FindProcess(pid); err != nil {
		return fmt.Errorf("the runtime's process: %w", err)
	}
	if c.mounts, err = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err != nil {
		return fmt.Errorf("the container's mounts: %w", err)
	}
	return nil
}

// PID is the first process of the container, as this process sees it.
func (c *Container) PID() int { return c.init.Pid }

// Mounts is the container's mount namespace.
func (c *Container) Mounts() *os.File { return c.mounts }

// Start lets the workload begin. What the root was put together from is no
// longer needed then.
func (c *Container) Start() error {
	if err := c.m.call(command{args: []string{"start", c.id}, log: c.dir + ".log"}); err != nil {
		return err
	}
	return leaveStage(c.dir)
}

// Wait returns how the first process has ended.
func (c *Container) Wait() (*os.ProcessState, error) { return c.init.Wait() }

// Delete removes what the runtime and this package have of the container,
// whose processes must be dead.
func (c *Container) Delete() {
	if c.init != nil {
		_ = c.init.Kill()
		_, _ = c.init.Wait() // not yet waited for when it could not be started
	} else {
		reapOrphans(c.holder)
	}
	if c.mounts != nil {
		c.mounts.Close()
	}
	_, err := os.Stat(filepath.Join(c.m.state(), c.id))
	if c.m.rt.OwnKernel {
		// The runtime would look for process ids of a namespace that is gone,
		// and here they are somebody else's: what it has written goes without
		// it.
		err = c.m.forget(c.id)
	} else if err == nil {
		err = c.m.call(command{args: []string{"delete", "--force", c.id}, log: c.dir + ".log"})
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err := errors.Join(err, leaveStage(c.dir)); err != nil {
		slog.Error("container not removed", "id", c.id, "error", err)
	}
}

// Close takes the place away. No container may be left. The host's empty
// directory stays: removing it would take the place of other launchers away.
func (m *Machine) Close() error {
	close(m.forks)
	if err := unix.Unmount(place, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", place, err)
	}
	return nil
}
