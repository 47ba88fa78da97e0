package escape

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"davy/internal/sandbox"
	"davy/test/davytest"
)

// The peak of a sandbox's memory is that of its processes: what they allocate,
// also what they have given back, what they have in shared memory, and what
// they map of files; not what they write to files, which the kernel holds for
// as long as nobody needs the memory.
func TestUsage_PeakIsOfTheProcesses(t *testing.T) {
	const python = `exec python3 -c '
import os, mmap, subprocess, sys
M = 1 << 20
def file(n):
    with open("/tmp/f", "wb") as f:
        for i in range(n): f.write(b"x" * M)
%s
os.write(1, b"up\n"); os.read(3, 9)
%s'`
	onDiskEach(t, func(t *testing.T, d sandbox.Driver, _ string) {
		// What the kernel tells of files in memory may be two seconds old when
		// others ask it at the same time: least is what must come to be seen.
		measure := func(t *testing.T, script, last string, least int64) (peak, end sandbox.Usage) {
			t.Helper()
			p := runShell(t, d, sandbox.Limits{MemoryBytes: 400 << 20}, fmt.Sprintf(python, script, last))
			word := make([]byte, 3)
			if _, err := io.ReadFull(p.out, word); err != nil || string(word) != "up\n" {
				t.Fatalf("not up: %v; it says %s%s", err, word, p.rest(t))
			}
			peak, err := p.Usage(t.Context())
			for end := time.Now().Add(davytest.Limit / 10); err == nil && peak.MemoryPeakBytes < least && time.Now().Before(end); {
				peak, err = p.Usage(t.Context())
			}
			if err != nil {
				t.Fatalf("%v; its last words: %q", err, p.rest(t))
			}
			fmt.Fprintln(p.in, "go")
			p.rest(t)
			if end, err = p.Usage(t.Context()); err != nil {
				t.Fatal(err)
			}
			return peak, end
		}
		nothing, _ := measure(t, "", "", 0)
		base := nothing.MemoryPeakBytes >> 20
		for _, tc := range []struct {
			name, script string
			more         int64 // MB
		}{
			{"nothing", "", 0},
			{"allocated", `x = b"x" * (100*M)`, 100},
			{"allocated and given back", `x = b"x" * (100*M); del x`, 100},
			{"written to a file", `file(200)`, 0},
			{"written to a file that is deleted", `file(200); os.remove("/tmp/f")`, 0},
			{"written and read", `file(200); n = sum(len(c) for c in iter(lambda f=open("/tmp/f", "rb"): f.read(M), b""))`, 0},
			{"both", `x = b"x" * (100*M); file(200)`, 100},
			{"both, given back", `file(200); x = b"x" * (100*M); del x`, 100},
			{"mapped", "file(100)\nwith open(\"/tmp/f\", \"r+b\") as f: m = mmap.mmap(f.fileno(), 0); n = sum(m[i] for i in range(0, len(m), 4096))", 100},
			{"shared memory", `f = open("/dev/shm/x", "wb"); f.write(b"x" * (14*M)); f.flush()`, 28}, // and the string that is written
			{"a child that has ended", `subprocess.run([sys.executable, "-c", "x = b\"x\" * (100<<20)"])`, 100},
			{"a child that lives", `c = subprocess.Popen([sys.executable, "-c", "x = b\"x\" * (100<<20); print(1, flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE); c.stdout.readline()`, 100},
			{"a fork that shares", "x = b\"x\" * (100*M)\nif os.fork() == 0: mmap.mmap(-1, 4096); os.close(1); os.kill(os.getpid(), 19)", 100},
		} {
			t.Run(tc.name, func(t *testing.T) {
				if huge, _ := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); tc.name == "a child that has ended" && strings.Contains(string(huge), "[always]") {
					t.Skip("page faults tell too little of a process with huge pages")
				}
				u, end := measure(t, tc.script, "", (base+tc.more-8)<<20)
				got := u.MemoryPeakBytes>>20 - base
				t.Logf("%d MB over %d; at the end %d; group %d MB", got, base, end.MemoryPeakBytes>>20-base, u.MemoryBytes>>20)
				if got < tc.more-8 || got > tc.more+16 {
					t.Errorf("%d MB more than nothing, want about %d", got, tc.more)
				}
			})
		}
		// What was not seen while it lived is known when it has ended.
		if _, end := measure(t, "file(200)", `x = b"x" * (100*M); os.kill(os.getpid(), 9)`, 0); end.MemoryPeakBytes>>20 < base+96 || end.MemoryPeakBytes>>20 > base+116 {
			t.Errorf("killed: %d MB more than nothing, want about 100", end.MemoryPeakBytes>>20-base)
		}
	})
}
