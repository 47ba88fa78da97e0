// Package demo runs Davy's main job against a server, as a client that knows
// nothing of the server's insides: buckets, policy, role, functions, triggers,
// uploads, copies, and the refusals that make it safe.
//
// Every step is a real signed request. A step that differs from what AWS would
// do ends the run with an error.
package demo

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Config says where and as whom to run.
type Config struct {
	Endpoint string // http://HOST:PORT of the API
	Region   string // us-east-1 when empty
	Account  string // the account of the credentials
	AccessID string
	Secret   string
	Runtimes []string // managed runtimes to try, in order
	Out      io.Writer
	// Patience bounds how long a copy may take before the step has differed.
	// 0: a minute.
	Patience time.Duration
}

// Run executes the lab and prints a line for each step with its time. The
// error names the first step that differed.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute
	}
	l := &lab{
		cfg:    cfg,
		out:    cfg.Out,
		client: newClient(cfg.Endpoint, cfg.Region, cfg.AccessID, cfg.Secret),
		suffix: time.Now().UTC().Format("20060102150405"),
	}
	start := time.Now()
	steps := under("Buckets and a role", l.foundation())
	for _, rt := range cfg.Runtimes {
		for _, v := range variants {
			if v.runs(rt) {
				steps = append(steps, under(rt+", "+v.title, l.withFunction(rt, v))...)
			}
		}
	}
	steps = append(steps, under("What must be refused", l.refusals())...)
	part := ""
	for _, s := range steps {
		if s.part != part {
			part = s.part
			fmt.Fprintf(l.out, "\n%s\n", part)
		}
		began := time.Now()
		note, err := s.run(ctx)
		took := time.Since(began)
		if err != nil {
			fmt.Fprintf(l.out, "  FAILED  %-61s %9s\n", s.name, round(took))
			return fmt.Errorf("%s: %s: %w", s.part, s.name, err)
		}
		if note != "" {
			note = "  " + note
		}
		fmt.Fprintf(l.out, "  ok  %-65s %9s%s\n", s.name, round(took), note)
	}
	fmt.Fprintf(l.out, "\n%d steps in %s: everything as AWS would have done it.\n", len(steps), round(time.Since(start)))
	return nil
}

// step is one line of the lab, below the heading of its part. run returns a remark to print, or what differed.
type step struct {
	part string
	name string
	run  func(ctx context.Context) (note string, err error)
}

// under puts steps below a heading.
func under(part string, steps []step) []step {
	for i := range steps {
		steps[i].part = part
	}
	return steps
}

func round(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
