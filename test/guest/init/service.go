//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var firstBoot = []check{
	{"systemd is process 1", isSystemd},
	{"the commands of docs/systemd.md install and start it", install},
	{"the unit is as it says", properties},
	{"a role, functions, a trigger, uploads and their copies", job},
	{"its groups are below the unit's", groups},
	{"the server has no privileges", unprivileged},
	{"a function's limits bite, and the service lives on", limits},
	{"the journal has its log", journal},
	{"reload is refused and harms nothing", reload},
	{"the service comes back when a process of it is killed", killed},
	{"restart", restart},
	{"stop leaves nothing", stop},
	{"start", start},
}

var secondBoot = []check{
	{"systemd is process 1", isSystemd},
	{"the service starts by itself", started},
	{"every acknowledged object is there", survived},
	{"every acknowledged object was copied", recopied},
}

func isSystemd(context.Context, *machine) error {
	name, err := os.ReadFile("/proc/1/comm")
	if err == nil && string(name) != "systemd\n" {
		err = fmt.Errorf("it is %q", name)
	}
	return err
}

// install runs the first commands of the documentation, as root.
func install(ctx context.Context, m *machine) (err error) {
	if m.before, err = inventory(); err != nil {
		return err
	}
	text, err := os.ReadFile(payload + "/docs/systemd.md")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(text), "```sh\n")
	script, _, ok := strings.Cut(rest, "```")
	if !ok {
		return errors.New("docs/systemd.md has no commands")
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-e", "-c", `sudo() { "$@"; }`+"\n"+script)
	cmd.Dir = payload
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	// `systemctl start` returns when it serves.
	m.client, err = newClient()
	if err != nil {
		return err
	}
	_, err = m.client.s3(ctx, "GET", "/", nil)
	return err
}

// properties are what systemd made of the unit.
func properties(ctx context.Context, _ *machine) error {
	out, err := output(ctx, "systemctl", "--version")
	if err != nil {
		return err
	}
	var version int
	if _, err := fmt.Sscanf(out, "systemd %d", &version); err != nil {
		return err
	}
	want := map[string]string{
		"ActiveState": "active", "SubState": "running", "Type": "notify", "NRestarts": "0", "UnitFileState": "enabled",
		"ControlGroup": "/system.slice/" + unit, "Delegate": "yes", "DelegateControllers": "cpu memory pids",
		"OOMPolicy": "continue", "TasksMax": "infinity", "KillMode": "mixed", "Restart": "on-failure", "StateDirectory": "davy",
	}
	if version >= 254 {
		want["DelegateSubgroup"] = servicesLeaf
	}
	var problems []error
	for name, w := range want {
		got, err := property(ctx, name)
		if err == nil && name == "DelegateControllers" { // in systemd's order, and with what else it cannot tell apart
			for _, c := range strings.Fields(w) {
				if !slices.Contains(strings.Fields(got), c) {
					err = fmt.Errorf("%s is %q without %s", name, got, c)
				}
			}
		} else if err == nil && got != w {
			err = fmt.Errorf("%s is %q, want %q", name, got, w)
		}
		problems = append(problems, err)
	}
	if info, err := os.Stat(dataDir); err != nil || info.Mode().Perm() != 0o700 && info.Mode().Perm() != 0o755 {
		problems = append(problems, fmt.Errorf("%s: %v, %w", dataDir, info.Mode(), err))
	}
	return errors.Join(problems...)
}

// job is the main one: uploads, which a function copies.
func job(ctx context.Context, m *machine) error {
	if err := m.client.prepare(ctx); err != nil {
		return err
	}
	for n := 1; n <= 3; n++ {
		if err := m.client.put(ctx, -n); err != nil {
			return err
		}
		if err := m.client.copied(ctx, -n); err != nil {
			return err
		}
	}
	return nil
}

