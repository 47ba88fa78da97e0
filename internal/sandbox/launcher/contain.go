package launcher

import (
	"fmt"
	"os"
	"syscall"

	"davy/internal/sandbox"
	"davy/internal/sandbox/oci"
	"davy/internal/sandbox/wire"
)

// contain builds a sandbox with an OCI runtime: the first process holds
// namespaces, which the runtime's container joins.
func (l *launcher) contain(b *box, r wire.Request, root *rootPlan, fds []*os.File) (_ []*os.File, err error) {
	hold := wire.Plan{
		Create: wire.Create{Args: r.Create.Args[:1], Listen: r.Create.Listen},
		Hold:   true, Ablate: l.cfg.Ablate,
	}
	listeners, err := b.first.carryOut(hold, l.holder, l.spawner.null, nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(listeners)
		}
	}()
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
	if g := b.first.group; g != nil {
		if p.CgroupsPath, err = g.CgroupsPath(); err != nil {
			return nil, err
		}
	}
	c, err := l.machine.Create(p)
	if err != nil {
		return nil, invalid{err}
	}
	b.work = &contained{c: c, first: b.first}
	if g := b.first.group; g != nil {
		// The runtime knows nothing of the version 2 tree beside version 1.
		if err := g.Add(c.PID()); err != nil {
			return nil, err
		}
	}
	// The container has its namespaces: from now on there are no more.
	if _, err := b.first.ask([]byte{1}); err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("container: %w", err)
	}
	return listeners, nil
}

// contained is a workload in a runtime's container.
type contained struct {
	c     *oci.Container
	first *blank
}

func (w *contained) wait() sandbox.Exit {
	ws, err := w.c.Wait()
	// The namespace ends with its first process; that ends only when the
	// container's, which is this process's child, has been waited for.
	_ = w.first.process.Kill()
	_, _ = w.first.process.Wait()
	if err != nil {
		return sandbox.Exit{Signal: syscall.SIGKILL}
	}
	return exitOf(ws)
}

func (w *contained) mounts() *os.File { return w.c.Mounts() }

func (w *contained) close() { w.c.Delete() }
