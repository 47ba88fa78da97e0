package execenv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Bounds of the code that isOffline reads.
const (
	maxOfflineFiles = 20
	maxOfflineBytes = 256 << 10 // each
)

var errOnline = errors.New("it may connect")

// isOffline says whether JavaScript cannot make a TLS connection. Then its
// process need not load the module tls, to make it trust the local authority;
// with it Node.js parses all the roots that are built in. That is a quarter of
// what a small function's start costs, and a fifth of its memory.
//
// It says yes only when it is sure: every module that the code names is its
// own or one of Node.js's that does not connect, and nothing in it can name
// one in another way or reach a global that connects. Everything else is no,
// code that hides what it does above all.
func isOffline(dir string) bool {
	files := 0
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if files++; files > maxOfflineFiles || !d.Type().IsRegular() {
			return errOnline
		}
		if strings.HasSuffix(path, ".json") { // which Node.js parses and does not run
			return nil
		}
		if info, err := d.Info(); err != nil || info.Size() > maxOfflineBytes {
			return errOnline
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(dir, filepath.Dir(path))
		if err != nil || !offlineCode(string(text), folder) {
			return errOnline
		}
		return nil
	}) == nil
}

var (
	// What connects, what runs text as code, what leads to the loader of
	// modules, and ways to spell these words differently.
	suspicious = regexp.MustCompile(`fetch|WebSocket|EventSource|eval|Function|constructor|global|Reflect|[bB]inding|` +
		`getBuiltinModule|mainModule|Module|dlopen|WebAssembly|\\[ux]|_0x|\b(process|module|this|exports)\s*(\?\.)?\[|\]\s*(\?\.)?[\[(]`)
	anyModule  = regexp.MustCompile(`\brequire\b|\bimport\b|\bfrom\s*['"]`)
	goodModule = regexp.MustCompile(`\brequire\(\s*(?:'([^'"\n]+)'|"([^'"\n]+)")\s*\)|` +
		`\bimport\b[\w\s{},*$]*?\bfrom\s*(?:'([^'"\n]+)'|"([^'"\n]+)")`)
)

// Modules of Node.js that neither connect nor run code.
var offlineModules = []string{
	"assert", "async_hooks", "buffer", "crypto", "events", "fs", "fs/promises", "os", "path", "perf_hooks", "punycode", "querystring",
	"stream", "stream/promises", "string_decoder", "timers", "timers/promises", "url", "util", "zlib",
}

// offlineCode looks at one file, in a folder of the function.
func offlineCode(text, folder string) bool {
	if suspicious.MatchString(text) {
		return false
	}
	for _, m := range goodModule.FindAllStringSubmatch(text, -1) {
		if !offlineModule(strings.Join(m[1:], ""), folder) {
			return false
		}
	}
	return !anyModule.MatchString(goodModule.ReplaceAllString(text, ""))
}

func offlineModule(name, folder string) bool {
	if strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") {
		return filepath.IsLocal(filepath.Join(folder, name)) // which is looked at
	}
	return slices.Contains(offlineModules, strings.TrimPrefix(name, "node:"))
}
