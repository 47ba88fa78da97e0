package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"davy/internal/sandbox"
)

// machine writes a file tree that looks like a machine.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindings(t *testing.T) {
	v1 := map[string]string{}
	for _, c := range []string{"memory", "cpu", "pids", "freezer", "devices"} {
		v1["sys/fs/cgroup/"+c+"/cgroup.procs"] = ""
	}
	for _, tc := range []struct {
		name  string
		files map[string]string
		find  func(root string) Finding
		ok    bool
		text  string
	}{
		{"cgroup v2", map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n"}, cgroups, true, "version 2"},
		{"cgroup v2 without memory", map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu pids"}, cgroups, false, "controllers memory"},
		{"cgroup v1", v1, cgroups, true, "version 1"},
		{"no cgroup", nil, cgroups, false, "memory, cpu, pids, freezer"},
		{"seccomp", map[string]string{"proc/sys/kernel/seccomp/actions_avail": "kill"}, seccomp, true, "available"},
		{"no seccomp", nil, seccomp, false, "CONFIG_SECCOMP_FILTER"},
		{
			"user namespaces",
			map[string]string{"proc/sys/user/max_user_namespaces": "96365"},
			func(r string) Finding { return userNamespaces(r, 1000) }, true, "available",
		},
		{
			"no user namespaces",
			map[string]string{"proc/sys/user/max_user_namespaces": "0"},
			func(r string) Finding { return userNamespaces(r, 0) }, false, "user.max_user_namespaces",
		},
		{
			"only root's user namespaces",
			map[string]string{"proc/sys/user/max_user_namespaces": "9", "proc/sys/kernel/unprivileged_userns_clone": "0\n"},
			func(r string) Finding { return userNamespaces(r, 1000) }, false, "unprivileged_userns_clone=1",
		},
		{
			"AppArmor",
			map[string]string{"proc/sys/user/max_user_namespaces": "9", "proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
			func(r string) Finding { return userNamespaces(r, 1000) }, false, "AppArmor",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := tc.find(machine(t, tc.files))
			if f.OK != tc.ok || !strings.Contains(f.State+f.Fix, tc.text) {
				t.Fatalf("%+v, want ok %v and %q", f, tc.ok, tc.text)
			}
		})
	}
}

// lacking is a driver whose sandboxes lack something.
type lackingDriver struct {
	sandbox.Driver
	missing []string
}

func (d lackingDriver) Missing() []string { return d.missing }

func TestWayOut(t *testing.T) {
	none := sandbox.MissingEgress + ": functions reach no network: open /dev/net/tun: permission denied"
	for _, tc := range []struct {
		name    string
		files   map[string]string
		uid     int
		missing []string
		ok      bool
		text    string
	}{
		{"there", nil, 0, nil, true, "--egress"},
		{"no device", nil, 0, []string{none}, false, "modprobe tun"},
		{"not this user's", map[string]string{"dev/net/tun": ""}, 1000, []string{"control groups: x", none}, false, "chmod 666"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Root: machine(t, tc.files), UID: tc.uid, Driver: lackingDriver{missing: tc.missing}}
			found := wayOut(cfg)
			if len(found) != 1 || found[0].OK != tc.ok || !strings.Contains(found[0].State+found[0].Fix, tc.text) {
				t.Fatalf("%+v, want ok %v and %q", found, tc.ok, tc.text)
			}
			for _, f := range sandboxes(cfg) {
				if strings.Contains(f.State, "/dev/net/tun") {
					t.Errorf("told twice: %+v", f)
				}
			}
		})
	}
}

func TestPrint_SaysHowToFix(t *testing.T) {
	var out strings.Builder
	well := Print(&out, []Finding{{What: "a", OK: true, State: "fine"}, {What: "b", State: "broken", Fix: "mend it"}})
	if well || !strings.Contains(out.String(), "mend it") || !strings.Contains(out.String(), "ok       a") {
		t.Fatalf("well %v:\n%s", well, out.String())
	}
}
