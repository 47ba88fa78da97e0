package execenv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// attemptTime bounds one delivery.
	attemptTime = 10 * time.Second
	// A listener that is not there, or fails, is tried again after so long,
	// longer each time.
	firstRetry, lastRetry = 50 * time.Millisecond, 5 * time.Second
	// maxTelemetryAnswer is how much of an extension's answer is read.
	maxTelemetryAnswer = 64 << 10
)

// droppedReason is AWS's.
const droppedReason = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."

// subscriber collects the events for one extension and delivers them in
// batches, one at a time. What a slow extension leaves lying is bounded; more
// is dropped and counted.
type subscriber struct {
	t      *telemetry
	name   string
	how    subscription
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // holds one: a batch may be due
	client *http.Client  // with HTTP
	conn   net.Conn      // with TCP; of run alone

	mu             sync.Mutex
	queue          [][]byte
	bytes          int
	since          time.Time // of the first in the queue
	hurry          bool      // do not wait for more
	delivering     bool
	changed        chan struct{} // closed when a batch is delivered
	droppedRecords int
	droppedBytes   int
}

func newSubscriber(t *telemetry, name string, how subscription) *subscriber {
	s := &subscriber{t: t, name: name, how: how, wake: make(chan struct{}, 1), changed: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(t.ctx)
	if !how.tcp {
		s.client = &http.Client{
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx, how.port) },
				// Nobody else is reached: no proxy, no redirects.
				MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
				WriteBufferSize: 16 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return s
}

func (s *subscriber) wants(category string) bool { return slices.Contains(s.how.types, category) }

// add takes an event, or drops it when the extension lags behind: twice the
// batch is what AWS lets an extension expect.
func (s *subscriber) add(e telemetryEvent) {
	if !s.wants(e.category) {
		return
	}
	s.mu.Lock()
	if len(s.queue) >= s.how.maxItems || s.bytes+len(e.body) > 2*s.how.maxBytes {
		s.droppedRecords++
		s.droppedBytes += len(e.body)
		s.mu.Unlock()
		return
	}
	if len(s.queue) == 0 {
		s.since = time.Now()
	}
	s.queue = append(s.queue, e.body)
	s.bytes += len(e.body)
	s.mu.Unlock()
	signal(s.wake)
}

// due tells how long the batch can wait for more.
func (s *subscriber) due() (wait time.Duration, empty bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.queue) == 0:
		return 0, true
	case s.hurry || len(s.queue) >= s.how.maxItems || s.bytes >= s.how.maxBytes:
		return 0, false
	}
	return max(0, time.Until(s.since.Add(s.how.timeout))), false
}

// take empties the queue into a batch.
func (s *subscriber) take() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.queue
	if s.droppedRecords > 0 {
		if s.wants("platform") {
			batch = append(batch, telemetryBody(time.Now(), "platform.logsDropped", map[string]any{
				"droppedBytes": s.droppedBytes, "droppedRecords": s.droppedRecords, "reason": droppedReason,
			}))
		}
		s.droppedRecords, s.droppedBytes = 0, 0
	}
	s.queue, s.bytes = nil, 0
	s.delivering = true
	return batch
}

func (s *subscriber) delivered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivering = false
	if len(s.queue) == 0 {
		s.hurry = false
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// flush delivers what is there without delay, and waits for it.
func (s *subscriber) flush(ctx context.Context) {
	for {
		s.mu.Lock()
		left := s.delivering || len(s.queue) > 0
		s.hurry = s.hurry || len(s.queue) > 0
		changed := s.changed
		s.mu.Unlock()
		if !left {
			return
		}
		signal(s.wake)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// run delivers until the environment ends.
func (s *subscriber) run() {
	defer func() {
		s.cancel()
		if s.client != nil {
			s.client.CloseIdleConnections()
		}
		if s.conn != nil {
			s.conn.Close()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, empty := s.due()
		if empty || wait > 0 {
			timer.Stop()
			if !empty {
				timer.Reset(wait)
			}
			select {
			case <-s.wake:
			case <-timer.C:
			case <-s.ctx.Done():
				return
			}
			continue
		}
		batch := s.take()
		ok := s.persist(batch)
		s.delivered()
		if !ok {
			return
		}
	}
}

// persist tries until the batch is delivered, while the environment runs.
func (s *subscriber) persist(batch [][]byte) bool {
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		select {
		case <-s.t.awake():
		case <-s.ctx.Done():
			return false
		}
		if err := s.deliver(batch); err == nil {
			return true
		}
		select {
		case <-time.After(retry):
		case <-s.ctx.Done():
			return false
		}
	}
}

func (s *subscriber) deliver(batch [][]byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, attemptTime)
	defer cancel()
	if s.how.tcp {
		return s.write(ctx, batch)
	}
	body := slices.Concat([]byte("["), bytes.Join(batch, []byte(",")), []byte("]"))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.how.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, maxTelemetryAnswer))
	res.Body.Close()
	if err == nil && res.StatusCode >= 400 {
		err = fmt.Errorf("telemetry listener answered %s", res.Status)
	}
	return err
}

// write sends a line for each event.
func (s *subscriber) write(ctx context.Context, batch [][]byte) error {
	if s.conn == nil {
		c, err := s.t.dial(ctx, s.how.port)
		if err != nil {
			return err
		}
		s.conn = c
	}
	c := s.conn
	_ = c.SetWriteDeadline(time.Now().Add(attemptTime))
	stop := context.AfterFunc(ctx, func() { c.Close() })
	_, err := c.Write(append(bytes.Join(batch, []byte("\n")), '\n'))
	if !stop() || err != nil {
		c.Close()
		s.conn = nil
	}
	return err
}
