package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/cgroup"
	"davy/internal/sandbox/wire"
)

// box is one running sandbox.
type box struct {
	id    string
	first *blank
	work  workload // nil until there is one

	mu      sync.Mutex // orders what changes the sandbox
	closed  bool
	tmpSize int64
	peak    int64      // bytes, of the workload's processes, at the last look
	tmp     *tmpVolume // nil: /tmp is in memory

	dying  atomic.Bool // kill was called
	oomHit atomic.Bool
	ended  atomic.Bool
}

// workload is what runs in a box, where the two ways of starting one differ.
type workload interface {
	// wait tells how the first process has ended. Everything in the process
	// namespace is dead then.
	wait() sandbox.Exit
	// peak is, after wait, the most memory that one of its processes had, in
	// bytes; 0: unknown.
	peak() int64
	// mounts is the mount namespace that is seen inside; nil: this process's.
	mounts() *os.File
	// root is in that namespace what is / inside.
	root() string
	// close frees what it has. Everything is dead.
	close()
}

// errGone: the sandbox has ended meanwhile.
var errGone = errors.New("sandbox has ended")

// create builds a sandbox and starts its workload. The descriptors stay the
// caller's.
func (l *launcher) create(r wire.Request, fds []*os.File) (_ *box, listeners []*os.File, err error) {
	root, err := l.rootFor(r)
	if err != nil {
		return nil, nil, invalid{err}
	}
	defer root.close()

	b := &box{id: r.ID, tmpSize: r.Limits.TmpBytes}
	defer func() {
		if err != nil {
			b.close(l)
		}
	}()
	limits := r.Limits
	if l.cfg.Ablate&wire.AblateMemory != 0 {
		limits.MemoryBytes = 0
	}
	if l.cfg.Ablate&wire.AblatePIDs != 0 {
		limits.PIDs = 0
	}
	if b.first, err = l.spawner.take(l.ctx); err != nil {
		return nil, nil, err
	}
	if g := b.first.group; g != nil {
		if err = g.Limit(l.groupLimits(limits)); err != nil {
			return nil, nil, err
		}
	}
	if err = l.giveTmp(b, r.Create.Tmp, r.Limits.TmpBytes, root); err != nil {
		return nil, nil, err
	}
	if l.machine != nil {
		listeners, err = l.contain(b, r, root, fds)
	} else {
		listeners, err = l.isolate(b, r, root, fds)
	}
	if err != nil {
		return nil, nil, err
	}
	return b, listeners, nil
}

// rootFor opens the trees of the root and of the mounts.
func (l *launcher) rootFor(r wire.Request) (*rootPlan, error) {
	var root *rootPlan
	var err error
	if r.Create.Root == "" {
		root, err = l.trees.hostRoot()
	} else {
		root, err = l.trees.givenRoot(r.Create.Root)
	}
	if err != nil {
		return nil, err
	}
	for _, m := range r.Mounts {
		f, err := l.trees.tree(m.Source)
		if err != nil {
			root.close()
			return nil, err
		}
		root.trees = append(root.trees, f)
		root.mounts = append(root.mounts, wire.PlanMount{Target: m.Target})
	}
	return root, nil
}

// wait returns when nothing is left of the sandbox but its control group.
func (b *box) wait() sandbox.Exit {
	if b.first.oom != nil {
		go b.watchOOM()
	}
	exit := b.work.wait()
	b.ended.Store(true)
	return exit
}

// watchOOM ends the whole sandbox when its memory limit is hit, as the kernel
// does by itself with cgroup v2.
func (b *box) watchOOM() {
	var n [8]byte
	if _, err := b.first.oom.Read(n[:]); err != nil {
		return // closed: the sandbox has ended
	}
	if b.ended.Load() {
		return // removal of the group wakes this up as well
	}
	b.oomHit.Store(true)
	b.kill()
}

// kill ends every process. Safe at any time.
func (b *box) kill() {
	b.dying.Store(true)
	_ = b.first.process.Kill()
	if g := b.first.group; g != nil {
		g.Kill() // also when frozen
	}
}

