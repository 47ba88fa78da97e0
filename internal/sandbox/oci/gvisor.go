package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// gVisor's containers are processes of a kernel of its own, the sentry, an
// ordinary process on the host; another, the gofer, opens files for it. What
// differs from runc:
//
//   - User, IPC and UTS namespace are inside the sentry. Sentry and gofer get
//     user ids of the container's range, in a user namespace of their own.
//   - The runtime is started in the holder's process namespace, so that sentry
//     and gofer end with it. It needs a /proc of that namespace, which a
//     process of this program mounts before it becomes the runtime (see Main).
//   - The sentry becomes a child of the holder, which is told its process id
//     and reports how it has ended: that is how the workload has ended, in the
//     terms of a shell (128 + the signal).
//   - Mount namespaces cannot be entered. The root stays where it was put
//     together, on a shared mount whose slave the gofer sees: what is mounted
//     there appears inside.
//   - Network calls of the workload are made by the sentry in the holder's
//     network namespace ("host network" in gVisor's terms): the sockets of
//     Spec.Listen belong to the host's kernel, and gVisor's own network stack
//     cannot reach what that has on its loopback device.
//   - The control group holds the sentry and the gofer, and its limits them.

// EnterName is argv[0] of the process that becomes the runtime.
const EnterName = "davy-enter"

// descriptor from which that process reads until it is in its control group
const gate = 3

// What the sentry and the gofer need, and get on top of a workload's limits:
// bytes of memory (an idle container has 18 to 21 MB), threads (an idle one has
// 24 to 28), and threads for each that the workload has: one of the sentry's
// and one that runs its code.
const (
	OverheadMemory  = 32 << 20
	OverheadThreads = 48
	ThreadsEach     = 2
)

// Main becomes an OCI runtime, and does not return, if this process was
// started for that.
func Main() {
	if len(os.Args) < 2 || os.Args[0] != EnterName {
		return
	}
	err := enter(os.Args[1], os.Args[1:])
	fmt.Fprintln(os.Stderr, "davy:", err)
	os.Exit(1)
}

func enter(program string, args []string) error {
	var b [1]byte
	_, _ = unix.Read(gate, b[:])
	unix.Close(gate)
	// What the sentry and the gofer inherit: they go before the host's own.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(oomScore)), 0); err != nil {
		return fmt.Errorf("out-of-memory score: %w", err)
	}
	// The bundle's mount is shared and must stay so.
	if err := unix.Mount("", "/proc", "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private /proc: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return unix.Exec(program, args, environment)
}

// adapt makes a configuration for runc one for gVisor.
func (m *Machine) adapt(s *specs.Spec, p Plan, root string) {
	s.Linux.Namespaces = []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.UserNamespace},
	}
	if !p.off(wire.AblateNetwork) {
		// The runtime is in the holder's process namespace.
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/proc/1/ns/net"})
	}
	if !p.off(wire.AblateHostname) {
		s.Hostname = "localhost"
	}
	if s.Linux.Seccomp != nil {
		s.Linux.Seccomp = withoutErrno(s.Linux.Seccomp)
	}
	s.Linux.RootfsPropagation = "rslave"
	s.Linux.CgroupsPath = ""
	s.Linux.Resources = nil
	s.Process.OOMScoreAdj = nil
	s.Process.Rlimits = slices.DeleteFunc(s.Process.Rlimits, func(l specs.POSIXRlimit) bool { return l.Type == "RLIMIT_NPROC" })
	for i, mount := range s.Mounts {
		if mount.Destination == "/tmp" {
			s.Mounts[i] = specs.Mount{
				Destination: "/tmp", Type: "bind", Source: filepath.Join(root, "tmp"),
				Options: []string{"rbind", "rslave", "rw", "nosuid", "nodev"},
			}
		}
	}
}

// withoutErrno lets the calls through for which the filter has an error other
// than its default: gVisor knows that one only. It is clone3, which is to be
// "not implemented", and without which, refused, there are no threads.
func withoutErrno(f *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	g := *f
	g.Syscalls = slices.Clone(f.Syscalls)
	for i, s := range g.Syscalls {
		if s.Action == specs.ActErrno && s.ErrnoRet != nil && *s.ErrnoRet != *f.DefaultErrnoRet {
			g.Syscalls[i].Action, g.Syscalls[i].ErrnoRet = specs.ActAllow, nil
		}
	}
	return &g
}

