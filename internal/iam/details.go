package iam

import (
	"context"
	"encoding/base64"
	"slices"
	"sort"
	"strings"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

// detail is one entity of the account. Pages have users first, then groups,
// roles and policies.
type detail struct {
	record *record
	policy *managed
}

// name is what pages order details by.
func (d detail) name() string {
	if d.policy != nil {
		return "4/" + d.policy.Name + " " + d.policy.arnText
	}
	switch d.record.Kind {
	case userKind:
		return "1/" + d.record.Name
	case groupKind:
		return "2/" + d.record.Name
	default:
		return "3/" + d.record.Name
	}
}

// GetAccountAuthorizationDetails returns everything that grants permissions in
// the account, in pages. Of AWS's policies it has those that are in use.
func (s *Service) GetAccountAuthorizationDetails(_ context.Context, in *iamapi.GetAccountAuthorizationDetailsRequest) (*iamapi.GetAccountAuthorizationDetailsResponse, error) {
	now := s.snap.Load()
	list, truncated, marker, err := page(now.details(in), detail.name, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &iamapi.GetAccountAuthorizationDetailsResponse{
		UserDetailList: []iamapi.UserDetail{}, GroupDetailList: []iamapi.GroupDetail{}, RoleDetailList: []iamapi.RoleDetail{},
		Policies: []iamapi.ManagedPolicyDetail{}, IsTruncated: truncated, Marker: marker,
	}
	profiles := map[string][]*record{} // by role id
	for _, p := range now.sorted(profileKind) {
		profiles[p.RoleID] = append(profiles[p.RoleID], p)
	}
	for _, d := range list {
		switch {
		case d.policy != nil:
			out.Policies = append(out.Policies, d.policy.detail(now))
		case d.record.Kind == userKind:
			out.UserDetailList = append(out.UserDetailList, d.record.userDetail(now))
		case d.record.Kind == groupKind:
			out.GroupDetailList = append(out.GroupDetailList, d.record.groupDetail(now))
		case d.record.Kind == roleKind:
			out.RoleDetailList = append(out.RoleDetailList, d.record.roleDetail(now, profiles[d.record.ID]))
		}
	}
	return out, nil
}

// details returns what the filter lets through, in the order of pages: as much
// as tells one page and whether there is another.
func (s *snapshot) details(in *iamapi.GetAccountAuthorizationDetailsRequest) []detail {
	wanted := func(t iamapi.EntityType) bool { return len(in.Filter) == 0 || slices.Contains(in.Filter, t) }
	const most = 1001
	after, _ := base64.RawURLEncoding.DecodeString(awsapi.Val(in.Marker)) // page refuses a bad one
	var out []detail
	for _, k := range []struct {
		typ  iamapi.EntityType
		kind kind
	}{{iamapi.EntityTypeUser, userKind}, {iamapi.EntityTypeGroup, groupKind}, {iamapi.EntityTypeRole, roleKind}} {
		if !wanted(k.typ) {
			continue
		}
		list := s.sorted(k.kind)
		list = list[sort.Search(len(list), func(i int) bool { return order(detail{record: list[i]}.name(), string(after)) > 0 }):]
		for _, r := range list[:min(len(list), most-len(out))] {
			out = append(out, detail{record: r})
		}
	}
	n := len(out)
	if n == most {
		return out
	}
	for _, p := range s.policies {
		if p.aws && wanted(iamapi.EntityTypeAWSManagedPolicy) && s.usage(p.arnText) != (useCount{}) || !p.aws && wanted(iamapi.EntityTypeLocalManagedPolicy) {
			out = append(out, detail{policy: p})
		}
	}
	slices.SortFunc(out[n:], func(a, b detail) int { return order(a.name(), b.name()) })
	return out
}

func (r *record) inlineDetails() []iamapi.PolicyDetail {
	out := []iamapi.PolicyDetail{}
	for _, p := range r.Inline {
		out = append(out, iamapi.PolicyDetail{PolicyName: new(p.Name), PolicyDocument: encoded(p.Document)})
	}
	slices.SortFunc(out, func(a, b iamapi.PolicyDetail) int { return strings.Compare(*a.PolicyName, *b.PolicyName) })
	return out
}

func (r *record) attachedDetails(s *snapshot) []iamapi.AttachedPolicy {
	out := []iamapi.AttachedPolicy{}
	for _, a := range r.Attached {
		if p := s.policies[a]; p != nil {
			out = append(out, iamapi.AttachedPolicy{PolicyArn: new(a), PolicyName: new(p.Name)})
		}
	}
	return out
}

func (r *record) userDetail(s *snapshot) iamapi.UserDetail {
	u := r.user(s.account.Account, true)
	out := iamapi.UserDetail{
		Arn: u.Arn, CreateDate: u.CreateDate, Path: u.Path, UserId: u.UserId, UserName: u.UserName, Tags: u.Tags, PermissionsBoundary: u.PermissionsBoundary,
		UserPolicyList: r.inlineDetails(), AttachedManagedPolicies: r.attachedDetails(s), GroupList: []string{},
	}
	for _, id := range r.Groups {
		if g := s.byID[id]; g != nil {
			out.GroupList = append(out.GroupList, g.Name)
		}
	}
	slices.Sort(out.GroupList)
	return out
}

func (r *record) groupDetail(s *snapshot) iamapi.GroupDetail {
	g := r.group(s.account.Account)
	return iamapi.GroupDetail{
		Arn: g.Arn, CreateDate: g.CreateDate, GroupId: g.GroupId, GroupName: g.GroupName, Path: g.Path,
		GroupPolicyList: r.inlineDetails(), AttachedManagedPolicies: r.attachedDetails(s),
	}
}

func (r *record) roleDetail(s *snapshot, profiles []*record) iamapi.RoleDetail {
	w := r.role(s, true)
	out := iamapi.RoleDetail{
		Arn: w.Arn, CreateDate: w.CreateDate, Path: w.Path, RoleId: w.RoleId, RoleName: w.RoleName, Tags: w.Tags,
		AssumeRolePolicyDocument: w.AssumeRolePolicyDocument, PermissionsBoundary: w.PermissionsBoundary, RoleLastUsed: w.RoleLastUsed,
		RolePolicyList: r.inlineDetails(), AttachedManagedPolicies: r.attachedDetails(s), InstanceProfileList: []iamapi.InstanceProfile{},
	}
	for _, p := range profiles {
		out.InstanceProfileList = append(out.InstanceProfileList, *p.profile(s, false))
	}
	return out
}

func (p *managed) detail(s *snapshot) iamapi.ManagedPolicyDetail {
	w := p.wire(s, true)
	out := iamapi.ManagedPolicyDetail{
		Arn: w.Arn, AttachmentCount: w.AttachmentCount, CreateDate: w.CreateDate, DefaultVersionId: w.DefaultVersionId, Description: w.Description,
		IsAttachable: w.IsAttachable, Path: w.Path, PermissionsBoundaryUsageCount: w.PermissionsBoundaryUsageCount,
		PolicyId: w.PolicyId, PolicyName: w.PolicyName, UpdateDate: w.UpdateDate,
	}
	for i := len(p.Versions) - 1; i >= 0; i-- { // the newest first
		out.PolicyVersionList = append(out.PolicyVersionList, *p.wireVersion(&p.Versions[i], true))
	}
	return out
}
