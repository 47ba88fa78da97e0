package execenv

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/internal/sandbox/launcher"
	"davy/internal/sandbox/sandboxtest"
)

// newSandboxedBench is a bench on the real driver; without root it is skipped.
func newSandboxedBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	driver, _ := sandboxtest.New(t, launcher.Config{Roots: []string{os.TempDir()}})
	return newBench(t, func(c *Config) {
		c.Driver, c.NoFreeze = driver, false
		if change != nil {
			change(c)
		}
	})
}

func TestSandboxed_Function(t *testing.T) {
	ca := newAuthority(t, "*.s3.eu-west-1.amazonaws.com", "*.eu-west-1.amazonaws.com")
	door := newHTTPDoor(t, ca, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, `<ListBucketResult><Name>%s</Name></ListBucketResult>`, r.Host)
	})
	store := openStore(t, ca.pem)
	b := newSandboxedBench(t, func(c *Config) {
		c.Runtimes, c.TrustCA, c.Door = hostRuntime{store}, true, door
		c.Credentials = sessionOf(Credentials{AccessKeyID: "ASIA", SecretAccessKey: "s", SessionToken: "t"})
	})
	var cases []struct{ name, code, want string }
	add := func(name, code, want string) {
		cases = append(cases, struct{ name, code, want string }{name, code, want})
	}
	add("hello", `exports.handler = async (e) => ({ hello: e.name, cwd: process.cwd() })`, `{"hello":"Davy","cwd":"/var/task"}`)
	add("code is read-only", `exports.handler = async () => { try { require("fs").writeFileSync("/var/task/x", "x") } catch (e) { return e.code } }`, `"EROFS"`)
	add("not root", `exports.handler = async () => process.getuid() !== 0`, `true`)
	add("tmp is writable", `const fs = require("fs"); exports.handler = async () => { fs.writeFileSync("/tmp/x", "x"); return fs.readFileSync("/tmp/x", "utf8") }`, `"x"`)
	add("AWS's names lead to Davy", `exports.handler = async () => (await require("dns").promises.lookup("sqs.us-east-1.amazonaws.com")).address`, `"169.254.100.1"`)
	add("no other names", `exports.handler = async () => require("dns").promises.lookup("example.com").catch((e) => e.code)`, `"ENOTFOUND"`)
	add("https", `exports.handler = () => new Promise((ok, no) => require("https").get("https://sqs.eu-west-1.amazonaws.com/", (r) => r.resume().on("end", () => ok(r.statusCode))).on("error", no))`, `200`)
	add("fetch", `exports.handler = async () => (await fetch("https://sqs.eu-west-1.amazonaws.com/")).status`, `200`)
	if l, err := store.Launch(t.Context(), "nodejs22.x"); err == nil && l.HasSDK {
		add("SDK v2", `const { S3 } = require("aws-sdk"); exports.handler = async () => (await new S3().listObjectsV2({ Bucket: "pictures" }).promise()).Name`, `"pictures.s3.eu-west-1.amazonaws.com"`)
		add("SDK v3", `const { S3Client, ListObjectsV2Command } = require("@aws-sdk/client-s3"); exports.handler = async () => (await new S3Client({}).send(new ListObjectsV2Command({ Bucket: "pictures" }))).Name`, `"pictures.s3.eu-west-1.amazonaws.com"`)
	}
	for _, tc := range cases {
		for _, rt := range allRuntimes {
			t.Run(tc.name+"/"+rt, func(t *testing.T) {
				f := b.js(tc.code)
				f.Runtime, f.MemoryMB = rt, 1769
				f.ARN += rt
				if got := answer(b.invoke(f, `{"name":"Davy"}`)); got != tc.want {
					t.Errorf("answered %s, want %s", got, tc.want)
				}
			})
		}
	}
}

func TestSandboxed_FailuresAndRecovery(t *testing.T) {
	b := newSandboxedBench(t, nil)
	for _, tc := range []struct{ name, code, want string }{
		{"exit", `process.exit(7)`, "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 7"},
		{"out of memory", `const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))`, "Unhandled: Runtime.OutOfMemory: RequestId: " + testID + " Error: Runtime exited with error: signal: killed"},
		{"timeout", `for (;;);`, timedOut(brief)},
		{"signal", `process.kill(process.pid, "SIGSEGV"); await new Promise(() => setTimeout(() => {}, 1e6))`, "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: signal: segmentation fault"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := b.js(`let n = 0; exports.handler = async (e) => { n++; if (e.fail) { ` + tc.code + ` } return n }`)
			f.ARN += strings.ReplaceAll(tc.name, " ", "-")
			f.MemoryMB = 256
			for _, step := range []struct{ event, want string }{{`{}`, "1"}, {`{"fail":true}`, tc.want}, {`{}`, "1"}, {`{}`, "2"}} {
				if got := answer(b.step(f, step.event, step.want)); got != step.want {
					t.Fatalf("%s answered\n %s\nwant\n %s\nlog %q", step.event, got, step.want, b.logs.all())
				}
			}
		})
	}
}

func TestSandboxed_FailingInit(t *testing.T) {
	b := newSandboxedBench(t, nil)
	f := b.js(`process.exit(4)`)
	for range 2 {
		want := "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 4"
		if got := answer(b.invoke(f, `{}`)); got != want {
			t.Fatalf("answered %s, want %s", got, want)
		}
	}
}

