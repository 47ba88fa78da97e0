package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox"
	"davy/internal/sandbox/cgroup"
	"davy/internal/sandbox/oci"
	"davy/internal/sandbox/packet"
	"davy/internal/sandbox/pid1"
	"davy/internal/sandbox/scratch"
	"davy/internal/sandbox/shed"
	"davy/internal/sandbox/sysfilter"
	"davy/internal/sandbox/wire"
)

// descriptors that a launcher is started with
const (
	fdServer   = 3
	fdSettings = 4
)

// inFlight bounds the requests that are worked on at one time. More wait in
// the socket.
const inFlight = 64

// invalid marks an error as the server's.
type invalid struct{ error }

func (e invalid) Unwrap() error { return e.error }

// launcher serves one server.
type launcher struct {
	ctx      context.Context
	cfg      Config
	rootless bool
	conn     *packet.Conn
	trees    *treeOpener
	tree     *cgroup.Tree // nil: no control groups
	spawner  *spawner
	scratch  *scratch.Store // nil: /tmp is in memory
	tmps     keptTmps
	filter   []byte
	reaper   *os.File
	machine  *oci.Machine // nil: sandboxes are made by isolate
	holder   *os.File     // with machine
	missing  []string

	mu    sync.Mutex
	boxes map[string]*box // nil while being created
}

