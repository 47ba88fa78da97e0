package execenv

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// smallMachine has a memory of which each sandbox of the fake driver takes a
// part.
type smallMachine struct {
	driver *processDriver
	mu     sync.Mutex
	total  int64
	each   int64
}

func (m *smallMachine) memory() (available, total int64, err error) {
	alive := int64(0)
	for _, s := range m.driver.sandboxes() {
		if !isClosed(s.done) {
			alive++
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total - alive*m.each, m.total, nil
}

func (m *smallMachine) grow(total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total = total
}

// onSmallMachine is a bench on a machine for so many environments beside the
// reserve.
func onSmallMachine(t *testing.T, environments int64, change func(*Config)) (*bench, *smallMachine) {
	t.Helper()
	const each = guessNeed + 1<<20
	m := &smallMachine{each: each, total: 100<<20 + environments*each}
	b := newBench(t, func(c *Config) {
		m.driver = c.Driver.(*processDriver)
		c.Memory, c.MemoryReserve = m.memory, 100<<20
		if change != nil {
			change(c)
		}
	})
	return b, m
}

func (b *bench) tryInvoke(f Function, event string) (Outcome, error) {
	return b.envs.Invoke(b.t.Context(), f, Invocation{RequestID: testID, InvokedARN: f.ARN, Payload: []byte(event)})
}

// The machine's memory bounds the environments: what would go beyond is
// throttled as AWS throttles, and the log tells the operator why.
func TestRoom_OnDemand(t *testing.T) {
	var log lockedBuffer
	b, m := onSmallMachine(t, 2, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	f := b.js(waiting)
	f.MemoryMB = 10_240
	var busy []gatedEvent
	var running []<-chan result
	for range 2 {
		g := newGatedEvent(t)
		running = append(running, b.start(f, g.json()))
		g.awaitStarted()
		busy = append(busy, g)
	}
	if _, err := b.tryInvoke(f, `{}`); !errors.Is(err, ErrNoMemory) || !errors.Is(err, ErrBurst) {
		t.Errorf("a third: %v", err)
	}
	if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "no memory on this machine") || !strings.Contains(got, f.ARN) {
		t.Errorf("log %q", got)
	}
	m.grow(1 << 40)
	if _, err := b.tryInvoke(f, `{}`); err != nil {
		t.Errorf("with more memory: %v", err)
	}
	for i, g := range busy {
		g.letGo()
		(<-running[i]).expect(t, "1")
	}
}

// An environment that does nothing makes room for one that is needed.
func TestRoom_IdleOnesMakeRoom(t *testing.T) {
	b, _ := onSmallMachine(t, 2, nil)
	one, two, three := b.js(`exports.handler = async () => 1`), b.js(`exports.handler = async () => 2`), b.js(`exports.handler = async () => 3`)
	two.ARN += "2"
	three.ARN += "3"
	for range 2 {
		for i, f := range []Function{one, two, three} {
			if got := answer(b.invoke(f, `{}`)); got != string(rune('1'+i)) {
				t.Errorf("function %d answered %s", i+1, got)
			}
		}
	}
}

// Who is known to need much is given less often, and what is promised and not
// yet taken counts: also before the first has grown.
func TestRoom_NeedIsLearned(t *testing.T) {
	available := int64(1 << 30)
	r := &room{memory: func() (int64, int64, error) { return available, 1 << 30, nil }, reserve: 1 << 28, log: slog.New(slog.DiscardHandler)}
	none := func() bool { return false }
	first, ok := r.take(1<<29, none)
	if !ok {
		t.Fatal("the first is refused")
	}
	if _, ok := r.take(1<<29, none); ok {
		t.Error("what is promised was given again")
	}
	first()
	first()
	if _, ok := r.take(1<<29, none); !ok {
		t.Error("what was promised is not free again")
	}
	asked := 0
	if _, ok := r.take(1<<29, func() bool { asked++; available += 1 << 28; return true }); !ok || asked != 1 {
		t.Errorf("room was made %d times: %v", asked, ok)
	}
	fl := &fleet{}
	for _, peak := range []int64{5, 9, 7} {
		fl.saw(peak)
	}
	if got := fl.need.Load(); got != 9 {
		t.Errorf("need %d", got)
	}
}

// Unknown memory refuses nobody; reserves follow the machine's size.
func TestRoom_Reserve(t *testing.T) {
	for _, tc := range []struct {
		available, total, need int64
		err                    error
		ok                     bool
	}{
		{available: 100 << 20, total: 512 << 20, need: 36 << 20, ok: true},
		{available: 100 << 20, total: 512 << 20, need: 37 << 20},
		{available: 10 << 30, total: 200 << 30, need: 8 << 30, ok: true},
		{available: 10 << 30, total: 200 << 30, need: 8<<30 + 1},
		{available: 10 << 30, total: 20 << 30, need: 9 << 30, ok: true},
		{available: 10 << 30, total: 20 << 30, need: 9<<30 + 1},
		{err: errors.New("no such file"), need: 1 << 40, ok: true},
	} {
		r := &room{memory: func() (int64, int64, error) { return tc.available, tc.total, tc.err }, log: slog.New(slog.DiscardHandler)}
		if _, ok := r.take(tc.need, func() bool { return false }); ok != tc.ok {
			t.Errorf("%+v: %v", tc, ok)
		}
	}
	if available, total, err := machineMemory(); err != nil || available <= 0 || available > total {
		t.Errorf("this machine: %d of %d, %v", available, total, err)
	}
}

// Environments that are to be kept ready are made as far as the memory goes,
// then AWS's FAILED is told with the reason, and the rest comes when there is
// room again.
func TestRoom_Provisioned(t *testing.T) {
	b, m := onSmallMachine(t, 3, nil)
	b.envs.patience.retry = 50 * time.Millisecond
	f := version1(b.js(typed))
	f.MemoryMB = 3008
	b.keep(f, 900)
	b.awaitFleet(f, func(fl *fleet) bool { return fl.keep.ready == 3 && fl.keep.failure != "" && fl.keep.have == 3 })
	if ready, failure := b.envs.Provisioned(f.ARN, "1"); ready != 3 || failure != noMemoryReason {
		t.Errorf("Provisioned = %d, %q", ready, failure)
	}
	b.keep(f, 6)
	m.grow(1 << 40)
	b.awaitReady(f, 6)
	if ready, failure := b.envs.Provisioned(f.ARN, "1"); ready != 6 || failure != "" {
		t.Errorf("with more memory: Provisioned = %d, %q", ready, failure)
	}
}

// lockedBuffer may be written and read at one time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
