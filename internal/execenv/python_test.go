package execenv

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"davy/internal/runtimes"
)

// pythons are the Python runtimes that this machine can run.
func pythons(t testing.TB) []string {
	t.Helper()
	store := openStore(t, nil)
	var names []string
	for _, r := range runtimes.All() {
		if _, err := store.Launch(t.Context(), r.Name); r.Family == runtimes.Python && err == nil {
			names = append(names, r.Name)
		}
	}
	if len(names) == 0 {
		t.Skip("the host has no Python in /usr")
	}
	return names
}

// py makes a Python function of one module.
func (b *bench) py(runtime, code string) Function {
	f := b.function(map[string]string{"app.py": code})
	f.Runtime, f.Handler = runtime, "app.handler"
	return f
}

func TestPython_Answers(t *testing.T) {
	one := func(code string) map[string]string { return map[string]string{"app.py": code} }
	for _, tc := range []struct {
		name    string
		handler string // "": app.handler
		files   map[string]string
		event   string
		want    string
	}{
		{name: "object", files: one("def handler(e, c): return {'got': e['n'] + 1}"), event: `{"n":1}`, want: `{"got": 2}`},
		{name: "None is null", files: one("def handler(e, c): pass"), want: `null`},
		{name: "not ASCII", files: one("def handler(e, c): return len(e)"), event: `"å漢😀\u0000"`, want: `4`},
		{name: "Decimal keeps its digits", files: one("from decimal import Decimal as D\ndef handler(e, c): return [D('0.1000000000000000000001'), D(7), D('NaN')]"), want: `[0.1000000000000000000001, 7, NaN]`},
		{name: "bytes are the payload", files: one("def handler(e, c): return b'{\"raw\":1}'"), want: `{"raw":1}`},
		{name: "bytes inside are text", files: one("def handler(e, c): return [b'x']"), want: `["x"]`},
		{name: "package with a slash", handler: "src/pkg/mod.run", files: map[string]string{"src/pkg/mod.py": "def run(e, c): return __file__"}, want: `"/var/task/src/pkg/mod.py"`},
		{name: "package with dots", handler: "src.mod.run", files: map[string]string{"src/__init__.py": "", "src/mod.py": "def run(e, c): return __name__"}, want: `"src.mod"`},
		{name: "module named like the bootstrap's", handler: "bootstrap.run", files: map[string]string{"bootstrap.py": "def run(e, c): return 'mine'"}, want: `"mine"`},
		{name: "where it runs", files: one("import os, sys\ndef handler(e, c): return [os.getcwd(), sys.path[0], sys.path[2], os.environ['AWS_EXECUTION_ENV'][:17]]"), want: `["/var/task", "/var/task", "/opt/python", "AWS_Lambda_python"]`},
		{name: "context", files: one("def handler(e, c): return [c.function_name, c.function_version, c.invoked_function_arn, c.memory_limit_in_mb, c.aws_request_id, c.log_group_name, c.client_context, c.identity.cognito_identity_id, 0 < c.get_remaining_time_in_millis() <= 600000]"), want: `["f", "$LATEST", "arn:aws:lambda:eu-west-1:000000000000:function:f", "256", "` + testID + `", "/aws/lambda/f", null, null, true]`},
		{name: "raises", files: one("def handler(e, c): raise KeyError('k')"), want: `Unhandled: KeyError: 'k'`},
		{name: "own error", files: one("class Mine(Exception): pass\ndef handler(e, c): raise Mine('m')"), want: `Unhandled: Mine: m`},
		{name: "not serialisable", files: one("import datetime\ndef handler(e, c): return datetime.date(2026, 1, 2)"), want: `Unhandled: Runtime.MarshalError: Unable to marshal response: Object of type date is not JSON serializable`},
		{name: "import error", files: one("import nothing"), want: `Unhandled: Runtime.ImportModuleError: Unable to import module 'app': No module named 'nothing'`},
		{name: "no such file", handler: "other.handler", files: one(""), want: `Unhandled: Runtime.ImportModuleError: Unable to import module 'other': No module named 'other'`},
		{name: "no such handler", handler: "app.other", files: one("x = 1"), want: `Unhandled: Runtime.HandlerNotFound: Handler 'other' missing on module 'app'`},
		{name: "no dot", handler: "app", files: one(""), want: `Unhandled: Runtime.MalformedHandlerName: Bad handler 'app': not enough values to unpack (expected 2, got 1)`},
		{name: "built-in module", handler: "sys.exit", files: one(""), want: `Unhandled: Runtime.BuiltInModuleConflict: Cannot use built-in module sys as a handler module`},
		{name: "raises in init", files: one("raise ValueError('at load')"), want: `Unhandled: ValueError: at load`},
		{name: "exit", files: one("import sys\ndef handler(e, c): sys.exit(3)"), want: `Unhandled: Runtime.ExitError: RequestId: ` + testID + ` Error: Runtime exited with error: exit status 3`},
		{name: "exit without a reason", files: one("def handler(e, c): raise SystemExit"), want: `Unhandled: Runtime.ExitError: RequestId: ` + testID + ` Error: Runtime exited without providing a reason`},
		{name: "exit in init", files: one("import os\nos._exit(4)"), want: `Unhandled: Runtime.ExitError: RequestId: ` + testID + ` Error: Runtime exited with error: exit status 4`},
		{name: "too large", files: one("def handler(e, c): return 'x' * 6291555"), want: `Unhandled: Function.ResponseSizeTooLarge: Response payload size (6291557 bytes) exceeded maximum allowed payload size (6291556 bytes).`},
		{name: "largest", files: one("import hashlib\ndef handler(e, c): return 'x' * 6291554"), want: `"` + strings.Repeat("x", 6291554) + `"`},
		{name: "forked children and pools", files: one("import multiprocessing as m\ndef child(q): print('from a child'); q.put(1) \ndef handler(e, c):\n q = m.get_context('fork').SimpleQueue(); p = m.get_context('fork').Process(target=child, args=(q,)); p.start(); p.join(); return q.get()"), want: `1`},
	} {
		for _, runtime := range pythons(t) {
			t.Run(tc.name+"/"+runtime, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, nil)
				f := b.function(tc.files)
				f.Runtime, f.Handler = runtime, "app.handler"
				if tc.handler != "" {
					f.Handler = tc.handler
				}
				event := tc.event
				if event == "" {
					event = `{}`
				}
				if got := answer(b.invoke(f, event)); got != tc.want {
					t.Fatalf("answer\n %.300s\nwant\n %.300s\nlog:\n%s", got, tc.want, strings.Join(b.logs.all(), ""))
				}
			})
		}
	}
}

