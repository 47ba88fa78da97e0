package iam

import (
	"slices"
	"strings"

	"davy/api/iamapi"
	"davy/internal/arn"
	"davy/internal/policy"
)

// simulation is a question to the evaluator, put together from a request. It
// is asked for each action and each resource.
type simulation struct {
	account   string // of the caller
	principal policy.Principal
	tags      map[string]string // of the principal

	identity, boundary []source
	control            [][]source // of the organisation, by level
	resource           *source    // the resource's policy
	owner              string     // account of resources that do not name theirs

	actions, resources []string
	context            policy.Values

	sources  map[*policy.Document]*sourceIndex // all of the above
	spelling map[string]string                 // condition keys as the policies write them
}

// as lets a user or role ask. A group asks as nobody in particular.
func (q *simulation) as(r *record, account string) {
	switch r.Kind {
	case userKind:
		q.principal = policy.Principal{ARN: r.arn(account), Account: account, UserID: r.ID}
	case roleKind:
		q.principal = policy.Principal{ARN: r.arn(account), Account: account, UserID: r.ID, RoleARN: r.arn(account)}
	}
	q.tags = r.tagMap()
}

// asked notes which keys an evaluation asked for in vain.
type asked struct {
	values  policy.Values
	missing []string
}

// Lookup implements policy.Context.
func (a *asked) Lookup(key string) ([]string, bool) {
	v, ok := a.values[key]
	if !ok && !slices.Contains(a.missing, key) {
		a.missing = append(a.missing, key)
	}
	return v, ok
}

// What AWS calls the types of policy in results.
const (
	iamPolicyType      = "IAM Policy"
	resourcePolicyType = "Resource Policy"
	boundaryPolicyType = "Permissions Boundary Policy"
)

// ask evaluates one action on one resource.
func (q *simulation) ask(action, resource string) iamapi.EvaluationResult {
	keys := &asked{values: q.context}
	r := q.request(action, resource, keys)
	r.Trace = true
	d := policy.Decide(r)
	verdict := decisionType(&d)
	out := iamapi.EvaluationResult{
		EvalActionName: &action, EvalResourceName: &resource, EvalDecision: &verdict,
		MatchedStatements: q.matched(&d), MissingContextValues: q.spelt(keys.missing),
	}
	if q.control != nil {
		out.OrganizationsDecisionDetail = &iamapi.OrganizationsDecisionDetail{AllowedByOrganizations: new(d.Layer != policy.ServiceControlLayer || d.Allowed)}
	}
	if len(q.boundary) > 0 {
		out.PermissionsBoundaryDecisionDetail = &iamapi.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: new(q.layer(action, resource, q.boundary) == iamapi.PolicyEvaluationDecisionTypeAllowed)}
	}
	if resource == "*" {
		return out
	}
	out.EvalDecisionDetails = map[string]iamapi.PolicyEvaluationDecisionType{}
	if d.CrossAccount && d.Layer != policy.ServiceControlLayer {
		out.EvalDecisionDetails[iamPolicyType] = q.layer(action, resource, q.identity)
		out.EvalDecisionDetails[resourcePolicyType] = q.resourceLayer(action, resource)
		if len(q.boundary) > 0 {
			out.EvalDecisionDetails[boundaryPolicyType] = q.layer(action, resource, q.boundary)
		}
	}
	out.ResourceSpecificResults = []iamapi.ResourceSpecificResult{{
		EvalResourceName: out.EvalResourceName, EvalResourceDecision: out.EvalDecision, EvalDecisionDetails: out.EvalDecisionDetails,
		MatchedStatements: out.MatchedStatements, MissingContextValues: out.MissingContextValues,
		PermissionsBoundaryDecisionDetail: out.PermissionsBoundaryDecisionDetail,
	}}
	return out
}

