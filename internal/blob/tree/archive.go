package tree

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Why a package is refused. They come wrapped.
var (
	ErrMalformed = errors.New("tree: not a readable zip archive")      // truncated, damaged, encrypted, unknown compression
	ErrEmpty     = errors.New("tree: archive holds no file")           //
	ErrTooLarge  = errors.New("tree: archive is too large unpacked")   // bytes or number of entries
	ErrUnsafe    = errors.New("tree: archive holds a forbidden entry") // a path or link that leads outside, a device, a name twice
)

// limits bound what an archive may make of itself.
type limits struct {
	bytes   int64 // of all files
	entries int
}

// standard is Lambda's bound on unzipped code, and one of our own on its
// number of files.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
var standard = limits{bytes: 262_144_000, entries: 100_000}

const (
	maxName   = 2048 // bytes of a path
	maxPart   = 255  // bytes of one element of it
	maxTarget = 1024 // bytes of a link's target
	maxHops   = 40   // links followed in resolving one
	// minRecord is the size of the smallest directory record of a zip file.
	minRecord = 46
)

// archive is a zip file whose directory has been found safe.
type archive struct {
	limits
	dirs  []string               // parents first
	files []file                 // regular files
	links map[string]string      // path: target
	kinds map[string]fs.FileMode // every path, parents included
}

type file struct {
	name string
	mode fs.FileMode // 0644 or 0755
	zip  *zip.File
}

// Check tells whether a zip archive can be unpacked, by reading all of it:
// structure, names, links, checksums and real size, which it returns: the bytes
// of all files. Errors: ErrMalformed, ErrEmpty, ErrTooLarge, ErrUnsafe.
func Check(r io.ReaderAt, size int64) (unpacked int64, err error) { return standard.check(r, size) }

func (l limits) check(r io.ReaderAt, size int64) (int64, error) {
	a, err := open(r, size, l)
	if err != nil {
		return 0, err
	}
	var n discard
	err = a.each(func(file) (io.WriteCloser, error) { return &n, nil })
	return int64(n), err
}

// discard counts the bytes that are written to it.
type discard int64

func (d *discard) Write(p []byte) (int, error) {
	*d += discard(len(p))
	return len(p), nil
}

func (d *discard) Close() error { return nil }