// What a caller receives is AWS's shape, to the letter.
func TestPython_ErrorPayload(t *testing.T) {
	for _, runtime := range pythons(t) {
		b := newBench(t, nil)
		out := b.invoke(b.py(runtime, "def handler(e, c):\n    deeper()\n\ndef deeper():\n    raise ValueError('bad')\n"), `{}`)
		want := `{"errorMessage": "bad", "errorType": "ValueError", "requestId": "` + testID + `", "stackTrace": [` +
			`"  File \"/var/task/app.py\", line 2, in handler\n    deeper()\n", ` +
			`"  File \"/var/task/app.py\", line 5, in deeper\n    raise ValueError('bad')\n"]}`
		if string(out.Payload) != want {
			t.Errorf("%s answered\n %s\nwant\n %s", runtime, out.Payload, want)
		}
		b = newBench(t, nil)
		out = b.invoke(b.py(runtime, "def handler(e, c)\n  pass\n"), `{}`)
		if got := string(out.Payload); !strings.Contains(got, `"errorMessage": "Syntax error in module 'app': `) ||
			!strings.Contains(got, `"errorType": "Runtime.UserCodeSyntaxError", "requestId": "", "stackTrace": ["  File \"/var/task/app.py\" Line 1\n    def handler(e, c)\n"]`) {
			t.Errorf("%s answered to a syntax error\n %s", runtime, got)
		}
	}
}

