// Package internal_test keeps the shape of the tree: what may import what, and
// what may do what. Each rule carries its reason, which is what a failure says.
package internal_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath   string
	Dir          string
	Doc          string
	Standard     bool
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles,TestGoFiles,XTestGoFiles", "davy/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// within reports whether path is root or below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func withinAny(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return within(path, r) })
}

// layers says what each room may import of this module. A package takes the
// longest matching row. Everything may import the standard library.
var layers = []struct {
	room string
	may  []string
	why  string
}{
	{"davy/cmd", []string{"davy/internal/server", "davy/internal/demo", "davy/internal/doctor", "davy/internal/runtimes", "davy/internal/sandbox", "davy/internal/operator"}, "commands hold flags and signals; the parts are built in server"},
	{"davy/internal/server", []string{"davy"}, "server is the one place that joins the parts"},
	{"davy/internal/demo", []string{"davy/internal/sigv4"}, "the demo is a client: it must need nothing of the server's insides"},
	{"davy/internal/operator", []string{"davy/internal/awsapi", "davy/internal/sigv4"}, "the operator's API meets the parts through its own interface"},
	{"davy/internal/console", nil, "the console is a client of the APIs: it must need nothing of the server's insides"},
	{"davy/internal/doctor", []string{"davy/internal/sandbox", "davy/internal/runtimes"}, "the doctor looks at the machine, not at the services"},
	{"davy/internal/gateway", []string{"davy/internal/awsapi", "davy/internal/sigv4", "davy/internal/rawio"}, "the door knows protocols, not services"},
	{"davy/internal/gateway/localca", nil, "certificates concern nobody else"},
	{"davy/internal/awsapi", []string{"davy/internal/arn"}, "the wire protocols know no service"},
	{"davy/internal/awsgen", nil, "the generator reads models and writes Go"},
	{"davy/internal/sigv4", nil, "signatures are pure"},
	{"davy/internal/policy", []string{"davy/internal/arn"}, "the policy language is pure functions"},
	{"davy/internal/authz", []string{"davy/api", "davy/internal/awsapi", "davy/internal/policy", "davy/internal/arn"}, "decisions meet services only through interfaces"},
	{"davy/api", []string{"davy/internal/awsapi"}, "generated types stand on the protocol runtime alone"},
	{"davy/internal/arn", nil, "names are the bottom"},
	{"davy/internal/rawio", nil, "reading and writing know nothing of what is read"},
	{"davy/internal/state", []string{"davy/internal/state"}, "storage knows no service"},
	{"davy/internal/blob", []string{"davy/internal/blob"}, "storage knows no service"},
	{"davy/internal/sandbox", []string{"davy/internal/sandbox"}, "the launcher is privileged: the less it links, the better"},
	{"davy/internal/runtimes", nil, "a catalogue is data"},
	{"davy/internal/metrics", nil, "numbers know nothing of what they count"},
	{"davy/internal/egress", nil, "what is reached is decided by the policy alone, not by who asks"},
	{"davy/internal/execenv", []string{"davy/internal/execenv", "davy/internal/sandbox", "davy/internal/runtimes", "davy/internal/rawio"}, "environments stand on the sandbox and the catalogue"},
	{"davy/internal/iam", []string{"davy/api", "davy/internal/awsapi", "davy/internal/policy", "davy/internal/sigv4", "davy/internal/state", "davy/internal/arn"}, "services never import each other"},
	{"davy/internal/s3", []string{"davy/api", "davy/internal/awsapi", "davy/internal/policy", "davy/internal/state", "davy/internal/blob", "davy/internal/arn", "davy/internal/s3"}, "services never import each other"},
	{"davy/internal/logs", []string{"davy/api", "davy/internal/awsapi", "davy/internal/state", "davy/internal/execenv", "davy/internal/arn", "davy/internal/logs"}, "services never import each other; the sink speaks execenv's terms"},
	{"davy/internal/lambda", []string{"davy/api", "davy/internal/awsapi", "davy/internal/policy", "davy/internal/state", "davy/internal/blob", "davy/internal/execenv", "davy/internal/arn", "davy/internal/lambda"}, "services never import each other"},
	{"davy/internal/invoke", []string{"davy/api", "davy/internal/awsapi", "davy/internal/state", "davy/internal/execenv", "davy/internal/arn"}, "the data plane meets the control plane through its own interface"},
	{"davy/test", []string{"davy"}, "tests may start anything"},
}

