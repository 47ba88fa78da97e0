package iam

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

// ListPoliciesGrantingServiceAccess lists, for each service, the policies of a
// user, group or role that allow any of its actions, whatever else denies
// them.
func (s *Service) ListPoliciesGrantingServiceAccess(_ context.Context, in *iamapi.ListPoliciesGrantingServiceAccessRequest) (*iamapi.ListPoliciesGrantingServiceAccessResponse, error) {
	now := s.snap.Load()
	r, err := now.entity(awsapi.Val(in.Arn))
	if err != nil {
		return nil, err
	}
	list, err := now.sourcesOf(r)
	if err != nil {
		return nil, err
	}
	names, truncated, marker, err := page(slices.Compact(slices.Sorted(slices.Values(in.ServiceNamespaces))), itself, in.Marker, nil)
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListPoliciesGrantingServiceAccessResponse{IsTruncated: truncated, Marker: marker, PoliciesGrantingServiceAccess: []iamapi.ListPoliciesGrantingServiceAccessEntry{}}
	for _, name := range names {
		entry := iamapi.ListPoliciesGrantingServiceAccessEntry{ServiceNamespace: &name, Policies: []iamapi.PolicyGrantingServiceAccess{}}
		for i := range list {
			grants, err := grantsService(list[i].text, name)
			if err != nil {
				return nil, err
			}
			if grants {
				entry.Policies = append(entry.Policies, list[i].granting())
			}
		}
		out.PoliciesGrantingServiceAccess = append(out.PoliciesGrantingServiceAccess, entry)
	}
	return out, nil
}

func (s *source) granting() iamapi.PolicyGrantingServiceAccess {
	if !s.inline() {
		return iamapi.PolicyGrantingServiceAccess{PolicyName: new(s.Name), PolicyType: new(iamapi.PolicyTypeManaged), PolicyArn: new(s.ARN)}
	}
	return iamapi.PolicyGrantingServiceAccess{
		PolicyName: new(s.Name), PolicyType: new(iamapi.PolicyTypeInline),
		EntityName: new(s.owner.Name), EntityType: new(iamapi.PolicyOwnerEntityType(strings.ToUpper(string(s.owner.Kind)))),
	}
}

// texts is a JSON string or a list of them.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *texts) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*l = make(texts, 1)
		return json.Unmarshal(b, &(*l)[0])
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// grantsService reports whether a valid policy allows any action of a service.
func grantsService(text, service string) (bool, error) {
	type statement struct {
		Effect    string
		Action    texts
		NotAction texts
	}
	var top struct{ Statement json.RawMessage }
	if err := json.Unmarshal([]byte(text), &top); err != nil {
		return false, fmt.Errorf("read policy: %w", err)
	}
	var list []statement
	if len(top.Statement) > 0 && top.Statement[0] == '{' {
		list = make([]statement, 1)
		if err := json.Unmarshal(top.Statement, &list[0]); err != nil {
			return false, fmt.Errorf("read policy: %w", err)
		}
	} else if err := json.Unmarshal(top.Statement, &list); err != nil {
		return false, fmt.Errorf("read policy: %w", err)
	}
	return slices.ContainsFunc(list, func(st statement) bool {
		if st.Effect != "Allow" {
			return false
		}
		if st.NotAction != nil { // all but some: of a service it leaves something unless it names all of it
			return !slices.ContainsFunc(st.NotAction, func(a string) bool { return a == "*" || strings.EqualFold(a, service+":*") })
		}
		return slices.ContainsFunc(st.Action, func(a string) bool {
			vendor, _, _ := strings.Cut(a, ":")
			return vendor == "*" || strings.EqualFold(vendor, service)
		})
	}), nil
}
