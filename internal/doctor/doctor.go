// Package doctor says what this machine can do for Davy and how to fix what is
// missing. It looks and tries; it changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
	"davy/internal/sandbox/oci"
)

// Finding is one thing that was looked at.
type Finding struct {
	What  string
	OK    bool
	State string // what was found
	Fix   string // what to do, when not OK
}

// Config says what to look at.
type Config struct {
	// Data is a directory of the file system that data lies on. Empty: not
	// looked at.
	Data string
	// Root is the file system looked at; "/" outside tests.
	Root string
	UID  int
	// Driver is a sandbox driver made just now; nil when none could be.
	Driver    sandbox.Driver
	DriverErr error
	Runtimes  *runtimes.Store
}

// Examine looks at the machine.
func Examine(ctx context.Context, cfg Config) []Finding {
	found := []Finding{
		privileges(cfg.UID),
		userNamespaces(cfg.Root, cfg.UID),
		cgroups(cfg.Root),
		seccomp(cfg.Root),
	}
	if cfg.Data != "" {
		found = append(found, disk(cfg.Data))
	}
	found = append(found, sandboxes(cfg)...)
	found = append(found, wayOut(cfg)...)
	found = append(found, ociRuntimes(ctx, cfg.UID))
	return append(found, runtimesOf(cfg.Runtimes.List(ctx))...)
}

// roomy is what a disk should have free: below it the launcher stops /tmp of
// functions from growing, and what takes space is soon refused.
const roomy = 256 << 20

// disk says how much room the data has.
func disk(dir string) Finding {
	f := Finding{What: "disk"}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		f.State, f.Fix = fmt.Sprintf("%s: %v", dir, err), "choose another --data-dir"
		return f
	}
	free := int64(st.Bavail) * st.Bsize
	f.OK, f.State = free >= roomy, fmt.Sprintf("%d MiB free at %s", free>>20, dir)
	if !f.OK {
		f.Fix = "delete what is not needed: uploads are refused and functions get ENOSPC on a full disk"
	}
	return f
}

// ociRuntimes says what --sandbox oci could use. None is needed.
func ociRuntimes(ctx context.Context, uid int) Finding {
	f := Finding{What: "OCI runtimes", OK: true}
	var have []string
	for _, name := range oci.Known {
		if rt, err := oci.Find(ctx, name); err == nil {
			have = append(have, rt.Path+" ("+rt.Version+")")
		}
	}
	f.State = strings.Join(have, ", ")
	switch {
	case len(have) == 0:
		f.State = "none of " + strings.Join(oci.Known, ", ") + ": needed for --sandbox oci only"
	case uid != 0:
		f.State += ": --sandbox oci needs root"
	}
	return f
}

// runtimesOf judges the runtimes. Python comes from the host, which seldom has
// every version: those it lacks are told on one line and are no fault.
func runtimesOf(all []runtimes.Status) []Finding {
	var found []Finding
	var absent []string
	for _, s := range all {
		f := Finding{What: "runtime " + s.Runtime.Name, OK: s.Source != "", State: s.Source + " " + s.Version}
		switch {
		case s.Runtime.Custom():
			f.State = "brought by each function"
		case f.OK:
		case s.Runtime.Family == runtimes.Python:
			absent = append(absent, s.Runtime.Name)
			continue
		default:
			f.State, f.Fix = "not installed", "run scripts/fetch-runtimes DIR, then davy runtime add --from DIR"
		}
		found = append(found, f)
	}
	if len(absent) > 0 {
		found = append(found, Finding{What: "other runtimes", OK: true, State: strings.Join(absent, ", ") + ": not on this machine; install your distribution's package of one to use it"})
	}
	return found
}

// Print writes the findings and reports whether all are well.
func Print(w io.Writer, found []Finding) (well bool) {
	well = true
	for _, f := range found {
		mark := "ok     "
		if !f.OK {
			mark, well = "missing", false
		}
		fmt.Fprintf(w, "%s  %-22s %s\n", mark, f.What, f.State)
		if !f.OK && f.Fix != "" {
			fmt.Fprintf(w, "         %-22s → %s\n", "", f.Fix)
		}
	}
	return well
}

func privileges(uid int) Finding {
	if uid == 0 {
		return Finding{What: "user", OK: true, State: "root: the server drops to an unprivileged user, functions get users of their own"}
	}
	return Finding{
		What: "user", State: fmt.Sprintf("%d: functions run without memory, CPU and process limits", uid),
		Fix: "run davy serve as root",
	}
}

