package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
)

// stranger is a mounted hierarchy that this package does not use.
func stranger(t *testing.T, tree *Tree) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	for _, h := range allV1() {
		dir := h.own()
		used := false
		for _, base := range tree.base {
			used = used || filepath.Dir(base) == dir
		}
		if !used && !tree.v2 && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	t.Skip("this machine has no other version 1 hierarchy")
	return ""
}

func TestSweepOthers(t *testing.T) {
	name := fmt.Sprint("test-others-", os.Getpid())
	tree, err := Open(Config{Instance: name})
	if err != nil {
		t.Skip(err)
	}
	defer tree.Close()
	dir := stranger(t, tree)
	alive, err := Open(Config{Instance: name + "-alive"})
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	var made []string
	for _, end := range []string{"", "-dead", "-alive"} {
		p := filepath.Join(dir, "davy-"+name+end)
		err := os.ErrNotExist
		for errors.Is(err, os.ErrNotExist) { // a launcher of another test may sweep what is half made
			err = os.MkdirAll(filepath.Join(p, "1-1"), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, p)
		t.Cleanup(func() { _, _ = unix.Rmdir(filepath.Join(p, "1-1")), unix.Rmdir(p) })
	}
	tree.SweepOthers()
	if exists(made[0]) || exists(made[1]) {
		t.Errorf("left: %v", slices.DeleteFunc(made[:2], func(p string) bool { return !exists(p) }))
	}
	if !exists(filepath.Join(made[2], "1-1")) {
		t.Error("what belongs to another launcher is gone")
	}
}

func TestCgroupsPath_IsWhereTheGroupIs(t *testing.T) {
	tree, err := Open(Config{Instance: "test-path"})
	if err != nil {
		t.Skip(err)
	}
	defer tree.Close()
	g, err := tree.New("1-1", sandbox.Limits{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	}()
	p, err := g.CgroupsPath()
	if err != nil {
		t.Fatal(err)
	}
	l, err := detect("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	if tree.v2 {
		if dir := filepath.Join(l.v2.mount, p); dir != g.dir[""] {
			t.Errorf("%s, the group is %s", dir, g.dir[""])
		}
		return
	}
	for c, h := range l.v1 {
		if dir := filepath.Join(h.own(), p); dir != g.dir[c] {
			t.Errorf("%s: %s, the group is %s", c, dir, g.dir[c])
		}
	}
}
