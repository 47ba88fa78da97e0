package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"davy/internal/sandbox"
)

// machine is a directory that looks like a machine's control group file
// systems: making a group makes its files, as the kernel does.
type machine struct {
	t     *testing.T
	dir   string
	files map[string]map[string]string // hierarchy -> file -> content of a new group
}

func newMachine(t *testing.T, mountinfo, cgroup string, files map[string]map[string]string) *machine {
	m := &machine{t: t, dir: t.TempDir(), files: files}
	m.write("self/mountinfo", strings.ReplaceAll(mountinfo, "@", m.dir))
	m.write("self/cgroup", cgroup)
	return m
}

func (m *machine) write(rel, s string) {
	m.t.Helper()
	p := filepath.Join(m.dir, rel)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(s), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(rel string) string {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, rel))
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (m *machine) config() Config {
	return Config{Instance: "t", ProcSelf: filepath.Join(m.dir, "self"), mkdir: func(p string) error {
		if err := os.Mkdir(p, 0o755); err != nil {
			return err
		}
		rel, err := filepath.Rel(m.dir, p)
		if err != nil {
			return err
		}
		for name, content := range m.files[strings.Split(rel, "/")[0]] {
			m.write(filepath.Join(rel, name), content)
		}
		return nil
	}}
}

var v2Files = map[string]string{
	"cgroup.procs": "", "cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": "", "cgroup.kill": "", "cgroup.freeze": "0",
	"cgroup.events": "populated 1\nfrozen 1\n", "memory.max": "max", "memory.swap.max": "max", "memory.oom.group": "0",
	"memory.current": "1000\n", "memory.peak": "5000\n", "memory.events": "low 0\noom 2\noom_kill 2\n", "cpu.max": "max 100000", "cpu.weight": "100",
	"cpu.stat": "usage_usec 77\nuser_usec 7\n", "pids.max": "max",
}

// A distribution of today: version 2 only, controllers on at the top.
func v2Machine(t *testing.T) *machine {
	m := newMachine(t, "30 23 0:28 / @/fs rw,nosuid - cgroup2 cgroup2 rw\n", "0::/system.slice/davy.service\n", map[string]map[string]string{"fs": v2Files})
	for name, content := range v2Files {
		m.write("fs/system.slice/davy.service/"+name, content)
	}
	return m
}

