package execenv

import (
	"os"
	"path/filepath"
	"strings"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
)

// layerModules is the folder in which the modules of a Node.js function's
// layers are found: it is mounted where the search comes after the function's
// own node_modules, and before the SDKs. Empty: there is none.
//
// It is the view of links into /opt that the code source has beside the layers,
// so that a module has one path, AWS's, however it is found; or else one of the
// layers' folders.
// https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html
func layerModules(layers, runtime string) string {
	version, node := strings.CutPrefix(runtime, runtimes.NodeJS)
	if !node {
		return ""
	}
	major, _, _ := strings.Cut(version, ".")
	candidates := []string{filepath.Join(filepath.Dir(layers), runtimes.ModulesView(major))}
	for _, folder := range runtimes.LayerModules(major) {
		candidates = append(candidates, filepath.Join(layers, folder))
	}
	for _, modules := range candidates {
		if info, err := os.Lstat(modules); err == nil && info.IsDir() {
			return modules
		}
	}
	return ""
}

// bringsLibraries tells whether a function has shared libraries where the
// loader looks for them by LD_LIBRARY_PATH, in a folder that a runtime of the
// pool did not have when it started. The loader remembers which of its folders
// are missing and never looks again, so such a function boots its own.
// (/var/task itself is always there.)
func bringsLibraries(mounts []sandbox.Mount) bool {
	for _, m := range mounts {
		if m.Target != runtimes.TaskRoot && m.Target != runtimes.LayerDir {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(m.Source, "lib"))
		if err != nil {
			continue // it has none
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".so") || strings.Contains(e.Name(), ".so.") {
				return true
			}
		}
	}
	return false
}
