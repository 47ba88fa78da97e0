package execenv

import (
	"context"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what is kept of the init phase for who subscribes in it.
const (
	maxHistory      = 1000
	maxHistoryBytes = 256 << 10
)

// telemetry passes what happens in one environment on to the extensions that
// subscribed to it. Safe for concurrent use.
type telemetry struct {
	dial func(ctx context.Context, port uint16) (net.Conn, error)
	// subscribed hears of each subscription. It is set before there are any.
	subscribed func(name string, types []string)
	ctx        context.Context
	cancel     context.CancelFunc
	wg         sync.WaitGroup

	mu      sync.Mutex
	open    bool // the init phase: subscriptions are taken
	subs    []*subscriber
	history []telemetryEvent
	kept    int // bytes of history
	thawed  chan struct{}
}

// telemetryEvent is an event as it is sent.
type telemetryEvent struct {
	category string // platform, function or extension
	body     []byte
}

func newTelemetry(ctx context.Context, dial func(context.Context, uint16) (net.Conn, error)) *telemetry {
	t := &telemetry{dial: dial, subscribed: func(string, []string) {}, open: true, thawed: closedChannel}
	t.ctx, t.cancel = context.WithCancel(ctx)
	return t
}

// telemetryTime is the form of times in events.
const telemetryTime = "2006-01-02T15:04:05.000Z"

// emit sends an event of the platform: "platform.start" and so on. Without
// telemetry, which is nil, nothing happens.
func (t *telemetry) emit(at time.Time, kind string, record any) {
	t.event(at, "platform", kind, record)
}

// line sends a line of the log of a function or an extension. Objects stay
// objects if the log is one of them.
func (t *telemetry) line(at time.Time, category, text string, objects bool) {
	if objects && strings.HasPrefix(text, "{") && json.Valid([]byte(text)) {
		t.event(at, category, category, json.RawMessage(text))
		return
	}
	t.event(at, category, category, text)
}

func (t *telemetry) event(at time.Time, category, kind string, record any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	if !t.open && !slices.ContainsFunc(t.subs, func(s *subscriber) bool { return s.wants(category) }) {
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	e := telemetryEvent{category, telemetryBody(at, kind, record)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open && len(t.history) < maxHistory && t.kept+len(e.body) <= maxHistoryBytes {
		t.history = append(t.history, e)
		t.kept += len(e.body)
	}
	for _, s := range t.subs {
		s.add(e)
	}
}

func telemetryBody(at time.Time, kind string, record any) []byte {
	b, err := json.Marshal(struct {
		Time   string `json:"time"`
		Type   string `json:"type"`
		Record any    `json:"record"`
	}{at.UTC().Format(telemetryTime), kind, record})
	if err != nil {
		return []byte("{}") // records are ours: it does not happen
	}
	return b
}

// subscribe begins to send events to an extension, those of the init phase
// first. It reports false when that phase is over. A second subscription
// replaces the first.
func (t *telemetry) subscribe(name string, how subscription) bool {
	t.mu.Lock()
	if !t.open || t.ctx.Err() != nil {
		t.mu.Unlock()
		return false
	}
	s := newSubscriber(t, name, how)
	for _, e := range t.history {
		s.add(e)
	}
	if i := slices.IndexFunc(t.subs, func(s *subscriber) bool { return s.name == name }); i >= 0 {
		t.subs[i].cancel()
		t.subs[i] = s
	} else {
		t.subs = append(t.subs, s)
	}
	t.wg.Go(s.run)
	t.mu.Unlock()
	t.subscribed(name, how.types)
	return true
}

// closeSubscriptions ends the time in which extensions can subscribe.
func (t *telemetry) closeSubscriptions() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open, t.history = false, nil
}

// flush sends what waits now, and returns when nothing is left or ctx ends.
func (t *telemetry) flush(ctx context.Context) {
	if t == nil {
		return
	}
	t.mu.Lock()
	subs := slices.Clone(t.subs)
	t.mu.Unlock()
	for _, s := range subs {
		s.flush(ctx)
	}
}

// hurry sends what waits, and what comes, without delay.
func (t *telemetry) hurry() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.subs {
		s.mu.Lock()
		s.how.timeout = 0
		s.mu.Unlock()
		signal(s.wake)
	}
}

// freeze lets no delivery begin until thaw: nobody would take it.
func (t *telemetry) freeze() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.thawed == closedChannel {
		t.thawed = make(chan struct{})
	}
}

func (t *telemetry) thaw() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.thawed != closedChannel {
		close(t.thawed)
		t.thawed = closedChannel
	}
}

func (t *telemetry) awake() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.thawed
}

// close ends all deliveries. What was not sent is lost with the environment.
func (t *telemetry) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.open = false
	t.mu.Unlock()
	t.cancel()
	t.wg.Wait()
}
