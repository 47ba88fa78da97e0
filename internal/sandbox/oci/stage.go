package oci

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/wire"
)

// Part is a tree of the container's file system: a detached mount.
type Part struct {
	wire.PlanMount
	Tree *os.File
}

// Root is how / is put together.
type Root struct {
	Parts []Part
	Links []wire.Mount // symbolic links: Source is the text of the link
	Texts []wire.Mount // generated files: Source is the content
}

// directories that every root has
var directories = []string{"/proc", "/dev", "/tmp", "/etc", "/opt", "/var/task", "/var/runtime", "/var/node_modules", "/sys", "/run", "/home"}

// stage is a root under construction. Names are resolved inside of it and
// never outside, whatever links the parts bring along: this is done with the
// launcher's privileges.
type stage struct{ root int }

// buildRoot puts a root together at dir, which must be empty.
func buildRoot(dir string, r Root) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	s := stage{fd}
	for _, d := range directories {
		made, err := s.directory(d)
		if err != nil {
			return err
		}
		unix.Close(made)
	}
	// A runtime gives the file system of /tmp the mode of its mount point.
	if err := unix.Fchmodat(fd, "tmp", 0o1777, 0); err != nil {
		return fmt.Errorf("mode of /tmp: %w", err)
	}
	for _, l := range r.Links {
		if err := s.within(l.Target, func(dir int, name string) error { return unix.Symlinkat(l.Source, dir, name) }); err != nil {
			return fmt.Errorf("link %s: %w", l.Target, err)
		}
	}
	for _, t := range r.Texts {
		if err := s.within(t.Target, func(dir int, name string) error { return create(dir, name, t.Source) }); err != nil {
			return fmt.Errorf("file %s: %w", t.Target, err)
		}
	}
	for _, p := range r.Parts {
		if err := s.place(p); err != nil {
			return fmt.Errorf("mount %s: %w", p.Target, err)
		}
	}
	return nil
}

func (s stage) open(p string, flags uint64) (int, error) {
	return unix.Openat2(s.root, p, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// directory opens a directory, made with its parents where it is missing.
func (s stage) directory(p string) (int, error) {
	fd, err := s.open(p, unix.O_DIRECTORY)
	if err != unix.ENOENT || p == "/" {
		if err != nil {
			err = fmt.Errorf("open %s: %w", p, err)
		}
		return fd, err
	}
	if err := s.within(p, func(dir int, name string) error { return unix.Mkdirat(dir, name, 0o755) }); err != nil {
		return -1, fmt.Errorf("make %s: %w", p, err)
	}
	if fd, err = s.open(p, unix.O_DIRECTORY); err != nil {
		return -1, fmt.Errorf("open %s: %w", p, err)
	}
	return fd, nil
}

// within runs f on the directory that holds target.
func (s stage) within(target string, f func(dir int, name string) error) error {
	p := path.Clean("/" + target)
	if p == "/" {
		return unix.EINVAL
	}
	dir, err := s.directory(path.Dir(p))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return f(dir, path.Base(p))
}

func create(dir int, name, content string) error {
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(content))
	return err
}

// place mounts a tree, on a mount point that is made if need be.
func (s stage) place(p Part) error {
	flags := uint64(unix.O_DIRECTORY)
	if p.File {
		flags = 0
		err := s.within(p.Target, func(dir int, name string) error { return create(dir, name, "") })
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	} else {
		fd, err := s.directory(p.Target)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	at, err := s.open(p.Target, flags)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return unix.MoveMount(int(p.Tree.Fd()), "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// newStage mounts an empty file system of its own at dir.
func newStage(dir, options string) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Mount("davy", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	return nil
}

// leaveStage takes a file system away, with all that is mounted below.
func leaveStage(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
