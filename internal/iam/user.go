package iam

import (
	"context"
	"slices"
	"strings"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

func (r *record) user(account string, whole bool) *iamapi.User {
	u := &iamapi.User{Arn: new(r.arn(account)), CreateDate: new(r.Created), Path: new(r.Path), UserId: new(r.ID), UserName: new(r.Name)}
	if whole { // lists leave these out
		u.Tags, u.PermissionsBoundary = wireTags(r.Tags), boundary(r.Boundary)
	}
	return u
}

// CreateUser makes a user that may do nothing yet.
func (s *Service) CreateUser(ctx context.Context, in *iamapi.CreateUserRequest) (*iamapi.CreateUserResponse, error) {
	r := &record{Kind: userKind, Name: awsapi.Val(in.UserName), Path: pathOf(in.Path), ID: newID("AIDA"), Created: s.now(), Boundary: awsapi.Val(in.PermissionsBoundary)}
	var err error
	if r.Tags, err = tagged(nil, in.Tags); err != nil {
		return nil, err
	}
	if err := s.create(ctx, r); err != nil {
		return nil, err
	}
	return &iamapi.CreateUserResponse{User: r.user(s.snap.Load().account.Account, true)}, nil
}

// create adds a record whose name must be free.
func (s *Service) create(ctx context.Context, r *record) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		if now.named(r.Kind, r.Name) != nil && r.Kind == profileKind {
			return nil, alreadyExists("Instance Profile %s already exists.", r.Name)
		} else if now.named(r.Kind, r.Name) != nil {
			return nil, alreadyExists("%s with name %s already exists.", r.Kind.title(), r.Name)
		}
		if err := now.room(r.Kind); err != nil {
			return nil, err
		}
		changes := []change{{nil, r}}
		if r.Boundary != "" {
			touch, err := now.attachable(r.Boundary)
			if err != nil {
				return nil, err
			}
			changes = append(changes, touch...)
		}
		return changes, r.compile()
	})
}

// GetUser returns a user; without a name the one that asks.
func (s *Service) GetUser(ctx context.Context, in *iamapi.GetUserRequest) (*iamapi.GetUserResponse, error) {
	now := s.snap.Load()
	name := awsapi.Val(in.UserName)
	if in.UserName == nil {
		p := awsapi.CallFrom(ctx).Principal
		if p.ARN == now.account.rootARN() {
			return &iamapi.GetUserResponse{User: &iamapi.User{Arn: new(p.ARN), UserId: new(now.account.Account), CreateDate: new(now.account.Created), Path: new("/"), UserName: new("root")}}, nil
		}
		var err error
		if name, err = now.callerName(p); err != nil {
			return nil, err
		}
	}
	r := now.find(userKind, name)
	if r == nil {
		return nil, notFound(userKind, name)
	}
	return &iamapi.GetUserResponse{User: r.user(now.account.Account, true)}, nil
}

// callerName is the user name that an operation without one is about.
func (s *snapshot) callerName(p awsapi.Principal) (string, error) {
	if r := s.byID[p.UserID]; r != nil && r.Kind == userKind {
		return r.Name, nil
	}
	return "", validationError("Must specify userName when calling with non-User credentials")
}

// ListUsers lists the users below a path.
func (s *Service) ListUsers(_ context.Context, in *iamapi.ListUsersRequest) (*iamapi.ListUsersResponse, error) {
	now := s.snap.Load()
	out := &iamapi.ListUsersResponse{Users: []iamapi.User{}}
	list, truncated, marker, err := page(under(now.sorted(userKind), in.PathPrefix), recordName, in.Marker, in.MaxItems)
	for _, r := range list {
		out.Users = append(out.Users, *r.user(now.account.Account, false))
	}
	out.IsTruncated, out.Marker = truncated, marker
	return out, err
}

// UpdateUser renames or moves a user. Its id, keys and policies stay.
func (s *Service) UpdateUser(ctx context.Context, in *iamapi.UpdateUserRequest) (*iamapi.UpdateUserOutput, error) {
	return &iamapi.UpdateUserOutput{}, s.rename(ctx, userKind, in.UserName, in.NewUserName, in.NewPath)
}

