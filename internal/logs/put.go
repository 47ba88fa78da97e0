package logs

import (
	"context"
	"fmt"
	"time"

	"davy/api/logsapi"
	"davy/internal/state"
)

// Limits of PutLogEvents.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
const (
	maxBatchBytes = 1 << 20
	eventOverhead = 26
	maxSpan       = 24 * time.Hour
	maxAge        = 14 * 24 * time.Hour
	maxAhead      = 2 * time.Hour
)

// sequenceToken is what AWS still returns and nobody needs any more.
const sequenceToken = "49590302425434300000000000000000000000000000000000000000"

// PutLogEvents appends events to a stream; it returns once they are durable.
func (s *Service) PutLogEvents(ctx context.Context, in *logsapi.PutLogEventsRequest) (*logsapi.PutLogEventsResponse, error) {
	size := 0
	for i, e := range in.LogEvents {
		n := len(*e.Message) + eventOverhead
		if n > maxBatchBytes {
			return nil, invalid("Log event too large: %d bytes exceeds limit of %d", n, maxBatchBytes)
		}
		size += n
		if i > 0 && *e.Timestamp < *in.LogEvents[i-1].Timestamp {
			return nil, invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
	}
	if size > maxBatchBytes {
		return nil, invalid("Upload too large: %d bytes exceeds limit of %d", size, maxBatchBytes)
	}
	first, last := *in.LogEvents[0].Timestamp, *in.LogEvents[len(in.LogEvents)-1].Timestamp
	if last-first > maxSpan.Milliseconds() {
		return nil, invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	g, err := s.group(ctx, in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	if err := s.stream(ctx, g, *in.LogStreamName); err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	keep, rejected := sift(in.LogEvents, now, g.cutoff(now))
	events := make([]state.LogEvent, 0, len(keep))
	for _, e := range keep {
		events = append(events, state.LogEvent{Stream: *in.LogStreamName, Timestamp: *e.Timestamp, Message: *e.Message})
	}
	if err := s.append(ctx, g.ID, events); err != nil {
		return nil, err
	}
	return &logsapi.PutLogEventsResponse{NextSequenceToken: new(sequenceToken), RejectedLogEventsInfo: rejected}, nil
}

// sift leaves out what is too old, expired or too far in the future. Events
// are in order, so these are runs at the ends.
func sift(events []logsapi.InputLogEvent, now time.Time, cutoff int64) ([]logsapi.InputLogEvent, *logsapi.RejectedLogEventsInfo) {
	oldest, newest := now.Add(-maxAge).UnixMilli(), now.Add(maxAhead).UnixMilli()
	tooOld, expired, end := 0, 0, len(events)
	for i, e := range events {
		switch {
		case *e.Timestamp < oldest:
			tooOld = i + 1
		case *e.Timestamp < cutoff:
			expired = i + 1
		case *e.Timestamp > newest && i < end:
			end = i
		}
	}
	start := max(tooOld, expired)
	if start == 0 && end == len(events) {
		return events, nil
	}
	info := &logsapi.RejectedLogEventsInfo{}
	if tooOld > 0 {
		info.TooOldLogEventEndIndex = new(int32(tooOld))
	}
	if expired > 0 {
		info.ExpiredLogEventEndIndex = new(int32(expired))
	}
	if end < len(events) {
		info.TooNewLogEventStartIndex = new(int32(end))
	}
	return events[start:max(start, end)], info
}

// append stores events of one group and remembers when their streams had them.
func (s *Service) append(ctx context.Context, groupID string, events []state.LogEvent) error {
	if len(events) == 0 {
		return nil
	}
	if err := s.cfg.Logs.Append(ctx, groupID, events); err != nil {
		return fmt.Errorf("append log events: %w", err)
	}
	now := s.cfg.Now().UnixMilli()
	for i := 0; i < len(events); {
		name := events[i].Stream
		lo, hi := events[i].Timestamp, events[i].Timestamp
		for ; i < len(events) && events[i].Stream == name; i++ {
			lo, hi = min(lo, events[i].Timestamp), max(hi, events[i].Timestamp)
		}
		s.remember(groupID+"/"+name, func(sp span) span { return sp.with(lo, now).with(hi, now) })
	}
	return nil
}
