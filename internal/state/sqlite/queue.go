package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"davy/internal/state"
)

// Receive implements state.Queue.
func (s *Store) Receive(ctx context.Context, queue string, n int, vis time.Duration) ([]state.Delivery, error) {
	res := s.submit(ctx, &request{receive: &receive{queue: queue, n: n, vis: vis}})
	if res.err != nil {
		return nil, fmt.Errorf("receive from %q: %w", queue, res.err)
	}
	return res.deliveries, nil
}

// Ready implements state.Queue.
func (s *Store) Ready(ctx context.Context, prefix string, n int) ([]string, time.Time, error) {
	now := s.swept(ctx)
	var ready []string
	err := s.eachQueue(ctx, sqlReadyQueues, prefix, now, func(q string, _ int64) bool {
		if len(ready) < n {
			ready = append(ready, q)
		}
		return len(ready) < n
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("ready queues %q: %w", prefix, err)
	}
	var next time.Time
	err = s.eachQueue(ctx, sqlNextQueue, prefix, now, func(_ string, due int64) bool {
		next = time.Unix(0, due)
		return false
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("ready queues %q: %w", prefix, err)
	}
	return ready, next, nil
}

// eachQueue calls fn for the queues that query finds and that have the prefix,
// until it returns false.
func (s *Store) eachQueue(ctx context.Context, query, prefix string, now int64, fn func(queue string, due int64) bool) error {
	rows, err := s.query(ctx, query, now)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var q []byte
		var due int64
		if err := rows.Scan(&q, &due); err != nil {
			return err
		}
		if bytes.HasPrefix(q, []byte(prefix)) && !fn(string(q), due) {
			return nil
		}
	}
	return classify(rows.Err())
}

// Depth implements state.Queue.
func (s *Store) Depth(ctx context.Context, queue string) (visible, hidden int64, err error) {
	now := s.swept(ctx)
	rows, err := s.query(ctx, sqlDepth, sql.Named("q", []byte(queue)), sql.Named("now", now))
	if err != nil {
		return 0, 0, fmt.Errorf("depth of %q: %w", queue, err)
	}
	var all int64
	if err := one(rows, &all, &hidden); errors.Is(err, state.ErrNotFound) {
		return 0, 0, nil
	} else if err != nil {
		return 0, 0, fmt.Errorf("depth of %q: %w", queue, err)
	}
	return all - hidden, hidden, nil
}

// Wake implements state.Queue.
func (s *Store) Wake() <-chan struct{} { return s.wake }

// swept returns the present time, after having dropped what expired before it.
func (s *Store) swept(ctx context.Context) int64 {
	if s.nextGone.Load() <= s.now() {
		// If this fails, as on a full disk, expired messages are counted a
		// while longer; they are still never delivered.
		s.submit(ctx, &request{})
	}
	return s.now()
}

const (
	sqlReadyQueues = `SELECT q, due FROM queue WHERE due <= ? ORDER BY due, q`
	sqlNextQueue   = `SELECT q, due FROM queue WHERE due > ? ORDER BY due, q`
	sqlDepth       = `SELECT n, (SELECT count(*) FROM msg WHERE q = @q AND vis > @now) FROM queue WHERE q = @q`
)
