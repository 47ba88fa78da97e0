package execenv

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var allRuntimes = []string{"nodejs20.x", "nodejs22.x", "nodejs24.x"}

// withCallbacks are the runtimes whose handlers may have a callback.
var withCallbacks = allRuntimes[:2]

// answer is a function's answer without what changes from run to run.
func answer(out Outcome) string {
	if out.FunctionError == "" {
		return string(out.Payload)
	}
	var e struct {
		ErrorType, ErrorMessage string
		Trace                   []string
	}
	if err := json.Unmarshal(out.Payload, &e); err != nil {
		return fmt.Sprintf("%s: %s", out.FunctionError, out.Payload)
	}
	return fmt.Sprintf("%s: %s: %s", out.FunctionError, e.ErrorType, e.ErrorMessage)
}

func TestHandler_Answers(t *testing.T) {
	for _, tc := range []struct {
		name     string
		runtimes []string // nil: all
		handler  string   // "": index.handler
		env      map[string]string
		files    map[string]string
		event    string
		want     string
	}{
		{name: "async", files: js(`exports.handler = async (e) => ({ got: e.n + 1 })`), event: `{"n":1}`, want: `{"got":2}`},
		{name: "promise", files: js(`exports.handler = (e) => new Promise((r) => setTimeout(r, 1, "late"))`), want: `"late"`},
		{name: "undefined is null", files: js(`exports.handler = async () => {}`), want: `null`},
		{name: "function is null", files: js(`exports.handler = async () => () => 1`), want: `null`},
		{name: "not ASCII", files: js(`exports.handler = async (e) => e`), event: `"å 漢 😀\u0000"`, want: `"å 漢 😀\u0000"`},
		{name: "folder", handler: "src/app.handler", files: map[string]string{"src/app.js": `exports.handler = async () => __filename`}, want: `"/var/task/src/app.js"`},
		{name: "nested name", handler: "index.a.b", files: js(`exports.a = { b: async () => "b" }`), want: `"b"`},
		{name: "cjs", files: map[string]string{"index.cjs": `exports.handler = async () => "cjs"`}, want: `"cjs"`},
		{name: "mjs", files: map[string]string{"index.mjs": `export const handler = async () => import.meta.url`}, want: `"file:///var/task/index.mjs"`},
		{name: "module by package.json", files: map[string]string{"package.json": `{"type":"module"}`, "index.js": `export const handler = async () => typeof require`}, want: `"undefined"`},
		{name: "top-level await", files: map[string]string{"index.mjs": `const v = await new Promise((r) => setTimeout(r, 5, 7)); export const handler = async () => v`}, want: `7`},
		{name: "module with a name that is no URL", handler: "a%20b#c.handler", files: map[string]string{"a%20b#c.mjs": `export const handler = async () => "odd"`}, want: `"odd"`},
		{name: "js before mjs", files: map[string]string{"index.js": `exports.handler = async () => "js"`, "index.mjs": `export const handler = async () => "mjs"`}, want: `"js"`},
		{name: "own node_modules", files: map[string]string{"index.js": `exports.handler = async () => require("m")`, "node_modules/m/index.js": `module.exports = "mine"`}, want: `"mine"`},
		{name: "no stream, network or TLS is loaded for it", files: js(`exports.handler = async () => process.moduleLoadList.filter((m) => /^NativeModule (net|tls|stream)$/.test(m))`), want: `[]`},
		{name: "V8's flags are as they were, for workers", files: js("const { Worker } = require('worker_threads');\nconst count = () => require('v8').getHeapStatistics().heap_size_limit >> 20;\n" +
			"const ask = 'require(\"worker_threads\").parentPort.postMessage(require(\"v8\").getHeapStatistics().heap_size_limit >> 20)';\n" +
			"exports.handler = () => new Promise((done) => new Worker(ask, { eval: true }).on('message', (n) => done(n < 1000 && count() < 1000)))"), want: `true`},
		{name: "no deprecation is hidden", files: js(`exports.handler = async () => "noDeprecation" in process`), want: `false`},
		{name: "working directory", files: js(`exports.handler = async () => process.cwd()`), want: `"/var/task"`},

		{name: "callback", runtimes: withCallbacks, files: js(`exports.handler = (e, c, cb) => cb(null, "called")`), want: `"called"`},
		{name: "callback later", runtimes: withCallbacks, files: js(`exports.handler = (e, c, cb) => { setTimeout(() => cb(null, "later"), 2) }`), want: `"later"`},
		{name: "callback error", runtimes: withCallbacks, files: js(`exports.handler = (e, c, cb) => cb(new TypeError("no"))`), want: `Unhandled: TypeError: no`},
		{name: "callback error is a string", runtimes: withCallbacks, files: js(`exports.handler = (e, c, cb) => cb("no")`), want: `Unhandled: string: no`},
		{name: "callback waits for an empty loop", runtimes: withCallbacks, files: js(`let done = false; exports.handler = (e, c, cb) => { const r = {}; setTimeout(() => { r.done = true }, 5); cb(null, r) }`), want: `{"done":true}`},
		{name: "callback need not wait", runtimes: withCallbacks, files: js(`exports.handler = (e, c, cb) => { c.callbackWaitsForEmptyEventLoop = false; const r = {}; setTimeout(() => { r.done = true }, 5); cb(null, r) }`), want: `{}`},
		{name: "first callback wins", runtimes: withCallbacks, files: js(`exports.handler = (e, c, cb) => { cb(null, 1); cb(null, 2); c.succeed(3) }`), want: `1`},
		{name: "never called", runtimes: withCallbacks, files: js(`exports.handler = (e, c, cb) => {}`), want: `null`},
		{name: "returned value is not an answer", runtimes: withCallbacks, files: js(`exports.handler = () => "ignored"`), want: `null`},
		{name: "context.succeed", runtimes: withCallbacks, files: js(`exports.handler = (e, c) => { setInterval(() => {}, 1e6); c.succeed("ok") }`), want: `"ok"`},
		{name: "context.done", runtimes: withCallbacks, files: js(`exports.handler = (e, c) => c.done(null, "done")`), want: `"done"`},
		{name: "context.fail", runtimes: withCallbacks, files: js(`exports.handler = (e, c) => c.fail(new Error("failed"))`), want: `Unhandled: Error: failed`},
		{name: "context.fail with nothing", runtimes: withCallbacks, files: js(`exports.handler = (e, c) => c.fail()`), want: `Unhandled: string: handled`},

		{name: "no callbacks any more", runtimes: allRuntimes[2:], files: js(`exports.handler = (e, c, cb) => cb(null, 1)`), want: `Unhandled: Runtime.CallbackHandlerDeprecated: ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later. For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.`},
		{name: "returned value is the answer", runtimes: allRuntimes[2:], files: js(`exports.handler = () => "value"`), want: `"value"`},
		{name: "context has no methods that answer", runtimes: allRuntimes[2:], files: js(`exports.handler = async (e, c) => [typeof c.done, typeof c.succeed, typeof c.fail, "callbackWaitsForEmptyEventLoop" in c]`), want: `["undefined","undefined","undefined",false]`},

		{name: "throws", files: js(`exports.handler = () => { throw new RangeError("thrown") }`), want: `Unhandled: RangeError: thrown`},
		{name: "rejects", files: js(`exports.handler = async () => { throw new Error("rejected") }`), want: `Unhandled: Error: rejected`},
		{name: "rejects with a string", files: js(`exports.handler = async () => { throw "text" }`), want: `Unhandled: string: text`},
		{name: "own error class", files: js(`class MyError extends Error { constructor(m) { super(m); this.name = "MyError" } }; exports.handler = async () => { throw new MyError("mine") }`), want: `Unhandled: MyError: mine`},
		{name: "circular result", runtimes: withCallbacks, files: js(`exports.handler = async () => { const a = {}; a.a = a; return a }`), want: `Unhandled: Error: Unable to stringify response body`},
		{name: "circular result", runtimes: allRuntimes[2:], files: js(`exports.handler = async () => { const a = {}; a.a = a; return a }`), want: `Unhandled: Runtime.JSONStringifyError: Unable to stringify response body`},
		{name: "BigInt result", runtimes: withCallbacks, files: js(`exports.handler = async () => 1n`), want: `Unhandled: Error: Unable to stringify response body`},
		{name: "promise never settles", files: js(`exports.handler = async () => new Promise(() => {})`), want: `Unhandled: Runtime.NodeJsExit: The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was never settled. For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes`},
		{name: "unhandled rejection", files: js(`exports.handler = async () => { Promise.reject(new Error("nobody")); await new Promise((r) => setTimeout(r, 1e6)) }`), want: `Unhandled: Runtime.UnhandledPromiseRejection: Error: nobody`},
		{name: "uncaught exception", files: js(`exports.handler = async () => { setTimeout(() => { throw new Error("uncaught") }); await new Promise((r) => setTimeout(r, 1e6)) }`), want: `Unhandled: Error: uncaught`},

		{name: "no such module", files: js(`require("nothing")`), want: "Unhandled: Runtime.ImportModuleError: Error: Cannot find module 'nothing'\nRequire stack:\n- /var/task/index.js\n- /var/runtime/index.mjs"},
		{name: "no such file", handler: "other.handler", files: js(``), want: "Unhandled: Runtime.ImportModuleError: Error: Cannot find module 'other'\nRequire stack:\n- /var/runtime/index.mjs"},
		{name: "no such package", files: map[string]string{"index.mjs": `import x from "nothing"`}, want: `Unhandled: Error: Cannot find package 'nothing' imported from /var/task/index.mjs`},
		{name: "not exported", handler: "index.other", files: js(`exports.handler = 1`), want: `Unhandled: Runtime.HandlerNotFound: index.other is undefined or not exported`},
		{name: "not a function", files: js(`exports.handler = 1`), want: `Unhandled: Runtime.HandlerNotFound: index.handler is not a function`},
		{name: "no dot", handler: "index", files: js(``), want: `Unhandled: Runtime.MalformedHandlerName: Bad handler`},
		{name: "dots", handler: "../index.handler", files: js(``), want: `Unhandled: Runtime.MalformedHandlerName: '../index.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`},
		{name: "syntax error", files: js(`exports.handler = async () => {`), want: `Unhandled: Runtime.UserCodeSyntaxError: SyntaxError: Unexpected end of input`},
		{name: "require of modules is off", files: js(`exports.handler = async () => process.features.require_module`), want: `false`},
		{
			name: "require of modules turned on", env: map[string]string{"NODE_OPTIONS": "--no-warnings --experimental-require-module"},
			files: map[string]string{"index.js": `exports.handler = async () => require("./m.mjs").x`, "m.mjs": `export const x = "module"`}, want: `"module"`,
		},
		{name: "modules are not guessed", runtimes: allRuntimes[1:], files: js(`export const handler = async () => 1`), want: `Unhandled: Runtime.UserCodeSyntaxError: SyntaxError: Unexpected token 'export'`},
		{
			name: "modules are guessed if wanted", runtimes: allRuntimes[1:], env: map[string]string{"NODE_OPTIONS": "--experimental-detect-module --experimental-require-module"},
			files: js(`export const handler = async () => 1`), want: `1`,
		},
		{name: "throws in init", files: js(`throw new Error("at load")`), want: `Unhandled: Error: at load`},
	} {
		for _, runtime := range allRuntimes {
			if tc.runtimes != nil && !slices.Contains(tc.runtimes, runtime) {
				continue
			}
			t.Run(tc.name+"/"+runtime, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, nil)
				f := b.function(tc.files)
				f.Runtime, f.Environment = runtime, tc.env
				if tc.handler != "" {
					f.Handler = tc.handler
				}
				event := tc.event
				if event == "" {
					event = `{}`
				}
				out := b.invoke(f, event)
				if got := answer(out); got != tc.want {
					t.Fatalf("answer\n %s\nwant\n %s\nlog:\n%s", got, tc.want, strings.Join(b.logs.all(), ""))
				}
			})
		}
	}
}

