package e2e_test

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startLimit and copyLimit bound waits for events that must happen; no test
// asserts how long they take.
const (
	startLimit = 60 * time.Second
	copyLimit  = 60 * time.Second
)

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"davy-up":   davyUp,
	"davy-down": davyDown,
	"davy-kill": davyKill,
	"profile":   profile,
	"zip":       makeZip,
	"random":    makeRandom,
	"until":     until,

	"wrong-secret":         wrongSecret,
	"deactivate":           deactivate,
	"cut":                  cut,
	"zip-named":            zipNamed,
	"zip-zeros":            zipZeros,
	"signed-get":           signedGet,
	"presigned-get":        presignedGet,
	"signed-send":          signedSend,
	"signed-send-tampered": signedSendTampered,
	"raw-request":          rawRequest,
}

// server is the davy of one script.
type server struct {
	bin  string
	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan error
	log  *os.File
}

type serverKey struct{}

func setup(env *testscript.Env, bin, awsDir string) error {
	data, err := os.MkdirTemp("", "davy-e2e-")
	if err != nil {
		return err
	}
	// The server drops its privileges: its directory must be reachable for it.
	if err := os.Chmod(data, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(env.WorkDir, "server.log"))
	if err != nil {
		return err
	}
	s := &server{bin: bin, log: log}
	env.Values[serverKey{}] = s
	env.Setenv("DATA", filepath.Join(data, "data"))
	env.Setenv("PATH", awsDir+":"+filepath.Dir(bin)+":"+os.Getenv("PATH"))
	env.Setenv("ACCOUNT", "000000000000")
	env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	env.Setenv("AWS_PAGER", "")
	env.Setenv("AWS_RETRY_MODE", "standard")
	env.Setenv("AWS_MAX_ATTEMPTS", "1")
	env.Setenv("DAVY_RUNTIMES", os.Getenv("DAVY_RUNTIMES"))
	env.Defer(func() {
		_ = s.stop(syscall.SIGKILL)
		log.Close()
		os.RemoveAll(data)
	})
	return nil
}

func serverOf(ts *testscript.TestScript) *server { return ts.Value(serverKey{}).(*server) }

// davy-up [flag...] starts the server on $DATA and waits until it is ready.
// API and CONSOLE are its addresses; the AWS CLI is set up as root.
func davyUp(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	ready, err := s.start(ts.Getenv("DATA"), args)
	if neg {
		if err == nil {
			ts.Fatalf("the server started")
		}
		ts.Logf("%v", err)
		return
	}
	if err != nil {
		log, _ := os.ReadFile(s.log.Name())
		ts.Fatalf("davy-up: %v\n%s", err, log)
	}
	for _, f := range strings.Fields(ready) {
		if k, v, ok := strings.Cut(f, "="); ok {
			ts.Setenv(strings.ToUpper(k), v)
		}
	}
	ts.Setenv("AWS_CONFIG_FILE", filepath.Join(ts.Getenv("DATA"), "config"))
	ts.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(ts.Getenv("DATA"), "credentials"))
	ts.Setenv("AWS_PROFILE", "davy")
}

func (s *server) start(data string, args []string) (ready string, err error) {
	if s.cmd != nil {
		return "", errors.New("already running")
	}
	args = append([]string{"serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"}, args...)
	cmd := exec.Command(s.bin, args...)
	cmd.Stderr = s.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	lines := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		lines <- line
		_, _ = io.Copy(io.Discard, r)
		done <- cmd.Wait()
	}()
	s.mu.Lock()
	s.cmd, s.done = cmd, done
	s.mu.Unlock()
	select {
	case line := <-lines:
		if !strings.HasPrefix(line, "davy ready ") {
			_ = s.stop(syscall.SIGKILL)
			return "", fmt.Errorf("not ready, said %q", line)
		}
		return strings.TrimSpace(line), nil
	case <-time.After(startLimit):
		_ = s.stop(syscall.SIGKILL)
		return "", errors.New("not ready in time")
	}
}

// stop signals the server and waits for its end.
func (s *server) stop(sig syscall.Signal) error {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-time.After(startLimit):
		_ = cmd.Process.Kill()
		return errors.New("the server did not stop")
	}
}

// davy-down sends SIGTERM and expects a clean exit.
func davyDown(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(serverOf(ts).stop(syscall.SIGTERM))
}

// davy-kill kills the server with SIGKILL.
func davyKill(ts *testscript.TestScript, neg bool, args []string) {
	_ = serverOf(ts).stop(syscall.SIGKILL)
}

// profile NAME FILE adds the access key in FILE (as `--output text --query
// '[AccessKeyId,SecretAccessKey]'` or with SessionToken prints it) to the
// credentials, and a profile of that name to the configuration.
func profile(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: profile NAME FILE")
	}
	f := strings.Fields(ts.ReadFile(args[1]))
	if len(f) < 2 {
		ts.Fatalf("no access key in %s", args[1])
	}
	creds := fmt.Sprintf("\n[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", args[0], f[0], f[1])
	if len(f) > 2 {
		creds += "aws_session_token = " + f[2] + "\n"
	}
	appendTo(ts, ts.Getenv("AWS_SHARED_CREDENTIALS_FILE"), creds)
	appendTo(ts, ts.Getenv("AWS_CONFIG_FILE"), fmt.Sprintf("\n[profile %s]\nregion = us-east-1\nendpoint_url = %s\n", args[0], ts.Getenv("API")))
}

func appendTo(ts *testscript.TestScript, name, text string) {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	_, err = f.WriteString(text)
	ts.Check(err)
	ts.Check(f.Close())
}

// zip OUT FILE... packs files under their base names.
func makeZip(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: zip OUT FILE...")
	}
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w := zip.NewWriter(out)
	for _, name := range args[1:] {
		e, err := w.Create(filepath.Base(name))
		ts.Check(err)
		_, err = io.WriteString(e, ts.ReadFile(name))
		ts.Check(err)
	}
	ts.Check(w.Close())
	ts.Check(out.Close())
}

// random FILE SIZE writes bytes that do not compress, the same in every run.
func makeRandom(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: random FILE SIZE")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = io.CopyN(out, rand.NewChaCha8([32]byte{1}), size)
	ts.Check(err)
	ts.Check(out.Close())
}

// until COMMAND... repeats a command until it succeeds, as a person would who
// waits for something that happens by itself. `! until` is not offered: that
// nothing happens is shown by something later that does.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until COMMAND...")
	}
	deadline := time.Now().Add(copyLimit)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(serverOf(ts).log.Name())
			ts.Fatalf("%q never succeeded: %v\nserver log:\n%s", args, err, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