func TestPython_LogLines(t *testing.T) {
	const code = `import logging, os, sys, subprocess
log = logging.getLogger()
log.setLevel("INFO")
print("loading")
def handler(e, c):
    print("two", "words")
    log.info("hello %s", "you")
    logging.getLogger("x").error("two\nlines")
    log.debug("unseen")
    print("to stderr", file=sys.stderr)
    subprocess.run(["/bin/echo", "from a child"])
    if os.fork() == 0:
        print("from a fork"); os._exit(0)
    os.wait()
    c.log("raw")
    raise ValueError("bad")
`
	for _, runtime := range pythons(t) {
		b := newBench(t, nil)
		b.invoke(b.py(runtime, code), `{}`)
		got := strings.Join(masked(b.logs.all()[1:]), "|")
		want := strings.Join([]string{
			"loading\n", maskedStart, "two words\n", "[INFO]\tTIME\tID\thello you\n", "[ERROR]\tTIME\tID\ttwo\nlines\n",
			"to stderr\n", "from a child\n", "from a fork\n", "raw",
			"[ERROR] ValueError: bad\nTraceback (most recent call last):\n\u00a0\u00a0File \"/var/task/app.py\", line 16, in handler\n\u00a0\u00a0\u00a0\u00a0raise ValueError(\"bad\")",
			maskedEnd, maskedCold + "\n",
		}, "|")
		if got != want {
			t.Errorf("%s logged\n%q\nwant\n%q", runtime, got, want)
		}
	}
}

func TestPython_StateStaysAndIsLostWithTheProcess(t *testing.T) {
	for _, runtime := range pythons(t) {
		b := newBench(t, nil)
		f := b.py(runtime, "import os\nn = 0\ndef handler(e, c):\n  global n; n += 1\n  if e.get('exit'): os._exit(1)\n  return n")
		for i, step := range []struct{ event, want string }{
			{`{}`, "1"},
			{`{}`, "2"},
			{`{"exit":true}`, "Unhandled: Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 1"},
			{`{}`, "1"},
		} {
			if got := answer(b.invoke(f, step.event)); got != step.want {
				t.Errorf("%s, step %d: %s, want %s", runtime, i, got, step.want)
			}
		}
	}
}

// toDoorPython makes every connection lead to the door on the fake driver's
// loopback.
const toDoorPython = `
import socket
door = 0
_connect = socket.socket.connect
socket.socket.connect = lambda s, a: _connect(s, ("127.0.0.1", door))
socket.getaddrinfo = lambda h, p, *a, **k: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", door))]
`

func TestPython_TrustsAWSNamesAndNoOthers(t *testing.T) {
	ca := newAuthority(t, "*.us-east-1.amazonaws.com", "bucket.s3.amazonaws.com", "other.example")
	door := newHTTPDoor(t, ca, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.TLS.ServerName, r.URL.Path) })
	ways := map[string]string{
		"urllib":      "import urllib.request\ndef get(host): return urllib.request.urlopen('https://' + host + '/p').read().decode()",
		"ssl first":   "import ssl, http.client\ndef get(host):\n  c = http.client.HTTPSConnection(host, context=ssl.create_default_context()); c.request('GET', '/p'); return c.getresponse().read().decode()",
		"asyncio":     "import asyncio\nasync def a(host):\n  r, w = await asyncio.open_connection('127.0.0.1', door, ssl=True, server_hostname=host)\n  w.write(b'GET /p HTTP/1.0\\r\\n\\r\\n'); s = await r.read(); return s.split(b'\\r\\n\\r\\n')[1].decode()\ndef get(host): return asyncio.run(a(host))",
		"not checked": "import ssl, urllib.request\ndef get(host):\n  c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE\n  return urllib.request.urlopen('https://' + host + '/p', context=c).read().decode()",
	}
	for _, runtime := range pythons(t) {
		for name, way := range ways {
			t.Run(name+"/"+runtime, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, func(c *Config) { c.Runtimes, c.TrustCA, c.Door = hostRuntime{openStore(t, ca.pem)}, true, door })
				f := b.py(runtime, toDoorPython+way+`
def handler(e, c):
    global door
    door = e.get("door")
    try: return door and get(e["host"])
    except Exception as x: return "refused" if "CERTIFICATE_VERIFY_FAILED" in str(x) else repr(x)`)
				b.invoke(f, `{}`)
				port := doorPort(b, f)
				for host, want := range map[string]string{
					"sqs.us-east-1.amazonaws.com": `"sqs.us-east-1.amazonaws.com /p"`,
					"bucket.s3.amazonaws.com":     `"bucket.s3.amazonaws.com /p"`,
					"other.example":               `"refused"`,
				} {
					if name == "not checked" {
						want = fmt.Sprintf(`"%s /p"`, host)
					}
					if got := answer(b.invoke(f, fmt.Sprintf(`{"host":%q,"door":%d}`, host, port))); got != want {
						t.Errorf("%s: %s, want %s", host, got, want)
					}
				}
			})
		}
	}
}

