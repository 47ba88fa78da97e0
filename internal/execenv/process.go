package execenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
)

// Sockets of each environment: the gateway and the names that lead to it. Those
// of custom runtimes have the Runtime API besides.
var listenSockets = []string{
	"tcp:" + Address + ":443",
	"tcp:" + Address + ":80",
	"udp:" + Address + ":53",
	"tcp:" + Address + ":53",
}

const listenHTTPS, listenHTTP, listenUDPNames, listenTCPNames, listenRuntimeAPI = 0, 1, 2, 3, 4

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
	// Of a custom runtime: its program and the function's whole environment,
	// which other runtimes get when they are assigned to a function.
	program string
	env     map[string]string
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
	output  *os.File // of stdout and stderr
	wg      sync.WaitGroup
	closers []io.Closer
	addrs   []net.Addr // of its sockets, in the order of listenSockets

	outputMu  sync.Mutex
	onOutput  func([]byte) // nil until a function is assigned
	outputBuf []byte
}

// boot starts a runtime and its services. It does not wait for it.
func (es *Environments) boot(ctx context.Context, id string, s seed) (_ *process, err error) {
	p := &process{outputBuf: make([]byte, 16<<10)}
	ch, theirs, err := newControl(s.launch)
	if err != nil {
		return nil, err
	}
	p.ch = ch
	var childOutput *os.File
	p.output, childOutput, err = pipe(ourRead)
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
		Listen: es.withDevice(sockets(s.launch)),
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
		spec.Args = slices.Concat(spec.Args[:1], heapFlags(s.function()), spec.Args[1:])
		spec.Dir = runtimes.TaskRoot
		for _, name := range startSettings(*s.fn) {
			spec.Env = setVariable(spec.Env, name, s.fn.Environment[name])
		}
		if wrapper := s.fn.Environment[execWrapper]; wrapper != "" {
			spec.Args = slices.Concat([]string{wrapper}, spec.Args)
		}
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
	p.wg.Go(p.pumpOutput)
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
		l, err := net.FileListener(files[listenRuntimeAPI])
		if err != nil {
			return fmt.Errorf("listen inside the sandbox: %w", err)
		}
		api.ended = p.sb.Done()
		p.wg.Go(func() {
			_ = api.serve(l) // ends with an error when it is closed by end
		})
	}
	for _, i := range []int{listenHTTPS, listenHTTP} {
		l, err := net.FileListener(files[i])
		if err != nil {
			return fmt.Errorf("listen inside the sandbox: %w", err)
		}
		p.closers = append(p.closers, l)
		p.addrs = append(p.addrs, l.Addr())
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
		{Listener: names, Handler: resolve},
	} {
		p.wg.Go(func() {
			// Ends with an error when its socket is closed by end.
			_ = server.ActivateAndServe()
		})
	}
	return nil
}

// pumpOutput passes on what the runtime and its children write to stdout and
// stderr, until all of them have ended.
func (p *process) pumpOutput() {
	raw, err := p.output.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool { return p.readOutput(int(fd)) })
}

// drainOutput passes on what was written up to now.
func (p *process) drainOutput() {
	raw, err := p.output.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { p.readOutput(int(fd)) })
}

// readOutput reads until nothing is left. It reports whether the pipe ended.
func (p *process) readOutput(fd int) (ended bool) {
	p.outputMu.Lock()
	defer p.outputMu.Unlock()
	for {
		n, err := unix.Read(fd, p.outputBuf)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil || n <= 0:
			return true
		case p.onOutput != nil:
			p.onOutput(p.outputBuf[:n])
		}
	}
}

// record sends the process's output to r from now on.
func (p *process) record(r *recorder) {
	p.outputMu.Lock()
	defer p.outputMu.Unlock()
	p.onOutput = r.output
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

// exited waits for the end of all processes and tells how it came.
func (p *process) exited(deadline time.Time) sandbox.Exit {
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

// end kills the runtime and waits until nothing of it is left.
func (p *process) end() {
	if p.sb != nil {
		p.sb.Kill()
		<-p.sb.Done()
	}
	for _, c := range p.closers {
		c.Close()
	}
	p.ch.close()
	p.output.Close()
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
