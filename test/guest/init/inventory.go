//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// inventory lists what Davy might leave on a machine: its processes and those
// of its functions, mounts, loop and network devices, control groups, and
// files where programs leave them.
func inventory() ([]string, error) {
	var things []string
	mounts, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && !strings.HasPrefix(f[4], "/run/credentials/") {
			things = append(things, "mount "+f[4]+" of "+f[3])
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		of, _ := os.ReadFile(l)
		things = append(things, "loop device of "+strings.TrimSpace(string(of)))
	}
	for _, dir := range []string{"/sys/class/net", "/run", "/tmp", "/var/tmp", "/dev/shm"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if dir == "/sys/class/net" || strings.Contains(e.Name(), "davy") {
				things = append(things, filepath.Join(dir, e.Name()))
			}
		}
	}
	err = filepath.WalkDir(cgroups, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "davy") {
			things = append(things, "group "+path)
		}
		return nil // groups vanish
	})
	if err != nil {
		return nil, err
	}
	network, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			continue // a kernel's thread, or it has ended
		}
		its, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if strings.HasPrefix(exe, binary) || its != network {
			things = append(things, fmt.Sprintf("process %d of %s", pid, exe))
		}
	}
	return things, nil
}

// processesIn lists the processes of one group, in order.
func processesIn(dir string) ([]int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for f := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}
