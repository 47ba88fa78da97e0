// Package cgroup limits, freezes, measures and kills the processes of a
// sandbox with Linux control groups, for the launcher.
//
// Three layouts are understood: version 2, version 1, and the hybrid where
// version 1 has the controllers and an otherwise empty version 2 tree is
// mounted beside it; there the faster freezer and the kill file of version 2
// are used. All groups of one launcher live under one base group named after
// its instance, so that a successor can find and remove what a killed
// launcher left.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
)

// ErrUnsupported is wrapped by Open when this process can make no groups.
var ErrUnsupported = errors.New("cgroup: not available")

// Config says where the groups go.
type Config struct {
	Instance string // names the base group
	ProcSelf string // "" means /proc/self
	mkdir    func(string) error
}

// Tree is the base group of one launcher. Safe for concurrent use.
type Tree struct {
	base    map[string]string // controller -> base directory; "" is version 2
	v2      bool              // version 2 has the controllers
	top     string            // where version 2 is mounted, with v2
	kill    bool              // version 2 tree with cgroup.kill
	missing []string
	mkdir   func(string) error
	devices *deviceFilter // nil: version 1, or the kernel has none
	lock    *os.File      // held on one of the base directories
}

// the controllers a sandbox needs, with what is lost without each
var needed = []struct{ name, lost string }{
	{"memory", "memory is not limited"},
	{"cpu", "CPU time is not limited"},
	{"pids", "the number of processes is not limited"},
}

const period = 20_000 // microseconds in which the CPU quota is spent

// Open finds the mounted hierarchies and makes the base groups.
func Open(cfg Config) (*Tree, error) {
	if cfg.ProcSelf == "" {
		cfg.ProcSelf = "/proc/self"
	}
	if cfg.mkdir == nil {
		cfg.mkdir = func(p string) error { return os.Mkdir(p, 0o755) }
	}
	l, err := detect(cfg.ProcSelf)
	if err != nil {
		return nil, err
	}
	t := &Tree{base: map[string]string{}, mkdir: cfg.mkdir}
	name := "davy-" + cfg.Instance
	if l.v2 != nil && l.v2.has("memory") {
		dir, err := t.openV2(*l.v2, name)
		if err != nil {
			return nil, err
		}
		t.v2, t.top = true, l.v2.mount
		t.base[""] = dir
	} else {
		for c, h := range l.v1 {
			dir := filepath.Join(h.own(), name)
			if err := t.makeDir(dir); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrUnsupported, c, err)
			}
			t.base[c] = dir
		}
		for _, c := range needed {
			if t.base[c.name] == "" {
				t.missing = append(t.missing, "cgroup controller "+c.name+": "+c.lost)
			}
		}
		if l.v2 != nil {
			dir := filepath.Join(l.v2.own(), name)
			if t.makeDir(dir) == nil {
				t.base[""] = dir
			}
		}
	}
	if len(t.base) == 0 {
		return nil, fmt.Errorf("%w: no hierarchy is mounted", ErrUnsupported)
	}
	if dir := t.base[""]; dir != "" {
		t.kill = exists(filepath.Join(dir, "cgroup.kill"))
	}
	if err := t.claim(); err != nil {
		return nil, err
	}
	if t.v2 {
		if err := t.setUpV2(); err != nil {
			t.lock.Close()
			return nil, err
		}
	}
	if err := t.limitAllSockets(); err != nil {
		t.missing = append(t.missing, fmt.Sprintf("memory of sockets: %v: all functions together can take what the host has", err))
	}
	if err := t.limitAllProcesses(); err != nil {
		t.missing = append(t.missing, fmt.Sprintf("number of processes: %v: all functions together can take the ids that the host has", err))
	}
	t.sweepDead()
	return t, nil
}

// Missing says which limits these groups cannot give.
func (t *Tree) Missing() []string { return t.missing }

// Sweep kills and removes what a previous launcher of the instance left.
func (t *Tree) Sweep() error {
	names := map[string]bool{}
	for _, dir := range t.base {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("cgroup sweep: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				names[e.Name()] = true
			}
		}
	}
	// All die at the same time, which they may need a while for on a busy
	// machine, and nobody would come back for a group that stays.
	for name := range names {
		t.group(name).Kill()
	}
	var errs []error
	end := time.Now().Add(claimWait)
	for name := range names {
		g := t.group(name)
		err := g.Remove()
		for errors.Is(err, unix.EBUSY) && time.Now().Before(end) {
			err = g.Remove()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Close removes the base groups, which must be empty.
func (t *Tree) Close() error {
	defer t.lock.Close()
	t.devices.close()
	var errs []error
	for _, dir := range t.base {
		errs = append(errs, removeDir(dir))
	}
	return errors.Join(errs...)
}

func (t *Tree) group(name string) *Group {
	g := &Group{t: t, dir: map[string]string{}}
	for c, dir := range t.base {
		g.dir[c] = filepath.Join(dir, name)
	}
	return g
}

// New makes a group with limits. With devices, the group can use no device
// but those of a sandbox's /dev.
func (t *Tree) New(name string, l sandbox.Limits, devices bool) (*Group, error) {
	g := t.group(name)
	for _, dir := range g.dir {
		if err := t.makeDir(dir); err != nil {
			return nil, errors.Join(fmt.Errorf("cgroup: %w", err), g.Remove())
		}
	}
	err := errors.Join(g.limitSockets(l.MemoryBytes), g.Limit(l))
	if err == nil && devices {
		err = g.restrictDevices()
	}
	if err == nil && t.v2 && g.has("memory.oom.group") {
		err = g.set("", "memory.oom.group", "1")
	}
	if err != nil {
		return nil, errors.Join(err, g.Remove())
	}
	return g, nil
}

func (t *Tree) makeDir(dir string) error {
	if err := t.mkdir(dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func has(v []string, s string) bool {
	for _, x := range v {
		if x == s {
			return true
		}
	}
	return false
}

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

func readFields(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

func readInt(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	s := strings.TrimSpace(string(b))
	if s == "max" {
		return 1<<63 - 1, nil
	}
	return strconv.ParseInt(s, 10, 64)
}

// readKey finds "key value" among the lines of a file.
func readKey(path, key string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := findKey(string(b), key)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

func findKey(lines, key string) (int64, error) {
	for line := range strings.Lines(lines) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, fmt.Errorf("no %q", key)
}

// write never creates the file: a control file that is not there is an error.
func write(path, s string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_TRUNC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(s))
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// removeDir removes a group. A group whose last process has just been killed
// or reaped can be busy for a moment more.
func removeDir(dir string) error {
	const longest = time.Second
	began := time.Now()
	for delay := 200 * time.Microsecond; ; delay = min(2*delay, 100*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		left := longest - time.Since(began)
		if err != unix.EBUSY || left <= 0 {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		awaitEvent(dir, "populated", 0, left) // version 1 tells nothing
		time.Sleep(delay)
	}
}
