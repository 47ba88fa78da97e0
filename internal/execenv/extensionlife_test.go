package execenv

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var runtimesWithExtensions = []struct {
	name string
	make func(b *bench) Function
}{
	{"managed", func(b *bench) Function { return b.js(`let n = 0; exports.handler = async () => ++n`) }},
	{"custom", func(b *bench) Function { return b.custom("") }},
}

func TestExtension_LifeOfTheEnvironment(t *testing.T) {
	for _, rt := range runtimesWithExtensions {
		t.Run(rt.name, func(t *testing.T) {
			b := newExtensionBench(t, func(c *Config) {
				c.Credentials, c.FreezeAfter = sessionOf(Credentials{AccessKeyID: "ASIA"}), time.Nanosecond
			})
			f := b.extended(rt.make(b), "a.talk", "b.invokeonly")
			f.Environment = map[string]string{"MINE": "mine"}
			for want := range 3 {
				if got := answer(b.invoke(f, `{}`)); got != fmt.Sprint(want+1) {
					t.Fatalf("answered %s, want %d; log %q", got, want+1, b.logs.all())
				}
			}
			if err := b.envs.Close(); err != nil {
				t.Fatal(err)
			}
			handler := f.Handler
			b.expectLogged([]string{
				`a.talk registered 200 {"functionName":"f","functionVersion":"$LATEST","handler":"` + handler + `","accountId":"000000000000"}`,
				"a.talk environment mine ASIA false f",
				"EXTENSION\tName: a.talk\tState: Ready\tEvents: [INVOKE, SHUTDOWN]",
				"EXTENSION\tName: b.invokeonly\tState: Ready\tEvents: [INVOKE]",
				"a.talk invoke " + testID, "a.talk invoke " + testID, "a.talk invoke " + testID,
				"a.talk shutdown spindown true",
			}, "a.", "b.", "EXTENSION")
		})
	}
}

func TestExtension_Failures(t *testing.T) {
	for _, tc := range []struct {
		name, extension string
		first           string // answer; the second comes before the failure
		line            string // of the log
		shutdown        string // as the other extension hears of it
	}{
		{"exits in init", "exit", "Extension.Crash: exit status 4", "EXTENSION\tName: x.exit\tState: Started\tEvents: []", "failure"},
		{"tells an init error", "initerror", "Extension.InitError: exit code 0", "EXTENSION\tName: x.initerror\tState: InitError\tEvents: [INVOKE, SHUTDOWN]\tError Type: Mine.Odd", "failure"},
		{"crashes", "crash", "1", "", "failure"},
		{"tells an exit error", "exiterror", "1", "", "failure"},
		{"hangs", "hang", "1", "", "timeout"},
	} {
		for _, rt := range runtimesWithExtensions {
			t.Run(tc.name+"/"+rt.name, func(t *testing.T) {
				b := newExtensionBench(t, nil)
				if tc.name == "hangs" { // also when it is to leave
					t.Parallel()
					b.envs.patience.external = scarce
				}
				f := b.extended(rt.make(b), "other", "x."+tc.extension)
				want := tc.first
				if kind, reason, failed := strings.Cut(want, ": "); failed {
					want = "Unhandled: " + kind + ": RequestId: " + testID + " Error: " + reason
				}
				if got := answer(b.invoke(f, `{}`)); got != want {
					t.Fatalf("answered\n %s\nwant\n %s\nlog %q", got, want, b.logs.all())
				}
				if tc.first == "1" {
					// The runtime answers, so the caller never hears of it.
					invoke := b.invoke
					if tc.name == "hangs" {
						invoke = func(f Function, event string) Outcome { return b.expire(f, event, scarce) }
					}
					if got := answer(invoke(f, `{}`)); got != "2" && !strings.HasPrefix(got, "Unhandled: Extension.") {
						t.Errorf("answered %s", got)
					}
				}
				if err := b.envs.Close(); err != nil {
					t.Fatal(err)
				}
				log := strings.Join(b.logs.all(), "")
				if !strings.Contains(log, tc.line) {
					t.Errorf("no %q in the log %s", tc.line, log)
				}
				if !strings.Contains(log, "other shutdown "+tc.shutdown+" true") && tc.first == "1" { // else it may not have registered yet
					t.Errorf("the other extension did not hear %q: %s", tc.shutdown, log)
				}
				if tc.name == "hangs" && !strings.Contains(log, "Task timed out after 5.00 seconds") {
					t.Errorf("no timeout in the log %s", log)
				}
				if tc.name == "crashes" && !strings.Contains(log, "RequestId: "+testID+" Error: exit status 9\nExtension.Crash\n") {
					t.Errorf("no crash in the log %s", log)
				}
			})
		}
	}
}

