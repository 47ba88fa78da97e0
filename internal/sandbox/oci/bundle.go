package oci

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"davy/internal/sandbox"
	"davy/internal/sandbox/pid1"
	"davy/internal/sandbox/wire"
)

// Plan describes a container.
type Plan struct {
	ID     string // unique among those of a machine
	Holder int    // process whose namespaces the container joins
	Root   Root

	Args, Env      []string
	Dir            string
	Stdout, Stderr *os.File // nil: /dev/null
	Files          []*os.File

	Limits      sandbox.Limits
	CgroupsPath string // empty: no control groups
	UIDBase     uint32 // first of the host's user ids that are mapped
	UIDs        uint32 // how many
	Ablate      wire.Ablation
}

// The user that a workload is, inside, and what /tmp and /dev/shm hold.
const (
	workloadUID = 993
	workloadGID = 990
	tmpInodes   = 1 << 18
	shmBytes    = 16 << 20
	oomScore    = 500
)

func (p Plan) off(a wire.Ablation) bool { return p.Ablate&a != 0 }

// config is the container's config.json.
func (m *Machine) config(p Plan, root string) *specs.Spec {
	s := &specs.Spec{
		Version: "1.0.2", // what every runtime in use understands
		Root:    &specs.Root{Path: root, Readonly: !p.off(wire.AblateReadOnly)},
		Process: &specs.Process{
			User:            specs.User{UID: workloadUID, GID: workloadGID, Umask: new(uint32(0o022))},
			Args:            p.Args,
			Env:             p.Env,
			Cwd:             p.Dir,
			NoNewPrivileges: !p.off(wire.AblateNoGain),
			Capabilities:    &specs.LinuxCapabilities{},
			Rlimits:         rlimits(p),
			OOMScoreAdj:     new(oomScore),
		},
		Mounts: mounts(p),
		Linux: &specs.Linux{
			Namespaces:        m.namespaces(p),
			UIDMappings:       []specs.LinuxIDMapping{{HostID: p.UIDBase, Size: p.UIDs}},
			GIDMappings:       []specs.LinuxIDMapping{{HostID: p.UIDBase, Size: p.UIDs}},
			CgroupsPath:       p.CgroupsPath,
			Resources:         resources(p),
			RootfsPropagation: "rprivate",
		},
	}
	if p.off(wire.AblateCaps) {
		s.Process.User = specs.User{}
		s.Process.Capabilities = allCapabilities()
	}
	if !p.off(wire.AblateMasks) {
		s.Linux.MaskedPaths = pid1.Masked()
		// All of /proc is mounted read-only. For a runtime that leaves the
		// option out, this part must be at least.
		s.Linux.ReadonlyPaths = []string{"/proc/sys"}
	}
	if !p.off(wire.AblateFilter) {
		s.Linux.Seccomp = m.cfg.Filter
	}
	return s
}

// namespaces are the holder's, except for the mounts, which are the
// container's own, and the control groups, whose root is where the runtime
// has put the container.
func (m *Machine) namespaces(p Plan) []specs.LinuxNamespace {
	v := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if p.CgroupsPath != "" && !p.off(wire.AblateCgroupNS) {
		v = append(v, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	for _, ns := range []struct {
		kind specs.LinuxNamespaceType
		file string
		off  wire.Ablation
	}{
		{specs.UserNamespace, "user", 0},
		{specs.PIDNamespace, "pid", wire.AblatePIDNS},
		{specs.NetworkNamespace, "net", wire.AblateNetwork},
		{specs.IPCNamespace, "ipc", wire.AblateIPC},
		{specs.UTSNamespace, "uts", wire.AblateHostname},
	} {
		if p.off(ns.off) {
			continue
		}
		n := specs.LinuxNamespace{Type: ns.kind, Path: fmt.Sprintf("/proc/%d/ns/%s", p.Holder, ns.file)}
		v = append(v, n)
	}
	return v
}

func mounts(p Plan) []specs.Mount {
	proc := []string{"nosuid", "nodev", "noexec"}
	if !p.off(wire.AblateMasks) {
		proc = append(proc, "ro")
	}
	dev := []string{"nosuid", "noexec", "mode=755", "size=64k"}
	tmp := []string{"nosuid", "nodev", "mode=1777", "nr_inodes=" + strconv.Itoa(tmpInodes)}
	if !p.off(wire.AblateReadOnly) {
		dev = append(dev, "ro")
	}
	if !p.off(wire.AblateTmp) {
		tmp = append(tmp, "size="+strconv.FormatInt(p.Limits.TmpBytes, 10))
	}
	v := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: proc},
		{Destination: "/dev", Type: "tmpfs", Source: "dev", Options: dev},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{
			"nosuid", "nodev", "noexec", "mode=1777", "nr_inodes=4096", "size=" + strconv.Itoa(shmBytes),
		}},
	}
	// A part of the root can be /tmp, on disk; with the host's root it is the
	// host's.
	given := slices.ContainsFunc(p.Root.Parts, func(part Part) bool { return part.Target == "/tmp" })
	if !given && !p.off(wire.AblateRoot) {
		v = append(v, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmp", Options: tmp})
	}
	return v
}

func rlimits(p Plan) []specs.POSIXRlimit {
	var v []specs.POSIXRlimit
	for _, l := range []struct {
		name  string
		value uint64
		off   wire.Ablation
	}{
		{"RLIMIT_CORE", 1, 0}, // none, wherever cores go: core(5)
		{"RLIMIT_NOFILE", uint64(p.Limits.OpenFiles), wire.AblateFiles},
		{"RLIMIT_NPROC", uint64(p.Limits.PIDs), wire.AblatePIDs},
		{"RLIMIT_MEMLOCK", 64 << 10, 0},
		{"RLIMIT_MSGQUEUE", 64 << 10, 0},
		{"RLIMIT_RTPRIO", 0, 0},
		{"RLIMIT_NICE", 0, 0},
	} {
		if !p.off(l.off) {
			v = append(v, specs.POSIXRlimit{Type: l.name, Hard: l.value, Soft: l.value})
		}
	}
	return v
}

// resources are the limits in the runtime's terms. The launcher has set them
// on the group already and changes them there; a runtime that is told none
// would lift them.
func resources(p Plan) *specs.LinuxResources {
	r := &specs.LinuxResources{}
	if p.CgroupsPath == "" {
		return r
	}
	if n := p.Limits.MemoryBytes; n > 0 && !p.off(wire.AblateMemory) {
		r.Memory = &specs.LinuxMemory{Limit: &n}
	}
	if n := p.Limits.PIDs; n > 0 && !p.off(wire.AblatePIDs) {
		r.Pids = &specs.LinuxPids{Limit: &n}
	}
	return r
}

func allCapabilities() *specs.LinuxCapabilities {
	all := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW",
		"CAP_SETGID", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_MKNOD",
	}
	return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all, Inheritable: all, Ambient: all}
}
