package execenv

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"davy/internal/runtimes"
)

// Variables that the AWS SDK reads when it is imported. A function that sets
// one gets a runtime without it.
var sdkVariables = []string{"AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA", "AWS_LAMBDA_BENCHMARK_MODE"}

// kindOf is the kind of spare that fits a function. It fits none when its
// process must be started with settings of its own.
func (es *Environments) kindOf(f Function, l runtimes.Launch, codeDir string) (kind, bool) {
	if l.Runtime.Custom() || len(startSettings(f)) > 0 {
		return kind{}, false
	}
	k := plainKind(l, f.MemoryMB)
	if f.EphemeralMB != usualTmpMB {
		k.tmpMB = f.EphemeralMB
	}
	needs := es.needs(f, l, codeDir)
	k.sdk = hasPreload(l) && needs.sdk
	for _, name := range sdkVariables {
		if _, set := f.Environment[name]; set {
			k.sdk = false
		}
	}
	k.tls = needs.tls && !k.sdk
	return k, true
}

// needs tells what of the runtime a function's code may use.
func (es *Environments) needs(f Function, l runtimes.Launch, codeDir string) codeNeeds {
	if l.Runtime.Family != runtimes.NodeJS {
		return codeNeeds{}
	}
	n := es.imports.of(f.CodeSHA256, codeDir)
	n.tls = es.cfg.TrustCA && (n.tls || len(f.Layers) > 0)
	return n
}

// plainKind is the kind for functions of a runtime that need nothing special.
func plainKind(l runtimes.Launch, memoryMB int) kind {
	k := kind{runtime: l.Runtime.Name}
	if l.Runtime.Family == runtimes.NodeJS {
		k.memoryMB = memoryMB
	}
	return k
}

// hasPreload says whether there is something to import before there is a
// function.
func hasPreload(l runtimes.Launch) bool { return l.HasSDK && l.Runtime.Family == runtimes.NodeJS }

// codeNeeds is what code may use of its runtime.
type codeNeeds struct {
	sdk bool // the runtime's AWS SDK, probably
	tls bool // TLS connections; false only when it cannot
}

// importTable remembers what code needs. Safe for concurrent use.
type importTable struct {
	mu    sync.Mutex
	codes map[string]codeNeeds // by the hash of the code
}

const maxImportTable = 10_000

func (t *importTable) of(sha, dir string) codeNeeds {
	t.mu.Lock()
	n, known := t.codes[sha]
	t.mu.Unlock()
	if known {
		return n
	}
	n = codeNeeds{sdk: usesSDK(dir), tls: !isOffline(dir)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.codes == nil || len(t.codes) >= maxImportTable {
		t.codes = map[string]codeNeeds{}
	}
	t.codes[sha] = n
	return n
}

// Bounds of what usesSDK reads.
const (
	maxScanned     = 50
	maxScannedFile = 1 << 20
)

// usesSDK guesses whether code imports the runtime's AWS SDK: one of its own
// modules, at the top or one folder below, names it, and it brings no copy. A
// wrong guess costs time or memory and changes nothing else.
func usesSDK(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@aws-sdk")); err == nil {
		return false
	}
	left := maxScanned
	return namesSDK(dir, 1, &left)
}

func namesSDK(dir string, depth int, left *int) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && depth > 0 && e.Name() != "node_modules":
			if namesSDK(path, depth-1, left) {
				return true
			}
		case e.Type().IsRegular() && isModule(e.Name()):
			if *left--; *left < 0 {
				return false
			}
			if fileNames(path, []byte(runtimes.SDKScope)) {
				return true
			}
		}
	}
	return false
}

func isModule(name string) bool {
	return strings.HasSuffix(name, ".js") || strings.HasSuffix(name, ".mjs") || strings.HasSuffix(name, ".cjs")
}

// fileNames says whether the beginning of a file holds the words.
func fileNames(path string, words []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxScannedFile))
	return err == nil && bytes.Contains(text, words)
}
