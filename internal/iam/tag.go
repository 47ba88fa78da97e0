package iam

import (
	"context"
	"slices"
	"strings"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

const maxTags = 50

// tagged returns tags with more set over them.
func tagged(tags []tag, more []iamapi.Tag) ([]tag, error) {
	seen := map[string]bool{}
	for _, t := range more {
		k := awsapi.Val(t.Key)
		if folded := strings.ToLower(k); seen[folded] {
			return nil, invalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		} else if strings.HasPrefix(folded, "aws:") {
			return nil, invalidInput("Tag keys starting with 'aws:' are reserved for system use.")
		} else {
			seen[folded] = true
		}
		i := slices.IndexFunc(tags, func(t tag) bool { return strings.EqualFold(t.Key, k) })
		if i < 0 {
			tags = append(tags, tag{k, awsapi.Val(t.Value)})
		} else {
			tags[i] = tag{k, awsapi.Val(t.Value)}
		}
	}
	if len(tags) > maxTags {
		return nil, limitExceeded("The number of tags has reached the maximum limit.")
	}
	return tags, nil
}

func untagged(tags []tag, keys []string) []tag {
	return slices.DeleteFunc(tags, func(t tag) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, t.Key) })
	})
}

func wireTags(tags []tag) []iamapi.Tag {
	if len(tags) == 0 {
		return nil
	}
	out := make([]iamapi.Tag, len(tags))
	for i, t := range tags {
		out[i] = iamapi.Tag{Key: new(t.Key), Value: new(t.Value)}
	}
	return out
}

func pageTags(tags []tag, marker *string, maxItems *int32) ([]iamapi.Tag, *bool, *string, error) {
	all := wireTags(tags)
	slices.SortFunc(all, func(a, b iamapi.Tag) int { return order(*a.Key, *b.Key) })
	out, truncated, next, err := page(all, func(t iamapi.Tag) string { return *t.Key }, marker, maxItems)
	if out == nil {
		out = []iamapi.Tag{}
	}
	return out, truncated, next, err
}

// update changes one record in place of a clone.
func (s *Service) update(ctx context.Context, k kind, name *string, f func(*snapshot, *record) error) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old := now.find(k, awsapi.Val(name))
		if old == nil {
			return nil, notFound(k, awsapi.Val(name))
		}
		r := old.clone()
		if err := f(now, r); err != nil {
			return nil, err
		}
		if err := r.compile(); err != nil {
			return nil, err
		}
		return []change{{old, r}}, nil
	})
}

// TagUser adds or replaces tags.
func (s *Service) TagUser(ctx context.Context, in *iamapi.TagUserRequest) (*iamapi.TagUserOutput, error) {
	return &iamapi.TagUserOutput{}, s.tag(ctx, userKind, in.UserName, in.Tags)
}

// UntagUser removes tags.
func (s *Service) UntagUser(ctx context.Context, in *iamapi.UntagUserRequest) (*iamapi.UntagUserOutput, error) {
	return &iamapi.UntagUserOutput{}, s.untag(ctx, userKind, in.UserName, in.TagKeys)
}

// TagRole adds or replaces tags.
func (s *Service) TagRole(ctx context.Context, in *iamapi.TagRoleRequest) (*iamapi.TagRoleOutput, error) {
	return &iamapi.TagRoleOutput{}, s.tag(ctx, roleKind, in.RoleName, in.Tags)
}

// UntagRole removes tags.
func (s *Service) UntagRole(ctx context.Context, in *iamapi.UntagRoleRequest) (*iamapi.UntagRoleOutput, error) {
	return &iamapi.UntagRoleOutput{}, s.untag(ctx, roleKind, in.RoleName, in.TagKeys)
}

func (s *Service) tag(ctx context.Context, k kind, name *string, tags []iamapi.Tag) error {
	return s.update(ctx, k, name, func(_ *snapshot, r *record) (err error) {
		r.Tags, err = tagged(r.Tags, tags)
		return err
	})
}

func (s *Service) untag(ctx context.Context, k kind, name *string, keys []string) error {
	return s.update(ctx, k, name, func(_ *snapshot, r *record) error {
		r.Tags = untagged(r.Tags, keys)
		return nil
	})
}

// ListUserTags lists a user's tags.
func (s *Service) ListUserTags(_ context.Context, in *iamapi.ListUserTagsRequest) (*iamapi.ListUserTagsResponse, error) {
	r := s.snap.Load().find(userKind, awsapi.Val(in.UserName))
	if r == nil {
		return nil, notFound(userKind, awsapi.Val(in.UserName))
	}
	out := &iamapi.ListUserTagsResponse{}
	var err error
	out.Tags, out.IsTruncated, out.Marker, err = pageTags(r.Tags, in.Marker, in.MaxItems)
	return out, err
}

// ListRoleTags lists a role's tags.
func (s *Service) ListRoleTags(_ context.Context, in *iamapi.ListRoleTagsRequest) (*iamapi.ListRoleTagsResponse, error) {
	r := s.snap.Load().find(roleKind, awsapi.Val(in.RoleName))
	if r == nil {
		return nil, notFound(roleKind, awsapi.Val(in.RoleName))
	}
	out := &iamapi.ListRoleTagsResponse{}
	var err error
	out.Tags, out.IsTruncated, out.Marker, err = pageTags(r.Tags, in.Marker, in.MaxItems)
	return out, err
}

// TagPolicy adds or replaces tags.
func (s *Service) TagPolicy(ctx context.Context, in *iamapi.TagPolicyRequest) (*iamapi.TagPolicyOutput, error) {
	return &iamapi.TagPolicyOutput{}, s.updatePolicy(ctx, in.PolicyArn, func(_ *snapshot, p *managed) (err error) {
		p.Tags, err = tagged(p.Tags, in.Tags)
		return err
	})
}

// UntagPolicy removes tags.
func (s *Service) UntagPolicy(ctx context.Context, in *iamapi.UntagPolicyRequest) (*iamapi.UntagPolicyOutput, error) {
	return &iamapi.UntagPolicyOutput{}, s.updatePolicy(ctx, in.PolicyArn, func(_ *snapshot, p *managed) error {
		p.Tags = untagged(p.Tags, in.TagKeys)
		return nil
	})
}

// ListPolicyTags lists a policy's tags.
func (s *Service) ListPolicyTags(_ context.Context, in *iamapi.ListPolicyTagsRequest) (*iamapi.ListPolicyTagsResponse, error) {
	p, err := s.snap.Load().policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListPolicyTagsResponse{}
	out.Tags, out.IsTruncated, out.Marker, err = pageTags(p.Tags, in.Marker, in.MaxItems)
	return out, err
}
