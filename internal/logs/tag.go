package logs

import (
	"context"
	"maps"

	"davy/api/logsapi"
)

// maxTags is AWS's limit.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_TagResource.html
const maxTags = 50

func (s *Service) tag(ctx context.Context, name string, tags map[string]string) error {
	return s.update(ctx, name, func(g *group) error {
		if g.Tags == nil {
			g.Tags = make(map[string]string)
		}
		maps.Copy(g.Tags, tags)
		if len(g.Tags) > maxTags {
			return &logsapi.TooManyTagsException{Message: new("A resource can have no more than 50 tags.")}
		}
		return nil
	})
}

func (s *Service) untag(ctx context.Context, name string, keys []string) error {
	return s.update(ctx, name, func(g *group) error {
		for _, k := range keys {
			delete(g.Tags, k)
		}
		return nil
	})
}

// TagResource adds tags to a group named by its ARN.
func (s *Service) TagResource(ctx context.Context, in *logsapi.TagResourceRequest) (*logsapi.TagResourceOutput, error) {
	name, err := groupName(*in.ResourceArn, placeOf(ctx))
	if err != nil {
		return nil, err
	}
	return nil, s.tag(ctx, name, in.Tags)
}

// UntagResource removes tags from a group named by its ARN.
func (s *Service) UntagResource(ctx context.Context, in *logsapi.UntagResourceRequest) (*logsapi.UntagResourceOutput, error) {
	name, err := groupName(*in.ResourceArn, placeOf(ctx))
	if err != nil {
		return nil, err
	}
	return nil, s.untag(ctx, name, in.TagKeys)
}

// ListTagsForResource tells the tags of a group named by its ARN.
func (s *Service) ListTagsForResource(ctx context.Context, in *logsapi.ListTagsForResourceRequest) (*logsapi.ListTagsForResourceResponse, error) {
	g, err := s.group(ctx, nil, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return &logsapi.ListTagsForResourceResponse{Tags: orEmpty(g.Tags)}, nil
}

// TagLogGroup is the older form of TagResource.
func (s *Service) TagLogGroup(ctx context.Context, in *logsapi.TagLogGroupRequest) (*logsapi.TagLogGroupOutput, error) {
	return nil, s.tag(ctx, *in.LogGroupName, in.Tags)
}

// UntagLogGroup is the older form of UntagResource.
func (s *Service) UntagLogGroup(ctx context.Context, in *logsapi.UntagLogGroupRequest) (*logsapi.UntagLogGroupOutput, error) {
	return nil, s.untag(ctx, *in.LogGroupName, in.Tags)
}

// ListTagsLogGroup is the older form of ListTagsForResource.
func (s *Service) ListTagsLogGroup(ctx context.Context, in *logsapi.ListTagsLogGroupRequest) (*logsapi.ListTagsLogGroupResponse, error) {
	g, err := s.group(ctx, in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	return &logsapi.ListTagsLogGroupResponse{Tags: orEmpty(g.Tags)}, nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
