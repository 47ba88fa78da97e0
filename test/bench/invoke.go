package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"davy/internal/state"
	"davy/internal/state/sqlite"
	"davy/test/davytest"
)

// kibibyte is the event and the object of the small measures.
var kibibyte = payloadOf([]byte(`{"text":"` + strings.Repeat("x", 1024-11) + `"}`))

// settled is after a server's start the time that its memory is measured at.
const settled = 3 * time.Second

// starts measures the time from the command to the ready line: on an empty
// data directory, and again on that one. The server runs afterwards.
func (b *bench) starts(s *davytest.Server) error {
	for i := range b.size.starts + 1 {
		if i > 0 {
			if err := s.Stop(); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := s.Start(b.o.serveFlags()...); err != nil {
			return err
		}
		series := "start.again"
		if i == 0 {
			series = "start.first"
		}
		b.out.addTime(series, time.Since(began))

		began = time.Now()
		if out, err := exec.Command(b.o.davy, "version").CombinedOutput(); err != nil {
			return fmt.Errorf("davy version: %w: %s", err, out)
		}
		b.out.addTime("start.floor", time.Since(began))
	}
	time.Sleep(settled) // what has just started is not idle yet
	u, err := treeUsage(s.PID())
	if err != nil {
		return err
	}
	b.out.add("start.rss", mebibytes(u.rss))
	n, err := treeShare(s.PID())
	b.out.add("start.pss", mebibytes(n))
	return err
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// memory measures what environments that wait for an event hold.
func (b *bench) memory(context.Context) error {
	all, err := readProcesses("/proc")
	if err != nil {
		return err
	}
	for _, p := range below(all, b.server.PID()) {
		if !runsNode(p.pid) {
			continue
		}
		n, err := groupMemory(p.pid)
		if err != nil {
			return err
		}
		b.out.add("memory", mebibytes(n))
	}
	n, err := anonymous(b.floors.echo.cmd.Process.Pid)
	b.out.add("memory.floor", mebibytes(n))
	return err
}

func runsNode(pid int) bool {
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	name, _, _ := bytes.Cut(cmdline, []byte{0})
	return filepath.Base(string(name)) == "node"
}

// anonymous is the memory, in bytes, that is a process's own and no file's.
func anonymous(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return kibibytesField(string(text), "RssAnon:"), nil
}

// warm measures a function that runs already, with one client and with many.
func (b *bench) warm(ctx context.Context) error {
	name, err := b.create(ctx, "warm", b.o.js(helloCode))
	if err != nil {
		return err
	}
	davy := func(ctx context.Context, _ int) error {
		_, err := b.user.invoke(ctx, name, kibibyte)
		return err
	}
	echo := func(ctx context.Context, _ int) error {
		_, err := b.floors.client.echo.invoke(ctx, name, kibibyte)
		return err
	}
	for _, side := range []struct {
		series string
		client *client
	}{{"warm", b.user}, {"warm.floor", b.floors.client.echo}} {
		for i := range b.size.warm + 50 {
			a, err := side.client.invoke(ctx, name, kibibyte)
			if err != nil {
				return err
			}
			if i >= 50 {
				b.out.addTime(side.series, a.took)
			}
		}
	}
	for _, side := range []struct {
		series string
		pid    int
		op     func(context.Context, int) error
	}{{"warm16", b.server.PID(), davy}, {"warm16.floor", b.floors.echo.cmd.Process.Pid, echo}} {
		if err := settle(ctx, b.size.span/4, side.op); err != nil {
			return err
		}
		before, err := treeUsage(side.pid)
		if err != nil {
			return err
		}
		p, err := press(ctx, 16, b.size.span, side.op)
		if err != nil {
			return err
		}
		after, err := treeUsage(side.pid)
		if err != nil {
			return err
		}
		b.out.add(side.series+".rate", p.rate())
		b.out.addTimes(side.series, p.took)
		b.out.add(side.series+".cpu", milliseconds(after.cpu-before.cpu)/float64(len(p.took)))
		b.out.add(side.series+".rss", mebibytes(after.rss))
	}
	return nil
}

// settle presses until as much gets done in one slice as in the one before: by
// then every environment that the load needs has started.
func settle(ctx context.Context, slice time.Duration, op func(context.Context, int) error) error {
	const tries, close = 40, 0.8
	last := 0.0
	for range tries {
		p, err := press(ctx, 16, slice, op)
		if err != nil {
			return err
		}
		rate := p.rate()
		if last > close*rate && rate > close*last && slowest(p.took) < slice/4 {
			return nil
		}
		last = rate
	}
	return nil // it stays unsteady, which is a result as well
}

func slowest(took []time.Duration) time.Duration {
	if len(took) == 0 {
		return math.MaxInt64
	}
	return slices.Max(took)
}

// enqueue measures how many events a second are taken and kept: by Invoke,
// and by the queue alone.
func (b *bench) enqueue(ctx context.Context) error {
	name, err := b.create(ctx, "sleep", b.o.js(sleepCode))
	if err != nil {
		return err
	}
	// One runs and does not end, so that what is measured is the way in.
	if _, err := b.user.lambda(ctx, http.MethodPut, "/2017-10-31/functions/"+name+"/concurrency", map[string]any{"ReservedConcurrentExecutions": 1}); err != nil {
		return err
	}
	event := call{
		service: "lambda", method: http.MethodPost, body: kibibyte,
		target: "/2015-03-31/functions/" + name + "/invocations",
		header: map[string]string{"Content-Type": "application/json", "X-Amz-Invocation-Type": "Event"},
	}
	for _, side := range []struct {
		series string
		pid    int
		client *client
	}{{"enqueue", b.server.PID(), b.user}, {"enqueue.floor", b.floors.files.cmd.Process.Pid, b.floors.client.files}} {
		before, err := treeUsage(side.pid)
		if err != nil {
			return err
		}
		p, err := press(ctx, 64, b.size.span, func(ctx context.Context, _ int) error {
			_, err := side.client.do(ctx, event)
			return err
		})
		if err != nil {
			return err
		}
		after, err := treeUsage(side.pid)
		if err != nil {
			return err
		}
		b.out.add(side.series, p.rate())
		b.out.add(side.series+".cpu", milliseconds(after.cpu-before.cpu)/float64(len(p.took)))
	}
	return b.enqueueBare(ctx)
}

// enqueueBare measures the queue without the protocol, and one writer that
// appends and syncs.
func (b *bench) enqueueBare(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "davy-bench-queue-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := sqlite.Open(ctx, sqlite.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer store.Close()
	p, err := press(ctx, 64, b.size.span/2, func(ctx context.Context, i int) error {
		_, err := store.Commit(ctx, state.Batch{Send: []state.Msg{{Queue: fmt.Sprint("q", i%100), Body: kibibyte.bytes}}})
		return err
	})
	if err != nil {
		return err
	}
	b.out.add("queue", p.rate())
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		return err
	}
	defer f.Close()
	p, err = press(ctx, 1, b.size.span/4, func(context.Context, int) error {
		if _, err := f.Write(kibibyte.bytes); err != nil {
			return err
		}
		return f.Sync()
	})
	b.out.add("queue.floor", p.rate())
	return err
}
