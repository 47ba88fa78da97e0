package sandboxtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"davy/internal/sandbox"
	"davy/internal/sandbox/launcher"
)

// belongings counts what a launcher has and what the machine has of it.
type belongings struct{ fds, children, groups, mounts, namespaces int }

func count(t *testing.T, l *launcher.Process, instance string) belongings {
	t.Helper()
	var b belongings
	glob := func(pattern string) []string {
		v, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	b.fds = len(glob(fmt.Sprintf("/proc/%d/fd/*", l.PID())))
	// Namespaces without a process live by a descriptor, and those are counted.
	seen := map[string]bool{}
	for _, dir := range glob("/proc/[0-9]*") {
		var pid int
		if _, err := fmt.Sscanf(dir, "/proc/%d", &pid); err != nil {
			t.Fatal(err)
		}
		parent := parentOf(pid)
		if parent != l.PID() && parentOf(parent) != l.PID() {
			continue
		}
		b.children++
		for _, kind := range []string{"mnt", "net", "user", "pid", "ipc", "uts", "cgroup"} {
			if s, err := os.Readlink(dir + "/ns/" + kind); err == nil {
				seen[s] = true
			}
		}
	}
	b.namespaces = len(seen)
	b.groups = len(groupsOf(t, instance))
	m, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", l.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(m)) {
		// Below the directory for temporary files other tests mount at the same
		// time; a launcher mounts nothing there.
		if f := strings.Fields(line); len(f) > 4 && !strings.HasPrefix(f[4], filepath.Clean(os.TempDir())+"/") {
			b.mounts++
		}
	}
	return b
}

// groupsOf lists the control groups of an instance's sandboxes, wherever on
// the machine its launcher was started.
func groupsOf(t *testing.T, instance string) (dirs []string) {
	t.Helper()
	for _, parent := range []string{"", "/*", "/*/*", "/*/*/*"} {
		v, err := filepath.Glob("/sys/fs/cgroup" + parent + "/davy-" + instance + "/[0-9]*")
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, v...)
	}
	return dirs
}

func nothingLeaks(t *testing.T, e Engine) {
	dir := t.TempDir()
	instance := "test-leak-" + suffix() // engines are tested at the same time
	d, l := e.New(t, launcher.Config{Instance: instance, Roots: []string{dir}, Spares: -1})
	cycle := func(n int) {
		var wg sync.WaitGroup
		slots := make(chan struct{}, 8)
		if e.OwnKernel {
			slots = make(chan struct{}, 2) // a small machine does not start eight kernels in a minute
		}
		for i := range n {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				s := sandbox.Spec{
					ID: fmt.Sprint("leak-", i), Args: []string{"/bin/sh", "-c", "sleep 1000 & sleep 1000"},
					Listen: []string{"tcp:169.254.100.1:80"},
				}
				if i%5 == 4 {
					s.Args = []string{"/none"} // fails half-way
				}
				b, err := d.Create(t.Context(), s)
				if err != nil {
					if i%5 != 4 {
						t.Error(err)
					}
					return
				}
				for _, f := range b.Listeners() {
					f.Close()
				}
				if err := b.Attach(t.Context(), sandbox.Mount{Source: dir, Target: "/var/task"}); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if err := b.Freeze(t.Context()); err != nil {
						t.Error(err)
					}
				}
				b.Kill()
				<-b.Done()
			})
		}
		wg.Wait()
	}
	cycle(8) // what is made once
	before := count(t, l, instance)
	one, err := d.Create(t.Context(), sandbox.Spec{ID: "witness", Args: []string{"/bin/sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	during := count(t, l, instance)
	if during.fds <= before.fds || during.children <= before.children || during.groups <= before.groups || during.namespaces <= before.namespaces {
		t.Fatalf("the counts do not see a sandbox: %+v, then %+v", before, during)
	}
	one.Kill()
	<-one.Done()
	cycle(50)
	if after := count(t, l, instance); after != before {
		t.Errorf("before %+v, after 50 sandboxes %+v", before, after)
	}
}

func parentOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for l := range strings.Lines(string(b)) {
		var n int
		if _, err := fmt.Sscanf(l, "PPid: %d", &n); err == nil {
			return n
		}
	}
	return 0
}
