package scratch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Volume is a file system of its own in a file without a name. Safe for
// concurrent use.
type Volume struct {
	s      *Store
	usable int64
	blocks int64 // of the file system
	number int   // of the loop device

	mu   sync.Mutex
	file *os.File // the image
	base *os.File // its mount, attached nowhere until it is placed; nil when closed
}

// make builds a volume.
func (s *Store) make(im *image, usable int64) (_ *Volume, err error) {
	f, err := tempFile(s.dir)
	if err != nil {
		return nil, err
	}
	v := &Volume{s: s, usable: usable, blocks: im.bytes / blockSize, file: f}
	defer func() {
		if err != nil {
			_ = v.unmount()
		}
	}()
	if err := im.copyTo(f); err != nil {
		return nil, fmt.Errorf("write an image: %w", err)
	}
	loop, number, err := attach(f)
	if err != nil {
		return nil, err
	}
	// A mount keeps the device. Without one it is free again with this.
	defer loop.Close()
	v.number = number
	if v.base, err = mount(number); err != nil {
		return nil, err
	}
	return v, errors.Join(v.clear(), v.boundDirty())
}

// attach gives the file a loop device, which goes when nothing has it open.
func attach(f *os.File) (*os.File, int, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	defer control.Close()
	for range 64 {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, 0, fmt.Errorf("loop device: %w", err)
		}
		loop, err := configure(f, number)
		if err == nil {
			return loop, number, nil
		}
		// Another was faster to use or to remove it. Else it has no node here.
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) && (!errors.Is(err, unix.ENOENT) || number < keptDevices) {
			return nil, 0, fmt.Errorf("loop device: %w", err)
		}
	}
	return nil, 0, errors.New("loop device: none stays free")
}

// configure makes a loop device the file's.
func configure(f *os.File, number int) (*os.File, error) {
	loop, err := os.OpenFile(device(number), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	cfg := unix.LoopConfig{Fd: uint32(f.Fd()), Size: blockSize}
	cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	copy(cfg.Info.File_name[:], "davy-tmp")
	err = unix.IoctlLoopConfigure(int(loop.Fd()), &cfg)
	if errors.Is(err, unix.EINVAL) {
		// The file system below takes no direct I/O in such blocks.
		cfg.Info.Flags &^= unix.LO_FLAGS_DIRECT_IO
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &cfg)
	}
	if err != nil {
		loop.Close()
		return nil, err
	}
	return loop, nil
}

func device(number int) string { return "/dev/loop" + strconv.Itoa(number) }

