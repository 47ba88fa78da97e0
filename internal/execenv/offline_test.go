package execenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOfflineCodeIsKnownOnlyWhenItIsSure(t *testing.T) {
	for _, c := range []struct {
		name    string
		offline bool
		files   map[string]string
	}{
		{"nothing is used", true, map[string]string{"index.js": `exports.handler = async (event) => event;`}},
		{"modules that do not connect", true, map[string]string{
			"index.js":     `const { join } = require("node:path"); const u = require('./lib/u.js'); exports.handler = (e) => u(join(e.a, 'b'));`,
			"lib/u.js":     `const v = require('../v'); module.exports = (s) => v + s;`,
			"v.js":         `module.exports = 'v';`,
			"package.json": `{"dependencies": {"https": "1"}}`,
		}},
		{"an ES module", true, map[string]string{"index.mjs": "import { readFile as read } from 'node:fs/promises';\nimport * as os from \"os\";\nexport const handler = async () => os.arch();"}},
		{"https", false, map[string]string{"index.js": `require('https').get('https://a/')`}},
		{"https, imported", false, map[string]string{"index.mjs": `import https from 'node:https'`}},
		{"https, only for its effects", false, map[string]string{"index.mjs": `import 'node:https'`}},
		{"https, from another file", false, map[string]string{"index.js": `require('./a')`, "a.js": `module.exports = require("https")`}},
		{"https, exported from there", false, map[string]string{"index.mjs": `export * from 'node:https'`}},
		{"https, without a suffix", false, map[string]string{"index.js": `require('./a')`, "a": `require("https")`}},
		{"https, imported late", false, map[string]string{"index.js": `exports.handler = () => import('https')`}},
		{"a name that is computed", false, map[string]string{"index.js": `require('ht' + 'tps')`}},
		{"a template", false, map[string]string{"index.js": "require(`https`)"}},
		{"require by another name", false, map[string]string{"index.js": `const r = require; r('ht' + 'tps')`}},
		{"require, reached otherwise", false, map[string]string{"index.js": `module['req' + 'uire']('ht' + 'tps')`}},
		{"an escape", false, map[string]string{"index.js": `\u0066etch('https://a/')`}},
		{"fetch", false, map[string]string{"index.js": `exports.handler = () => fetch('https://a/')`}},
		{"fetch, reached otherwise", false, map[string]string{"index.js": `exports.handler = () => globalThis['fet' + 'ch']('https://a/')`}},
		{"text as code", false, map[string]string{"index.js": `new Function('return fet' + 'ch')()`}},
		{"the constructor of functions", false, map[string]string{"index.js": `(() => 0)['con' + 'structor']('return fet' + 'ch')()`}},
		{"obfuscated", false, map[string]string{"index.js": `var _0x1a=['\x68'];`}},
		{"a package", false, map[string]string{"index.js": `require('axios')`, "node_modules/axios/index.js": ``}},
		{"the SDK", false, map[string]string{"index.js": `const { S3Client } = require('@aws-sdk/client-s3')`}},
		{"another process", false, map[string]string{"index.js": `require('child_process')`}},
		{"out of its folder", false, map[string]string{"index.js": `require('../runtime/node_modules/axios')`}},
		{"too long to look at", false, map[string]string{"index.js": strings.Repeat(" ", maxOfflineBytes+1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := isOffline(dir); got != c.offline {
				t.Errorf("isOffline = %v", got)
			}
		})
	}
	t.Run("a link", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink("/etc/passwd", filepath.Join(dir, "index.js")); err != nil {
			t.Fatal(err)
		}
		if isOffline(dir) {
			t.Error("a link was trusted")
		}
	})
}
