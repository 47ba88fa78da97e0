package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"davy/internal/doctor"
	"davy/internal/runtimes"
	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/ns"
)

// runDoctor looks at the machine and tries a launcher.
func runDoctor(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("davy doctor", flag.ContinueOnError)
	fs.SetOutput(stderr)
	data := fs.String("data-dir", defaultDataDir(os.Geteuid(), os.Getenv), "`directory` that holds everything")
	dir := fs.String("runtimes", "", "`directory` of installed runtimes (default DIR/runtimes)")
	if err := loadSettings(fs, args, os.Getenv); err != nil {
		return err
	}
	if *dir == "" {
		*dir = filepath.Join(*data, "runtimes")
	}
	store, err := runtimes.New(runtimes.Config{Dir: *dir})
	if err != nil {
		return err
	}
	driver, driverErr := tryLauncher(existing(*data))
	if driver != nil {
		defer driver.Close()
	}
	found := doctor.Examine(ctx, doctor.Config{
		Data: existing(*data), Root: "/", UID: os.Geteuid(), Driver: driver, DriverErr: driverErr, Runtimes: store,
	})
	fmt.Fprintf(stdout, "davy %s\n\n", versionString())
	if !doctor.Print(stdout, found) {
		return exitCode(1)
	}
	return nil
}

// existing is the nearest directory to a path that is there: the file system
// that the path will be on.
func existing(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
		parent := filepath.Dir(path)
		if parent == path {
			return path
		}
		path = parent
	}
}

func tryLauncher(scratch string) (sandbox.Driver, error) {
	p, err := launcher.Start(launcher.Config{
		Instance: fmt.Sprintf("davy-doctor-%d", os.Getpid()), Spares: -1, ScratchDir: scratch, ScratchReady: -1,
	})
	if err != nil {
		return nil, err
	}
	d, err := ns.New(p.Socket)
	if err != nil {
		return nil, err
	}
	return d, nil
}
