package launcher

import (
	"fmt"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// A user namespace belongs to whoever makes it, and what is used in it counts
// for its owner as well, against the limits that the owner has outside:
// inotify instances, pending signals and timers, message queues, processes. If
// the sandboxes' owner were root, a single function could leave root, and all
// other functions, without any of these. So each namespace has an owner that
// nobody else is: the last user id of the sandbox's own range.

// ownersMissing says why namespaces cannot have owners of their own; empty: they
// can. A launcher that is not the owner needs for itself what the owner of a
// namespace may do in it.
func ownersMissing(cfg Config, rootless bool) string {
	if rootless || cfg.Ablate&wire.AblateOwnUIDs != 0 {
		return "left out"
	}
	need := []uint{
		unix.CAP_DAC_OVERRIDE, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP,
		unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE,
	}
	if cfg.OCIRuntime != "" { // it sets limits from outside
		need = append(need, unix.CAP_SYS_RESOURCE)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&hdr, &have[0]); err != nil {
		return err.Error()
	}
	for _, c := range need {
		if have[c/32].Effective&(1<<(c%32)) == 0 {
			return fmt.Sprintf("davy lacks capability %d", c)
		}
	}
	return ""
}

// keepCapabilities lets the calling thread take another effective user without
// losing what root may do. The thread must be none that others use.
func keepCapabilities() error {
	const noSetuidFixup = 1 << 2 // SECBIT_NO_SETUID_FIXUP
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noSetuidFixup, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	return nil
}

// become changes the effective user of the calling thread alone.
func become(uid uint32) error {
	// Not by package syscall, which would change all threads.
	const same = ^uintptr(0)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); e != 0 {
		return fmt.Errorf("become user %d: %w", uid, e)
	}
	return nil
}

// asOwner runs f, which makes a sandbox's user namespace, as its owner.
func (s *spawner) asOwner(slot int, f func() error) error {
	if !s.owners {
		return f()
	}
	if err := become(s.uidBase(slot) + uidsEach - 1); err != nil {
		return err
	}
	err := f()
	if e := become(0); e != nil {
		return e
	}
	return err
}