// gvisorOptions are global options of runsc.
var gvisorOptions = []string{
	"--network=host", "--ignore-cgroups", "--overlay2=none", "--file-access=shared", "--oci-seccomp",
	"--host-settings=ignore", "--platform=systrap",
}

// Run makes a container on a runtime's own kernel and starts it; join takes
// the runtime's process into the container's control group. Who holds the
// namespaces is then to be told of Process.
func (m *Machine) Run(p Plan, join func(pid int) error) (_ *Container, err error) {
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
	if err := m.share(c, p, root); err != nil {
		return nil, err
	}
	s := m.config(p, root)
	m.adapt(s, p, root)
	if err := c.write(s); err != nil {
		return nil, err
	}
	if err := m.run(c, p, join); err != nil {
		return nil, err
	}
	return c, nil
}

func (m *Machine) run(c *Container, p Plan, join func(pid int) error) error {
	inner, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", p.Holder))
	if err != nil {
		return err
	}
	defer inner.Close()
	wait, open, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wait.Close()
	defer open.Close()

	pidFile := filepath.Join(c.dir, "pid")
	args := append([]string{EnterName, m.rt.Path, "--root", m.state(), "--log", c.dir + ".log", "--log-format", "json"}, gvisorOptions...)
	args = append(args, "run", "--detach", "--bundle", c.dir, "--pid-file", pidFile)
	files := []*os.File{m.null, p.Stdout, p.Stderr, wait}
	for i, f := range files {
		if f == nil {
			files[i] = m.null
		}
	}
	for i, f := range p.Files {
		args = append(args, "--pass-fd", fmt.Sprintf("%d:%d", len(files), 3+i))
		files = append(files, f)
	}
	args = append(args, p.ID)
	process, err := m.forkInto(inner, args, files)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.rt.Path, err)
	}
	if err := join(process.Pid); err != nil {
		_ = process.Kill()
		_, _ = process.Wait()
		return err
	}
	open.Close()
	if err := m.finish(process, c.dir+".log", "run"); err != nil {
		return err
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("the runtime's process: %w", err)
	}
	if c.inner, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil || c.inner <= 1 {
		return fmt.Errorf("the runtime's process: %q", b)
	}
	return nil
}

// forkInto starts this program in another process namespace, to become the
// runtime. A child's death signal does not work across namespaces, nor is it
// needed: the namespace ends with its holder.
func (m *Machine) forkInto(inner *os.File, args []string, files []*os.File) (p *os.Process, err error) {
	done := make(chan struct{})
	m.forks <- func() {
		defer close(done)
		var own int
		if own, err = unix.Open("/proc/self/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(own)
		if err = unix.Setns(int(inner.Fd()), unix.CLONE_NEWPID); err != nil {
			return
		}
		p, err = os.StartProcess("/proc/self/exe", args, &os.ProcAttr{
			Dir: "/", Env: environment, Files: files,
			Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Setsid: true},
		})
		if back := unix.Setns(own, unix.CLONE_NEWPID); back != nil {
			panic(back) // nothing else may be started from this thread
		}
	}
	<-done
	return p, err
}

// share makes what is mounted on the bundle appear inside.
func (m *Machine) share(c *Container, p Plan, root string) error {
	if err := unix.Mount("", c.dir, "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share %s: %w", c.dir, err)
	}
	options := "mode=1777,nr_inodes=" + strconv.Itoa(tmpInodes)
	if !p.off(wire.AblateTmp) {
		options += ",size=" + strconv.FormatInt(p.Limits.TmpBytes, 10)
	}
	if err := unix.Mount("tmp", filepath.Join(root, "tmp"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount /tmp: %w", err)
	}
	return nil
}

// Process is the sentry, as the holder's process namespace counts.
func (c *Container) Process() int { return c.inner }

// Root is where the container's root is, in this process's mount namespace.
func (c *Container) Root() string { return filepath.Join(c.dir, "root") }

// forget removes what the runtime has written about a container.
func (m *Machine) forget(id string) error {
	var errs []error
	for _, pattern := range []string{id + "_sandbox:" + id + ".*", "runsc-" + id + ".*"} {
		files, err := filepath.Glob(filepath.Join(m.state(), pattern))
		errs = append(errs, err)
		for _, f := range files {
			errs = append(errs, os.RemoveAll(f))
		}
	}
	return errors.Join(errs...)
}
