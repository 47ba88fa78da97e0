package logs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"davy/api/logsapi"
	"davy/internal/awsapi"
	"davy/internal/logs/pattern"
	"davy/internal/state"
)

// Limits of one page.
const (
	maxPageEvents = 10_000
	maxPageBytes  = 1 << 20
	// maxScanned is how many events one FilterLogEvents looks at before it
	// answers with what it has and a token, as AWS does.
	maxScanned = 200_000
)

var noTime time.Time

// beginning is a cursor before which there is nothing: the zero one means the
// end when reading backwards.
var beginning = state.Cursor{Timestamp: 0, Seq: 1}

// GetLogEvents reads one stream, forwards or backwards from a token; without
// one, its last events, or its first with startFromHead.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
func (s *Service) GetLogEvents(ctx context.Context, in *logsapi.GetLogEventsRequest) (*logsapi.GetLogEventsResponse, error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	g, err := s.group(ctx, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	if err := s.stream(ctx, g, *in.LogStreamName); err != nil {
		return nil, err
	}
	q := s.query(g, in.StartTime)
	if in.EndTime != nil {
		q.To = max(*in.EndTime, 1)
	}
	q.Streams, q.Reverse = []string{*in.LogStreamName}, !awsapi.Val(in.StartFromHead)
	if in.NextToken != nil {
		direction, at, err := parseToken(*in.NextToken, "fb")
		if err != nil {
			return nil, err
		}
		q.Reverse, q.After = direction == 'b', at
	}
	var events []state.LogEvent
	page := newPage(in.Limit)
	for e, err := range s.cfg.Logs.Read(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("read log stream %q: %w", *in.LogStreamName, err)
		}
		if !page.take(e) {
			break
		}
		events = append(events, e)
	}
	if q.Reverse {
		slices.Reverse(events)
	}
	out := &logsapi.GetLogEventsResponse{Events: make([]logsapi.OutputLogEvent, 0, len(events))}
	for i := range events {
		e := &events[i]
		out.Events = append(out.Events, logsapi.OutputLogEvent{IngestionTime: &e.Ingested, Message: &e.Message, Timestamp: &e.Timestamp})
	}
	back, forward := q.After, q.After
	switch {
	case len(events) > 0:
		back, forward = cursor(events[0]), cursor(events[len(events)-1])
	case in.NextToken == nil:
		back = beginning
	}
	out.NextBackwardToken, out.NextForwardToken = token('b', back), token('f', forward)
	return out, nil
}

func cursor(e state.LogEvent) state.Cursor { return state.Cursor{Timestamp: e.Timestamp, Seq: e.Seq} }

// query covers a group from start on, without what has expired.
func (s *Service) query(g *group, start *int64) state.LogQuery {
	return state.LogQuery{Group: g.ID, From: max(awsapi.Val(start), g.cutoff(s.cfg.Now()))}
}

// page counts what fits into one answer.
type page struct{ events, bytes, limit int }

func newPage(limit *int32) *page {
	p := &page{limit: maxPageEvents}
	if n := int(awsapi.Val(limit)); n > 0 && n < maxPageEvents {
		p.limit = n
	}
	return p
}

func (p *page) take(e state.LogEvent) bool {
	if p.events == p.limit || p.events > 0 && p.bytes+len(e.Message)+eventOverhead > maxPageBytes {
		return false
	}
	p.events++
	p.bytes += len(e.Message) + eventOverhead
	return true
}

// FilterLogEvents searches the streams of a group in order of time.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
func (s *Service) FilterLogEvents(ctx context.Context, in *logsapi.FilterLogEventsRequest) (*logsapi.FilterLogEventsResponse, error) {
	switch {
	case len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != nil:
		return nil, invalid("LogStream name prefix and LogStream names are mutually exclusive parameters.")
	case in.StartTime != nil && in.EndTime != nil && *in.StartTime > *in.EndTime:
		return nil, invalid("startTime must be less than or equal to endTime")
	case in.StartFromHead != nil && !*in.StartFromHead:
		return nil, unsupported("startFromHead false")
	}
	match, err := pattern.Parse(awsapi.Val(in.FilterPattern))
	if err != nil {
		return nil, invalid("Invalid filter pattern: %v", err)
	}
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	g, err := s.group(ctx, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	for _, name := range in.LogStreamNames {
		if err := s.stream(ctx, g, name); err != nil {
			return nil, err
		}
	}
	q := s.query(g, in.StartTime)
	if in.EndTime != nil {
		q.To = *in.EndTime + 1 // here the end counts in, unlike in GetLogEvents
	}
	q.Streams = in.LogStreamNames
	if in.NextToken != nil {
		if _, q.After, err = parseToken(*in.NextToken, "n"); err != nil {
			return nil, err
		}
	}
	prefix := awsapi.Val(in.LogStreamNamePrefix)
	out := &logsapi.FilterLogEventsResponse{Events: []logsapi.FilteredLogEvent{}, SearchedLogStreams: []logsapi.SearchedLogStream{}}
	page, scanned, last := newPage(in.Limit), 0, q.After
	for e, err := range s.cfg.Logs.Read(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("search log group %q: %w", g.Name, err)
		}
		if scanned == maxScanned {
			out.NextToken = token('n', last)
			break
		}
		scanned++
		if strings.HasPrefix(e.Stream, prefix) && match.Matches(e.Message) {
			if !page.take(e) {
				out.NextToken = token('n', last)
				break
			}
			out.Events = append(out.Events, logsapi.FilteredLogEvent{
				EventId:       new(fmt.Sprintf("%0*d%0*d", 28, e.Timestamp, 28, e.Seq)),
				IngestionTime: &e.Ingested, LogStreamName: &e.Stream, Message: &e.Message, Timestamp: &e.Timestamp,
			})
		}
		last = cursor(e)
	}
	return out, nil
}
