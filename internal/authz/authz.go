// Package authz turns a decoded request into a decision: who asks, for which
// actions, on which resources, under which condition keys. The gateway asks it
// before every operation; server joins it to the services that hold
// identities and resource policies.
//
// The invariant: an operation that the tables here do not know is refused, and
// so is whatever no policy allows.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// Identities knows what is attached to principals. Package iam implements it
// without importing this one. The grants are compiled and shared: they are
// read only.
type Identities interface {
	// Grants returns what is attached to the caller: of a session also its
	// role, session policies and tags. It is not called for anonymous callers.
	Grants(ctx context.Context, p awsapi.Principal) (policy.Grants, error)
	// RoleGrants returns what is attached to a role, as one of its sessions
	// without session policy would have it.
	RoleGrants(ctx context.Context, roleARN string) (policy.Grants, error)
	// GrantsOf returns the principal of an ARN, and what is attached to it.
	GrantsOf(ctx context.Context, principalARN string) (awsapi.Principal, policy.Grants, error)
}

// Entities resolves IAM names to what their ARNs and condition keys need.
type Entities interface {
	// Entity returns the ARN, path included, and the ARN of the permissions
	// boundary of a user, role, group or instance-profile. An entity that does
	// not exist has an empty ARN and no error.
	Entity(ctx context.Context, account, kind, name string) (arn, boundary string, err error)
}

// Resources knows the policies of buckets, functions, layers and roles.
type Resources interface {
	// ResourcePolicy returns the policy, owner and tags of the resource that
	// resourceARN lies in: of the bucket for an object, of the function with
	// its qualifier, of the role (its trust policy). A nil document means no
	// policy; an empty owner means that the resource does not exist or belongs
	// to the account in its ARN.
	ResourcePolicy(ctx context.Context, resourceARN string) (doc *policy.Document, owner string, tags map[string]string, err error)
}

// Objects knows the tags of objects.
type Objects interface {
	// ObjectTags returns those of a version, the latest when versionID is
	// empty; none of an object that does not exist.
	ObjectTags(ctx context.Context, bucket, key, versionID string) (map[string]string, error)
}

// Config of an Authorizer.
type Config struct {
	Identities Identities       // required
	Resources  Resources        // required
	Objects    Objects          // nil: no object has tags
	Entities   Entities         // nil: IAM entities are taken to have the path /
	Log        *slog.Logger     // nil means discard
	Clock      func() time.Time // nil means the wall clock; for calls without a time
	// PerKeyDelete says that the S3 service asks MayDelete for each key of
	// DeleteObjects, as AWS does, and answers per key. Otherwise one refused
	// key refuses the request.
	PerKeyDelete bool
}

// Authorizer decides requests. It is safe for concurrent use.
type Authorizer struct {
	cfg Config
}

