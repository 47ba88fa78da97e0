// Command bench measures the numbers that Davy promises, each beside a floor
// that is measured in the same run: what the same machine does without Davy.
// It is for whoever changes a hot path, and for who doubts the README.
//
// Every round starts a server on an empty data directory and passes through
// all measures, so that a busy minute of the machine falls on Davy and floor
// alike. What is shown are medians and high percentiles over all rounds.
// Ratios travel between machines; absolute numbers do not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	davy      string // binary
	runtimes  string // directory
	runtime   string // managed runtime of the functions
	results   string // directory; empty: print only
	page      string // of the documentation, for a whole run; empty: none
	bootstrap string // binary of a custom runtime; empty: none
	only      *regexp.Regexp
	rounds    int
	quick     bool
	large     bool
	keep      bool
}

func main() {
	var o options
	only := flag.String("only", "", "`regexp`: the groups of measures to run (start, cold, sustained, warm, memory, enqueue, s3, lab, scale)")
	flag.StringVar(&o.davy, "davy", "bin/davy", "the davy `binary`")
	flag.StringVar(&o.runtimes, "runtimes", "build/runtimes", "`directory` of installed runtimes")
	flag.StringVar(&o.runtime, "runtime", "nodejs22.x", "managed `runtime` of the functions")
	flag.StringVar(&o.bootstrap, "bootstrap", "", "`binary` of test/bench/bootstrap, for the measure of a custom runtime; empty: not measured")
	flag.StringVar(&o.results, "results", "", "`directory` that gets the JSON lines; empty: print only")
	flag.StringVar(&o.page, "page", "", "`file` that gets the table of a whole run in Markdown, with -results")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds (default 4; 1 with -quick)")
	flag.BoolVar(&o.quick, "quick", false, "one round, fewer samples: a look, not a result")
	flag.BoolVar(&o.large, "large", false, "10,000 functions and 100,000 objects instead of 1,000 and 10,000")
	flag.BoolVar(&o.keep, "keep-log", false, "print the server's log when a round is over")
	floor := flag.String("floor", "", "be the floor server on this `directory` (used by the command itself)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := func() (err error) {
		if *floor != "" {
			return serveFloor(*floor)
		}
		if o.only, err = regexp.Compile(*only); err != nil {
			return err
		}
		return run(ctx, o)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.rounds == 0 {
		o.rounds = 4
		if o.quick {
			o.rounds = 1
		}
	}
	if o.runtimes, err = filepath.Abs(o.runtimes); err != nil {
		return err
	}
	nodes, err := findNode(o.runtimes, o.runtime)
	if err != nil {
		return err
	}
	floors, err := startFloors(nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, floors.stop()) }()

	began := time.Now()
	before, s := readMachine(), samples{}
	size := fullSize
	if o.quick {
		size = quickSize
	}
	for n := range o.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d, %s in, load %s\n", n+1, o.rounds, time.Since(began).Round(time.Second), readMachine().load)
		if err := oneRound(ctx, o, size, nodes, floors, s); err != nil {
			return fmt.Errorf("round %d: %w", n+1, err)
		}
	}
	scale := size.scale
	if o.large {
		scale = largeScale
	}
	if o.only.MatchString("scale") {
		fmt.Fprintf(os.Stderr, "%d functions and %d objects\n", scale.functions, scale.objects)
		if err := measureScale(ctx, o, scale, s); err != nil {
			return fmt.Errorf("scale: %w", err)
		}
	}
	after := readMachine()
	about := fmt.Sprintf("%s, %d processors, %s, %d rounds in %s; load average %s before, %s after",
		after.model, after.processors, after.kernel, o.rounds, time.Since(began).Round(time.Second), before.load, after.load)
	fmt.Print(about, "\n\n")
	lines := evaluate(table(scale), s)
	if err := print(os.Stdout, lines); err != nil {
		return err
	}
	if o.results == "" || o.quick {
		return nil
	}
	if o.page != "" && o.only.String() == "" {
		if err := writePage(o.page, began.UTC().Format("2006-01-02 15:04")+" UTC, "+about, lines); err != nil {
			return err
		}
	}
	lines = append(lines, line{spec: spec{name: "load_average_before", unit: "1"}, value: before.load1()},
		line{spec: spec{name: "load_average_after", unit: "1"}, value: after.load1()})
	path := filepath.Join(o.results, began.Format("2006-01-02")+".jsonl")
	return appendResults(path, began, lines)
}
