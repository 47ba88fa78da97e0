package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"davy/internal/demo"
	"davy/internal/operator"
	"davy/internal/runtimes"
)

// runDemo starts a server of its own on an empty data directory and runs the
// lab against it.
func runDemo(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	fs := flag.NewFlagSet("davy demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	runtimesDir := fs.String("runtimes", "", "`directory` of installed runtimes (default: those of the host)")
	keep := fs.Bool("keep", false, "keep the data directory and print where it is")
	patience := fs.Duration("patience", time.Minute, "how long a copy may take on a slow machine")
	if err := loadSettings(fs, args, os.Getenv); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "davy-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if *keep {
			fmt.Fprintf(stdout, "\nThe data directory is %s\n", filepath.Join(dir, "data"))
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // the server's user must pass it
		return err
	}
	data := filepath.Join(dir, "data")
	rt := filepath.Join(data, "runtimes")
	if *runtimesDir != "" {
		if rt, err = filepath.Abs(*runtimesDir); err != nil {
			return err
		}
	}

	began := time.Now()
	logFile, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	srv := exec.CommandContext(ctx, "/proc/self/exe", "serve", "--data-dir", data, "--runtimes", rt,
		"--listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0")
	srv.Stderr = logFile
	srv.Cancel = func() error { return srv.Process.Signal(syscall.SIGTERM) }
	srv.WaitDelay = time.Minute
	srv.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := srv.StdoutPipe()
	if err != nil {
		return err
	}
	if err := srv.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	defer func() {
		stop := srv.Cancel()
		wait := srv.Wait()
		if err != nil {
			log, _ := os.ReadFile(logFile.Name())
			fmt.Fprintf(stderr, "\nThe server's log:\n%s\n", log)
		} else if stop == nil && wait != nil {
			err = fmt.Errorf("the server did not stop cleanly: %w", wait)
		}
	}()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		return fmt.Errorf("the server did not start: %w", err)
	}
	api := field(line, "api")
	if api == "" {
		return fmt.Errorf("the server said %q", line)
	}
	fmt.Fprintf(stdout, "davy %s is ready after %s at %s\n", versionString(), time.Since(began).Round(time.Millisecond), api)

	root, err := operator.RootKey(data)
	if err != nil {
		return err
	}
	names, err := installed(ctx, rt)
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Config{
		Endpoint: api, Account: "000000000000", AccessID: root.AccessKeyID, Secret: root.SecretAccessKey,
		Runtimes: names, Out: stdout, Patience: *patience,
	})
}

// installed lists the runtimes that can run here.
func installed(ctx context.Context, dir string) ([]string, error) {
	store, err := runtimes.New(runtimes.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range store.List(ctx) {
		if s.Source != "" {
			names = append(names, s.Runtime.Name)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("no runtime is installed: see `davy runtime list`")
	}
	return names, nil
}

// field finds KEY=value in the ready line.
func field(line, key string) string {
	for f := range strings.FieldsSeq(line) {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v
		}
	}
	return ""
}
