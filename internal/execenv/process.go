package execenv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
	"davy/internal/sandbox/starter"
	"github.com/miekg/dns"
)

// Sockets of each environment: the gateway, the names that lead to it, and the
// APIs that Lambda has inside.
var listenSockets = []string{
	"tcp:" + Address + ":443",
	"tcp:" + Address + ":80",
	"udp:" + Address + ":53",
	"tcp:" + Address + ":53",
	"tcp:" + runtimeAPIAddress,
}

const listenHTTPS, listenHTTP, listenUDPNames, listenTCPNames, listenLocalAPI = 0, 1, 2, 3, 4

// Door takes the connections that functions make to AWS's host names, TLS and
// plain. Serve returns when the listener is closed.
type Door interface {
	Serve(net.Listener) error
}

// seed is what a runtime is booted with. Without a function it is one for any
// function that has no settings at process start: it can wait in a pool.
type seed struct {
	launch runtimes.Launch
	kind   kind // of a process without a function
	fn     *Function
	mounts []sandbox.Mount // of the function
	tmp    string          // Spec.Tmp of what was left in /tmp; empty: nothing was
	// Of a custom runtime: its program and the function's whole environment,
	// which other runtimes get when they are assigned to a function.
	program string
	env     map[string]string
	// Programs of external extensions, the folder of what starts them, and
	// their environment.
	extensions   []string
	starter      string
	extensionEnv []string
}

// function is the function as far as a process must know it when it starts.
func (s seed) function() Function {
	if s.fn != nil {
		return *s.fn
	}
	return Function{Runtime: s.kind.runtime, MemoryMB: s.kind.memoryMB}
}

// process is a booted runtime in its sandbox: first without a function, then
// assigned to one, for good.
type process struct {
	sb      sandbox.Sandbox
	ch      control
	api     *localAPI
	output  *outlet // of the runtime
	wg      sync.WaitGroup
	closers []io.Closer
	addrs   []net.Addr // of its sockets, in the order of listenSockets

	tmp       string // Spec.Tmp
	leavesTmp bool   // for another process of its environment
	initTold  bool   // platform.initRuntimeDone was sent

	// Of an environment with external extensions; else nil.
	crew      *crew
	telemetry *telemetry
	voices    []*outlet // of the extensions
	runtime   starter.Run
	files     int // descriptors of the runtime

	extended bool // there are extensions, internal ones too: known when the init phase ends
}

// ended is closed when the runtime has ended, or what it cannot be without.
func (p *process) ended() <-chan struct{} {
	if p.crew != nil {
		return p.crew.broken
	}
	return p.sb.Done()
}

func (p *process) finished() bool { return isClosed(p.ended()) }

// boot starts a runtime and its services. It does not wait for it.
func (es *Environments) boot(ctx context.Context, id string, s seed) (_ *process, err error) {
	p := &process{tmp: cmp.Or(s.tmp, id)}
	ch, api, theirs, err := newControl(s.launch)
	if err != nil {
		return nil, err
	}
	p.ch, p.api = ch, api
	p.files = len(theirs)
	var childOutput *os.File
	p.output, childOutput, err = newOutlet()
	if err != nil {
		closeAll(theirs)
		ch.close()
		return nil, err
	}
	defer func() {
		closeAll(theirs)
		childOutput.Close()
		if err != nil {
			p.end()
		}
	}()

	spec := sandbox.Spec{
		ID:     id,
		Mounts: slices.Concat(runtimeMounts(s.launch), s.mounts),
		Args:   s.launch.Args,
		Env:    s.launch.Env,
		Dir:    "/",
		Limits: es.bootLimits(s),
		Files:  theirs,
		Stdout: childOutput,
		Stderr: childOutput,
		Listen: es.withDevice(listenSockets),
		Tmp:    p.tmp,
	}
	switch {
	case s.program != "":
		spec.Dir, spec.Args = runtimes.TaskRoot, []string{s.program}
		for name, value := range s.env {
			spec.Env = setVariable(spec.Env, name, value)
		}
	case s.fn == nil:
		spec.Args = slices.Concat(spec.Args[:1], heapFlags(s.function()), spec.Args[1:])
	default:
		spec.Args = slices.Concat(spec.Args[:1], heapFlags(s.function()), enabled(spec.Args[1:], *s.fn))
		spec.Dir = runtimes.TaskRoot
		for _, name := range startSettings(*s.fn) {
			spec.Env = setVariable(spec.Env, name, s.fn.Environment[name])
		}
		if wrapper := s.fn.Environment[execWrapper]; wrapper != "" {
			spec.Args = slices.Concat([]string{wrapper}, spec.Args)
		}
	}
	if len(s.extensions) > 0 {
		var files []*os.File
		files, err = p.addCrew(ctx, &spec, s, es.patience)
		theirs = append(theirs, files...)
		if err != nil {
			return nil, err
		}
		p.api.telemetry = p.telemetry
	}
	p.sb, err = es.cfg.Driver.Create(ctx, spec)
	if errors.Is(err, sandbox.ErrUnavailable) && s.fn != nil && es.pool.relieve() {
		p.sb, err = es.cfg.Driver.Create(ctx, spec) // the machine is full, of spares too
	}
	if err != nil {
		return nil, fmt.Errorf("create sandbox: %w", err)
	}
	if err := es.attend(p, spec.Listen); err != nil {
		return nil, err
	}
	for _, o := range append(p.voices, p.output) {
		p.wg.Go(o.pump)
	}
	return p, nil
}