func TestPython_Boto3ReachesTheDoor(t *testing.T) {
	ca := newAuthority(t, "*.s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com")
	door := newHTTPDoor(t, ca, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, `<ListBucketResult><Name>%s</Name></ListBucketResult>`, r.Host)
	})
	store := openStore(t, ca.pem)
	for _, runtime := range pythons(t) {
		if l, err := store.Launch(t.Context(), runtime); err != nil || !l.HasSDK {
			t.Skipf("boto3 is not installed: set DAVY_FETCHED_RUNTIMES (%v)", err)
		}
		b := newBench(t, func(c *Config) {
			c.Runtimes, c.TrustCA, c.Door = store, true, door
			c.Credentials = sessionOf(Credentials{AccessKeyID: "ASIA", SecretAccessKey: "s", SessionToken: "t"})
		})
		f := b.py(runtime, toDoorPython+`
import boto3
s3 = boto3.client("s3")
def handler(e, c):
    global door
    door = e.get("door")
    return door and [s3.list_objects_v2(Bucket="pictures")["Name"], boto3.__file__]`)
		b.invoke(f, `{}`)
		want := `["pictures.s3.eu-west-1.amazonaws.com", "/var/lang/lib/` + runtime + `/site-packages/boto3/__init__.py"]`
		if got := answer(b.invoke(f, fmt.Sprintf(`{"door":%d}`, doorPort(b, f)))); got != want {
			t.Errorf("answered %s, want %s\n%q", got, want, b.logs.all())
		}
		layer := b.function(map[string]string{"python/boto3/__init__.py": "mine = 'of the layer'"})
		f = b.py(runtime, "import boto3\ndef handler(e, c): return boto3.mine")
		f.Layers, f.ARN = []string{layer.CodeSHA256}, f.ARN+"2"
		if got := answer(b.invoke(f, `{}`)); got != `"of the layer"` {
			t.Errorf("with a layer %s answered %s", runtime, got)
		}
	}
}

// doorPort is the port of the door in a function's only environment.
func doorPort(b *bench, f Function) int {
	b.t.Helper()
	return b.envs.fleets[f.ARN+" $LATEST"].idle[0].current.Load().addrs[listenHTTPS].(*net.TCPAddr).Port
}

func BenchmarkCold_Python(b *testing.B) {
	bn := newSandboxedBench(b, nil)
	f := bn.py(pythons(b)[0], "def handler(e, c): return e")
	f.MemoryMB = 1769
	n := 0
	for b.Loop() {
		n++
		f.Revision = fmt.Sprint(n) // a new environment
		bn.invoke(f, `{}`)
	}
}

func BenchmarkWarm_Python(b *testing.B) {
	bn := newSandboxedBench(b, nil)
	f := bn.py(pythons(b)[0], "def handler(e, c): return e")
	f.MemoryMB = 1769
	bn.invoke(f, `{}`)
	for b.Loop() {
		if _, err := bn.envs.Invoke(b.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`{}`)}); err != nil {
			b.Fatal(err)
		}
	}
}
