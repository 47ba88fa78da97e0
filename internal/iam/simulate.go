package iam

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"davy/api/iamapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// simulated is what both operations take.
type simulated struct {
	actions, resources, boundary, inputs []string
	caller, owner, resource, handling    *string
	entries                              []iamapi.ContextEntry
	marker                               *string
	maxItems                             *int32
}

// SimulateCustomPolicy asks the evaluator about policies that the request
// brings.
func (s *Service) SimulateCustomPolicy(ctx context.Context, in *iamapi.SimulateCustomPolicyRequest) (*iamapi.SimulatePolicyResponse, error) {
	q := simulation{account: s.snap.Load().account.Account}
	for i, level := range in.OrderedOrganizationPolicyInputList {
		var list []source
		for j, text := range level.ServiceControlPolicyInputList {
			src, err := inputSource(fmt.Sprintf("OrderedOrganizationPolicyInputList.%d.ServiceControlPolicyInputList.%d", i+1, j+1), text, policy.Identity)
			if err != nil {
				return nil, err
			}
			list = append(list, src)
		}
		q.control = append(q.control, list)
	}
	return s.simulate(ctx, &q, &simulated{
		actions: in.ActionNames, resources: in.ResourceArns, boundary: in.PermissionsBoundaryPolicyInputList, inputs: in.PolicyInputList,
		caller: in.CallerArn, owner: in.ResourceOwner, resource: in.ResourcePolicy, handling: in.ResourceHandlingOption,
		entries: in.ContextEntries, marker: in.Marker, maxItems: in.MaxItems,
	})
}

// SimulatePrincipalPolicy asks the evaluator about what a user, group or role
// has attached, and what the request brings besides.
func (s *Service) SimulatePrincipalPolicy(ctx context.Context, in *iamapi.SimulatePrincipalPolicyRequest) (*iamapi.SimulatePolicyResponse, error) {
	now := s.snap.Load()
	r, err := now.entity(awsapi.Val(in.PolicySourceArn))
	if err != nil {
		return nil, err
	}
	q := simulation{account: now.account.Account}
	all, err := now.sourcesOf(r)
	if err != nil {
		return nil, err
	}
	if r.Kind == userKind && now.account.Passwords.UsersMayChange {
		all = append(all, source{Attached: ownPassword, owner: r})
	}
	q.identity = slices.DeleteFunc(all, func(src source) bool { return excludes(in.PolicyExclusionList, &src) })
	if r.Boundary != "" && len(in.PermissionsBoundaryPolicyInputList) == 0 && !excludesBoundary(in.PolicyExclusionList, r.Boundary) {
		b, err := now.managedSource(r.Boundary)
		if err != nil {
			return nil, err
		}
		q.boundary = []source{*b}
	}
	q.as(r, now.account.Account)
	return s.simulate(ctx, &q, &simulated{
		actions: in.ActionNames, resources: in.ResourceArns, boundary: in.PermissionsBoundaryPolicyInputList, inputs: in.PolicyInputList,
		caller: in.CallerArn, owner: in.ResourceOwner, resource: in.ResourcePolicy, handling: in.ResourceHandlingOption,
		entries: in.ContextEntries, marker: in.Marker, maxItems: in.MaxItems,
	})
}

// entity finds the user, group or role that an ARN names.
func (s *snapshot) entity(text string) (*record, error) {
	a, err := arn.Parse(text)
	k, name, _ := strings.Cut(a.Resource, "/")
	if err != nil || a.Service != "iam" || !slices.Contains([]kind{userKind, groupKind, roleKind}, kind(k)) || a.Account != s.account.Account {
		return nil, invalidInput("Invalid Entity Arn: %s", text)
	}
	name = name[strings.LastIndexByte(name, '/')+1:]
	if r := s.find(kind(k), name); r != nil && r.arn(s.account.Account) == text {
		return r, nil
	}
	return nil, notFound(kind(k), name)
}

// simulationCost bounds one answer, in policies evaluated and statements told:
// a page then ends early.
const simulationCost = 100_000

// simulate completes the question and asks it for one page of actions and
// resources.
func (s *Service) simulate(ctx context.Context, q *simulation, in *simulated) (*iamapi.SimulatePolicyResponse, error) {
	if in.handling != nil {
		return nil, awsapi.NotImplemented("ResourceHandlingOption")
	}
	if err := q.read(in); err != nil {
		return nil, err
	}
	if err := s.snap.Load().readCaller(q, in); err != nil {
		return nil, err
	}
	q.index()
	start, n := 0, 100
	if in.marker != nil {
		raw, err := base64.RawURLEncoding.DecodeString(*in.marker)
		if err == nil {
			start, err = strconv.Atoi(string(raw))
		}
		if err != nil || start < 0 {
			return nil, validationError("Invalid Marker.")
		}
	}
	if in.maxItems != nil {
		n = int(*in.maxItems)
	}
	total := len(q.actions) * len(q.resources)
	out := &iamapi.SimulatePolicyResponse{EvaluationResults: []iamapi.EvaluationResult{}, IsTruncated: new(false)}
	cost := 0
	for i := start; i < total; i++ {
		if len(out.EvaluationResults) == n || cost > simulationCost {
			out.IsTruncated, out.Marker = new(true), new(base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(i))))
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := q.ask(q.actions[i/len(q.resources)], q.resources[i%len(q.resources)])
		out.EvaluationResults = append(out.EvaluationResults, r)
		cost += len(q.sources) + len(r.MatchedStatements)
	}
	return out, nil
}

