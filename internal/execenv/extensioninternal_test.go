package execenv

import (
	"fmt"
	"strings"
	"testing"
)

// In Python an internal extension is a thread.
func TestExtension_InternalInPython(t *testing.T) {
	name := pythons(t)[0]
	b := newExtensionBench(t, nil)
	f := b.py(name, `
import json, os, signal, sys, threading, time, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2020-01-01/extension"
events = []

def ask(path, body=None, **headers):
    with urllib.request.urlopen(urllib.request.Request(api + path, data=body, headers=headers)) as r:
        return r.headers, json.load(r)

me = {"Lambda-Extension-Identifier": ask("/register", b'{"events":["INVOKE"]}', **{"Lambda-Extension-Name": "inside"})[0]["Lambda-Extension-Identifier"]}

def run():
    while True:
        events.append(ask("/event/next", **me)[1]["eventType"])

threading.Thread(target=run, daemon=True).start()

def leave(*_):
    print("runtime ends", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)

def handler(event, context):
    while len(events) < event["seen"]:
        time.sleep(0.001)
    return events
`)
	for n, want := range []string{`["INVOKE"]`, `["INVOKE", "INVOKE"]`} {
		if got := answer(b.invoke(f, fmt.Sprintf(`{"seen":%d}`, n+1))); got != want {
			t.Fatalf("answered %s, want %s; log %q", got, want, b.logs.all())
		}
	}
	if err := b.envs.Close(); err != nil {
		t.Fatal(err)
	}
	b.expectLogged([]string{"EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]"}, "EXTENSION")
	if log := strings.Join(b.logs.all(), ""); !strings.Contains(log, "runtime ends\n") {
		t.Errorf("the runtime did not hear of the end: %s", log)
	}
}

// A runtime without extensions is killed at once.
func TestExtension_WithoutOneThereIsNoSIGTERM(t *testing.T) {
	b := newExtensionBench(t, nil)
	f := b.js(`process.on("SIGTERM", () => { console.log("runtime ends"); process.exit(0) }); exports.handler = async () => 1`)
	if got := answer(b.invoke(f, `{}`)); got != "1" {
		t.Fatalf("answered %s", got)
	}
	if err := b.envs.Close(); err != nil {
		t.Fatal(err)
	}
	if log := strings.Join(b.logs.all(), ""); strings.Contains(log, "runtime ends") {
		t.Errorf("the runtime heard of the end: %s", log)
	}
}
