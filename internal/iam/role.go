package iam

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"davy/api/iamapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

const (
	trustPolicySize   = 2048
	defaultMaxSession = 3600 // seconds
)

func (r *record) role(s *snapshot, whole bool) *iamapi.Role {
	out := &iamapi.Role{
		Arn: new(r.arn(s.account.Account)), CreateDate: new(r.Created), Path: new(r.Path), RoleId: new(r.ID), RoleName: new(r.Name),
		AssumeRolePolicyDocument: encoded(s.trustText(r)), MaxSessionDuration: new(r.MaxSession),
	}
	if r.Description != "" {
		out.Description = new(r.Description)
	}
	if whole { // lists leave these out
		out.Tags, out.PermissionsBoundary, out.RoleLastUsed = wireTags(r.Tags), boundary(r.Boundary), s.roleLastUsed(r)
	}
	return out
}

// CreateRole makes a role that those may assume whom its trust policy names.
func (s *Service) CreateRole(ctx context.Context, in *iamapi.CreateRoleRequest) (*iamapi.CreateRoleResponse, error) {
	r := &record{
		Kind: roleKind, Name: awsapi.Val(in.RoleName), Path: pathOf(in.Path), ID: newID("AROA"), Created: s.now(),
		Description: awsapi.Val(in.Description), MaxSession: defaultMaxSession, Boundary: awsapi.Val(in.PermissionsBoundary),
	}
	if in.MaxSessionDuration != nil {
		r.MaxSession = *in.MaxSessionDuration
	}
	if strings.HasPrefix(r.Path, "/aws-service-role/") {
		return nil, invalidInput("The path /aws-service-role/ is reserved for service-linked roles.")
	}
	var err error
	if r.Tags, err = tagged(nil, in.Tags); err != nil {
		return nil, err
	}
	if err = s.snap.Load().setTrust(r, awsapi.Val(in.AssumeRolePolicyDocument)); err != nil {
		return nil, err
	}
	if err = s.create(ctx, r); err != nil {
		return nil, err
	}
	return &iamapi.CreateRoleResponse{Role: r.role(s.snap.Load(), true)}, nil
}

// setTrust validates a trust policy and binds the users and roles that it
// names to who they are now.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func (s *snapshot) setTrust(r *record, document string) error {
	if size(document) > trustPolicySize {
		return limitExceeded("Cannot exceed quota for ACLSizePerRole: %d", trustPolicySize)
	}
	if _, err := policy.Parse(document, policy.Trust); err != nil {
		return malformed(err)
	}
	bound, err := s.bindAll(document)
	if err != nil {
		return malformed(err)
	}
	r.Trust, r.Bound = document, bound
	return nil
}

// bindAll returns the ids of the users and roles that a policy names.
func (s *snapshot) bindAll(document string) (map[string]string, error) {
	bound := map[string]string{}
	var tree any
	if err := json.Unmarshal([]byte(document), &tree); err != nil {
		return nil, &policy.MalformedError{Reason: err.Error()}
	}
	var unknown string
	eachPrincipal(tree, func(p string) {
		if id, known := s.bind(p); !known {
			unknown = p
		} else if id != "" {
			bound[p] = id
		}
	})
	if unknown != "" {
		return nil, &policy.MalformedError{Reason: `Invalid principal in policy: "AWS":"` + unknown + `"`}
	}
	return bound, nil
}

// bind returns the id of the user or role that an ARN names, of any account
// that is here. Principals of accounts elsewhere, accounts and sessions are
// known and have none.
func (s *snapshot) bind(principal string) (id string, known bool) {
	a, err := arn.Parse(principal)
	if err != nil || a.Service != "iam" || a.Resource == "root" {
		return "", true
	}
	if s = s.of(a.Account); s == nil {
		return "", true
	}
	k, rest, _ := strings.Cut(a.Resource, "/")
	if kind(k) != userKind && kind(k) != roleKind {
		return "", false
	}
	r := s.find(kind(k), rest[strings.LastIndexByte(rest, '/')+1:])
	if r == nil || r.arn(s.account.Account) != principal {
		return "", false
	}
	return r.ID, true
}

// eachPrincipal calls f for each AWS principal of a policy.
func eachPrincipal(document any, f func(string)) {
	top, _ := document.(map[string]any)
	statements, ok := top["Statement"].([]any)
	if !ok {
		statements = []any{top["Statement"]}
	}
	for _, st := range statements {
		members, _ := st.(map[string]any)
		for _, element := range []string{"Principal", "NotPrincipal"} {
			principals, _ := members[element].(map[string]any)
			switch v := principals["AWS"].(type) {
			case string:
				f(v)
			case []any:
				for i := range v {
					if p, ok := v[i].(string); ok {
						f(p)
					}
				}
			}
		}
	}
}

// of returns the directory of an account as this one sees it; nil: elsewhere.
func (s *snapshot) of(account string) *snapshot {
	if account == s.account.Account {
		return s
	}
	if peer := s.peers.Of(account); peer != nil {
		return peer.snap.Load()
	}
	return nil
}

