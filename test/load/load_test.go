package load

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A function that nobody has called yet is called by 64 clients at once, and
// forty of them by sixteen: every answer is right. When the functions are
// deleted, nothing is left of them.
func TestLoad_NothingIsLeft(t *testing.T) {
	l := newLab(t, "--pool-memory", "0")
	// What a server makes when it is first used is not a leak.
	l.round(t, 8, 2)
	l.census(t)
	goroutines := l.launcherGoroutines(t)
	l.round(t, 8, 2) // it is another launcher now
	before := l.census(t)
	rounds, clients, many := 1, 64, 40
	for began, soak := time.Now(), soakFor(t); rounds == 1 || time.Since(began) < soak; rounds++ {
		l.round(t, clients, many)
		after := before
		l.settle(t, fmt.Sprintf("before round %d %+v", rounds, before), func(c census) bool {
			after = c
			return before.holds(c)
		})
		t.Logf("round %d: %+v", rounds, after)
	}
	if now := l.launcherGoroutines(t); now > goroutines || now == 0 {
		t.Errorf("the launcher has %d goroutines, after little work another had %d", now, goroutines)
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	l.settle(t, "stopped", census.none)
}

// soakFor is how long rounds are repeated.
func soakFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// launcherGoroutines counts what works in the launcher, which it does not
// survive; the supervisor starts another.
func (l *lab) launcherGoroutines(t *testing.T) (n int) {
	t.Helper()
	_, _, old, err := roles(l.Server)
	if err != nil {
		t.Fatal(err)
	}
	said := len(l.said.String())
	if err := syscall.Kill(old.pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	l.settle(t, "the launcher is not started again", func(census) bool {
		_, _, now, err := roles(l.Server)
		return err == nil && now.pid != old.pid && strings.Contains(l.said.String()[said:], "goroutine ")
	})
	for block := range strings.SplitSeq(l.said.String()[said:], "\n\n") {
		if strings.HasPrefix(block, "goroutine ") && strings.Contains(block, "davy/internal/") {
			n++
		}
	}
	return n
}

// round calls a cold function with clients at once, then many functions with
// sixteen, checks every answer, and deletes the functions.
func (l *lab) round(t *testing.T, clients, many int) {
	t.Helper()
	ctx := t.Context()
	if err := l.create(ctx, "cold", echoCode); err != nil {
		t.Fatal(err)
	}
	if err := load(clients, 8*clients, func(_, n int) error {
		if n == 4*clients { // in the middle of it
			if err := unprivileged(l); err != nil {
				return err
			}
		}
		return l.check(ctx, "cold", fmt.Sprint(n))
	}); err != nil {
		t.Fatalf("%d clients, one function: %v", clients, err)
	}
	name := func(n int) string { return fmt.Sprintf("fn-%d", n%many) }
	for n := range many {
		if err := l.create(ctx, name(n), echoCode); err != nil {
			t.Fatal(err)
		}
	}
	if err := load(16, 8*many, func(_, n int) error { return l.check(ctx, name(n), fmt.Sprint(n)) }); err != nil {
		t.Fatalf("16 clients, %d functions: %v", many, err)
	}
	for n := range many {
		if err := l.remove(ctx, name(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.remove(ctx, "cold"); err != nil {
		t.Fatal(err)
	}
}

// unprivileged says what the server, which reads what the network sends, may do
// that it must not.
func unprivileged(l *lab) error {
	_, server, _, err := roles(l.Server)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.pid))
	if err != nil {
		return err
	}
	const none = "0000000000000000"
	want := map[string]string{
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none, "NoNewPrivs": "1", "Groups": "",
		"Uid": "64999\t64999\t64999\t64999", "Gid": "64999\t64999\t64999\t64999",
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if w, ok := want[name]; ok && w != value {
			return fmt.Errorf("the server has %s %q, want %q", name, value, w)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		return fmt.Errorf("the kernel does not tell %v", want)
	}
	return nil
}

// The census would prove nothing if it could not see what is left: here a
// function is not deleted.
func TestCensus_SeesAnEnvironment(t *testing.T) {
	l := newLab(t, "--pool-memory", "0")
	before := l.census(t)
	if err := l.create(t.Context(), "left", echoCode); err != nil {
		t.Fatal(err)
	}
	if err := l.check(t.Context(), "left", "1"); err != nil {
		t.Fatal(err)
	}
	now, err := count(l.Server)
	if err != nil {
		t.Fatal(err)
	}
	if now.Processes < before.Processes+2 || now.Namespaces <= before.Namespaces || now.Cgroups <= before.Cgroups ||
		now.ServerFiles <= before.ServerFiles || now.LauncherFiles <= before.LauncherFiles || now.Goroutines <= before.Goroutines || now.Environments != 1 {
		t.Errorf("with an environment %+v, without %+v", now, before)
	}
	before.Environments = 1
	if before.holds(now) {
		t.Error("growth is not seen")
	}
}
