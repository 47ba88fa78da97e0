package iam

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/internal/policy"
)

func entry(key string, typ iamapi.ContextKeyTypeEnum, values ...string) iamapi.ContextEntry {
	return iamapi.ContextEntry{ContextKeyName: &key, ContextKeyType: &typ, ContextKeyValues: values}
}

// outcome is a result in one line: decision, where from, what was missing.
func outcome(r *iamapi.EvaluationResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", *r.EvalActionName, *r.EvalResourceName, *r.EvalDecision)
	for _, m := range r.MatchedStatements {
		fmt.Fprintf(&b, " [%s %d:%d-%d:%d]", *m.SourcePolicyId, *m.StartPosition.Line, *m.StartPosition.Column, *m.EndPosition.Line, *m.EndPosition.Column)
	}
	if len(r.MissingContextValues) > 0 {
		fmt.Fprintf(&b, " missing %s", strings.Join(r.MissingContextValues, ","))
	}
	if r.PermissionsBoundaryDecisionDetail != nil {
		fmt.Fprintf(&b, " boundary %v", *r.PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary)
	}
	if r.OrganizationsDecisionDetail != nil {
		fmt.Fprintf(&b, " organization %v", *r.OrganizationsDecisionDetail.AllowedByOrganizations)
	}
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range r.EvalDecisionDetails {
			if !yield(k) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, " %s=%s", k, r.EvalDecisionDetails[k])
	}
	return b.String()
}