// When the runtime fails, the extensions take part in the reset, and the next
// invocation finds all of it anew.
func TestExtension_RuntimeFailures(t *testing.T) {
	for _, tc := range []struct{ name, code, want, reason string }{
		{"exit", `exports.handler = async (e) => { if (e.fail) process.exit(3); return 1 }`, "Unhandled: Runtime.ExitError: RequestId: ID Error: Runtime exited with error: exit status 3", "failure"},
		{"timeout", `exports.handler = async (e) => { if (e.fail) for (;;); return 1 }`, timedOut(brief), "timeout"},
		{"memory", `exports.handler = async (e) => { const hold = []; while (e.fail) hold.push(Buffer.alloc(1 << 20, 1)); return 1 }`, "Unhandled: Runtime.OutOfMemory: RequestId: ID Error: Runtime exited with error: signal: killed", ""},
		{"init", `if (require("fs").existsSync("/tmp/x")) process.exit(3); exports.handler = async (e) => 1; if (!process.env.GOOD) throw new Error("bad")`, "Unhandled: Error: bad", "failure"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newExtensionBench(t, nil)
			f := b.extended(b.js(tc.code), "x.talk")
			want := strings.ReplaceAll(tc.want, "ID", testID)
			steps := []struct{ event, want string }{{`{}`, "1"}, {`{"fail":1}`, want}, {`{}`, "1"}}
			if tc.name == "init" {
				steps = []struct{ event, want string }{{`{}`, want}, {`{}`, want}}
			}
			for _, s := range steps {
				if got := answer(b.step(f, s.event, s.want)); got != s.want {
					t.Fatalf("%s answered\n %s\nwant\n %s\nlog %q", s.event, got, s.want, b.logs.all())
				}
			}
			if err := b.envs.Close(); err != nil {
				t.Fatal(err)
			}
			if log := strings.Join(b.logs.all(), ""); tc.reason != "" && !strings.Contains(log, "x.talk shutdown "+tc.reason+" true") {
				t.Errorf("the extension did not hear %q: %s", tc.reason, log)
			}
		})
	}
}

func TestExtension_ThatCannotRun(t *testing.T) {
	b := newExtensionBench(t, nil)
	unhandled := func(s string) string {
		return "Unhandled: " + strings.Replace(s, ": ", ": RequestId: "+testID+" Error: ", 1)
	}
	f := b.extended(b.js(`exports.handler = async () => 1`), "x.talk")
	if err := os.Chmod(filepath.Join(b.code.dirs[f.Layers[0]], "extensions", "x.talk"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := answer(b.invoke(f, `{}`)), unhandled("Extension.LaunchError: fork/exec /opt/extensions/x.talk: permission denied"); got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
	b.expectLogged([]string{
		"EXTENSION\tName: x.talk\tState: LaunchError\tEvents: []\tError Type: PermissionDenied",
		"EXTENSION\tName: x.talk\tState: LaunchError\tEvents: []\tError Type: PermissionDenied",
	}, "EXTENSION")

	var many []string
	for i := range 11 {
		many = append(many, fmt.Sprintf("x%02d", i))
	}
	f = b.extended(b.js(`exports.handler = async () => 1`), many...)
	f.ARN += "2"
	if got, want := answer(b.invoke(f, `{}`)), unhandled("Extension.LaunchError: ErrTooManyExtensions"); got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
}

// One that never registers uses the init phase up, then the function's time.
func TestExtension_ThatNeverRegisters(t *testing.T) {
	t.Parallel()
	b := newExtensionBench(t, func(c *Config) { c.InitTimeout = brief })
	f := b.extended(b.js(`exports.handler = async () => 1`), "x.silent")
	f.Timeout = scarce
	if got, want := answer(b.invoke(f, `{}`)), timedOut(scarce); got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
}

func TestExtension_ThatDoesNotLeaveIsKilled(t *testing.T) {
	t.Parallel()
	b := newExtensionBench(t, nil)
	b.envs.patience.external = scarce
	f := b.extended(b.js(`process.on("SIGTERM", () => { console.log("runtime ends"); process.exit(0) }); exports.handler = async () => 1`), "x.stubborn", "y.talk")
	if got := answer(b.invoke(f, `{}`)); got != "1" {
		t.Fatalf("answered %s; log %q", got, b.logs.all())
	}
	if err := b.envs.Close(); err != nil {
		t.Fatal(err)
	}
	log := strings.Join(b.logs.all(), "")
	for _, want := range []string{"\tINFO\truntime ends\n", "x.stubborn goes on\n", "y.talk shutdown spindown true\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in %s", want, log)
		}
	}
}