// end removes what is left after wait and gives the last usage.
func (b *box) end(l *launcher, exit *sandbox.Exit) sandbox.Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	var u sandbox.Usage
	if g := b.first.group; g != nil {
		exit.OOMKilled = b.oomHit.Load() || g.OOMKills() > 0
		u = b.lastUsage(l, exit.OOMKilled)
	}
	exit.TmpKept = b.close(l)
	return u
}

// close kills what is left and removes what the sandbox had, also of a create
// that failed half-way. It tells whether its /tmp waits for another sandbox.
func (b *box) close(l *launcher) (tmpKept bool) {
	b.closed = true
	b.ended.Store(true)
	if b.work != nil {
		b.work.close()
	}
	if b.tmp != nil && b.first != nil {
		b.tmp.settle(b.first)
	}
	if b.first != nil {
		b.first.end(l.spawner)
	}
	// Nobody can reach the file system any more: its processes are dead, and
	// its mount namespaces with them.
	return b.tmp != nil && l.tmps.leave(b.tmp)
}

// attach mounts directories into the running sandbox.
func (b *box) attach(t *treeOpener, mounts []wire.Mount) error {
	var trees []*os.File
	defer func() { closeAll(trees) }()
	for _, m := range mounts {
		f, err := t.tree(m.Source)
		if err != nil {
			return invalid{err}
		}
		trees = append(trees, f)
	}
	return b.inside(func() error {
		root, err := unix.Open(b.work.root(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("root: %w", err)
		}
		defer unix.Close(root)
		for i, m := range mounts {
			fd, err := unix.Openat2(root, m.Target, &unix.OpenHow{
				Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
				Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS,
			})
			if err != nil {
				return fmt.Errorf("mount point %s: %w", m.Target, err)
			}
			err = unix.MoveMount(int(trees[i].Fd()), "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
			unix.Close(fd)
			if err != nil {
				return fmt.Errorf("mount on %s: %w", m.Target, err)
			}
		}
		return nil
	})
}

// limit changes limits of the running sandbox.
func (b *box) limit(l *launcher, n sandbox.Limits) error {
	if n.OpenFiles != 0 {
		return invalid{errors.New("the descriptor limit of a running sandbox cannot change")}
	}
	b.mu.Lock()
	group := b.first.group
	resize := n.TmpBytes != 0 && n.TmpBytes != b.tmpSize
	b.mu.Unlock()
	if group != nil { // without, the driver has said what is missing, once
		if err := group.Limit(l.groupLimits(n)); err != nil {
			return err
		}
	}
	if !resize {
		return nil
	}
	if b.tmp != nil {
		return invalid{errors.New("the size of a /tmp on disk cannot change")}
	}
	return b.inside(func() error {
		err := unix.Mount("", filepath.Join(b.work.root(), "tmp"), "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d", n.TmpBytes))
		if err != nil {
			return fmt.Errorf("resize /tmp: %w", err)
		}
		b.tmpSize = n.TmpBytes
		return nil
	})
}

// inside runs f on a thread in the sandbox's mount namespace. The thread ends
// with it: it must not run anything else.
func (b *box) inside(f func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errGone
	}
	return apart(func() error {
		err := unix.Unshare(unix.CLONE_FS)
		if mounts := b.work.mounts(); err == nil && mounts != nil {
			err = unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS)
		}
		if err == nil {
			err = f()
		}
		return err
	})
}

// freeze stops every process. With control groups of version 1 what is frozen
// cannot even die: a sandbox that is being killed does not stay frozen,
// whichever of the two came first.
func (b *box) freeze() error {
	return b.withGroup(func(g *cgroup.Group) error {
		err := g.Freeze()
		if b.dying.Load() {
			return errors.Join(errGone, g.Thaw())
		}
		return err
	})
}

// withGroup runs f on the control group.
func (b *box) withGroup(f func(*cgroup.Group) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errGone
	}
	if b.first.group == nil {
		return errors.New("no control groups")
	}
	return f(b.first.group)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
