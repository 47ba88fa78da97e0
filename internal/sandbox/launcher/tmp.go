package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

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
		l.missing = append(l.missing, fmt.Sprintf("%s: %v: what a function keeps in /tmp counts as its memory", sandbox.MissingTmp, err))
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
		cancel()
		<-done
	}
}

// giveTmp plans a /tmp on disk, which goes with the sandbox. Its files belong
// to the users of the sandbox.
func (l *launcher) giveTmp(b *box, bytes int64, root *rootPlan) error {
	if l.scratch == nil {
		return nil
	}
	users, err := unix.IoctlRetInt(int(b.first.mounts.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return fmt.Errorf("/tmp: user namespace: %w", err)
	}
	owner := os.NewFile(uintptr(users), "user namespace")
	defer owner.Close()
	if b.tmp, err = l.scratch.Take(l.ctx, bytes); err != nil {
		return fmt.Errorf("/tmp: %w", err)
	}
	mount, err := b.tmp.Mount(owner)
	if err != nil {
		return fmt.Errorf("/tmp: %w", err)
	}
	root.trees = append(root.trees, mount)
	root.mounts = append(root.mounts, wire.PlanMount{Target: "/tmp"})
	return nil
}
