package execenv

import (
	"context"
	"testing"
	"time"
)

func TestLinger_OnlyForShortInvocationsThatFillTheMachine(t *testing.T) {
	const cpus = 2
	for _, c := range []struct {
		name    string
		took    []time.Duration
		running int
		want    time.Duration
	}{
		{"nothing is known", nil, 2, 0},
		{"a processor is free", []time.Duration{100 * time.Microsecond}, 1, 0},
		{"short", []time.Duration{100 * time.Microsecond}, 2, 800 * time.Microsecond},
		{"short at its quickest", []time.Duration{time.Second, 100 * time.Microsecond}, 9, 800 * time.Microsecond},
		{"long", []time.Duration{300 * time.Microsecond}, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l linger
			for _, d := range c.took {
				l.took(d)
			}
			if got := l.bound(c.running, cpus); got != c.want {
				t.Errorf("waits %s, want %s", got, c.want)
			}
		})
	}
}

// A function that has become slow is known to be after some invocations.
func TestLinger_ForgetsItsBest(t *testing.T) {
	var l linger
	l.took(50 * time.Microsecond)
	for range 3 {
		l.took(100 * time.Millisecond)
	}
	if got := l.bound(2, 2); got != 0 {
		t.Errorf("still waits %s", got)
	}
}

// newLingering is a fleet that has one environment, which is busy.
func newLingering(t *testing.T) (*Environments, *fleet, *environment) {
	t.Helper()
	es := &Environments{cpus: 1, fleets: map[string]*fleet{}, all: map[*environment]struct{}{}}
	es.ctx, es.cancel = context.WithCancel(t.Context())
	f := Function{ARN: "f", Version: "1", Timeout: time.Second}
	es.mu.Lock()
	fl := es.fleet(f)
	fl.size = 1
	es.mu.Unlock()
	return es, fl, &environment{es: es, fleet: fl, fn: f, quit: make(chan struct{})}
}

func TestLinger_WhoLingersGetsWhatBecomesFree(t *testing.T) {
	es, fl, e := newLingering(t)
	got := make(chan *environment)
	es.mu.Lock() // which lingerIn lets go of once it is in the queue
	go func() {
		other := es.lingerIn(t.Context(), fl, time.Hour)
		es.mu.Unlock()
		got <- other
	}()
	if !fl.free(e, time.Millisecond) {
		t.Fatal("the environment is to end")
	}
	if other := <-got; other != e {
		t.Errorf("got %v", other)
	}
	if len(fl.idle) != 0 || fl.busy() != 1 {
		t.Errorf("%d idle, %d busy", len(fl.idle), fl.busy())
	}
}

// In vain: then the next invocations do not try, and nobody is left waiting.
func TestLinger_GivesUp(t *testing.T) {
	es, fl, e := newLingering(t)
	fl.linger.took(time.Microsecond)
	es.mu.Lock()
	if other := es.lingerIn(t.Context(), fl, 1); other != nil {
		t.Errorf("got %v", other)
	}
	if got := fl.linger.bound(1, 1); got != 0 {
		t.Errorf("the next waits %s", got)
	}
	es.mu.Unlock()
	if !fl.free(e, time.Microsecond) || len(fl.idle) != 1 {
		t.Errorf("%d idle", len(fl.idle))
	}
	for range lingerSkip {
		fl.linger.bound(1, 1)
	}
	if got := fl.linger.bound(1, 1); got == 0 {
		t.Error("it is never tried again")
	}
}

// All of many callers are answered, whoever waits for whom.
func TestLinger_ManyCallers(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`exports.handler = async (e) => e`)
	if got := string(b.invoke(f, `1`).Payload); got != "1" {
		t.Fatalf("answered %s", got)
	}
	errs := make(chan error, 8)
	for range 8 {
		go func() {
			for range 20 {
				out, err := b.envs.Invoke(t.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(`2`)})
				if err == nil && string(out.Payload) != "2" {
					t.Errorf("answered %s", out.Payload)
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
