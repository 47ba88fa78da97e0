//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	unit      = "davy.service"
	unitGroup = cgroups + "/system.slice/" + unit
	binary    = "/usr/local/bin/davy"
)

// inspector, as the first argument, runs the checks as a service of systemd.
// What follows says which boot it is.
const (
	inspector = "inspect"
	first     = "first" // a fresh machine, on which Davy is installed
	again     = "again" // the same after its power was cut
)

// inspection is the unit that systemd starts the inspector by. When it ends,
// however it does, the machine is switched off.
const inspection = `[Unit]
Description=What is looked at in Davy's service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
ExecStart=` + payload + `/init ` + inspector + ` %s
Environment=HOME=/root
TasksMax=infinity
`

// becomeSystemd makes systemd the first process, with the inspector among its
// services. The packages' scripts have not run: what is missing of that, and
// what would ask at the console, is settled here.
func becomeSystemd(when string) error {
	units := "/etc/systemd/system"
	for path, text := range map[string]string{
		units + "/inspection.service": fmt.Sprintf(inspection, when),
		"/etc/machine-id":             strings.Repeat("0123456789abcdef", 2) + "\n",
		// Settings of the machine: docs/systemd.md says where to put them.
		units + "/" + unit + ".d/runtimes.conf": "[Service]\nEnvironment=DAVY_RUNTIMES=/srv/runtimes\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	links := map[string]string{
		units + "/multi-user.target.wants/inspection.service": "../inspection.service",
		units + "/default.target":                             "/lib/systemd/system/multi-user.target",
		units + "/getty.target":                               "/dev/null",
	}
	for path, to := range links {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(to, path); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return fmt.Errorf("systemd: %w", unix.Exec("/lib/systemd/systemd", []string{"/lib/systemd/systemd", "--show-status=false"}, []string{"TERM=linux"}))
}

// check is one thing that must hold; they run in order, and the first that
// does not ends it.
type check struct {
	name string
	run  func(context.Context, *machine) error
}

// machine is what the checks keep between them.
type machine struct {
	client *client
	before []string // what was there before Davy's first start
}

// inspect runs the checks of this boot and says on the console how they went.
func inspect(when string) int {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Stdout = console
	checks := map[string][]check{first: firstBoot, again: secondBoot}[when]
	ctx, m := context.Background(), &machine{}
	say := "PASS"
	for _, c := range checks {
		began := time.Now()
		fmt.Printf("=== step systemd: %s\n", c.name)
		if err := c.run(ctx, m); err != nil {
			say = "FAIL"
			fmt.Printf("--- step systemd: %s: %v\n", c.name, err)
			for _, args := range [][]string{{"systemctl", "status", "--no-pager", "-l", unit}, {"journalctl", "--no-pager", "-n", "100", "-o", "cat"}} {
				out, _ := exec.Command(args[0], args[1:]...).CombinedOutput()
				fmt.Printf("%s\n", out)
			}
			fmt.Printf("--- step systemd: %s: FAIL (%.1fs)\n", c.name, time.Since(began).Seconds())
			break
		}
		fmt.Printf("--- step systemd: %s: ok (%.1fs)\n", c.name, time.Since(began).Seconds())
	}
	if say == "PASS" && when == first {
		fmt.Println(verdict, "power") // may be cut now
		err := uploadForever(ctx, m)
		fmt.Println("--- step systemd: uploads until the power is cut:", err)
		say = "FAIL"
	}
	fmt.Println(verdict, say)
	switchOff()
	return 0
}

// underway is how many uploads may wait for their copies: their functions start
// at once, and this machine is slow.
const underway = 4

// uploadForever says on the console what was acknowledged, until there is
// nothing to say it to.
func uploadForever(ctx context.Context, m *machine) error {
	for n := 1; ; n++ {
		if n > underway {
			if err := m.client.copied(ctx, n-underway); err != nil {
				return err
			}
		}
		if err := m.client.put(ctx, n); err != nil {
			return err
		}
		fmt.Printf("acknowledged: %d objects\n", n)
	}
}

// acknowledged is how many of those there were.
func acknowledged() (int, error) { return strconv.Atoi(argument("davy.acknowledged")) }

// output runs a command that must succeed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// property asks systemd for one of the unit's.
func property(ctx context.Context, name string) (string, error) {
	out, err := output(ctx, "systemctl", "show", "--value", "-p", name, unit)
	return strings.TrimSpace(out), err
}

func mainPID(ctx context.Context) (int, error) {
	s, err := property(ctx, "MainPID")
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(s)
	if err == nil && pid == 0 {
		err = fmt.Errorf("%s has no process", unit)
	}
	return pid, err
}