func TestV2_SetsLimitsAndReadsUse(t *testing.T) {
	m := v2Machine(t)
	tree, err := Open(m.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tree.Missing() {
		if !strings.Contains(s, "device filter") && !strings.Contains(s, "memory peak") {
			t.Errorf("missing: %s", s)
		}
	}
	g, err := tree.New("box", sandbox.Limits{MemoryBytes: 64 << 20, CPUMilli: 250, PIDs: 9}, true)
	if err != nil {
		t.Fatal(err)
	}
	dir := "fs/system.slice/davy.service/davy-t/box/"
	for file, want := range map[string]string{
		"memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.max": "5000 20000", "pids.max": "9",
	} {
		if got := m.read(dir + file); got != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
	if err := g.Add(1234); err != nil || m.read(dir+"cgroup.procs") != "1234" {
		t.Errorf("add: %v", err)
	}
	u, err := g.Usage()
	if want := (sandbox.Usage{MemoryPeakBytes: 5000, MemoryBytes: 1000, CPUMicros: 77}); err != nil || u != want {
		t.Errorf("usage = %+v, %v", u, err)
	}
	if n := g.OOMKills(); n != 2 {
		t.Errorf("oom kills = %d", n)
	}
	if f, err := g.WatchOOM(); f != nil || err != nil {
		t.Errorf("watch: %v, %v; the kernel kills the group by itself", f, err)
	}
	if err := g.Freeze(); err != nil || m.read(dir+"cgroup.freeze") != "1" {
		t.Errorf("freeze: %v", err)
	}
	if err := g.Thaw(); err != nil || m.read(dir+"cgroup.freeze") != "0" {
		t.Errorf("thaw: %v", err)
	}
	g.Kill()
	if got := m.read(dir + "cgroup.kill"); got != "1" {
		t.Errorf("cgroup.kill = %q", got)
	}
	if err := g.Limit(sandbox.Limits{MemoryBytes: 1 << 30, CPUWeight: 1}); err != nil || m.read(dir+"memory.max") != "1073741824" || m.read(dir+"pids.max") != "9" || m.read(dir+"cpu.weight") != "1" {
		t.Errorf("a later limit: %v", err)
	}
}

// Older kernels lack files: peak, kill, oom.group, swap.
func TestV2_OldKernel(t *testing.T) {
	m := v2Machine(t)
	files := map[string]string{}
	for k, v := range v2Files {
		files[k] = v
	}
	for _, f := range []string{"memory.peak", "cgroup.kill", "memory.oom.group", "memory.swap.max"} {
		delete(files, f)
	}
	m.files["fs"] = files
	tree, err := Open(m.config())
	if err != nil {
		t.Fatal(err)
	}
	g, err := tree.New("box", sandbox.Limits{MemoryBytes: 64 << 20}, true)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := g.Usage(); err != nil || u.MemoryPeakBytes != 1000 {
		t.Errorf("usage = %+v, %v", u, err)
	}
	if err := g.ResetPeak(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reset peak: %v", err)
	}
}

// A login session's group has not all controllers: the top has.
func TestV2_GoesToTheTopForControllers(t *testing.T) {
	m := v2Machine(t)
	m.write("fs/system.slice/davy.service/cgroup.controllers", "memory pids\n")
	m.write("fs/cgroup.controllers", "cpuset cpu io memory pids\n")
	m.write("fs/cgroup.subtree_control", "memory pids\n")
	tree, err := Open(m.config())
	if err != nil {
		t.Fatal(err)
	}
	defer tree.lock.Close()
	if got := m.read("fs/cgroup.subtree_control"); got != "+cpu" {
		t.Errorf("enabled at the top: %q", got)
	}
	if !exists(filepath.Join(m.dir, "fs/davy-t/cgroup.procs")) {
		t.Error("the base group is not at the top")
	}
}

// A group with processes cannot hand controllers down.
func TestV2_MovesTheServicesIntoALeaf(t *testing.T) {
	m := v2Machine(t)
	own := "fs/system.slice/davy.service/"
	m.write(own+"cgroup.procs", "10\n11\n")
	// The fake cannot refuse the first write as the kernel does, so the file
	// is made unwritable: a directory.
	p := filepath.Join(m.dir, own, "cgroup.subtree_control")
	if err := os.Remove(p); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(m.config()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("open: %v", err)
	}
	if got := m.read(own + "davy-services/cgroup.procs"); got != "11" {
		t.Errorf("leaf has %q", got) // each write replaces the last in a plain file
	}
}

func v1Machine(t *testing.T, hybrid bool) *machine {
	mounts := "32 31 0:29 / @/cpu rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:32 / @/memory rw - cgroup cgroup rw,memory\n" +
		"36 31 0:33 / @/devices rw - cgroup cgroup rw,devices\n37 31 0:34 /docker/abc @/freezer rw - cgroup cgroup rw,freezer\n" +
		"39 31 0:36 / @/pids rw - cgroup cgroup rw,pids\n"
	groups := "8:pids:/\n6:freezer:/docker/abc\n5:devices:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n"
	if hybrid {
		mounts += "41 31 0:38 / @/unified rw - cgroup2 cgroup2 rw\n"
		groups += "0::/\n"
	}
	procs := map[string]string{"cgroup.procs": ""}
	with := func(v map[string]string) map[string]string {
		for k, c := range procs {
			v[k] = c
		}
		return v
	}
	m := newMachine(t, mounts, groups, map[string]map[string]string{
		"cpu":     with(map[string]string{"cpu.cfs_period_us": "", "cpu.shares": "1024", "cpu.cfs_quota_us": "", "cpuacct.usage": "5000\n"}),
		"memory":  with(map[string]string{"memory.limit_in_bytes": "", "memory.memsw.limit_in_bytes": "", "memory.usage_in_bytes": "10", "memory.max_usage_in_bytes": "20", "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"}),
		"devices": with(map[string]string{"devices.deny": "", "devices.allow": ""}),
		"freezer": with(map[string]string{"freezer.state": "THAWED"}),
		"pids":    with(map[string]string{"pids.max": ""}),
		"unified": with(map[string]string{"cgroup.kill": "", "cgroup.freeze": "", "cgroup.events": "frozen 1\n"}),
	})
	for _, d := range []string{"cpu", "memory/a/b", "devices", "freezer", "pids", "unified"} {
		m.write(d+"/cgroup.procs", "")
	}
	m.write("unified/cgroup.controllers", "hugetlb\n")
	return m
}

func TestV1_SetsLimitsAndReadsUse(t *testing.T) {
	for _, hybrid := range []bool{false, true} {
		t.Run(fmt.Sprintf("hybrid=%v", hybrid), func(t *testing.T) {
			m := v1Machine(t, hybrid)
			tree, err := Open(m.config())
			if err != nil {
				t.Fatal(err)
			}
			if v := tree.Missing(); len(v) != 0 {
				t.Errorf("missing: %q", v)
			}
			g, err := tree.New("box", sandbox.Limits{MemoryBytes: 64 << 20, CPUMilli: 10, PIDs: 9}, true)
			if err != nil {
				t.Fatal(err)
			}
			for file, want := range map[string]string{
				"memory/a/b/davy-t/box/memory.limit_in_bytes":       "67108864",
				"memory/a/b/davy-t/box/memory.memsw.limit_in_bytes": "67108864",
				"cpu/davy-t/box/cpu.cfs_quota_us":                   "1000", // the kernel's least
				"cpu/davy-t/box/cpu.cfs_period_us":                  "20000",
				"pids/davy-t/box/pids.max":                          "9",
				"devices/davy-t/box/devices.deny":                   "a",
				"devices/davy-t/box/devices.allow":                  "c 1:9 rw",
			} {
				if got := m.read(file); got != want {
					t.Errorf("%s = %q, want %q", file, got, want)
				}
			}
			u, err := g.Usage()
			if want := (sandbox.Usage{MemoryPeakBytes: 20, MemoryBytes: 10, CPUMicros: 5}); err != nil || u != want {
				t.Errorf("usage = %+v, %v", u, err)
			}
			if n := g.OOMKills(); n != 3 {
				t.Errorf("oom kills = %d", n)
			}
			if err := g.Freeze(); err != nil {
				t.Error(err)
			}
			file, want := "freezer/davy-t/box/freezer.state", "FROZEN"
			if hybrid {
				file, want = "unified/davy-t/box/cgroup.freeze", "1"
			}
			if got := m.read(file); got != want {
				t.Errorf("%s = %q, want %q", file, got, want)
			}
			if err := g.Limit(sandbox.Limits{CPUWeight: 50}); err != nil || m.read("cpu/davy-t/box/cpu.shares") != "512" {
				t.Errorf("weight: %v", err)
			}
			if err := g.ResetPeak(); err != nil || m.read("memory/a/b/davy-t/box/memory.max_usage_in_bytes") != "0" {
				t.Errorf("reset peak: %v", err)
			}
		})
	}
}

func TestOpen_SaysWhatIsMissing(t *testing.T) {
	m := newMachine(t, "35 31 0:32 / @/memory rw - cgroup cgroup rw,memory\n", "4:memory:/\n",
		map[string]map[string]string{"memory": {"cgroup.procs": ""}})
	m.write("memory/cgroup.procs", "")
	tree, err := Open(m.config())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tree.Missing(), "; "); !strings.Contains(got, "cpu") || !strings.Contains(got, "pids") || strings.Contains(got, "memory is") {
		t.Errorf("missing: %s", got)
	}
	none := newMachine(t, "", "", nil)
	if _, err := Open(none.config()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("no hierarchy: %v", err)
	}
}

// Who was tried from a shell, and is a service now, finds what the shell's left.
func TestV2_SweepsTheTop(t *testing.T) {
	m := v2Machine(t)
	m.write("fs/cgroup.controllers", "cpu memory pids\n")
	removed := map[string]bool{"fs/davy-dead": true, "fs/other": false, "fs/davy-services": false}
	for dir := range removed {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Open(m.config())
	if err != nil {
		t.Fatal(err)
	}
	defer tree.lock.Close()
	for dir, want := range removed {
		if got := !exists(filepath.Join(m.dir, dir)); got != want {
			t.Errorf("%s removed: %v", dir, got)
		}
	}
}

// A launcher that was killed and never starts again leaves groups; the next
// launcher on the machine removes them, and leaves those of living ones.
func TestOpen_SweepsDeadLaunchers(t *testing.T) {
	m := v2Machine(t)
	open := func(instance string) *Tree {
		t.Helper()
		c := m.config()
		c.Instance = instance
		tree, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	own := filepath.Join(m.dir, "fs/system.slice/davy.service")
	alive := open("alive")
	defer alive.lock.Close()
	dead := open("dead")
	if err := dead.lock.Close(); err != nil { // as the kernel does for a killed process
		t.Fatal(err)
	}
	busy := open("busy")
	if err := busy.lock.Close(); err != nil {
		t.Fatal(err)
	}
	m.write("fs/system.slice/davy.service/davy-busy/cgroup.procs", "1\n")
	removed := map[string]bool{"davy-dead": true}
	// The fake's groups hold files, which rmdir does not remove: what is
	// swept is seen by what rmdir would meet.
	for name := range removed {
		files, err := os.ReadDir(filepath.Join(own, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Name() != "cgroup.procs" {
				os.Remove(filepath.Join(own, name, f.Name()))
			}
		}
		os.Remove(filepath.Join(own, name, "cgroup.procs"))
	}
	next := open("next")
	defer next.lock.Close()
	for _, name := range []string{"davy-alive", "davy-dead", "davy-busy", "davy-next"} {
		if got := !exists(filepath.Join(own, name)); got != removed[name] {
			t.Errorf("%s removed: %v", name, got)
		}
	}
}
