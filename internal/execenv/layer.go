package execenv

import (
	"os"
	"path/filepath"
	"strings"

	"davy/internal/runtimes"
)

// layerModules is the folder of a Node.js function's layers in which import
// finds packages: it is mounted where the search comes after the function's own
// node_modules, and before the SDKs. require finds those of both folders, by
// NODE_PATH. Empty: there is none.
// https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html
func layerModules(layers, runtime string) string {
	version, node := strings.CutPrefix(runtime, runtimes.NodeJS)
	if !node {
		return ""
	}
	major, _, _ := strings.Cut(version, ".")
	for _, folder := range []string{"nodejs/node" + major, "nodejs"} {
		modules := filepath.Join(layers, folder, "node_modules")
		if info, err := os.Lstat(modules); err == nil && info.IsDir() {
			return modules
		}
	}
	return ""
}
