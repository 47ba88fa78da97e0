package scratch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

const blockSize = 4096

// maxInodes bounds what a volume can hold in files whatever its size.
const maxInodes = 1 << 18

// features of the images. Without a journal, because nothing of a volume
// outlives its environment; without what only a later fsck or resize of an
// unmounted image needs. uninit_bg lets a fresh image be almost all holes.
const features = "none,extent,dir_index,dir_nlink,extra_isize,filetype,flex_bg,large_file,huge_file,sparse_super,uninit_bg"

// image is a freshly made file system: what of it is not zero.
type image struct {
	bytes   int64 // of the file
	extents []extent
}

type extent struct {
	at   int64
	data []byte
}

// newImage formats a file system with at least usable bytes for files. It is
// made once for each size; volumes are copies. dir is where the file may lie
// meanwhile, without a name.
func newImage(ctx context.Context, mkfs string, dir *os.File, usable int64) (*image, error) {
	f, err := tempFile(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// What the file system needs for itself is known when it is made.
	inodes := min(max(usable/8192, 1024), maxInodes)
	size := usable + inodes*256 + 64*blockSize
	for range 4 {
		size = (size + blockSize - 1) / blockSize * blockSize
		if err := errors.Join(f.Truncate(0), f.Truncate(size)); err != nil {
			return nil, fmt.Errorf("make an image: %w", err)
		}
		if err := format(ctx, mkfs, f, inodes); err != nil {
			return nil, err
		}
		free, err := forFiles(f)
		if err != nil {
			return nil, err
		}
		if free >= usable {
			return readImage(f, size)
		}
		size += usable - free + 8*blockSize
	}
	return nil, fmt.Errorf("make an image: %d bytes do not fit", usable)
}

// format runs mke2fs as nobody on a file that it has open already.
func format(ctx context.Context, mkfs string, f *os.File, inodes int64) error {
	const nobody = 65534
	if err := f.Chown(nobody, nobody); err != nil {
		return fmt.Errorf("make an image: %w", err)
	}
	cmd := exec.CommandContext(ctx, mkfs, "-q", "-F", "-O", features,
		"-b", fmt.Sprint(blockSize), "-I", "256", "-N", fmt.Sprint(inodes), "-m", "0",
		"-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", "/proc/self/fd/3")
	cmd.Env = []string{"MKE2FS_CONFIG=/dev/null", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", mkfs, err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// forFiles is the number of bytes that files can take: the free blocks of the
// superblock without those that the kernel keeps back.
func forFiles(f *os.File) (int64, error) {
	var sb [1024]byte
	if _, err := f.ReadAt(sb[:], 1024); err != nil {
		return 0, fmt.Errorf("read the image: %w", err)
	}
	le := binary.LittleEndian
	blocks, free := int64(le.Uint32(sb[4:])), int64(le.Uint32(sb[12:]))
	return (free - keptBack(blocks)) * blockSize, nil
}

// readImage takes over the blocks that are not zero.
func readImage(f *os.File, size int64) (*image, error) {
	im := &image{bytes: size}
	zero := make([]byte, blockSize)
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole is left
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the image: %w", err)
		}
		block := make([]byte, blockSize)
		at = data / blockSize * blockSize
		if _, err := f.ReadAt(block, at); err != nil {
			return nil, fmt.Errorf("read the image: %w", err)
		}
		if !bytes.Equal(block, zero) {
			im.add(at, block)
		}
		at += blockSize
	}
	return im, nil
}

func (im *image) add(at int64, block []byte) {
	if n := len(im.extents); n > 0 {
		if last := &im.extents[n-1]; last.at+int64(len(last.data)) == at {
			last.data = append(last.data, block...)
			return
		}
	}
	im.extents = append(im.extents, extent{at, block})
}

// copyTo makes an empty file an image.
func (im *image) copyTo(f *os.File) error {
	if err := f.Truncate(im.bytes); err != nil {
		return err
	}
	for _, e := range im.extents {
		if _, err := f.WriteAt(e.data, e.at); err != nil {
			return err
		}
	}
	return nil
}

// tempFile is a file without a name: when the last who has it open is gone, in
// whatever way, so are its bytes.
func tempFile(dir *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("file without a name in %s: %w", dir.Name(), err)
	}
	return os.NewFile(uintptr(fd), "image"), nil
}