func js(code string) map[string]string { return map[string]string{"index.js": code} }

func TestHandler_Context(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = async (e, c) => {
		const { getRemainingTimeInMillis: left, ...rest } = c;
		const ms = left();
		return { ...rest, left: ms > 1000 && ms <= 600000, trace: process.env._X_AMZN_TRACE_ID ?? null };
	}`)
	out, err := b.envs.Invoke(t.Context(), f, Invocation{
		RequestID: testID, InvokedARN: f.ARN + ":live", TraceID: "Root=1-2-3;Sampled=1",
		ClientContext: `{"custom":{"k":"v"}}`, Payload: []byte(`{}`), Tail: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Payload, &got); err != nil {
		t.Fatal(err)
	}
	if s, _ := got["logStreamName"].(string); !regexp.MustCompile(`^\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}$`).MatchString(s) {
		t.Errorf("logStreamName = %q", s)
	}
	delete(got, "logStreamName")
	want := map[string]any{
		"awsRequestId": testID, "functionName": "f", "functionVersion": "$LATEST", "memoryLimitInMB": "256",
		"invokedFunctionArn": f.ARN + ":live", "logGroupName": "/aws/lambda/f",
		"clientContext": map[string]any{"custom": map[string]any{"k": "v"}}, "callbackWaitsForEmptyEventLoop": true,
		"left": true, "trace": "Root=1-2-3;Sampled=1",
	}
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("context\n %s\nwant\n %s", g, w)
	}
	if !strings.Contains(string(out.LogTail), "\nXRAY TraceId: 1-2-3\tSampled: true\t\n") {
		t.Errorf("no XRAY line in %q", out.LogTail)
	}
	if out := b.invoke(f, `{}`); !strings.Contains(string(out.Payload), `"trace":null`) {
		t.Errorf("the trace of the invocation before stays: %s", out.Payload)
	}
}

func TestHandler_Environment(t *testing.T) {
	for _, runtime := range allRuntimes {
		t.Run(runtime, func(t *testing.T) {
			t.Setenv("DAVY_HOST_SECRET", "leaked")
			b := newBench(t, func(c *Config) {
				c.Credentials = sessionOf(Credentials{AccessKeyID: "ASIA", SecretAccessKey: "secret", SessionToken: "token"})
			})
			f := b.js(`exports.handler = async () => process.env`)
			f.Runtime = runtime
			f.Environment = map[string]string{"MINE": "yes", "AWS_REGION": "not mine", "NODE_NO_WARNINGS": "1", "TZ": "Europe/Paris"}
			var got map[string]string
			if err := json.Unmarshal(b.invoke(f, `{}`).Payload, &got); err != nil {
				t.Fatal(err)
			}
			stream := got["AWS_LAMBDA_LOG_STREAM_NAME"]
			delete(got, "AWS_LAMBDA_LOG_STREAM_NAME")
			for _, ofShell := range []string{"PWD", "OLDPWD", "SHLVL", "_", nthSandbox} { // of the fake driver
				delete(got, ofShell)
			}
			major := strings.TrimSuffix(strings.TrimPrefix(runtime, "nodejs"), ".x")
			launch, err := b.envs.cfg.Runtimes.Launch(t.Context(), runtime)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(launch.Version, major+".") { // started with the host's node
				major, _, _ = strings.Cut(launch.Version, ".")
			}
			want := map[string]string{
				"MINE": "yes", "NODE_NO_WARNINGS": "1", "TZ": "Europe/Paris",
				"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1",
				"AWS_EXECUTION_ENV":           "AWS_Lambda_" + runtime,
				"AWS_LAMBDA_FUNCTION_NAME":    "f",
				"AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
				"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
				"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR", "_HANDLER": "index.handler",
				"AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
				"LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime", "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001", "LANG": "en_US.UTF-8",
				"PATH":            "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
				"LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
				"NODE_PATH":       "/opt/nodejs/node" + major + "/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task",
			}
			for k := range got {
				if _, ok := want[k]; !ok {
					t.Errorf("%s=%q should not be there", k, got[k])
				}
			}
			for k, v := range want {
				if got[k] != v {
					t.Errorf("%s = %q, want %q", k, got[k], v)
				}
			}
			if stream == "" {
				t.Error("no AWS_LAMBDA_LOG_STREAM_NAME")
			}
		})
	}
}

func TestStartSettings(t *testing.T) {
	f := Function{Environment: map[string]string{
		"A": "", "NODE_OPTIONS": "", "LD_PRELOAD": "", "TZ": "", "AWS_LAMBDA_EXEC_WRAPPER": "", "PATH": "", "NODE_ENV": "",
	}}
	got := startSettings(f)
	want := []string{"AWS_LAMBDA_EXEC_WRAPPER", "LD_PRELOAD", "NODE_ENV", "NODE_OPTIONS"}
	if !slices.Equal(got, want) {
		t.Fatalf("startSettings = %q, want %q", got, want)
	}
}

func TestHandler_SettingsAtProcessStart(t *testing.T) {
	b := newBench(t, nil)
	f := b.function(map[string]string{
		"index.js": `exports.handler = async () => [process.title, process.env.WRAPPED ?? null, process.execArgv.join(" ")]`,
		"wrap.sh":  "#!/bin/sh\nexport WRAPPED=1\nexec \"$@\"\n",
	})
	f.Environment = map[string]string{"NODE_OPTIONS": "--title=mine"}
	if got, want := answer(b.invoke(f, `{}`)), `["mine",null,"--max-semi-space-size=12 --max-old-space-size=231 --no-experimental-require-module"]`; got != want {
		t.Errorf("with NODE_OPTIONS: %s, want %s", got, want)
	}
	f.Revision = "2"
	f.Environment = map[string]string{"NODE_OPTIONS": "--max_old_space_size=99", "AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap.sh"}
	makeExecutable(t, b, f, "wrap.sh")
	if got, want := answer(b.invoke(f, `{}`)), `["node","1","--no-experimental-require-module"]`; !strings.HasSuffix(got, want[7:]) {
		t.Errorf("with a wrapper: %s, want …%s", got, want[7:])
	}
}

func TestHandler_LargePayloads(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = async (e) => e.make === undefined ? e : "x".repeat(e.make - 2)`)
	event := `"` + strings.Repeat("å", 3<<20) + `"` // 6 MB
	if out := b.invoke(f, event); string(out.Payload) != event {
		t.Errorf("a 6 MB event came back as %d bytes, %s", len(out.Payload), out.FunctionError)
	}
	if out := b.invoke(f, fmt.Sprintf(`{"make":%d}`, MaxResponse)); len(out.Payload) != MaxResponse || out.FunctionError != "" {
		t.Errorf("the largest response came back as %d bytes, %s", len(out.Payload), out.FunctionError)
	}
	out := b.invoke(f, fmt.Sprintf(`{"make":%d}`, MaxResponse+1))
	if got, want := answer(out), "Unhandled: Function.ResponseSizeTooLarge: Response payload size (6291557 bytes) exceeded maximum allowed payload size (6291556 bytes)."; got != want {
		t.Errorf("one more byte: %.200s, want %s", got, want)
	}
	if n := len(b.driver.sandboxes()); n != 1 {
		t.Errorf("%d sandboxes, want 1: the environment stays good", n)
	}
}
