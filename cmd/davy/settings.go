package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// loadSettings fills the flags of fs: from the command line first, then from
// the environment (--data-dir is DAVY_DATA_DIR), then from the file named by
// --config, which holds one "flag-name = value" a line. What none of them
// names keeps its default. The error is a usageError.
func loadSettings(fs *flag.FlagSet, args []string, getenv func(string) string) error {
	err := readFlags(fs, args, getenv)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return usageError{fmt.Errorf("%w (%s -h lists the flags)", err, fs.Name())}
	}
	return err
}

func readFlags(fs *flag.FlagSet, args []string, getenv func(string) string) error {
	configFile := fs.String("config", "", "`file` with one \"flag = value\" a line")
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })

	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		key := "DAVY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v := getenv(key); v != "" && !given[f.Name] {
			given[f.Name] = true
			if err := fs.Set(f.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("invalid value %q for %s: %w", v, key, err))
			}
		}
	})
	if *configFile == "" || len(errs) > 0 {
		return errors.Join(errs...)
	}
	f, err := os.Open(*configFile)
	if err != nil {
		return fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	return readSettings(fs, given, f, *configFile)
}

// parseFlags parses the command line. What is wrong with it is in the error
// alone, in one line; all flags are printed to who asks for them.
func parseFlags(fs *flag.FlagSet, args []string) error {
	out := fs.Output()
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	fs.SetOutput(out)
	if errors.Is(err, flag.ErrHelp) {
		fs.Usage()
	}
	return err
}

func readSettings(fs *flag.FlagSet, given map[string]bool, r io.Reader, name string) error {
	seen := make(map[string]bool)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok:
			return fmt.Errorf("%s:%d: want \"flag = value\"", name, n)
		case fs.Lookup(key) == nil || key == "config":
			return fmt.Errorf("%s:%d: unknown setting %q", name, n, key)
		case seen[key]:
			return fmt.Errorf("%s:%d: %s is set twice", name, n, key)
		}
		seen[key] = true
		if given[key] {
			continue
		}
		if err := fs.Set(key, value); err != nil {
			return fmt.Errorf("%s:%d: invalid value %q for %s: %w", name, n, value, key, err)
		}
	}
	return lines.Err()
}

// defaultDataDir is /var/lib/davy for root, else below the user's data home.
// https://specifications.freedesktop.org/basedir-spec/latest/
func defaultDataDir(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/var/lib/davy"
	}
	if d := getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "davy")
	}
	return filepath.Join(getenv("HOME"), ".local", "share", "davy")
}
