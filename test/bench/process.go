package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: USER_HZ, which is 100 for
// every program on Linux whatever the kernel's own.
const tick = 10 * time.Millisecond

// process is a line of the process table.
type process struct {
	pid, parent int
	name        string
	cpu         time.Duration // its own, and that of children it has waited for
	rss         int64         // bytes
}

// readProcesses reads the process table of a /proc.
func readProcesses(proc string) ([]process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var all []process
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(proc, e.Name(), "stat"))
		if err != nil {
			continue // it ended meanwhile
		}
		p, err := parseStat(text)
		if err != nil {
			return nil, fmt.Errorf("process %s: %w", e.Name(), err)
		}
		all = append(all, p)
	}
	return all, nil
}

// parseStat reads a /proc/PID/stat. The name is in parentheses and may hold
// parentheses and spaces itself.
func parseStat(text []byte) (process, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return process{}, errors.New("stat without a name")
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 22 {
		return process{}, fmt.Errorf("stat with %d fields", len(fields))
	}
	var bad error
	num := func(i int) int64 { // i: of proc(5), which counts from 1
		n, err := strconv.ParseInt(fields[i-3], 10, 64)
		bad = errors.Join(bad, err)
		return n
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:open])))
	p := process{
		pid: pid, parent: int(num(4)), name: string(text[open+1 : end]),
		cpu: time.Duration(num(14)+num(15)+num(16)+num(17)) * tick,
		rss: num(24) * int64(os.Getpagesize()),
	}
	return p, errors.Join(err, bad)
}

// below returns the processes that are root or descend from it.
func below(all []process, root int) []process {
	children := map[int][]process{}
	var tree []process
	for _, p := range all {
		if p.pid == root {
			tree = append(tree, p)
		}
		children[p.parent] = append(children[p.parent], p)
	}
	for i := 0; i < len(tree); i++ {
		for _, c := range children[tree[i].pid] {
			if c.pid != root {
				tree = append(tree, c)
			}
		}
	}
	return tree
}

// usage is what a process tree uses.
type usage struct {
	cpu time.Duration // since it began
	rss int64         // bytes; what processes share counts in each
}

// sum adds up a process tree. A child's time is in its own line while it lives
// and in its parent's after that, so the sum over a tree whose members wait
// for their children never falls.
func sum(tree []process) usage {
	var u usage
	for _, p := range tree {
		u.cpu += p.cpu
		u.rss += p.rss
	}
	return u
}

// treeUsage reads what a process and its descendants use.
func treeUsage(root int) (usage, error) {
	all, err := readProcesses("/proc")
	if err != nil {
		return usage{}, err
	}
	tree := below(all, root)
	if len(tree) == 0 {
		return usage{}, fmt.Errorf("no process %d", root)
	}
	return sum(tree), nil
}

// treeShare is what a process and its descendants hold, in bytes, with each
// page that is shared divided among all that share it.
func treeShare(root int) (int64, error) {
	all, err := readProcesses("/proc")
	if err != nil {
		return 0, err
	}
	var total int64
	for _, p := range below(all, root) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // it ended meanwhile
		}
		if err != nil {
			return 0, err
		}
		total += kibibytesField(string(text), "Pss:")
	}
	return total, nil
}

// kibibytesField reads a "Name: 123 kB" line, in bytes.
func kibibytesField(text, name string) int64 {
	for l := range strings.Lines(text) {
		if f := strings.Fields(l); len(f) >= 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// groupMemory is the memory, in bytes, that is charged to the control group of
// a process, without file pages that the kernel would give up first.
func groupMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return 0, err
	}
	group, version := memoryGroup(string(text))
	dir, used, idle := filepath.Join("/sys/fs/cgroup", group), "memory.current", "inactive_file"
	if version == 1 {
		dir, used, idle = filepath.Join("/sys/fs/cgroup/memory", group), "memory.usage_in_bytes", "total_inactive_file"
	}
	text, err = os.ReadFile(filepath.Join(dir, used))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, err
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0, err
	}
	return n - statField(string(stat), idle), nil
}

// memoryGroup finds in /proc/PID/cgroup the group that memory is charged to,
// and the version of its hierarchy.
func memoryGroup(text string) (group string, version int) {
	for l := range strings.Lines(text) {
		id, rest, _ := strings.Cut(strings.TrimSpace(l), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		for c := range strings.SplitSeq(controllers, ",") {
			if c == "memory" {
				return path, 1
			}
		}
		if id == "0" {
			group, version = path, 2
		}
	}
	return group, version
}

func statField(text, name string) int64 {
	for l := range strings.Lines(text) {
		if k, v, _ := strings.Cut(strings.TrimSpace(l), " "); k == name {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}
