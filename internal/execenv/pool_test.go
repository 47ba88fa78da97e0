package execenv

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// newPooledBench is a bench with a pool.
func newPooledBench(t testing.TB, base func(testing.TB, func(*Config)) *bench, change func(*Config)) *poolBench {
	t.Helper()
	b := &poolBench{filled: make(chan struct{}, 1)}
	b.bench = base(t, func(c *Config) {
		c.PoolMemory = 512 << 20
		c.Log = slog.New(onDebug{b})
		if change != nil {
			change(c)
		}
	})
	return b
}

type poolBench struct {
	*bench
	filled   chan struct{} // something happened
	warnings atomic.Bool   // are expected
}

// awaitSpare returns when a spare of the kind waits.
func (b *poolBench) awaitSpare(k kind) {
	b.t.Helper()
	for b.ready(k) == 0 {
		select {
		case <-b.filled:
		case <-b.t.Context().Done():
			b.t.Fatalf("no spare of %+v", k)
		}
	}
}

func (b *poolBench) ready(k kind) int {
	p := b.envs.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.stock(k).ready)
}

// expected makes a spare for the function wait and returns its kind.
func (b *poolBench) expected(f Function) kind {
	b.t.Helper()
	k := kind{runtime: f.Runtime, memoryMB: f.MemoryMB}
	b.envs.pool.expect(k)
	b.awaitSpare(k)
	return k
}

// path invokes the function and tells where its environment came from.
func (b *poolBench) path(f Function) InitPath {
	b.t.Helper()
	out := b.invoke(f, `{}`)
	if out.FunctionError != "" {
		b.t.Fatalf("answered %s", out.Payload)
	}
	return out.Path
}

var bothDrivers = map[string]func(testing.TB, func(*Config)) *bench{"process": newBench, "sandboxed": newSandboxedBench}

func TestPool_ColdStartTakesABootedRuntime(t *testing.T) {
	for name, base := range bothDrivers {
		t.Run(name, func(t *testing.T) {
			b := newPooledBench(t, base, nil)
			f := b.js(`exports.handler = async () => [process.cwd(), __filename, process.env.AWS_LAMBDA_FUNCTION_NAME, process.env.TZ, new Date(0).getHours()]`)
			f.Environment = map[string]string{"TZ": "Europe/Paris"}
			b.expected(f)
			out := b.invoke(f, `{}`)
			if want := `["/var/task","/var/task/index.js","f","Europe/Paris",1]`; string(out.Payload) != want || out.Path != PathPool {
				t.Fatalf("answered %s by %s, want %s", out.Payload, out.Path, want)
			}
			if got := b.path(f); got != PathWarm {
				t.Errorf("the second invocation was %s", got)
			}
		})
	}
}

func TestPool_SettingsAtProcessStartNeedAFreshRuntime(t *testing.T) {
	b := newPooledBench(t, newBench, nil)
	f := b.js(`exports.handler = async () => process.execArgv.length`)
	b.expected(f)
	f.Environment = map[string]string{"NODE_OPTIONS": "--no-warnings"}
	if got := b.path(f); got != PathFresh {
		t.Errorf("with NODE_OPTIONS: %s", got)
	}
	f.Environment, f.Revision, f.MemoryMB = nil, "2", 1024
	if got := b.path(f); got != PathFresh {
		t.Errorf("with a memory size of its own: %s", got)
	}
}

// V8 is bounded by the memory of the function, not by the pool's.
func TestPool_HeapLimitIsTheFunctions(t *testing.T) {
	b := newPooledBench(t, newBench, nil)
	code := `exports.handler = async () => require("v8").getHeapStatistics().heap_size_limit`
	f := b.js(code)
	f.MemoryMB = 512
	fresh := string(b.invoke(f, `{}`).Payload)
	b.awaitSpare(kind{runtime: f.Runtime, memoryMB: 512})
	f.Revision = "2"
	if out := b.invoke(f, `{}`); string(out.Payload) != fresh || out.Path != PathPool {
		t.Errorf("heap limit %s by %s, fresh %s", out.Payload, out.Path, fresh)
	}
}

