// Package shed gives back the memory that a process needed only to get where
// it is.
//
// Every process of Davy is the same program. To start, it walks through much
// of it: the runtime's tables, the types of all packages, their
// initialization. What then waits for a request, or for a child to end, uses
// little of that again, but the pages stay mapped until memory is short.
package shed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Rest is how long a process waits after its start before it gives back what
// it no longer needs, so that this costs neither the start nor what comes right
// after it.
const Rest = time.Second

// All gives back garbage of the heap and then what [Program] does. It stops
// the world for less than a millisecond and takes a few of a processor's.
func All() error {
	debug.FreeOSMemory()
	return Program()
}

// Program unmaps the pages of this process's program that are as they are in
// its file: code and constants. What is used again is mapped again from the
// page cache, 16 pages at a time, in about a microsecond.
func Program() error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("shed memory: %w", err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("shed memory: %w", err)
	}
	for line := range bytes.Lines(maps) {
		start, end, ok := unwritten(line, exe)
		if !ok {
			continue
		}
		// The address is that of a mapping, not of Go's memory: it never
		// becomes a pointer.
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); e != 0 && !errors.Is(e, syscall.EINVAL) {
			return fmt.Errorf("shed memory: madvise: %w", e)
		}
	}
	return nil
}

// unwritten reads a line of /proc/PID/maps. It returns the addresses of a
// private mapping of the program's file that nobody can have written to.
func unwritten(line []byte, exe string) (start, end uintptr, ok bool) {
	// 00400000-00bd2000 r-xp 00000000 fe:00 1185 /usr/bin/davy
	f := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 6)
	if len(f) < 6 || len(f[1]) != 4 || f[1][1] != '-' || f[1][3] != 'p' || string(bytes.TrimLeft(f[5], " ")) != exe {
		return 0, 0, false
	}
	low, high, ok := bytes.Cut(f[0], []byte("-"))
	if !ok {
		return 0, 0, false
	}
	a, err1 := strconv.ParseUint(string(low), 16, strconv.IntSize)
	b, err2 := strconv.ParseUint(string(high), 16, strconv.IntSize)
	return uintptr(a), uintptr(b), err1 == nil && err2 == nil && a < b
}
