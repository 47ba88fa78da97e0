package execenv

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
)

// newOnDiskBench is a bench on the real driver with /tmp on disk.
func newOnDiskBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	driver, _ := sandboxtest.New(t, launcher.Config{Roots: []string{os.TempDir()}, ScratchDir: t.TempDir()})
	for _, m := range driver.Missing() {
		if strings.HasPrefix(m, sandbox.MissingTmp) {
			t.Skip(m)
		}
	}
	return newBench(t, func(c *Config) {
		c.Driver, c.NoFreeze = driver, false
		if change != nil {
			change(c)
		}
	})
}

// counts appends to a file in /tmp and tells its length; fails as it is told.
const counts = `const fs = require("fs"); let n = 0
exports.handler = async (e) => {
  n++
  fs.appendFileSync("/tmp/log", "x")
  if (e.fail === "exit") process.exit(7)
  if (e.fail === "timeout") for (;;);
  if (e.fail === "memory") { const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1)) }
  return n + " of " + fs.readFileSync("/tmp/log").length
}`

// AWS resets an environment whose runtime has failed: the runtime starts anew,
// the files in /tmp stay.
func TestTmp_OutlivesAReset(t *testing.T) {
	b := newOnDiskBench(t, nil)
	for _, fail := range []string{"exit", "timeout", "memory"} {
		t.Run(fail, func(t *testing.T) {
			t.Parallel()
			f := b.js(counts)
			f.ARN += fail
			f.MemoryMB = 256
			steps := []struct{ event, want string }{
				{`{}`, `"1 of 1"`},
				{`{}`, `"2 of 2"`},
				{`{"fail":"` + fail + `"}`, "Unhandled"},
				{`{}`, `"1 of 4"`},
				{`{"fail":"` + fail + `"}`, "Unhandled"},
				{`{}`, `"1 of 6"`},
				{`{}`, `"2 of 7"`},
			}
			for i, step := range steps {
				invoke := b.invoke
				if fail == "timeout" && step.want == "Unhandled" {
					invoke = func(f Function, event string) Outcome { return b.expire(f, event, scarce) }
				}
				if got := answer(invoke(f, step.event)); !strings.HasPrefix(got, step.want) {
					t.Fatalf("step %d: %s answered %s, want %s", i, step.event, got, step.want)
				}
			}
		})
	}
}

// It stays with the environment: neither another function, nor another
// environment of the function, nor its next revision finds it.
func TestTmp_IsTheEnvironmentsOwn(t *testing.T) {
	b := newOnDiskBench(t, nil)
	f := b.js(counts)
	other := f
	other.ARN += "other"
	want := func(f Function, event, want string) {
		t.Helper()
		if got := answer(b.invoke(f, event)); !strings.HasPrefix(got, want) {
			t.Fatalf("%s answered %s, want %s", event, got, want)
		}
	}
	want(f, `{}`, `"1 of 1"`)
	want(f, `{"fail":"exit"}`, "Unhandled")
	want(other, `{}`, `"1 of 1"`)
	f.Revision += "next"
	want(f, `{}`, `"1 of 1"`)
	// After maxFailures in a row the environment ends, and its files with it.
	for range maxFailures {
		want(f, `{"fail":"exit"}`, "Unhandled")
	}
	want(f, `{}`, `"1 of 1"`)
}

// An environment that left nothing takes its next runtime from the pool.
func TestTmp_EmptyTakesARuntimeOfThePool(t *testing.T) {
	b := newPooledBench(t, newOnDiskBench, nil)
	for _, tc := range []struct {
		name, code string
		want       InitPath
	}{
		{"files", `require("fs").writeFileSync("/tmp/x", "x")`, PathFresh},
		{"none", `require("fs").writeFileSync("/tmp/x", "x"); require("fs").rmSync("/tmp/x")`, PathPool},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := b.js(`exports.handler = async (e) => { ` + tc.code + `; if (e.fail) process.exit(1) }`)
			f.ARN += tc.name
			b.expected(f)
			b.invoke(f, `{"fail":true}`)
			b.expected(f)
			if got := b.invoke(f, `{}`).Path; got != tc.want {
				t.Errorf("path %s, want %s", got, tc.want)
			}
		})
	}
}

// AWS's Max Memory Used is of the function's processes, not of the files that
// it writes.
func TestTmp_IsNotInMaxMemoryUsed(t *testing.T) {
	b := newOnDiskBench(t, nil)
	f := b.js(`const fs = require("fs")
exports.handler = async (e) => {
  const block = Buffer.alloc(1 << 20, 1), out = fs.openSync("/tmp/f", "w")
  for (let i = 0; i < e.file; i++) fs.writeSync(out, block)
  fs.closeSync(out)
  if (e.deleted) fs.rmSync("/tmp/f")
  if (e.memory) Buffer.alloc(e.memory << 20, 1)
}`)
	f.MemoryMB = 512
	used := func(event string) (mb int) {
		t.Helper()
		tail := string(b.invoke(f, event).LogTail)
		_, after, _ := strings.Cut(tail, "Max Memory Used: ")
		if _, err := fmt.Sscanf(after, "%d MB", &mb); err != nil {
			t.Fatalf("%v in %q", err, tail)
		}
		return mb
	}
	nothing := used(`{"file":1}`)
	for _, event := range []string{`{"file":200}`, `{"file":200,"deleted":true}`} {
		if mb := used(event); mb > nothing+30 {
			t.Errorf("%s: %d MB, without %d MB", event, mb, nothing)
		}
	}
	if mb := used(`{"file":200,"memory":150}`); mb < nothing+140 || mb > nothing+190 {
		t.Errorf("150 MB of memory beside: %d MB, without %d MB", mb, nothing)
	}
}