// mount makes a mount of the device that is attached nowhere.
func mount(number int) (*os.File, error) {
	fs, err := unix.Fsopen("ext4", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount ext4: %w", err)
	}
	defer unix.Close(fs)
	err = unix.FsconfigSetString(fs, "source", device(number))
	for _, o := range [][2]string{
		// A damaged volume is its function's loss and nobody's else.
		{"errors", "remount-ro"},
		// No thread that writes zeros into what is holes.
		{"noinit_itable", ""},
		// Nothing of it is needed after a power cut: a function's fsync costs
		// the host no flush.
		{"nobarrier", ""},
	} {
		if err == nil && o[1] == "" {
			err = unix.FsconfigSetFlag(fs, o[0])
		} else if err == nil {
			err = unix.FsconfigSetString(fs, o[0], o[1])
		}
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return nil, fmt.Errorf("mount ext4: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOATIME)
	if err != nil {
		return nil, fmt.Errorf("mount ext4: %w", err)
	}
	return os.NewFile(uintptr(fd), device(number)), nil
}

// clear makes the top directory of a new file system that of a /tmp.
func (v *Volume) clear() error {
	fd := int(v.base.Fd())
	// The directory that holds what fsck finds is not for a /tmp.
	if err := unix.Unlinkat(fd, "lost+found", unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("empty the volume: %w", err)
	}
	if err := unix.Fchmodat(fd, ".", 0o1777, 0); err != nil {
		return fmt.Errorf("open the volume to all: %w", err)
	}
	return nil
}

// Mount gives the volume as a mount that can be placed once (move_mount), in
// which the ids of userns own the files. It can be asked for once: before
// Linux 6.15 a mount that is attached nowhere cannot be copied. Again is for
// when it is gone.
func (v *Volume) Mount(userns *os.File) (*os.File, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base == nil {
		return nil, os.ErrClosed
	}
	return v.placeable(userns)
}

// Again is Mount for a volume whose mount is gone with the sandbox that had
// it: the files are there, and belong to the ids of userns now. The caller
// knows that nobody uses them.
//
// It fails when the file system was found damaged, which makes it read-only.
func (v *Volume) Again(userns *os.File) (*os.File, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base == nil {
		return nil, os.ErrClosed
	}
	// Some kernels let one that is damaged be written to again when it is
	// mounted again, others say so at the next sync; all of them count.
	if n, err := os.ReadFile(v.sysfs("ext4", "errors_count")); err == nil && strings.TrimSpace(string(n)) != "0" {
		return nil, fmt.Errorf("the file system is damaged: %s errors", strings.TrimSpace(string(n)))
	}
	// The former mount holds the device, so its number still is the volume's.
	// A mount of a file system that is mounted is another door to the same.
	base, err := mount(v.number)
	if err != nil {
		return nil, err
	}
	err = sameFileSystem(v.base, base)
	if err == nil {
		err = syncAll(base)
	}
	if err != nil {
		return nil, errors.Join(err, base.Close())
	}
	err = v.base.Close()
	v.base = base
	if err != nil {
		return nil, err
	}
	return v.placeable(userns)
}

func sameFileSystem(a, b *os.File) error {
	var sa, sb unix.Stat_t
	if err := errors.Join(unix.Fstat(int(a.Fd()), &sa), unix.Fstat(int(b.Fd()), &sb)); err != nil {
		return fmt.Errorf("compare mounts: %w", err)
	}
	if sa.Dev != sb.Dev || sa.Ino != sb.Ino {
		return errors.New("the device has another file system")
	}
	return nil
}

// placeable gives the volume's mount to the ids of userns. v.mu is held.
func (v *Volume) placeable(userns *os.File) (*os.File, error) {
	err := unix.MountSetattr(int(v.base.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd()), Propagation: unix.MS_PRIVATE,
	})
	if err != nil {
		return nil, fmt.Errorf("map the owners: %w", err)
	}
	fd, err := unix.FcntlInt(v.base.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tmp"), nil
}

// sysfs is a file of the kernel about the volume.
func (v *Volume) sysfs(of, file string) string {
	name := "loop" + strconv.Itoa(v.number)
	if of == "ext4" {
		return filepath.Join("/sys/fs/ext4", name, file)
	}
	return filepath.Join("/sys/block", name, of, file)
}

// write never creates the file: the kernel has it or not.
func write(path, s string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s)
	return errors.Join(err, f.Close())
}

// dirtyBytes is how much of a volume may wait in memory to be written.
const dirtyBytes = 16 << 20

// boundDirty makes a writer wait for the disk early. With control groups of
// version 1 the kernel does not know whose dirty pages are whose, lets a small
// group fill up with them, and kills it because it finds nothing to drop.
func (v *Volume) boundDirty() error {
	for _, s := range [][2]string{{"strict_limit", "1"}, {"max_bytes", strconv.Itoa(dirtyBytes)}} {
		err := write(v.sysfs("bdi", s[0]), s[1])
		if err != nil && !errors.Is(err, os.ErrNotExist) { // Linux before 6.2
			return fmt.Errorf("bound the dirty pages: %w", err)
		}
	}
	return nil
}

// keptBack is what ext4 keeps back by itself, in blocks.
func keptBack(blocks int64) int64 { return min(blocks/50, 4096) }

// brake makes the volume refuse new blocks, or take them again.
func (v *Volume) brake(on bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base == nil {
		return nil
	}
	n := keptBack(v.blocks)
	if on {
		n = v.blocks - 1
	}
	if err := write(v.sysfs("ext4", "reserved_clusters"), strconv.FormatInt(n, 10)); err != nil {
		return fmt.Errorf("reserve blocks: %w", err)
	}
	return nil
}

// ioctl on the top directory. The mount's own descriptor takes none.
func (v *Volume) ioctl(request uintptr, argument unsafe.Pointer) error {
	fd, err := unix.Openat(int(v.base.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); e != 0 {
		return e
	}
	return nil
}

// ioctlTrim is FITRIM, which x/sys does not name.
const ioctlTrim = 0xc0185879

// trim gives back what files no longer use.
func (v *Volume) trim() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base == nil {
		return nil
	}
	all := struct{ start, length, least uint64 }{0, ^uint64(0), 0}
	if err := v.ioctl(ioctlTrim, unsafe.Pointer(&all)); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("trim: %w", err)
	}
	return nil
}

// Bytes is what was asked for.
func (v *Volume) Bytes() int64 { return v.usable }

// Fits says whether the volume is what Take gives for so many bytes.
func (v *Volume) Fits(bytes int64) bool { return v.usable == rounded(bytes) }

// Empty says whether the volume holds no file. One that cannot be read does not
// count as empty.
func (v *Volume) Empty() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base == nil {
		return true
	}
	fd, err := unix.Openat(int(v.base.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	dir := os.NewFile(uintptr(fd), "tmp")
	defer dir.Close()
	_, err = dir.Readdirnames(1) // . and .. are not among them
	return errors.Is(err, io.EOF)
}

// Sync writes out what of the volume is in memory only.
func (v *Volume) Sync() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base == nil {
		return nil
	}
	return syncAll(v.base)
}

func syncAll(mount *os.File) error {
	fd, err := unix.Openat(int(mount.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// onDisk is what the volume takes of the disk.
func (v *Volume) onDisk() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	var st unix.Stat_t
	if v.base == nil || unix.Fstat(int(v.file.Fd()), &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// Close gives the volume up, at once; its bytes are free a little later, when
// the last mount of it is gone. The mounts of a sandbox go with it.
func (v *Volume) Close() {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.s.volumes[v] {
		delete(v.s.volumes, v)
		v.s.retire([]*Volume{v})
	}
}

func (v *Volume) unmount() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var err error
	for _, f := range []*os.File{v.base, v.file} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	v.base, v.file = nil, nil
	if v.number >= keptDevices {
		removeDevice(v.number)
	}
	return err
}

// keptDevices is how many loop devices stay when a crowd of volumes has gone.
// The kernel gives out the lowest free number first.
const keptDevices = 64

// removeDevice removes a loop device that nobody uses. One that somebody looks
// at right now, as udev does, stays until it is used and freed again.
func removeDevice(number int) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer control.Close()
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, control.Fd(), unix.LOOP_CTL_REMOVE, uintptr(number))
}
