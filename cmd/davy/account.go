package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"davy/internal/operator"
)

const accountUsage = "usage: davy account add [--data-dir DIR] NAME_OR_ID | davy account list [--data-dir DIR]"

// runAccount adds accounts to a running server, or lists those that were
// added. It is the first account's root user who asks, with the key in
// DIR/credentials.
func runAccount(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "add" && args[0] != "list" {
		return errors.New(accountUsage)
	}
	fs := flag.NewFlagSet("davy account "+args[0], flag.ContinueOnError)
	fs.SetOutput(stderr)
	data := fs.String("data-dir", dataDirSetting(), "data `directory` of the server")
	if err := parseFlags(fs, args[1:]); err != nil {
		return usageError{err}
	}
	if want := map[string]int{"add": 1}[args[0]]; fs.NArg() != want {
		return errors.New(accountUsage)
	}
	client, err := operator.Open(*data)
	if err != nil {
		return err
	}
	if args[0] == "add" {
		a, err := client.AddAccount(ctx, fs.Arg(0))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "account %s\nprofile %s, in %s/credentials and %s/config\n", a.ID, a.Profile, *data, *data)
		return err
	}
	all, err := client.Accounts(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tPROFILE")
	for _, a := range all {
		fmt.Fprintf(w, "%s\t%s\n", a.ID, a.Profile)
	}
	return w.Flush()
}

// dataDirSetting is the data directory of the environment, or the default one.
func dataDirSetting() string {
	if dir := os.Getenv("DAVY_DATA_DIR"); dir != "" {
		return dir
	}
	return defaultDataDir(os.Geteuid(), os.Getenv)
}
