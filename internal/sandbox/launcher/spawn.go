package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/cgroup"
	"davy/internal/sandbox/packet"
	"davy/internal/sandbox/pid1"
	"davy/internal/sandbox/wire"
)

// blank is a first process in new namespaces, in a control group of its own,
// that waits for its plan.
//
// It is in its group from the beginning because moving a process takes
// milliseconds for each version 1 hierarchy: the kernel waits for all
// processors. Setting limits does not.
type blank struct {
	process *os.Process
	conn    *packet.Conn
	mounts  *os.File      // its mount namespace
	group   *cgroup.Group // nil without control groups
	oom     *os.File      // see cgroup.WatchOOM
	tun     *os.File      // see openTun; nil when this machine has none
	slot    int           // of the user ids
}

// end kills what is left of it and removes what it had. What a part failed to
// be made may be nil.
func (b *blank) end(s *spawner) {
	if b.process != nil {
		_ = b.process.Kill()
		_, _ = b.process.Wait()
	}
	if b.conn != nil {
		b.conn.Close()
	}
	for _, f := range []*os.File{b.mounts, b.oom, b.tun} {
		if f != nil {
			f.Close()
		}
	}
	if b.group != nil {
		b.group.Kill() // what might have been moved into it from outside
		if err := b.group.Remove(); err != nil {
			slog.Error("control group not removed", "error", err)
		}
	}
	s.free(b.slot)
}

// spawner starts the first processes of sandboxes and keeps some ready. All
// forks come from one thread that lives as long as the launcher: a child dies
// with the thread that forked it.
type spawner struct {
	cfg      Config
	rootless bool
	// sharedUsers: the first processes stay in the launcher's user namespace,
	// because what starts in theirs makes one itself.
	sharedUsers bool
	owners      bool         // each user namespace has an owner of its own
	tun         bool         // sandboxes may have a device
	tree        *cgroup.Tree // nil: no control groups
	null        *os.File
	serial      atomic.Uint64
	noEntry     atomic.Bool // processes are moved into their group after the fork

	forks chan func(error) // told what is wrong with the thread
	ready chan *blank      // without room: a blank is kept by who made it
	first chan error       // how the very first went

	mu    sync.Mutex
	slots []int // free, the last is the next
}

func newSpawner(cfg Config, rootless bool, tree *cgroup.Tree) (*spawner, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &spawner{
		cfg: cfg, rootless: rootless, tree: tree, null: null,
		forks: make(chan func(error)), ready: make(chan *blank), first: make(chan error, 1),
	}
	// Blanks take a slot each besides the running sandboxes.
	for i := range cfg.MaxSandboxes + cfg.Spares + 1 {
		s.slots = append(s.slots, i)
	}
	slices.Reverse(s.slots)
	return s, nil
}

// run forks until ctx ends, then ends the blanks.
func (s *spawner) run(ctx context.Context) {
	var wg sync.WaitGroup
	forker, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.forkUntil(forker.Done())
	}()
	for range s.cfg.Spares {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				b, err := s.fork(ctx)
				select {
				case s.first <- err:
				default:
				}
				if err != nil {
					// A create meets the same error and tells it.
					select {
					case <-time.After(time.Second):
					case <-ctx.Done():
					}
					continue
				}
				select {
				case s.ready <- b:
				case <-ctx.Done():
					b.end(s)
				}
			}
		}()
	}
	if s.cfg.Spares == 0 {
		b, err := s.fork(ctx)
		if err == nil {
			b.end(s)
		}
		s.first <- err
	}
	wg.Wait()
	<-ctx.Done()
	stop()
	<-done
	s.null.Close()
}

// forkUntil forks whatever is asked of it, on a thread that nobody else uses. It
// is never the process's first: that one carries the signal by which the
// launcher dies with its parent, and would lose it when its user changes.
func (s *spawner) forkUntil(end <-chan struct{}) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		elsewhere := make(chan struct{})
		go func() {
			defer close(elsewhere)
			s.forkUntil(end)
		}()
		<-elsewhere
		return
	}
	var failed error
	if s.owners {
		failed = keepCapabilities()
	}
	for {
		select {
		case f := <-s.forks:
			f(failed)
		case <-end:
			return
		}
	}
}

// take gives a blank that waited, or a new one.
func (s *spawner) take(ctx context.Context) (*blank, error) {
	select {
	case b := <-s.ready:
		return b, nil
	default:
		return s.fork(ctx)
	}
}

