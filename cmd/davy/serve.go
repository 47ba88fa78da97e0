package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/ns"
	"davy/internal/server"
)

// Descriptors that a supervised server inherits.
const (
	// settingsFD is where it reads its settings: not in its arguments, which
	// everyone on the machine can see.
	settingsFD = launcher.ControlFD + 1
	// runtimesFD is the directory of runtimes, which may be below one that
	// the server's user cannot pass, such as root's home.
	runtimesFD = launcher.ControlFD + 2
)

// serveSettings are the settings of `davy serve`.
type serveSettings struct {
	Server    server.Config
	Sandbox   sandboxSettings
	LogFormat string
	LogLevel  slog.Level
}

var (
	accountForm   = regexp.MustCompile(`^[0-9]{12}$`)
	accessKeyForm = regexp.MustCompile(`^\w{1,128}$`)    // part of a credential scope
	secretKeyForm = regexp.MustCompile(`^[!-~]{1,128}$`) // a value in DIR/credentials
	domainForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
)

func parseServe(args []string, stderr io.Writer) (*serveSettings, error) {
	var s serveSettings
	fs := flag.NewFlagSet("davy serve", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&s.Server.DataDir, "data-dir", defaultDataDir(os.Geteuid(), os.Getenv), "`directory` that holds everything")
	fs.StringVar(&s.Server.Listen, "listen", "127.0.0.1:4566", "`address` of the AWS APIs, HTTP and TLS")
	fs.StringVar(&s.Server.ConsoleListen, "console-listen", "127.0.0.1:4567", "`address` of the console port")
	fs.StringVar(&s.Server.Domain, "domain", "localhost", "parent `name` of virtual hosts (BUCKET.s3.NAME)")
	fs.StringVar(&s.Server.Account, "account", "000000000000", "`id` of the account, 12 digits")
	fs.StringVar(&s.Server.RootAccessKey, "root-access-key", "", "access `key` id of the root user, instead of the one in DIR/credentials")
	fs.StringVar(&s.Server.RootSecretKey, "root-secret-key", "", "its `secret`")
	fs.StringVar(&s.Server.RuntimesDir, "runtimes", "", "`directory` of installed runtimes (default DIR/runtimes)")
	fs.IntVar(&s.Server.Concurrency, "concurrency", 1000, "concurrent executions of the account in a region")
	fs.IntVar(&s.Server.MemoryReserve, "memory-reserve", 0, "`MiB` of the machine's memory that no new environment may take; 0: a twentieth of it, 64 to 2048")
	fs.IntVar(&s.Server.PoolMemory, "pool-memory", 512, "`MiB` that booted runtimes may hold which wait for cold starts; 0: none wait")
	s.Sandbox.flags(fs)
	egressFlags(fs, &s.Server.Egress)
	fs.DurationVar(&s.Server.Drain, "drain", 30*time.Second, "how long requests and functions under way may take to end after SIGTERM")
	fs.StringVar(&s.LogFormat, "log-format", "text", "text or json")
	fs.TextVar(&s.LogLevel, "log-level", slog.LevelInfo, "debug (with a line per request), info, warn or error")
	if err := loadSettings(fs, args, os.Getenv); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, usageError{err}
	}
	dir, err := filepath.Abs(s.Server.DataDir)
	if err != nil {
		return nil, err
	}
	s.Server.DataDir = dir
	if s.Server.RuntimesDir == "" {
		s.Server.RuntimesDir = filepath.Join(dir, "runtimes")
	}
	if s.Server.RuntimesDir, err = filepath.Abs(s.Server.RuntimesDir); err != nil {
		return nil, err
	}
	s.Server.Version = versionString()
	return &s, nil
}