func TestExtension_LeavesNoDescriptors(t *testing.T) {
	b := newExtensionBench(t, nil)
	f := b.extended(b.js(`exports.handler = async (e) => { if (e.fail) process.exit(1); return 1 }`), "x.talk.telemetry", "y.invokeonly")
	count := func() int {
		b.envs.Retire(f.ARN)
		for c := b.envs.Count(); c.Busy+c.Idle+c.Starting > 0; c = b.envs.Count() {
			select {
			case <-time.After(time.Millisecond):
			case <-t.Context().Done():
				t.Fatal("an environment does not end")
			}
		}
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	b.invoke(f, `{}`)
	before := count()
	for _, event := range []string{`{}`, `{"fail":1}`, `{}`} {
		b.invoke(f, event)
		for limit := time.Now().Add(ample); ; b.pause() { // who closes the last may be on its way
			after := count()
			if after <= before+2 { // the poller's may come and go
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%d descriptors after %s, %d before", after, event, before)
			}
		}
	}
}

// The caller has its answer while extensions still work.
func TestExtension_SlowOnesDoNotDelayTheAnswer(t *testing.T) {
	b := newExtensionBench(t, nil)
	f := b.extended(b.js(`exports.handler = async () => 1`), "x.slow")
	out, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)})
	if err != nil || string(out.Payload) != "1" {
		t.Fatalf("Invoke = %s, %v", out.Payload, err)
	}
	b.logs.await(t, "REPORT")
	lines := b.logged("x.slow done", "END", "REPORT")
	if len(lines) != 3 || lines[0] != "x.slow done" {
		t.Errorf("log %q", lines)
	}
	var ms float64
	if _, err := fmt.Sscanf(lines[2][strings.Index(lines[2], "Duration: "):], "Duration: %f ms", &ms); err != nil || ms < 200 {
		t.Errorf("the invocation lasted %v ms, %v: less than its extension", ms, err)
	}
}

// An internal extension is part of a runtime that was booted for no function in
// particular.
func TestExtension_Internal(t *testing.T) {
	b := newExtensionBench(t, nil)
	f := b.function(map[string]string{"index.mjs": `
const api = "http://" + process.env.AWS_LAMBDA_RUNTIME_API + "/2020-01-01/extension";
const events = [];
const register = (events) => fetch(api + "/register", { method: "POST", headers: { "Lambda-Extension-Name": "inside" }, body: JSON.stringify({ events }) });
const refused = await register(["SHUTDOWN"]);
events.push(refused.status + " " + (await refused.json()).errorType);
const id = (await register(["INVOKE"])).headers.get("lambda-extension-identifier");
(async () => {
  for (;;) {
    const r = await fetch(api + "/event/next", { headers: { "Lambda-Extension-Identifier": id } });
    events.push((await r.json()).eventType);
  }
})();
process.on("SIGTERM", () => { console.log("runtime ends"); process.exit(0) });
export const handler = async ({ seen }) => {
  while (events.length < 1 + seen) await new Promise((r) => setTimeout(r, 1));
  return events;
};
`})
	f.Runtime = "nodejs22.x"
	for n, want := range []string{`["403 Extension.InvalidEventType","INVOKE"]`, `["403 Extension.InvalidEventType","INVOKE","INVOKE"]`} {
		if got := answer(b.invoke(f, fmt.Sprintf(`{"seen":%d}`, n+1))); got != want {
			t.Fatalf("answered %s, want %s; log %q", got, want, b.logs.all())
		}
	}
	if err := b.envs.Close(); err != nil {
		t.Fatal(err)
	}
	b.expectLogged([]string{"EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]"}, "EXTENSION")
	if log := strings.Join(b.logs.all(), ""); !strings.Contains(log, "\tINFO\truntime ends\n") {
		t.Errorf("the runtime did not hear of the end: %s", log)
	}
}

