package iam

import (
	"context"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

func (r *record) profile(s *snapshot, whole bool) *iamapi.InstanceProfile {
	out := &iamapi.InstanceProfile{
		Arn: new(r.arn(s.account.Account)), CreateDate: new(r.Created), Path: new(r.Path),
		InstanceProfileId: new(r.ID), InstanceProfileName: new(r.Name), Roles: []iamapi.Role{},
	}
	if role := s.byID[r.RoleID]; role != nil {
		out.Roles = append(out.Roles, *role.role(s, false))
	}
	if whole { // lists leave them out
		out.Tags = wireTags(r.Tags)
	}
	return out
}

// profilesOf returns the instance profiles that a role is in.
func (s *snapshot) profilesOf(roleID string) []*record {
	return only(s.sorted(profileKind), func(p *record) bool { return p.RoleID == roleID })
}

func (s *Service) updateProfile(ctx context.Context, name *string, f func(*snapshot, *record) ([]change, error)) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old := now.find(profileKind, awsapi.Val(name))
		if old == nil {
			return nil, notFound(profileKind, awsapi.Val(name))
		}
		r := old.clone()
		more, err := f(now, r)
		return append(more, change{old, r}), err
	})
}

// CreateInstanceProfile makes an instance profile without a role. Davy has no
// instances: nothing can use it, but tools that manage them find it.
func (s *Service) CreateInstanceProfile(ctx context.Context, in *iamapi.CreateInstanceProfileRequest) (*iamapi.CreateInstanceProfileResponse, error) {
	r := &record{Kind: profileKind, Name: awsapi.Val(in.InstanceProfileName), Path: pathOf(in.Path), ID: newID("AIPA"), Created: s.now()}
	var err error
	if r.Tags, err = tagged(nil, in.Tags); err != nil {
		return nil, err
	}
	if err := s.create(ctx, r); err != nil {
		return nil, err
	}
	return &iamapi.CreateInstanceProfileResponse{InstanceProfile: r.profile(s.snap.Load(), true)}, nil
}

// GetInstanceProfile returns an instance profile with its role.
func (s *Service) GetInstanceProfile(_ context.Context, in *iamapi.GetInstanceProfileRequest) (*iamapi.GetInstanceProfileResponse, error) {
	now := s.snap.Load()
	r := now.find(profileKind, awsapi.Val(in.InstanceProfileName))
	if r == nil {
		return nil, notFound(profileKind, awsapi.Val(in.InstanceProfileName))
	}
	return &iamapi.GetInstanceProfileResponse{InstanceProfile: r.profile(now, true)}, nil
}

func (s *snapshot) pageProfiles(all []*record, marker *string, maxItems *int32) ([]iamapi.InstanceProfile, *bool, *string, error) {
	list, truncated, next, err := page(all, recordName, marker, maxItems)
	out := make([]iamapi.InstanceProfile, 0, len(list))
	for _, r := range list {
		out = append(out, *r.profile(s, false))
	}
	return out, truncated, next, err
}

// ListInstanceProfiles lists the instance profiles below a path.
func (s *Service) ListInstanceProfiles(_ context.Context, in *iamapi.ListInstanceProfilesRequest) (*iamapi.ListInstanceProfilesResponse, error) {
	now := s.snap.Load()
	out := &iamapi.ListInstanceProfilesResponse{}
	var err error
	out.InstanceProfiles, out.IsTruncated, out.Marker, err = now.pageProfiles(under(now.sorted(profileKind), in.PathPrefix), in.Marker, in.MaxItems)
	return out, err
}

