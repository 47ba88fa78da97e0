package state

import (
	"context"
	"iter"
	"time"
)

// LogEvent is one line of a log stream.
type LogEvent struct {
	Stream    string
	Timestamp int64 // milliseconds since the epoch, the writer's clock
	Ingested  int64 // milliseconds since the epoch, set by Append
	Seq       int64 // unique in the group and growing in order of ingestion, set by Append
	Message   string
}

// LogQuery selects events of one group by time.
type LogQuery struct {
	Group    string   // an opaque id that the caller chose
	Streams  []string // nil: all
	From, To int64    // milliseconds, From inclusive, To exclusive; 0: open
	After    Cursor   // resume behind this event in the direction of travel
	Reverse  bool
}

// Cursor is a position between events; the zero value is the beginning (or,
// in reverse, the end). Events are ordered by (Timestamp, Seq).
type Cursor struct {
	Timestamp int64
	Seq       int64
}

// Logs stores log events apart from the transactional store.
type Logs interface {
	// Append returns once the events are durable.
	Append(ctx context.Context, group string, events []LogEvent) error
	// Read yields matching events in order of (Timestamp, Seq).
	Read(ctx context.Context, q LogQuery) iter.Seq2[LogEvent, error]
	// Drop removes the events of a group; of one stream if it is not empty;
	// those older than before if it is not zero.
	Drop(ctx context.Context, group, stream string, before time.Time) error
}
