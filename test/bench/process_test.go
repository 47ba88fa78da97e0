package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// stat writes a /proc/PID/stat with the fields that are read.
func stat(pid int, name string, parent int, user, system, waitedUser, waitedSystem, pages int64) string {
	return fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194560 9 9 9 9 %d %d %d %d 20 0 5 0 777 100000 %d 18446744073709551615 1 1 0\n",
		pid, name, parent, user, system, waitedUser, waitedSystem, pages)
}

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte(stat(42, "a (strange) name", 7, 1, 2, 30, 40, 5)))
	if err != nil {
		t.Fatal(err)
	}
	want := process{pid: 42, parent: 7, name: "a (strange) name", cpu: 730 * time.Millisecond, rss: 5 * int64(os.Getpagesize())}
	if got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"", "42", "42 (x", "42 (x) S 7", ") 1 ("} {
		if p, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v", bad, p)
		}
	}
}

// A process table with Davy's shape, a stranger beside it, and names of files
// that are no processes.
func TestTree_SumsASupervisorAndAllBelow(t *testing.T) {
	proc := t.TempDir()
	for _, p := range []struct {
		pid  int
		text string
	}{
		{10, stat(10, "davy", 1, 1, 0, 50, 0, 1)}, // 50: of children that ended
		{11, stat(11, "server", 10, 10, 5, 0, 0, 10)},
		{12, stat(12, "launcher", 10, 2, 2, 0, 0, 10)},
		{13, stat(13, "davy-init", 12, 1, 1, 0, 0, 1)},
		{14, stat(14, "node", 13, 100, 0, 0, 0, 100)},
		{15, stat(15, "stranger", 1, 9999, 0, 0, 0, 9999)},
	} {
		dir := filepath.Join(proc, fmt.Sprint(p.pid))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(p.text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(proc, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(proc, "16"), 0o755); err != nil { // ended while we looked
		t.Fatal(err)
	}
	all, err := readProcesses(proc)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 6 {
		t.Fatalf("read %d processes, want 6", len(all))
	}
	got := sum(below(all, 10))
	want := usage{cpu: 1720 * time.Millisecond, rss: 122 * int64(os.Getpagesize())}
	if got != want {
		t.Fatalf("the tree uses %+v, want %+v", got, want)
	}
	if tree := below(all, 99); len(tree) != 0 {
		t.Errorf("below a process that is not there: %v", tree)
	}
}

// What a child used counts once, before and after its parent has waited for it.
func TestTree_KeepsTheTimeOfChildrenThatEnded(t *testing.T) {
	before := []process{{pid: 1, cpu: 3}, {pid: 2, parent: 1, cpu: 5}}
	after := []process{{pid: 1, cpu: 8}}
	if b, a := sum(below(before, 1)).cpu, sum(below(after, 1)).cpu; a != b {
		t.Fatalf("%v before, %v after", b, a)
	}
}

func TestTree_SurvivesACycle(t *testing.T) {
	// Two readings of a table that changes can disagree.
	if tree := below([]process{{pid: 0, parent: 0}, {pid: 5, parent: 0}}, 0); len(tree) != 2 {
		t.Fatalf("%v", tree)
	}
}

func TestMemoryGroup(t *testing.T) {
	for _, tc := range []struct {
		name, text, group string
		version           int
	}{
		{"hybrid", "5:pids:/p\n3:cpu,cpuacct:/c\n2:memory:/davy/env\n0::/unified\n", "/davy/env", 1},
		{"memory with others", "2:hugetlb,memory:/m\n", "/m", 1},
		{"unified", "0::/davy.slice/env\n", "/davy.slice/env", 2},
		{"a colon in the path", "2:memory:/a:b\n", "/a:b", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			group, version := memoryGroup(tc.text)
			if group != tc.group || version != tc.version {
				t.Fatalf("got %q, %d", group, version)
			}
		})
	}
}

func TestStatField(t *testing.T) {
	const text = "inactive_file 7\ntotal_inactive_file 4096\n"
	if got := statField(text, "total_inactive_file"); got != 4096 {
		t.Errorf("got %d", got)
	}
	if got := statField(text, "absent"); got != 0 {
		t.Errorf("absent: got %d", got)
	}
}

func TestKibibytesField(t *testing.T) {
	const text = "00400000-7fff0000 ---p 00000000 00:00 0 [rollup]\nRss: 100 kB\nPss:              12 kB\nPss_Anon: 7 kB\n"
	if got := kibibytesField(text, "Pss:"); got != 12<<10 {
		t.Errorf("got %d", got)
	}
	if got := kibibytesField(text, "Swap:"); got != 0 {
		t.Errorf("absent: got %d", got)
	}
}
