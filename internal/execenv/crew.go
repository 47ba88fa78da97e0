package execenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/packet"
	"davy/internal/sandbox/starter"
)

// crew is Davy's side of the starter: the processes of an environment that has
// external extensions. Number starter.Runtime is the runtime, the others are
// the extensions.
type crew struct {
	patience patience
	conn     *packet.Conn
	theirs   *os.File // until the sandbox has it
	paths    []string // of the extensions
	reports  chan starter.Started
	ended    sync.WaitGroup

	// broken is closed when the runtime has ended, or an extension that should
	// not have, or all of them.
	broken chan struct{}
	gone   [starter.MaxProcesses]chan struct{} // closed at each one's end
	lost   chan struct{}                       // closed when the starter is gone

	stopping atomic.Bool // ends are expected

	mu    sync.Mutex
	runs  [starter.MaxProcesses]bool           // or ran
	exits [starter.MaxProcesses]starter.Exited // valid when gone
	fault *starter.Exited                      // the extension that ended first, if one did
	dead  error                                // why Davy ends it
}

func newCrew(paths []string, wait patience) (*crew, error) {
	ours, theirs, err := packet.Pair("starter")
	if err != nil {
		return nil, err
	}
	conn, err := packet.NewConn(ours)
	if err != nil {
		theirs.Close()
		return nil, err
	}
	// Function code can stop the starter: who has something to tell it must
	// not wait for that.
	conn.LimitSend(commandWait)
	c := &crew{
		patience: wait, conn: conn, theirs: theirs, paths: paths, reports: make(chan starter.Started, starter.MaxProcesses),
		broken: make(chan struct{}), lost: make(chan struct{}),
	}
	for i := range c.gone {
		c.gone[i] = make(chan struct{})
	}
	return c, nil
}

// commandWait is how long the starter may take to take a command. What waits
// meanwhile is in the socket, so that this is long for one that runs.
const commandWait = time.Second

// follow reads reports until the starter is gone. What it reads is hostile:
// function code can speak in the starter's place, to its own harm only.
func (c *crew) follow() {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		close(c.lost)
		c.breaks()
	}()
	for {
		b, files, err := c.conn.Receive()
		packet.CloseFiles(files)
		if err != nil {
			return
		}
		r, err := starter.DecodeReport(b)
		switch {
		case err != nil:
			return
		case r.Started != nil:
			c.mu.Lock()
			c.runs[r.Started.Process] = r.Started.Error == ""
			c.mu.Unlock()
			select {
			case c.reports <- *r.Started:
			default: // nobody asked
			}
		case r.Exited != nil:
			c.exited(*r.Exited)
		}
	}
}

// breaks closes broken; with the lock held.
func (c *crew) breaks() {
	select {
	case <-c.broken:
	default:
		close(c.broken)
	}
}

func (c *crew) exited(x starter.Exited) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if isClosed(c.gone[x.Process]) {
		return
	}
	c.exits[x.Process] = x
	close(c.gone[x.Process])
	if c.stopping.Load() {
		return
	}
	if x.Process != starter.Runtime && c.fault == nil {
		c.fault = &x
	}
	c.breaks()
}

// halt ends what runs in the environment with an error of Davy's.
func (c *crew) halt(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = err
	c.breaks()
}

// crash is the extension that ended, if one did.
func (c *crew) crash() (starter.Exited, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == nil {
		return starter.Exited{}, false
	}
	return *c.fault, true
}

func (c *crew) halted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (c *crew) send(cmd starter.Command, fds ...int) error {
	b, err := cmd.Encode()
	if err != nil {
		return err
	}
	return c.conn.Send(b, fds...)
}

// launchError tells which program did not start.
type launchError struct {
	process int
	path    string
	reason  string
}

func (e *launchError) Error() string { return "fork/exec " + e.path + ": " + e.reason }

// begin starts the extensions and waits until all of them run.
func (c *crew) begin(env []string, runtimeFiles int, deadline time.Time) error {
	if err := c.send(starter.Command{Begin: &starter.Begin{RuntimeFiles: runtimeFiles, Paths: c.paths, Env: env}}); err != nil {
		return fmt.Errorf("start extensions: %w", err)
	}
	for range c.paths {
		if err := c.startedOne(deadline); err != nil {
			return err
		}
	}
	return nil
}

// run starts the runtime.
func (c *crew) run(r starter.Run, deadline time.Time) error {
	if err := c.send(starter.Command{Run: &r}); err != nil {
		return fmt.Errorf("start runtime: %w", err)
	}
	err := c.startedOne(deadline)
	var failed *launchError
	if errors.As(err, &failed) {
		failed.path = r.Args[0]
	}
	return err
}

