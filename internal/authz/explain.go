package authz

import (
	"context"
	"fmt"
	"strings"

	"davy/internal/awsapi"
	"davy/internal/policy"
)

// Question is one that an operator asks: might this principal do this?
type Question struct {
	// Principal is the ARN of a user, role, session or root user, or the name
	// of a service, such as s3.amazonaws.com; empty: anonymous.
	Principal string
	Action    string
	Resource  string // an ARN, or *
	// Context gives condition keys their values. What follows from the
	// principal and the resource, tags say, is known without.
	Context map[string][]string
}

// Explain decides a question by the policies as they are: the principal's, the
// resource's, the boundary. The decision names all statements that applied.
// Nothing is logged, for nothing happened.
func (a *Authorizer) Explain(ctx context.Context, ask Question) (policy.Decision, error) {
	q := &request{ctx: ctx, a: a, call: &awsapi.Call{Time: a.cfg.Clock()}}
	values := policy.Values{}
	switch {
	case strings.HasPrefix(ask.Principal, "arn:"):
		p, grants, err := a.cfg.Identities.GrantsOf(ctx, ask.Principal)
		if err != nil {
			return policy.Decision{}, fmt.Errorf("grants of %s: %w", ask.Principal, err)
		}
		q.call.Principal, q.call.Account, q.grants = p, p.Account, grants
		q.principal = principalOf(p, &q.grants)
	case ask.Principal != "":
		q.principal = policy.Principal{Service: ask.Principal}
		values["aws:principalservicename"] = []string{ask.Principal}
	}
	for k, v := range ask.Context {
		values[strings.ToLower(k)] = v
	}
	n := need{action: ask.Action, resource: ask.Resource, values: values}
	r := policy.Request{Principal: q.principal, Action: n.action, Resource: n.resource, Grants: &q.grants, Trace: true}
	f, err := q.facts(&n, &r)
	if err != nil {
		return policy.Decision{}, err
	}
	r.Context = f
	d := policy.Decide(&r)
	return d, q.failed
}
