package tree

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestView_LinksWhatFoldersHold(t *testing.T) {
	view := View{Name: "modules", Mounted: "/opt", Folders: []string{"new/m", "m"}}
	for _, tc := range []struct {
		name    string
		entries []entry
		want    string // empty: no view
	}{
		{
			"packages, scopes and files",
			[]entry{{name: "m/a/index.js", content: "1"}, {name: "m/@s/b/x/y.js", content: "1"}, {name: "m/file", content: "1"}, {name: "other/z", content: "1"}},
			"drwxr-xr-x . \ndrwxr-xr-x @s \nLrwxrwxrwx @s/b /opt/m/@s/b\nLrwxrwxrwx a /opt/m/a\nLrwxrwxrwx file /opt/m/file\n",
		},
		{
			"the first folder that has a name",
			[]entry{{name: "m/a/1", content: "1"}, {name: "new/m/a/2", content: "1"}, {name: "m/@s/b/1", content: "1"}, {name: "new/m/@s/b/2", content: "1"}, {name: "m/@s/c/1", content: "1"}},
			"drwxr-xr-x . \ndrwxr-xr-x @s \nLrwxrwxrwx @s/b /opt/new/m/@s/b\nLrwxrwxrwx @s/c /opt/m/@s/c\nLrwxrwxrwx a /opt/new/m/a\n",
		},
		{
			"a file that is called like a scope",
			[]entry{{name: "new/m/@s", content: "1"}, {name: "m/@s/b/1", content: "1"}, {name: "new/m/@t/b", content: "1"}, {name: "m/@t", content: "1"}},
			"drwxr-xr-x . \nLrwxrwxrwx @s /opt/new/m/@s\ndrwxr-xr-x @t \nLrwxrwxrwx @t/b /opt/new/m/@t/b\n",
		},
		{
			"a link is linked, whatever is where it leads",
			[]entry{{name: "real/1", content: "1"}, {name: "m/a", content: "../real", mode: fs.ModeSymlink}},
			"drwxr-xr-x . \nLrwxrwxrwx a /opt/m/a\n",
		},
		{"no such folder", []entry{{name: "mm/a", content: "1"}}, ""},
		{"a link to a folder is none", []entry{{name: "real/1", content: "1"}, {name: "m", content: "real", mode: fs.ModeSymlink}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, archives, _ := newCache(t, t.TempDir(), 0)
			c.cfg.Views = []View{view}
			dir, err := merged(t, c, archives, archiveOf(t, tc.entries...))
			if err != nil {
				t.Fatal(err)
			}
			got, links := "", filepath.Join(filepath.Dir(dir), view.Name)
			if _, err := os.Lstat(links); err == nil {
				got = describe(t, links)
			}
			if got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}