// groups looks at the tree while the function's environment waits, frozen, for
// its next invocation.
func groups(ctx context.Context, m *machine) error {
	if err := m.client.invoke(ctx, greedy.name, map[string]string{}, nil); err != nil {
		return err
	}
	own, err := processesIn(unitGroup)
	if err != nil {
		return err
	}
	if len(own) > 0 {
		return fmt.Errorf("processes %v are in the unit's group itself, which is divided", own)
	}
	leaf, err := processesIn(filepath.Join(unitGroup, servicesLeaf))
	if err != nil {
		return err
	}
	main, err := mainPID(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(leaf, main) || len(leaf) < 3 {
		return fmt.Errorf("%s has processes %v: want the main one, %d, the launcher and the server", servicesLeaf, leaf, main)
	}
	found := ""
	memory := strconv.Itoa(greedy.memory << 20)
	err = filepath.WalkDir(cgroups, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // groups vanish
		}
		if strings.HasPrefix(d.Name(), "davy") && !within(unitGroup, path) {
			return fmt.Errorf("%s is not below the unit's", path)
		}
		if b, _ := os.ReadFile(filepath.Join(path, "memory.max")); strings.TrimSpace(string(b)) == memory {
			found = path
		}
		return nil
	})
	if err != nil {
		return err
	}
	if found == "" {
		return fmt.Errorf("no group has the function's memory.max, %s", memory)
	}
	if err := eventually(ctx, 5*time.Minute, func() error { return says(found, "cgroup.events", "populated 1\nfrozen 1") }); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(found, "cpu.max"))
	if err != nil {
		return err
	}
	var quota, period int
	if _, err := fmt.Sscan(string(b), &quota, &period); err != nil || period == 0 || max(quota*1000/period, greedy.memory*1000/1769)-min(quota*1000/period, greedy.memory*1000/1769) > 1 {
		return fmt.Errorf("cpu.max is %q, want the share of %d MB in 1769, %w", b, greedy.memory, err)
	}
	return errors.Join(says(found, "memory.swap.max", "0"), says(found, "memory.oom.group", "1"), says(found, "pids.max", "1024"))
}

// says compares a group's file.
func says(dir, file, want string) error {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if got := strings.TrimSpace(string(b)); err == nil && got != want {
		err = fmt.Errorf("%s/%s says %q, want %q", dir, file, got, want)
	}
	return err
}

// unprivileged finds the server among the service's processes.
func unprivileged(ctx context.Context, _ *machine) error {
	server, _, err := parts(ctx)
	if err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server))
	if err != nil {
		return err
	}
	for _, want := range []string{"NoNewPrivs:\t1\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n"} {
		if !strings.Contains(string(status), want) {
			return fmt.Errorf("no %q in its status:\n%s", want, status)
		}
	}
	return nil
}

// parts are the main process's children: the server is nobody's user, the
// launcher root's.
func parts(ctx context.Context) (server, launcher int, err error) {
	main, err := mainPID(ctx)
	if err != nil {
		return 0, 0, err
	}
	leaf, err := processesIn(filepath.Join(unitGroup, servicesLeaf))
	if err != nil {
		return 0, 0, err
	}
	for _, pid := range leaf {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) < 2 || f[1] != strconv.Itoa(main) {
			continue
		}
		var info syscall.Stat_t
		if err := syscall.Stat(fmt.Sprintf("/proc/%d", pid), &info); err != nil {
			continue
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if strings.Contains(string(status), "\nUid:\t0\t") {
			launcher = pid
		} else {
			server = pid
		}
	}
	if server == 0 || launcher == 0 {
		return 0, 0, fmt.Errorf("among %v are no server (%d) and launcher (%d)", leaf, server, launcher)
	}
	return server, launcher, nil
}

// limits has the function meet each of its limits.
func limits(ctx context.Context, m *machine) error {
	main, err := mainPID(ctx)
	if err != nil {
		return err
	}
	take := func(what string, answer any) error {
		return m.client.invoke(ctx, greedy.name, map[string]string{"take": what}, answer)
	}
	var share float64
	if err := take("processor", &share); err != nil {
		return err
	}
	if want := float64(greedy.memory) / 1769; share > want*1.2 {
		return fmt.Errorf("of a processor it had %.2f, want %.2f", share, want)
	}
	var stopped string // "N can't start new thread"
	if err := take("processes", &stopped); err != nil {
		return err
	}
	var n int
	if _, err := fmt.Sscan(stopped, &n); err != nil || n < 900 || n >= 1024 || !strings.Contains(stopped, "can't start") {
		return fmt.Errorf("of 1024 processes it had %s", stopped)
	}
	if err := take("memory", nil); err == nil || !strings.Contains(err.Error(), "Runtime.OutOfMemory") {
		return fmt.Errorf("its memory met no limit: %w", err)
	}
	// The kernel counted that for the unit.
	if again, err := mainPID(ctx); err != nil || again != main {
		return fmt.Errorf("the service was %d and is %d, %w", main, again, err)
	}
	if state, err := property(ctx, "ActiveState"); err != nil || state != "active" {
		return fmt.Errorf("the service is %s, %w", state, err)
	}
	return take("nothing", nil)
}

