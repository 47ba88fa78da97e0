package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// CgroupsPath names the group as an OCI runtime wants it in config.json. A
// runtime takes a relative path below its own group in each version 1
// hierarchy, and that is where the groups of its parent, this process, are. In
// version 2 the path is absolute from the mount on.
func (g *Group) CgroupsPath() (string, error) {
	var base, name string
	for _, dir := range g.dir {
		base, name = filepath.Base(filepath.Dir(dir)), filepath.Base(dir)
	}
	if !g.t.v2 {
		return filepath.Join(base, name), nil
	}
	l, err := detect("/proc/self")
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(l.v2.mount, g.dir[""])
	if err != nil {
		return "", fmt.Errorf("cgroup: %w", err)
	}
	return "/" + rel, nil
}

// SweepOthers removes the groups that OCI runtimes have made in version 1
// hierarchies which this package does not use: this launcher's, and those of
// launchers of which nothing else is left. Groups that have a process stay.
func (t *Tree) SweepOthers() {
	if t.v2 {
		return
	}
	ours := map[string]bool{}
	for _, dir := range t.base {
		ours[filepath.Dir(dir)] = true
	}
	self := filepath.Base(t.lockDir())
	for _, h := range allV1() {
		if ours[h.own()] {
			continue
		}
		entries, err := os.ReadDir(h.own())
		if err != nil {
			continue
		}
		for _, e := range entries {
			lives := e.Name() != self && exists(filepath.Join(filepath.Dir(t.lockDir()), e.Name()))
			if !e.IsDir() || !strings.HasPrefix(e.Name(), "davy-") || e.Name() == servicesLeaf || lives {
				continue
			}
			base := filepath.Join(h.own(), e.Name())
			groups, _ := filepath.Glob(filepath.Join(base, "*", "cgroup.procs"))
			for _, g := range groups {
				_ = unix.Rmdir(filepath.Dir(g))
			}
			_ = unix.Rmdir(base)
		}
	}
}

// allV1 are the mounted version 1 hierarchies, whatever their controllers.
func allV1() []hierarchy {
	groups, _ := os.ReadFile("/proc/self/cgroup")
	paths := map[string]string{}
	for line := range strings.Lines(string(groups)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			for c := range strings.SplitSeq(f[1], ",") {
				paths[c] = f[2]
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	var v []hierarchy
	for line := range strings.Lines(string(mounts)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 || g[0] != "cgroup" {
			continue
		}
		for o := range strings.SplitSeq(g[2], ",") {
			if p, ok := paths[o]; ok {
				v = append(v, hierarchy{mount: unescape(f[4]), root: unescape(f[3]), path: p})
				break
			}
		}
	}
	return v
}