// read compiles and checks what the request brings.
func (q *simulation) read(in *simulated) error {
	for i, text := range in.inputs {
		src, err := inputSource(fmt.Sprintf("PolicyInputList.%d", i+1), text, policy.Identity)
		if err != nil {
			return err
		}
		q.identity = append(q.identity, src)
	}
	if len(in.boundary) > 1 {
		return invalidInput("You can pass only one permissions boundary policy to this operation.")
	}
	for i, text := range in.boundary {
		src, err := inputSource(fmt.Sprintf("PermissionsBoundaryPolicyInputList.%d", i+1), text, policy.Identity)
		if err != nil {
			return err
		}
		q.boundary = []source{src}
	}
	if in.resource != nil {
		src, err := inputSource("ResourcePolicy", *in.resource, policy.Resource)
		if err != nil {
			return err
		}
		q.resource = &src
	}
	for _, a := range in.actions {
		vendor, name, ok := strings.Cut(a, ":")
		if !ok || vendor == "" || name == "" || strings.ContainsAny(a, "*? ") {
			return invalidInput("Invalid action name: %s", a)
		}
	}
	q.actions, q.resources = in.actions, in.resources
	if len(q.resources) == 0 {
		q.resources = []string{"*"}
	}
	for _, r := range q.resources {
		if _, err := arn.Parse(r); err != nil && r != "*" {
			return invalidInput("Invalid resource ARN: %s", r)
		}
	}
	if in.owner != nil {
		a, err := arn.Parse(*in.owner)
		if err != nil || a.Service != "iam" || a.Resource != "root" || !isAccountID(a.Account) {
			return invalidInput("Invalid ResourceOwner: %s", *in.owner)
		}
		q.owner = a.Account
	}
	return q.readContext(in.entries)
}

func (q *simulation) readContext(entries []iamapi.ContextEntry) error {
	q.context = policy.Values{}
	for _, e := range entries {
		name := awsapi.Val(e.ContextKeyName)
		if name == "" || e.ContextKeyType == nil {
			return invalidInput("Context entries need a ContextKeyName and a ContextKeyType.")
		}
		if len(e.ContextKeyValues) > 1 && !strings.HasSuffix(string(*e.ContextKeyType), "List") {
			return invalidInput("The context key %s of type %s has more than one value.", name, *e.ContextKeyType)
		}
		q.context[strings.ToLower(name)] = e.ContextKeyValues
	}
	return nil
}

// readCaller finds who asks: the caller that the request names, or the user or
// role that is simulated.
func (s *snapshot) readCaller(q *simulation, in *simulated) error {
	if in.caller != nil {
		a, err := arn.Parse(*in.caller)
		if err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "user/") || !isAccountID(a.Account) {
			return invalidInput("Invalid CallerArn: %s. It must be the ARN of an IAM user.", *in.caller)
		}
		q.principal, q.tags = policy.Principal{ARN: *in.caller, Account: a.Account}, nil
		if home := s.of(a.Account); home != nil { // a user need not exist to be simulated
			if r, err := home.entity(*in.caller); err == nil {
				q.as(r, a.Account)
			}
		}
	}
	if q.resource != nil && (q.principal.ARN == "" || q.principal.RoleARN != "") {
		return invalidInput("CallerArn is required with a ResourcePolicy unless the policy source is a user.")
	}
	p := &q.principal
	if p.ARN != "" {
		// What is known of the caller has its true value unless the request says
		// otherwise.
		set := func(key, value string) {
			if _, given := q.context[key]; !given && value != "" {
				q.context[key] = []string{value}
			}
		}
		set("aws:principalarn", p.ARN)
		set("aws:principalaccount", p.Account)
		set("aws:userid", p.UserID)
		if i := strings.Index(p.ARN, ":user/"); i >= 0 {
			set("aws:username", p.ARN[strings.LastIndexByte(p.ARN, '/')+1:])
			set("aws:principaltype", "User")
		}
		for k, v := range q.tags {
			set("aws:principaltag/"+strings.ToLower(k), v)
		}
	} else {
		// Nobody in particular, but of this account.
		p.ARN, p.Account = arn.New("iam", "", s.account.Account, "user/").String(), s.account.Account
	}
	if q.owner == "" {
		q.owner = p.Account
	}
	return nil
}

// GetContextKeysForCustomPolicy lists the condition keys that policies refer
// to.
func (s *Service) GetContextKeysForCustomPolicy(_ context.Context, in *iamapi.GetContextKeysForCustomPolicyRequest) (*iamapi.GetContextKeysForPolicyResponse, error) {
	return keysOf(nil, in.PolicyInputList)
}

// GetContextKeysForPrincipalPolicy lists the condition keys that the policies
// of a user, group or role and those of the request refer to.
func (s *Service) GetContextKeysForPrincipalPolicy(_ context.Context, in *iamapi.GetContextKeysForPrincipalPolicyRequest) (*iamapi.GetContextKeysForPolicyResponse, error) {
	now := s.snap.Load()
	r, err := now.entity(awsapi.Val(in.PolicySourceArn))
	if err != nil {
		return nil, err
	}
	list, err := now.sourcesOf(r)
	if err != nil {
		return nil, err
	}
	return keysOf(list, in.PolicyInputList)
}

func keysOf(list []source, inputs []string) (*iamapi.GetContextKeysForPolicyResponse, error) {
	for i, text := range inputs {
		src, err := inputSource(fmt.Sprintf("PolicyInputList.%d", i+1), text, policy.Identity)
		if err != nil {
			return nil, err
		}
		list = append(list, src)
	}
	out := []string{}
	for _, src := range list {
		for _, k := range contextKeys(src.Document, src.text) {
			if !slices.ContainsFunc(out, func(have string) bool { return strings.EqualFold(have, k) }) {
				out = append(out, k)
			}
		}
	}
	return &iamapi.GetContextKeysForPolicyResponse{ContextKeyNames: out}, nil
}
