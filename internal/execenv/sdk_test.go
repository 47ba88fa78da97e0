package execenv

import (
	"fmt"
	"net"
	"net/http"
	"testing"
)

// The SDKs that the runtimes carry reach the door through AWS's host names
// over TLS, whichever way a function gets at them.
func TestSDK_ReachesTheDoor(t *testing.T) {
	ca := newAuthority(t, "*.s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com", "*.eu-west-1.amazonaws.com")
	door := newHTTPDoor(t, ca, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, `<ListBucketResult><Name>%s</Name></ListBucketResult>`, r.Host)
	})
	store := openStore(t, ca.pem)
	const v3 = `async () => (await new S3Client({}).send(new ListObjectsV2Command({ Bucket: "pictures" }))).Name`
	for name, files := range map[string]map[string]string{
		"v2": {"index.js": toDoor + `const { S3 } = require("aws-sdk");
			const call = async () => (await new S3().listObjectsV2({ Bucket: "pictures" }).promise()).Name;` + callDoor("exports.handler =")},
		"v3 require": {"index.js": toDoor + `const { S3Client, ListObjectsV2Command } = require("@aws-sdk/client-s3");
			const call = ` + v3 + `;` + callDoor("exports.handler =")},
		"v3 import": {"index.mjs": `import { createRequire } from "module"; const require = createRequire(import.meta.url);` + toDoor + `
			import { S3Client, ListObjectsV2Command } from "@aws-sdk/client-s3";
			const call = ` + v3 + `;` + callDoor("export const handler =")},
	} {
		for _, rt := range allRuntimes {
			t.Run(name+"/"+rt, func(t *testing.T) {
				l, err := store.Launch(t.Context(), rt)
				if err != nil || !l.HasSDK {
					t.Skipf("the runtime or the SDKs are not installed: set DAVY_FETCHED_RUNTIMES (%v)", err)
				}
				b := newBench(t, func(c *Config) {
					c.Runtimes, c.TrustCA, c.Door = store, true, door
					c.Credentials = sessionOf(Credentials{AccessKeyID: "ASIA", SecretAccessKey: "s", SessionToken: "t"})
				})
				f := b.function(files)
				f.Runtime = rt
				b.invoke(f, `{}`)
				port := b.envs.fleets[f.ARN+" $LATEST"].idle[0].current.Load().addrs[listenHTTPS].(*net.TCPAddr).Port
				if got, want := answer(b.invoke(f, fmt.Sprintf(`{"door":%d}`, port))), `"pictures.s3.eu-west-1.amazonaws.com"`; got != want {
					t.Errorf("answered %s, want %s\n%q", got, want, b.logs.all())
				}
			})
		}
	}
}

func callDoor(export string) string {
	return export + ` async (e) => { door = e.door; return door ? await call() : null };`
}

func TestSDK_OwnCopyWins(t *testing.T) {
	store := openStore(t, nil)
	for _, rt := range allRuntimes {
		t.Run(rt, func(t *testing.T) {
			l, err := store.Launch(t.Context(), rt)
			if err != nil || !l.HasSDK {
				t.Skipf("the runtime or the SDKs are not installed: set DAVY_FETCHED_RUNTIMES (%v)", err)
			}
			b := newBench(t, func(c *Config) { c.Runtimes = store })
			f := b.function(map[string]string{
				"index.mjs": `import aws from "aws-sdk"; import { v } from "@aws-sdk/client-s3"; import * as sqs from "@aws-sdk/client-sqs";
					export const handler = async () => [aws.v, v, typeof sqs.SQSClient]`,
				"node_modules/aws-sdk/index.js":                  `exports.v = "mine"`,
				"node_modules/@aws-sdk/client-s3/index.js":       `exports.v = "mine too"`,
				"node_modules/@aws-sdk/client-s3/package.json":   `{"main":"index.js"}`,
				"node_modules/@aws-sdk/client-s3/lib/ignored.js": ``,
			})
			f.Runtime = rt
			if got, want := answer(b.invoke(f, `{}`)), `["mine","mine too","function"]`; got != want {
				t.Errorf("answered %s, want %s", got, want)
			}
		})
	}
}

func TestLayer_ModulesComeBeforeTheSDKs(t *testing.T) {
	b := newBench(t, nil)
	layer := b.function(map[string]string{
		"nodejs/node_modules/aws-sdk/index.js": `exports.v = "of the layer"`,
		"data.txt":                             "hello",
	})
	for _, code := range []string{
		`import aws from "aws-sdk"; import fs from "fs"; export const handler = async () => [aws.v, fs.readFileSync("/opt/data.txt", "utf8")]`,
		`const aws = require("aws-sdk"), fs = require("fs"); exports.handler = async () => [aws.v, fs.readFileSync("/opt/data.txt", "utf8")]`,
	} {
		file := "index.js"
		if code[0] == 'i' {
			file = "index.mjs"
		}
		for _, rt := range allRuntimes {
			f := b.function(map[string]string{file: code})
			f.Runtime, f.Layers = rt, []string{layer.CodeSHA256}
			if got, want := answer(b.invoke(f, `{}`)), `["of the layer","hello"]`; got != want {
				t.Errorf("%s in %s answered %s, want %s", file, rt, got, want)
			}
		}
	}
}
