package iam

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"davy/api/stsapi"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// assumption is a request for a role that its trust policy allows.
type assumption struct {
	home       *Service  // of the role
	now        *snapshot // of home
	role       *record
	caller     *session // nil: the caller has a long-term key
	chained    bool     // the caller has a role
	tags       map[string]string
	transitive []string
	source     string
}

// assume decides whether the caller may have the role, its tags and its source
// identity. A role that does not exist is refused in the same words.
func (s *snapshot) assume(svc *Service, ctx context.Context, in *stsapi.AssumeRoleRequest) (*assumption, error) {
	call := awsapi.CallFrom(ctx)
	roleARN := awsapi.Val(in.RoleArn)
	refused := func(action string) error {
		return accessDenied("User: %s is not authorized to perform: %s on resource: %s", call.Principal.ARN, action, roleARN)
	}
	switch {
	case call.Principal.ARN == s.account.rootARN():
		return nil, accessDenied("Roles may not be assumed by root accounts.")
	case in.SerialNumber != nil || in.TokenCode != nil:
		return nil, awsapi.Errorf(http.StatusNotImplemented, "NotImplemented", "MFA devices are not implemented.")
	case len(in.ProvidedContexts) > 0:
		return nil, awsapi.Errorf(http.StatusNotImplemented, "NotImplemented", "ProvidedContexts are not implemented.")
	}
	a := &assumption{}
	// Roles of another account live in another directory.
	if a.home = svc.peers.ofARN(roleARN); a.home != nil {
		a.now = a.home.snap.Load()
		a.role = a.now.role(roleARN)
	}
	if a.role == nil {
		return nil, refused("sts:AssumeRole")
	}
	caller, err := svc.callerSession(s, call.Principal)
	if err != nil {
		return nil, err
	}
	if caller != nil && caller.Federated {
		return nil, accessDenied("Cannot call AssumeRole with the credentials of a federated user")
	}
	if a.caller = caller; caller != nil {
		r := s.byID[caller.Of]
		a.chained = r != nil && r.Kind == roleKind
	}
	grants, err := svc.Grants(ctx, call.Principal)
	if err != nil {
		return nil, err
	}
	if err := a.inherit(in); err != nil {
		return nil, err
	}

	actions := []string{"sts:AssumeRole"}
	if len(in.Tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if in.SourceIdentity != nil {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	r := policy.Request{
		Principal: policy.Principal{ARN: call.Principal.ARN, Account: call.Principal.Account, UserID: call.Principal.UserID, RoleARN: grants.RoleARN},
		Resource:  roleARN, Owner: a.now.account.Account, Grants: &grants, Context: a.context(call, in, &grants),
		ResourcePolicy: &policy.Attached{Name: "trust policy of " + roleARN, Document: a.role.trust}, Trust: true,
	}
	for _, r.Action = range actions {
		if d := policy.Decide(&r); !d.Allowed {
			return nil, refused(r.Action)
		}
	}
	return a, nil
}

// inherit works out the session's tags and source identity from those asked
// for and those that the caller's own session hands on.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
func (a *assumption) inherit(in *stsapi.AssumeRoleRequest) error {
	var err error
	if a.tags, err = sessionTags(in.Tags); err != nil {
		return err
	}
	seen := map[string]bool{}
	for k := range a.tags {
		seen[strings.ToLower(k)] = true
	}
	for _, k := range in.TransitiveTagKeys {
		if !seen[strings.ToLower(k)] {
			return invalidParameter("One of the specified transitive tag keys does not exist in the requested tags.")
		}
	}
	a.transitive = slices.Clone(in.TransitiveTagKeys)
	a.source = awsapi.Val(in.SourceIdentity)
	if a.caller == nil {
		return nil
	}
	for _, k := range a.caller.Transitive {
		if seen[strings.ToLower(k)] {
			return invalidParameter("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		for name, value := range a.caller.Tags {
			if strings.EqualFold(name, k) {
				a.tags[name] = value
			}
		}
		a.transitive = append(a.transitive, k)
	}
	switch {
	case a.source == "":
		a.source = a.caller.Source
	case a.caller.Source != "" && a.caller.Source != a.source:
		return accessDenied("The source identity of a session cannot be changed.")
	}
	return nil
}

// sessionTags reads the tags of a request.
func sessionTags(tags []stsapi.Tag) (map[string]string, error) {
	out := map[string]string{}
	seen := map[string]bool{}
	for _, t := range tags {
		k := awsapi.Val(t.Key)
		if folded := strings.ToLower(k); seen[folded] {
			return nil, invalidParameter("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		} else if strings.HasPrefix(folded, "aws:") {
			return nil, invalidParameter("Tag keys starting with 'aws:' are reserved for system use.")
		} else {
			seen[folded] = true
		}
		out[k] = awsapi.Val(t.Value)
	}
	return out, nil
}

func invalidParameter(message string) error {
	return awsapi.Errorf(http.StatusBadRequest, "InvalidParameterValue", "%s", message)
}

// context has the condition keys of the request.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
func (a *assumption) context(call *awsapi.Call, in *stsapi.AssumeRoleRequest, g *policy.Grants) policy.Values {
	v := callContext(call)
	v["aws:userid"] = []string{call.Principal.UserID}
	v["aws:principalaccount"] = []string{call.Principal.Account}
	v["aws:principalarn"] = []string{call.Principal.ARN}
	v["aws:principaltype"] = []string{"User"}
	v["aws:principalisawsservice"] = []string{"false"}
	v["aws:resourceaccount"] = []string{a.now.account.Account}
	v["sts:rolesessionname"] = []string{awsapi.Val(in.RoleSessionName)}
	if g.RoleARN != "" {
		v["aws:principalarn"], v["aws:principaltype"] = []string{g.RoleARN}, []string{"AssumedRole"}
	} else {
		v["aws:username"] = []string{call.Principal.ARN[strings.LastIndexByte(call.Principal.ARN, '/')+1:]}
	}
	for k, value := range g.Tags {
		v[lower("aws:principaltag/", k)] = []string{value}
	}
	for k, values := range g.More {
		v[k] = values
	}
	if in.ExternalId != nil {
		v["sts:externalid"] = []string{*in.ExternalId}
	}
	if in.SourceIdentity != nil {
		v["sts:sourceidentity"] = []string{*in.SourceIdentity}
	}
	for _, t := range in.Tags {
		v[lower("aws:requesttag/", awsapi.Val(t.Key))] = []string{awsapi.Val(t.Value)}
		v["aws:tagkeys"] = append(v["aws:tagkeys"], awsapi.Val(t.Key))
	}
	if len(in.TransitiveTagKeys) > 0 {
		v["sts:transitivetagkeys"] = in.TransitiveTagKeys
	}
	for k, value := range a.role.tagMap() {
		v[lower("aws:resourcetag/", k)] = []string{value}
		v[lower("iam:resourcetag/", k)] = []string{value}
	}
	return v
}

// Limits of what a session carries.
const (
	sessionPolicySize = 2048 // characters
	sessionPolicyARNs = 10
)

// restrict adds the session policies of the request. The result is the share,
// in percent, of what may be carried; nil when nothing is.
func (ss *session) restrict(now *snapshot, inline *string, arns []stsapi.PolicyDescriptorType) (*int32, error) {
	used := 0
	if inline != nil {
		if _, err := policy.Parse(*inline, policy.Identity); err != nil {
			return nil, malformedSession(err)
		}
		ss.Policies = []string{*inline}
		used += len([]rune(*inline))
	}
	if len(arns) > sessionPolicyARNs {
		return nil, validationError("1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", sessionPolicyARNs)
	}
	for _, p := range arns {
		a := awsapi.Val(p.Arn)
		if now.policies[a] == nil {
			return nil, malformedSession(&policy.MalformedError{Reason: "Policy " + a + " does not exist or is not attachable."})
		}
		ss.ARNs = append(ss.ARNs, a)
		used += len(a)
	}
	if used > sessionPolicySize {
		return nil, &stsapi.PackedPolicyTooLargeException{
			Message: new("Packed size of session policy consumes " + strconv.Itoa(used*100/sessionPolicySize) + "% of allotted space, please use smaller policy."),
		}
	}
	for k, v := range ss.Tags {
		used += len(k) + len(v)
	}
	if used == 0 {
		return nil, nil
	}
	return new(int32(min(100, max(1, used*100/(4*sessionPolicySize))))), nil
}

func malformedSession(err error) error {
	if m, ok := err.(*policy.MalformedError); ok {
		return &stsapi.MalformedPolicyDocumentException{Message: &m.Reason}
	}
	return err
}