// A shell and curl are enough, and a wrapper script starts the runtime beside
// them as without.
func TestExtension_ShellAndWrapper(t *testing.T) {
	if _, err := os.Stat("/usr/bin/curl"); err != nil {
		t.Skip("this machine has no curl")
	}
	b := newExtensionBench(t, nil)
	layer := b.function(map[string]string{
		"extensions/shell": `#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
id=$(curl -sS -D - -o /dev/null "$api/register" -H "Lambda-Extension-Name: ${0##*/}" -d '{"events":["INVOKE","SHUTDOWN"]}' |
  tr -d '\r' | sed -n 's/^Lambda-Extension-Identifier: //Ip')
while event=$(curl -sS "$api/event/next" -H "Lambda-Extension-Identifier: $id"); do
  case $event in
    *SHUTDOWN*) echo "shell leaves"; exit ;;
    *) echo "shell hears ${event:0:21}" ;;
  esac
done
`,
		"wrapper": "#!/bin/sh\nexport WRAPPED=yes\nexec \"$@\"\n",
	})
	makeExecutable(t, b, layer, "extensions/shell")
	makeExecutable(t, b, layer, "wrapper")
	f := b.js(`exports.handler = async () => process.env.WRAPPED`)
	f.Layers, f.Environment = []string{layer.CodeSHA256}, map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}
	if got := answer(b.invoke(f, `{}`)); got != `"yes"` {
		t.Errorf("answered %s; log %q", got, b.logs.all())
	}
	if err := b.envs.Close(); err != nil {
		t.Fatal(err)
	}
	b.expectLogged([]string{`shell hears {"eventType":"INVOKE"`, "shell leaves"}, "shell")
}