func TestPool_LimitsAndPeakAreTheFunctions(t *testing.T) {
	b := newPooledBench(t, newSandboxedBench, nil)
	f := b.js(`exports.handler = async () => require("child_process").execSync("df -k /tmp | tail -1 | tr -s ' ' | cut -d' ' -f2").toString().trim()`)
	f.EphemeralMB, f.MemoryMB = 600, 256
	b.invoke(f, `{}`)
	b.awaitSpare(kind{runtime: f.Runtime, memoryMB: 256, tmpMB: 600})
	f.Revision = "2"
	out := b.invoke(f, `{}`)
	if want := fmt.Sprintf("%q", fmt.Sprint(600<<10)); string(out.Payload) != want || out.Path != PathPool {
		t.Errorf("/tmp has %s KiB by %s, want %s", out.Payload, out.Path, want)
	}
}

func TestPool_MemoryLimitBites(t *testing.T) {
	b := newPooledBench(t, newSandboxedBench, nil)
	f := b.js(`const hold = []; exports.handler = async () => { for (let i = 0; i < 500; i++) hold.push(Buffer.alloc(1 << 20, 1)) }`)
	f.MemoryMB = 128
	b.expected(f)
	out := b.invoke(f, `{}`)
	if out.Path != PathPool || !strings.Contains(string(out.Payload), "Runtime.OutOfMemory") {
		t.Errorf("answered %s by %s", out.Payload, out.Path)
	}
}

// A layer's modules come before the runtime's own, by the pool as well.
func TestPool_LayerAndOwnModules(t *testing.T) {
	for name, base := range bothDrivers {
		t.Run(name, func(t *testing.T) {
			b := newPooledBench(t, base, nil)
			layer := b.function(map[string]string{"nodejs/node_modules/left/index.js": `module.exports = "layer"`})
			f := b.function(map[string]string{
				"index.mjs":                     `import left from "left"; import own from "own"; export const handler = async () => [left, own]`,
				"node_modules/own/index.js":     `module.exports = "own"`,
				"node_modules/own/package.json": `{"main":"index.js"}`,
			})
			f.Layers = []string{layer.CodeSHA256}
			b.expected(f)
			if out := b.invoke(f, `{}`); string(out.Payload) != `["layer","own"]` || out.Path != PathPool {
				t.Errorf("answered %s by %s", out.Payload, out.Path)
			}
		})
	}
}

