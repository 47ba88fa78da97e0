package launcher

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// treeOpener turns the paths that a server names into detached read-only
// mounts, below the configured roots only.
type treeOpener struct {
	roots    map[string]*os.File // clean absolute path -> O_PATH
	writable bool                // a test left the read-only flag out
	devices  bool                // a test left nodev out
}

func openRoots(cfg Config) (*treeOpener, error) {
	t := &treeOpener{
		roots:    map[string]*os.File{},
		writable: cfg.Ablate&wire.AblateReadOnly != 0,
		devices:  cfg.Ablate&(wire.AblateDevices|wire.AblateNodev) != 0,
	}
	for _, r := range cfg.Roots {
		p := filepath.Clean(r)
		if !filepath.IsAbs(p) {
			t.close()
			return nil, fmt.Errorf("root %q: not absolute", r)
		}
		// A server owns the folder that some roots lie in, and a launcher that
		// starts later must not be led elsewhere by a link in their place.
		fd, err := unix.Openat2(unix.AT_FDCWD, p, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != nil {
			t.close()
			return nil, fmt.Errorf("root %s: %w", p, err)
		}
		t.roots[p] = os.NewFile(uintptr(fd), p)
	}
	return t, nil
}

func (t *treeOpener) close() {
	for _, f := range t.roots {
		f.Close()
	}
}

// open resolves a path below a root. No component may be a symbolic link:
// the server can write below some roots, and must not be able to point
// elsewhere.
func (t *treeOpener) open(p string) (int, error) {
	if !path.IsAbs(p) || path.Clean(p) != p || strings.IndexByte(p, 0) >= 0 {
		return -1, fmt.Errorf("path %q is not clean and absolute", p)
	}
	var best string
	for r := range t.roots {
		if within(r, p) && len(r) > len(best) {
			best = r
		}
	}
	if best == "" {
		return -1, fmt.Errorf("path %s is below no allowed directory", p)
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(p, best), "/")
	if rel == "" {
		rel = "."
	}
	fd, err := unix.Openat2(int(t.roots[best].Fd()), rel, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", p, err)
	}
	return fd, nil
}

// tree opens a path that a server named as a detached mount.
func (t *treeOpener) tree(p string) (*os.File, error) {
	fd, err := t.open(p)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return t.clone(fd, "", p)
}

// clone makes a detached mount of what dir and rel name.
func (t *treeOpener) clone(dir int, rel, what string) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE | unix.AT_NO_AUTOMOUNT)
	if rel == "" {
		flags |= unix.AT_EMPTY_PATH
	} else {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	fd, err := unix.OpenTree(dir, rel, flags)
	if err != nil {
		return nil, fmt.Errorf("open_tree %s: %w", what, err)
	}
	attr := unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_RDONLY,
		Propagation: unix.MS_PRIVATE,
	}
	if t.writable {
		attr.Attr_set &^= unix.MOUNT_ATTR_RDONLY
	}
	if t.devices {
		attr.Attr_set &^= unix.MOUNT_ATTR_NODEV
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mount_setattr %s: %w", what, err)
	}
	return os.NewFile(uintptr(fd), what), nil
}

// rootPlan is how / is put together.
type rootPlan struct {
	mounts []wire.PlanMount
	trees  []*os.File
	links  []wire.Mount
	texts  []wire.Mount
}

func (r *rootPlan) close() {
	for _, f := range r.trees {
		f.Close()
	}
}

// generated files of every root
var generated = []wire.Mount{
	{Target: "/etc/passwd", Source: "root:x:0:0:root:/root:/sbin/nologin\nsbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"},
	{Target: "/etc/group", Source: "root:x:0:\nsbx_user1051:x:990:\nnogroup:x:65534:\n"},
	{Target: "/etc/hosts", Source: "127.0.0.1 localhost\n127.0.0.1 sandbox.localdomain sandbox\n"},
	{Target: "/etc/hostname", Source: "localhost\n"},
	{Target: "/etc/resolv.conf", Source: "nameserver 169.254.100.1\noptions timeout:6 attempts:1\n"},
	{Target: "/etc/nsswitch.conf", Source: "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"},
}

// what of the host's /etc a program needs and tells nothing
var hostEtc = []string{
	"alternatives", "ca-certificates", "crypto-policies", "ld.so.cache", "mime.types", "pki/ca-trust", "pki/tls",
	"protocols", "services", "ssl/certs", "ssl/openssl.cnf",
}

// add takes one entry over: a link as a link, all else as a mount. What does
// not exist is left out.
func (r *rootPlan) add(t *treeOpener, dir int, rel, target string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, rel, &st, unix.AT_SYMLINK_NOFOLLOW); err == unix.ENOENT {
		return nil
	} else if err != nil {
		return fmt.Errorf("stat %s: %w", target, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, rel, buf)
		if err != nil {
			return fmt.Errorf("readlink %s: %w", target, err)
		}
		r.links = append(r.links, wire.Mount{Source: string(buf[:n]), Target: target})
		return nil
	case unix.S_IFDIR, unix.S_IFREG:
		f, err := t.clone(dir, rel, target)
		if err != nil {
			return err
		}
		r.trees = append(r.trees, f)
		r.mounts = append(r.mounts, wire.PlanMount{Target: target, File: st.Mode&unix.S_IFMT == unix.S_IFREG})
	}
	return nil // sockets, pipes and devices stay out
}

// hostRoot assembles a root from the host's programs and libraries.
func (t *treeOpener) hostRoot() (*rootPlan, error) {
	r := &rootPlan{texts: generated}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /: %w", err)
	}
	defer unix.Close(root)
	names := []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}
	for _, e := range hostEtc {
		names = append(names, "etc/"+e)
	}
	for _, n := range names {
		if err := r.add(t, root, n, "/"+n); err != nil {
			r.close()
			return nil, err
		}
	}
	r.links = append(r.links, wire.Mount{Source: "/usr/share/zoneinfo/UTC", Target: "/etc/localtime"})
	return r, nil
}

// givenRoot takes the entries of a directory as the root. /etc and /var are
// taken entry by entry, so that the generated files and the mount points of
// the sandbox find a place in a root that cannot be written.
func (t *treeOpener) givenRoot(p string) (*rootPlan, error) {
	fd, err := t.open(p)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	own := map[string]bool{"/proc": true, "/dev": true, "/sys": true, "/tmp": true, "/run": true, "/opt": true, "/var/task": true, "/var/runtime": true, "/var/node_modules": true}
	r := &rootPlan{texts: generated}
	for _, g := range generated {
		own[g.Target] = true
	}
	var take func(rel string) error
	take = func(rel string) error {
		names, err := list(fd, rel)
		if err != nil {
			return fmt.Errorf("read %s: %w", path.Join(p, rel), err)
		}
		for _, n := range names {
			n = path.Join(rel, n)
			var st unix.Stat_t
			if err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return fmt.Errorf("stat %s: %w", n, err)
			}
			switch {
			case own["/"+n]:
			case (n == "etc" || n == "var") && st.Mode&unix.S_IFMT == unix.S_IFDIR:
				err = take(n)
			default:
				err = r.add(t, fd, n, "/"+n)
			}
			if err != nil {
				return err
			}
			if len(r.trees)+len(r.links) > wire.MaxFiles-40 {
				return errors.New("too many entries in the root, its /etc and /var")
			}
		}
		return nil
	}
	if err := take("."); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// list reads the names in a directory below dir.
func list(dir int, rel string) ([]string, error) {
	fd, err := unix.Openat2(dir, rel, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), rel)
	defer f.Close()
	return f.Readdirnames(-1)
}
