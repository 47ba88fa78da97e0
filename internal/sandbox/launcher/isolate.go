package launcher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"davy/internal/sandbox"
	"davy/internal/sandbox/wire"
)

// startWait bounds how long a first process may take to build its sandbox.
const startWait = 20 * time.Second

// isolate builds a sandbox with Davy's own means: the first process puts the
// root together from inside, confines itself and starts the workload.
func (l *launcher) isolate(b *box, r wire.Request, root *rootPlan, fds []*os.File) ([]*os.File, error) {
	status, report, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	b.work = &reaped{status: status, first: b.first}

	plan := wire.Plan{
		Create: r.Create, Mounts: root.mounts, Links: root.links, Texts: root.texts,
		TmpBytes: r.Limits.TmpBytes, PIDs: r.Limits.PIDs, OpenFiles: r.Limits.OpenFiles,
		UID: 993, GID: 990, SetGroups: !l.rootless, CgroupNS: true,
		Filter: l.filter, Ablate: l.cfg.Ablate,
	}
	if l.rootless {
		plan.UID, plan.GID = 0, 0
	}
	return b.first.carryOut(plan, l.reaper, report, root.trees, fds)
}

// carryOut sends a first process its plan and gives the listeners that it has
// made.
func (b *blank) carryOut(plan wire.Plan, image, report *os.File, trees, fds []*os.File) ([]*os.File, error) {
	packet, err := plan.Encode()
	if err != nil {
		return nil, invalid{err}
	}
	send := []int{int(image.Fd()), int(report.Fd())}
	if plan.Tuns() > 0 {
		if b.tun == nil {
			return nil, invalid{errors.New("no network device can be made here")}
		}
		send = append(send, int(b.tun.Fd()))
	}
	for _, f := range append(trees[:len(trees):len(trees)], fds...) {
		send = append(send, int(f.Fd()))
	}
	listeners, err := b.ask(packet, send...)
	if b.tun != nil { // the device ends when the server closes it
		b.tun.Close()
	}
	return listeners, err
}

// ask sends a first process something and waits for its answer.
func (b *blank) ask(packet []byte, fds ...int) ([]*os.File, error) {
	if err := b.conn.Send(packet, fds...); err != nil {
		return nil, fmt.Errorf("first process: %w", err)
	}
	// A first process that hangs is killed, which ends the wait below.
	alarm := time.AfterFunc(startWait, func() { _ = b.process.Kill() })
	defer alarm.Stop()
	answer, files, err := b.conn.Receive()
	if err != nil {
		return nil, fmt.Errorf("first process: %w", err)
	}
	started, err := wire.DecodeStarted(answer)
	if err == nil && started.Code != wire.CodeOK {
		err = invalid{errors.New(started.Text)}
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// reaped is a workload whose parent is the reaper that its first process has
// become.
type reaped struct {
	status *os.File // the reaper's report
	first  *blank
	most   int64 // see peak
}

func (w *reaped) wait() sandbox.Exit {
	var word [4]byte
	_, err := io.ReadFull(w.status, word[:])
	// Everything in the process namespace is dead when its first process has
	// been waited for.
	state, _ := w.first.process.Wait()
	w.most = peakOf(state)
	if err != nil {
		return sandbox.Exit{Signal: syscall.SIGKILL}
	}
	return exitOf(syscall.WaitStatus(binary.NativeEndian.Uint32(word[:])))
}

func (w *reaped) peak() int64 { return w.most }

// peakOf is the most memory that a process, or one of those that it waited for,
// had, in bytes.
func peakOf(s *os.ProcessState) int64 {
	if s == nil {
		return 0
	}
	r, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return r.Maxrss << 10
}

func (w *reaped) mounts() *os.File { return w.first.mounts }

func (w *reaped) root() string { return "/" }

func (w *reaped) close() { w.status.Close() }

func exitOf(ws syscall.WaitStatus) sandbox.Exit {
	switch {
	case ws.Exited():
		return sandbox.Exit{Code: ws.ExitStatus()}
	case ws.Signaled():
		return sandbox.Exit{Signal: ws.Signal()}
	}
	return sandbox.Exit{Signal: syscall.SIGKILL}
}
