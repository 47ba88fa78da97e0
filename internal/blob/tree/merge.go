package tree

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// hashOf names the tree of archives: one by its own hash, several by the hash
// of their list.
func hashOf(sha256s []string) string {
	if len(sha256s) == 1 {
		return sha256s[0]
	}
	sum := sha256.Sum256([]byte("layers\n" + strings.Join(sha256s, "\n")))
	return hex.EncodeToString(sum[:])
}

// CheckTogether tells whether archives that pass Check each can be unpacked over
// one another. It reads their directories and links alone. Errors: ErrUnsafe,
// ErrTooLarge.
func CheckTogether(zips []*io.SectionReader) error {
	s := stack{limits: standard}
	for _, z := range zips {
		if err := s.add(z, z.Size()); err != nil {
			return err
		}
	}
	_, err := s.merge()
	return err
}

// stack is archives that are laid over one another.
type stack struct {
	limits
	archives []*archive
	names    int // paths of all of them
}

// add lays an archive over those before. Together they may have as many names
// as one alone: all are in memory at once.
func (s *stack) add(r io.ReaderAt, size int64) error {
	a, err := open(r, size, s.limits)
	if err != nil {
		return err
	}
	s.archives = append(s.archives, a)
	if s.names += len(a.kinds); len(s.archives) > 1 && s.names > s.entries {
		return fmt.Errorf("%w: more than %d names together", ErrTooLarge, s.entries)
	}
	return nil
}

// merge makes one archive of several, as if each were unpacked over the ones
// before it: of two files with one name the later one stays, and where one has
// a folder and the other a file or link, the later one replaces the earlier
// with all that is below it. Nothing is written through a link of another
// archive.
//
// Links were found safe within their own archive; together they are judged
// anew, since one archive can replace a folder on the way of another's link.
func (s *stack) merge() (*archive, error) {
	if len(s.archives) == 1 {
		return s.archives[0], nil
	}
	m := &archive{limits: s.limits, links: map[string]string{}, kinds: map[string]fs.FileMode{}}
	files := map[string]file{}
	for _, a := range s.archives {
		maps.DeleteFunc(m.kinds, func(name string, kind fs.FileMode) bool {
			replaced := a.replaces(name, kind)
			if replaced {
				delete(m.links, name)
				delete(files, name)
			}
			return replaced
		})
		maps.Copy(m.kinds, a.kinds)
		maps.Copy(m.links, a.links)
		for _, f := range a.files {
			files[f.name] = f
		}
	}
	m.files = slices.SortedFunc(maps.Values(files), func(a, b file) int { return cmp.Compare(a.name, b.name) })
	for name, kind := range m.kinds {
		if kind == fs.ModeDir {
			m.dirs = append(m.dirs, name)
		}
	}
	slices.Sort(m.dirs) // a parent is a prefix and comes first
	for name := range m.links {
		if err := m.contained(name); err != nil {
			return nil, fmt.Errorf("layers together: %w", err)
		}
	}
	return m, nil
}

// replaces tells whether an entry of an earlier archive must go when this one
// is laid over it.
func (a *archive) replaces(name string, kind fs.FileMode) bool {
	if over, ok := a.kinds[name]; ok && (over != fs.ModeDir || kind != fs.ModeDir) {
		return true
	}
	for at := path.Dir(name); at != "."; at = path.Dir(at) {
		if over, ok := a.kinds[at]; ok {
			return over != fs.ModeDir
		}
	}
	return false
}