func runtimeMounts(l runtimes.Launch) []sandbox.Mount {
	var mounts []sandbox.Mount
	for _, m := range l.Mounts {
		mounts = append(mounts, sandbox.Mount{Source: m.Source, Target: m.Target})
	}
	return mounts
}

// attend serves the sockets inside the sandbox until end.
func (es *Environments) attend(p *process, wanted []string) error {
	files := p.sb.Listeners()
	defer closeAll(files)
	if len(files) != len(wanted) {
		return fmt.Errorf("sandbox gave %d of %d sockets", len(files), len(wanted))
	}
	resolve, err := es.connect(p, wanted, files)
	if err != nil {
		return err
	}
	if api, ok := p.ch.(*runtimeAPI); ok {
		api.ended = p.ended()
	}
	local, err := net.FileListener(files[listenLocalAPI])
	if err != nil {
		return fmt.Errorf("listen inside the sandbox: %w", err)
	}
	from := &party{all: es.guests}
	local = from.receive(local, guestsLocal)
	p.wg.Go(func() {
		_ = p.api.serve(local) // ends with an error when it is closed by end
	})
	for _, i := range []int{listenHTTPS, listenHTTP} {
		l, err := net.FileListener(files[i])
		if err != nil {
			return fmt.Errorf("listen inside the sandbox: %w", err)
		}
		p.closers = append(p.closers, l)
		p.addrs = append(p.addrs, l.Addr())
		l = from.receive(l, guestsEach)
		if es.cfg.Door != nil {
			p.wg.Go(func() {
				if err := es.cfg.Door.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
					es.log.Warn("gateway inside an environment stopped", "env", p.sb.ID(), "error", err)
				}
			})
		}
	}
	packets, err := net.FilePacketConn(files[listenUDPNames])
	if err != nil {
		return fmt.Errorf("listen inside the sandbox: %w", err)
	}
	names, err := net.FileListener(files[listenTCPNames])
	if err != nil {
		packets.Close()
		return fmt.Errorf("listen inside the sandbox: %w", err)
	}
	p.closers = append(p.closers, packets, names)
	p.addrs = append(p.addrs, packets.LocalAddr(), names.Addr())
	for _, server := range []*dns.Server{
		{PacketConn: packets, Handler: resolve},
		{Listener: from.receive(names, guestsNames), Handler: resolve},
	} {
		p.wg.Go(func() {
			// Ends with an error when its socket is closed by end.
			_ = server.ActivateAndServe()
		})
	}
	return nil
}

// drainOutput passes on what was written up to now.
func (p *process) drainOutput() {
	p.output.drain()
	for _, o := range p.voices {
		o.drain()
	}
}

// record sends the process's output to r from now on.
func (p *process) record(r *recorder) {
	r.tell(p.telemetry)
	p.output.to(r.output)
	for _, o := range p.voices {
		o.to(r.voice())
	}
}

// awaitBooted waits until the bootstrap waits for its function.
func (p *process) awaitBooted(deadline time.Time) error {
	f, err := p.ch.recv(deadline)
	if err != nil {
		return err
	}
	if f.kind != frameBooted {
		return errProtocol
	}
	return nil
}

// exited waits for the end of the runtime and tells how it came.
func (p *process) exited(deadline time.Time) sandbox.Exit {
	if p.crew != nil {
		return p.crew.runtimeExit(p.sb, deadline)
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-p.sb.Done():
	case <-timer.C: // it closed its channel but lives
		p.sb.Kill()
		<-p.sb.Done()
	}
	return p.sb.Exit()
}

// end kills what runs and waits until nothing of it is left, except for what is
// in its /tmp when that is to stay.
func (p *process) end() {
	p.telemetry.close()
	if p.sb != nil {
		p.sb.Kill()
		<-p.sb.Done()
		if !p.leavesTmp {
			p.sb.DropTmp()
		}
	}
	for _, c := range p.closers {
		c.Close()
	}
	p.ch.close()
	p.api.close()
	for _, o := range append(p.voices, p.output) {
		o.file.Close()
	}
	if p.crew != nil {
		p.crew.close()
	}
	p.wg.Wait()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// setVariable returns env with name set to value.
func setVariable(env []string, name, value string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name
	})
	return append(out, name+"="+value)
}