// New returns an Authorizer.
func New(cfg Config) (*Authorizer, error) {
	if cfg.Identities == nil || cfg.Resources == nil {
		return nil, errors.New("authz: Identities and Resources are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Authorizer{cfg: cfg}, nil
}

// request is one call being authorised.
type request struct {
	ctx       context.Context // of the call: facts are looked up while a policy is evaluated
	a         *Authorizer
	call      *awsapi.Call
	service   string
	operation string
	in        input
	grants    policy.Grants
	principal policy.Principal
	failed    error // a look-up that the decision depends on went wrong
}

// need is one permission that an operation asks for.
type need struct {
	action   string
	resource string        // an ARN, or *
	shown    string        // how a message names the resource; empty: resource
	values   policy.Values // keys that belong to this need only
	refuse   func(*policy.Decision) error
}

// Authorize decides whether the caller may perform an operation of a service,
// named as in its credential scope, with the decoded input in, a pointer to
// the operation's input structure. The error is a modelled one in the words of
// the service, or an internal one when a policy could not be read.
func (a *Authorizer) Authorize(ctx context.Context, call *awsapi.Call, service, operation string, in any) error {
	if signature, ok := noPermission[service+":"+operation]; ok {
		if signature && call.Principal.ARN == "" {
			return awsapi.Errorf(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
		}
		return nil
	}
	q, err := a.request(ctx, call, service, operation, in)
	if err != nil {
		return err
	}
	needs, ok := q.needs()
	if !ok {
		a.cfg.Log.InfoContext(ctx, "operation has no authorisation entry", "service", service, "operation", operation)
		return denial(service, "User: "+callerName(call.Principal)+" is not authorized to perform: "+service+":"+operation)
	}
	if q.failed != nil {
		return q.failed
	}
	for i := range needs {
		if err := q.check(&needs[i]); err != nil {
			return err
		}
	}
	return nil
}

// noPermission are operations that need no permission, and whether they need a
// signature. Those without carry a token that STS itself checks.
var noPermission = map[string]bool{
	"sts:GetCallerIdentity":         true, // https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
	"sts:GetSessionToken":           true, // https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
	"sts:AssumeRoleWithSAML":        false,
	"sts:AssumeRoleWithWebIdentity": false,
}

// Check decides one further permission of the request that ctx carries, for a
// service that authorises what only it knows.
func (a *Authorizer) Check(ctx context.Context, action, resource string) error {
	return a.checkMore(ctx, need{action: action, resource: resource})
}

// MayDelete decides one key of a DeleteObjects. versionID may be empty.
func (a *Authorizer) MayDelete(ctx context.Context, bucket, key, versionID string) error {
	n := need{action: "s3:DeleteObject", resource: s3ARN + bucket + "/" + key}
	if versionID != "" {
		n.action, n.values = "s3:DeleteObjectVersion", policy.Values{"s3:versionid": {versionID}}
	}
	return a.checkMore(ctx, n)
}

// MayList decides whether the caller of an operation on an object may learn that
// the object does not exist.
func (a *Authorizer) MayList(ctx context.Context, bucket string) error {
	return a.checkMore(ctx, need{action: "s3:ListBucket", resource: s3ARN + bucket})
}

func (a *Authorizer) checkMore(ctx context.Context, n need) error {
	call := awsapi.CallFrom(ctx)
	q, err := a.request(ctx, call, call.Service, call.Operation, nil)
	if err != nil {
		return err
	}
	return q.check(&n)
}

func (a *Authorizer) request(ctx context.Context, call *awsapi.Call, service, operation string, in any) (*request, error) {
	q := &request{ctx: ctx, a: a, call: call, service: service, operation: operation, in: inputOf(in)}
	if call.Principal.ARN != "" {
		g, err := a.cfg.Identities.Grants(ctx, call.Principal)
		if err != nil {
			return nil, fmt.Errorf("grants of %s: %w", call.Principal.ARN, err)
		}
		q.grants = g
	}
	q.principal = principalOf(call.Principal, &q.grants)
	return q, nil
}

func principalOf(p awsapi.Principal, g *policy.Grants) policy.Principal {
	out := policy.Principal{ARN: p.ARN, Account: p.Account, UserID: p.UserID, RoleARN: g.RoleARN}
	if out.RoleARN == "" {
		if rest, ok := strings.CutPrefix(p.ARN, "arn:aws:sts::"+p.Account+":assumed-role/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			out.RoleARN = "arn:aws:iam::" + p.Account + ":role/" + name
		}
	}
	return out
}

// check evaluates one need, logs a refusal and words it.
func (q *request) check(n *need) error {
	d, err := q.decide(n)
	if err != nil || d.Allowed {
		return err
	}
	q.logRefusal(&d)
	if n.refuse != nil {
		return n.refuse(&d)
	}
	return refusal(q.service, &d, n.shown)
}

func (q *request) decide(n *need) (policy.Decision, error) {
	r := policy.Request{
		Principal: q.principal,
		Action:    n.action,
		Resource:  n.resource,
		Grants:    &q.grants,
	}
	f, err := q.facts(n, &r)
	if err != nil {
		return policy.Decision{}, err
	}
	r.Context = f
	d := policy.Decide(&r)
	return d, q.failed
}

// facts reads the resource's policy and owner into r, and returns the context
// of the decision.
func (q *request) facts(n *need, r *policy.Request) (*facts, error) {
	f := &facts{request: q, need: n}
	r.Owner = accountOf(n.resource)
	if kind := policyOf(n.action, n.resource); kind != noPolicy {
		doc, owner, tags, err := q.a.cfg.Resources.ResourcePolicy(q.ctx, n.resource)
		if err != nil {
			return nil, fmt.Errorf("policy of %s: %w", n.resource, err)
		}
		if owner != "" {
			r.Owner = owner
		}
		if doc != nil {
			r.ResourcePolicy = &policy.Attached{Name: "policy of " + n.resource, Document: doc}
		}
		r.Trust = kind == trustPolicy
		f.tags, f.tagsKnown = tags, true
	}
	f.owner = r.Owner
	return f, nil
}

// policyKind says what kind of policy a resource has.
type policyKind int

const (
	noPolicy policyKind = iota
	resourcePolicy
	trustPolicy
)

// policyOf says which policy of the resource takes part in the decision.
func policyOf(action, resource string) policyKind {
	service, name, _ := strings.Cut(action, ":")
	switch service {
	case "s3":
		// The owner of a bucket that is to be created is its creator.
		if strings.HasPrefix(resource, "arn:aws:s3:::") && name != "CreateBucket" {
			return resourcePolicy
		}
	case "lambda":
		if a, err := arn.Parse(resource); err == nil && a.Service == "lambda" &&
			(strings.HasPrefix(a.Resource, "function:") || strings.HasPrefix(a.Resource, "layer:")) {
			return resourcePolicy
		}
	case "sts":
		// Whatever the resource is: what has no trust policy is not assumed.
		if name == "AssumeRole" || name == "TagSession" || name == "SetSourceIdentity" {
			return trustPolicy
		}
	}
	return noPolicy
}

// accountOf returns the account in a resource's ARN.
func accountOf(resource string) string {
	a, err := arn.Parse(resource)
	if err != nil || strings.ContainsAny(a.Account, "*?") || a.Account == "aws" {
		return ""
	}
	return a.Account
}

func callerName(p awsapi.Principal) string {
	if p.ARN == "" {
		return "anonymous"
	}
	return p.ARN
}
