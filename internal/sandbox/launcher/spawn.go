package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/packet"
	"davy/internal/sandbox/pid1"
	"davy/internal/sandbox/wire"
)

// blank is a first process in new namespaces that waits for its plan.
type blank struct {
	process *os.Process
	conn    *packet.Conn
	mounts  *os.File // its mount namespace
	slot    int      // of the user ids
}

// discard ends a blank that was not used.
func (b *blank) discard() {
	_ = b.process.Kill()
	_, _ = b.process.Wait()
	b.conn.Close()
	b.mounts.Close()
}

// spawner starts the first processes of sandboxes and keeps some ready. All
// forks come from one thread that lives as long as the launcher: a child dies
// with the thread that forked it.
type spawner struct {
	cfg      Config
	rootless bool
	null     *os.File

	forks chan func()
	ready chan *blank

	mu    sync.Mutex
	slots []int // free, the last is the next
}

func newSpawner(cfg Config, rootless bool) (*spawner, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &spawner{
		cfg: cfg, rootless: rootless, null: null,
		forks: make(chan func()), ready: make(chan *blank, cfg.Spares),
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
		runtime.LockOSThread()
		for {
			select {
			case f := <-s.forks:
				f()
			case <-forker.Done():
				return
			}
		}
	}()
	for range s.cfg.Spares {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				b, err := s.fork(ctx)
				if err != nil {
					return // the next create meets the error and tells it
				}
				select {
				case s.ready <- b:
				case <-ctx.Done():
					b.discard()
				}
			}
		}()
	}
	wg.Wait()
	for len(s.ready) > 0 {
		(<-s.ready).discard()
	}
	<-ctx.Done()
	stop()
	<-done
	s.null.Close()
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

func (s *spawner) fork(ctx context.Context) (*blank, error) {
	slot, err := s.allot()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := packet.Pair("init")
	if err != nil {
		s.free(slot)
		return nil, err
	}
	defer theirs.Close()
	var p *os.Process
	done := make(chan struct{})
	start := func() {
		defer close(done)
		p, err = os.StartProcess("/proc/self/exe", []string{pid1.Name}, &os.ProcAttr{
			Dir: "/", Env: []string{},
			Files: []*os.File{s.null, s.null, os.Stderr, theirs},
			Sys:   s.attributes(slot),
		})
	}
	select {
	case s.forks <- start:
		<-done
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		ours.Close()
		s.free(slot)
		return nil, fmt.Errorf("start the first process: %w", err)
	}
	mounts, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", p.Pid))
	var conn *packet.Conn
	if err != nil {
		ours.Close()
	} else if conn, err = packet.NewConn(ours); err != nil {
		mounts.Close()
	}
	if err != nil {
		_ = p.Kill()
		_, _ = p.Wait()
		s.free(slot)
		return nil, err
	}
	return &blank{process: p, conn: conn, mounts: mounts, slot: slot}, nil
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
	if s.rootless {
		// The only user there is: root of the launcher's own user namespace.
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		return a
	}
	base := int(s.cfg.UIDBase) + slot*uidsEach
	if s.cfg.Ablate&wire.AblateOwnUIDs != 0 {
		base = int(s.cfg.UIDBase)
	}
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: uidsEach}}
	a.GidMappings = a.UidMappings
	a.GidMappingsEnableSetgroups = true
	a.Credential = &syscall.Credential{Uid: 0, Gid: 0}
	return a
}
