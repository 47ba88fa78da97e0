package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// pageHead explains the table to who has not run the command.
const pageHead = `# Measurements

Written by ` + "`make bench`" + `: its last whole run. Each number stands beside its floor, measured in the same run on the same machine: what a
bare program takes that does only what cannot be avoided. What the numbers are made of, and where the time goes that a target
is missed by, is in [performance.md](performance.md); all runs are in ` + "`bench/results`" + `.
`

// writePage writes a run as a page of the documentation.
func writePage(path, run string, lines []line) error {
	var b bytes.Buffer
	if err := markdown(&b, run, lines); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// markdown writes the table of a run, which the text describes.
func markdown(w io.Writer, run string, lines []line) error {
	_, err := fmt.Fprintf(w, "%s\n%s.\n\n| what | measured | floor | ratio | target | met |\n|---|---|---|---|---|---|\n", pageHead, run)
	for _, l := range lines {
		if err != nil {
			return err
		}
		what, isPart := strings.CutPrefix(l.what, "  ")
		if isPart {
			what = "… " + what
		}
		_, err = fmt.Fprintf(w, "| %s | %s |\n", what, strings.Join(l.cells(), " | "))
	}
	return err
}
