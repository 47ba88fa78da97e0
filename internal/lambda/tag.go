package lambda

import (
	"context"
	"maps"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// tagged is the function that a tagging operation names.
func (s *Service) tagged(ctx context.Context, resource *string) (key, error) {
	r, ok := parseRef(awsapi.Val(resource))
	if !ok || r.region == "" {
		return key{}, constraint(awsapi.Val(resource), "resource", "Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*):lambda:[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:(function:[a-zA-Z0-9-_]+(:(\\$LATEST|[a-zA-Z0-9-_]+))?)")
	}
	k, qualifier, err := s.locate(ctx, resource, nil)
	if err == nil && qualifier != "" {
		err = invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
	}
	return k, err
}

// TagResource adds tags to a function.
// https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html
func (s *Service) TagResource(ctx context.Context, in *lambdaapi.TagResourceRequest) (*lambdaapi.TagResourceOutput, error) {
	k, err := s.tagged(ctx, in.Resource)
	if err != nil {
		return nil, err
	}
	if len(in.Tags) == 0 {
		return nil, invalid("An error occurred and the request cannot be processed.")
	}
	_, err = s.update(ctx, k, false, func(c *change) error {
		if c.f.Tags == nil {
			c.f.Tags = map[string]string{}
		}
		maps.Copy(c.f.Tags, in.Tags)
		return checkTags(c.f.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &lambdaapi.TagResourceOutput{}, nil
}

// UntagResource removes tags from a function.
// https://docs.aws.amazon.com/lambda/latest/api/API_UntagResource.html
func (s *Service) UntagResource(ctx context.Context, in *lambdaapi.UntagResourceRequest) (*lambdaapi.UntagResourceOutput, error) {
	k, err := s.tagged(ctx, in.Resource)
	if err != nil {
		return nil, err
	}
	_, err = s.update(ctx, k, false, func(c *change) error {
		for _, name := range in.TagKeys {
			delete(c.f.Tags, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &lambdaapi.UntagResourceOutput{}, nil
}

// ListTags shows a function's tags.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListTags.html
func (s *Service) ListTags(ctx context.Context, in *lambdaapi.ListTagsRequest) (*lambdaapi.ListTagsResponse, error) {
	k, err := s.tagged(ctx, in.Resource)
	if err != nil {
		return nil, err
	}
	f, _, err := s.load(ctx, k)
	if err != nil {
		return nil, err
	}
	out := &lambdaapi.ListTagsResponse{Tags: f.Tags}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	return out, nil
}
