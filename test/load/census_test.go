package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"davy/test/davytest"
)

// census is what a server holds of the machine.
type census struct {
	Processes  int
	Namespaces int // of networks
	Cgroups    int
	Mounts     int
	Loops      int // devices on its files
	Files      int // in its data directory, without what it stores and caches

	// Of a running server.
	ServerFiles, LauncherFiles, SupervisorFiles int // descriptors, without databases
	Goroutines                                  int // of the server
	Environments                                int
}

// none is what a server leaves that has ended.
func (c census) none() bool {
	return c.Processes+c.Namespaces+c.Cgroups+c.Mounts+c.Loops == 0
}

// holds says whether nothing has grown. What is held for a while after it was
// used may have become less.
func (c census) holds(now census) bool {
	return now.Environments <= c.Environments && now.Processes <= c.Processes && now.Namespaces <= c.Namespaces &&
		now.Cgroups <= c.Cgroups && now.Mounts <= c.Mounts && now.Loops <= c.Loops && now.Files <= c.Files &&
		now.ServerFiles <= c.ServerFiles && now.LauncherFiles <= c.LauncherFiles &&
		now.SupervisorFiles <= c.SupervisorFiles && now.Goroutines <= c.Goroutines
}

// mark is what names of a server's groups have in them.
func mark(data string) string {
	sum := sha256.Sum256([]byte(data))
	return "davy-" + hex.EncodeToString(sum[:6])
}

// process is one of the machine's.
type process struct {
	pid, parent int
	args        string
	groups      string
}

// processesOf finds what belongs to a server: by its control groups, by its
// program, which no other server of these tests has, and by who started it.
func processesOf(s *davytest.Server) []process {
	entries, _ := os.ReadDir("/proc")
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			all = append(all, p)
		}
	}
	mine := map[int]bool{}
	for _, p := range all {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid))
		mine[p.pid] = strings.TrimSuffix(exe, " (deleted)") == s.Bin || strings.Contains(p.groups, mark(s.Data))
	}
	for again := true; again; {
		again = false
		for _, p := range all {
			if mine[p.parent] && !mine[p.pid] {
				mine[p.pid], again = true, true
			}
		}
	}
	return slices.DeleteFunc(all, func(p process) bool { return !mine[p.pid] })
}

// readProcess reads one that has not ended: who waits for the others is not a
// server's business once it is gone.
func readProcess(pid int) (process, bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return process{}, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	parent, _ := strconv.Atoi(fields[1])
	args, _ := os.ReadFile(dir + "cmdline")
	groups, _ := os.ReadFile(dir + "cgroup")
	return process{pid, parent, string(bytes.ReplaceAll(args, []byte{0}, []byte(" "))), string(groups)}, true
}

// roles finds the three processes of a running server.
func roles(s *davytest.Server) (supervisor, server, launcher process, err error) {
	for _, p := range processesOf(s) {
		switch {
		case p.pid == s.PID():
			supervisor = p
		case p.parent != s.PID():
		case strings.HasSuffix(strings.TrimSpace(p.args), " server"):
			server = p
		default:
			launcher = p
		}
	}
	if supervisor.pid == 0 || server.pid == 0 || launcher.pid == 0 {
		err = fmt.Errorf("supervisor %d, server %d, launcher %d", supervisor.pid, server.pid, launcher.pid)
	}
	return supervisor, server, launcher, err
}

// links are the targets of a process's descriptors.
func links(pid int) (targets []string) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			targets = append(targets, target)
		}
	}
	return targets
}

// count takes a census. A server that does not run has no descriptors.
func count(s *davytest.Server) (census, error) {
	var c census
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return c, err
	}
	all := processesOf(s)
	namespaces := map[string]bool{}
	for _, p := range all {
		c.Processes++
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid)); err == nil && ns != host {
			namespaces[ns] = true
		}
		for _, target := range links(p.pid) {
			if strings.HasPrefix(target, "net:[") && target != host {
				namespaces[target] = true
			}
		}
	}
	mounts := []string{"/proc/self/mountinfo"}
	if s.PID() != 0 {
		supervisor, server, launcher, err := roles(s)
		if err != nil {
			return c, err
		}
		c.SupervisorFiles, c.LauncherFiles = len(links(supervisor.pid)), len(links(launcher.pid))
		// Databases have as many connections as were needed at once, and close
		// them when they please.
		c.ServerFiles = len(slices.DeleteFunc(links(server.pid), func(target string) bool {
			return strings.HasPrefix(target, s.Data) && strings.Contains(target, ".db")
		}))
		mounts = append(mounts, fmt.Sprintf("/proc/%d/mountinfo", launcher.pid))
		if c.Goroutines, err = metric(s, "go_goroutines"); err != nil {
			return c, err
		}
		if c.Environments, err = metric(s, "davy_environments"); err != nil {
			return c, err
		}
	}
	seen := map[string]bool{}
	for _, file := range mounts {
		text, err := os.ReadFile(file)
		if err != nil {
			return c, err
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, filepath.Dir(s.Data)) || strings.Contains(line, mark(s.Data)) {
				seen[line] = true
			}
		}
	}
	c.Namespaces, c.Mounts = len(namespaces), len(seen)
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range backing {
		if text, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(text), filepath.Dir(s.Data)) {
			c.Loops++
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, mark(s.Data)) {
			c.Cgroups++
		}
		return nil // groups come and go
	})
	err = filepath.WalkDir(s.Data, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(s.Data, path)
		switch {
		case err != nil:
			return nil // files come and go
		case slices.Contains([]string{"logs", "objects", "packages", "code"}, name):
			return fs.SkipDir
		case !strings.HasPrefix(name, "state.db"):
			c.Files++
		}
		return nil
	})
	return c, err
}

// metric reads one, summed over its labels.
func metric(s *davytest.Server, name string) (int, error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(s.Console + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`(?:\{.*\})? (\S+)$`).FindAllSubmatch(text, -1)
	if found == nil {
		return 0, fmt.Errorf("no metric %s", name)
	}
	sum := 0.0
	for _, f := range found {
		n, err := strconv.ParseFloat(string(f[1]), 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return int(sum), nil
}
