package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
)

// Group holds the processes of one sandbox. Methods are safe for concurrent
// use as far as the kernel's files are; the caller orders Freeze and Thaw.
type Group struct {
	t   *Tree
	dir map[string]string // controller -> directory; "" is version 2

	mu   sync.Mutex
	peak *os.File // version 2, after ResetPeak: the reset counts for this open file
}

// freezeWait bounds how long a group may take to stop.
const freezeWait = 5 * time.Second

// Entry opens the version 2 group for a clone with CLONE_INTO_CGROUP, which
// saves a move: for that the kernel waits for all processors. nil without
// version 2.
func (g *Group) Entry() (*os.File, error) {
	dir := g.dir[""]
	if dir == "" {
		return nil, nil
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", &os.PathError{Op: "open", Path: dir, Err: err})
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// Add moves a process into the group.
func (g *Group) Add(pid int) error { return g.add(pid, "none") }

// Complete is Add for a process that was started in Entry.
func (g *Group) Complete(pid int) error { return g.add(pid, "") }

func (g *Group) add(pid int, except string) error {
	p := strconv.Itoa(pid)
	for c, dir := range g.dir {
		if c == except {
			continue
		}
		if err := write(filepath.Join(dir, "cgroup.procs"), p); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	return nil
}

// Limit sets those of the limits that are not zero and that a group can set.
func (g *Group) Limit(l sandbox.Limits) error {
	var errs []error
	if l.MemoryBytes > 0 {
		errs = append(errs, g.limitMemory(strconv.FormatInt(l.MemoryBytes, 10)), g.limitSockets(l.MemoryBytes))
	}
	if l.CPUMilli > 0 {
		quota := max(l.CPUMilli*period/1000, 1000)
		if g.t.v2 {
			errs = append(errs, g.set("cpu", "cpu.max", fmt.Sprintf("%d %d", quota, period)))
		} else {
			errs = append(errs,
				g.set("cpu", "cpu.cfs_period_us", strconv.Itoa(period)),
				g.limitQuota(quota))
		}
	}
	if l.CPUWeight > 0 {
		if g.t.v2 {
			errs = append(errs, g.set("cpu", "cpu.weight", strconv.FormatInt(l.CPUWeight, 10)))
		} else {
			errs = append(errs, g.set("cpu", "cpu.shares", strconv.FormatInt(max(2, l.CPUWeight*1024/100), 10)))
		}
	}
	if l.PIDs > 0 {
		errs = append(errs, g.set("pids", "pids.max", strconv.FormatInt(l.PIDs, 10)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// limitQuota sets the version 1 quota for each period. That version refuses
// more than a group around this one has; then the group has as much as that,
// which is what a quota of its own would come to with version 2.
func (g *Group) limitQuota(micros int64) error {
	const file = "cpu.cfs_quota_us"
	err := g.set("cpu", file, strconv.FormatInt(micros, 10))
	if errors.Is(err, unix.EINVAL) {
		return g.set("cpu", file, "-1")
	}
	return err
}

func (g *Group) limitMemory(n string) error {
	if g.t.v2 {
		err := g.set("memory", "memory.max", n)
		if g.has("memory.swap.max") {
			err = errors.Join(err, g.set("memory", "memory.swap.max", "0"))
		}
		return err
	}
	const mem, sum = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	if g.dir["memory"] == "" {
		return nil
	}
	if !exists(filepath.Join(g.dir["memory"], sum)) {
		return g.set("memory", mem, n)
	}
	// Memory plus swap may never be below memory: which one goes first
	// depends on the direction, so the order that works is tried.
	if err := g.set("memory", sum, n); err != nil {
		return errors.Join(g.set("memory", mem, n), g.set("memory", sum, n))
	}
	return errors.Join(g.set("memory", mem, n), g.set("memory", sum, n))
}

// set writes a control file. A controller that is not there is no error:
// Tree.Missing has told it.
func (g *Group) set(controller, file, value string) error {
	dir := g.dir[controller]
	if g.t.v2 {
		dir = g.dir[""]
		if !exists(filepath.Join(dir, file)) {
			return nil
		}
	}
	if dir == "" {
		return nil
	}
	return write(filepath.Join(dir, file), value)
}

// has reports whether the version 2 group has a file.
func (g *Group) has(file string) bool { return exists(filepath.Join(g.dir[""], file)) }

// Freeze returns when every process of the group has stopped.
func (g *Group) Freeze() error {
	if dir := g.dir[""]; dir != "" {
		return g.freezeV2(dir)
	}
	file := filepath.Join(g.dir["freezer"], "freezer.state")
	deadline := time.Now().Add(freezeWait)
	for delay := 50 * time.Microsecond; ; delay = min(2*delay, 10*time.Millisecond) {
		// Writing again catches processes that were forked meanwhile.
		if err := write(file, "FROZEN"); err != nil {
			return fmt.Errorf("cgroup freeze: %w", err)
		}
		if f := readFields(file); len(f) == 1 && f[0] == "FROZEN" {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(errors.New("cgroup freeze: took too long"), g.Thaw())
		}
		time.Sleep(delay)
	}
}

func (g *Group) freezeV2(dir string) error {
	if err := write(filepath.Join(dir, "cgroup.freeze"), "1"); err != nil {
		return fmt.Errorf("cgroup freeze: %w", err)
	}
	if !awaitEvent(dir, "frozen", 1, freezeWait) {
		return errors.Join(errors.New("cgroup freeze: took too long"), g.Thaw())
	}
	return nil
}

// awaitEvent waits until a version 2 group's cgroup.events has the value for
// the key. It is false when that takes too long, or there is no such file.
func awaitEvent(dir, key string, value int64, wait time.Duration) bool {
	fd, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(wait)
	for {
		// A change after this reading wakes who polls the file that was read.
		var b [256]byte
		n, err := unix.Pread(fd, b[:], 0)
		if err != nil {
			return false
		}
		if got, err := findKey(string(b[:n]), key); err != nil || got == value {
			return err == nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		if _, err := unix.Poll(events, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return false
		}
	}
}

// Thaw lets the processes run again.
func (g *Group) Thaw() error {
	var err error
	if dir := g.dir[""]; dir != "" {
		err = write(filepath.Join(dir, "cgroup.freeze"), "0")
	} else {
		err = write(filepath.Join(g.dir["freezer"], "freezer.state"), "THAWED")
	}
	if err != nil {
		return fmt.Errorf("cgroup thaw: %w", err)
	}
	return nil
}

// Usage reads what the group consumed. Values the kernel does not offer are
// zero.
func (g *Group) Usage() (sandbox.Usage, error) {
	var u sandbox.Usage
	var err error
	if g.t.v2 {
		dir := g.dir[""]
		if u.MemoryBytes, err = readInt(filepath.Join(dir, "memory.current")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return u, fmt.Errorf("cgroup usage: %w", err)
		}
		if u.MemoryPeakBytes, err = g.readPeak(); err != nil {
			u.MemoryPeakBytes = u.MemoryBytes // Linux before 5.19
		}
		u.CPUMicros, _ = readKey(filepath.Join(dir, "cpu.stat"), "usage_usec")
		return u, nil
	}
	if dir := g.dir["memory"]; dir != "" {
		if u.MemoryBytes, err = readInt(filepath.Join(dir, "memory.usage_in_bytes")); err != nil {
			return u, fmt.Errorf("cgroup usage: %w", err)
		}
		if u.MemoryPeakBytes, err = readInt(filepath.Join(dir, "memory.max_usage_in_bytes")); err != nil {
			return u, fmt.Errorf("cgroup usage: %w", err)
		}
	}
	if dir := g.dir["cpuacct"]; dir != "" {
		ns, err := readInt(filepath.Join(dir, "cpuacct.usage"))
		if err != nil {
			return u, fmt.Errorf("cgroup usage: %w", err)
		}
		u.CPUMicros = ns / 1000
	}
	return u, nil
}

// ResetPeak starts the memory peak anew. On version 2 it needs Linux 6.12.
func (g *Group) ResetPeak() error {
	var err error
	if g.t.v2 {
		err = g.resetPeakV2()
	} else if dir := g.dir["memory"]; dir != "" {
		err = write(filepath.Join(dir, "memory.max_usage_in_bytes"), "0")
	}
	if err != nil {
		return fmt.Errorf("cgroup reset peak: %w", err)
	}
	return nil
}

func (g *Group) resetPeakV2() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.peak == nil {
		f, err := os.OpenFile(filepath.Join(g.dir[""], "memory.peak"), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		g.peak = f
	}
	_, err := g.peak.WriteAt([]byte("reset\n"), 0)
	return err
}

func (g *Group) readPeak() (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.peak == nil {
		return readInt(filepath.Join(g.dir[""], "memory.peak"))
	}
	var b [32]byte
	n, err := g.peak.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b[:n])), 10, 64)
}

// DropCache gives back what the group holds of files, as far as it is written.
// It is for a group without processes whose files stay: what it held would keep
// it in the kernel's memory after Remove.
func (g *Group) DropCache() {
	if g.t.v2 {
		dir := g.dir[""]
		if n, err := readInt(filepath.Join(dir, "memory.current")); err == nil && n > 0 {
			// An error tells that some of it stays. Before Linux 5.19 all does.
			_ = write(filepath.Join(dir, "memory.reclaim"), strconv.FormatInt(n, 10))
		}
	} else if dir := g.dir["memory"]; dir != "" {
		_ = write(filepath.Join(dir, "memory.force_empty"), "0")
	}
}

// OOMKills is the number of processes that the memory limit killed.
func (g *Group) OOMKills() int64 {
	var n int64
	if g.t.v2 {
		n, _ = readKey(filepath.Join(g.dir[""], "memory.events"), "oom_kill")
	} else if dir := g.dir["memory"]; dir != "" {
		n, _ = readKey(filepath.Join(dir, "memory.oom_control"), "oom_kill")
	}
	return n
}

// WatchOOM gives a file that becomes readable when the memory limit is hit
// and nothing can be reclaimed, and when the group is removed. It is nil on
// version 2, where the kernel then kills the whole group by itself.
func (g *Group) WatchOOM() (*os.File, error) {
	dir := g.dir["memory"]
	if g.t.v2 || dir == "" {
		return nil, nil
	}
	control, err := unix.Open(filepath.Join(dir, "memory.oom_control"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cgroup oom: %w", err)
	}
	defer unix.Close(control)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cgroup oom: %w", err)
	}
	f := os.NewFile(uintptr(fd), "oom")
	if err := write(filepath.Join(dir, "cgroup.event_control"), fmt.Sprintf("%d %d", fd, control)); err != nil {
		f.Close()
		return nil, fmt.Errorf("cgroup oom: %w", err)
	}
	return f, nil
}

// Kill ends every process of the group, also a frozen one.
func (g *Group) Kill() {
	if dir := g.dir[""]; dir != "" && g.t.kill {
		if write(filepath.Join(dir, "cgroup.kill"), "1") == nil {
			return
		}
	}
	_ = g.Freeze() // nothing forks while it is being killed
	for _, dir := range g.dir {
		for _, p := range readFields(filepath.Join(dir, "cgroup.procs")) {
			if pid, err := strconv.Atoi(p); err == nil && pid > 0 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	_ = g.Thaw()
}

// Remove deletes the group, which must have no process left.
func (g *Group) Remove() error {
	g.mu.Lock()
	if g.peak != nil {
		g.peak.Close()
		g.peak = nil
	}
	g.mu.Unlock()
	var errs []error
	for _, dir := range g.dir {
		errs = append(errs, removeDir(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}
