package iam

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"davy/api/iamapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// Quotas. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	managedPolicySize = 6144
	policyVersions    = 5
	attachedPolicies  = 10
)

// policy returns a managed policy by ARN.
func (s *snapshot) policy(policyARN *string) (*managed, error) {
	text := awsapi.Val(policyARN)
	if a, err := arn.Parse(text); err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "policy/") {
		return nil, invalidInput("ARN %s is not valid.", text)
	}
	if p := s.policies[text]; p != nil {
		return p, nil
	}
	return nil, noSuchEntity("Policy %s was not found.", text)
}

// useCount is how many entities a policy is attached to and how many it bounds.
type useCount struct{ attached, bounds int32 }

// usage counts the uses of a policy.
func (s *snapshot) usage(policyARN string) useCount {
	s.usesOnce.Do(func() {
		s.uses = map[string]useCount{}
		for _, kind := range s.records {
			for _, r := range kind {
				for _, a := range r.Attached {
					u := s.uses[a]
					u.attached++
					s.uses[a] = u
				}
				if r.Boundary != "" {
					u := s.uses[r.Boundary]
					u.bounds++
					s.uses[r.Boundary] = u
				}
			}
		}
	})
	return s.uses[policyARN]
}

func (p *managed) wire(s *snapshot, whole bool) *iamapi.Policy {
	u := s.usage(p.arnText)
	out := &iamapi.Policy{
		Arn: new(p.arnText), AttachmentCount: &u.attached, PermissionsBoundaryUsageCount: &u.bounds,
		CreateDate: new(p.Created), UpdateDate: new(p.Updated), DefaultVersionId: new(p.Default), IsAttachable: new(true),
		Path: new(p.Path), PolicyName: new(p.Name), PolicyId: new(p.ID),
	}
	if whole { // lists leave these out
		out.Tags = wireTags(p.Tags)
		if p.Description != "" {
			out.Description = new(p.Description)
		}
	}
	return out
}

func (p *managed) wireVersion(v *version, whole bool) *iamapi.PolicyVersion {
	out := &iamapi.PolicyVersion{CreateDate: new(v.Created), VersionId: new(v.ID), IsDefaultVersion: new(v.ID == p.Default)}
	if whole {
		out.Document = encoded(v.Document)
	}
	return out
}

// checkManaged validates a managed policy's text.
func checkManaged(document string) error {
	if size(document) > managedPolicySize {
		return limitExceeded("Cannot exceed quota for PolicySize: %d", managedPolicySize)
	}
	_, err := policy.Parse(document, policy.Managed)
	return malformed(err)
}

// CreatePolicy makes a customer-managed policy with version v1.
func (s *Service) CreatePolicy(ctx context.Context, in *iamapi.CreatePolicyRequest) (*iamapi.CreatePolicyResponse, error) {
	document := awsapi.Val(in.PolicyDocument)
	if err := checkManaged(document); err != nil {
		return nil, err
	}
	at := s.now()
	p := &managed{
		Name: awsapi.Val(in.PolicyName), Path: pathOf(in.Path), ID: newID("ANPA"), Description: awsapi.Val(in.Description),
		Created: at, Updated: at, Default: "v1", Next: 2, Versions: []version{{"v1", document, at}},
	}
	var err error
	if p.Tags, err = tagged(nil, in.Tags); err != nil {
		return nil, err
	}
	if err := p.compile(s.snap.Load().account.Account); err != nil {
		return nil, err
	}
	err = s.mutate(ctx, func(now *snapshot) ([]change, error) {
		if now.byName[strings.ToLower(p.Name)] != nil {
			return nil, alreadyExists("A policy called %s already exists. Duplicate names are not allowed.", p.Name)
		}
		if len(now.byName) >= policiesPerAccount {
			return nil, limitExceeded("Cannot exceed quota for PoliciesPerAccount: %d", policiesPerAccount)
		}
		return []change{{nil, p}}, nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.CreatePolicyResponse{Policy: p.wire(s.snap.Load(), true)}, nil
}

// GetPolicy returns a managed policy without its text.
func (s *Service) GetPolicy(_ context.Context, in *iamapi.GetPolicyRequest) (*iamapi.GetPolicyResponse, error) {
	now := s.snap.Load()
	p, err := now.policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetPolicyResponse{Policy: p.wire(now, true)}, nil
}

// ListPolicies lists managed policies, the customer's and AWS's.
func (s *Service) ListPolicies(_ context.Context, in *iamapi.ListPoliciesRequest) (*iamapi.ListPoliciesResponse, error) {
	now := s.snap.Load()
	var all []*managed
	for _, p := range now.policies {
		u := now.usage(p.arnText)
		used := u.attached
		switch awsapi.Val(in.PolicyUsageFilter) {
		case iamapi.PolicyUsageTypePermissionsBoundary:
			if used = u.bounds; used == 0 {
				continue
			}
		case iamapi.PolicyUsageTypePermissionsPolicy:
			if used == 0 {
				continue
			}
		}
		scope := awsapi.Val(in.Scope)
		if scope == iamapi.PolicyScopeTypeAws && !p.aws || scope == iamapi.PolicyScopeTypeLocal && p.aws ||
			awsapi.Val(in.OnlyAttached) && used == 0 || !strings.HasPrefix(p.Path, awsapi.Val(in.PathPrefix)) {
			continue
		}
		all = append(all, p)
	}
	name := func(p *managed) string { return p.Name + " " + p.arnText }
	slices.SortFunc(all, func(a, b *managed) int { return order(name(a), name(b)) })
	out := &iamapi.ListPoliciesResponse{}
	list, truncated, marker, err := page(all, name, in.Marker, in.MaxItems)
	for _, p := range list {
		out.Policies = append(out.Policies, *p.wire(now, false))
	}
	out.IsTruncated, out.Marker = truncated, marker
	return out, err
}

// updatePolicy changes one customer-managed policy in place of a clone.
func (s *Service) updatePolicy(ctx context.Context, policyARN *string, f func(*snapshot, *managed) error) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old, err := now.own(policyARN)
		if err != nil {
			return nil, err
		}
		p := old.clone()
		if err := f(now, p); err != nil {
			return nil, err
		}
		if err := p.compile(now.account.Account); err != nil {
			return nil, err
		}
		return []change{{old, p}}, nil
	})
}