// shown is how a bound principal is shown: by the name that it has now, or by
// its id if it is gone.
func (s *snapshot) shown(boundARN, id string) string {
	if a, err := arn.Parse(boundARN); err == nil {
		if home := s.of(a.Account); home != nil && home.byID[id] != nil {
			return home.byID[id].arn(home.account.Account)
		}
	}
	return id
}

// trustText is a role's trust policy as it is shown.
func (s *snapshot) trustText(r *record) string { return renamed(r.Trust, r.Bound, s.shown) }

// renamed returns a policy with what shown returns in place of bound names.
func renamed(text string, bound map[string]string, shown func(name, id string) string) string {
	for name, id := range bound {
		if now := shown(name, id); now != name {
			text = strings.ReplaceAll(text, `"`+name+`"`, `"`+now+`"`)
		}
	}
	return text
}

// GetRole returns a role.
func (s *Service) GetRole(_ context.Context, in *iamapi.GetRoleRequest) (*iamapi.GetRoleResponse, error) {
	now := s.snap.Load()
	r := now.find(roleKind, awsapi.Val(in.RoleName))
	if r == nil {
		return nil, notFound(roleKind, awsapi.Val(in.RoleName))
	}
	return &iamapi.GetRoleResponse{Role: r.role(now, true)}, nil
}

// ListRoles lists the roles below a path.
func (s *Service) ListRoles(_ context.Context, in *iamapi.ListRolesRequest) (*iamapi.ListRolesResponse, error) {
	now := s.snap.Load()
	out := &iamapi.ListRolesResponse{Roles: []iamapi.Role{}}
	list, truncated, marker, err := page(under(now.sorted(roleKind), in.PathPrefix), recordName, in.Marker, in.MaxItems)
	for _, r := range list {
		out.Roles = append(out.Roles, *r.role(now, false))
	}
	out.IsTruncated, out.Marker = truncated, marker
	return out, err
}

// UpdateRole changes a role's description and session duration; what is absent
// stays.
func (s *Service) UpdateRole(ctx context.Context, in *iamapi.UpdateRoleRequest) (*iamapi.UpdateRoleResponse, error) {
	return &iamapi.UpdateRoleResponse{}, s.update(ctx, roleKind, in.RoleName, func(_ *snapshot, r *record) error {
		if in.Description != nil {
			r.Description = *in.Description
		}
		if in.MaxSessionDuration != nil {
			r.MaxSession = *in.MaxSessionDuration
		}
		return nil
	})
}

// UpdateRoleDescription changes a role's description.
func (s *Service) UpdateRoleDescription(ctx context.Context, in *iamapi.UpdateRoleDescriptionRequest) (*iamapi.UpdateRoleDescriptionResponse, error) {
	err := s.update(ctx, roleKind, in.RoleName, func(_ *snapshot, r *record) error {
		r.Description = awsapi.Val(in.Description)
		return nil
	})
	if err != nil {
		return nil, err
	}
	now := s.snap.Load()
	return &iamapi.UpdateRoleDescriptionResponse{Role: now.find(roleKind, awsapi.Val(in.RoleName)).role(now, true)}, nil
}

// UpdateAssumeRolePolicy replaces a role's trust policy.
func (s *Service) UpdateAssumeRolePolicy(ctx context.Context, in *iamapi.UpdateAssumeRolePolicyRequest) (*iamapi.UpdateAssumeRolePolicyOutput, error) {
	return &iamapi.UpdateAssumeRolePolicyOutput{}, s.update(ctx, roleKind, in.RoleName, func(now *snapshot, r *record) error {
		return now.setTrust(r, awsapi.Val(in.PolicyDocument))
	})
}

// DeleteRole deletes a role without policies. Its sessions end at once.
func (s *Service) DeleteRole(ctx context.Context, in *iamapi.DeleteRoleRequest) (*iamapi.DeleteRoleOutput, error) {
	var id string
	err := s.remove(ctx, roleKind, in.RoleName, func(now *snapshot, r *record) error {
		if len(now.profilesOf(r.ID)) > 0 {
			return deleteConflict("Cannot delete entity, must remove roles from instance profile first.")
		}
		id = r.ID
		return nil
	})
	if err == nil {
		s.used.Delete(id)
	}
	return &iamapi.DeleteRoleOutput{}, err
}

// ErrNoRole is returned for an ARN that names no role.
var ErrNoRole = errors.New("iam: no such role")

// role finds a role by its ARN.
func (s *snapshot) role(roleARN string) *record {
	a, err := arn.Parse(roleARN)
	if err != nil || a.Service != "iam" || a.Account != s.account.Account {
		return nil
	}
	rest, ok := strings.CutPrefix(a.Resource, "role/")
	if !ok {
		return nil
	}
	r := s.find(roleKind, rest[strings.LastIndexByte(rest, '/')+1:])
	if r == nil || r.arn(s.account.Account) != roleARN {
		return nil
	}
	return r
}