// ListInstanceProfilesForRole lists the instance profiles that a role is in.
func (s *Service) ListInstanceProfilesForRole(_ context.Context, in *iamapi.ListInstanceProfilesForRoleRequest) (*iamapi.ListInstanceProfilesForRoleResponse, error) {
	now := s.snap.Load()
	role := now.find(roleKind, awsapi.Val(in.RoleName))
	if role == nil {
		return nil, notFound(roleKind, awsapi.Val(in.RoleName))
	}
	out := &iamapi.ListInstanceProfilesForRoleResponse{}
	var err error
	out.InstanceProfiles, out.IsTruncated, out.Marker, err = now.pageProfiles(now.profilesOf(role.ID), in.Marker, in.MaxItems)
	return out, err
}

// DeleteInstanceProfile deletes an instance profile without a role.
func (s *Service) DeleteInstanceProfile(ctx context.Context, in *iamapi.DeleteInstanceProfileRequest) (*iamapi.DeleteInstanceProfileOutput, error) {
	return &iamapi.DeleteInstanceProfileOutput{}, s.remove(ctx, profileKind, in.InstanceProfileName, func(_ *snapshot, r *record) error {
		if r.RoleID != "" {
			return deleteConflict("Cannot delete entity, must remove roles from instance profile first.")
		}
		return nil
	})
}

// AddRoleToInstanceProfile gives an instance profile its one role.
func (s *Service) AddRoleToInstanceProfile(ctx context.Context, in *iamapi.AddRoleToInstanceProfileRequest) (*iamapi.AddRoleToInstanceProfileOutput, error) {
	return &iamapi.AddRoleToInstanceProfileOutput{}, s.updateProfile(ctx, in.InstanceProfileName, func(now *snapshot, r *record) ([]change, error) {
		role := now.find(roleKind, awsapi.Val(in.RoleName))
		if role == nil {
			return nil, notFound(roleKind, awsapi.Val(in.RoleName))
		}
		if r.RoleID != "" {
			return nil, limitExceeded("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		r.RoleID = role.ID
		return []change{{role, role}}, nil
	})
}

// RemoveRoleFromInstanceProfile takes the role out.
func (s *Service) RemoveRoleFromInstanceProfile(ctx context.Context, in *iamapi.RemoveRoleFromInstanceProfileRequest) (*iamapi.RemoveRoleFromInstanceProfileOutput, error) {
	return &iamapi.RemoveRoleFromInstanceProfileOutput{}, s.updateProfile(ctx, in.InstanceProfileName, func(now *snapshot, r *record) ([]change, error) {
		role := now.find(roleKind, awsapi.Val(in.RoleName))
		if role == nil || role.ID != r.RoleID {
			return nil, notFound(roleKind, awsapi.Val(in.RoleName))
		}
		r.RoleID = ""
		return nil, nil
	})
}

// TagInstanceProfile adds or replaces tags.
func (s *Service) TagInstanceProfile(ctx context.Context, in *iamapi.TagInstanceProfileRequest) (*iamapi.TagInstanceProfileOutput, error) {
	return &iamapi.TagInstanceProfileOutput{}, s.tag(ctx, profileKind, in.InstanceProfileName, in.Tags)
}

// UntagInstanceProfile removes tags.
func (s *Service) UntagInstanceProfile(ctx context.Context, in *iamapi.UntagInstanceProfileRequest) (*iamapi.UntagInstanceProfileOutput, error) {
	return &iamapi.UntagInstanceProfileOutput{}, s.untag(ctx, profileKind, in.InstanceProfileName, in.TagKeys)
}

// ListInstanceProfileTags lists an instance profile's tags.
func (s *Service) ListInstanceProfileTags(_ context.Context, in *iamapi.ListInstanceProfileTagsRequest) (*iamapi.ListInstanceProfileTagsResponse, error) {
	r := s.snap.Load().find(profileKind, awsapi.Val(in.InstanceProfileName))
	if r == nil {
		return nil, notFound(profileKind, awsapi.Val(in.InstanceProfileName))
	}
	out := &iamapi.ListInstanceProfileTagsResponse{}
	var err error
	out.Tags, out.IsTruncated, out.Marker, err = pageTags(r.Tags, in.Marker, in.MaxItems)
	return out, err
}
