package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/scratch"
	"davy/internal/sandbox/wire"
)

// openScratch finds out whether /tmp can be on disk, or says what is lost.
func (l *launcher) openScratch() {
	err := errors.New("no directory for it is configured")
	switch {
	case l.rootless:
		err = errors.New("loop devices need root")
	case l.cfg.Ablate&wire.AblateTmp != 0:
		err = errors.New("left out by a test")
	case l.machine != nil && l.machine.Runtime().OwnKernel:
		err = errors.New("not on a runtime's own kernel")
	case l.cfg.ScratchDir != "":
		l.scratch, err = scratch.Open(context.Background(), scratch.Config{Dir: l.cfg.ScratchDir, Ready: l.cfg.ScratchReady, Log: slog.Default()})
	}
	if err != nil {
		l.missing = append(l.missing, fmt.Sprintf("%s: %v: what a function keeps in /tmp counts as its memory, and is gone after a reset", sandbox.MissingTmp, err))
	}
}

// runScratch keeps volumes ready until the function that it gives is called,
// which returns when all are gone.
func (l *launcher) runScratch() (stop func()) {
	if l.scratch == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.scratch.Run(ctx)
	}()
	return func() {
		l.tmps.dropAll()
		cancel()
		<-done
	}
}

// tmpVolume is the /tmp of a sandbox, or waits for one.
type tmpVolume struct {
	*scratch.Volume
	name    string // empty: it goes with its sandbox
	damaged bool   // it is of no use to another

	// Guarded by keptTmps.mu.
	used    bool // by a sandbox, or by one that is being made
	dropped bool // it goes when it is used no more
}

// keptTmps are the volumes that have a name. The name is all that leads to one
// of them, and one sandbox at a time has it: the server gives each execution
// environment a name of its own, which no other function ever gets.
type keptTmps struct {
	mu     sync.Mutex
	byName map[string]*tmpVolume
}

// maxKeptTmps bounds the volumes that wait. A server has no more environments.
const maxKeptTmps = 4096

// take finds the volume of a name for a sandbox; nil: there is none yet.
func (k *keptTmps) take(name string) (*tmpVolume, error) {
	if name == "" {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.byName[name]
	if v == nil {
		return nil, nil
	}
	if v.used {
		return nil, invalid{fmt.Errorf("/tmp %s is in use", name)}
	}
	v.used = true
	return v, nil
}

// add notes a new volume in use.
func (k *keptTmps) add(v *tmpVolume) error {
	if v.name == "" {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byName[v.name] != nil {
		return invalid{fmt.Errorf("/tmp %s is in use", v.name)}
	}
	if len(k.byName) >= maxKeptTmps {
		return fmt.Errorf("%w: %d volumes", errBusy, len(k.byName))
	}
	if k.byName == nil {
		k.byName = map[string]*tmpVolume{}
	}
	k.byName[v.name] = v
	v.used = true
	return nil
}

// leave ends the use of a volume by a sandbox of which nothing is left. It
// reports whether the volume waits for another.
func (k *keptTmps) leave(v *tmpVolume) bool {
	empty := v.name == "" || v.Empty()
	k.mu.Lock()
	defer k.mu.Unlock()
	v.used = false
	if empty || v.dropped || v.damaged {
		k.remove(v)
		return false
	}
	return true
}

// drop gives a volume up: now, or when its sandbox has ended.
func (k *keptTmps) drop(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.byName[name]; v != nil {
		v.dropped = true
		if !v.used {
			k.remove(v)
		}
	}
}

// dropAll gives up what waits.
func (k *keptTmps) dropAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range k.byName {
		if !v.used {
			k.remove(v)
		}
	}
}

// remove closes a volume. k.mu is held.
func (k *keptTmps) remove(v *tmpVolume) {
	if k.byName[v.name] == v {
		delete(k.byName, v.name)
	}
	v.Close()
}

// settle writes out what the dead sandbox has left in memory of a volume that
// may wait, so that its control group does not live on by the pages.
func (v *tmpVolume) settle(b *blank) {
	if v.name == "" || v.Empty() {
		return
	}
	if err := v.Sync(); err != nil { // a damaged one takes nothing more
		slog.Warn("what a function left in /tmp is lost", "error", err)
		v.damaged = true
		return
	}
	if b.group != nil {
		b.group.DropCache()
	}
}

// giveTmp plans a /tmp on disk: the one that waits under the name, or a new
// one. Its files belong to the users of the sandbox.
func (l *launcher) giveTmp(b *box, name string, bytes int64, root *rootPlan) error {
	if l.scratch == nil {
		return nil
	}
	users, err := unix.IoctlRetInt(int(b.first.mounts.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return fmt.Errorf("/tmp: user namespace: %w", err)
	}
	owner := os.NewFile(uintptr(users), "user namespace")
	defer owner.Close()
	mount, err := l.takeTmp(b, name, bytes, owner)
	if err != nil {
		return fmt.Errorf("/tmp: %w", err)
	}
	root.trees = append(root.trees, mount)
	root.mounts = append(root.mounts, wire.PlanMount{Target: "/tmp"})
	return nil
}

// takeTmp makes a volume the box's and gives the mount to place.
func (l *launcher) takeTmp(b *box, name string, bytes int64, owner *os.File) (*os.File, error) {
	kept, err := l.tmps.take(name)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		b.tmp = kept
		if !kept.Fits(bytes) {
			return nil, invalid{fmt.Errorf("the /tmp %s has another size", name)}
		}
		mount, err := kept.Again(owner)
		if err == nil {
			return mount, nil
		}
		// The function may have damaged it. It is as if the machine had.
		slog.Warn("what a function left in /tmp is lost", "error", err)
		l.tmps.drop(name)
		l.tmps.leave(kept)
		b.tmp = nil
	}
	v, err := l.scratch.Take(l.ctx, bytes)
	if err != nil {
		return nil, err
	}
	fresh := &tmpVolume{Volume: v, name: name}
	if err := l.tmps.add(fresh); err != nil {
		v.Close()
		return nil, err
	}
	b.tmp = fresh
	return v.Mount(owner)
}