// open reads the directory of an archive and refuses what must not be
// unpacked.
func open(r io.ReaderAt, size int64, lim limits) (*archive, error) {
	if err := countRecords(r, size, lim); err != nil {
		return nil, err
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(z.File) > lim.entries {
		return nil, fmt.Errorf("%w: %d entries", ErrTooLarge, len(z.File))
	}
	a := &archive{limits: lim, links: map[string]string{}, kinds: map[string]fs.FileMode{}}
	for _, f := range z.File {
		if err := a.add(f); err != nil {
			return nil, err
		}
	}
	if len(a.files) == 0 {
		return nil, ErrEmpty
	}
	for name := range a.links {
		if err := a.contained(name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// countRecords bounds the number of directory records before archive/zip
// makes an object of each: small as they are in the file, millions of them
// would fill the memory, and the number that the file claims is not binding.
func countRecords(r io.ReaderAt, size int64, lim limits) error {
	most := int64(lim.entries) * 4 // archives within the archive have theirs
	if size/minRecord <= most {
		return nil
	}
	const step = 1 << 20
	buf := make([]byte, step+3)
	var n int64
	for at := int64(0); at < size; at += step {
		got, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read archive: %w", err)
		}
		if n += int64(bytes.Count(buf[:got], []byte("PK\x01\x02"))); n > most {
			return fmt.Errorf("%w: more than %d entries", ErrTooLarge, most)
		}
	}
	return nil
}

// add checks one entry and sorts it in.
func (a *archive) add(f *zip.File) error {
	name, isDir, err := cleanName(f.Name)
	if err != nil {
		return err
	}
	if f.Flags&1 != 0 {
		return fmt.Errorf("%w: %q is encrypted", ErrMalformed, f.Name)
	}
	mode := f.Mode()
	switch {
	case isDir || mode.IsDir():
		if f.UncompressedSize64 != 0 {
			return fmt.Errorf("%w: directory %q has content", ErrMalformed, f.Name)
		}
		return a.dir(name)
	case name == ".":
		return fmt.Errorf("%w: %q is not a file name", ErrUnsafe, f.Name)
	case mode.IsRegular():
		perm := fs.FileMode(0o644)
		if mode&0o111 != 0 {
			perm = 0o755
		}
		a.files = append(a.files, file{name, perm, f})
		return a.claim(name, 0)
	case mode.Type() == fs.ModeSymlink:
		target, err := linkTarget(f)
		if err != nil {
			return err
		}
		a.links[name] = target
		return a.claim(name, fs.ModeSymlink)
	}
	return fmt.Errorf("%w: %q is a %s", ErrUnsafe, f.Name, mode.Type())
}

// cleanName gives the path of an entry without "." elements.
func cleanName(raw string) (name string, isDir bool, err error) {
	switch {
	case raw == "", len(raw) > maxName, strings.ContainsAny(raw, "\x00\\"), strings.HasPrefix(raw, "/"):
		return "", false, fmt.Errorf("%w: name %.100q", ErrUnsafe, raw)
	}
	for part := range strings.SplitSeq(raw, "/") {
		if part == ".." || len(part) > maxPart {
			return "", false, fmt.Errorf("%w: name %.100q", ErrUnsafe, raw)
		}
	}
	return path.Clean(raw), strings.HasSuffix(raw, "/"), nil
}

// claim gives a name to an entry, once, and makes its parents directories.
func (a *archive) claim(name string, kind fs.FileMode) error {
	if _, taken := a.kinds[name]; taken {
		return fmt.Errorf("%w: %.100q appears twice", ErrUnsafe, name)
	}
	a.kinds[name] = kind
	return a.dir(path.Dir(name))
}

// dir makes sure that a path is a directory, and not a link or a file.
func (a *archive) dir(name string) error {
	if name == "." {
		return nil
	}
	if kind, ok := a.kinds[name]; ok {
		if kind != fs.ModeDir {
			return fmt.Errorf("%w: %.100q is a directory and something else", ErrUnsafe, name)
		}
		return nil
	}
	if len(a.kinds) > 4*a.entries {
		return fmt.Errorf("%w: too many directories", ErrTooLarge)
	}
	a.kinds[name] = fs.ModeDir
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	a.dirs = append(a.dirs, name)
	return nil
}

func linkTarget(f *zip.File) (string, error) {
	r, err := f.Open()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	defer r.Close()
	target, err := io.ReadAll(io.LimitReader(r, maxTarget+1))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(target) == 0 || len(target) > maxTarget || target[0] == '/' || bytes.ContainsAny(target, "\x00\\") {
		return "", fmt.Errorf("%w: link %.100q", ErrUnsafe, f.Name)
	}
	return string(target), nil
}

// contained follows a link as the kernel would and refuses it if it leaves the
// tree on the way. A link that leads nowhere is harmless.
func (a *archive) contained(name string) error {
	outside := fmt.Errorf("%w: link %.100q leads outside or in circles", ErrUnsafe, name)
	at := []string{} // where we are, resolved
	todo := strings.Split(name, "/")
	for hops := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return outside
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, part)
		target, isLink := a.links[strings.Join(at, "/")]
		if !isLink {
			continue
		}
		if hops++; hops > maxHops {
			return outside
		}
		at = at[:len(at)-1]
		todo = append(strings.Split(target, "/"), todo...)
	}
	return nil
}

// each reads every file into what create gives for it, and counts real bytes:
// what an archive says of its sizes is not believed.
func (a *archive) each(create func(file) (io.WriteCloser, error)) error {
	left := a.bytes
	buf := make([]byte, 64<<10)
	for _, f := range a.files {
		w, err := create(f)
		if err != nil {
			return err
		}
		n, err := extract(w, f, left, buf)
		if err = errors.Join(err, w.Close()); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func extract(w io.Writer, f file, left int64, buf []byte) (int64, error) {
	r, err := f.zip.Open()
	if err != nil {
		return 0, fmt.Errorf("%w: %.100q: %w", ErrMalformed, f.name, err)
	}
	defer r.Close()
	src := &source{r: io.LimitReader(r, left+1)}
	// Hidden in a struct so that no ReadFrom takes the buffer's place.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, src, buf)
	switch {
	case n > left:
		return n, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, left)
	case src.err != nil:
		return n, fmt.Errorf("%w: %.100q: %w", ErrMalformed, f.name, src.err)
	}
	return n, err
}

// source tells errors of reading from those of writing.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
