package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/packet"
)

// Process is a running launcher.
type Process struct {
	// Socket is the server's end; it belongs to who started the launcher.
	// When all copies of it are closed the launcher ends every sandbox and
	// exits.
	Socket *os.File

	pid     int
	process *os.Process
	done    chan struct{}
	err     error
}

// Start starts a launcher as a child of this process, with which it dies. As
// root it keeps root's privileges, otherwise it gets those of a user
// namespace of its own, as far as the machine allows.
func Start(cfg Config) (*Process, error) {
	check := cfg // the launcher sets the defaults itself
	if err := check.setDefaults(); err != nil {
		return nil, err
	}
	rootless := os.Geteuid() != 0
	if rootless && cfg.OCIRuntime != "" {
		return nil, errors.New("start the launcher: an OCI runtime needs root")
	}
	set, err := settingsFile(settings{Config: cfg, Rootless: rootless})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	ours, theirs, err := packet.Pair("launcher")
	if err != nil {
		return nil, err
	}
	defer theirs.Close()

	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if rootless {
		attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if cfg.OCIRuntime != "" {
		attr.Cloneflags |= unix.CLONE_NEWNS // where roots are put together
	}
	p := &Process{Socket: ours, done: make(chan struct{})}
	started := make(chan error)
	// The launcher dies with the thread that forks it, so that thread stays
	// until the launcher has ended.
	go func() {
		runtime.LockOSThread()
		proc, err := os.StartProcess("/proc/self/exe", []string{Name}, &os.ProcAttr{
			Dir: "/", Env: []string{"GOMAXPROCS=2", "GOGC=50"},
			Files: []*os.File{nil, nil, os.Stderr, theirs, set},
			Sys:   attr,
		})
		if err != nil {
			started <- err
			return
		}
		p.pid, p.process = proc.Pid, proc
		started <- nil
		state, err := proc.Wait()
		if err == nil && !state.Success() {
			err = fmt.Errorf("launcher: %s", state)
		}
		p.err = err
		close(p.done)
	}()
	if err := <-started; err != nil {
		ours.Close()
		if rootless {
			return nil, fmt.Errorf("start the launcher: this machine gives its users no user namespaces: no function can run (davy doctor says how to change that): %w", err)
		}
		return nil, fmt.Errorf("start the launcher: %w", err)
	}
	return p, nil
}

// PID is the launcher's process id.
func (p *Process) PID() int { return p.pid }

// Done is closed when the launcher has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// lastWait is how long a launcher may take to end its sandboxes in order. One
// that was held up by what its server had sent must not outlive that: killed,
// it takes the sandboxes along all the same.
const lastWait = 30 * time.Second

// waitOrKill is Wait for a launcher that is not needed any more when ctx ends.
func (p *Process) waitOrKill(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	}
	alarm := time.AfterFunc(lastWait, func() { _ = p.process.Kill() })
	defer alarm.Stop()
	return p.Wait()
}

// Wait returns nil when the launcher has ended in order.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}
