package iam

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"davy/api/iamapi"
)

// sized returns an identity policy of n characters without white space.
func sized(n int) string {
	const frame = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:` + `","Resource":"*"}]}`
	return strings.Replace(frame, "s3:", "s3:"+strings.Repeat("x", n-len(frame)), 1)
}

// TestLimits: each quota admits what it says and refuses the next.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func TestLimits(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	f.user("u")
	f.role("r", trustLambda)
	must(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new("g")}))(t)
	var arns []string
	for i := range 11 {
		arns = append(arns, f.policy(fmt.Sprintf("p%02d", i), allow("s3:*")))
	}
	trust := func(n int) string {
		return strings.Replace(trustLambda, `"Effect"`, `"Sid":"`+strings.Repeat("x", n-len(trustLambda)-len(`"Sid":"",`))+`","Effect"`, 1)
	}
	version := f.policy("versions", allow("s3:*"))
	for _, tc := range []struct {
		name  string
		limit int // calls that succeed
		call  func(i int) error
		text  string
	}{
		{"policies of a user", 10, func(i int) error {
			return second(f.AttachUserPolicy(ctx, &iamapi.AttachUserPolicyRequest{UserName: new("u"), PolicyArn: &arns[i]}))
		}, "Cannot exceed quota for PoliciesPerUser: 10"},
		{"policies of a role", 10, func(i int) error {
			return second(f.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: new("r"), PolicyArn: &arns[i]}))
		}, "Cannot exceed quota for PoliciesPerRole: 10"},
		{"policies of a group", 10, func(i int) error {
			return second(f.AttachGroupPolicy(ctx, &iamapi.AttachGroupPolicyRequest{GroupName: new("g"), PolicyArn: &arns[i]}))
		}, "Cannot exceed quota for PoliciesPerGroup: 10"},
		{"characters of a user's inline policies", 2, func(i int) error {
			return second(f.PutUserPolicy(ctx, &iamapi.PutUserPolicyRequest{UserName: new("u"), PolicyName: new(fmt.Sprint(i)), PolicyDocument: new(" " + sized(1024))}))
		}, "Maximum policy size of 2048 bytes exceeded for user u"},
		{"characters of a group's inline policies", 2, func(i int) error {
			return second(f.PutGroupPolicy(ctx, &iamapi.PutGroupPolicyRequest{GroupName: new("g"), PolicyName: new(fmt.Sprint(i)), PolicyDocument: new(sized(2560))}))
		}, "Maximum policy size of 5120 bytes exceeded for group g"},
		{"characters of a role's inline policies", 2, func(i int) error {
			return second(f.PutRolePolicy(ctx, &iamapi.PutRolePolicyRequest{RoleName: new("r"), PolicyName: new(fmt.Sprint(i)), PolicyDocument: new(sized(5120))}))
		}, "Maximum policy size of 10240 bytes exceeded for role r"},
		{"characters of a managed policy", 1, func(i int) error {
			return second(f.CreatePolicy(ctx, &iamapi.CreatePolicyRequest{PolicyName: new(fmt.Sprint("large", i)), PolicyDocument: new("\n\t " + sized(6144+i))}))
		}, "Cannot exceed quota for PolicySize: 6144"},
		{"characters of a trust policy", 1, func(i int) error {
			return second(f.UpdateAssumeRolePolicy(ctx, &iamapi.UpdateAssumeRolePolicyRequest{RoleName: new("r"), PolicyDocument: new(trust(2048 + i))}))
		}, "Cannot exceed quota for ACLSizePerRole: 2048"},
		{"versions of a policy", 4, func(int) error {
			return second(f.CreatePolicyVersion(ctx, &iamapi.CreatePolicyVersionRequest{PolicyArn: &version, PolicyDocument: new(allow("s3:*"))}))
		}, "A managed policy can have up to 5 versions."},
		{"tags", 50, func(i int) error {
			return second(f.TagRole(ctx, &iamapi.TagRoleRequest{RoleName: new("r"), Tags: []iamapi.Tag{{Key: new(fmt.Sprint("k", i)), Value: new("")}}}))
		}, "The number of tags has reached the maximum limit."},
		{"groups of a user", 10, func(i int) error {
			must(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new(fmt.Sprint("g", i))}))(t)
			return second(f.AddUserToGroup(ctx, &iamapi.AddUserToGroupRequest{UserName: new("u"), GroupName: new(fmt.Sprint("g", i))}))
		}, "Cannot exceed quota for GroupsPerUser: 10"},
		{"access keys", 1, func(int) error {
			return second(f.CreateAccessKey(ctx, &iamapi.CreateAccessKeyRequest{UserName: new("u")}))
		}, "Cannot exceed quota for AccessKeysPerUser: 2"},
		{"OIDC providers", 100, func(i int) error {
			return second(f.CreateOpenIDConnectProvider(ctx, &iamapi.CreateOpenIDConnectProviderRequest{Url: new(fmt.Sprintf("https://i%d.example.com", i))}))
		}, "Cannot exceed quota for OpenIdConnectProvidersPerAccount: 100"},
		{"groups", groupsPerAccount - 12, func(i int) error {
			return second(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new(fmt.Sprint("more", i))}))
		}, "Cannot exceed quota for GroupsPerAccount: 500"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i := range tc.limit {
				if err := tc.call(i); err != nil {
					t.Fatalf("call %d of %d: %v", i+1, tc.limit, err)
				}
			}
			refused(t, tc.call(tc.limit), "LimitExceeded", tc.text)
		})
	}
}

// TestRoleLastUsed: the last request of a role's session, until the role goes.
func TestRoleLastUsed(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	r := f.role("r", trustLambda)
	last := func() *iamapi.RoleLastUsed {
		return must(f.GetRole(ctx, &iamapi.GetRoleRequest{RoleName: new("r")}))(t).Role.RoleLastUsed
	}
	if got := last(); got.LastUsedDate != nil {
		t.Errorf("never used: %+v", got)
	}
	c := must(f.RoleSession(ctx, r, "s"))(t)
	f.clock.add(time.Hour)
	f.Used(c.AccessKeyID, "s3", "eu-west-1")
	if got := last(); got.LastUsedDate == nil || !got.LastUsedDate.Equal(f.clock.at) || *got.Region != "eu-west-1" {
		t.Errorf("used: %+v", got)
	}
	must(f.DeleteRole(ctx, &iamapi.DeleteRoleRequest{RoleName: new("r")}))(t)
	f.role("r", trustLambda)
	if got := last(); got.LastUsedDate != nil {
		t.Errorf("another role of the name: %+v", got)
	}
}
