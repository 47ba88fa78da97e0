package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"davy/internal/runtimes"
)

// runRuntime lists runtimes or adds them from archives. Davy itself fetches
// nothing: scripts/fetch-runtimes does, with the npm client.
func runRuntime(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "list" && args[0] != "add" {
		return errors.New("usage: davy runtime list | davy runtime add (--from DIR | NAME ARCHIVE)")
	}
	fs := flag.NewFlagSet("davy runtime "+args[0], flag.ContinueOnError)
	fs.SetOutput(stderr)
	data := fs.String("data-dir", defaultDataDir(os.Geteuid(), os.Getenv), "`directory` that holds everything")
	dir := fs.String("runtimes", "", "`directory` of installed runtimes (default DIR/runtimes)")
	from := fs.String("from", "", "add all that scripts/fetch-runtimes left in this `directory`, the AWS SDKs too")
	if err := parseFlags(fs, args[1:]); err != nil {
		return usageError{err}
	}
	if *dir == "" {
		*dir = filepath.Join(*data, "runtimes")
	}
	store, err := runtimes.New(runtimes.Config{Dir: *dir})
	if err != nil {
		return err
	}
	if args[0] == "list" {
		return listRuntimes(ctx, store, stdout)
	}
	switch {
	case *from != "" && fs.NArg() == 0:
		return store.InstallFrom(ctx, *from)
	case *from == "" && fs.NArg() == 2:
		return store.Install(ctx, fs.Arg(0), fs.Arg(1))
	}
	return errors.New("usage: davy runtime add (--from DIR | NAME ARCHIVE)")
}

func listRuntimes(ctx context.Context, store *runtimes.Store, stdout io.Writer) error {
	w := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "RUNTIME\tSOURCE\tVERSION\tARCHIVE")
	for _, s := range store.List(ctx) {
		source := s.Source
		if source == "" {
			source = "missing"
		}
		archive := ""
		if a, err := s.Runtime.Archive(); err == nil {
			archive = a.Spec()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Runtime.Name, source, s.Version, archive)
	}
	return w.Flush()
}
