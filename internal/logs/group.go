package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"davy/api/logsapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// GroupTags are the tags of the log group that an ARN lies in, for
// authorisation; none of one that does not exist.
func (s *Service) GroupTags(ctx context.Context, groupARN string) (map[string]string, error) {
	a, err := arn.Parse(groupARN)
	if err != nil {
		return nil, fmt.Errorf("log group's tags: %w", err)
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(a.Resource, "log-group:"), ":")
	g, err := s.groupAt(ctx, place{a.Account, a.Region}, name)
	if _, refusal := errors.AsType[awsapi.Error](err); refusal {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return g.Tags, nil
}

// CreateLogGroup makes a group.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
func (s *Service) CreateLogGroup(ctx context.Context, in *logsapi.CreateLogGroupRequest) (*logsapi.CreateLogGroupOutput, error) {
	switch {
	case in.KmsKeyId != nil:
		return nil, unsupported("kmsKeyId")
	case in.LogGroupClass != nil && *in.LogGroupClass != logsapi.LogGroupClassStandard:
		return nil, unsupported("logGroupClass " + string(*in.LogGroupClass))
	case awsapi.Val(in.DeletionProtectionEnabled):
		return nil, unsupported("deletionProtectionEnabled")
	}
	g := &group{ID: newID(), Name: *in.LogGroupName, Created: s.cfg.Now().UnixMilli(), Tags: in.Tags, place: placeOf(ctx)}
	err := s.putGroup(ctx, g, state.Absent)
	if errors.Is(err, state.ErrConflict) {
		return nil, exists("group")
	}
	if err != nil {
		return nil, fmt.Errorf("create log group %q: %w", g.Name, err)
	}
	return nil, nil
}

// deleteBatch is how many streams one transaction removes.
const deleteBatch = 500

// DeleteLogGroup removes a group with its streams and events.
func (s *Service) DeleteLogGroup(ctx context.Context, in *logsapi.DeleteLogGroupRequest) (*logsapi.DeleteLogGroupOutput, error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	g, err := s.group(ctx, in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	// The group's document goes first and takes the name with it. What a crash
	// leaves behind belongs to an id that nobody can name, and collect finds it.
	_, err = s.cfg.State.Commit(ctx, state.Batch{Frees: true, Ops: []state.Op{
		{Key: g.place.key(g.Name), IfRev: g.rev},
		{Key: goneRoot + g.ID, Value: []byte("{}"), IfRev: state.Any},
	}})
	if errors.Is(err, state.ErrConflict) {
		return nil, &logsapi.OperationAbortedException{Message: new("A conflicting operation is currently in progress against this resource. Please try again.")}
	}
	if err != nil {
		return nil, fmt.Errorf("delete log group %q: %w", g.Name, err)
	}
	return nil, s.collectGroup(ctx, g.ID)
}

// goneRoot holds a note for each deleted group whose rest is to be removed.
const goneRoot = "logs/gone/"

// collectGroup removes what a deleted group left.
func (s *Service) collectGroup(ctx context.Context, id string) error {
	if err := s.cfg.Logs.Drop(ctx, id, "", noTime); err != nil {
		return fmt.Errorf("drop events of deleted log group: %w", err)
	}
	prefix := streamRoot + id + "/"
	for {
		docs, err := s.cfg.State.List(ctx, prefix, "", deleteBatch)
		if err != nil {
			return fmt.Errorf("list streams of deleted log group: %w", err)
		}
		var b state.Batch
		for _, d := range docs {
			b.Ops = append(b.Ops, state.Op{Key: d.Key, IfRev: state.Any})
		}
		last := len(docs) < deleteBatch
		if last {
			b.Ops = append(b.Ops, state.Op{Key: goneRoot + id, IfRev: state.Any})
		}
		if _, err := s.cfg.State.Commit(ctx, b); err != nil {
			return fmt.Errorf("delete streams of deleted log group: %w", err)
		}
		if last {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.spans {
		if strings.HasPrefix(k, id+"/") {
			delete(s.spans, k)
		}
	}
	return nil
}

const describeLimit = 50

// DescribeLogGroups lists groups by name.
func (s *Service) DescribeLogGroups(ctx context.Context, in *logsapi.DescribeLogGroupsRequest) (*logsapi.DescribeLogGroupsResponse, error) {
	switch {
	case len(in.AccountIdentifiers) > 0 || awsapi.Val(in.IncludeLinkedAccounts):
		return nil, unsupported("Cross-account observability")
	case in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil:
		return nil, invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	out := &logsapi.DescribeLogGroupsResponse{LogGroups: []logsapi.LogGroup{}}
	if in.LogGroupClass != nil && *in.LogGroupClass != logsapi.LogGroupClassStandard {
		return out, nil
	}
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	at := placeOf(ctx)
	var only []string
	for _, id := range in.LogGroupIdentifiers {
		name, err := groupName(id, at)
		if err != nil {
			return nil, err
		}
		only = append(only, name)
	}
	limit := int(awsapi.Val(in.Limit))
	if limit == 0 {
		limit = describeLimit
	}
	after := ""
	if in.NextToken != nil {
		after = at.key(*in.NextToken)
	}
	for {
		docs, err := s.cfg.State.List(ctx, at.key(awsapi.Val(in.LogGroupNamePrefix)), after, 200)
		if err != nil {
			return nil, fmt.Errorf("list log groups: %w", err)
		}
		for _, d := range docs {
			after = d.Key
			g, err := readGroup(d, at)
			if err != nil {
				return nil, err
			}
			if in.LogGroupNamePattern != nil && !strings.Contains(strings.ToLower(g.Name), strings.ToLower(*in.LogGroupNamePattern)) ||
				only != nil && !slices.Contains(only, g.Name) {
				continue
			}
			if len(out.LogGroups) == limit {
				out.NextToken = out.LogGroups[limit-1].LogGroupName
				return out, nil
			}
			out.LogGroups = append(out.LogGroups, g.wire())
		}
		if len(docs) < 200 {
			return out, nil
		}
	}
}

func (g *group) wire() logsapi.LogGroup {
	w := logsapi.LogGroup{
		Arn:                       new(g.place.arn(g.Name) + ":*"),
		LogGroupArn:               new(g.place.arn(g.Name)),
		LogGroupName:              &g.Name,
		CreationTime:              &g.Created,
		MetricFilterCount:         new(int32(0)),
		LogGroupClass:             new(logsapi.LogGroupClassStandard),
		DeletionProtectionEnabled: new(false),
	}
	if g.Retention > 0 {
		w.RetentionInDays = &g.Retention
	}
	return w
}

// retentions are the numbers of days that AWS accepts.
var retentions = []int32{
	1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
}

// PutRetentionPolicy says after how many days events expire.
func (s *Service) PutRetentionPolicy(ctx context.Context, in *logsapi.PutRetentionPolicyRequest) (*logsapi.PutRetentionPolicyOutput, error) {
	if !slices.Contains(retentions, *in.RetentionInDays) {
		list, err := json.Marshal(retentions)
		if err != nil {
			return nil, err
		}
		return nil, invalid("1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: %s",
			*in.RetentionInDays, strings.ReplaceAll(string(list), ",", ", "))
	}
	return nil, s.update(ctx, *in.LogGroupName, func(g *group) error {
		g.Retention = *in.RetentionInDays
		return nil
	})
}

// DeleteRetentionPolicy lets events live for ever.
func (s *Service) DeleteRetentionPolicy(ctx context.Context, in *logsapi.DeleteRetentionPolicyRequest) (*logsapi.DeleteRetentionPolicyOutput, error) {
	return nil, s.update(ctx, *in.LogGroupName, func(g *group) error {
		g.Retention = 0
		return nil
	})
}