func TestImports_PointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		row := -1
		for i, l := range layers {
			if within(p.ImportPath, l.room) && (row < 0 || len(l.room) > len(layers[row].room)) {
				row = i
			}
		}
		if row < 0 {
			if p.ImportPath != "davy/internal" {
				t.Errorf("%s has no row in the table: decide what it may import", p.ImportPath)
			}
			continue
		}
		l := layers[row]
		for _, imp := range p.Imports {
			if within(imp, "davy") && !withinAny(imp, l.may) && !within(imp, l.room) {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, l.why)
			}
		}
	}
}

// bans are imports that only some rooms may have.
var bans = []struct {
	imports string
	allowed []string
	why     string
}{
	{"modernc.org/sqlite", []string{"davy/internal/state/sqlite", "davy/test/crash"}, "only state touches a database"},
	{"database/sql", []string{"davy/internal/state/sqlite", "davy/test/crash"}, "only state touches a database"},
	{"os/exec", []string{"davy/internal/sandbox", "davy/test", "davy/cmd/davy"}, "only the sandbox starts processes (and the demo, its server)"},
	{"github.com/aws", nil, "AWS's SDKs are clients for test/sdk, never part of the product"},
	{"github.com/vishvananda/netlink", []string{"davy/internal/sandbox"}, "only the launcher configures the network"},
	{"unsafe", []string{"davy/internal/sandbox", "davy/internal/rawio"}, "raw system calls belong to the launcher, and to the one room for reads and writes that cannot block"},
	{"math/rand", nil, "identifiers and tokens come from crypto/rand; elsewhere use math/rand/v2"},
}

func TestImports_Banned(t *testing.T) {
	for _, p := range packages(t) {
		for _, b := range bans {
			for _, imp := range p.Imports {
				exact := b.imports == "math/rand"
				if (imp == b.imports || (!exact && within(imp, b.imports))) && !withinAny(p.ImportPath, b.allowed) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imp, b.why)
				}
			}
		}
	}
}

func TestPackages_HaveDocComments(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment: say what it is, for whom, and its invariant", p.ImportPath)
		}
	}
}

// contextRoots may make a context of their own: a process starts there.
var contextRoots = []string{"davy/cmd", "davy/test", "davy/internal/awsgen", "davy/internal/authz/gen", "davy/internal/sandbox"}

func TestSources_TakeTheirContext(t *testing.T) {
	for _, p := range packages(t) {
		if withinAny(p.ImportPath, contextRoots) {
			continue
		}
		for _, f := range p.GoFiles {
			scan(t, filepath.Join(p.Dir, f), func(n int, line string) {
				code, _, _ := strings.Cut(line, "//")
				if strings.Contains(code, "context.Background()") || strings.Contains(code, "context.TODO()") {
					t.Errorf("%s/%s:%d makes its own context: take the caller's, so that work ends with its owner", p.ImportPath, f, n)
				}
			})
		}
	}
}

// maxLines is a hard look, not a law: a file that needs more names why here.
const maxLines = 700

var longFiles = map[string]string{}

func TestSources_AreShort(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			if strings.HasSuffix(f, ".gen.go") || longFiles[p.ImportPath+"/"+f] != "" {
				continue
			}
			lines := 0
			scan(t, filepath.Join(p.Dir, f), func(int, string) { lines++ })
			if lines > maxLines {
				t.Errorf("%s/%s has %d lines: is there one idea in it?", p.ImportPath, f, lines)
			}
		}
	}
}

func TestNames_NoDrawers(t *testing.T) {
	for _, p := range packages(t) {
		for _, part := range strings.Split(p.ImportPath, "/") {
			if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "manager", "base", "misc"}, part) {
				t.Errorf("%s: a package is named for what it holds, not %q", p.ImportPath, part)
			}
		}
	}
}

func scan(t *testing.T, path string, line func(n int, text string)) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		line(n, s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
