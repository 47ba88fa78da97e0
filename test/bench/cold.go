package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// start is a kind of cold start that is measured: the first invocation of a
// function that was just made.
type start struct {
	series  string
	fn      function
	settled bool // the server has done what it does ahead: a runtime of the pool waits
	floor   func() (time.Duration, error)
	times   int
}

// cold measures cold starts that find a runtime in the pool, those that come
// in the moment after the function was made, and those that boot their own.
func (b *bench) cold(ctx context.Context) error {
	bare := func(script string) func() (time.Duration, error) {
		return func() (time.Duration, error) { return b.node.run(script) }
	}
	const importSDK = "require('@aws-sdk/client-s3')"
	hello, sdk := b.o.js(helloCode), b.o.js(sdkCode)
	own := map[string]string{"LANG": "C.UTF-8"} // which a process reads when it starts
	freshHello, freshSDK := hello, sdk
	freshHello.env, freshSDK.env = own, own
	starts := []start{
		{"cold.hello", hello, true, bare("0"), b.size.cold},
		{"cold.rapid", hello, false, bare("0"), b.size.cold},
		{"cold.fresh", freshHello, false, bare("0"), b.size.coldFresh},
		{"cold.sdk", sdk, true, bare(importSDK), b.size.coldFresh},
		{"cold.sdk.fresh", freshSDK, false, bare(importSDK), b.size.coldFresh},
	}
	if program := hostPython(); program != "" {
		python := function{runtime: filepath.Base(program), handler: "index.handler", file: "index.py", text: []byte("def handler(event, context):\n    return event\n")}
		starts = append(starts, start{"cold.python", python, true, func() (time.Duration, error) { return timed(exec.Command(program, "-c", "0")) }, b.size.coldFresh})
	}
	if b.o.bootstrap != "" {
		text, err := os.ReadFile(b.o.bootstrap)
		if err != nil {
			return err
		}
		provided := function{runtime: "provided.al2023", handler: "-", file: "bootstrap", text: text}
		starts = append(starts, start{"cold.provided", provided, true, func() (time.Duration, error) { return firstAnswer(b.o.bootstrap) }, b.size.coldFresh})
	}
	for _, s := range starts {
		for range s.times {
			if err := b.coldStart(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s.series, err)
			}
		}
	}
	return nil
}

func (b *bench) coldStart(ctx context.Context, s start) error {
	name, err := b.create(ctx, "cold", s.fn)
	if err != nil {
		return err
	}
	if s.settled {
		if err := b.awaitPool(ctx); err != nil {
			return err
		}
	}
	before, err := treeUsage(b.server.PID())
	if err != nil {
		return err
	}
	a, err := b.user.invoke(ctx, name, kibibyte)
	if err != nil {
		return err
	}
	after, err := treeUsage(b.server.PID())
	if err != nil {
		return err
	}
	b.out.addTime(s.series, a.took)
	b.out.addTime(s.series+".cpu", after.cpu-before.cpu)
	d, err := s.floor()
	b.out.addTime(s.series+".floor", d)
	return err
}

// awaitPool waits until the pool of runtimes holds what it wants to hold.
func (b *bench) awaitPool(ctx context.Context) error {
	const look, enough = 10 * time.Millisecond, 20 * time.Second
	tick := time.NewTicker(look)
	defer tick.Stop()
	for began, calm := time.Now(), 0; ; {
		<-tick.C // the server hears of a new function a moment after its maker
		booting, pooled, err := b.pool(ctx)
		switch {
		case err != nil:
			return err
		case booting > 0 || pooled == 0:
			calm = 0
		default:
			calm++
		}
		if calm == 3 {
			return nil
		}
		if time.Since(began) > enough {
			return errors.New("no runtime in the pool")
		}
	}
}

// pool reads the metrics.
func (b *bench) pool(ctx context.Context) (booting, pooled float64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.Console+"/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	for l := range strings.Lines(string(text)) {
		for state, into := range map[string]*float64{"booting": &booting, "pooled": &pooled} {
			if rest, ok := strings.CutPrefix(l, `davy_environments{state="`+state+`"} `); ok {
				_, err = fmt.Sscan(rest, into)
			}
		}
	}
	return booting, pooled, err
}

// hostPython is the program of the managed runtime that the host's own Python
// is: not what PATH finds first, which may be a script that looks for one.
func hostPython() string {
	program, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		return ""
	}
	return program
}

func timed(cmd *exec.Cmd) (time.Duration, error) {
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %.300s", cmd, err, out)
	}
	return time.Since(began), nil
}

// firstAnswer starts a custom runtime without Davy, gives it one event and
// measures until it has answered.
func firstAnswer(bin string) (_ time.Duration, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	answered := make(chan struct{})
	handed := false
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
			close(answered)
		case handed:
			<-r.Context().Done() // there is no second event
		default:
			handed = true
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
			_, _ = w.Write(kibibyte.bytes)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	cmd := exec.Command(bin)
	cmd.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String()}
	cmd.Dir = filepath.Dir(bin)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, errors.Join(err, server.Close())
	}
	select {
	case <-answered:
	case <-time.After(10 * time.Second):
		err = errors.New("no answer")
	}
	took := time.Since(began)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	err = errors.Join(err, server.Close())
	<-served
	return took, err
}

// sustained measures how many cold starts a second are possible, four at a
// time.
func (b *bench) sustained(ctx context.Context) error {
	names := make([]string, b.size.sustained)
	for i := range names {
		var err error
		if names[i], err = b.create(ctx, "sustained", b.o.js(helloCode)); err != nil {
			return err
		}
	}
	p, err := pressCount(ctx, 4, len(names), func(ctx context.Context, i int) error {
		_, err := b.user.invoke(ctx, names[i], kibibyte)
		return err
	})
	if err != nil {
		return err
	}
	b.out.add("sustained", p.rate())
	p, err = pressCount(ctx, 4, len(names), func(context.Context, int) error {
		_, err := b.node.run("0")
		return err
	})
	b.out.add("sustained.floor", p.rate())
	return err
}
