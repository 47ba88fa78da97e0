package shed

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestUnwritten(t *testing.T) {
	const exe = "/usr/bin/a davy"
	for _, c := range []struct {
		name, line string
		want       bool
	}{
		{"code", "00400000-00bd2000 r-xp 00000000 fe:00 1185    /usr/bin/a davy\n", true},
		{"constants", "00bd2000-01b00000 r--p 007d2000 fe:00 1185   /usr/bin/a davy\n", true},
		{"variables", "01b00000-01b40000 rw-p 01700000 fe:00 1185   /usr/bin/a davy\n", false},
		{"shared", "01b00000-01b40000 r--s 01700000 fe:00 1185   /usr/bin/a davy\n", false},
		{"another file", "00bd2000-01b00000 r--p 007d2000 fe:00 1185   /usr/bin/davy\n", false},
		{"no file", "c000000000-c000400000 ---p 00000000 00:00 0 \n", false},
		{"vdso", "7ffd1a9f2000-7ffd1a9f4000 r-xp 00000000 00:00 0    [vdso]\n", false},
		{"nothing", "\n", false},
		{"no range", "00400000 r-xp 00000000 fe:00 1185 /usr/bin/a davy\n", false},
		{"backwards", "00bd2000-00400000 r-xp 00000000 fe:00 1185 /usr/bin/a davy\n", false},
	} {
		start, end, ok := unwritten([]byte(c.line), exe)
		if ok != c.want {
			t.Errorf("%s: got %t, want %t", c.name, ok, c.want)
		}
		if ok && (start < 0x400000 || end <= start || end > 0x1b00000) {
			t.Errorf("%s: got %x-%x", c.name, start, end)
		}
	}
}

// What is unmapped is there again when it is used.
func TestAll(t *testing.T) {
	before := programPages(t)
	if err := All(); err != nil {
		t.Fatal(err)
	}
	after := programPages(t)
	// This test and the runtime have touched some again, and each brings its
	// neighbours.
	if after > before*3/4 {
		t.Errorf("of %d KiB of the program that were mapped, %d still are", before, after)
	}
}

// programPages is how much of this program is mapped and as it is in its file,
// in KiB.
func programPages(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sum, counts := 0, false
	for line := range strings.Lines(string(text)) {
		var n int
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &n); err == nil && counts {
			sum += n
		}
		if name, _, _ := strings.Cut(line, " "); !strings.HasSuffix(name, ":") {
			_, _, counts = unwritten([]byte(line), exe)
		}
	}
	return sum
}
