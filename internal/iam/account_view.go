package iam

import (
	"context"
	"fmt"
	"strings"

	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// GrantsOf returns the principal that an ARN names and what is attached to it:
// a user, a role (as one of its sessions without session policy has it), a
// session of a role, a federated user without session policy, or root. The
// error is ErrUnknownPrincipal for anything else.
func (s *Service) GrantsOf(_ context.Context, principalARN string) (awsapi.Principal, policy.Grants, error) {
	unknown := fmt.Errorf("%w: %s", ErrUnknownPrincipal, principalARN)
	now := s.snap.Load()
	a, err := arn.Parse(principalARN)
	if err != nil || a.Account != now.account.Account {
		return awsapi.Principal{}, policy.Grants{}, unknown
	}
	what, rest, _ := strings.Cut(a.Resource, "/")
	var r *record
	p := awsapi.Principal{ARN: principalARN, Account: a.Account}
	switch a.Service + ":" + what {
	case "iam:root":
		return now.principal(nil, ""), policy.Grants{}, nil
	case "iam:user":
		if r = now.find(userKind, rest[strings.LastIndexByte(rest, '/')+1:]); r != nil {
			p = now.principal(r, "")
		}
	case "iam:role":
		if r = now.role(principalARN); r != nil {
			name := "davy"
			p.ARN, p.UserID = sessionARN(a.Account, r.Name, name), r.ID+":"+name
		}
	case "sts:assumed-role":
		role, name, _ := strings.Cut(rest, "/")
		if r = now.find(roleKind, role); r != nil && name != "" {
			p.UserID = r.ID + ":" + name
		}
	}
	if r == nil || strings.HasPrefix(principalARN, "arn:aws:iam:") && r.arn(a.Account) != principalARN {
		return awsapi.Principal{}, policy.Grants{}, unknown
	}
	g, err := now.grantsOf(r)
	if err != nil {
		return awsapi.Principal{}, policy.Grants{}, err
	}
	return p, *g, nil
}

func sessionARN(account, role, name string) string {
	return arn.New("sts", "", account, "assumed-role/"+role+"/"+name).String()
}

// Resource returns the account and tags of what an IAM ARN names, and, of a
// role, its compiled trust policy. What does not exist has none of them.
func (s *Service) Resource(_ context.Context, resourceARN string) (doc *policy.Document, owner string, tags map[string]string, err error) {
	now := s.snap.Load()
	a, err := arn.Parse(resourceARN)
	if err != nil || a.Service != "iam" || a.Account != now.account.Account {
		return nil, "", nil, nil
	}
	what, rest, _ := strings.Cut(a.Resource, "/")
	name := rest[strings.LastIndexByte(rest, '/')+1:]
	switch k := kind(what); k {
	case roleKind:
		if r := now.role(resourceARN); r != nil {
			return r.trust, a.Account, r.tagMap(), nil
		}
	case userKind, profileKind:
		if r := now.find(k, name); r != nil && r.arn(a.Account) == resourceARN {
			return nil, a.Account, r.tagMap(), nil
		}
	case providerKind:
		if r := now.find(k, rest); r != nil {
			return nil, a.Account, r.tagMap(), nil
		}
	case "policy":
		if p := now.policies[resourceARN]; p != nil {
			return nil, a.Account, (&record{Tags: p.Tags}).tagMap(), nil
		}
	}
	return nil, "", nil, nil
}

// BindPrincipals returns the ids of the users and roles that a resource
// policy names, by their ARNs, as AWS keeps them: who gets the same name later
// is not meant. A principal of an account that is here must exist.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func (a *Accounts) BindPrincipals(document string) (map[string]string, error) {
	return a.first.snap.Load().bindAll(document)
}

// Bind returns the id of the user or role that an ARN names now; empty for
// other principals and for accounts that are not here. ok is false when it
// should exist and does not.
func (a *Accounts) Bind(principalARN string) (id string, ok bool) {
	return a.first.snap.Load().bind(principalARN)
}

// Shown returns the ARN that the user or role with an id has now, or the id
// when it is gone.
func (a *Accounts) Shown(id string) string {
	for _, s := range a.all() {
		now := s.snap.Load()
		if r := now.byID[id]; r != nil {
			return r.arn(now.account.Account)
		}
	}
	return id
}

// BoundText is a resource policy as it is shown: a principal that bound
// names has the name that it has now, or its id if it is gone.
func (a *Accounts) BoundText(document string, bound map[string]string) string {
	now := a.first.snap.Load()
	return renamed(document, bound, now.shown)
}