func (c *crew) startedOne(deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case s := <-c.reports:
		if s.Error == "" {
			return nil
		}
		e := &launchError{process: s.Process, reason: s.Error}
		if s.Process > 0 && s.Process <= len(c.paths) {
			e.path = c.paths[s.Process-1]
		}
		return e
	case <-c.lost:
		return errInterrupted
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// signal reaches a process and its children.
func (c *crew) signal(process int, s syscall.Signal) {
	// A starter that is gone took them along.
	_ = c.send(starter.Command{Signal: &starter.Signal{Process: process, Signal: s}})
}

// awaitGone waits for the end of a process that runs. It reports false at the
// deadline.
func (c *crew) awaitGone(process int, deadline time.Time) bool {
	c.mu.Lock()
	runs := c.runs[process]
	c.mu.Unlock()
	if !runs {
		return true
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-c.gone[process]:
	case <-c.lost:
	case <-timer.C:
		return false
	}
	return true
}

// runtimeExit waits for the runtime's end and tells how it came.
func (c *crew) runtimeExit(sb sandbox.Sandbox, deadline time.Time) sandbox.Exit {
	if !c.awaitGone(starter.Runtime, deadline) { // it closed its channel but lives
		c.signal(starter.Runtime, syscall.SIGKILL)
		if !c.awaitGone(starter.Runtime, time.Now().Add(c.patience.killed)) {
			sb.Kill()
		}
	}
	if !isClosed(c.gone[starter.Runtime]) { // the starter died with it
		sb.Kill()
		<-sb.Done()
		return sb.Exit()
	}
	c.mu.Lock()
	x := c.exits[starter.Runtime]
	c.mu.Unlock()
	exit := sandbox.Exit{Code: x.Code, Signal: x.Signal}
	if x.Signal == syscall.SIGKILL {
		timer := time.NewTimer(c.patience.oom)
		defer timer.Stop()
		select {
		case <-sb.Done():
			exit.OOMKilled, exit.Lost = sb.Exit().OOMKilled, sb.Exit().Lost
		case <-timer.C:
		}
	}
	return exit
}

// dial connects with a port of the sandbox's loopback. Whether anybody listens
// there shows when the connection is used.
func (c *crew) dial(_ context.Context, port uint16) (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("connect inside the sandbox: %w", err)
	}
	defer unix.Close(fds[1])
	ours := os.NewFile(uintptr(fds[0]), "relay")
	defer ours.Close()
	if err := c.send(starter.Command{Dial: &starter.Dial{Port: port}}, fds[1]); err != nil {
		return nil, fmt.Errorf("connect inside the sandbox: %w", err)
	}
	return net.FileConn(ours)
}

// close ends the conversation.
func (c *crew) close() {
	if c.theirs != nil {
		c.theirs.Close()
	}
	c.conn.Close()
	c.ended.Wait()
}

// watched is the control of a runtime beside extensions: waiting for the
// runtime ends when one of them does.
type watched struct {
	control
	broken <-chan struct{}
	words  time.Duration // for what the runtime said, after that
	asked  bool          // a frame is on its way
	want   chan struct{} // holds one
	frames chan frame    // holds one
	failed chan error    // holds one: the last of recv
	wg     sync.WaitGroup
}

func watch(c control, broken <-chan struct{}, words time.Duration) *watched {
	w := &watched{
		control: c, broken: broken, words: words,
		want: make(chan struct{}, 1), frames: make(chan frame, 1), failed: make(chan error, 1),
	}
	w.wg.Go(func() {
		for range w.want { // one at a time: a frame is valid until the next is asked for
			f, err := c.recv(time.Time{})
			if err != nil {
				w.failed <- err
				return
			}
			w.frames <- f
		}
	})
	return w
}

// recv implements control.
func (w *watched) recv(deadline time.Time) (frame, error) {
	if !w.asked {
		w.asked = true
		w.want <- struct{}{}
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	broken, interrupted := w.broken, false
	for {
		select {
		case f := <-w.frames:
			w.asked = false
			return f, nil
		case err := <-w.failed:
			w.failed <- err
			return frame{}, err
		case <-broken: // what was said before comes first
			broken, interrupted = nil, true
			timer.Reset(w.words)
		case <-timer.C:
			if interrupted {
				return frame{}, errInterrupted
			}
			return frame{}, os.ErrDeadlineExceeded
		}
	}
}

// close implements control.
func (w *watched) close() {
	close(w.want)
	w.control.close()
	w.wg.Wait()
}
