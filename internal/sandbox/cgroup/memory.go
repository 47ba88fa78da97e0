package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxMeasured bounds the processes that are looked at one by one.
const maxMeasured = 128

// ProcessPeak tells the most memory that the group's processes had at a time.
// charged is the most that the kernel charged the group with: beside what
// processes allocate and share, it has the page cache of all files that they
// read and write, and nobody can take that out of it afterwards. So the
// processes are asked.
//
// Each process's peak is exact, kept by the kernel (VmHWM). Their sum may count
// pages twice that a fork shares, and peaks that were not at one time; what
// processes had that have ended is known by their page faults only, which may
// be far more. charged bounds all of it. Mapped files, the programs and
// libraries above all, count as on a machine of the function's own, once: they
// are charged to whoever touched them first.
func (g *Group) ProcessPeak(charged int64) int64 {
	pids := g.pids()
	if len(pids) > maxMeasured {
		return charged
	}
	var sum processMemory
	for _, pid := range pids {
		sum.add(pid)
	}
	// Files in memory, as of /dev/shm, are memory, mapped or not.
	shared := max(0, g.sharedFiles()-sum.shared)
	if sum.seen == 0 {
		return charged
	}
	return min(sum.own+sum.ended+shared, charged) + sum.files
}

// ForgetPeaks starts the processes' peaks anew.
func (g *Group) ForgetPeaks() {
	for _, pid := range g.pids() {
		// Who has ended has none. 5 resets the peak and nothing else: proc(5).
		_ = write(filepath.Join("/proc", pid, "clear_refs"), "5")
	}
}

// pids are the group's processes, as this process sees them.
func (g *Group) pids() []string {
	dir := g.dir["memory"]
	if g.t.v2 {
		dir = g.dir[""]
	}
	if dir == "" {
		return nil
	}
	return readFields(filepath.Join(dir, "cgroup.procs"))
}

// sharedFiles is what the group has in files in memory.
func (g *Group) sharedFiles() int64 {
	dir := g.dir["memory"]
	if g.t.v2 {
		dir = g.dir[""]
	}
	n, _ := readKey(filepath.Join(dir, "memory.stat"), "shmem") // Linux before 4.20 has none
	return n
}

// processMemory adds up processes. All but seen are bytes.
type processMemory struct {
	own    int64 // peaks without mapped files
	shared int64 // of them, shared memory that is mapped now
	files  int64 // the most that one has mapped of files
	ended  int64 // at most, of those that have ended
	seen   int
}

// add measures a process, as far as it is there.
func (m *processMemory) add(pid string) {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return
	}
	peak, alive := statusBytes(status, "VmHWM:")
	if alive {
		files, _ := statusBytes(status, "RssFile:")
		shared, _ := statusBytes(status, "RssShmem:")
		m.own += max(0, peak-files)
		m.shared += shared
		m.files = max(m.files, files)
		m.seen++
	}
	own, waited, err := faults(pid)
	if err != nil {
		return
	}
	if !alive { // nobody has waited for it yet
		waited += own
	}
	m.ended += waited * int64(os.Getpagesize())
}

// statusBytes finds a value in kB of /proc/PID/status.
func statusBytes(status []byte, key string) (int64, bool) {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(string(bytes.TrimSpace(rest)), " kB"), 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}

// faults are the page faults of a process, and of those of its children that
// have ended and been waited for: minflt and cminflt in /proc/PID/stat.
func faults(pid string) (own, waited int64, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0, 0, err
	}
	// The name, in brackets, is the process's own choice.
	_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 9 {
		return 0, 0, fmt.Errorf("cgroup: /proc/%s/stat", pid)
	}
	if own, err = strconv.ParseInt(f[7], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("cgroup: /proc/%s/stat: %w", pid, err)
	}
	if waited, err = strconv.ParseInt(f[8], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("cgroup: /proc/%s/stat: %w", pid, err)
	}
	return own, waited, nil
}
