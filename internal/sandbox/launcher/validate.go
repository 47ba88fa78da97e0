package launcher

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"

	"davy/internal/sandbox"
	"davy/internal/sandbox/wire"
)

var (
	instanceName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	sandboxID    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
)

// Bounds of what a server may ask for.
const (
	maxArgs   = 64
	maxEnv    = 512
	maxMounts = 32
	maxListen = 16
	maxExtra  = 32
)

// places under which a running sandbox takes mounts
var attachable = []string{"/var/task", "/var/runtime", "/var/node_modules", "/opt"}

// targets that belong to the sandbox itself
var reserved = []string{"/proc", "/dev", "/sys", "/tmp", "/etc", "/run"}

// validateCreate checks everything about a new sandbox that does not need the
// file system, and completes the limits.
func validateCreate(r *wire.Request, fds int) error {
	c := &r.Create
	switch {
	case !sandboxID.MatchString(r.ID):
		return errors.New("bad id")
	case len(c.Args) == 0 || len(c.Args) > maxArgs || !path.IsAbs(c.Args[0]):
		return errors.New("bad arguments")
	case len(c.Env) > maxEnv || len(r.Mounts) > maxMounts || len(c.Listen) > maxListen || c.Files > maxExtra:
		return errors.New("too many entries")
	case c.Tmp != "" && !sandboxID.MatchString(c.Tmp):
		return errors.New("bad name of a /tmp")
	case fds != c.FDs():
		return errors.New("wrong number of descriptors")
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	if !path.IsAbs(c.Dir) {
		return errors.New("bad working directory")
	}
	for _, list := range [][]string{c.Args, c.Env, {c.Dir, c.Root}} {
		for _, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				return errors.New("zero byte in a string")
			}
		}
	}
	for _, e := range c.Env {
		if strings.IndexByte(e, '=') < 1 {
			return errors.New("bad environment")
		}
	}
	for _, m := range r.Mounts {
		if err := validateTarget(m.Target); err != nil {
			return err
		}
		for _, p := range reserved {
			if within(p, m.Target) {
				return fmt.Errorf("target %s belongs to the sandbox", m.Target)
			}
		}
	}
	for _, l := range c.Listen {
		if err := validateListen(l); err != nil {
			return err
		}
	}
	if c.Tuns() > 1 {
		return errors.New("more than one device")
	}
	r.Limits = complete(r.Limits)
	return validateLimits(r.Limits)
}

func validateTarget(t string) error {
	if !path.IsAbs(t) || path.Clean(t) != t || t == "/" || len(t) > 512 || strings.IndexByte(t, 0) >= 0 {
		return fmt.Errorf("bad target %q", t)
	}
	return nil
}

// within reports whether p is dir or below it.
func within(dir, p string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

func validateAttach(mounts []wire.Mount) error {
	if len(mounts) == 0 || len(mounts) > maxMounts {
		return errors.New("bad number of mounts")
	}
	for _, m := range mounts {
		if err := validateTarget(m.Target); err != nil {
			return err
		}
		ok := false
		for _, p := range attachable {
			ok = ok || within(p, m.Target)
		}
		if !ok {
			return fmt.Errorf("target %s does not take mounts", m.Target)
		}
	}
	return nil
}

// validateListen lets a server listen on addresses only that never leave a
// machine: loopback and link-local. A device has a link-local address and
// neither claims the loopback's nor more than a part of the link-local ones.
func validateListen(s string) error {
	proto, rest, _ := strings.Cut(s, ":")
	if proto == "tun" {
		p, err := netip.ParsePrefix(rest)
		if err != nil || !p.Addr().Is4() || !p.Addr().IsLinkLocalUnicast() || p.Bits() < 16 {
			return fmt.Errorf("bad device %q", s)
		}
		return nil
	}
	at, err := netip.ParseAddrPort(rest)
	if err != nil || proto != "tcp" && proto != "udp" || !at.Addr().Is4() || at.Port() == 0 {
		return fmt.Errorf("bad listener %q", s)
	}
	if a := at.Addr(); !a.IsLoopback() && !a.IsLinkLocalUnicast() {
		return fmt.Errorf("listener %q: neither loopback nor link-local", s)
	}
	return nil
}

// complete fills in the defaults.
func complete(l sandbox.Limits) sandbox.Limits {
	set := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	set(&l.MemoryBytes, 128<<20)
	set(&l.CPUMilli, 1000)
	set(&l.TmpBytes, 512<<20)
	set(&l.PIDs, 1024)
	set(&l.OpenFiles, 1024)
	return l
}

// validateLimits bounds those that are not zero.
func validateLimits(l sandbox.Limits) error {
	for _, b := range []struct {
		name       string
		v, low, up int64
	}{
		{"MemoryBytes", l.MemoryBytes, 8 << 20, 1 << 40},
		{"CPUMilli", l.CPUMilli, 10, 1_000_000},
		{"TmpBytes", l.TmpBytes, 4096, 1 << 36},
		{"PIDs", l.PIDs, 4, 1 << 16},
		{"OpenFiles", l.OpenFiles, 16, 1 << 20},
		{"CPUWeight", l.CPUWeight, 1, 10_000},
	} {
		if b.v != 0 && (b.v < b.low || b.v > b.up) {
			return fmt.Errorf("limit %s: %d is not in %d..%d", b.name, b.v, b.low, b.up)
		}
	}
	return nil
}
