package ns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"davy/internal/sandbox"
	"davy/internal/sandbox/packet"
	"davy/internal/sandbox/wire"
)

// session is the conversation with one launcher.
type session struct {
	conn    *packet.Conn
	hello   chan struct{} // closed by the first message
	gone    chan struct{} // closed when the launcher is
	missing []string      // valid after hello

	mu      sync.Mutex
	seq     uint32
	pending map[uint32]chan<- answer
	boxes   map[string]*box
}

// answer to a request, with its descriptors.
type answer struct {
	reply wire.Reply
	files []*os.File
}

func newSession(conn *packet.Conn) *session {
	return &session{
		conn: conn, hello: make(chan struct{}), gone: make(chan struct{}),
		pending: map[uint32]chan<- answer{}, boxes: map[string]*box{},
	}
}

// read receives until the launcher is gone, then ends what depended on it:
// its sandboxes died with it.
func (s *session) read() {
	greeted := false
	for {
		b, files, err := s.conn.Receive()
		if err != nil {
			break
		}
		m, err := wire.DecodeFromLauncher(b)
		switch {
		case err != nil:
			packet.CloseFiles(files)
		case m.Hello != nil:
			if !greeted {
				s.missing = m.Hello.Missing
				close(s.hello)
				greeted = true
			}
		case m.Reply != nil:
			s.deliver(answer{*m.Reply, files})
		case m.Exited != nil:
			s.mu.Lock()
			box := s.boxes[m.Exited.ID]
			delete(s.boxes, m.Exited.ID)
			s.mu.Unlock()
			if box != nil {
				box.finish(m.Exited.Exit, m.Exited.Usage)
			}
		}
	}
	s.conn.Close()
	close(s.gone)
	s.mu.Lock()
	boxes := s.boxes
	s.boxes = map[string]*box{}
	s.pending = map[uint32]chan<- answer{}
	s.mu.Unlock()
	for _, b := range boxes {
		b.finish(sandbox.Exit{Signal: syscall.SIGKILL, Lost: true}, sandbox.Usage{})
	}
}

// deliver hands a reply to who waits for it. It is called by read, so that a
// new sandbox is known before the message about its end is read.
func (s *session) deliver(a answer) {
	s.mu.Lock()
	wait, ok := s.pending[a.reply.Seq]
	delete(s.pending, a.reply.Seq)
	s.mu.Unlock()
	if !ok {
		packet.CloseFiles(a.files)
		return
	}
	wait <- a // has room
}

// send starts a request. When ctx ends before the reply, abandoned gets it.
func (s *session) roundTrip(ctx context.Context, r wire.Request, fds []int, abandoned func(answer)) (answer, error) {
	wait := make(chan answer, 1)
	s.mu.Lock()
	s.seq++
	r.Seq = s.seq
	s.pending[r.Seq] = wait
	s.mu.Unlock()
	b, err := r.Encode()
	if err == nil {
		if err = s.conn.Send(b, fds...); err != nil {
			err = fmt.Errorf("%w: %w", sandbox.ErrUnavailable, err)
		}
	}
	if err != nil {
		s.mu.Lock()
		delete(s.pending, r.Seq)
		s.mu.Unlock()
		return answer{}, err
	}
	select {
	case a := <-wait:
		return a, a.err()
	case <-s.gone:
		select {
		case a := <-wait: // both at once
			return a, a.err()
		default:
			return answer{}, sandbox.ErrUnavailable
		}
	case <-ctx.Done():
		go func() {
			select {
			case a := <-wait:
				abandoned(a)
			case <-s.gone:
			}
		}()
		return answer{}, ctx.Err()
	}
}

// Errors of a launcher's reply that are no sandbox error.
var (
	errRefused = errors.New("refused")
	errFailed  = errors.New("launcher")
)

func (a answer) err() error {
	switch a.reply.Code {
	case wire.CodeOK:
		return nil
	case wire.CodeClosed:
		return sandbox.ErrClosed
	case wire.CodeBusy:
		return fmt.Errorf("%w: %s", sandbox.ErrUnavailable, a.reply.Text)
	case wire.CodeInvalid:
		return fmt.Errorf("%w: %s", errRefused, a.reply.Text)
	}
	return fmt.Errorf("%w: %s", errFailed, a.reply.Text)
}

func (s *session) create(ctx context.Context, spec sandbox.Spec) (*box, error) {
	r := wire.Request{
		Op: wire.OpCreate, ID: spec.ID, Limits: spec.Limits,
		Create: wire.Create{
			Root: spec.Root, Args: spec.Args, Env: spec.Env, Dir: spec.Dir, Tmp: spec.Tmp, Listen: spec.Listen,
			Stdout: spec.Stdout != nil, Stderr: spec.Stderr != nil, Files: uint8(min(len(spec.Files), 255)),
		},
	}
	for _, m := range spec.Mounts {
		r.Mounts = append(r.Mounts, wire.Mount(m))
	}
	var fds []int
	for _, f := range append([]*os.File{spec.Stdout, spec.Stderr}, spec.Files...) {
		if f != nil {
			fds = append(fds, int(f.Fd()))
		}
	}
	// Known before the reply: the sandbox may end at once.
	b := &box{s: s, id: spec.ID, tmp: spec.Tmp, done: make(chan struct{})}
	s.mu.Lock()
	if _, taken := s.boxes[spec.ID]; taken {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: id is in use", errRefused)
	}
	s.boxes[spec.ID] = b
	s.mu.Unlock()
	forget := func() {
		s.mu.Lock()
		delete(s.boxes, spec.ID)
		s.mu.Unlock()
	}
	a, err := s.roundTrip(ctx, r, fds, func(a answer) {
		packet.CloseFiles(a.files)
		if a.err() != nil {
			forget()
		} else {
			b.DropTmp()
			b.Kill()
		}
	})
	if err == nil && len(a.files) != len(spec.Listen) {
		b.Kill()
		packet.CloseFiles(a.files)
		return nil, fmt.Errorf("%w: wrong number of listeners", errFailed)
	}
	if err != nil {
		if ctx.Err() == nil {
			forget()
		}
		return nil, err
	}
	b.listeners = a.files
	return b, nil
}

// shutdown ends the conversation: the launcher kills every sandbox, reports
// their ends, and closes its side, which ends read.
func (s *session) shutdown() {
	if s.conn.CloseWrite() != nil {
		s.conn.Close()
	}
}
