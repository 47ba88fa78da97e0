package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// endGroup ends what is left of a process group whose leader has ended: the
// children of a runtime that has failed, or was killed, are this process's.
func endGroup(leader int) {
	_ = unix.Kill(-leader, unix.SIGKILL)
	for {
		_, err := unix.Wait4(-leader, nil, 0, nil)
		if err != nil && err != unix.EINTR {
			return
		}
	}
}

// reapOrphans ends those children of this process that a runtime has left in
// the holder's namespace, which could not end before they are waited for.
func reapOrphans(holder int) {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", holder))
	if err != nil {
		return
	}
	for _, pid := range children() {
		if pid == holder {
			continue
		}
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && ns == namespace {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}
}

// children are this process's, ended or not.
func children() []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	self := strconv.Itoa(os.Getpid())
	var v []int
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		// The name, in parentheses, can hold anything.
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) < 2 || fields[1] != self {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
			v = append(v, pid)
		}
	}
	return v
}