// free gives a sandbox's user ids back.
func (s *spawner) free(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// To the far end: the same ids are not used again soon.
	s.slots = append([]int{slot}, s.slots...)
}

func (s *spawner) allot() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.slots)
	if n == 0 {
		return 0, errors.New("no user ids left")
	}
	slot := s.slots[n-1]
	s.slots = s.slots[:n-1]
	return slot, nil
}

// fork makes a blank.
func (s *spawner) fork(ctx context.Context) (*blank, error) {
	slot, err := s.allot()
	if err != nil {
		return nil, err
	}
	b := &blank{slot: slot}
	if err := s.fill(ctx, b); err != nil {
		b.end(s)
		return nil, fmt.Errorf("start the first process: %w", err)
	}
	return b, nil
}

func (s *spawner) fill(ctx context.Context, b *blank) (err error) {
	if s.tree != nil {
		// The process id keeps apart what a killed launcher could have left.
		name := fmt.Sprintf("%d-%d", os.Getpid(), s.serial.Add(1))
		if b.group, err = s.tree.New(name, sandbox.Limits{}, s.cfg.Ablate&wire.AblateDevices == 0); err != nil {
			return err
		}
		if b.oom, err = b.group.WatchOOM(); err != nil {
			return err
		}
	}
	ours, theirs, err := packet.Pair("init")
	if err != nil {
		return err
	}
	defer theirs.Close()
	if b.conn, err = packet.NewConn(ours); err != nil {
		return err
	}
	done := make(chan struct{})
	ownGroup := b.group != nil && s.cfg.OCIRuntime == "" // else: the group is the container's
	var entered bool
	start := func(failed error) {
		defer close(done)
		if err = failed; err == nil {
			err = s.asOwner(b.slot, func() (err error) {
				entered, err = s.start(b, theirs, ownGroup)
				return err
			})
		}
	}
	select {
	case s.forks <- start:
		<-done
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	if ownGroup {
		add := b.group.Add
		if entered {
			add = b.group.Complete
		}
		if err := add(b.process.Pid); err != nil {
			return err
		}
	}
	if s.tun {
		if b.tun, err = openTun(b.process.Pid); err != nil {
			return err
		}
	}
	b.mounts, err = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", b.process.Pid))
	return err
}

// start forks the first process. entered: in its version 2 group already,
// which not every kernel and container allows.
func (s *spawner) start(b *blank, conn *os.File, ownGroup bool) (entered bool, err error) {
	attr := &os.ProcAttr{
		Dir: "/", Env: []string{},
		Files: []*os.File{s.null, s.null, os.Stderr, conn},
		Sys:   s.attributes(b.slot),
	}
	if ownGroup && !s.noEntry.Load() {
		entry, err := b.group.Entry()
		if err != nil {
			return false, err
		}
		if entry != nil {
			defer entry.Close()
			attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(entry.Fd())
			if b.process, err = os.StartProcess("/proc/self/exe", []string{pid1.Name}, attr); err == nil {
				return true, nil
			}
			attr.Sys.UseCgroupFD = false
		}
	}
	if b.process, err = os.StartProcess("/proc/self/exe", []string{pid1.Name}, attr); err != nil {
		return false, err
	}
	s.noEntry.Store(true) // what failed is the entry
	return false, nil
}

func (s *spawner) attributes(slot int) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	for _, ns := range []struct {
		flag uintptr
		off  wire.Ablation
	}{
		{unix.CLONE_NEWPID, wire.AblatePIDNS},
		{unix.CLONE_NEWNET, wire.AblateNetwork},
		{unix.CLONE_NEWIPC, wire.AblateIPC},
	} {
		if s.cfg.Ablate&ns.off == 0 {
			a.Cloneflags |= ns.flag
		}
	}
	if s.sharedUsers {
		a.Cloneflags &^= unix.CLONE_NEWUSER
		return a
	}
	if s.rootless {
		// The only user there is: root of the launcher's own user namespace.
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		return a
	}
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(s.uidBase(slot)), Size: uidsEach}}
	a.GidMappings = a.UidMappings
	a.GidMappingsEnableSetgroups = true
	a.Credential = &syscall.Credential{Uid: 0, Gid: 0}
	return a
}

// uidBase is the first user id on the host of a sandbox.
func (s *spawner) uidBase(slot int) uint32 {
	if s.cfg.Ablate&wire.AblateOwnUIDs != 0 {
		slot = 0
	}
	return s.cfg.UIDBase + uint32(slot*uidsEach)
}
