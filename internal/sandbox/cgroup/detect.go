package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// hierarchy is a mounted cgroup file system.
type hierarchy struct {
	mount string // where
	root  string // which part of the hierarchy is mounted there
	path  string // of this process, in the hierarchy
}

// own is the directory of this process's group.
func (h hierarchy) own() string {
	rel, ok := strings.CutPrefix(h.path, strings.TrimSuffix(h.root, "/"))
	if !ok || strings.HasPrefix(rel, "/..") {
		rel = "" // outside of what is mounted: the top is the best guess
	}
	return filepath.Join(h.mount, rel)
}

func (h hierarchy) has(controller string) bool {
	return has(readFields(filepath.Join(h.own(), "cgroup.controllers")), controller) ||
		has(readFields(filepath.Join(h.mount, "cgroup.controllers")), controller)
}

type layout struct {
	v1 map[string]hierarchy // by controller
	v2 *hierarchy
}

// the version 1 controllers that are used where mounted
var v1Controllers = []string{"memory", "cpu", "cpuacct", "pids", "freezer", "devices"}

// detect reads which hierarchies are mounted and where this process is.
func detect(procSelf string) (layout, error) {
	mounts, err := os.ReadFile(filepath.Join(procSelf, "mountinfo"))
	if err != nil {
		return layout{}, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	groups, err := os.ReadFile(filepath.Join(procSelf, "cgroup"))
	if err != nil {
		return layout{}, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	paths := map[string]string{} // controller -> path; "" is version 2
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			paths[c] = f[2]
		}
	}
	l := layout{v1: map[string]hierarchy{}}
	for line := range strings.Lines(string(mounts)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 {
			continue
		}
		h := hierarchy{mount: unescape(f[4]), root: unescape(f[3])}
		switch g[0] {
		case "cgroup2":
			if p, ok := paths[""]; ok && l.v2 == nil {
				h.path = p
				l.v2 = &h
			}
		case "cgroup":
			options := strings.Split(g[2], ",")
			for _, c := range v1Controllers {
				if _, seen := l.v1[c]; has(options, c) && !seen {
					h.path = paths[c]
					l.v1[c] = h
				}
			}
		}
	}
	return l, nil
}

// unescape undoes mountinfo's octal escapes.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
