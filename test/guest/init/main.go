//go:build linux

// Command init is the first process of the guest in which Davy's tests meet
// control groups of version 2: a Linux machine that scripts/guest boots. It
// brings the machine up as a distribution of today does (one cgroup2 tree,
// services in slices), runs the steps of plan.go, says on the console how each
// went, and switches the machine off.
//
// It is one static program in several roles: process 1, which has the machine
// and buries orphans, and the runner, its child. On a kernel command line with
// davy.systemd= it makes systemd process 1 instead, and is a service of it that
// looks at how Davy does as another: see systemd.go.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// verdict begins the last line that the guest prints; scripts/guest looks for
// it. Whatever comes instead is a failure.
const verdict = "guest verdict:"

const runner = "runner"

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == runner:
		os.Exit(run())
	case len(os.Args) > 2 && os.Args[1] == enterContainer:
		fmt.Fprintln(os.Stderr, "enter the container:", container(os.Args[2:]))
		os.Exit(1)
	case len(os.Args) == 3 && os.Args[1] == inspector:
		os.Exit(inspect(os.Args[2]))
	case os.Getpid() != 1:
		fmt.Fprintln(os.Stderr, "this is the first process of a test machine")
		os.Exit(2)
	}
	say := "FAIL"
	err := boot()
	if when := argument("davy.systemd"); err == nil && when != "" {
		err = becomeSystemd(when)
	} else if err == nil {
		err = bringUp()
	}
	if err != nil {
		fmt.Println("boot:", err)
	} else if code, err := supervise(); err != nil {
		fmt.Println("runner:", err)
	} else if code == 0 {
		say = "PASS"
	}
	fmt.Println(verdict, say)
	switchOff()
}

// switchOff does not return.
func switchOff() {
	time.Sleep(100 * time.Millisecond) // the console's last characters
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// argument is the value of NAME=value on the kernel's command line.
func argument(name string) string {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return ""
	}
	for f := range strings.FieldsSeq(string(line)) {
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			return v
		}
	}
	return ""
}

// supervise runs the runner and waits for every process that ends without a
// parent. It gives the runner's exit code.
func supervise() (int, error) {
	p, err := os.StartProcess("/proc/self/exe", []string{"init", runner}, &os.ProcAttr{
		Dir: "/", Env: []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + payload + "/bin", "HOME=/root", "LANG=C.UTF-8"},
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return 0, err
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if pid == p.Pid {
			if ws.Exited() {
				return ws.ExitStatus(), nil
			}
			return 0, fmt.Errorf("ended by %s", ws.Signal())
		}
	}
}
