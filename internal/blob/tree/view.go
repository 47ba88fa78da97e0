package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// View is a folder beside a tree with links to what is in some of its folders,
// as they are seen where the tree is mounted. Of one name in several folders,
// the first folder's is linked. A tree that has none of the folders has no
// view.
//
// It lets a runtime find modules of several folders in one, by the path that
// they have in the mounted tree.
type View struct {
	Name    string   // of the folder: DIR/SHA256/NAME
	Mounted string   // where the tree will be mounted
	Folders []string // in the tree
}

// viewLinks are those of a view: name to target. A scope (@NAME) is a folder of
// links.
func (a *archive) viewLinks(v View) map[string]string {
	out := map[string]string{}
	scopes := map[string]bool{}
	for _, folder := range v.Folders {
		if a.kinds[folder] != fs.ModeDir {
			continue
		}
		for path, kind := range a.kinds {
			rest, below := strings.CutPrefix(path, folder+"/")
			scope, name, scoped := strings.Cut(rest, "/")
			switch {
			case !below, strings.Contains(name, "/"), scoped && scope[0] != '@':
				continue // further down
			case !scoped && rest[0] == '@' && kind == fs.ModeDir:
				continue // a scope, whose packages are linked
			case out[rest] != "", scoped && out[scope] != "", !scoped && scopes[rest]:
				continue // an earlier folder has it
			}
			out[rest] = v.Mounted + "/" + path
			if scoped {
				scopes[scope] = true
			}
		}
	}
	return out
}

// writeView makes a view in an empty directory, if the archive has it.
func (a *archive) writeView(v View, parent string) error {
	links := a.viewLinks(v)
	if len(links) == 0 {
		return nil
	}
	dir := filepath.Join(parent, v.Name)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, target := range links {
		if scope, _, scoped := strings.Cut(name, "/"); scoped {
			if err := root.Mkdir(scope, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := root.Chmod(scope, 0o755); err != nil { // whatever the umask
				return err
			}
		}
		if err := root.Symlink(target, name); err != nil {
			return err
		}
	}
	return nil
}
