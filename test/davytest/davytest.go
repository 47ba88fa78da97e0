// Package davytest starts real davy processes for tests that are clients.
package davytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"davy/internal/operator"
)

// Limit bounds waits for events that must happen: no test asserts how long
// they take.
const Limit = 5 * time.Minute

// Binary returns the built davy, or an error that says how to get it. Tests
// that cannot run without it skip with this text.
// DAVY_BINARY names another.
func Binary() (string, error) {
	if bin := os.Getenv("DAVY_BINARY"); bin != "" {
		return bin, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		bin := filepath.Join(dir, "bin", "davy")
		if _, err := os.Stat(bin); err == nil {
			return bin, nil
		}
	}
	return "", errors.New("bin/davy is not built: run `make build` (or `make test`, which does)")
}

// DataDir returns a new directory that the unprivileged server can reach.
func DataDir() (string, error) {
	dir, err := os.MkdirTemp("", "davy-test-")
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "data"), os.Chmod(dir, 0o755)
}

// Server is a davy process. The zero value is not running.
type Server struct {
	Bin  string
	Data string
	Log  io.Writer // nil: discard

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan error

	API     string // http://127.0.0.1:PORT, once started
	Console string
}

// Start runs `davy serve` on free ports and waits until it is ready.
func (s *Server) Start(flags ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return errors.New("already running")
	}
	args := append([]string{"serve", "--data-dir", s.Data, "--listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"}, flags...)
	cmd := exec.Command(s.Bin, args...)
	cmd.Stderr = s.Log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ready := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		ready <- strings.TrimSpace(line)
		_, _ = io.Copy(io.Discard, r)
		done <- cmd.Wait()
	}()
	fail := func(err error) error {
		_ = cmd.Process.Kill()
		<-done
		return err
	}
	select {
	case line := <-ready:
		fields, ok := strings.CutPrefix(line, "davy ready ")
		if !ok {
			return fail(fmt.Errorf("not ready, said %q", line))
		}
		for f := range strings.FieldsSeq(fields) {
			k, v, _ := strings.Cut(f, "=")
			switch k {
			case "api":
				s.API = v
			case "console":
				s.Console = v
			}
		}
	case <-time.After(Limit):
		return fail(errors.New("not ready in time"))
	}
	s.cmd, s.done = cmd, done
	return nil
}

// PID is the process that was started; 0: not running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Stop sends SIGTERM and waits; the error tells of an exit status that is not 0.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

// Kill sends SIGKILL and waits.
func (s *Server) Kill() { _ = s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil
	}
	cmd, done := s.cmd, s.done
	s.cmd = nil
	if err := cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-time.After(Limit):
		_ = cmd.Process.Kill()
		return errors.New("the server did not stop")
	}
}

// RootKey reads the root access key that the server wrote.
func (s *Server) RootKey() (id, secret string, err error) {
	creds, err := operator.RootKey(s.Data)
	return creds.AccessKeyID, creds.SecretAccessKey, err
}