func userNamespaces(root string, uid int) Finding {
	f := Finding{What: "user namespaces"}
	if text, err := read(root, "proc/sys/user/max_user_namespaces"); err != nil || text == "0" {
		f.State, f.Fix = "switched off", "sysctl user.max_user_namespaces=15000"
		return f
	}
	if uid != 0 {
		if text, err := read(root, "proc/sys/kernel/unprivileged_userns_clone"); err == nil && text == "0" {
			f.State, f.Fix = "only for root", "sysctl kernel.unprivileged_userns_clone=1"
			return f
		}
		if text, err := read(root, "proc/sys/kernel/apparmor_restrict_unprivileged_userns"); err == nil && text == "1" {
			f.State, f.Fix = "restricted by AppArmor", "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root"
			return f
		}
	}
	f.OK, f.State = true, "available"
	return f
}

func cgroups(root string) Finding {
	f := Finding{What: "control groups"}
	if text, err := read(root, "sys/fs/cgroup/cgroup.controllers"); err == nil {
		f.State = "version 2 (" + text + ")"
		missing := lacking(text, "memory", "cpu", "pids")
		f.OK = len(missing) == 0
		if !f.OK {
			f.Fix = "enable the controllers " + strings.Join(missing, ", ") + " in the kernel's command line"
		}
		return f
	}
	var have []string
	for _, c := range []string{"memory", "cpu", "pids", "freezer", "devices"} {
		if _, err := os.Stat(filepath.Join(root, "sys/fs/cgroup", c, "cgroup.procs")); err == nil {
			have = append(have, c)
		}
	}
	missing := lacking(strings.Join(have, " "), "memory", "cpu", "pids", "freezer")
	f.OK, f.State = len(missing) == 0, "version 1 ("+strings.Join(have, " ")+")"
	if !f.OK {
		f.Fix = "mount the control groups " + strings.Join(missing, ", ")
	}
	return f
}

func lacking(have string, want ...string) (missing []string) {
	fields := strings.Fields(have)
	for _, w := range want {
		found := false
		for _, f := range fields {
			found = found || f == w
		}
		if !found {
			missing = append(missing, w)
		}
	}
	return missing
}

func seccomp(root string) Finding {
	if _, err := os.Stat(filepath.Join(root, "proc/sys/kernel/seccomp/actions_avail")); err != nil {
		return Finding{What: "system call filter", State: "the kernel has no seccomp", Fix: "use a kernel with CONFIG_SECCOMP_FILTER"}
	}
	return Finding{What: "system call filter", OK: true, State: "available"}
}

// sandboxes reports what a sandbox would really have.
func sandboxes(cfg Config) []Finding {
	if cfg.Driver == nil {
		err := cfg.DriverErr
		if err == nil {
			err = errors.New("not tried")
		}
		return []Finding{{What: "sandbox", State: err.Error(), Fix: "see the findings above"}}
	}
	missing := slices.DeleteFunc(slices.Clone(cfg.Driver.Missing()), isWayOut)
	if len(missing) == 0 {
		return []Finding{{What: "sandbox", OK: true, State: "every protection is there"}}
	}
	var found []Finding
	for _, m := range missing {
		f := Finding{What: "sandbox", State: m}
		if strings.HasPrefix(m, sandbox.MissingTmp) {
			f.Fix = "run as root on a machine with loop devices, ext4 and mke2fs (package e2fsprogs), the data directory on a disk"
		}
		found = append(found, f)
	}
	return found
}

func isWayOut(missing string) bool { return strings.HasPrefix(missing, sandbox.MissingEgress) }

// wayOut reports whether sandboxes can have a network device.
func wayOut(cfg Config) []Finding {
	if cfg.Driver == nil {
		return nil // told by sandboxes
	}
	i := slices.IndexFunc(cfg.Driver.Missing(), isWayOut)
	if i < 0 {
		return []Finding{{What: "way out", OK: true, State: "functions reach the internet as far as --egress lets them"}}
	}
	f := Finding{What: "way out", State: strings.TrimPrefix(cfg.Driver.Missing()[i], sandbox.MissingEgress+": ")}
	switch _, err := os.Stat(filepath.Join(cfg.Root, "dev/net/tun")); {
	case err != nil:
		f.Fix = "modprobe tun; in a container, give it the device /dev/net/tun"
	case cfg.UID != 0:
		f.Fix = "let this user open the device (chmod 666 /dev/net/tun, as udev does), or run davy serve as root"
	default:
		f.Fix = "see the finding; --egress none says that none is wanted"
	}
	return []Finding{f}
}

func read(root, path string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, path))
	return strings.TrimSpace(string(text)), err
}