// With the SDK imported before there was a function, it is the same module that
// the function gets, and a copy of the function's own wins.
func TestPool_SDK(t *testing.T) {
	b := newPooledBench(t, newSandboxedBench, func(c *Config) {
		c.Credentials = sessionOf(Credentials{AccessKeyID: "ASIAFUNCTION", SecretAccessKey: "secret", SessionToken: "token"})
	})
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"import", map[string]string{"index.mjs": `import { S3Client } from "@aws-sdk/client-s3"; export const handler = async () => [typeof S3Client, typeof awslambda.streamifyResponse]`}, `["function","function"]`},
		{"require", map[string]string{"index.js": `const s3 = require("@aws-sdk/client-s3"); exports.handler = async () => [typeof s3.S3Client, typeof awslambda.streamifyResponse]`}, `["function","function"]`},
		{"a client", map[string]string{"index.js": `const { S3Client } = require("@aws-sdk/client-s3"); const c = new S3Client({});
exports.handler = async () => [await c.config.region(), (await c.config.credentials()).accessKeyId, Object.values(process.env).some((v) => v.includes("EXAMPLE"))]`}, `["eu-west-1","ASIAFUNCTION",false]`},
		{"own copy", map[string]string{
			"index.mjs": `import own from "@aws-sdk/client-s3"; export const handler = async () => own`,
			"node_modules/@aws-sdk/client-s3/index.js": `module.exports = "own"`,
		}, `"own"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := b.function(tc.files)
			f.Runtime, f.MemoryMB = "nodejs22.x", 512
			f.ARN += strings.ReplaceAll(tc.name, " ", "-")
			l, err := b.envs.cfg.Runtimes.Launch(t.Context(), f.Runtime)
			if err != nil || !l.HasSDK {
				t.Skip("no AWS SDK is installed")
			}
			k, _ := b.envs.kindOf(f, l, b.code.dirs[f.CodeSHA256])
			if k.sdk != (tc.name != "own copy") {
				t.Errorf("takes a runtime with the SDK: %v", k.sdk)
			}
			k = plainKind(l, f.MemoryMB)
			k.sdk = true
			b.envs.imports.mu.Lock()
			b.envs.imports.codes[f.CodeSHA256] = codeNeeds{sdk: true, tls: true} // also where it would not be
			b.envs.imports.mu.Unlock()
			b.envs.pool.expect(k)
			b.awaitSpare(k)
			if out := b.invoke(f, `{}`); string(out.Payload) != tc.want || out.Path != PathPool {
				t.Errorf("answered %s by %s, want %s", out.Payload, out.Path, tc.want)
			}
		})
	}
}

func TestPool_ADeadSpareIsNotUsed(t *testing.T) {
	b := newPooledBench(t, newBench, nil)
	b.warnings.Store(true)
	f := b.js(`exports.handler = async () => 1`)
	b.expected(f)
	sb := b.driver.sandboxes()[0]
	sb.Kill()
	<-sb.Done()
	if got := b.path(f); got != PathFresh {
		t.Errorf("with a dead spare: %s", got)
	}
}

// Each of many cold starts at once gets an environment of its own.
func TestPool_ManyAtOnce(t *testing.T) {
	b := newPooledBench(t, newSandboxedBench, nil)
	f := b.js(`exports.handler = async () => process.env.AWS_LAMBDA_FUNCTION_NAME + require("fs").readdirSync("/tmp").length`)
	b.expected(f)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			f := f
			f.Name = fmt.Sprint("f", i)
			f.ARN += f.Name
			out, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)})
			if want := fmt.Sprintf("%q", f.Name+"0"); err != nil || string(out.Payload) != want {
				t.Errorf("Invoke = %s, %v; want %s", out.Payload, err, want)
			}
		})
	}
	wg.Wait()
	if err := b.envs.Close(); err != nil {
		t.Fatal(err)
	}
	if n, _, bytes := b.envs.pool.size(); n != 0 || bytes != 0 {
		t.Errorf("%d spares after Close", n)
	}
}

// What the SDK reads of its environment when it is imported is all that keeps
// a function from a runtime that has imported it.
func TestSDKVariables_AreAllThatTheSDKReads(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`const real = process.env, read = new Set();
const note = (k) => { if (typeof k === "string") read.add(k) };
process.env = new Proxy(real, { get(t, k) { note(k); return t[k] }, has(t, k) { note(k); return k in t }, ownKeys(t) { note("*"); return Reflect.ownKeys(t) } });
require("@aws-sdk/client-s3");
process.env = real;
exports.handler = async () => [...read].filter((k) => k.startsWith("AWS") || k === "*").sort()`)
	f.Runtime = "nodejs22.x"
	l, err := b.envs.cfg.Runtimes.Launch(t.Context(), f.Runtime)
	if err != nil || !l.HasSDK {
		t.Skip("no AWS SDK is installed")
	}
	if got, want := answer(b.invoke(f, `{}`)), `["AWS_LAMBDA_BENCHMARK_MODE","AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA"]`; got != want {
		t.Errorf("the SDK reads %s, want %s", got, want)
	}
}

func TestUsesSDK(t *testing.T) {
	for _, tc := range []struct {
		name, file, text string
		want             bool
	}{
		{"plain", "index.js", "exports.handler = 1", false},
		{"at the top", "index.mjs", `import "@aws-sdk/client-s3"`, true},
		{"below", "src/index.cjs", `require("@aws-sdk/client-sqs")`, true},
		{"no module", "README.md", `@aws-sdk/client-s3`, false},
		{"a dependency", "node_modules/x/index.js", `require("@aws-sdk/client-s3")`, false},
		{"too far in", "index.js", string(bytes.Repeat([]byte(" "), maxScannedFile)) + `"@aws-sdk/client-s3"`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), tc.file)
			dir := strings.TrimSuffix(path, tc.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(tc.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := usesSDK(dir); got != tc.want {
				t.Errorf("usesSDK = %v", got)
			}
		})
	}
}

// A cold start waits for a runtime that boots for nobody; the next, which finds
// none, does not.
func TestTake_TakesOverWhatBoots(t *testing.T) {
	k := kind{runtime: "a"}
	p := newPool(&Environments{}, 1<<30)
	wanted, want := context.WithCancel(t.Context())
	b := &boot{wanted: wanted, want: want, done: make(chan struct{})}
	p.stocks[k] = &stock{cost: 1, want: 1, boots: []*boot{b}}
	p.began()
	got := make(chan *spare)
	go func() { got <- p.take(t.Context(), k, false) }()
	<-wanted.Done() // it waits, and the runtime boots with the weight of a function
	if sp := p.take(t.Context(), k, true); sp != nil {
		t.Errorf("another took %v", sp)
	}
	p.mu.Lock()
	if p.starting != 0 {
		t.Errorf("%d start while the one that does waits", p.starting)
	}
	if n := p.stocks[k].size(); n != 0 {
		t.Errorf("%d spares for who comes next", n)
	}
	p.mu.Unlock()
	b.spare = &spare{kind: k}
	close(b.done)
	if sp := <-got; sp != b.spare {
		t.Errorf("took %v", sp)
	}
}

// Who waits no longer leaves the runtime to who comes next.
func TestTake_GivesUp(t *testing.T) {
	k := kind{runtime: "a"}
	p := newPool(&Environments{}, 1<<30)
	b := &boot{want: func() {}, done: make(chan struct{})}
	p.stocks[k] = &stock{cost: 1, want: 1, boots: []*boot{b}}
	p.began()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if sp := p.take(ctx, k, true); sp != nil {
		t.Errorf("took %v", sp)
	}
	if n := p.stocks[k].size(); n != 1 || p.starting != 1 {
		t.Errorf("%d spares to come, %d start", n, p.starting)
	}
}

// A spare that was taken and not needed waits again.
func TestPool_PutBack(t *testing.T) {
	b := newPooledBench(t, newBench, nil)
	f := b.js(`exports.handler = async () => 1`)
	k := b.expected(f)
	sp := b.envs.pool.take(t.Context(), k, false)
	if sp == nil {
		t.Fatal("no spare")
	}
	b.envs.pool.put(sp)
	if again := b.envs.pool.take(t.Context(), k, false); again == nil || again.process != sp.process {
		t.Errorf("took %v, want what was put back", again)
	} else {
		b.envs.pool.put(again)
	}
}

func TestPlan_SharesTheBudget(t *testing.T) {
	const mb = 1 << 20
	now := time.Now()
	a, c := kind{runtime: "a"}, kind{runtime: "c"}
	p := &pool{budget: 50 * mb, stocks: map[kind]*stock{
		a: {want: 5, cost: 10 * mb, last: now},
		c: {want: 5, cost: 10 * mb, last: now.Add(-time.Minute)},
	}}
	boots := map[kind]int{}
	for {
		_, k, missing := p.plan(t.Context(), now)
		if missing == nil {
			break
		}
		boots[k]++
	}
	if boots[a] != 4 || boots[c] != 1 {
		t.Errorf("boots %v; want one for each and the rest for who was needed last", boots)
	}
}

func TestShrink_FollowsDemand(t *testing.T) {
	now := time.Now()
	k := kind{runtime: "a"}
	s := &stock{want: 40, cost: 1, until: now.Add(time.Hour)}
	p := &pool{budget: 100, stocks: map[kind]*stock{k: s}}
	s.most = 30
	p.shrink(now)
	if s.want != 30 {
		t.Errorf("want %d after a burst of 30", s.want)
	}
	for range 20 {
		p.shrink(now)
	}
	if s.want != 1 {
		t.Errorf("want %d without demand", s.want)
	}
	p.shrink(now.Add(2 * time.Hour))
	if len(p.stocks) != 0 {
		t.Error("not forgotten")
	}
}

// onDebug is a log that tells that something was logged. A warning fails
// the test.
type onDebug struct {
	b *poolBench
}

func (h onDebug) Enabled(context.Context, slog.Level) bool { return true }
func (h onDebug) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h onDebug) WithGroup(string) slog.Handler            { return h }

func (h onDebug) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && !h.b.warnings.Load() {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		h.b.t.Error(text)
	}

	signal(h.b.filled)
	return nil
}
