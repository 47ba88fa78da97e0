package starter

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// starter is the process's state.
type starter struct {
	mu    sync.Mutex
	begun bool
	files []int // of the runtime; nil: it has them
	pids  [MaxProcesses]int
	alive int
	born  chan struct{} // there are children to wait for
	slots chan struct{} // of relays
}

func newStarter() *starter {
	return &starter{born: make(chan struct{}, 1), slots: make(chan struct{}, maxRelays)}
}

// serve obeys commands until the socket ends.
func (s *starter) serve() {
	go s.reap()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		for range term {
			s.signal(Signal{Process: Runtime, Signal: syscall.SIGTERM})
		}
	}()
	buf := make([]byte, MaxMessage+1)
	oob := make([]byte, unix.CmsgSpace(4*4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(control, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		fds := rights(oob[:oobn])
		c, err := DecodeCommand(buf[:n])
		if err == nil && c.Dial != nil && len(fds) == 1 {
			s.dial(*c.Dial, fds[0])
			continue
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		if err == nil {
			s.obey(c)
		}
	}
}

func rights(oob []byte) []int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var fds []int
	for i := range msgs {
		if got, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func (s *starter) obey(c Command) {
	switch {
	case c.Begin != nil && !s.begun:
		s.begin(*c.Begin)
	case c.Run != nil && s.begun && s.files != nil:
		files := []uintptr{0, 1, 2}
		for _, fd := range s.files {
			files = append(files, uintptr(fd))
		}
		s.start(Runtime, c.Run.Args, c.Run.Env, c.Run.Dir, files)
		// The runtime's end must be seen as the end of its descriptors.
		for _, fd := range s.files {
			unix.Close(fd)
		}
		s.files = nil
	case c.Signal != nil:
		s.signal(*c.Signal)
	}
}

func (s *starter) begin(b Begin) {
	s.begun = true
	s.files = []int{}
	for i := range b.RuntimeFiles {
		s.files = append(s.files, firstFile+i)
	}
	first := firstFile + b.RuntimeFiles
	for fd := control; fd < first+len(b.Paths); fd++ {
		syscall.CloseOnExec(fd)
	}
	for i, p := range b.Paths {
		out := uintptr(first + i)
		s.start(1+i, []string{p}, b.Env, "/", []uintptr{0, out, out})
		unix.Close(int(out))
	}
}

// start starts a process and tells how that went.
func (s *starter) start(number int, args, env []string, dir string, files []uintptr) {
	s.mu.Lock()
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{
		Dir: dir, Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	r := Started{Process: number}
	if err != nil {
		r.Error = err.Error()
	} else {
		s.pids[number] = pid
		s.alive++
	}
	tell(Report{Started: &r}) // before the report of its end
	s.mu.Unlock()
	select {
	case s.born <- struct{}{}:
	default:
	}
}

// signal reaches a process and what it started.
func (s *starter) signal(c Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pid := s.pids[c.Process]; pid > 0 {
		_ = syscall.Kill(-pid, c.Signal)
	}
}

// reap waits for the processes and tells how they ended.
func (s *starter) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, syscall.ECHILD) {
			<-s.born
			continue
		}
		if err != nil || ws.Stopped() || ws.Continued() {
			continue
		}
		s.mu.Lock()
		for number, p := range s.pids {
			if p != pid {
				continue
			}
			s.pids[number] = 0
			s.alive--
			x := Exited{Process: number}
			if ws.Signaled() {
				x.Signal = ws.Signal()
			} else {
				x.Code = ws.ExitStatus()
			}
			tell(Report{Exited: &x})
		}
		s.mu.Unlock()
	}
}

// tell sends a report. Without a listener there is nothing left to do.
func tell(r Report) {
	b, err := r.Encode()
	if err != nil {
		return
	}
	for {
		if err := unix.Sendmsg(control, b, nil, nil, unix.MSG_NOSIGNAL); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