const (
	bucketARN = "arn:aws:s3:::b/k"
	listed    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObjectAcl","Resource":"*"}]}`
	single    = "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": {\n    \"Effect\": \"Allow\",\n    \"Action\": \"s3:*\",\n    \"Resource\": \"*\"\n  }\n}"
	fromHome  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"},"StringEquals":{"aws:PrincipalTag/Team":"a"}}}]}`
	homeDir   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}/*"}]}`
)

func TestSimulateCustomPolicy(t *testing.T) {
	f := memory(t)
	const stranger = "arn:aws:iam::111111111111:user/eve"
	bucketPolicy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + stranger + `"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}`
	for _, tc := range []struct {
		name string
		in   iamapi.SimulateCustomPolicyRequest
		want []string
	}{
		{
			"allowed by the first of a list",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{listed}, ActionNames: []string{"s3:GetObject"}},
			[]string{"s3:GetObject * allowed [PolicyInputList.1 1:38-1:90]"},
		},
		{
			"denied by the second, which alone is told",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{listed}, ActionNames: []string{"s3:GetObjectAcl"}},
			[]string{"s3:GetObjectAcl * explicitDeny [PolicyInputList.1 1:90-1:150]"},
		},
		{
			"a single statement over several lines",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{allow("sqs:*"), single}, ActionNames: []string{"s3:GetObject"}},
			[]string{"s3:GetObject * allowed [PolicyInputList.2 3:16-7:4]"},
		},
		{
			"no statement",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{listed}, ActionNames: []string{"s3:PutObject"}},
			[]string{"s3:PutObject * implicitDeny"},
		},
		{
			"each action on each resource",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{homeDir}, ActionNames: []string{"s3:GetObject", "sqs:SendMessage"}, ResourceArns: []string{"arn:aws:s3:::b/bob/k", "arn:aws:s3:::b/eve/k"}, CallerArn: new("arn:aws:iam::000000000000:user/x/bob")},
			[]string{
				"s3:GetObject arn:aws:s3:::b/bob/k allowed [PolicyInputList.1 1:38-1:118]",
				"s3:GetObject arn:aws:s3:::b/eve/k implicitDeny",
				"sqs:SendMessage arn:aws:s3:::b/bob/k implicitDeny",
				"sqs:SendMessage arn:aws:s3:::b/eve/k implicitDeny",
			},
		},
		{
			"keys that are missing, as the policy writes them",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{fromHome}, ActionNames: []string{"s3:GetObject"}, ContextEntries: []iamapi.ContextEntry{entry("aws:sourceip", "ip", "192.0.2.7")}},
			[]string{"s3:GetObject * implicitDeny missing aws:PrincipalTag/Team"},
		},
		{
			"keys that are given",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{fromHome}, ActionNames: []string{"s3:GetObject"}, ContextEntries: []iamapi.ContextEntry{entry("aws:SourceIp", "ip", "192.0.2.7"), entry("aws:principaltag/team", "string", "a")}},
			[]string{"s3:GetObject * allowed [PolicyInputList.1 1:38-1:190]"},
		},
		{
			"nobody in particular has no name",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{homeDir}, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::b/bob/k"}},
			[]string{"s3:GetObject arn:aws:s3:::b/bob/k implicitDeny missing aws:username"},
		},
		{
			"bounded away",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{listed}, PermissionsBoundaryPolicyInputList: []string{allow("sqs:*")}, ActionNames: []string{"s3:GetObject"}},
			[]string{"s3:GetObject * implicitDeny [PolicyInputList.1 1:38-1:90] boundary false"},
		},
		{
			"within the boundary",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{listed}, PermissionsBoundaryPolicyInputList: []string{allow("s3:*")}, ActionNames: []string{"s3:GetObject"}},
			[]string{"s3:GetObject * allowed [PolicyInputList.1 1:38-1:90] boundary true"},
		},
		{
			"the organisation does not allow",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{listed}, ActionNames: []string{"s3:GetObject"}, OrderedOrganizationPolicyInputList: []iamapi.OrderedOrganizationPolicyType{{ServiceControlPolicyInputList: []string{allow("sqs:*")}}}},
			[]string{"s3:GetObject * implicitDeny [PolicyInputList.1 1:38-1:90] organization false"},
		},
		{
			"across accounts with both",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{listed}, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{bucketARN}, CallerArn: new(stranger), ResourcePolicy: &bucketPolicy, ResourceOwner: new("arn:aws:iam::000000000000:root")},
			[]string{"s3:GetObject arn:aws:s3:::b/k allowed [ResourcePolicy 1:38-1:167] [PolicyInputList.1 1:38-1:90] IAM Policy=allowed Resource Policy=allowed"},
		},
		{
			"across accounts without the caller's",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{allow("sqs:*")}, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{bucketARN}, CallerArn: new(stranger), ResourcePolicy: &bucketPolicy, ResourceOwner: new("arn:aws:iam::000000000000:root")},
			[]string{"s3:GetObject arn:aws:s3:::b/k implicitDeny [ResourcePolicy 1:38-1:167] IAM Policy=implicitDeny Resource Policy=allowed"},
		},
		{
			"across accounts without the resource's",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{listed}, ActionNames: []string{"s3:GetObjectAcl", "s3:GetObjectTagging"}, ResourceArns: []string{bucketARN}, CallerArn: new(stranger), ResourceOwner: new("arn:aws:iam::000000000000:root")},
			[]string{
				"s3:GetObjectAcl arn:aws:s3:::b/k explicitDeny [PolicyInputList.1 1:90-1:150] IAM Policy=explicitDeny Resource Policy=implicitDeny",
				"s3:GetObjectTagging arn:aws:s3:::b/k implicitDeny [PolicyInputList.1 1:38-1:90] IAM Policy=allowed Resource Policy=implicitDeny",
			},
		},
		{
			"in the account of the resource the resource's suffices",
			iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{allow("sqs:*")}, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{bucketARN}, CallerArn: new(stranger), ResourcePolicy: &bucketPolicy},
			[]string{"s3:GetObject arn:aws:s3:::b/k allowed [ResourcePolicy 1:38-1:167]"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, r := range must(f.SimulateCustomPolicy(t.Context(), &tc.in))(t).EvaluationResults {
				got = append(got, outcome(&r))
				if len(tc.in.ResourceArns) > 0 && (len(r.ResourceSpecificResults) != 1 || *r.ResourceSpecificResults[0].EvalResourceDecision != *r.EvalDecision) {
					t.Errorf("resource specific: %+v", r.ResourceSpecificResults)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

// TestSimulate_isBounded: a question with many answers of many statements is
// answered in pages that stay small, none of them empty.
func TestSimulate_isBounded(t *testing.T) {
	f := memory(t)
	in := &iamapi.SimulateCustomPolicyRequest{MaxItems: new(int32(1000))}
	for i := range 2000 {
		in.PolicyInputList = append(in.PolicyInputList, allow("s3:*"))
		in.ActionNames = append(in.ActionNames, fmt.Sprint("s3:Get", i))
	}
	out := must(f.SimulateCustomPolicy(t.Context(), in))(t)
	if n := len(out.EvaluationResults); n == 0 || n > 50 || !*out.IsTruncated {
		t.Errorf("a page of %d results of %d statements", n, len(out.EvaluationResults[0].MatchedStatements))
	}
	in.Marker = out.Marker
	if next := must(f.SimulateCustomPolicy(t.Context(), in))(t); *next.EvaluationResults[0].EvalActionName != fmt.Sprint("s3:Get", len(out.EvaluationResults)) {
		t.Errorf("the next page starts at %s", *next.EvaluationResults[0].EvalActionName)
	}
}

func TestSimulate_Refusals(t *testing.T) {
	f := memory(t)
	ok := []string{allow("s3:*")}
	get := []string{"s3:GetObject"}
	for _, tc := range []struct {
		name       string
		in         iamapi.SimulateCustomPolicyRequest
		code, text string
	}{
		{"a policy that is none", iamapi.SimulateCustomPolicyRequest{PolicyInputList: []string{"{}"}, ActionNames: get}, "InvalidInput", "PolicyInputList.1"},
		{"two boundaries", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: get, PermissionsBoundaryPolicyInputList: []string{ok[0], ok[0]}}, "InvalidInput", "only one permissions boundary"},
		{"a wildcard action", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: []string{"s3:*"}}, "InvalidInput", "Invalid action name: s3:*"},
		{"an action without a service", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: []string{"GetObject"}}, "InvalidInput", "Invalid action name"},
		{"a resource that is no ARN", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: get, ResourceArns: []string{"bucket"}}, "InvalidInput", "Invalid resource ARN: bucket"},
		{"a caller that is a role", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: get, CallerArn: new("arn:aws:iam::000000000000:role/r")}, "InvalidInput", "Invalid CallerArn"},
		{"a resource policy for nobody", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: get, ResourcePolicy: new(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b"}]}`)}, "InvalidInput", "CallerArn is required"},
		{"an owner that is no account", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: get, ResourceOwner: new("me")}, "InvalidInput", "Invalid ResourceOwner"},
		{"two values of a single key", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: get, ContextEntries: []iamapi.ContextEntry{entry("aws:SourceIp", "ip", "192.0.2.1", "192.0.2.2")}}, "InvalidInput", "more than one value"},
		{"a resource handling option", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: get, ResourceHandlingOption: new("EC2-VPC-EBS")}, "NotImplemented", "ResourceHandlingOption"},
		{"a marker that is none", iamapi.SimulateCustomPolicyRequest{PolicyInputList: ok, ActionNames: get, Marker: new("!")}, "ValidationError", "Invalid Marker."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := f.SimulateCustomPolicy(t.Context(), &tc.in)
			refused(t, err, tc.code, tc.text)
		})
	}
}

// TestSimulatePrincipalPolicy: what is attached counts as it does for real.
func TestSimulatePrincipalPolicy(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	bob := f.user("bob")
	m := f.policy("managed", allow("s3:ListBucket"))
	bounds := f.policy("bounds", allow("s3:*"))
	must(f.TagUser(ctx, &iamapi.TagUserRequest{UserName: new("bob"), Tags: []iamapi.Tag{{Key: new("Team"), Value: new("a")}}}))(t)
	must(f.PutUserPolicy(ctx, &iamapi.PutUserPolicyRequest{UserName: new("bob"), PolicyName: new("inline"), PolicyDocument: new(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sqs:*","s3:GetObject"],"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/Team":"a"}}}]}`)}))(t)
	must(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new("g")}))(t)
	must(f.AttachGroupPolicy(ctx, &iamapi.AttachGroupPolicyRequest{GroupName: new("g"), PolicyArn: &m}))(t)
	must(f.AddUserToGroup(ctx, &iamapi.AddUserToGroupRequest{GroupName: new("g"), UserName: new("bob")}))(t)
	must(f.PutUserPermissionsBoundary(ctx, &iamapi.PutUserPermissionsBoundaryRequest{UserName: new("bob"), PermissionsBoundary: &bounds}))(t)
	f.role("r", trustLambda)
	must(f.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: new("r"), PolicyArn: &m}))(t)

	actions := []string{"s3:ListBucket", "s3:GetObject", "sqs:SendMessage"}
	for _, tc := range []struct {
		name string
		in   iamapi.SimulatePrincipalPolicyRequest
		want []string
	}{
		{"a user with groups and a boundary", iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: &bob.ARN}, []string{
			"s3:ListBucket * allowed [managed 1:38-1:96] boundary true",
			"s3:GetObject * allowed [inline 1:38-1:164] boundary true",
			"sqs:SendMessage * implicitDeny [inline 1:38-1:164] boundary false",
		}},
		{"with another boundary", iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: &bob.ARN, PermissionsBoundaryPolicyInputList: []string{allow("sqs:*")}}, []string{
			"s3:ListBucket * implicitDeny [managed 1:38-1:96] boundary false",
			"s3:GetObject * implicitDeny [inline 1:38-1:164] boundary false",
			"sqs:SendMessage * allowed [inline 1:38-1:164] boundary true",
		}},
		{"with another tag", iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: &bob.ARN, ContextEntries: []iamapi.ContextEntry{entry("aws:PrincipalTag/Team", "string", "b")}}, []string{
			"s3:ListBucket * allowed [managed 1:38-1:96] boundary true",
			"s3:GetObject * implicitDeny boundary true",
			"sqs:SendMessage * implicitDeny boundary false",
		}},
		{"without some", iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: &bob.ARN, PolicyExclusionList: []iamapi.PolicyIdentifier{
			{PolicyArn: &m}, {PolicyArn: &bounds, PolicyType: new(iamapi.PolicyIdentifierPolicyTypePermissionBoundary)},
		}}, []string{
			"s3:ListBucket * implicitDeny",
			"s3:GetObject * allowed [inline 1:38-1:164]",
			"sqs:SendMessage * allowed [inline 1:38-1:164]",
		}},
		{"with one more", iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: new("arn:aws:iam::000000000000:role/r"), PolicyInputList: []string{allow("sqs:*")}}, []string{
			"s3:ListBucket * allowed [managed 1:38-1:96]",
			"s3:GetObject * implicitDeny",
			"sqs:SendMessage * allowed [PolicyInputList.1 1:38-1:88]",
		}},
		{"a group", iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: new("arn:aws:iam::000000000000:group/g")}, []string{
			"s3:ListBucket * allowed [managed 1:38-1:96]",
			"s3:GetObject * implicitDeny",
			"sqs:SendMessage * implicitDeny",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.ActionNames = actions
			var got []string
			// One at a time: pages join without a gap.
			for tc.in.MaxItems = new(int32(1)); ; {
				out := must(f.SimulatePrincipalPolicy(ctx, &tc.in))(t)
				for _, r := range out.EvaluationResults {
					got = append(got, outcome(&r))
				}
				if !*out.IsTruncated {
					break
				}
				tc.in.Marker = out.Marker
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
	_, err := f.SimulatePrincipalPolicy(ctx, &iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: new("arn:aws:iam::000000000000:user/eve"), ActionNames: actions})
	refused(t, err, "NoSuchEntity", "The user with name eve cannot be found.")
	_, err = f.SimulatePrincipalPolicy(ctx, &iamapi.SimulatePrincipalPolicyRequest{PolicySourceArn: new("arn:aws:s3:::b"), ActionNames: actions})
	refused(t, err, "InvalidInput", "Invalid Entity Arn: arn:aws:s3:::b")

	keys := must(f.GetContextKeysForPrincipalPolicy(ctx, &iamapi.GetContextKeysForPrincipalPolicyRequest{PolicySourceArn: &bob.ARN, PolicyInputList: []string{fromHome, homeDir}}))(t).ContextKeyNames
	slices.Sort(keys)
	if want := []string{"aws:PrincipalTag/Team", "aws:SourceIp", "aws:username"}; !slices.Equal(keys, want) {
		t.Errorf("context keys %v, want %v", keys, want)
	}
	keys = must(f.GetContextKeysForCustomPolicy(ctx, &iamapi.GetContextKeysForCustomPolicyRequest{PolicyInputList: []string{homeDir}}))(t).ContextKeyNames
	if !slices.Equal(keys, []string{"aws:username"}) {
		t.Errorf("context keys %v", keys)
	}
}

// FuzzSpans: every statement of a policy that compiles is found in its text,
// each behind the other.
func FuzzSpans(f *testing.F) {
	for _, s := range []string{listed, single, fromHome, homeDir, trustLambda, `{"Statement":[]}`, `{"Id":"a","Statement" : [ {"Effect":"Deny","Action":"*","Resource":"*"} , {"Effect":"Allow","Action":"a:\u0042","Resource":"*"}]}`, "{", `[1]`, `{"a":{"Statement":[1]}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := spans(text)
		last := 0
		for _, s := range got {
			if s.start < last || s.end <= s.start || s.end > len(text) || text[s.end-1] != '}' && text[0] == '{' && got != nil && strings.HasPrefix(strings.TrimLeft(text[s.start:], " \t\r\n,"), "{") {
				t.Fatalf("%q: %v", text, got)
			}
			last = s.end
			position(text, s.start)
			position(text, s.end)
		}
		doc, err := policy.Parse(text, policy.Identity)
		if err != nil {
			return
		}
		if len(got) != len(doc.Statements) {
			t.Fatalf("%q has %d statements, %d spans", text, len(doc.Statements), len(got))
		}
		for i, s := range got {
			// A statement by itself compiles to one with the same Sid.
			alone, err := policy.Parse(`{"Version":"`+doc.Version+`","Statement":`+strings.TrimLeft(text[s.start:s.end], " \t\r\n,")+`}`, policy.Identity)
			if err != nil || alone.Statements[0].SID != doc.Statements[i].SID || alone.Statements[0].Effect != doc.Statements[i].Effect {
				t.Fatalf("%q: statement %d is %q: %v", text, i, text[s.start:s.end], err)
			}
		}
		for _, k := range contextKeys(doc, text) {
			if strings.ToLower(k) != k && !strings.Contains(text, k) {
				t.Fatalf("%q: key %q is not in it", text, k)
			}
		}
	})
}
