package tree

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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

// merge makes one archive of several, as if each were unpacked over the ones
// before it: of two files with one name the later one stays, and where one has
// a folder and the other a file or link, the later one replaces the earlier
// with all that is below it. Nothing is written through a link of another
// archive.
//
// Links were found safe within their own archive; together they are judged
// anew, since one archive can replace a folder on the way of another's link.
func merge(archives []*archive, lim limits) (*archive, error) {
	if len(archives) == 1 {
		return archives[0], nil
	}
	m := &archive{limits: lim, links: map[string]string{}, kinds: map[string]fs.FileMode{}}
	files := map[string]file{}
	for _, a := range archives {
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
