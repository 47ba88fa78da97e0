package policy

import "strings"

// Layer is the type of policy that decided.
type Layer uint8

// The layers, in the order in which they are asked.
const (
	NoLayer Layer = iota
	ServiceControlLayer
	ResourceControlLayer
	ResourceLayer
	TrustLayer
	IdentityLayer
	BoundaryLayer
	SessionLayer
	RootLayer // the root user needs no policy in its own account
)

var layerNames = [...]string{
	NoLayer:              "policy",
	ServiceControlLayer:  "service control policy",
	ResourceControlLayer: "resource control policy",
	ResourceLayer:        "resource-based policy",
	TrustLayer:           "role trust policy",
	IdentityLayer:        "identity-based policy",
	BoundaryLayer:        "permissions boundary",
	SessionLayer:         "session policy",
	RootLayer:            "root user",
}

// String returns AWS's name of the type of policy.
func (l Layer) String() string { return layerNames[l] }

// Request is a question: may this principal perform this action on this
// resource?
type Request struct {
	Principal Principal
	Action    string // service:Operation; case does not matter
	Resource  string // an ARN, or * for actions without a resource
	// Owner is the account that the resource belongs to; empty: the
	// principal's own.
	Owner   string
	Context Context // nil: no condition key has a value
	Grants  *Grants // nil: nothing attached
	// ResourcePolicy is the policy attached to the resource; nil: none.
	ResourcePolicy *Attached
	// Trust says that ResourcePolicy is a role's trust policy, which must
	// allow the request whatever the identity policies say.
	Trust bool
	// ResourceControl are the organisation's policies on resources; each must
	// allow. Nil: none.
	ResourceControl []Attached
	// Trace asks for Decision.Matched.
	Trace bool
}

// Match is a statement that applied to a request.
type Match struct {
	Layer     Layer
	Policy    Attached
	Statement *Statement
}

// Decision is the answer, with the statement that it rests on.
type Decision struct {
	Allowed bool
	// Layer is the type of policy that decided: the one that allows, that
	// denies, or in which an Allow is missing.
	Layer Layer
	// Policy and Statement are those that decided; Statement is nil when a
	// missing Allow did.
	Policy    Attached
	Statement *Statement
	// CrossAccount says that principal and resource belong to different
	// accounts.
	CrossAccount bool
	Principal    string // the name of who asked
	Action       string
	Resource     string
	// Matched are all statements that applied, in the order of evaluation,
	// when the request asked for a trace.
	Matched []Match
}

// Explicit reports whether a Deny statement decided.
func (d *Decision) Explicit() bool { return !d.Allowed && d.Statement != nil }

// evaluation is one run of Decide.
type evaluation struct {
	*Request
	action  string // lower case
	matched []Match
}

// finding is what the policies of one layer say.
type finding struct {
	denied, allowed *Statement
	policy          Attached // of denied, else of allowed
	close           closeness
}

// noGrants stands for a principal with nothing attached.
var noGrants Grants

// Decide evaluates r as AWS documents it: an explicit deny anywhere refuses;
// organisation policies, boundary and session policies only limit; within an
// account an identity policy or a resource policy grants; across accounts
// both must.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func Decide(r *Request) Decision {
	e := evaluation{Request: r, action: strings.ToLower(r.Action)}
	d := e.decide()
	d.Principal, d.Action, d.Resource, d.Matched = r.Principal.name(), r.Action, r.Resource, e.matched
	return d
}

func (p *Principal) name() string {
	switch {
	case p.ARN != "":
		return p.ARN
	case p.Service != "":
		return p.Service
	case p.Federated != "":
		return p.Federated
	}
	return "anonymous"
}

