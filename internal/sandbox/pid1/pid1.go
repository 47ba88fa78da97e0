// Package pid1 is the first process of a sandbox: it builds, from inside the
// new namespaces, what the launcher planned, starts the workload, and then
// becomes a reaper of a few hundred bytes.
//
// The process starts as the same program as the launcher under the name
// [Name]. It has every capability over its own namespaces and none over the
// host. Before the workload exists it has given all of them up for the
// workload; before the workload can reach it, it is another program.
package pid1

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/shed"
	"davy/internal/sandbox/wire"
)

// Name is argv[0] of the process.
const Name = "davy-init"

// control is the descriptor of the socket to the launcher.
const control = 3

// A package is initialized as soon as all that it imports is, in the order of
// import paths (the language's "Program initialization"): most of this program
// has not been by then, and need not be. That is two thirds of what a first
// process would cost.
func init() { Main() }

// Main runs the first process of a sandbox and does not return, if this
// process was started as one. Otherwise it returns at once. A program that
// imports this package need not call it.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	runtime.LockOSThread() // capabilities and filters belong to a thread
	err := run()
	answer(wire.Started{Code: wire.CodeFailed, Text: err.Error()})
	os.Exit(1)
}

// run only returns with an error.
func run() error {
	// Nothing that this program has open may survive into another.
	if err := unix.CloseRange(2, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	ready := prepare()
	p, fds, err := receive()
	if err != nil {
		return err
	}
	if p.Hold {
		return hold(p, fds)
	}
	off := func(a wire.Ablation) bool { return p.Ablate&a != 0 }

	if p.CgroupNS && !off(wire.AblateCgroupNS) {
		// After the launcher has placed this process: the namespace's root is
		// the sandbox's own group and no path leaks.
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("unshare cgroup: %w", err)
		}
	}
	listeners, err := listen(p.Listen, off(wire.AblateNetwork), fds.tuns...)
	if err != nil {
		return err
	}
	if !off(wire.AblateHostname) {
		if err := unix.Sethostname([]byte("localhost")); err != nil {
			return fmt.Errorf("sethostname: %w", err)
		}
		_ = unix.Setdomainname(nil)
	}
	if err := writeFile("/proc/self/oom_score_adj", "500"); err != nil {
		return err
	}
	var nesting []int
	if !off(wire.AblateNesting) {
		if nesting, err = nestingLimits(); err != nil {
			return err
		}
	}
	if !off(wire.AblateRoot) {
		if err := buildRoot(p, ready, fds.trees); err != nil {
			return err
		}
	}
	if err := forbidNesting(nesting); err != nil {
		return err
	}
	if err := setLimits(p); err != nil {
		return err
	}
	if !off(wire.AblateCaps) {
		if err := dropCapabilities(); err != nil {
			return err
		}
	}
	if !off(wire.AblateNoGain) {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no_new_privs: %w", err)
		}
	}
	if !off(wire.AblateLandlock) {
		if err := confineFiles(); err != nil {
			return err
		}
	}
	if !off(wire.AblateFilter) {
		if err := installFilter(p.Filter); err != nil {
			return err
		}
	}
	unix.Umask(0o022)
	if err := HeedSignals(); err != nil {
		return err
	}
	pid, err := start(p, fds)
	if err != nil {
		return err
	}
	answer(wire.Started{}, listeners...)
	return reap(fds, pid)
}

// start forks the workload. It returns after the workload's exec.
func start(p wire.Plan, fds descriptors) (int, error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/null: %w", err)
	}
	std := []uintptr{uintptr(null), uintptr(null), uintptr(null)}
	if fds.stdout >= 0 {
		std[1] = uintptr(fds.stdout)
	}
	if fds.stderr >= 0 {
		std[2] = uintptr(fds.stderr)
	}
	for _, fd := range fds.files {
		std = append(std, uintptr(fd))
	}
	attr := &syscall.ProcAttr{
		Dir:   p.Dir,
		Env:   p.Env,
		Files: std,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if p.Ablate&wire.AblateCaps == 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: p.UID, Gid: p.GID, NoSetGroups: !p.SetGroups}
	}
	pid, err := syscall.ForkExec(p.Args[0], p.Args, attr)
	if err != nil {
		return 0, fmt.Errorf("exec %s: %w", p.Args[0], err)
	}
	return pid, nil
}

// reap replaces this program by the reaper, which keeps descriptor 3, the
// pipe for the exit status, and nothing else.
func reap(fds descriptors, pid int) error {
	image, err := unix.FcntlInt(uintptr(fds.reaper), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return fmt.Errorf("reaper: %w", err)
	}
	if err := unix.Dup3(fds.status, control, 0); err != nil {
		return fmt.Errorf("reaper: %w", err)
	}
	argv := []string{"init", strconv.Itoa(pid)}
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return err
	}
	env := []*byte{nil}
	return execveat(image, args, env)
}

// descriptors that came with the plan; -1 is none
type descriptors struct {
	reaper, status int
	tuns, trees    []int
	stdout, stderr int
	files          []int
}

// waits tells whether no plan came for a while: this process is a spare of a
// launcher that is idle.
func waits() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: control, Events: unix.POLLIN}}, int(shed.Rest.Milliseconds()))
	return n == 0 && err == nil
}

// receive reads the plan from the launcher.
func receive() (wire.Plan, descriptors, error) {
	if waits() {
		_ = shed.Program() // as good without
	}
	buf := make([]byte, wire.MaxMessage)
	oob := make([]byte, unix.CmsgSpace(4*wire.MaxFiles))
	n, oobn, flags, _, err := unix.Recvmsg(control, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return wire.Plan{}, descriptors{}, fmt.Errorf("receive plan: %w", err)
	}
	if n == 0 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return wire.Plan{}, descriptors{}, errors.New("receive plan: closed or truncated")
	}
	p, err := wire.DecodePlan(buf[:n])
	if err != nil {
		return wire.Plan{}, descriptors{}, err
	}
	var fds []int
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return p, descriptors{}, fmt.Errorf("receive plan: %w", err)
	}
	for i := range msgs {
		if got, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	if len(fds) != 2+p.Tuns()+len(p.Mounts)+p.FDs() || len(p.Args) == 0 {
		return p, descriptors{}, errors.New("receive plan: wrong number of descriptors")
	}
	next := func() int {
		fd := fds[0]
		fds = fds[1:]
		return fd
	}
	d := descriptors{reaper: next(), status: next(), stdout: -1, stderr: -1}
	for range p.Tuns() {
		d.tuns = append(d.tuns, next())
	}
	for range p.Mounts {
		d.trees = append(d.trees, next())
	}
	if p.Stdout {
		d.stdout = next()
	}
	if p.Stderr {
		d.stderr = next()
	}
	d.files = fds
	return p, d, nil
}

// answer tells the launcher how it went. Nobody is there to be told when it
// cannot be sent.
func answer(s wire.Started, fds ...int) {
	b, err := s.Encode()
	if err != nil {
		return
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_ = unix.Sendmsg(control, b, oob, nil, 0)
}

func writeFile(path, s string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(s))
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
