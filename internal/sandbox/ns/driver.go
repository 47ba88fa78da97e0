// Package ns is the namespaces driver of package sandbox: the server's side,
// which asks a launcher for everything and has no privilege itself.
//
// A sandbox has its own user, mount, process, IPC, UTS, network and cgroup
// namespaces, user ids that nobody else has, a read-only root, no capability,
// no way to gain one, a system call filter, and limits. Its network is its
// own loopback and what Spec.Listen names; there is no other way out. Package
// launcher says what is promised and what is not; Driver.Missing what this
// machine or user cannot give.
//
// /tmp is on disk where the launcher has a place for it (package scratch).
// Elsewhere it is a tmpfs, whose pages the kernel charges to whoever touches
// them: what a function keeps there then counts against its memory limit.
package ns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"davy/internal/sandbox"
	"davy/internal/sandbox/packet"
	"davy/internal/sandbox/wire"
)

var (
	_ sandbox.Driver  = (*Driver)(nil)
	_ sandbox.Sandbox = (*box)(nil)
)

// helloWait bounds how long a launcher may take to report.
const helloWait = 30 * time.Second

// restartWait is how long Create waits for the launcher after one that died.
const restartWait = 10 * time.Second

// Driver talks to one launcher at a time. When the launcher dies, its
// sandboxes are done, and Create waits for a moment until the supervisor has
// started another, or answers sandbox.ErrUnavailable.
type Driver struct {
	control *packet.Conn // nil: there is no second launcher

	mu      sync.Mutex
	session *session // nil: no launcher
	missing []string
	closed  bool
	died    time.Time     // when the last launcher did
	news    chan struct{} // closed by what changes session or closed; nil: nobody waits

	wg sync.WaitGroup
}

// Connect takes the descriptor on which a supervisor hands over the sockets
// of launchers (launcher.ControlFD) and waits for the first. When it cannot be
// started here, Missing says why and Create answers sandbox.ErrUnavailable.
func Connect(fd int) (*Driver, error) {
	control, err := packet.NewConn(os.NewFile(uintptr(fd), "control"))
	if err != nil {
		return nil, fmt.Errorf("connect to the supervisor: %w", err)
	}
	d := &Driver{control: control}
	first := make(chan error, 1)
	d.wg.Go(func() { d.followLaunchers(first) })
	if err := <-first; err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// New takes over the socket of one launcher.
func New(socket *os.File) (*Driver, error) {
	d := &Driver{}
	if err := d.adopt(socket); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// followLaunchers adopts each launcher that the supervisor hands over. A
// packet without a descriptor tells why there is none. first hears of the
// first packet, or why there will be none.
func (d *Driver) followLaunchers(first chan<- error) {
	tell := func(err error) {
		if first != nil {
			first <- err
			first = nil
		}
	}
	for {
		b, files, err := d.control.Receive()
		if errors.Is(err, wire.ErrMalformed) {
			continue
		}
		if err != nil { // the supervisor is gone, or the driver closed
			tell(fmt.Errorf("connect to the supervisor: %w", err))
			return
		}
		if len(files) == 1 {
			err = d.adopt(files[0])
		} else {
			packet.CloseFiles(files)
			err = fmt.Errorf("%w: %s", sandbox.ErrUnavailable, b)
		}
		if err != nil {
			// The next launcher may do better; until then there are no
			// sandboxes and everything else works.
			d.mu.Lock()
			d.missing = []string{err.Error()}
			d.mu.Unlock()
		}
		tell(nil)
	}
}

// adopt makes a launcher the current one once it has reported.
func (d *Driver) adopt(socket *os.File) error {
	conn, err := packet.NewConn(socket)
	if err != nil {
		return err
	}
	s := newSession(conn)
	d.wg.Go(func() {
		s.read()
		d.mu.Lock()
		if d.session == s {
			d.session, d.died = nil, time.Now()
		}
		d.mu.Unlock()
	})
	alarm := time.NewTimer(helloWait)
	defer alarm.Stop()
	select {
	case <-s.hello:
	case <-s.gone:
		return fmt.Errorf("%w: it ended before it was ready", sandbox.ErrUnavailable)
	case <-alarm.C:
		conn.Close()
		return fmt.Errorf("%w: it does not report", sandbox.ErrUnavailable)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		conn.Close()
		return sandbox.ErrClosed
	}
	d.missing = s.missing
	select {
	case <-s.gone:
	default:
		d.session = s
		d.announce()
	}
	return nil
}

// announce wakes who waits. d.mu is held.
func (d *Driver) announce() {
	if d.news != nil {
		close(d.news)
		d.news = nil
	}
}

// current is the session to use. One that has just ended is waited for.
func (d *Driver) current(ctx context.Context) (*session, error) {
	for {
		d.mu.Lock()
		if d.session != nil {
			select {
			case <-d.session.gone: // and nobody has noted it yet
				d.session, d.died = nil, time.Now()
			default:
			}
		}
		left := time.Until(d.died.Add(restartWait))
		switch {
		case d.closed:
			d.mu.Unlock()
			return nil, sandbox.ErrClosed
		case d.session != nil:
			s := d.session
			d.mu.Unlock()
			return s, nil
		case d.control == nil || left <= 0:
			d.mu.Unlock()
			return nil, sandbox.ErrUnavailable
		}
		if d.news == nil {
			d.news = make(chan struct{})
		}
		news := d.news
		d.mu.Unlock()
		timer := time.NewTimer(left)
		select {
		case <-news:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// Create implements sandbox.Driver.
func (d *Driver) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	for again := true; ; again = false {
		s, err := d.current(ctx)
		if err != nil {
			return nil, fmt.Errorf("create sandbox %s: %w", spec.ID, err)
		}
		b, err := s.create(ctx, spec)
		if err == nil {
			return b, nil
		}
		select {
		case <-s.gone: // and what it had begun with it
			if again {
				continue
			}
		default:
		}
		return nil, fmt.Errorf("create sandbox %s: %w", spec.ID, err)
	}
}

// Missing implements sandbox.Driver.
func (d *Driver) Missing() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.missing
}

// Close kills every sandbox and ends the launcher.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	d.announce()
	s := d.session
	d.mu.Unlock()
	if d.control != nil {
		d.control.Close()
	}
	if s != nil {
		s.shutdown()
	}
	d.wg.Wait()
	return nil
}
