//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// step is one program that must end with status 0 and leave nothing behind.
type step struct {
	name  string
	place place
	args  []string
	env   []string
	limit time.Duration
}

// test is a step that runs a test binary of scripts/guest. Its tests must run:
// a skipped one is a failure here unless it is in skips.
func test(name string, p place, pkg, pattern string, limit time.Duration) step {
	return step{name, p, []string{
		payload + "/tests/" + pkg + ".test", "-test.v", "-test.run", pattern, "-test.timeout", limit.String(),
	}, nil, limit + 30*time.Second}
}

func (s step) with(env ...string) step {
	s.env = env
	return s
}

// The software emulation takes ten to thirty times as long as a processor.
var plan = []step{
	test("cgroup-service", service, "cgroup", ".", 3*time.Minute).with("DAVY_CGROUP_TEST_PLACE=own"),
	test("cgroup-plain", plainService, "cgroup", "Real", 3*time.Minute).with("DAVY_CGROUP_TEST_PLACE=own"),
	test("cgroup-subgroup", subgroup, "cgroup", "Real", 3*time.Minute).with("DAVY_CGROUP_TEST_PLACE=own"),
	test("cgroup-session", session, "cgroup", "Real", 3*time.Minute).with("DAVY_CGROUP_TEST_PLACE=top"),
	test("cgroup-container", containerRW, "cgroup", "Real", 3*time.Minute).with("DAVY_CGROUP_TEST_PLACE=own"),
	test("cgroup-readonly", containerRO, "cgroup", "Unwritable", 3*time.Minute),
	test("launcher", service, "launcher", ".", 5*time.Minute),
	test("ns", service, "ns", ".", 10*time.Minute),
	test("scratch", service, "scratch", ".", 10*time.Minute),
	test("filters", service, "sysfilter", ".", 3*time.Minute),
	test("pid1", service, "pid1", ".", 3*time.Minute),
	test("oci", service, "oci", "Conformance/runc", 30*time.Minute),
	test(gvisor, service, "oci", "Conformance/runsc", 60*time.Minute),
	test("escape", service, "escape", ".", 60*time.Minute),
	test("execenv", service, "execenv", "Sandboxed", 40*time.Minute).with("TMPDIR=/srv", "DAVY_INSTALLED_RUNTIMES=/srv/runtimes"),
	{"demo", service, []string{payload + "/bin/davy", "demo", "--runtimes", "/srv/runtimes", "--patience", "15m"}, nil, 40 * time.Minute},
}

// skips are parts of "STEP TEST" of the tests that may be skipped.
var skips = []string{
	"cgroup-service TestUnwritable_IsSaid", // has a step of its own
	"cgroup-service TestSweepOthers",       // is about version 1
	"TestQuota_BelowASmallerOne",           // as well
	"DeviceWithoutRoot",                    // of ordinary users
	"PeakStartsAnew",                       // Linux 6.12
	"a_child_that_has_ended",               // transparent huge pages are "always" in Debian's kernels
	"TestLandlock_",                        // some want more of Landlock than Linux 6.1 has
}

// gvisor is the step that needs a runsc, and is left out without one unless it
// is named.
const gvisor = "gvisor"

func hasRunsc() bool {
	_, err := os.Stat(payload + "/bin/runsc")
	return err == nil
}

// run is the runner: all steps, or those that the kernel's command line names
// with davy.steps=a,b.
func run() int {
	wanted := chosen()
	failed := 0
	for name := range wanted {
		if !slices.ContainsFunc(plan, func(s step) bool { return s.name == name }) {
			failed++
			fmt.Printf("--- step %s: there is no such step\n", name)
		}
	}
	for _, s := range plan {
		if len(wanted) > 0 && !wanted[s.name] || len(wanted) == 0 && s.name == gvisor && !hasRunsc() {
			continue
		}
		began := time.Now()
		fmt.Printf("=== step %s\n", s.name)
		if problems := s.do(); len(problems) > 0 {
			failed++
			for _, p := range problems {
				fmt.Printf("--- step %s: %s\n", s.name, p)
			}
			fmt.Printf("--- step %s: FAIL (%.1fs)\n", s.name, time.Since(began).Seconds())
		} else {
			fmt.Printf("--- step %s: ok (%.1fs)\n", s.name, time.Since(began).Seconds())
		}
	}
	if failed > 0 {
		return 1
	}
	return 0
}

func chosen() map[string]bool {
	names := map[string]bool{}
	for n := range strings.SplitSeq(argument("davy.steps"), ",") {
		if n != "" { // "davy.steps=" names none
			names[n] = true
		}
	}
	return names
}

// do runs the step and says what went wrong.
func (s step) do() (problems []string) {
	dir, err := s.place.group(s.name)
	if err != nil {
		return []string{err.Error()}
	}
	if s.place == session { // the shell from which the user started it
		shell := exec.Command("/bin/sleep", "infinity")
		if err := shell.Start(); err != nil {
			return []string{err.Error()}
		}
		if err := put(filepath.Join(dir, "cgroup.procs"), fmt.Sprint(shell.Process.Pid)); err != nil {
			return []string{err.Error()}
		}
		defer func() {
			if b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")); !strings.Contains(string(b), fmt.Sprint(shell.Process.Pid)) {
				problems = append(problems, "the user's shell was moved out of its session")
			}
			_ = shell.Process.Kill()
			_ = shell.Wait()
		}()
	}
	cmd, done, err := s.place.command(dir, s.args)
	if err != nil {
		return []string{err.Error()}
	}
	defer done()
	tmp := filepath.Join("/var/tmp", s.name)
	if err := os.MkdirAll(tmp, 0o1777); err != nil {
		return []string{err.Error()}
	}
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.Env = append(cmd.Env, s.env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return []string{err.Error()}
	}
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return []string{err.Error()}
	}
	alarm := time.AfterFunc(s.limit, func() {
		fmt.Printf("--- step %s: took longer than %s\n", s.name, s.limit)
		_ = put(filepath.Join(dir, "cgroup.kill"), "1")
	})
	problems = s.read(out)
	if err := cmd.Wait(); err != nil {
		problems = append(problems, err.Error())
	}
	alarm.Stop()
	for _, l := range leftovers(dir) {
		if s.place == session && strings.Contains(l, "sleep infinity") {
			continue
		}
		problems = append(problems, "left behind: "+l)
	}
	return problems
}

// read copies the step's output to the console, and finds tests that did not
// run.
func (s step) read(out io.Reader) (problems []string) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		fmt.Println(line)
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- SKIP: "); ok {
			name, _, _ = strings.Cut(name, " ")
			allowed := func(part string) bool { return strings.Contains(s.name+" "+name, part) }
			// runsc is not in Debian: who starts the guest may give one.
			without := s.name != gvisor && !hasRunsc() && strings.Contains(name, "/runsc")
			if !slices.ContainsFunc(skips, allowed) && !without {
				problems = append(problems, "skipped "+name)
			}
		}
	}
	return problems
}
