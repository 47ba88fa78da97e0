package ns

import (
	"context"
	"fmt"
	"os"
	"sync"

	"davy/internal/sandbox"
	"davy/internal/sandbox/wire"
)

// box is the server's handle on a sandbox.
type box struct {
	s         *session
	id        string
	tmp       string // Spec.Tmp
	listeners []*os.File

	done  chan struct{}
	once  sync.Once
	kill  sync.Once
	exit  sandbox.Exit  // valid after done
	usage sandbox.Usage // the last, valid after done
}

// finish records the end. Only the first call counts.
func (b *box) finish(x sandbox.Exit, u sandbox.Usage) {
	b.once.Do(func() {
		b.exit, b.usage = x, u
		close(b.done)
	})
}

// ID implements sandbox.Sandbox.
func (b *box) ID() string { return b.id }

// Listeners implements sandbox.Sandbox.
func (b *box) Listeners() []*os.File { return b.listeners }

// Done implements sandbox.Sandbox.
func (b *box) Done() <-chan struct{} { return b.done }

// Exit implements sandbox.Sandbox.
func (b *box) Exit() sandbox.Exit { return b.exit }

func (b *box) do(ctx context.Context, what string, r wire.Request) (answer, error) {
	r.ID = b.id
	select {
	case <-b.done:
		return answer{}, fmt.Errorf("%s sandbox %s: %w", what, b.id, sandbox.ErrClosed)
	default:
	}
	a, err := b.s.roundTrip(ctx, r, nil, func(answer) {})
	if err != nil {
		return a, fmt.Errorf("%s sandbox %s: %w", what, b.id, err)
	}
	return a, nil
}

// Attach implements sandbox.Sandbox.
func (b *box) Attach(ctx context.Context, mounts ...sandbox.Mount) error {
	r := wire.Request{Op: wire.OpAttach}
	for _, m := range mounts {
		r.Mounts = append(r.Mounts, wire.Mount(m))
	}
	_, err := b.do(ctx, "attach to", r)
	return err
}

// Limit implements sandbox.Sandbox.
func (b *box) Limit(ctx context.Context, l sandbox.Limits) error {
	_, err := b.do(ctx, "limit", wire.Request{Op: wire.OpLimit, Limits: l})
	return err
}

// Freeze implements sandbox.Sandbox.
func (b *box) Freeze(ctx context.Context) error {
	_, err := b.do(ctx, "freeze", wire.Request{Op: wire.OpFreeze})
	return err
}

// Thaw implements sandbox.Sandbox.
func (b *box) Thaw(ctx context.Context) error {
	_, err := b.do(ctx, "thaw", wire.Request{Op: wire.OpThaw})
	return err
}

// Usage implements sandbox.Sandbox. After Done it is the last usage.
func (b *box) Usage(ctx context.Context) (sandbox.Usage, error) {
	select {
	case <-b.done:
		return b.usage, nil
	default:
	}
	a, err := b.do(ctx, "measure", wire.Request{Op: wire.OpUsage})
	return a.reply.Usage, err
}

// ResetPeak implements sandbox.Sandbox.
func (b *box) ResetPeak(ctx context.Context) error {
	_, err := b.do(ctx, "reset peak of", wire.Request{Op: wire.OpResetPeak})
	return err
}

// DropTmp implements sandbox.Sandbox. It does not wait.
func (b *box) DropTmp() {
	select {
	case <-b.done:
		if !b.exit.TmpKept {
			return
		}
	default:
	}
	if b.tmp == "" {
		return
	}
	r := wire.Request{Op: wire.OpDropTmp, ID: b.tmp}
	if p, err := r.Encode(); err == nil {
		_ = b.s.conn.Send(p) // a launcher that is gone took it along
	}
}

// Kill implements sandbox.Sandbox. It does not wait: see Done.
func (b *box) Kill() {
	b.kill.Do(func() {
		r := wire.Request{Op: wire.OpKill, ID: b.id}
		if p, err := r.Encode(); err == nil {
			_ = b.s.conn.Send(p) // a launcher that is gone took the sandbox along
		}
	})
}
