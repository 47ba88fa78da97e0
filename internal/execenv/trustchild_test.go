package execenv

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"davy/internal/runtimes"
)

// twoAuthorities is a bench whose door has a certificate of the installation's
// authority for AWS's names and other.example, and one of a public authority
// for public.example.
func twoAuthorities(t *testing.T) (b *bench, public authority) {
	t.Helper()
	own := newAuthority(t, "*.us-east-1.amazonaws.com", "other.example")
	public = newAuthority(t, "public.example")
	door := newHTTPDoor(t, own, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.ServerName) })
	door.server.TLSConfig.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if h.ServerName == "public.example" {
			return &public.server, nil
		}
		return &own.server, nil
	}
	door.server.TLSConfig.Certificates = nil
	store := openStoreWith(t, func(c *runtimes.Config) { c.CAPEM, c.PublicCAs = own.pem, public.pem })
	return newSandboxedBench(t, func(c *Config) {
		c.Runtimes, c.TrustCA, c.Door = hostRuntime{store}, true, door
	}), public
}

// get.js gets a URL's host over https from the door, whatever the name.
const getJS = `module.exports = (host, more = {}) => new Promise((ok) => require("https").get(
	{ host: "169.254.100.1", servername: host, headers: { host }, path: "/", agent: false, ...more },
	(r) => { let s = ""; r.on("data", (d) => s += d); r.on("end", () => ok(s)) }).on("error", (e) => ok("refused: " + e.code)))`

const unknownAuthority = "refused: UNABLE_TO_VERIFY_LEAF_SIGNATURE"

// Worker threads trust as the main thread does, however they are made; nothing
// that the function says about them is lost.
func TestTrust_WorkerThreads(t *testing.T) {
	b, _ := twoAuthorities(t)
	const asks = `const { parentPort, workerData } = require("worker_threads");
		(async () => parentPort.postMessage([await require("/var/task/get.js")(workerData.host), process.execArgv.join(" "), process.env.OWN ?? ""]))()`
	files := map[string]string{
		"get.js": getJS, "worker.js": asks,
		"worker.mjs": `import { parentPort, workerData } from "node:worker_threads"; import get from "/var/task/get.js"; parentPort.postMessage([await get(workerData.host), process.execArgv.join(" "), process.env.OWN ?? ""])`,
		"nested.js":  `const { Worker, parentPort, workerData } = require("worker_threads"); new Worker("/var/task/worker.js", { workerData }).on("message", (m) => parentPort.postMessage(m))`,
		"index.mjs": `import { Worker } from "worker_threads"; import fs from "fs";
export const handler = (e) => new Promise((ok, no) => {
	const options = { workerData: { host: e.host }, ...e.options };
	if (e.share) options.env = (globalThis.process.getBuiltinModule?.("worker_threads") ?? { SHARE_ENV: Symbol.for("nodejs.worker_threads.SHARE_ENV") }).SHARE_ENV;
	const w = new Worker(e.eval ? fs.readFileSync("/var/task/worker.js", "utf8") : e.url ? new URL("file:///var/task/" + e.file) : "/var/task/" + e.file, options);
	w.on("message", ok).on("error", no);
	if (!(w instanceof Worker) || w.constructor.name !== "Worker") no(new Error("no Worker"));
})`,
	}
	for _, rt := range allRuntimes {
		f := b.function(files)
		f.Runtime, f.MemoryMB = rt, 1769
		f.ARN += rt
		for _, tc := range []struct{ name, event, says string }{
			{"script", `"file":"worker.js"`, `"",""`},
			{"module", `"file":"worker.mjs"`, `"",""`},
			{"url", `"file":"worker.mjs","url":true`, `"",""`},
			{"text", `"eval":true,"options":{"eval":true}`, `"",""`},
			{"of a worker", `"file":"nested.js"`, `"",""`},
			{"options of its own", `"file":"worker.js","options":{"execArgv":["--no-warnings"]}`, `"--no-warnings",""`},
			{"environment of its own", `"file":"worker.js","options":{"env":{"OWN":"x"}}`, `"","x"`},
			{"shared environment", `"file":"worker.js","share":true`, `"",""`},
		} {
			t.Run(rt+"/"+tc.name, func(t *testing.T) {
				for host, want := range map[string]string{"sqs.us-east-1.amazonaws.com": "sqs.us-east-1.amazonaws.com", "other.example": unknownAuthority} {
					got := answer(b.invoke(f, fmt.Sprintf(`{"host":%q,%s}`, host, tc.event)))
					// What the runtime itself was started with stays.
					if !strings.HasPrefix(got, `["`+want+`","`) || !strings.HasSuffix(got, tc.says[1:]+"]") || strings.Contains(got, "trustworker") {
						t.Errorf("%s: %s, want %s and %s", host, got, want, tc.says)
					}
				}
			})
		}
		for event, want := range map[string]string{
			`"file":"worker.js","options":{"execArgv":["--none-such"]}`: "ERR_WORKER_INVALID_EXEC_ARGV",
			`"file":"worker.js","options":{"execArgv":"x"}`:             "ERR_INVALID_ARG_TYPE",
		} {
			if got := answer(b.invoke(f, `{"host":"x",`+event+`}`)); !strings.Contains(got, want) && !strings.Contains(got, "execArgv") {
				t.Errorf("%s: %s, want %s", event, got, want)
			}
		}
	}
}

