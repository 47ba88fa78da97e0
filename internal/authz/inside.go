package authz

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"davy/internal/awsapi"
	"davy/internal/policy"
)

// Allowed decides, for a service, whether a principal may do something that no
// request asks for: whether an execution role may write logs, say. values are
// further condition keys with lower-case names.
func (a *Authorizer) Allowed(ctx context.Context, p awsapi.Principal, action, resource string, values policy.Values) (policy.Decision, error) {
	q, err := a.request(ctx, &awsapi.Call{Principal: p, Account: p.Account, Time: a.cfg.Clock()}, "", "", nil)
	if err != nil {
		return policy.Decision{}, err
	}
	return q.decideAndLog(&need{action: action, resource: resource, values: values})
}

// RoleAllowed is Allowed for a session that a service holds of a role.
func (a *Authorizer) RoleAllowed(ctx context.Context, roleARN, action, resource string, values policy.Values) (policy.Decision, error) {
	grants, err := a.cfg.Identities.RoleGrants(ctx, roleARN)
	if err != nil {
		return policy.Decision{}, fmt.Errorf("grants of %s: %w", roleARN, err)
	}
	account := accountOf(roleARN)
	q := &request{
		ctx: ctx, a: a, grants: grants,
		call: &awsapi.Call{Account: account, Time: a.cfg.Clock()},
		principal: policy.Principal{
			ARN:     "arn:aws:sts::" + account + ":assumed-role/" + roleARN[strings.LastIndexByte(roleARN, '/')+1:] + "/davy",
			Account: account, UserID: grants.RoleID + ":davy", RoleARN: roleARN,
		},
	}
	return q.decideAndLog(&need{action: action, resource: resource, values: values})
}

// ServiceMay decides whether an AWS service may act on a resource on behalf of
// another: whether s3.amazonaws.com may invoke a function for a bucket. Only
// the resource's policy can allow it. An empty sourceAccount or sourceARN
// leaves its condition key without a value.
func (a *Authorizer) ServiceMay(ctx context.Context, service, action, resourceARN, sourceARN, sourceAccount string) (policy.Decision, error) {
	values := policy.Values{"aws:principalservicename": {service}}
	if sourceARN != "" {
		values["aws:sourcearn"] = []string{sourceARN}
	}
	if sourceAccount != "" {
		values["aws:sourceaccount"] = []string{sourceAccount}
	}
	q := a.asService(ctx, service)
	return q.decideAndLog(&need{action: action, resource: resourceARN, values: values})
}

// ServiceMayInvoke is ServiceMay for lambda:InvokeFunction.
func (a *Authorizer) ServiceMayInvoke(ctx context.Context, service, functionARN, sourceARN, sourceAccount string) (bool, error) {
	d, err := a.ServiceMay(ctx, service, "lambda:InvokeFunction", functionARN, sourceARN, sourceAccount)
	return d.Allowed, err
}

// Trusts reports, as an error, that a role does not let a service assume it,
// or that there is no such role. The refusal is an awsapi.Error with code
// AccessDenied, which the service words its own way; any other error is an
// internal one.
func (a *Authorizer) Trusts(ctx context.Context, roleARN, service string) error {
	d, err := a.asService(ctx, service).decideAndLog(&need{action: "sts:AssumeRole", resource: roleARN})
	if err != nil || d.Allowed {
		return err
	}
	return awsapi.Errorf(http.StatusForbidden, "AccessDenied", "%s", d.Message(roleARN))
}

func (a *Authorizer) asService(ctx context.Context, service string) *request {
	return &request{
		ctx: ctx, a: a,
		call:      &awsapi.Call{Time: a.cfg.Clock()},
		principal: policy.Principal{Service: service},
	}
}

func (q *request) decideAndLog(n *need) (policy.Decision, error) {
	d, err := q.decide(n)
	if err == nil && !d.Allowed {
		q.logRefusal(&d)
	}
	return d, err
}

func (q *request) logRefusal(d *policy.Decision) {
	q.a.cfg.Log.InfoContext(q.ctx, "access denied",
		"principal", d.Principal, "action", d.Action, "resource", d.Resource,
		"deciding", d.Deciding(), "request", q.call.RequestID)
}
