package launcher

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"davy/internal/sandbox"
	"davy/internal/sandbox/oci"
	"davy/internal/sandbox/wire"
)

// contain builds a sandbox with an OCI runtime: the first process holds
// namespaces, which the runtime's container joins.
func (l *launcher) contain(b *box, r wire.Request, root *rootPlan, fds []*os.File) (_ []*os.File, err error) {
	status, report, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	image, own := l.holder, l.machine.Runtime().OwnKernel
	hold := wire.Plan{
		Create: wire.Create{Args: r.Create.Args[:1], Listen: r.Create.Listen},
		Hold:   true, Ablate: l.cfg.Ablate,
	}
	if own {
		image = l.reaper
		// The limits would be those of the launcher's user namespace.
		hold.Ablate |= wire.AblateNesting
	}
	listeners, err := b.first.carryOut(hold, image, report, nil, nil)
	if err != nil {
		status.Close()
		return nil, err
	}
	p, err := l.containerPlan(b, r, root, fds)
	if err == nil && own {
		err = l.runOwnKernel(b, p, status)
	} else {
		status.Close()
		if err == nil {
			err = l.runContainer(b, p)
		}
	}
	if err != nil {
		closeAll(listeners)
		return nil, err
	}
	return listeners, nil
}

func (l *launcher) containerPlan(b *box, r wire.Request, root *rootPlan, fds []*os.File) (oci.Plan, error) {
	p := oci.Plan{
		ID: r.ID, Holder: b.first.process.Pid,
		Root: oci.Root{Links: root.links, Texts: root.texts},
		Args: r.Create.Args, Env: r.Create.Env, Dir: r.Create.Dir,
		Limits: r.Limits, Ablate: l.cfg.Ablate,
		UIDBase: l.spawner.uidBase(b.first.slot), UIDs: uidsEach,
	}
	for i, m := range root.mounts {
		p.Root.Parts = append(p.Root.Parts, oci.Part{PlanMount: m, Tree: root.trees[i]})
	}
	if r.Create.Stdout {
		p.Stdout, fds = fds[0], fds[1:]
	}
	if r.Create.Stderr {
		p.Stderr, fds = fds[0], fds[1:]
	}
	p.Files = fds
	var err error
	if g := b.first.group; g != nil {
		p.CgroupsPath, err = g.CgroupsPath()
	}
	return p, err
}

// runContainer starts the workload in a container on the host's kernel.
func (l *launcher) runContainer(b *box, p oci.Plan) error {
	c, err := l.machine.Create(p)
	if err != nil {
		return invalid{err}
	}
	b.work = &contained{c: c, first: b.first}
	if g := b.first.group; g != nil {
		// The runtime may know nothing of a version 2 tree beside version 1.
		if err := g.Add(c.PID()); err != nil {
			return err
		}
	}
	// The container has its namespaces: from now on there are no more.
	if _, err := b.first.ask([]byte{0}); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("container: %w", err)
	}
	return nil
}

// runOwnKernel starts the workload in a container on the runtime's kernel.
func (l *launcher) runOwnKernel(b *box, p oci.Plan, status *os.File) error {
	c, err := l.machine.Run(p, func(pid int) error {
		if g := b.first.group; g != nil {
			return g.Add(pid)
		}
		return nil
	})
	if err != nil {
		status.Close()
		return invalid{err}
	}
	b.work = &emulated{reaped: reaped{status: status, first: b.first}, c: c}
	if _, err := b.first.ask([]byte(strconv.Itoa(c.Process()))); err != nil {
		return err
	}
	return nil
}

// groupLimits are the limits of a control group for those of a workload: a
// runtime's own kernel is in the group as well.
func (l *launcher) groupLimits(n sandbox.Limits) sandbox.Limits {
	if l.machine == nil || !l.machine.Runtime().OwnKernel {
		return n
	}
	if n.MemoryBytes > 0 {
		n.MemoryBytes += oci.OverheadMemory
	}
	if n.PIDs > 0 {
		n.PIDs = n.PIDs*oci.ThreadsEach + oci.OverheadThreads
	}
	return n
}

// contained is a workload in a runtime's container.
type contained struct {
	c     *oci.Container
	first *blank
	most  int64 // see peak
}

func (w *contained) wait() sandbox.Exit {
	state, err := w.c.Wait()
	// The namespace ends with its first process; that ends only when the
	// container's, which is this process's child, has been waited for.
	_ = w.first.process.Kill()
	_, _ = w.first.process.Wait()
	if err != nil {
		return sandbox.Exit{Signal: syscall.SIGKILL}
	}
	w.most = peakOf(state)
	ws, _ := state.Sys().(syscall.WaitStatus)
	return exitOf(ws)
}

func (w *contained) peak() int64 { return w.most }

func (w *contained) mounts() *os.File { return w.c.Mounts() }

func (w *contained) root() string { return "/" }

func (w *contained) close() { w.c.Delete() }

// emulated is a workload on a runtime's own kernel, whose process ends as the
// workload has ended, as far as an exit code can tell.
type emulated struct {
	reaped
	c *oci.Container
}

func (w *emulated) wait() sandbox.Exit {
	x := w.reaped.wait()
	const signalled, lastSignal = 128, 64
	if x.Signal == 0 && x.Code > signalled && x.Code <= signalled+lastSignal {
		x = sandbox.Exit{Signal: syscall.Signal(x.Code - signalled)}
	}
	return x
}

// peak is unknown: the processes are those of the runtime's kernel.
func (w *emulated) peak() int64 { return 0 }

func (w *emulated) mounts() *os.File { return nil }

func (w *emulated) root() string { return w.c.Root() }

func (w *emulated) close() {
	w.reaped.close()
	w.c.Delete()
}
