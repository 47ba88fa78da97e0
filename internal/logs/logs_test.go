package logs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"davy/api/logsapi"
	"davy/internal/awsapi"
	"davy/internal/execenv"
	"davy/internal/state"
	"davy/internal/state/sqlite"
	"davy/internal/state/statetest"
)

// fixture is a service on real log files, with a clock that the test moves.
type fixture struct {
	*testing.T
	*Service
	ctx context.Context
	now time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	store, err := sqlite.OpenLogs(t.Context(), sqlite.LogsConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{T: t, now: time.Now().Truncate(time.Millisecond)}
	f.Service, err = New(Config{State: statetest.NewMemory(), Logs: store, Now: func() time.Time { return f.now }})
	if err != nil {
		t.Fatal(err)
	}
	f.ctx = awsapi.WithCall(t.Context(), &awsapi.Call{Region: "eu-west-1", Account: "123456789012"})
	return f
}

// stream makes a group and a stream.
func (f *fixture) makeStream(group, stream string) {
	f.Helper()
	_, err := f.CreateLogGroup(f.ctx, &logsapi.CreateLogGroupRequest{LogGroupName: &group})
	if err != nil && !isExists(err) {
		f.Fatal(err)
	}
	if _, err := f.CreateLogStream(f.ctx, &logsapi.CreateLogStreamRequest{LogGroupName: &group, LogStreamName: &stream}); err != nil {
		f.Fatal(err)
	}
}

// put writes messages a millisecond apart, the first at now + from.
func (f *fixture) put(group, stream string, from time.Duration, messages ...string) *logsapi.PutLogEventsResponse {
	f.Helper()
	in := &logsapi.PutLogEventsRequest{LogGroupName: &group, LogStreamName: &stream}
	for i, m := range messages {
		in.LogEvents = append(in.LogEvents, logsapi.InputLogEvent{Message: &m, Timestamp: new(f.now.Add(from).UnixMilli() + int64(i))})
	}
	out, err := f.PutLogEvents(f.ctx, in)
	if err != nil {
		f.Fatal(err)
	}
	return out
}

func (f *fixture) filter(in logsapi.FilterLogEventsRequest) ([]string, *string) {
	f.Helper()
	out, err := f.FilterLogEvents(f.ctx, &in)
	if err != nil {
		f.Fatal(err)
	}
	got := []string{}
	for _, e := range out.Events {
		got = append(got, *e.LogStreamName+":"+*e.Message)
	}
	return got, out.NextToken
}

func (f *fixture) same(got []string, want ...string) {
	f.Helper()
	if !slices.Equal(got, want) {
		f.Fatalf("got %q, want %q", got, want)
	}
}

// fails checks the code and message of an error.
func (f *fixture) fails(err error, code, message string) {
	f.Helper()
	var e awsapi.Error
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(err.Error(), message) {
		f.Fatalf("%v, want %s with %q", err, code, message)
	}
}

const notThere = "The specified log group does not exist."

func TestGroup_LifeCycle(t *testing.T) {
	f := newFixture(t)
	name := new("/aws/lambda/f")
	_, err := f.DeleteLogGroup(f.ctx, &logsapi.DeleteLogGroupRequest{LogGroupName: name})
	f.fails(err, "ResourceNotFoundException", notThere)
	f.makeStream(*name, "s")
	_, err = f.CreateLogGroup(f.ctx, &logsapi.CreateLogGroupRequest{LogGroupName: name})
	f.fails(err, "ResourceAlreadyExistsException", "The specified log group already exists")
	_, err = f.CreateLogStream(f.ctx, &logsapi.CreateLogStreamRequest{LogGroupName: name, LogStreamName: new("s")})
	f.fails(err, "ResourceAlreadyExistsException", "The specified log stream already exists")
	f.put(*name, "s", 0, "old")
	if _, err := f.DeleteLogGroup(f.ctx, &logsapi.DeleteLogGroupRequest{LogGroupName: name}); err != nil {
		t.Fatal(err)
	}
	_, err = f.GetLogEvents(f.ctx, &logsapi.GetLogEventsRequest{LogGroupName: name, LogStreamName: new("s")})
	f.fails(err, "ResourceNotFoundException", notThere)
	f.makeStream(*name, "s") // a new group shows nothing of the old one
	got, _ := f.filter(logsapi.FilterLogEventsRequest{LogGroupName: name})
	f.same(got)
}

func TestGroup_RefusesWhatWouldHaveNoEffect(t *testing.T) {
	f := newFixture(t)
	for _, in := range []logsapi.CreateLogGroupRequest{
		{KmsKeyId: new("k")}, {DeletionProtectionEnabled: new(true)}, {LogGroupClass: new(logsapi.LogGroupClassInfrequentAccess)},
	} {
		in.LogGroupName = new("g")
		if _, err := f.CreateLogGroup(f.ctx, &in); err == nil {
			t.Errorf("%+v accepted", in)
		}
	}
}

func TestGroup_AccountsAndRegionsAreApart(t *testing.T) {
	f := newFixture(t)
	f.makeStream("g", "s")
	for _, c := range []awsapi.Call{{Region: "us-east-1", Account: "123456789012"}, {Region: "eu-west-1", Account: "210987654321"}} {
		ctx := awsapi.WithCall(t.Context(), &c)
		out, err := f.DescribeLogGroups(ctx, &logsapi.DescribeLogGroupsRequest{})
		if err != nil || len(out.LogGroups) != 0 {
			t.Fatal(out, err)
		}
		_, err = f.FilterLogEvents(ctx, &logsapi.FilterLogEventsRequest{LogGroupIdentifier: new("arn:aws:logs:eu-west-1:123456789012:log-group:g")})
		f.fails(err, "ResourceNotFoundException", notThere)
	}
}

func TestDescribeLogGroups_Pages(t *testing.T) {
	f := newFixture(t)
	for _, n := range []string{"a/1", "a/2", "a/3", "b"} {
		f.makeStream(n, "s")
	}
	var got []string
	in := &logsapi.DescribeLogGroupsRequest{LogGroupNamePrefix: new("a/"), Limit: new(int32(2))}
	for {
		out, err := f.DescribeLogGroups(f.ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range out.LogGroups {
			got = append(got, *g.Arn)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	f.same(got, "arn:aws:logs:eu-west-1:123456789012:log-group:a/1:*", "arn:aws:logs:eu-west-1:123456789012:log-group:a/2:*", "arn:aws:logs:eu-west-1:123456789012:log-group:a/3:*")
}

func TestTags(t *testing.T) {
	f := newFixture(t)
	f.makeStream("g", "s")
	arn := new("arn:aws:logs:eu-west-1:123456789012:log-group:g")
	if _, err := f.TagResource(f.ctx, &logsapi.TagResourceRequest{ResourceArn: arn, Tags: map[string]string{"a": "1", "b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.UntagResource(f.ctx, &logsapi.UntagResourceRequest{ResourceArn: arn, TagKeys: []string{"a", "z"}}); err != nil {
		t.Fatal(err)
	}
	out, err := f.ListTagsForResource(f.ctx, &logsapi.ListTagsForResourceRequest{ResourceArn: arn})
	if err != nil || len(out.Tags) != 1 || out.Tags["b"] != "2" {
		t.Fatal(out, err)
	}
}

func TestPutLogEvents_RefusesBatches(t *testing.T) {
	f := newFixture(t)
	f.makeStream("g", "s")
	now := f.now.UnixMilli()
	event := func(at int64, message string) logsapi.InputLogEvent {
		return logsapi.InputLogEvent{Timestamp: &at, Message: &message}
	}
	half := strings.Repeat("x", 600<<10)
	for _, tc := range []struct {
		name    string
		events  []logsapi.InputLogEvent
		message string
	}{
		{"out of order", []logsapi.InputLogEvent{event(now, "a"), event(now-1, "b")}, "chronological order"},
		{"a long time", []logsapi.InputLogEvent{event(now-25*3600_000, "a"), event(now, "b")}, "cannot span more than 24 hours"},
		{"a large event", []logsapi.InputLogEvent{event(now, half+half)}, "Log event too large: 1228826 bytes exceeds limit of 1048576"},
		{"a large batch", []logsapi.InputLogEvent{event(now, half), event(now, half)}, "Upload too large: 1228852 bytes exceeds limit of 1048576"},
	} {
		t.Run(tc.name, func(*testing.T) {
			_, err := f.PutLogEvents(f.ctx, &logsapi.PutLogEventsRequest{LogGroupName: new("g"), LogStreamName: new("s"), LogEvents: tc.events})
			f.fails(err, "InvalidParameterException", tc.message)
		})
	}
	_, err := f.PutLogEvents(f.ctx, &logsapi.PutLogEventsRequest{LogGroupName: new("g"), LogStreamName: new("other"), LogEvents: []logsapi.InputLogEvent{event(now, "a")}})
	f.fails(err, "ResourceNotFoundException", "The specified log stream does not exist.")
	got, _ := f.filter(logsapi.FilterLogEventsRequest{LogGroupName: new("g")})
	f.same(got)
}

func TestPutLogEvents_RejectsEventsOutOfTime(t *testing.T) {
	f := newFixture(t)
	f.makeStream("g", "s")
	if out := f.put("g", "s", -15*24*time.Hour, "old", "old2"); out.RejectedLogEventsInfo == nil || *out.RejectedLogEventsInfo.TooOldLogEventEndIndex != 2 {
		t.Fatalf("%+v", out.RejectedLogEventsInfo)
	}
	out := f.put("g", "s", 2*time.Hour-time.Millisecond, "in", "just in", "out", "out2")
	if out.RejectedLogEventsInfo == nil || *out.RejectedLogEventsInfo.TooNewLogEventStartIndex != 2 {
		t.Fatalf("%+v", out.RejectedLogEventsInfo)
	}
	if out := f.put("g", "s", 0, "now"); out.RejectedLogEventsInfo != nil {
		t.Fatalf("%+v", out.RejectedLogEventsInfo)
	}
	got, _ := f.filter(logsapi.FilterLogEventsRequest{LogGroupName: new("g")})
	f.same(got, "s:now", "s:in", "s:just in")
}

func TestRetention_HidesAndRemoves(t *testing.T) {
	f := newFixture(t)
	f.makeStream("g", "s")
	f.put("g", "s", -48*time.Hour, "old")
	f.put("g", "s", 0, "new")
	_, err := f.PutRetentionPolicy(f.ctx, &logsapi.PutRetentionPolicyRequest{LogGroupName: new("g"), RetentionInDays: new(int32(2 * 3))})
	f.fails(err, "InvalidParameterException", "retentionInDays")
	if _, err := f.PutRetentionPolicy(f.ctx, &logsapi.PutRetentionPolicyRequest{LogGroupName: new("g"), RetentionInDays: new(int32(1))}); err != nil {
		t.Fatal(err)
	}
	all := logsapi.FilterLogEventsRequest{LogGroupName: new("g")}
	got, _ := f.filter(all)
	f.same(got, "s:new")
	if out := f.put("g", "s", -25*time.Hour, "late"); out.RejectedLogEventsInfo == nil || *out.RejectedLogEventsInfo.ExpiredLogEventEndIndex != 1 {
		t.Fatalf("%+v", out.RejectedLogEventsInfo)
	}
	if err := f.expire(f.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.DeleteRetentionPolicy(f.ctx, &logsapi.DeleteRetentionPolicyRequest{LogGroupName: new("g")}); err != nil {
		t.Fatal(err)
	}
	got, _ = f.filter(all) // what expired is gone, not hidden
	f.same(got, "s:new")
}

func TestGetLogEvents_PagesBothWays(t *testing.T) {
	f := newFixture(t)
	f.makeStream("g", "s")
	f.makeStream("g", "other")
	f.put("g", "s", 0, "1", "2", "3", "4", "5")
	f.put("g", "other", 0, "x")
	in := logsapi.GetLogEventsRequest{LogGroupName: new("g"), LogStreamName: new("s"), Limit: new(int32(2))}
	get := func(head bool, token *string) (string, *logsapi.GetLogEventsResponse) {
		t.Helper()
		r := in
		r.StartFromHead, r.NextToken = &head, token
		out, err := f.GetLogEvents(f.ctx, &r)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, e := range out.Events {
			b.WriteString(*e.Message)
		}
		return b.String(), out
	}
	step := func(head bool, token *string, want string) *logsapi.GetLogEventsResponse {
		t.Helper()
		got, out := get(head, token)
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		return out
	}
	out := step(true, nil, "12")
	out = step(true, out.NextForwardToken, "34")
	step(true, out.NextBackwardToken, "12")
	out = step(true, out.NextForwardToken, "5")
	end := step(true, out.NextForwardToken, "")
	if *end.NextForwardToken != *out.NextForwardToken {
		t.Fatalf("at the end the token changes from %s to %s", *out.NextForwardToken, *end.NextForwardToken)
	}
	f.put("g", "s", time.Minute, "6")
	step(true, end.NextForwardToken, "6")

	out = step(false, nil, "56")
	out = step(false, out.NextBackwardToken, "34")
	out = step(false, out.NextBackwardToken, "12")
	start := step(false, out.NextBackwardToken, "")
	if *start.NextBackwardToken != *out.NextBackwardToken {
		t.Fatal("at the start the token changes")
	}
	in.StartTime, in.EndTime = new(f.now.UnixMilli()+1), new(f.now.UnixMilli()+3) // the end is left out
	step(true, nil, "23")
	for _, bad := range []string{"x", "f/", "f/1/s", "n/" + strings.Repeat("0", 40) + "/s", "f/" + strings.Repeat("9", 40) + "/s", "f/" + strings.Repeat("-", 40) + "/s"} {
		r := in
		r.NextToken = &bad
		_, err := f.GetLogEvents(f.ctx, &r)
		f.fails(err, "InvalidParameterException", "The specified nextToken is invalid.")
	}
}

func TestFilterLogEvents(t *testing.T) {
	f := newFixture(t)
	f.makeStream("g", "a/1")
	f.makeStream("g", "a/2")
	f.makeStream("g", "b")
	f.put("g", "a/1", 0, "ERROR one", "info two")
	f.put("g", "a/2", 10*time.Millisecond, `{"level":"ERROR","n":5}`)
	f.put("g", "b", 5*time.Millisecond, "ERROR three")
	group := new("g")
	now := f.now.UnixMilli()
	for _, tc := range []struct {
		name string
		in   logsapi.FilterLogEventsRequest
		want []string
	}{
		{"everything, by time", logsapi.FilterLogEventsRequest{}, []string{"a/1:ERROR one", "a/1:info two", "b:ERROR three", `a/2:{"level":"ERROR","n":5}`}},
		{"a term", logsapi.FilterLogEventsRequest{FilterPattern: new("ERROR")}, []string{"a/1:ERROR one", "b:ERROR three", `a/2:{"level":"ERROR","n":5}`}},
		{"json", logsapi.FilterLogEventsRequest{FilterPattern: new(`{ $.n > 4 }`)}, []string{`a/2:{"level":"ERROR","n":5}`}},
		{"streams", logsapi.FilterLogEventsRequest{LogStreamNames: []string{"b"}}, []string{"b:ERROR three"}},
		{"a prefix", logsapi.FilterLogEventsRequest{LogStreamNamePrefix: new("a/"), FilterPattern: new("ERROR")}, []string{"a/1:ERROR one", `a/2:{"level":"ERROR","n":5}`}},
		{"a time, the end included", logsapi.FilterLogEventsRequest{StartTime: new(now + 1), EndTime: new(now + 5)}, []string{"a/1:info two", "b:ERROR three"}},
	} {
		t.Run(tc.name, func(*testing.T) {
			tc.in.LogGroupName = group
			got, token := f.filter(tc.in)
			f.same(got, tc.want...)
			if token != nil {
				f.Fatal("a token without a next page")
			}
			tc.in.Limit = new(int32(1))
			var paged []string
			for {
				got, token := f.filter(tc.in)
				paged = append(paged, got...)
				if tc.in.NextToken = token; token == nil {
					break
				}
			}
			f.same(paged, tc.want...)
		})
	}
	_, err := f.FilterLogEvents(f.ctx, &logsapi.FilterLogEventsRequest{LogGroupName: group, FilterPattern: new(`"open`)})
	f.fails(err, "InvalidParameterException", "filter pattern")
	_, err = f.FilterLogEvents(f.ctx, &logsapi.FilterLogEventsRequest{LogGroupName: group, LogStreamNames: []string{"b"}, LogStreamNamePrefix: new("b")})
	f.fails(err, "InvalidParameterException", "mutually exclusive")
}

func TestDescribeLogStreams_Order(t *testing.T) {
	f := newFixture(t)
	for i, s := range []string{"c", "a", "b"} {
		f.makeStream("g", s)
		f.put("g", s, time.Duration(i)*time.Second, "m")
	}
	f.makeStream("g", "empty")
	list := func(in logsapi.DescribeLogStreamsRequest) []string {
		t.Helper()
		in.LogGroupName, in.Limit = new("g"), new(int32(3))
		got := []string{}
		for {
			out, err := f.DescribeLogStreams(f.ctx, &in)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range out.LogStreams {
				got = append(got, *s.LogStreamName)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return got
			}
		}
	}
	f.same(list(logsapi.DescribeLogStreamsRequest{}), "a", "b", "c", "empty")
	f.same(list(logsapi.DescribeLogStreamsRequest{LogStreamNamePrefix: new("e")}), "empty")
	f.same(list(logsapi.DescribeLogStreamsRequest{OrderBy: new(logsapi.OrderByLastEventTime), Descending: new(true)}), "b", "a", "c", "empty")
	out, err := f.DescribeLogStreams(f.ctx, &logsapi.DescribeLogStreamsRequest{LogGroupName: new("g"), LogStreamNamePrefix: new("a")})
	if err != nil {
		t.Fatal(err)
	}
	s := out.LogStreams[0]
	if at := f.now.Add(time.Second).UnixMilli(); *s.LastEventTimestamp != at || *s.FirstEventTimestamp != at ||
		*s.Arn != "arn:aws:logs:eu-west-1:123456789012:log-group:g:log-stream:a" {
		t.Fatalf("%+v", s)
	}
	_, err = f.DescribeLogStreams(f.ctx, &logsapi.DescribeLogStreamsRequest{LogGroupName: new("g"), LogStreamNamePrefix: new("a"), OrderBy: new(logsapi.OrderByLastEventTime)})
	f.fails(err, "InvalidParameterException", "Cannot order by LastEventTime")
}

// allow is Permissions by a set of "action resource".
type allow struct {
	mu    sync.Mutex
	may   map[string]bool
	asked []string
}

func (a *allow) Allowed(_ context.Context, _, action, resource string) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, action+" "+resource)
	return a.may[action], nil
}

func TestSink_CreatesAndWrites(t *testing.T) {
	f := newFixture(t)
	perm := &allow{may: map[string]bool{"logs:CreateLogGroup": true, "logs:CreateLogStream": true, "logs:PutLogEvents": true}}
	s, err := NewSink(t.Context(), SinkConfig{Service: f.Service, Permissions: perm})
	if err != nil {
		t.Fatal(err)
	}
	st := execenv.LogStream{Account: "123456789012", Region: "eu-west-1", Group: "/aws/lambda/f", Stream: "2026/11/22/[$LATEST]x", RoleARN: "r"}
	var want []string
	for i := range 300 {
		line := fmt.Sprint("line ", i)
		s.Write(t.Context(), st, f.now.Add(time.Duration(i)), line)
		want = append(want, st.Stream+":"+line)
	}
	if err := s.Flush(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	got, _ := f.filter(logsapi.FilterLogEventsRequest{LogGroupName: &st.Group})
	f.same(got, want...)
	const group = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/f:log-stream:"
	for _, need := range []string{"logs:CreateLogGroup " + group, "logs:CreateLogStream " + group + st.Stream, "logs:PutLogEvents " + group + st.Stream} {
		if !slices.Contains(perm.asked, need) {
			t.Errorf("not asked: %s", need)
		}
	}
	s.Write(t.Context(), st, f.now.Add(time.Second), "last")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, _ = f.filter(logsapi.FilterLogEventsRequest{LogGroupName: &st.Group})
	if got[len(got)-1] != st.Stream+":last" {
		t.Fatal("Close loses what was queued")
	}
	if err := s.Flush(t.Context(), st); err != nil {
		t.Fatal(err)
	}
}

func TestSink_WhoReadsSeesWhatWasWrittenBefore(t *testing.T) {
	f := newFixture(t)
	perm := &allow{may: map[string]bool{"logs:CreateLogGroup": true, "logs:CreateLogStream": true, "logs:PutLogEvents": true}}
	s, err := NewSink(t.Context(), SinkConfig{Service: f.Service, Permissions: perm})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	group, st := new("g"), execenv.LogStream{Account: "123456789012", Region: "eu-west-1", Group: "g", Stream: "s", RoleARN: "r"}
	for name, finds := range map[string]func() (bool, error){
		"FilterLogEvents": func() (bool, error) {
			out, err := f.FilterLogEvents(f.ctx, &logsapi.FilterLogEventsRequest{LogGroupName: group})
			return err == nil && len(out.Events) == 1, err
		},
		"GetLogEvents": func() (bool, error) {
			out, err := f.GetLogEvents(f.ctx, &logsapi.GetLogEventsRequest{LogGroupName: group, LogStreamName: &st.Stream})
			return err == nil && len(out.Events) == 1, err
		},
		"DescribeLogStreams": func() (bool, error) {
			out, err := f.DescribeLogStreams(f.ctx, &logsapi.DescribeLogStreamsRequest{LogGroupName: group})
			return err == nil && len(out.LogStreams) == 1, err
		},
		"DescribeLogGroups": func() (bool, error) {
			out, err := f.DescribeLogGroups(f.ctx, &logsapi.DescribeLogGroupsRequest{})
			return err == nil && len(out.LogGroups) == 1, err
		},
		"PutRetentionPolicy": func() (bool, error) {
			_, err := f.PutRetentionPolicy(f.ctx, &logsapi.PutRetentionPolicyRequest{LogGroupName: group, RetentionInDays: new(int32(7))})
			return err == nil, err
		},
		"DeleteLogStream": func() (bool, error) {
			_, err := f.DeleteLogStream(f.ctx, &logsapi.DeleteLogStreamRequest{LogGroupName: group, LogStreamName: &st.Stream})
			return err == nil, err
		},
	} {
		s.Write(t.Context(), st, f.now, "line")
		if ok, err := finds(); !ok {
			t.Errorf("%s: not there, %v", name, err)
		}
		if _, err := f.DeleteLogGroup(f.ctx, &logsapi.DeleteLogGroupRequest{LogGroupName: group}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSink_WritesNothingWithoutPermission(t *testing.T) {
	for _, missing := range []string{"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"} {
		t.Run(missing, func(t *testing.T) {
			f := newFixture(t)
			perm := &allow{may: map[string]bool{"logs:CreateLogGroup": true, "logs:CreateLogStream": true, "logs:PutLogEvents": true}}
			perm.may[missing] = false
			s, err := NewSink(t.Context(), SinkConfig{Service: f.Service, Permissions: perm})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			st := execenv.LogStream{Account: "123456789012", Region: "eu-west-1", Group: "g", Stream: "s", RoleARN: "r"}
			s.Write(t.Context(), st, f.now, "secret")
			if err := s.Flush(t.Context(), st); err != nil {
				t.Fatal(err)
			}
			out, err := f.FilterLogEvents(f.ctx, &logsapi.FilterLogEventsRequest{LogGroupName: new("g")})
			if err == nil && len(out.Events) > 0 {
				t.Fatal("written without permission")
			}
		})
	}
}

func TestSink_MemoryIsBounded(t *testing.T) {
	f := newFixture(t)
	s, err := NewSink(t.Context(), SinkConfig{Service: f.Service, Permissions: &allow{may: map[string]bool{}}, MaxQueued: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	line := strings.Repeat("x", 100<<10)
	for range 10_000 {
		s.Write(t.Context(), execenv.LogStream{Group: "g", Stream: "s"}, f.now, line)
		s.mu.Lock()
		n := s.bytes
		s.mu.Unlock()
		if n > 1<<20+100<<10 {
			t.Fatalf("%d bytes queued", n)
		}
	}
}

// A function that writes without end loses its own lines, not others'.
func TestSink_ManyLinesOfOneLeaveRoomForOthers(t *testing.T) {
	s := &Sink{
		limit: 1 << 20, queued: map[execenv.LogStream][]state.LogEvent{}, sizes: map[execenv.LogStream]int{},
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
	}
	for range 10_000 {
		s.Write(t.Context(), execenv.LogStream{Stream: "greedy"}, time.Time{}, strings.Repeat("x", 1000))
	}
	modest := execenv.LogStream{Stream: "modest"}
	for range 100 {
		s.Write(t.Context(), modest, time.Time{}, strings.Repeat("x", 1000))
	}
	if n := len(s.queued[modest]); n != 100 {
		t.Errorf("%d of 100 lines were kept", n)
	}
	if s.dropped == 0 || s.bytes > s.limit {
		t.Errorf("%d dropped, %d bytes kept", s.dropped, s.bytes)
	}
}

// countingLogs counts the writes of a state.Logs.
type countingLogs struct {
	state.Logs
	mu              sync.Mutex
	appends, events int
}

func (c *countingLogs) Append(_ context.Context, _ string, events []state.LogEvent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.appends++
	c.events += len(events)
	return nil
}

func TestSink_GathersUnlessSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := &countingLogs{}
		svc, err := New(Config{State: statetest.NewMemory(), Logs: counted})
		if err != nil {
			t.Fatal(err)
		}
		perm := &allow{may: map[string]bool{"logs:CreateLogGroup": true, "logs:CreateLogStream": true, "logs:PutLogEvents": true}}
		s, err := NewSink(t.Context(), SinkConfig{Service: svc, Permissions: perm})
		if err != nil {
			t.Fatal(err)
		}
		st := execenv.LogStream{Account: "123456789012", Region: "eu-west-1", Group: "g", RoleARN: "r"}
		expect := func(appends, events int) {
			t.Helper()
			counted.mu.Lock()
			defer counted.mu.Unlock()
			if counted.appends != appends || counted.events != events {
				t.Fatalf("%d events in %d writes, want %d in %d", counted.events, counted.appends, events, appends)
			}
		}
		for i := range 4 {
			st.Stream = fmt.Sprint("s", i%2)
			s.Write(t.Context(), st, time.Now(), "line")
			time.Sleep(gatherTime / 5)
		}
		expect(0, 0)
		time.Sleep(gatherTime)
		synctest.Wait()
		expect(1, 4)

		began := time.Now()
		s.Write(t.Context(), st, began, "line")
		if err := s.Flush(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		expect(2, 5)
		s.Write(t.Context(), st, began, strings.Repeat("x", gatherBytes-eventOverhead))
		synctest.Wait()
		expect(3, 6)
		if time.Since(began) != 0 {
			t.Error("a flush or a full queue waits for more")
		}
		s.Write(t.Context(), st, time.Now(), "last")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		expect(4, 7)
	})
}