// own returns a policy that the customer may change.
func (s *snapshot) own(policyARN *string) (*managed, error) {
	p, err := s.policy(policyARN)
	if err != nil {
		return nil, err
	}
	if p.aws {
		return nil, awsapi.Errorf(403, "AccessDenied", "Policy %s is managed by AWS and cannot be changed.", p.arnText)
	}
	return p, nil
}

// DeletePolicy deletes a policy that nothing uses and that has one version.
func (s *Service) DeletePolicy(ctx context.Context, in *iamapi.DeletePolicyRequest) (*iamapi.DeletePolicyOutput, error) {
	return &iamapi.DeletePolicyOutput{}, s.mutate(ctx, func(now *snapshot) ([]change, error) {
		p, err := now.own(in.PolicyArn)
		if err != nil {
			return nil, err
		}
		if now.usage(p.arnText) != (useCount{}) {
			return nil, deleteConflict("Cannot delete a policy attached to entities.")
		}
		if len(p.Versions) > 1 {
			return nil, deleteConflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		return []change{{p, nil}}, nil
	})
}

// CreatePolicyVersion adds a version and may make it the one that counts.
func (s *Service) CreatePolicyVersion(ctx context.Context, in *iamapi.CreatePolicyVersionRequest) (*iamapi.CreatePolicyVersionResponse, error) {
	document := awsapi.Val(in.PolicyDocument)
	if err := checkManaged(document); err != nil {
		return nil, err
	}
	out := &iamapi.CreatePolicyVersionResponse{}
	err := s.updatePolicy(ctx, in.PolicyArn, func(_ *snapshot, p *managed) error {
		if len(p.Versions) >= policyVersions {
			return limitExceeded("A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", policyVersions)
		}
		v := version{ID: "v" + strconv.Itoa(p.Next), Document: document, Created: s.now()}
		p.Next++
		p.Versions = append(p.Versions, v)
		if p.Updated = v.Created; awsapi.Val(in.SetAsDefault) {
			p.Default = v.ID
		}
		out.PolicyVersion = p.wireVersion(&v, false)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func noVersion(p *managed, id string) error {
	return noSuchEntity("Policy %s version %s does not exist or is not attachable.", p.arnText, id)
}

// GetPolicyVersion returns a version with its text.
func (s *Service) GetPolicyVersion(_ context.Context, in *iamapi.GetPolicyVersionRequest) (*iamapi.GetPolicyVersionResponse, error) {
	p, err := s.snap.Load().policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	v := p.version(awsapi.Val(in.VersionId))
	if v == nil {
		return nil, noVersion(p, awsapi.Val(in.VersionId))
	}
	return &iamapi.GetPolicyVersionResponse{PolicyVersion: p.wireVersion(v, true)}, nil
}

// ListPolicyVersions lists the versions, the newest first.
func (s *Service) ListPolicyVersions(_ context.Context, in *iamapi.ListPolicyVersionsRequest) (*iamapi.ListPolicyVersionsResponse, error) {
	p, err := s.snap.Load().policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(p.Versions)
	slices.Reverse(all)
	// Names that sort as the list does: versions count up for ever.
	name := func(v version) string {
		n, _ := strconv.Atoi(v.ID[1:])
		return fmt.Sprintf("%012d", 999_999_999_999-n)
	}
	out := &iamapi.ListPolicyVersionsResponse{}
	list, truncated, marker, err := page(all, name, in.Marker, in.MaxItems)
	for i := range list {
		out.Versions = append(out.Versions, *p.wireVersion(&list[i], false))
	}
	out.IsTruncated, out.Marker = truncated, marker
	return out, err
}

// DeletePolicyVersion deletes a version that is not the default.
func (s *Service) DeletePolicyVersion(ctx context.Context, in *iamapi.DeletePolicyVersionRequest) (*iamapi.DeletePolicyVersionOutput, error) {
	id := awsapi.Val(in.VersionId)
	return &iamapi.DeletePolicyVersionOutput{}, s.updatePolicy(ctx, in.PolicyArn, func(_ *snapshot, p *managed) error {
		if p.version(id) == nil {
			return noVersion(p, id)
		}
		if p.Default == id {
			return deleteConflict("Cannot delete the default version of a policy.")
		}
		p.Versions = slices.DeleteFunc(p.Versions, func(v version) bool { return v.ID == id })
		return nil
	})
}

// SetDefaultPolicyVersion chooses the version that counts.
func (s *Service) SetDefaultPolicyVersion(ctx context.Context, in *iamapi.SetDefaultPolicyVersionRequest) (*iamapi.SetDefaultPolicyVersionOutput, error) {
	id := awsapi.Val(in.VersionId)
	return &iamapi.SetDefaultPolicyVersionOutput{}, s.updatePolicy(ctx, in.PolicyArn, func(_ *snapshot, p *managed) error {
		if p.version(id) == nil {
			return noVersion(p, id)
		}
		p.Default, p.Updated = id, s.now()
		return nil
	})
}

// ListEntitiesForPolicy lists the users, groups and roles that use a policy.
func (s *Service) ListEntitiesForPolicy(_ context.Context, in *iamapi.ListEntitiesForPolicyRequest) (*iamapi.ListEntitiesForPolicyResponse, error) {
	now := s.snap.Load()
	p, err := now.policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	among := []kind{groupKind, roleKind, userKind}
	switch awsapi.Val(in.EntityFilter) {
	case iamapi.EntityTypeUser:
		among = []kind{userKind}
	case iamapi.EntityTypeRole:
		among = []kind{roleKind}
	case iamapi.EntityTypeGroup:
		among = []kind{groupKind}
	case iamapi.EntityTypeLocalManagedPolicy, iamapi.EntityTypeAWSManagedPolicy:
		among = nil
	}
	usage := awsapi.Val(in.PolicyUsageFilter)
	var all []*record
	for _, k := range among {
		for _, r := range under(now.sorted(k), in.PathPrefix) {
			attached, bounds := slices.Contains(r.Attached, p.arnText), r.Boundary == p.arnText
			if usage == iamapi.PolicyUsageTypePermissionsBoundary && bounds ||
				usage == iamapi.PolicyUsageTypePermissionsPolicy && attached || usage == "" && (attached || bounds) {
				all = append(all, r)
			}
		}
	}
	out := &iamapi.ListEntitiesForPolicyResponse{}
	list, truncated, marker, err := page(all, func(r *record) string { return string(r.Kind) + "/" + r.Name }, in.Marker, in.MaxItems)
	for _, r := range list {
		switch r.Kind {
		case userKind:
			out.PolicyUsers = append(out.PolicyUsers, iamapi.PolicyUser{UserId: new(r.ID), UserName: new(r.Name)})
		case groupKind:
			out.PolicyGroups = append(out.PolicyGroups, iamapi.PolicyGroup{GroupId: new(r.ID), GroupName: new(r.Name)})
		case roleKind:
			out.PolicyRoles = append(out.PolicyRoles, iamapi.PolicyRole{RoleId: new(r.ID), RoleName: new(r.Name)})
		}
	}
	out.IsTruncated, out.Marker = truncated, marker
	return out, err
}
