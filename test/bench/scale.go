package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// measureScale fills a store and asks the same of it before and after.
func measureScale(ctx context.Context, o options, e extent, out samples) (err error) {
	server, log, err := newServer(o)
	if err != nil {
		return err
	}
	if err := server.Start(o.serveFlags()...); err != nil {
		return fmt.Errorf("start: %w\n%s", err, log)
	}
	a, err := openAccount(ctx, server, log)
	if err != nil {
		return errors.Join(err, server.Stop())
	}
	defer func() {
		if err != nil {
			fmt.Fprintln(os.Stderr, "the server's log:\n"+log.String())
		}
		err = errors.Join(err, a.close())
	}()
	b := &bench{account: a, o: o, out: out}
	if _, err := a.user.s3(ctx, http.MethodPut, "/scale", nil, payload{}); err != nil {
		return err
	}
	name, err := a.create(ctx, "probe", o.js(helloCode))
	if err != nil {
		return err
	}
	// A full page of each list exists from the start, so that both sides
	// answer with as much.
	const page = 50
	if err := b.fill(ctx, 0, page, 0, 1000); err != nil {
		return err
	}
	if err := b.probe(ctx, name, ".floor"); err != nil {
		return err
	}
	if err := b.fill(ctx, page, e.functions, 1000, e.objects); err != nil {
		return err
	}
	return b.probe(ctx, name, "")
}

// fill creates functions and objects numbered from..to.
func (b *bench) fill(ctx context.Context, fromFunction, toFunction, fromObject, toObject int) error {
	z, err := zipOf("index.js", []byte(helloCode))
	if err != nil {
		return err
	}
	if _, err := pressCount(ctx, 8, toFunction-fromFunction, func(ctx context.Context, i int) error {
		_, err := b.user.lambda(ctx, http.MethodPost, "/2015-03-31/functions", map[string]any{
			"FunctionName": fmt.Sprintf("scale-%06d", fromFunction+i), "Runtime": b.o.runtime, "Role": b.role,
			"Handler": "index.handler", "Code": map[string]any{"ZipFile": z}, "MemorySize": wholeProcessor,
		})
		return err
	}); err != nil {
		return err
	}
	_, err = pressCount(ctx, 32, toObject-fromObject, func(ctx context.Context, i int) error {
		_, err := b.user.s3(ctx, http.MethodPut, fmt.Sprintf("/scale/key-%08d", fromObject+i), nil, kibibyte)
		return err
	})
	return err
}

// probe asks one question of each kind, many times.
func (b *bench) probe(ctx context.Context, function, side string) error {
	for _, q := range []struct {
		series string
		times  int
		call   call
	}{
		{"scale.list-functions", 50, call{service: "lambda", method: http.MethodGet, target: "/2015-03-31/functions?MaxItems=50"}},
		{"scale.get-function", 200, call{service: "lambda", method: http.MethodGet, target: "/2015-03-31/functions/scale-000001"}},
		{"scale.list-objects", 50, call{service: "s3", method: http.MethodGet, target: "/scale?list-type=2&max-keys=1000"}},
		{"scale.get-object", 200, call{service: "s3", method: http.MethodGet, target: "/scale/key-00000001"}},
	} {
		for range q.times {
			a, err := b.user.do(ctx, q.call)
			if err != nil {
				return err
			}
			b.out.addTime(q.series+side, a.took)
		}
	}
	for i := range 300 {
		a, err := b.user.invoke(ctx, function, kibibyte)
		if err != nil {
			return err
		}
		if i >= 20 {
			b.out.addTime("scale.invoke"+side, a.took)
		}
	}
	return nil
}