func journal(ctx context.Context, _ *machine) error {
	text, err := output(ctx, "journalctl", "--no-pager", "-o", "cat", "-u", unit)
	if err != nil {
		return err
	}
	for _, want := range []string{"davy ready api=", "level=INFO msg="} {
		if !strings.Contains(text, want) {
			return fmt.Errorf("no %q in it:\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "protection is missing") && !strings.Contains(line, "memory peak: Linux before 6.12") {
			return errors.New(line)
		}
	}
	return nil
}

// reload: settings are read at the start alone, so there is none.
func reload(ctx context.Context, m *machine) error {
	before, err := mainPID(ctx)
	if err != nil {
		return err
	}
	if out, err := output(ctx, "systemctl", "reload", unit); err == nil {
		return fmt.Errorf("it was accepted: %s", out)
	}
	if after, err := mainPID(ctx); err != nil || after != before {
		return fmt.Errorf("the service was %d and is %d, %w", before, after, err)
	}
	return m.client.invoke(ctx, greedy.name, map[string]string{}, nil)
}

// killed ends each of the service's three processes as the kernel would.
func killed(ctx context.Context, m *machine) error {
	for i, which := range []string{"launcher", "server", "main process"} {
		main, err := mainPID(ctx)
		if err != nil {
			return err
		}
		server, launcher, err := parts(ctx)
		if err != nil {
			return err
		}
		pid := []int{launcher, server, main}[i]
		fmt.Printf("killing the %s, %d, of main %d, server %d, launcher %d\n", which, pid, main, server, launcher)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		err = eventually(ctx, 5*time.Minute, func() error {
			s, l, err := parts(ctx)
			if err == nil && (l == launcher || which != "launcher" && s == server) {
				err = fmt.Errorf("server %d and launcher %d are still there", s, l)
			}
			if err == nil {
				_, err = m.client.s3(ctx, "GET", "/", nil)
			}
			if err == nil {
				ctx, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				err = m.client.invoke(ctx, greedy.name, map[string]string{}, nil)
			}
			if err != nil {
				fmt.Println("not yet:", err)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", which, err)
		}
		if after, err := mainPID(ctx); err != nil || (after == main) != (which == "launcher") {
			return fmt.Errorf("%s was killed: the service was %d and is %d, %w", which, main, after, err)
		}
		fmt.Println("it is back")
		if err := m.client.put(ctx, -11-i); err != nil {
			return err
		}
		if err := m.client.copied(ctx, -11-i); err != nil {
			return fmt.Errorf("%s: %w", which, err)
		}
	}
	return nil
}

func restart(ctx context.Context, m *machine) error {
	before, err := mainPID(ctx)
	if err != nil {
		return err
	}
	if _, err := output(ctx, "systemctl", "restart", unit); err != nil {
		return err
	}
	if after, err := mainPID(ctx); err != nil || after == before {
		return fmt.Errorf("the service was %d and is %d, %w", before, after, err)
	}
	return m.client.invoke(ctx, greedy.name, map[string]string{}, nil)
}

func start(ctx context.Context, m *machine) error {
	if _, err := output(ctx, "systemctl", "start", unit); err != nil {
		return err
	}
	return m.client.invoke(ctx, greedy.name, map[string]string{}, nil)
}

// stop has the service drain, and compares what is there with what was.
func stop(ctx context.Context, m *machine) error {
	if _, err := output(ctx, "systemctl", "stop", unit); err != nil {
		return err
	}
	for name, want := range map[string]string{"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"} {
		if got, err := property(ctx, name); err != nil || got != want {
			return fmt.Errorf("%s is %q, want %q, %w", name, got, want, err)
		}
	}
	after, err := inventory()
	if err != nil {
		return err
	}
	var problems []error
	for _, thing := range after {
		if !slices.Contains(m.before, thing) {
			problems = append(problems, errors.New("left behind: "+thing))
		}
	}
	return errors.Join(problems...)
}

// started waits for what the machine starts by itself.
func started(ctx context.Context, m *machine) error {
	err := eventually(ctx, 5*time.Minute, func() error {
		state, err := property(ctx, "ActiveState")
		if err == nil && state != "active" {
			err = fmt.Errorf("it is %s", state)
		}
		return err
	})
	if err != nil {
		return err
	}
	if m.client, err = newClient(); err != nil {
		return err
	}
	return m.client.invoke(ctx, greedy.name, map[string]string{}, nil)
}

func survived(ctx context.Context, m *machine) error {
	last, err := acknowledged()
	if err != nil {
		return err
	}
	var problems []error
	for n := 1; n <= last; n++ {
		key, content := object(n)
		problems = append(problems, m.client.has(ctx, source, key, content))
	}
	return errors.Join(problems...)
}

func recopied(ctx context.Context, m *machine) error {
	last, err := acknowledged()
	for n := 1; n <= last && err == nil; n++ {
		err = m.client.copied(ctx, n)
	}
	return err
}