// Programs that a function starts trust the installation's authority beside the
// public ones.
func TestTrust_ChildProcesses(t *testing.T) {
	b, _ := twoAuthorities(t)
	node := `require("/var/task/get.js")(process.argv[1]).then(console.log)`
	python := `import http.client, ssl, socket, sys
s = ssl.create_default_context().wrap_socket(socket.create_connection(("169.254.100.1", 443)), server_hostname=sys.argv[1])
s.sendall(b"GET / HTTP/1.0\r\nHost: " + sys.argv[1].encode() + b"\r\n\r\n"); d = b""
while True:
    p = s.recv(9999)
    if not p: break
    d += p
print(d.split(b"\r\n\r\n")[1].decode())`
	children := map[string][]string{
		"curl":    {"curl", "-sS", "--resolve", "HOST:443:169.254.100.1", "https://HOST/"},
		"openssl": {"sh", "-c", "echo | openssl s_client -connect 169.254.100.1:443 -servername HOST -verify_return_error -verify_hostname HOST >/dev/null 2>&1 && echo HOST || echo refused"},
		"python3": {"python3", "-c", python, "HOST"},
	}
	for name := range children {
		if _, err := exec.LookPath(name); err != nil {
			delete(children, name)
			t.Logf("this machine has no %s", name)
		}
	}
	quote := func(args []string, host string) string {
		var list []string
		for _, a := range args {
			list = append(list, fmt.Sprintf("%q", strings.ReplaceAll(a, "HOST", host)))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	functions := map[string]Function{}
	for _, rt := range allRuntimes {
		f := b.function(map[string]string{"get.js": getJS, "index.js": `const { execFileSync } = require("child_process")
exports.handler = async ({ args }) => { if (args[0] === "node") args[0] = process.execPath
	try { return execFileSync(args[0], args.slice(1), { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim() } catch (e) { return "failed: " + e.stderr } }`})
		f.Runtime = rt
		functions[rt] = f
	}
	for _, rt := range pythons(t) {
		functions[rt] = b.py(rt, `import subprocess
def handler(e, c):
    r = subprocess.run(e["args"], capture_output=True, text=True)
    return r.stdout.strip() if r.returncode == 0 else "failed: " + r.stderr`)
	}
	for rt, f := range functions {
		f.ARN, f.MemoryMB = f.ARN+rt, 1769
		all := map[string][]string{}
		for name, args := range children {
			all[name] = args
		}
		if strings.HasPrefix(rt, "nodejs") {
			all["node"] = []string{"node", "-e", node, "HOST"}
		}
		for name, args := range all {
			hosts := []string{"sqs.us-east-1.amazonaws.com", "public.example"}
			if name == "node" { // which has public authorities of its own
				hosts = hosts[:1]
			}
			t.Run(rt+"/"+name, func(t *testing.T) {
				for _, host := range hosts {
					if got := answer(b.invoke(f, `{"args":`+quote(args, host)+`}`)); got != fmt.Sprintf("%q", host) {
						t.Errorf("%s: %s", host, got)
					}
				}
			})
		}
	}
}

// What a function says itself about whom it trusts holds, in its threads and
// its children, and the authorities that Node.js brings are all trusted still.
func TestTrust_PublicAuthoritiesInNode(t *testing.T) {
	b, public := twoAuthorities(t)
	files := map[string]string{
		"public.pem": string(public.pem), "get.js": getJS,
		"worker.js": `const { parentPort, workerData } = require("worker_threads"); (async () => parentPort.postMessage(await require("/var/task/get.js")(workerData)))()`,
		"index.js": `const get = require("./get.js"), tls = require("tls"), { Worker } = require("worker_threads"), { execFileSync } = require("child_process")
const bundled = "const tls = require('tls'), d = tls.getCACertificates?.('default'); if (!d) return null; const all = new Set(d); return [tls.rootCertificates.every((c) => all.has(c)), d.length - tls.rootCertificates.length]"
exports.handler = async (e) => ({
	main: await get(e.host), option: await get(e.host, { ca: require("fs").readFileSync("/var/task/public.pem") }),
	worker: await new Promise((ok, no) => new Worker("/var/task/worker.js", { workerData: e.host }).on("message", ok).on("error", no)),
	child: execFileSync(process.execPath, ["-e", "require('/var/task/get.js')('" + e.host + "').then(console.log)"], { encoding: "utf8" }).trim(),
	bundled: new Function("require", bundled)(require), roots: tls.rootCertificates.length > 100,
	childBundled: JSON.parse(execFileSync(process.execPath, ["-e", "console.log(JSON.stringify((() => {" + bundled + "})()))"], { encoding: "utf8" })),
})`,
	}
	const refused = unknownAuthority
	for _, rt := range allRuntimes {
		t.Run(rt, func(t *testing.T) {
			f := b.function(files)
			f.Runtime, f.MemoryMB = rt, 1769
			f.ARN += rt
			has := func(event, want, extra string) {
				t.Helper()
				got := answer(b.invoke(f, event))
				got = strings.NewReplacer(`"bundled":null`, `"bundled":`+extra, `"childBundled":null`, `"childBundled":[true,1]`).Replace(got) // older releases cannot tell
				if got != want {
					t.Errorf("%s answered\n %s\nwant\n %s", event, got, want)
				}
			}
			const public, aws = `{"host":"public.example"}`, `{"host":"sqs.us-east-1.amazonaws.com"}`
			line := func(main, option, worker, child, bundled string) string {
				return fmt.Sprintf(`{"main":%q,"option":%q,"worker":%q,"child":%q,"bundled":%s,"roots":true,"childBundled":[true,1]}`, main, option, worker, child, bundled)
			}
			host, service := "public.example", "sqs.us-east-1.amazonaws.com"
			has(public, line(refused, host, refused, refused, "[true,0]"), "[true,0]")
			has(aws, line(service, refused, service, service, "[true,0]"), "[true,0]")
			// The function's own NODE_EXTRA_CA_CERTS: in its children it is the
			// only one there is.
			f.Environment, f.Revision = map[string]string{"NODE_EXTRA_CA_CERTS": "/var/task/public.pem"}, "own"
			has(public, line(host, host, host, host, "[true,1]"), "[true,1]")
			has(aws, line(service, refused, service, refused, "[true,1]"), "[true,1]")
		})
	}
}