// Golden: the events of an environment's life, without times and sizes.
func TestExtension_Telemetry(t *testing.T) {
	varies := regexp.MustCompile(`("(?:time|start|instanceId|runtimeVersion|runtimeVersionArn)":)"[^"]*"|("(?:durationMs|initDurationMs|billedDurationMs|maxMemoryUsedMB)":)[0-9.e+-]+`)
	for _, protocol := range []string{"telemetry", "tcp"} {
		t.Run(protocol, func(t *testing.T) {
			b := newExtensionBench(t, nil)
			f := b.extended(b.js(`const fs = require("fs");
exports.handler = async (e) => {
  if (e.read) { for (;;) { // until the first invocation's report has come
    const text = fs.readFileSync("/tmp/telemetry", "utf8");
    if (text.includes("platform.report") && text.endsWith("\n")) return text;
    await new Promise((r) => setTimeout(r, 10));
  } }
  process.stdout.write("plain\n"); return 1 }`), "x.talk."+protocol)
			if got := answer(b.invoke(f, `{}`)); got != "1" {
				t.Fatalf("answered %s; log %q", got, b.logs.all())
			}
			var text string
			if err := json.Unmarshal([]byte(answer(b.invoke(f, `{"read":1}`))), &text); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(text) {
				line = varies.ReplaceAllString(strings.TrimSpace(line), `$1$2"…"`)
				line = strings.ReplaceAll(line, testID, "ID")
				if strings.Contains(line, `"type":"platform.start"`) && slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, `"platform.report"`) }) {
					break // of the second invocation
				}
				got = append(got, line)
			}
			name := "x.talk." + protocol
			want := []string{
				`{"time":"…","type":"platform.initStart","record":{"initializationType":"on-demand","phase":"init","functionName":"f","functionVersion":"$LATEST","instanceId":"…","instanceMaxMemory":268435456,"runtimeVersion":"…","runtimeVersionArn":"…"}}`,
				`{"time":"…","type":"extension","record":"` + name + ` registered 200 {\"functionName\":\"f\",\"functionVersion\":\"$LATEST\",\"handler\":\"index.handler\",\"accountId\":\"000000000000\"}"}`,
				`{"time":"…","type":"extension","record":"` + name + ` environment   false f"}`,
				`{"time":"…","type":"platform.telemetrySubscription","record":{"name":"` + name + `","state":"Subscribed","types":["platform","function","extension"]}}`,
				`{"time":"…","type":"platform.initRuntimeDone","record":{"initializationType":"on-demand","phase":"init","status":"success"}}`,
				`{"time":"…","type":"platform.extension","record":{"name":"` + name + `","state":"Ready","events":["INVOKE","SHUTDOWN"]}}`,
				`{"time":"…","type":"platform.initReport","record":{"initializationType":"on-demand","phase":"init","status":"success","metrics":{"durationMs":"…"}}}`,
				`{"time":"…","type":"platform.start","record":{"requestId":"ID","functionArn":"` + f.ARN + `","version":"$LATEST"}}`,
				`{"time":"…","type":"extension","record":"` + name + ` invoke ID"}`,
				`{"time":"…","type":"function","record":"plain"}`,
				`{"time":"…","type":"platform.runtimeDone","record":{"requestId":"ID","status":"success","metrics":{"durationMs":"…","producedBytes":1},"spans":[{"name":"responseLatency","start":"…","durationMs":"…"},{"name":"responseDuration","start":"…","durationMs":"…"},{"name":"runtimeOverhead","start":"…","durationMs":"…"}]}}`,
				`{"time":"…","type":"platform.report","record":{"requestId":"ID","status":"success","metrics":{"durationMs":"…","billedDurationMs":"…","memorySizeMB":256,"maxMemoryUsedMB":"…","initDurationMs":"…"},"spans":[{"name":"extensionOverhead","start":"…","durationMs":"…"}]}}`,
			}
			// The processes run side by side: what one prints has no place.
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("telemetry\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
			}
			b.expectLogged([]string{"TELEMETRY\tName: " + name + "\tState: Subscribed\tTypes: [Platform, Function, Extension]"}, "TELEMETRY")
		})
	}
}

// A listener that takes nothing costs neither memory nor time, and a function
// that ends what is around it harms only itself.
func TestExtension_Hostile(t *testing.T) {
	b := newExtensionBench(t, func(c *Config) { c.FreezeAfter = time.Nanosecond })
	f := b.extended(b.js(`exports.handler = async () => { for (let i = 0; i < 5000; i++) process.stdout.write("x".repeat(500) + "\n"); return 1 }`), "x.deaf")
	for range 3 {
		if got := answer(b.invoke(f, `{}`)); got != "1" {
			t.Fatalf("answered %s; log ends %.500q", got, b.logs.all())
		}
	}
	killer := b.extended(b.js(`const fs = require("fs");
exports.handler = async (e) => {
  if (!e.kill) return 1;
  for (const pid of fs.readdirSync("/proc").map(Number).filter((n) => n > 1 && n !== process.pid)) { try { process.kill(pid, "SIGKILL") } catch {} }
  await new Promise(() => setTimeout(() => {}, 10000)) }`), "x.talk")
	killer.ARN += "2"
	for range 2 {
		if got := answer(b.invoke(killer, `{"kill":1}`)); !strings.HasPrefix(got, "Unhandled: Runtime.ExitError") && !strings.HasPrefix(got, "Unhandled: Extension.Crash") {
			t.Errorf("answered %s; log %.2000q", got, b.logs.all())
		}
		if got := answer(b.invoke(killer, `{}`)); got != "1" {
			t.Errorf("then it answered %s", got)
		}
	}
}