// check says which setting has a value that it cannot have.
func (s *serveSettings) check() error {
	for _, a := range []struct{ name, address string }{{"listen", s.Server.Listen}, {"console-listen", s.Server.ConsoleListen}} {
		if _, err := net.ResolveTCPAddr("tcp", a.address); err != nil {
			return fmt.Errorf("--%s %q: want HOST:PORT: %w", a.name, a.address, err)
		}
	}
	if err := s.Sandbox.check(); err != nil {
		return err
	}
	if err := s.Server.Egress.Check(); err != nil {
		return err
	}
	switch {
	case s.LogFormat != "text" && s.LogFormat != "json":
		return fmt.Errorf("--log-format %q: want text or json", s.LogFormat)
	case !accountForm.MatchString(s.Server.Account):
		return fmt.Errorf("--account %q: want 12 digits", s.Server.Account)
	case !domainForm.MatchString(s.Server.Domain):
		return fmt.Errorf("--domain %q: want a host name in lower case", s.Server.Domain)
	case (s.Server.RootAccessKey == "") != (s.Server.RootSecretKey == ""):
		return errors.New("--root-access-key and --root-secret-key go together")
	case s.Server.RootAccessKey != "" && !accessKeyForm.MatchString(s.Server.RootAccessKey):
		return fmt.Errorf("--root-access-key %q: want letters, digits and _, at most 128", s.Server.RootAccessKey)
	case s.Server.RootSecretKey != "" && !secretKeyForm.MatchString(s.Server.RootSecretKey):
		return errors.New("--root-secret-key: want 1 to 128 ASCII characters without spaces")
	case s.Server.MemoryReserve < 0 || s.Server.MemoryReserve > 1<<24:
		return fmt.Errorf("--memory-reserve %d: want 0 to %d", s.Server.MemoryReserve, 1<<24)
	case s.Server.PoolMemory < 0 || s.Server.PoolMemory > 1<<20:
		return fmt.Errorf("--pool-memory %d: want 0 to %d", s.Server.PoolMemory, 1<<20)
	case s.Server.Concurrency < 1:
		return fmt.Errorf("--concurrency %d: want at least 1", s.Server.Concurrency)
	case s.Server.Drain < 0:
		return fmt.Errorf("--drain %s: want 0 or more", s.Server.Drain)
	case s.Server.DataDir == "":
		return errors.New("--data-dir is empty")
	}
	return nil
}

func (s *serveSettings) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// runServe is the supervisor: it prepares the data directory, starts the
// launcher and the unprivileged server, and ends with the server's status.
func runServe(_ context.Context, args []string, _, stderr io.Writer) error {
	s, err := parseServe(args, stderr)
	if err != nil {
		return err
	}
	runtime, err := s.Sandbox.program(context.Background())
	if err != nil {
		return err
	}
	if err := prepareDataDir(&s.Server); err != nil {
		return err
	}
	runtimes, err := os.OpenFile(s.Server.RuntimesDir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open runtimes: %w", err)
	}
	defer runtimes.Close()
	settings, err := pipeSettings(s)
	if err != nil {
		return err
	}
	defer settings.Close()
	sum := sha256.Sum256([]byte(s.Server.DataDir))
	// The supervisor handles signals itself: the server drains on the first
	// and ends at once on the second.
	code, err := launcher.Supervise(context.Background(), launcher.SuperviseConfig{
		Launcher: launcher.Config{
			Instance:   "davy-" + hex.EncodeToString(sum[:6]),
			Roots:      s.Server.SandboxRoots(),
			OCIRuntime: runtime,
			ScratchDir: s.Server.DataDir,
		},
		ServerArgs: []string{"server"},
		ServerEnv:  []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "TZ=" + os.Getenv("TZ"), notifySocket + "=" + os.Getenv(notifySocket)},
		ExtraFiles: []*os.File{settings, runtimes},
		Log:        s.logger(stderr),
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// pipeSettings returns a file from which the settings can be read once.
func pipeSettings(s *serveSettings) (*os.File, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// A pipe holds 64 KiB, which settings never reach: no reader is needed yet.
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// serverGC lets the server's heap grow to three times what lives in it before
// it is collected. What lives is a few MB, which requests turn over many times
// a second: this saves a tenth of the CPU of an S3 GET, and more than this
// saves little. An idle server is as small as before.
const serverGC = 200

// runServer is the unprivileged server below the supervisor.
func runServer(ctx context.Context, _ []string, stdout, stderr io.Writer) error {
	f := os.NewFile(settingsFD, "settings")
	if f == nil {
		return errors.New("this command is started by `davy serve`")
	}
	var s serveSettings
	err := json.NewDecoder(f).Decode(&s)
	f.Close()
	if err != nil {
		return fmt.Errorf("this command is started by `davy serve`: read settings: %w", err)
	}
	debug.SetGCPercent(serverGC)
	log := s.logger(stderr)
	driver, err := ns.Connect(launcher.ControlFD)
	if err != nil {
		return fmt.Errorf("connect to the launcher: %w", err)
	}
	for _, missing := range driver.Missing() {
		log.Warn("protection is missing", "what", missing)
	}
	unix.CloseOnExec(runtimesFD)
	s.Server.RuntimesView = fmt.Sprintf("/proc/self/fd/%d", runtimesFD)
	s.Server.Driver = driver
	s.Server.Log = log
	return server.Run(ctx, s.Server, func(api, console string) {
		fmt.Fprintf(stdout, "davy ready api=%s console=%s data=%s\n", api, console, s.Server.DataDir)
		if err := notify("READY=1"); err != nil {
			log.Warn("the service manager does not know", "error", err)
		}
	})
}