func TestSandboxed_MaxMemoryUsedIsTrue(t *testing.T) {
	b := newSandboxedBench(t, nil)
	f := b.js(`let hold; exports.handler = async (e) => { hold = Buffer.alloc(e.mb << 20, 1) }`)
	f.MemoryMB = 512
	used := func(event string) (mb int) {
		tail := string(b.invoke(f, event).LogTail)
		_, after, _ := strings.Cut(tail, "Max Memory Used: ")
		if _, err := fmt.Sscanf(after, "%d MB", &mb); err != nil {
			t.Fatalf("%v in %q", err, tail)
		}
		return mb
	}
	small, large := used(`{"mb":1}`), used(`{"mb":150}`)
	if small < 2 || small > 150 || large < small+100 || large > 400 {
		t.Errorf("Max Memory Used: %d MB, then with 150 MB more %d MB", small, large)
	}
}

func TestSandboxed_SixteenAtOnce(t *testing.T) {
	b := newSandboxedBench(t, nil)
	f := b.js(waiting)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			out, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)})
			if err != nil || out.FunctionError != "" {
				t.Errorf("Invoke = %s %s, %v", out.FunctionError, out.Payload, err)
			}
		})
	}
	wg.Wait()
}

func TestSandboxed_NothingOfOneFunctionIsInAnother(t *testing.T) {
	b := newSandboxedBench(t, nil)
	one := b.js(`require("fs").writeFileSync("/tmp/left", "x"); exports.handler = async () => require("fs").readdirSync("/tmp")`)
	two := b.js(`exports.handler = async () => require("fs").readdirSync("/tmp")`)
	two.ARN += "2"
	if got := answer(b.invoke(one, `{}`)); got != `["left"]` {
		t.Fatalf("first function's /tmp: %s", got)
	}
	if got := answer(b.invoke(two, `{}`)); got != `[]` {
		t.Fatalf("second function's /tmp: %s", got)
	}
}

// A frozen environment makes no progress, and goes on when it is invoked.
func TestSandboxed_Frozen(t *testing.T) {
	b := newSandboxedBench(t, func(c *Config) { c.FreezeAfter = time.Nanosecond })
	f := b.js(waiting)
	for want := range 5 {
		if got := answer(b.invoke(f, `{}`)); got != fmt.Sprint(want+1) {
			t.Fatalf("answered %s, want %d", got, want+1)
		}
	}
	if err := b.envs.Close(); err != nil { // frozen sandboxes end too
		t.Fatal(err)
	}
}

func benchmarkWarm(b *testing.B, bn *bench) {
	f := bn.js(`exports.handler = async (e) => e`)
	f.MemoryMB = 1769
	event := []byte(`{"padding":"` + strings.Repeat("x", 1000) + `"}`)
	invoke := func() {
		if _, err := bn.envs.Invoke(context.Background(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: event}); err != nil {
			b.Fatal(err)
		}
	}
	for range 500 {
		invoke()
	}
	for b.Loop() {
		invoke()
	}
}

func benchmarkCold(b *testing.B, bn *bench) {
	f := bn.js(`exports.handler = async (e) => e`)
	f.MemoryMB = 1769
	n := 0
	for b.Loop() {
		n++
		f.Revision = fmt.Sprint(n) // a new environment
		if _, err := bn.envs.Invoke(context.Background(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCold_Pool is the time from an event to its answer when a runtime
// waits in the pool; that it does is not timed.
func BenchmarkCold_Pool(b *testing.B) {
	for name, code := range map[string]string{
		"hello":   `exports.handler = async (e) => e`,
		"sdk":     `const { S3Client } = require("@aws-sdk/client-s3"); const c = new S3Client({}); exports.handler = async (e) => e`,
		"sdk-esm": `import { S3Client } from "@aws-sdk/client-s3"; const c = new S3Client({}); export const handler = async (e) => e`,
	} {
		b.Run(name, func(b *testing.B) {
			bn := newPooledBench(b, newSandboxedBench, nil)
			file := "index.js"
			if strings.Contains(code, "import {") {
				file = "index.mjs"
			}
			f := bn.function(map[string]string{file: code})
			f.Runtime, f.MemoryMB = "nodejs22.x", 1769
			l, err := bn.envs.cfg.Runtimes.Launch(b.Context(), f.Runtime)
			if err != nil {
				b.Fatal(err)
			}
			if name != "hello" && !l.HasSDK {
				b.Skip("no AWS SDK is installed")
			}
			k := kind{runtime: f.Runtime, memoryMB: f.MemoryMB, sdk: name != "hello"}
			n := 0
			for b.Loop() {
				b.StopTimer()
				bn.envs.pool.expect(k)
				bn.awaitSpare(k)
				n++
				f.Revision = fmt.Sprint(n)
				b.StartTimer()
				out, err := bn.envs.Invoke(context.Background(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)})
				if err != nil || out.Path != PathPool {
					b.Fatal(out, err)
				}
			}
		})
	}
}

func BenchmarkWarm_PlainProcess(b *testing.B) { benchmarkWarm(b, newBench(b, nil)) }
func BenchmarkWarm_Sandboxed(b *testing.B)    { benchmarkWarm(b, newSandboxedBench(b, nil)) }
func BenchmarkCold_PlainProcess(b *testing.B) { benchmarkCold(b, newBench(b, nil)) }
func BenchmarkCold_Sandboxed(b *testing.B)    { benchmarkCold(b, newSandboxedBench(b, nil)) }

// BenchmarkFloor_NodeStart is what a cold start is compared with: node -e 0.
func BenchmarkFloor_NodeStart(b *testing.B) {
	bn := newBench(b, nil)
	l, err := bn.envs.cfg.Runtimes.Launch(b.Context(), "nodejs20.x")
	if err != nil {
		b.Fatal(err)
	}
	node := l.Args[0]
	for _, m := range l.Mounts {
		if rest, ok := strings.CutPrefix(node, m.Target); ok {
			node = filepath.Join(m.Source, rest)
		}
	}
	for b.Loop() {
		if err := bareNode(b.Context(), node); err != nil {
			b.Fatal(err)
		}
	}
}
