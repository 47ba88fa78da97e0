package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/packet"
	"davy/internal/sandbox/shed"
)

// ControlFD is the descriptor on which a supervised server receives the
// socket of each launcher: what ns.Connect takes.
const ControlFD = 3

// SuperviseConfig says what to supervise.
type SuperviseConfig struct {
	Launcher Config
	// ServerArgs are the arguments of the server, this program started
	// again, without argv[0].
	ServerArgs []string
	// ServerEnv is its environment. nil: this process's.
	ServerEnv []string
	// ServerUID and ServerGID are what the server runs as when this process
	// is root. 0: 64999.
	ServerUID, ServerGID int
	// ExtraFiles become the server's descriptors 4, 5, ...
	ExtraFiles []*os.File
	Log        *slog.Logger // nil: discard
}

const unprivileged = 64999

// Supervise starts a launcher and the server, hands SIGTERM, SIGINT and SIGHUP
// on to the server, starts a launcher again when it dies, and returns the
// server's exit code when that ends (128 + the signal's number if one killed
// it). When ctx ends the server gets SIGTERM. When this process is killed,
// launcher and server are killed too.
func Supervise(ctx context.Context, cfg SuperviseConfig) (int, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.ServerUID == 0 {
		cfg.ServerUID = unprivileged
	}
	if cfg.ServerGID == 0 {
		cfg.ServerGID = unprivileged
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)

	ours, theirs, err := packet.Pair("control")
	if err != nil {
		return 0, err
	}
	control, err := packet.NewConn(ours)
	if err != nil {
		theirs.Close()
		return 0, err
	}
	defer control.Close()
	server, err := startServer(cfg, theirs)
	theirs.Close()
	if err != nil {
		return 0, err
	}

	keeper, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		keepLauncher(keeper, cfg, control)
	}()
	defer func() {
		stop()
		<-kept
	}()
	end, rest := ctx.Done(), time.After(shed.Rest)
	for {
		select {
		case <-rest:
			if err := shed.All(); err != nil {
				cfg.Log.Debug("memory kept", "error", err)
			}
		case s := <-signals:
			_ = server.process.Signal(s)
		case <-end:
			_ = server.process.Signal(syscall.SIGTERM)
			end = nil
		case <-server.done:
			return server.code, server.err
		}
	}
}

// keepLauncher starts a launcher, gives the server its socket, and again when
// it dies, until ctx ends or a launcher leaves in order, which it does when
// the server has closed the socket.
func keepLauncher(ctx context.Context, cfg SuperviseConfig, control *packet.Conn) {
	const longest = 5 * time.Second
	delay := 20 * time.Millisecond
	said := ""
	for ctx.Err() == nil {
		began := time.Now()
		p, err := Start(cfg.Launcher)
		if err == nil {
			err = control.Send([]byte{1}, int(p.Socket.Fd()))
			p.Socket.Close()
			if e := p.waitOrKill(ctx); e == nil {
				return
			} else if err == nil {
				err = e
			}
		} else if e := control.Send([]byte(err.Error())); e != nil {
			return // the server is gone
		}
		if ctx.Err() != nil {
			return
		}
		if said != err.Error() { // and not at every attempt
			said = err.Error()
			cfg.Log.Error("launcher ended", "error", err)
		}
		if time.Since(began) > longest {
			delay, said = 20*time.Millisecond, ""
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, longest)
	}
}

type serverProcess struct {
	process *os.Process
	done    chan struct{}
	code    int
	err     error
}

// startServer starts the server without privileges and without a way to get
// any.
func startServer(cfg SuperviseConfig, control *os.File) (*serverProcess, error) {
	env := cfg.ServerEnv
	if env == nil {
		env = os.Environ()
	}
	attr := &os.ProcAttr{
		Env:   env,
		Files: append([]*os.File{nil, os.Stdout, os.Stderr, control}, cfg.ExtraFiles...),
		// A process group of its own: an interrupt at the terminal reaches
		// the server once, through us.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
	}
	root := os.Geteuid() == 0
	if root {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(cfg.ServerUID), Gid: uint32(cfg.ServerGID)}
	}
	s := &serverProcess{done: make(chan struct{})}
	started := make(chan error)
	// Privileges belong to a thread: this one gives them up, forks, and stays
	// until the server has ended, which would die with it.
	go func() {
		runtime.LockOSThread()
		err := renounce(root)
		if err == nil {
			s.process, err = os.StartProcess("/proc/self/exe", append([]string{os.Args[0]}, cfg.ServerArgs...), attr)
		}
		started <- err
		if err != nil {
			return
		}
		state, err := s.process.Wait()
		switch ws, ok := state.Sys().(syscall.WaitStatus); {
		case err != nil:
			s.err = fmt.Errorf("wait for the server: %w", err)
		case ok && ws.Signaled():
			s.code = 128 + int(ws.Signal())
		default:
			s.code = state.ExitCode()
		}
		close(s.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	return s, nil
}

// renounce makes what this thread starts unable to gain privileges.
func renounce(root bool) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	for c := uintptr(0); root; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && c > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}