// runLauncher is the launcher process. It ends when the server's socket does.
func runLauncher() error {
	// Only the server's end ends a launcher in order: a terminal's interrupt
	// goes to the supervisor, which tells the server.
	// Caught and not ignored, because sandboxes would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	// An OCI runtime hands on what it inherits.
	if err := pid1.HeedSignals(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	var s settings
	f := os.NewFile(fdSettings, "settings")
	err := json.NewDecoder(f).Decode(&s)
	f.Close()
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	conn, err := packet.NewConn(os.NewFile(fdServer, "server"))
	if err != nil {
		return err
	}
	defer conn.Close()
	l, err := newLauncher(s, conn)
	if err != nil {
		return err
	}
	return l.run()
}

func newLauncher(s settings, conn *packet.Conn) (*launcher, error) {
	if s.Config.Ablate != 0 && !ablationAllowed {
		return nil, errors.New("this program does not leave protections out")
	}
	if err := s.Config.setDefaults(); err != nil {
		return nil, err
	}
	l := &launcher{cfg: s.Config, rootless: s.Rootless, conn: conn, boxes: map[string]*box{}}
	var err error
	if l.trees, err = openRoots(l.cfg); err != nil {
		return nil, err
	}
	table, err := sysfilter.Default()
	if err != nil {
		return nil, err
	}
	prog, err := sysfilter.Compile(table)
	if err != nil {
		return nil, err
	}
	l.filter = sysfilter.Marshal(prog)
	image, err := pid1.ReaperImage()
	if err != nil {
		return nil, err
	}
	// Executable and not readable: a process cannot be traced that runs it.
	if l.reaper, err = memFile("init", image, 0o111); err != nil {
		return nil, err
	}
	l.openGroups()
	if l.rootless {
		l.missing = append(l.missing,
			"user ids: without root all sandboxes and the server run as one user",
			"privilege separation: without root a server that is taken over has all rights of its user")
	}
	if l.spawner, err = newSpawner(l.cfg, l.rootless, l.tree); err != nil {
		return nil, err
	}
	if m := ownersMissing(l.cfg, l.rootless); m == "" {
		l.spawner.owners = true
	} else if !l.rootless {
		l.missing = append(l.missing, fmt.Sprintf("owners of sandboxes: %s: a function can use up inotify instances, timers and pending signals that root and other functions need", m))
	}
	if l.cfg.OCIRuntime != "" {
		if err := l.openMachine(table); err != nil {
			return nil, err
		}
	} else if m := pid1.LandlockMissing(); m != "" {
		l.missing = append(l.missing, m)
	}
	l.openScratch()
	if err := rehearseTun(); err != nil {
		l.missing = append(l.missing, fmt.Sprintf("%s: functions reach no network: %v", sandbox.MissingEgress, err))
	} else {
		l.spawner.tun = l.cfg.Ablate&wire.AblateNetwork == 0
	}
	return l, nil
}

// openMachine prepares for containers of an OCI runtime.
func (l *launcher) openMachine(t sysfilter.Table) error {
	image, err := pid1.HolderImage()
	if err != nil {
		return err
	}
	if l.holder, err = memFile("init", image, 0o111); err != nil {
		return err
	}
	filter, err := t.OCI()
	if err != nil {
		return err
	}
	if l.machine, err = oci.New(context.Background(), oci.Config{Runtime: l.cfg.OCIRuntime, Filter: filter, Null: l.spawner.null}); err != nil {
		return err
	}
	if l.spawner.sharedUsers = l.machine.Runtime().OwnKernel; l.spawner.sharedUsers {
		l.spawner.owners = false // its kernel counts for itself
	}
	l.missing = append(l.missing, l.machine.Missing()...)
	return nil
}

// openGroups finds the control groups, or says what is lost without them.
func (l *launcher) openGroups() {
	if l.rootless {
		l.missing = append(l.missing, "control groups: without root memory, CPU time and freezing are not available, and processes are limited by count of the user only")
		return
	}
	tree, err := cgroup.Open(cgroup.Config{Instance: l.cfg.Instance})
	if err != nil {
		l.missing = append(l.missing, fmt.Sprintf("control groups: %v: memory, CPU time, processes are not limited, no freezing", err))
		return
	}
	if err := tree.Sweep(); err != nil {
		slog.Error("control groups of a previous launcher", "error", err)
	}
	tree.SweepOthers()
	l.tree = tree
	l.missing = append(l.missing, tree.Missing()...)
}

// run serves until the server is gone, then ends every sandbox.
func (l *launcher) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l.ctx = ctx
	var wg sync.WaitGroup
	stopScratch := l.runScratch()
	wg.Go(func() { l.spawner.run(ctx) })

	// The first fork tells whether this machine lets us make namespaces.
	if err := <-l.spawner.first; err != nil {
		l.missing = append(l.missing, fmt.Sprintf("sandboxes: namespaces cannot be made here: %v", err))
	}
	hello, err := wire.Hello{Missing: l.missing}.Encode()
	if err == nil {
		err = l.conn.Send(hello)
	}
	if err == nil {
		started := time.AfterFunc(shed.Rest, func() {
			if err := shed.All(); err != nil {
				slog.Debug("memory kept", "error", err)
			}
		})
		l.serve(&wg)
		started.Stop()
	}
	for _, b := range l.running() {
		b.kill()
	}
	cancel()
	wg.Wait()
	stopScratch()
	if l.machine != nil {
		if e := l.machine.Close(); e != nil {
			slog.Error("containers' place not removed", "error", e)
		}
		if l.tree != nil {
			l.tree.SweepOthers()
		}
	}
	if l.tree != nil {
		if e := l.tree.Close(); e != nil {
			slog.Error("control groups not removed", "error", e)
		}
	}
	return err
}

func (l *launcher) running() []*box {
	l.mu.Lock()
	defer l.mu.Unlock()
	var v []*box
	for _, b := range l.boxes {
		if b != nil {
			v = append(v, b)
		}
	}
	return v
}

// serve reads requests until the server is gone and all are answered.
func (l *launcher) serve(wg *sync.WaitGroup) {
	slots := make(chan struct{}, inFlight)
	var requests sync.WaitGroup
	defer requests.Wait()
	for {
		b, fds, err := l.conn.Receive()
		if errors.Is(err, wire.ErrMalformed) {
			slog.Error("malformed request", "error", err)
			continue
		}
		if err != nil {
			return
		}
		r, err := wire.DecodeRequest(b)
		if err != nil {
			// Who sends this is not our server.
			slog.Error("malformed request", "error", err)
			closeAll(fds)
			continue
		}
		slots <- struct{}{}
		requests.Go(func() {
			defer func() { <-slots }()
			defer closeAll(fds)
			l.handle(r, fds, wg)
		})
	}
}

