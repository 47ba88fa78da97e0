package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"davy/internal/execenv"
	"davy/internal/lambda"
)

// wishes is what functions ask for: one version each.
type wishes struct {
	mu    sync.Mutex
	count map[string]int
	fails int           // reads that fail before one succeeds
	gate  chan struct{} // a read waits for it, if it is not nil
}

func (w *wishes) Provisions(_ context.Context, functionARN string) ([]lambda.Provision, error) {
	w.mu.Lock()
	n, gate := w.count[functionARN], w.gate
	failed := w.fails > 0
	if failed {
		w.fails--
	}
	w.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if failed {
		return nil, errors.New("store is away")
	}
	if n == 0 {
		return nil, nil
	}
	return []lambda.Provision{{Function: &execenv.Function{ARN: functionARN, Version: "1"}, Count: n}}, nil
}

func (w *wishes) EachProvisioned(_ context.Context, fn func(string) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for functionARN := range w.count {
		if err := fn(functionARN); err != nil {
			return err
		}
	}
	return nil
}

func (w *wishes) set(functionARN string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count[functionARN] = n
}

// shelf keeps numbers instead of environments.
type shelf struct {
	mu   sync.Mutex
	kept map[string]int
}

func (s *shelf) Provision(functionARN string, want []execenv.Provision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[functionARN] = 0
	for _, p := range want {
		s.kept[functionARN] += p.Count
	}
}

func (s *shelf) Provisioned(functionARN, _ string) (int, string) { return 0, "failed before" }

func (s *shelf) expect(t *testing.T, want map[string]int) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !maps.Equal(s.kept, want) {
		t.Errorf("kept ready: %v, want %v", s.kept, want)
	}
}

func TestProvisioner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := &wishes{count: map[string]int{"a": 2}}, &shelf{kept: map[string]int{}}
		p := newProvisioner(slog.New(slog.DiscardHandler))
		p.functions, p.environments = w, s
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.run(ctx) }()

		s.expect(t, map[string]int{"a": 2}) // what was asked for before this process

		w.set("b", 3)
		p.Provision("b")
		s.expect(t, map[string]int{"a": 2, "b": 3})

		// A change while settings are read is not lost, nor is what failed
		// before it told of what comes after it.
		gate := make(chan struct{})
		w.mu.Lock()
		w.gate = gate
		w.mu.Unlock()
		p.Provision("a")
		synctest.Wait()
		w.set("a", 0)
		p.Provision("a")
		if got := p.Provisioned("a", "1"); got.Failure != "" {
			t.Errorf("a failure from before the change: %q", got.Failure)
		}
		w.mu.Lock()
		w.gate = nil
		w.mu.Unlock()
		close(gate)
		s.expect(t, map[string]int{"a": 0, "b": 3})
		if got := p.Provisioned("a", "1"); got.Failure != "failed before" {
			t.Errorf("failure = %q", got.Failure)
		}

		// Settings that cannot be read are read again.
		w.mu.Lock()
		w.fails = 3
		w.mu.Unlock()
		w.set("b", 1)
		p.Provision("b")
		s.expect(t, map[string]int{"a": 0, "b": 3})
		w.mu.Lock()
		w.fails = 0
		w.mu.Unlock()
		<-time.After(2 * provisionRetry)
		s.expect(t, map[string]int{"a": 0, "b": 1})

		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
