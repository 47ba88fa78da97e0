// Command davy runs AWS Lambda functions on this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"davy/internal/sandbox/launcher"
)

// version is set by the build (-ldflags -X main.version=...).
var version = ""

// command is a subcommand of davy.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

func commands() []command {
	return []command{
		{"serve", "run the server", runServe},
		{"demo", "run the lab against a server of its own and print each step", runDemo},
		{"doctor", "say what this machine can do and how to fix what is missing", runDoctor},
		{"account", "add an account to a running server, or list those that were added", runAccount},
		{"iam", "explain who may do what, and by which statement", runIAM},
		{"runtime", "list the managed runtimes, or add one from an archive", runRuntime},
		{"version", "print the version", runVersion},
	}
}

func main() {
	// The launcher and the first process of each sandbox are this same binary.
	launcher.Main()

	stops := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		stops = append(stops, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), stops...)
	// The second signal has its default effect: it ends at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// exitCode is an error that carries a child's exit status and needs no text.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line, or settings, that make no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return 2
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(stdout)
		return 0
	}
	all := append(commands(), command{"server", "", runServer}) // for the supervisor, not for people
	for _, c := range all {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:], stdout, stderr)
		var code exitCode
		var misuse usageError
		switch {
		case err == nil || errors.Is(err, flag.ErrHelp):
			return 0
		case errors.As(err, &code):
			return int(code)
		}
		name := c.name
		if name == "server" {
			name = "serve"
		}
		fmt.Fprintf(stderr, "davy %s: %v\n", name, err)
		if errors.As(err, &misuse) {
			return 2
		}
		return 1
	}
	fmt.Fprintf(stderr, "davy: unknown command %q\n", args[0])
	usage(stderr)
	return 2
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Davy runs AWS Lambda functions on this machine.\n\nusage: davy COMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\ndavy COMMAND -h lists a command's flags.\n")
}

func runVersion(_ context.Context, _ []string, stdout, _ io.Writer) error {
	_, err := fmt.Fprintln(stdout, "davy "+versionString())
	return err
}

// versionString prefers what the build said over what the module system knows.
func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}