func (e *evaluation) decide() Decision {
	g := e.Grants
	if g == nil {
		g = &noGrants
	}
	account := e.Principal.Account
	hasIdentity := e.Principal.ARN != ""
	cross := e.Owner != "" && hasIdentity && account != "" && e.Owner != account
	answer := func(allowed bool, l Layer, f finding) Decision {
		d := Decision{Allowed: allowed, Layer: l, CrossAccount: cross, Policy: f.policy, Statement: f.allowed}
		if f.denied != nil {
			d.Statement = f.denied
		}
		return d
	}
	resourceLayer := ResourceLayer
	if e.Trust {
		resourceLayer = TrustLayer
	}

	// Every layer is asked first for a Deny.
	for _, level := range g.ServiceControl {
		if f := e.ask(ServiceControlLayer, level); f.denied != nil {
			return answer(false, ServiceControlLayer, f)
		}
	}
	if f := e.ask(ResourceControlLayer, e.ResourceControl); f.denied != nil {
		return answer(false, ResourceControlLayer, f)
	}
	var resource finding
	if e.ResourcePolicy != nil {
		if resource = e.askOne(resourceLayer, e.ResourcePolicy, finding{}); resource.denied != nil {
			return answer(false, resourceLayer, resource)
		}
	}
	identity := e.ask(IdentityLayer, g.Identity)
	if identity.denied != nil {
		return answer(false, IdentityLayer, identity)
	}
	var boundary finding
	if g.Boundary != nil {
		if boundary = e.askOne(BoundaryLayer, g.Boundary, finding{}); boundary.denied != nil {
			return answer(false, BoundaryLayer, boundary)
		}
	}
	session := e.ask(SessionLayer, g.Session)
	if session.denied != nil {
		return answer(false, SessionLayer, session)
	}

	// Then the organisation must allow.
	for _, level := range g.ServiceControl {
		if f := e.ask(ServiceControlLayer, level); f.allowed == nil {
			return answer(false, ServiceControlLayer, finding{})
		}
	}
	for i := range e.ResourceControl {
		if f := e.askOne(ResourceControlLayer, &e.ResourceControl[i], finding{}); f.allowed == nil {
			return answer(false, ResourceControlLayer, finding{})
		}
	}

	// Services, anonymous callers and callers known to an identity provider
	// have nothing but the resource's policy.
	if !hasIdentity {
		return answer(resource.allowed != nil, resourceLayer, resource)
	}
	if e.Trust && resource.allowed == nil {
		if cross && !e.Principal.Root() && identity.allowed == nil {
			return answer(false, IdentityLayer, identity)
		}
		return answer(false, TrustLayer, finding{})
	}
	if !cross && resource.close == directly {
		return answer(true, resourceLayer, resource)
	}

	granted, grantedBy := identity, IdentityLayer
	switch {
	case e.Principal.Root():
		granted, grantedBy = finding{}, RootLayer
	case !cross && resource.close == byRole:
		granted, grantedBy = resource, resourceLayer
	case identity.allowed == nil:
		return answer(false, IdentityLayer, finding{})
	}
	if g.Boundary != nil && boundary.allowed == nil {
		return answer(false, BoundaryLayer, finding{})
	}
	if len(g.Session) > 0 && session.allowed == nil {
		return answer(false, SessionLayer, finding{})
	}
	if cross && resource.allowed == nil {
		return answer(false, resourceLayer, finding{})
	}
	return answer(true, grantedBy, granted)
}

// ask unites the policies of one layer.
func (e *evaluation) ask(l Layer, list []Attached) finding {
	var f finding
	for i := range list {
		if f = e.askOne(l, &list[i], f); f.denied != nil {
			return f
		}
	}
	return f
}

// askOne adds to f what one policy says. It returns at the first Deny, unless
// a trace wants every statement.
func (e *evaluation) askOne(l Layer, a *Attached, f finding) finding {
	if a.Document == nil {
		return f
	}
	for _, s := range a.Document.Statements {
		if s.Effect == Allow && f.allowed != nil && f.close == directly && !e.Trace {
			continue // nothing closer can be found
		}
		c := e.applies(s, l)
		if c == unnamed {
			continue
		}
		if e.Trace {
			e.record(Match{Layer: l, Policy: *a, Statement: s})
		}
		switch {
		case s.Effect == Deny && f.denied == nil:
			f.denied, f.policy = s, *a
			if !e.Trace {
				return f
			}
		case s.Effect == Allow && c > f.close:
			f.allowed, f.close = s, c
			if f.denied == nil {
				f.policy = *a
			}
		}
	}
	return f
}

// record keeps each statement once: organisation policies are asked twice.
func (e *evaluation) record(m Match) {
	for i := range e.matched {
		if e.matched[i].Statement == m.Statement {
			return
		}
	}
	e.matched = append(e.matched, m)
}

// applies reports whether, and how closely, the statement is about the
// request.
func (e *evaluation) applies(s *Statement, l Layer) closeness {
	c := directly
	if l == ResourceLayer || l == TrustLayer {
		if c = e.names(s); c == unnamed {
			return unnamed
		}
	} else if s.hasPrincipal && l != ResourceControlLayer {
		return unnamed
	}
	if !e.matchesAction(s) || !e.matchesResource(s) {
		return unnamed
	}
	for i := range s.conditions {
		if k := &s.conditions[i]; !k.holds(e.Context) || s.Effect == Allow && k.negate && unresolved(k.texts, e.Context) {
			return unnamed
		}
	}
	return c
}

func (e *evaluation) names(s *Statement) closeness {
	if !s.hasPrincipal {
		return unnamed
	}
	if !s.notPrincipal {
		return s.principals.match(&e.Principal)
	}
	// A Deny with NotPrincipal always hits a caller that has a boundary.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
	bounded := s.Effect == Deny && e.Grants != nil && e.Grants.Boundary != nil
	if bounded || !s.principals.excludes(&e.Principal, s.Effect) {
		return directly
	}
	return unnamed
}

func (e *evaluation) matchesAction(s *Statement) bool {
	for i := range s.actions {
		if s.actions[i].match(e.action, nil) {
			return !s.notAction
		}
	}
	return s.notAction
}

func (e *evaluation) matchesResource(s *Statement) bool {
	if s.anyResource {
		return true
	}
	for i := range s.resources {
		if g := &s.resources[i]; g.matchesAll() || g.match(e.Resource, e.Context) {
			return !s.notResource
		}
	}
	// Fail safe: what a variable without a value excludes is not granted.
	return s.notResource && !(s.Effect == Allow && unresolved(s.resources, e.Context))
}
