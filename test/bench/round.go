package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// size is how much a round measures.
type size struct {
	starts    int           // starts of the server
	cold      int           // fresh functions
	coldFresh int           // of the other kinds
	sustained int           // fresh functions, four at a time
	warm      int           // calls of one client
	span      time.Duration // of each load with many clients
	big       int           // objects of 8 MiB
	labCold   int
	labWarm   int
	scale     extent
}

// extent is how much a store holds.
type extent struct{ functions, objects int }

var (
	fullSize  = size{starts: 3, cold: 10, coldFresh: 4, sustained: 100, warm: 500, span: 2 * time.Second, big: 6, labCold: 2, labWarm: 8, scale: extent{1000, 10_000}}
	quickSize = size{starts: 1, cold: 5, coldFresh: 2, sustained: 30, warm: 200, span: time.Second, big: 3, labCold: 1, labWarm: 4, scale: extent{100, 1000}}

	largeScale = extent{10_000, 100_000}
)

// bench is one round: a server, its user, the floors, and where numbers go.
type bench struct {
	*account
	o      options
	size   size
	node   node
	floors *floors
	out    samples
}

// oneRound passes through all groups on a server of its own.
func oneRound(ctx context.Context, o options, sz size, n node, f *floors, out samples) (err error) {
	server, log, err := newServer(o)
	if err != nil {
		return err
	}
	b := &bench{o: o, size: sz, node: n, floors: f, out: out}
	if err := b.starts(server); err != nil {
		return errors.Join(fmt.Errorf("start: %w\n%s", err, log), server.Stop())
	}
	if b.account, err = openAccount(ctx, server, log); err != nil {
		return errors.Join(err, server.Stop())
	}
	defer func() {
		if err != nil || o.keep {
			fmt.Fprintln(os.Stderr, "the server's log:\n"+log.String())
		}
		err = errors.Join(err, b.account.close())
	}()
	for _, g := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"cold", b.cold},
		{"memory", b.memory},
		{"sustained", b.sustained},
		{"warm", b.warm},
		{"s3", b.objects},
		{"lab", b.lab},
		{"enqueue", b.enqueue}, // last: its events wait on
	} {
		if !o.only.MatchString(g.name) {
			continue
		}
		if err := g.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
}
