package execenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"davy/internal/sandbox"
)

func TestLayerModules(t *testing.T) {
	for _, tc := range []struct {
		runtime, folders, want string
	}{
		{"nodejs22.x", "nodejs/node_modules", "nodejs/node_modules"},
		{"nodejs22.x", "nodejs/node22/node_modules", "nodejs/node22/node_modules"},
		{"nodejs22.x", "nodejs/node22/node_modules nodejs/node_modules", "nodejs/node22/node_modules"},
		{"nodejs24.x", "nodejs/node22/node_modules", ""},
		{"nodejs24.x", "nodejs/node22/node_modules nodejs/node_modules", "nodejs/node_modules"},
		{"nodejs22.x", "node_modules python", ""},
		{"nodejs24.x", "../modules-nodejs24 nodejs/node_modules", "../modules-nodejs24"},
		{"nodejs22.x", "../modules-nodejs24 nodejs/node_modules", "nodejs/node_modules"},
		{"python3.13", "../modules-nodejs24 nodejs/node_modules", ""},
		{"provided.al2023", "nodejs/node_modules", ""},
	} {
		dir := filepath.Join(t.TempDir(), "code")
		for f := range strings.FieldsSeq(tc.folders) {
			if err := os.MkdirAll(filepath.Join(dir, f), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		want := ""
		if tc.want != "" {
			want = filepath.Join(dir, tc.want)
		}
		if got := layerModules(dir, tc.runtime); got != want {
			t.Errorf("%s with %s: %q, want %q", tc.runtime, tc.folders, got, want)
		}
	}
}

func TestBringsLibraries(t *testing.T) {
	for _, tc := range []struct {
		code, layers string
		want         bool
	}{
		{"", "", false},
		{"lib/app.js lib/so.js x.so", "bin/tool nodejs/node_modules/p/lib/p.so", false},
		{"lib/libx.so", "", true},
		{"", "lib/libx.so.1.2", true},
	} {
		var mounts []sandbox.Mount
		for target, files := range map[string]string{"/var/task": tc.code, "/opt": tc.layers} {
			dir := t.TempDir()
			for f := range strings.FieldsSeq(files) {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			mounts = append(mounts, sandbox.Mount{Source: dir, Target: target})
		}
		if got := bringsLibraries(mounts); got != tc.want {
			t.Errorf("code %q, layers %q: %v", tc.code, tc.layers, got)
		}
	}
}

// Python finds the packages of layers in AWS's folders and order: the
// function's own first, then site-packages, then the layer's python folder.
func TestSandboxed_PythonLayer(t *testing.T) {
	b := newSandboxedBench(t, nil)
	for _, runtime := range pythons(t) {
		site := "python/lib/" + runtime + "/site-packages/"
		layer := b.function(map[string]string{
			"python/top.py": "where = 'top'", "python/own.py": "where = 'top'", "python/deep.py": "where = 'top'",
			site + "deep.py": "where = 'site'", "python/lib/python2.7/site-packages/other.py": "",
		})
		f := b.function(map[string]string{"own.py": "where = 'own'", "app.py": `
import top, own, deep
def handler(e, c):
    try:
        import other
    except ImportError:
        return [top.where, own.where, deep.where]`})
		f.Runtime, f.Handler = runtime, "app.handler"
		f.Layers, f.ARN = []string{layer.CodeSHA256}, f.ARN+runtime
		if got := answer(b.invoke(f, `{}`)); got != `["top", "own", "site"]` {
			t.Errorf("%s answered %s", runtime, got)
		}
	}
}