func (s *Service) rename(ctx context.Context, k kind, name, newName, newPath *string) error {
	return s.update(ctx, k, name, func(now *snapshot, r *record) error {
		if newName != nil {
			if other := now.named(k, *newName); other != nil && other.ID != r.ID {
				return alreadyExists("%s with name %s already exists.", k.title(), *newName)
			}
			r.Name = *newName
		}
		if newPath != nil {
			r.Path = *newPath
		}
		return nil
	})
}

// DeleteUser deletes a user that has nothing left.
func (s *Service) DeleteUser(ctx context.Context, in *iamapi.DeleteUserRequest) (*iamapi.DeleteUserOutput, error) {
	return &iamapi.DeleteUserOutput{}, s.remove(ctx, userKind, in.UserName, func(_ *snapshot, r *record) error {
		switch {
		case r.Login.present():
			return deleteConflict("Cannot delete entity, must delete login profile first.")
		case len(r.Keys) > 0:
			return deleteConflict("Cannot delete entity, must delete access keys first.")
		case len(r.Groups) > 0:
			return deleteConflict("Cannot delete entity, must remove user from all groups first.")
		}
		return nil
	})
}

// remove deletes a record that has no policies, if check agrees.
func (s *Service) remove(ctx context.Context, k kind, name *string, check func(*snapshot, *record) error) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		r := now.find(k, awsapi.Val(name))
		if r == nil {
			return nil, notFound(k, awsapi.Val(name))
		}
		if err := check(now, r); err != nil {
			return nil, err
		}
		switch {
		case len(r.Attached) > 0:
			return nil, deleteConflict("Cannot delete entity, must detach all policies first.")
		case len(r.Inline) > 0:
			return nil, deleteConflict("Cannot delete entity, must delete policies first.")
		}
		return []change{{r, nil}}, nil
	})
}

const groupsPerUser = 10

func (r *record) group(account string) *iamapi.Group {
	return &iamapi.Group{Arn: new(r.arn(account)), CreateDate: new(r.Created), GroupId: new(r.ID), GroupName: new(r.Name), Path: new(r.Path)}
}

// CreateGroup makes a group without users.
func (s *Service) CreateGroup(ctx context.Context, in *iamapi.CreateGroupRequest) (*iamapi.CreateGroupResponse, error) {
	r := &record{Kind: groupKind, Name: awsapi.Val(in.GroupName), Path: pathOf(in.Path), ID: newID("AGPA"), Created: s.now()}
	if err := s.create(ctx, r); err != nil {
		return nil, err
	}
	return &iamapi.CreateGroupResponse{Group: r.group(s.snap.Load().account.Account)}, nil
}

// members returns the users of a group in the order of their names.
func (s *snapshot) members(g *record) []*record {
	return only(s.sorted(userKind), func(u *record) bool { return slices.Contains(u.Groups, g.ID) })
}

// GetGroup returns a group with its users.
func (s *Service) GetGroup(_ context.Context, in *iamapi.GetGroupRequest) (*iamapi.GetGroupResponse, error) {
	now := s.snap.Load()
	g := now.find(groupKind, awsapi.Val(in.GroupName))
	if g == nil {
		return nil, notFound(groupKind, awsapi.Val(in.GroupName))
	}
	out := &iamapi.GetGroupResponse{Group: g.group(now.account.Account), Users: []iamapi.User{}}
	list, truncated, marker, err := page(now.members(g), recordName, in.Marker, in.MaxItems)
	for _, u := range list {
		out.Users = append(out.Users, *u.user(now.account.Account, false))
	}
	out.IsTruncated, out.Marker = truncated, marker
	return out, err
}

// ListGroups lists the groups below a path.
func (s *Service) ListGroups(_ context.Context, in *iamapi.ListGroupsRequest) (*iamapi.ListGroupsResponse, error) {
	now := s.snap.Load()
	out := &iamapi.ListGroupsResponse{}
	var err error
	out.Groups, out.IsTruncated, out.Marker, err = now.pageGroups(under(now.sorted(groupKind), in.PathPrefix), in.Marker, in.MaxItems)
	return out, err
}

