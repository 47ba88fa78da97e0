package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"davy/api/logsapi"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// span is when a stream's events happened, in ms; zero: it has none.
type span struct {
	first, last, ingested int64
	known                 bool // first and last were read from the store
}

// CreateLogStream makes a stream in a group.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogStream.html
func (s *Service) CreateLogStream(ctx context.Context, in *logsapi.CreateLogStreamRequest) (*logsapi.CreateLogStreamOutput, error) {
	g, err := s.group(ctx, in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	return nil, s.createStream(ctx, g, *in.LogStreamName)
}

func (s *Service) createStream(ctx context.Context, g *group, name string) error {
	text, err := json.Marshal(stream{Name: name, Created: s.cfg.Now().UnixMilli()})
	if err != nil {
		return fmt.Errorf("write log stream %q: %w", name, err)
	}
	_, err = s.cfg.State.Commit(ctx, state.Batch{
		// The group must not be deleted meanwhile.
		Checks: []state.Check{{Key: g.place.key(g.Name), Rev: g.rev}},
		Ops:    []state.Op{{Key: g.streams() + name, Value: text, IfRev: state.Absent}},
	})
	if errors.Is(err, state.ErrConflict) {
		if _, gerr := s.cfg.State.Get(ctx, g.streams()+name); gerr == nil {
			return exists("stream")
		}
		again, gerr := s.groupAt(ctx, g.place, g.Name)
		if gerr != nil {
			return gerr
		}
		if again.ID != g.ID || again.rev == g.rev {
			return fmt.Errorf("create log stream %q: %w", name, err)
		}
		return s.createStream(ctx, again, name) // the group was tagged or the like
	}
	if err != nil {
		return fmt.Errorf("create log stream %q: %w", name, err)
	}
	return nil
}

func (s *Service) stream(ctx context.Context, g *group, name string) error {
	_, err := s.cfg.State.Get(ctx, g.streams()+name)
	if errors.Is(err, state.ErrNotFound) {
		return notFound("stream")
	}
	return err
}

// DeleteLogStream removes a stream with its events.
func (s *Service) DeleteLogStream(ctx context.Context, in *logsapi.DeleteLogStreamRequest) (*logsapi.DeleteLogStreamOutput, error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	g, err := s.group(ctx, in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	name := *in.LogStreamName
	if err := s.stream(ctx, g, name); err != nil {
		return nil, err
	}
	// Events first: a crash in between leaves an empty stream, not events
	// that come back with a new stream of the name.
	if err := s.cfg.Logs.Drop(ctx, g.ID, name, noTime); err != nil {
		return nil, fmt.Errorf("drop events of log stream %q: %w", name, err)
	}
	if _, err := s.cfg.State.Commit(ctx, state.Batch{Ops: []state.Op{{Key: g.streams() + name, IfRev: state.Any}}}); err != nil {
		return nil, fmt.Errorf("delete log stream %q: %w", name, err)
	}
	s.mu.Lock()
	delete(s.spans, g.ID+"/"+name)
	s.mu.Unlock()
	return nil, nil
}

// DescribeLogStreams lists a group's streams by name or by their last event.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html
func (s *Service) DescribeLogStreams(ctx context.Context, in *logsapi.DescribeLogStreamsRequest) (*logsapi.DescribeLogStreamsResponse, error) {
	byTime := in.OrderBy != nil && *in.OrderBy == logsapi.OrderByLastEventTime
	if byTime && in.LogStreamNamePrefix != nil {
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	g, err := s.group(ctx, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	limit := int(awsapi.Val(in.Limit))
	if limit == 0 {
		limit = describeLimit
	}
	all, err := s.allStreams(ctx, g, awsapi.Val(in.LogStreamNamePrefix))
	if err != nil {
		return nil, err
	}
	if byTime {
		slices.SortStableFunc(all, func(a, b described) int { return compare(a.last, b.last) })
	}
	if awsapi.Val(in.Descending) {
		slices.Reverse(all)
	}
	// The token is the last name told; the order may have changed since, so
	// it is looked up rather than counted.
	if in.NextToken != nil {
		i := slices.IndexFunc(all, func(d described) bool { return d.Name == *in.NextToken })
		if i < 0 {
			return nil, invalid("The specified nextToken is invalid.")
		}
		all = all[i+1:]
	}
	out := &logsapi.DescribeLogStreamsResponse{LogStreams: []logsapi.LogStream{}}
	if len(all) > limit {
		all = all[:limit]
		out.NextToken = &all[limit-1].Name
	}
	for i := range all {
		d := &all[i]
		w := logsapi.LogStream{
			Arn:                 new(g.place.arn(g.Name) + ":log-stream:" + d.Name),
			LogStreamName:       &d.Name,
			CreationTime:        &d.Created,
			StoredBytes:         new(int64(0)), // always, for a stream, since 2019
			UploadSequenceToken: new(sequenceToken),
		}
		if d.ingested > 0 {
			w.FirstEventTimestamp, w.LastEventTimestamp, w.LastIngestionTime = &d.first, &d.last, &d.ingested
		}
		out.LogStreams = append(out.LogStreams, w)
	}
	return out, nil
}

type described struct {
	stream
	span
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (s *Service) allStreams(ctx context.Context, g *group, prefix string) ([]described, error) {
	var all []described
	for after := ""; ; {
		docs, err := s.cfg.State.List(ctx, g.streams()+prefix, after, 500)
		if err != nil {
			return nil, fmt.Errorf("list log streams: %w", err)
		}
		for _, d := range docs {
			after = d.Key
			var st stream
			if err := json.Unmarshal(d.Value, &st); err != nil {
				return nil, fmt.Errorf("read log stream %s: %w", d.Key, err)
			}
			st.Name = strings.TrimPrefix(d.Key, g.streams())
			sp, err := s.span(ctx, g.ID, st.Name)
			if err != nil {
				return nil, err
			}
			all = append(all, described{st, sp})
		}
		if len(docs) < 500 {
			return all, nil
		}
	}
}

// span tells when a stream's events happened, from memory or from the store.
func (s *Service) span(ctx context.Context, id, name string) (span, error) {
	key := id + "/" + name
	s.mu.Lock()
	sp := s.spans[key]
	s.mu.Unlock()
	if sp.known {
		return sp, nil
	}
	q := state.LogQuery{Group: id, Streams: []string{name}}
	for _, q.Reverse = range []bool{false, true} {
		for e, err := range s.cfg.Logs.Read(ctx, q) {
			if err != nil {
				return span{}, fmt.Errorf("read log stream %q: %w", name, err)
			}
			sp = sp.with(e.Timestamp, e.Ingested)
			break
		}
	}
	sp.known = true
	s.remember(key, func(now span) span {
		if now.ingested > 0 { // appended meanwhile
			sp = sp.with(now.first, now.ingested).with(now.last, now.ingested)
		}
		return sp
	})
	return sp, nil
}

func (sp span) with(at, ingested int64) span {
	if sp.ingested == 0 || at < sp.first {
		sp.first = at
	}
	sp.last, sp.ingested = max(sp.last, at), max(sp.ingested, ingested)
	return sp
}

// maxSpans bounds what is remembered; it is read again when needed.
const maxSpans = 50_000

func (s *Service) remember(key string, change func(span) span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.spans[key]; !ok && len(s.spans) >= maxSpans {
		clear(s.spans)
	}
	s.spans[key] = change(s.spans[key])
}