func (q *simulation) request(action, resource string, keys policy.Context) *policy.Request {
	g := &policy.Grants{Identity: attachedOf(q.identity), RoleARN: q.principal.RoleARN}
	if len(q.boundary) > 0 {
		g.Boundary = &q.boundary[0].Attached
	}
	for _, level := range q.control {
		g.ServiceControl = append(g.ServiceControl, attachedOf(level))
	}
	r := &policy.Request{Principal: q.principal, Action: action, Resource: resource, Owner: q.owner, Context: keys, Grants: g}
	if a, err := arn.Parse(resource); err == nil && isAccountID(a.Account) {
		r.Owner = a.Account
	}
	if q.resource != nil {
		r.ResourcePolicy = &q.resource.Attached
	}
	return r
}

func decisionType(d *policy.Decision) iamapi.PolicyEvaluationDecisionType {
	switch {
	case d.Allowed:
		return iamapi.PolicyEvaluationDecisionTypeAllowed
	case d.Explicit():
		return iamapi.PolicyEvaluationDecisionTypeExplicitDeny
	}
	return iamapi.PolicyEvaluationDecisionTypeImplicitDeny
}

// layer decides by one kind of policy alone, as if it were the principal's.
func (q *simulation) layer(action, resource string, list []source) iamapi.PolicyEvaluationDecisionType {
	d := policy.Decide(&policy.Request{
		Principal: q.principal, Action: action, Resource: resource, Context: q.context, Grants: &policy.Grants{Identity: attachedOf(list)},
	})
	return decisionType(&d)
}

// resourceLayer decides by the resource's policy alone: the caller's allow
// everything.
func (q *simulation) resourceLayer(action, resource string) iamapi.PolicyEvaluationDecisionType {
	if q.resource == nil {
		return iamapi.PolicyEvaluationDecisionTypeImplicitDeny
	}
	r := q.request(action, resource, q.context)
	r.Grants = &policy.Grants{Identity: []policy.Attached{everything}}
	d := policy.Decide(r)
	return decisionType(&d)
}

// matched returns the statements that a decision rests on: those that deny, or
// else those of identity and resource policies that allow.
func (q *simulation) matched(d *policy.Decision) []iamapi.Statement {
	out := []iamapi.Statement{}
	for _, m := range d.Matched {
		if d.Explicit() && m.Statement.Effect != policy.Deny {
			continue
		}
		if !d.Explicit() && m.Layer != policy.IdentityLayer && m.Layer != policy.ResourceLayer {
			continue
		}
		src := q.sources[m.Policy.Document]
		typ := iamapi.PolicySourceType(iamPolicyType)
		if m.Layer == policy.ResourceLayer {
			typ = resourcePolicyType
		}
		st := iamapi.Statement{SourcePolicyId: new(src.Name), SourcePolicyType: &typ}
		if src.places == nil {
			src.find()
		}
		if m.Statement.Index < len(src.places) {
			at := src.places[m.Statement.Index]
			st.StartPosition, st.EndPosition = at[0], at[1]
		}
		out = append(out, st)
	}
	return out
}

// sourceIndex is a source with the places of its statements, once one of them
// has matched.
type sourceIndex struct {
	source
	places [][2]*iamapi.Position
}

func (s *sourceIndex) find() {
	s.places = [][2]*iamapi.Position{}
	for _, at := range spans(s.text) {
		s.places = append(s.places, [2]*iamapi.Position{position(s.text, at.start), position(s.text, at.end)})
	}
}

// index prepares what tells results where they come from.
func (q *simulation) index() {
	all := slices.Concat(q.identity, q.boundary)
	for _, level := range q.control {
		all = append(all, level...)
	}
	if q.resource != nil {
		all = append(all, *q.resource)
	}
	q.sources, q.spelling = map[*policy.Document]*sourceIndex{}, map[string]string{}
	for _, src := range all {
		if q.sources[src.Document] != nil {
			continue // attached to the user and to its group
		}
		q.sources[src.Document] = &sourceIndex{source: src}
		for _, k := range contextKeys(src.Document, src.text) {
			q.spelling[strings.ToLower(k)] = k
		}
	}
}

// spelt returns condition keys as the policies write them.
func (q *simulation) spelt(keys []string) []string {
	out := []string{}
	for _, k := range keys {
		if as := q.spelling[k]; as != "" {
			k = as
		}
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