// ListGroupsForUser lists the groups that a user is in.
func (s *Service) ListGroupsForUser(_ context.Context, in *iamapi.ListGroupsForUserRequest) (*iamapi.ListGroupsForUserResponse, error) {
	now := s.snap.Load()
	u := now.find(userKind, awsapi.Val(in.UserName))
	if u == nil {
		return nil, notFound(userKind, awsapi.Val(in.UserName))
	}
	mine := only(now.sorted(groupKind), func(g *record) bool { return slices.Contains(u.Groups, g.ID) })
	out := &iamapi.ListGroupsForUserResponse{}
	var err error
	out.Groups, out.IsTruncated, out.Marker, err = now.pageGroups(mine, in.Marker, in.MaxItems)
	return out, err
}

func (s *snapshot) pageGroups(all []*record, marker *string, maxItems *int32) ([]iamapi.Group, *bool, *string, error) {
	list, truncated, next, err := page(all, recordName, marker, maxItems)
	out := make([]iamapi.Group, 0, len(list))
	for _, g := range list {
		out = append(out, *g.group(s.account.Account))
	}
	return out, truncated, next, err
}

// UpdateGroup renames or moves a group.
func (s *Service) UpdateGroup(ctx context.Context, in *iamapi.UpdateGroupRequest) (*iamapi.UpdateGroupOutput, error) {
	return &iamapi.UpdateGroupOutput{}, s.rename(ctx, groupKind, in.GroupName, in.NewGroupName, in.NewPath)
}

// DeleteGroup deletes a group without users and policies.
func (s *Service) DeleteGroup(ctx context.Context, in *iamapi.DeleteGroupRequest) (*iamapi.DeleteGroupOutput, error) {
	return &iamapi.DeleteGroupOutput{}, s.remove(ctx, groupKind, in.GroupName, func(now *snapshot, g *record) error {
		if len(now.members(g)) > 0 {
			return deleteConflict("Cannot delete entity, must remove users from group first.")
		}
		return nil
	})
}

// AddUserToGroup makes a user a member; one who is already stays it.
func (s *Service) AddUserToGroup(ctx context.Context, in *iamapi.AddUserToGroupRequest) (*iamapi.AddUserToGroupOutput, error) {
	return &iamapi.AddUserToGroupOutput{}, s.membership(ctx, in.GroupName, in.UserName, func(u *record, id string) error {
		if slices.Contains(u.Groups, id) {
			return nil
		}
		if len(u.Groups) >= groupsPerUser {
			return limitExceeded("Cannot exceed quota for GroupsPerUser: %d", groupsPerUser)
		}
		u.Groups = append(u.Groups, id)
		return nil
	})
}

// RemoveUserFromGroup ends a membership.
func (s *Service) RemoveUserFromGroup(ctx context.Context, in *iamapi.RemoveUserFromGroupRequest) (*iamapi.RemoveUserFromGroupOutput, error) {
	return &iamapi.RemoveUserFromGroupOutput{}, s.membership(ctx, in.GroupName, in.UserName, func(u *record, id string) error {
		u.Groups = slices.DeleteFunc(u.Groups, func(g string) bool { return g == id })
		return nil
	})
}

func (s *Service) membership(ctx context.Context, group, user *string, f func(u *record, groupID string) error) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		g := now.find(groupKind, awsapi.Val(group))
		if g == nil {
			return nil, notFound(groupKind, awsapi.Val(group))
		}
		old := now.find(userKind, awsapi.Val(user))
		if old == nil {
			return nil, notFound(userKind, awsapi.Val(user))
		}
		u := old.clone()
		if err := f(u, g.ID); err != nil {
			return nil, err
		}
		return []change{{old, u}, {g, g}}, nil
	})
}

func boundary(policyARN string) *iamapi.AttachedPermissionsBoundary {
	if policyARN == "" {
		return nil
	}
	return &iamapi.AttachedPermissionsBoundary{
		PermissionsBoundaryArn:  new(policyARN),
		PermissionsBoundaryType: new(iamapi.PermissionsBoundaryAttachmentType("Policy")),
	}
}

// Entity returns the ARN, path included, and the permissions boundary of a
// user, role or group. One that does not exist has an empty ARN.
func (s *Service) Entity(_ context.Context, account, entity, name string) (entityARN, boundaryARN string, err error) {
	now := s.snap.Load()
	if account != now.account.Account {
		return "", "", nil
	}
	if r := now.records[kind(entity)][strings.ToLower(name)]; r != nil {
		return r.arn(account), r.Boundary, nil
	}
	return "", "", nil
}