func (l *launcher) handle(r wire.Request, fds []*os.File, wg *sync.WaitGroup) {
	if r.Op == wire.OpCreate {
		l.handleCreate(r, fds, wg)
		return
	}
	if r.Op == wire.OpDropTmp {
		l.tmps.drop(r.ID)
		l.reply(r.Seq, sandbox.Usage{}, nil)
		return
	}
	l.mu.Lock()
	b := l.boxes[r.ID]
	l.mu.Unlock()
	var u sandbox.Usage
	err := errGone
	if b != nil {
		switch r.Op {
		case wire.OpAttach:
			if err = validateAttach(r.Mounts); err != nil {
				err = invalid{err}
			} else {
				err = b.attach(l.trees, r.Mounts)
			}
		case wire.OpLimit:
			if err = validateLimits(r.Limits); err != nil {
				err = invalid{err}
			} else {
				err = b.limit(l, r.Limits)
			}
		case wire.OpFreeze:
			err = b.freeze()
		case wire.OpThaw:
			err = b.withGroup((*cgroup.Group).Thaw)
		case wire.OpUsage:
			err = b.withGroup(func(g *cgroup.Group) (err error) { u, err = b.usage(l, g); return err })
		case wire.OpResetPeak:
			err = b.withGroup(b.resetPeak)
		case wire.OpKill:
			b.kill()
			err = nil
		}
	}
	l.reply(r.Seq, u, err)
}

func (l *launcher) handleCreate(r wire.Request, fds []*os.File, wg *sync.WaitGroup) {
	if err := validateCreate(&r, len(fds)); err != nil {
		l.reply(r.Seq, sandbox.Usage{}, invalid{err})
		return
	}
	if err := l.reserve(r.ID); err != nil {
		l.reply(r.Seq, sandbox.Usage{}, err)
		return
	}
	b, listeners, err := l.create(r, fds)
	l.mu.Lock()
	if err != nil {
		delete(l.boxes, r.ID)
	} else {
		l.boxes[r.ID] = b
	}
	l.mu.Unlock()
	if err != nil {
		l.reply(r.Seq, sandbox.Usage{}, err)
		return
	}
	defer closeAll(listeners)
	l.reply(r.Seq, sandbox.Usage{}, nil, listeners...)
	wg.Go(func() { l.outlive(b) })
}

// reserve takes the id and one of the places.
func (l *launcher) reserve(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.boxes[id]; taken {
		return invalid{fmt.Errorf("id %s is in use", id)}
	}
	if len(l.boxes) >= l.cfg.MaxSandboxes {
		return fmt.Errorf("%w: %d sandboxes", errBusy, len(l.boxes))
	}
	l.boxes[id] = nil
	return nil
}

var errBusy = errors.New("no more sandboxes")

// outlive waits for the end of a sandbox and tells the server.
func (l *launcher) outlive(b *box) {
	exit := b.wait()
	u := b.end(l, &exit)
	l.mu.Lock()
	delete(l.boxes, b.id)
	l.mu.Unlock()
	packet, err := wire.Exited{ID: b.id, Exit: exit, Usage: u}.Encode()
	if err == nil {
		_ = l.conn.Send(packet) // the server may be gone
	}
}

func (l *launcher) reply(seq uint32, u sandbox.Usage, err error, files ...*os.File) {
	r := wire.Reply{Seq: seq, Usage: u}
	var bad invalid
	switch {
	case err == nil:
	case errors.As(err, &bad):
		r.Code = wire.CodeInvalid
	case errors.Is(err, errGone):
		r.Code = wire.CodeClosed
	case errors.Is(err, errBusy):
		r.Code = wire.CodeBusy
	default:
		r.Code = wire.CodeFailed
	}
	if err != nil {
		r.Text = err.Error()
	}
	packet, err := r.Encode()
	if err != nil {
		return
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	_ = l.conn.Send(packet, fds...)
}
