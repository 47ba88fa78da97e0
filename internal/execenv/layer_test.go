package execenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		{"python3.13", "nodejs/node_modules", ""},
		{"provided.al2023", "nodejs/node_modules", ""},
	} {
		dir := t.TempDir()
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
