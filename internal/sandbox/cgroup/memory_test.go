package cgroup

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// A process's name is its own choice, and stands in the line that is read.
func TestFaults_NameOfTheProcess(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid := strconv.Itoa(os.Getpid())
	before, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile("/proc/self/comm", before, 0o600) })
	want := int64(0)
	for _, name := range []string{"a", ") R 1 1 1 1", "\n) (", "VmHWM:\t9 kB"} {
		if err := os.WriteFile("/proc/self/comm", []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		own, _, err := faults(pid)
		if err != nil || own < want || own == 0 || own > 1<<30 {
			t.Errorf("name %q: %d faults, %v; before %d", name, own, err, want)
		}
		want = own
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		if peak, ok := statusBytes(status, "VmHWM:"); !ok || peak < 1<<20 {
			t.Errorf("name %q: peak %d", name, peak)
		}
	}
	var all unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &all); err != nil || all.Minflt < want {
		t.Errorf("%d faults, the kernel says %d, %v", want, all.Minflt, err)
	}
	if _, _, err := faults("0"); err == nil {
		t.Error("no process: no error")
	}
}
