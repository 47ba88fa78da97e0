package iam

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/internal/awsapi"
	"davy/internal/policy"
	"davy/internal/state"
	"davy/internal/state/sqlite"
	"davy/internal/state/statetest"
	"pgregory.net/rapid"
)

const account = "000000000000"

// clock is a settable time.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type fixture struct {
	*Service
	t     testing.TB
	clock *clock
	root  awsapi.Principal
}

func open(t testing.TB, store state.Store) *fixture {
	t.Helper()
	c := &clock{at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	s, err := New(t.Context(), Config{Store: store, Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := s.Bootstrap(t.Context(), account, "", "")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Service: s, t: t, clock: c}
	f.root = f.lookup(id, "")
	return f
}

func memory(t testing.TB) *fixture { return open(t, statetest.NewMemory()) }

func (f *fixture) lookup(id, token string) awsapi.Principal {
	f.t.Helper()
	c, err := f.Lookup(f.t.Context(), id, token)
	if err != nil {
		f.t.Fatalf("look up %s: %v", id, err)
	}
	return c.Principal.(awsapi.Principal)
}

// as is the context of a call by p.
func (f *fixture) as(p awsapi.Principal) context.Context {
	return awsapi.WithCall(f.t.Context(), &awsapi.Call{Principal: p, Account: account, Region: "us-east-1", Time: f.clock.now(), SourceIP: "192.0.2.1"})
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// user makes a user with an access key and returns its principal.
func (f *fixture) user(name string) awsapi.Principal {
	f.t.Helper()
	must(f.CreateUser(f.t.Context(), &iamapi.CreateUserRequest{UserName: &name}))(f.t)
	k := must(f.CreateAccessKey(f.t.Context(), &iamapi.CreateAccessKeyRequest{UserName: &name}))(f.t)
	return f.lookup(*k.AccessKey.AccessKeyId, "")
}

func (f *fixture) role(name, trust string) string {
	f.t.Helper()
	out := must(f.CreateRole(f.t.Context(), &iamapi.CreateRoleRequest{RoleName: &name, AssumeRolePolicyDocument: &trust}))(f.t)
	return *out.Role.Arn
}

func (f *fixture) policy(name, document string) string {
	f.t.Helper()
	out := must(f.CreatePolicy(f.t.Context(), &iamapi.CreatePolicyRequest{PolicyName: &name, PolicyDocument: &document}))(f.t)
	return *out.Policy.Arn
}

// may reports whether p is allowed an action by its grants.
func (f *fixture) may(p awsapi.Principal, action string) bool {
	f.t.Helper()
	g, err := f.Grants(f.t.Context(), p)
	if err != nil {
		f.t.Fatal(err)
	}
	d := policy.Decide(&policy.Request{
		Principal: policy.Principal{ARN: p.ARN, Account: p.Account, UserID: p.UserID, RoleARN: g.RoleARN}, Action: action, Resource: "*", Grants: &g,
		Context: policy.Values{},
	})
	return d.Allowed
}

// refused checks an error's code and text.
func refused(t testing.TB, err error, code, text string) {
	t.Helper()
	var e awsapi.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %s", err, code)
	}
	if e.ErrorCode() != code || !strings.Contains(e.Error(), text) {
		t.Errorf("got %v, want %s: %s", e, code, text)
	}
}

func allow(action string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + action + `","Resource":"*"}]}`
}

const trustLambda = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

func trustAWS(principal string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole"}]}`
}

// TestRefusals is the table of what IAM refuses and in which words, on one
// directory: user bob (one key, group g, inline policy p, managed policy m
// attached), role r (m attached), group g with bob, policy m with versions v1
// and v2.
func TestRefusals(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	f.user("bob")
	f.role("r", trustLambda)
	m := f.policy("m", allow("s3:*"))
	must(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new("g")}))(t)
	must(f.AddUserToGroup(ctx, &iamapi.AddUserToGroupRequest{GroupName: new("g"), UserName: new("bob")}))(t)
	must(f.PutUserPolicy(ctx, &iamapi.PutUserPolicyRequest{UserName: new("bob"), PolicyName: new("p"), PolicyDocument: new(allow("s3:*"))}))(t)
	must(f.AttachUserPolicy(ctx, &iamapi.AttachUserPolicyRequest{UserName: new("bob"), PolicyArn: &m}))(t)
	must(f.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: new("r"), PolicyArn: &m}))(t)
	must(f.CreatePolicyVersion(ctx, &iamapi.CreatePolicyVersionRequest{PolicyArn: &m, PolicyDocument: new(allow("s3:Get*"))}))(t)
	must(f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: new("plain")}))(t)
	must(f.PutUserPolicy(ctx, &iamapi.PutUserPolicyRequest{UserName: new("plain"), PolicyName: new("p"), PolicyDocument: new(allow("s3:*"))}))(t)
	aws := "arn:aws:iam::aws:policy/AdministratorAccess"
	long := allow(strings.Repeat("s", 2100) + ":x")

	for _, tc := range []struct {
		name       string
		call       func() (any, error)
		code, text string
	}{
		{"create a user twice", func() (any, error) { return f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: new("bob")}) }, "EntityAlreadyExists", "User with name bob already exists."},
		{"create a user in another case", func() (any, error) { return f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: new("BOB")}) }, "EntityAlreadyExists", "User with name BOB already exists."},
		{"create a role twice", func() (any, error) {
			return f.CreateRole(ctx, &iamapi.CreateRoleRequest{RoleName: new("R"), AssumeRolePolicyDocument: new(trustLambda)})
		}, "EntityAlreadyExists", "Role with name R already exists."},
		{"create a group twice", func() (any, error) { return f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new("g")}) }, "EntityAlreadyExists", "Group with name g already exists."},
		{"create a policy twice, elsewhere", func() (any, error) {
			return f.CreatePolicy(ctx, &iamapi.CreatePolicyRequest{PolicyName: new("M"), Path: new("/x/"), PolicyDocument: new(allow("s3:*"))})
		}, "EntityAlreadyExists", "A policy called M already exists. Duplicate names are not allowed."},
		{"rename onto another user", func() (any, error) {
			return f.UpdateUser(ctx, &iamapi.UpdateUserRequest{UserName: new("plain"), NewUserName: new("Bob")})
		}, "EntityAlreadyExists", "User with name Bob already exists."},
		{"get a user that is not there", func() (any, error) { return f.GetUser(ctx, &iamapi.GetUserRequest{UserName: new("eve")}) }, "NoSuchEntity", "The user with name eve cannot be found."},
		{"get a role that is not there", func() (any, error) { return f.GetRole(ctx, &iamapi.GetRoleRequest{RoleName: new("x")}) }, "NoSuchEntity", "The role with name x cannot be found."},
		{"get a group that is not there", func() (any, error) { return f.GetGroup(ctx, &iamapi.GetGroupRequest{GroupName: new("x")}) }, "NoSuchEntity", "The group with name x cannot be found."},
		{"get a policy that is not there", func() (any, error) {
			return f.GetPolicy(ctx, &iamapi.GetPolicyRequest{PolicyArn: new("arn:aws:iam::000000000000:policy/x")})
		}, "NoSuchEntity", "Policy arn:aws:iam::000000000000:policy/x was not found."},
		{"get a policy by what is no ARN of one", func() (any, error) {
			return f.GetPolicy(ctx, &iamapi.GetPolicyRequest{PolicyArn: new("arn:aws:s3:::bucket/policy/x")})
		}, "InvalidInput", "ARN arn:aws:s3:::bucket/policy/x is not valid."},
		{"get a version that is not there", func() (any, error) {
			return f.GetPolicyVersion(ctx, &iamapi.GetPolicyVersionRequest{PolicyArn: &m, VersionId: new("v9")})
		}, "NoSuchEntity", "Policy " + m + " version v9 does not exist or is not attachable."},
		{"get an inline policy that is not there", func() (any, error) {
			return f.GetRolePolicy(ctx, &iamapi.GetRolePolicyRequest{RoleName: new("r"), PolicyName: new("x")})
		}, "NoSuchEntity", "The role policy with name x cannot be found."},
		{"delete an inline policy that is not there", func() (any, error) {
			return f.DeleteUserPolicy(ctx, &iamapi.DeleteUserPolicyRequest{UserName: new("bob"), PolicyName: new("x")})
		}, "NoSuchEntity", "The user policy with name x cannot be found."},
		{"attach a policy that is not there", func() (any, error) {
			return f.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: new("r"), PolicyArn: new("arn:aws:iam::aws:policy/Nothing")})
		}, "NoSuchEntity", "Policy arn:aws:iam::aws:policy/Nothing does not exist or is not attachable."},
		{"detach a policy that is not attached", func() (any, error) {
			return f.DetachRolePolicy(ctx, &iamapi.DetachRolePolicyRequest{RoleName: new("r"), PolicyArn: &aws})
		}, "NoSuchEntity", "Policy " + aws + " was not found."},
		{"delete a user with keys", func() (any, error) { return f.DeleteUser(ctx, &iamapi.DeleteUserRequest{UserName: new("bob")}) }, "DeleteConflict", "Cannot delete entity, must delete access keys first."},
		{"delete a user with an inline policy", func() (any, error) { return f.DeleteUser(ctx, &iamapi.DeleteUserRequest{UserName: new("plain")}) }, "DeleteConflict", "Cannot delete entity, must delete policies first."},
		{"delete a role with a policy", func() (any, error) { return f.DeleteRole(ctx, &iamapi.DeleteRoleRequest{RoleName: new("r")}) }, "DeleteConflict", "Cannot delete entity, must detach all policies first."},
		{"delete a group with users", func() (any, error) { return f.DeleteGroup(ctx, &iamapi.DeleteGroupRequest{GroupName: new("g")}) }, "DeleteConflict", "Cannot delete entity, must remove users from group first."},
		{"delete a policy in use", func() (any, error) { return f.DeletePolicy(ctx, &iamapi.DeletePolicyRequest{PolicyArn: &m}) }, "DeleteConflict", "Cannot delete a policy attached to entities."},
		{"delete the default version", func() (any, error) {
			return f.DeletePolicyVersion(ctx, &iamapi.DeletePolicyVersionRequest{PolicyArn: &m, VersionId: new("v1")})
		}, "DeleteConflict", "Cannot delete the default version of a policy."},
		{"delete AWS's policy", func() (any, error) { return f.DeletePolicy(ctx, &iamapi.DeletePolicyRequest{PolicyArn: &aws}) }, "AccessDenied", "managed by AWS"},
		{"an inline policy that is none", func() (any, error) {
			return f.PutRolePolicy(ctx, &iamapi.PutRolePolicyRequest{RoleName: new("r"), PolicyName: new("p"), PolicyDocument: new(trustLambda)})
		}, "MalformedPolicyDocument", "Policy document should not specify a principal."},
		{"a policy that is no JSON", func() (any, error) {
			return f.CreatePolicy(ctx, &iamapi.CreatePolicyRequest{PolicyName: new("x"), PolicyDocument: new("{")})
		}, "MalformedPolicyDocument", ""},
		{"a trust policy with a resource", func() (any, error) {
			return f.UpdateAssumeRolePolicy(ctx, &iamapi.UpdateAssumeRolePolicyRequest{RoleName: new("r"), PolicyDocument: new(allow("sts:AssumeRole"))})
		}, "MalformedPolicyDocument", "Has prohibited field Resource"},
		{"a trust policy for nobody", func() (any, error) {
			return f.CreateRole(ctx, &iamapi.CreateRoleRequest{RoleName: new("x"), AssumeRolePolicyDocument: new(trustAWS("arn:aws:iam::000000000000:user/eve"))})
		}, "MalformedPolicyDocument", `Invalid principal in policy: "AWS":"arn:aws:iam::000000000000:user/eve"`},
		{"an inline policy too large for a user", func() (any, error) {
			return f.PutUserPolicy(ctx, &iamapi.PutUserPolicyRequest{UserName: new("bob"), PolicyName: new("x"), PolicyDocument: &long})
		}, "LimitExceeded", "Maximum policy size of 2048 bytes exceeded for user bob"},
		{"a managed policy too large", func() (any, error) {
			return f.CreatePolicy(ctx, &iamapi.CreatePolicyRequest{PolicyName: new("x"), PolicyDocument: new(allow(strings.Repeat("s", 6200) + ":x"))})
		}, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144"},
		{"a trust policy too large", func() (any, error) {
			return f.UpdateAssumeRolePolicy(ctx, &iamapi.UpdateAssumeRolePolicyRequest{RoleName: new("r"), PolicyDocument: &long})
		}, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048"},
		{"a boundary that is not there", func() (any, error) {
			return f.PutUserPermissionsBoundary(ctx, &iamapi.PutUserPermissionsBoundaryRequest{UserName: new("bob"), PermissionsBoundary: new("arn:aws:iam::aws:policy/Nothing")})
		}, "NoSuchEntity", "does not exist or is not attachable."},
		{"delete a boundary that is not there", func() (any, error) {
			return f.DeleteUserPermissionsBoundary(ctx, &iamapi.DeleteUserPermissionsBoundaryRequest{UserName: new("bob")})
		}, "NoSuchEntity", "cannot be found"},
		{"a tag twice", func() (any, error) {
			return f.TagUser(ctx, &iamapi.TagUserRequest{UserName: new("bob"), Tags: []iamapi.Tag{{Key: new("a"), Value: new("1")}, {Key: new("A"), Value: new("2")}}})
		}, "InvalidInput", "Duplicate tag keys found."},
		{"AWS's tag", func() (any, error) {
			return f.TagRole(ctx, &iamapi.TagRoleRequest{RoleName: new("r"), Tags: []iamapi.Tag{{Key: new("aws:x"), Value: new("1")}}})
		}, "InvalidInput", "reserved for system use"},
		{"update a key that is not there", func() (any, error) {
			return f.UpdateAccessKey(ctx, &iamapi.UpdateAccessKeyRequest{UserName: new("bob"), AccessKeyId: new("AKIAAAAAAAAAAAAAAAAA"), Status: new(iamapi.StatusTypeInactive)})
		}, "NoSuchEntity", "The Access Key with id AKIAAAAAAAAAAAAAAAAA cannot be found."},
		{"a marker that is none", func() (any, error) { return f.ListUsers(ctx, &iamapi.ListUsersRequest{Marker: new("!")}) }, "ValidationError", "Invalid Marker."},
		{"what Davy does not have yet", func() (any, error) { return f.CreateSAMLProvider(ctx, nil) }, "NotImplemented", "CreateSAMLProvider"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := describe(f.snap.Load())
			_, err := tc.call()
			refused(t, err, tc.code, tc.text)
			if after := describe(f.snap.Load()); after != before {
				t.Errorf("a refused call changed the directory from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// describe is the directory as text, for comparing.
func describe(s *snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "account %+v\n", *s.account)
	for _, k := range kinds {
		for _, r := range s.sorted(k) {
			c := *r
			c.inline, c.trust = nil, nil
			fmt.Fprintf(&b, "%s %+v\n", k, c)
		}
	}
	var names []string
	for _, p := range s.byName {
		c := *p
		c.doc = nil
		names = append(names, fmt.Sprintf("policy %+v\n", c))
	}
	for id, e := range s.keys {
		names = append(names, fmt.Sprintf("key %s %v %v\n", id, e.Active, e.owner != nil))
	}
	for id, k := range s.keyDocs {
		names = append(names, fmt.Sprintf("reserved %s %+v\n", id, *k))
	}
	slices.Sort(names)
	return b.String() + strings.Join(names, "")
}

func TestUser_Lifecycle(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	made := must(f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: new("bob"), Path: new("/staff/"), Tags: []iamapi.Tag{{Key: new("team"), Value: new("a")}}}))(t).User
	if *made.Arn != "arn:aws:iam::000000000000:user/staff/bob" || !strings.HasPrefix(*made.UserId, "AIDA") || len(*made.UserId) != 21 || !made.CreateDate.Equal(f.clock.at) {
		t.Errorf("user %+v", made)
	}
	must(f.UpdateUser(ctx, &iamapi.UpdateUserRequest{UserName: new("bob"), NewUserName: new("Bob"), NewPath: new("/x/")}))(t)
	got := must(f.GetUser(ctx, &iamapi.GetUserRequest{UserName: new("Bob")}))(t).User
	if *got.Arn != "arn:aws:iam::000000000000:user/x/Bob" || *got.UserId != *made.UserId || len(got.Tags) != 1 {
		t.Errorf("renamed: %+v", got)
	}
	must(f.TagUser(ctx, &iamapi.TagUserRequest{UserName: new("Bob"), Tags: []iamapi.Tag{{Key: new("TEAM"), Value: new("b")}, {Key: new("x"), Value: new("")}}}))(t)
	must(f.UntagUser(ctx, &iamapi.UntagUserRequest{UserName: new("Bob"), TagKeys: []string{"X", "absent"}}))(t)
	tags := must(f.ListUserTags(ctx, &iamapi.ListUserTagsRequest{UserName: new("Bob")}))(t).Tags
	if len(tags) != 1 || *tags[0].Key != "TEAM" || *tags[0].Value != "b" {
		t.Errorf("tags %v", tags)
	}
	if list := must(f.ListUsers(ctx, &iamapi.ListUsersRequest{PathPrefix: new("/x/")}))(t).Users; len(list) != 1 || list[0].Tags != nil {
		t.Errorf("list %+v", list)
	}
	must(f.DeleteUser(ctx, &iamapi.DeleteUserRequest{UserName: new("Bob")}))(t)
	if list := must(f.ListUsers(ctx, &iamapi.ListUsersRequest{}))(t).Users; len(list) != 0 {
		t.Errorf("still there: %+v", list)
	}
}

func TestListPolicies_Filters(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	f.user("bob")
	used, bounding := f.policy("used", allow("s3:*")), f.policy("bounding", allow("s3:*"))
	f.policy("idle", allow("s3:*"))
	must(f.AttachUserPolicy(ctx, &iamapi.AttachUserPolicyRequest{UserName: new("bob"), PolicyArn: &used}))(t)
	must(f.PutUserPermissionsBoundary(ctx, &iamapi.PutUserPermissionsBoundaryRequest{UserName: new("bob"), PermissionsBoundary: &bounding}))(t)
	local := new(iamapi.PolicyScopeTypeLocal)
	for _, tc := range []struct {
		name string
		in   iamapi.ListPoliciesRequest
		want []string
	}{
		{"the customer's", iamapi.ListPoliciesRequest{Scope: local}, []string{"bounding", "idle", "used"}},
		{"attached", iamapi.ListPoliciesRequest{OnlyAttached: new(true)}, []string{"used"}},
		{"as boundary", iamapi.ListPoliciesRequest{PolicyUsageFilter: new(iamapi.PolicyUsageTypePermissionsBoundary)}, []string{"bounding"}},
		{"as policy", iamapi.ListPoliciesRequest{PolicyUsageFilter: new(iamapi.PolicyUsageTypePermissionsPolicy)}, []string{"used"}},
		{"below a path", iamapi.ListPoliciesRequest{PathPrefix: new("/service-role/"), MaxItems: new(int32(2))}, []string{"AWSLambdaBasicDurableExecutionRolePolicy", "AWSLambdaBasicExecutionRole"}},
		{"AWS's", iamapi.ListPoliciesRequest{Scope: new(iamapi.PolicyScopeTypeAws), MaxItems: new(int32(2))}, []string{"AdministratorAccess", "AmazonDynamoDBFullAccess"}},
	} {
		var got []string
		for _, p := range must(f.ListPolicies(ctx, &tc.in))(t).Policies {
			got = append(got, *p.PolicyName)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestAccessKey_Lifecycle(t *testing.T) {
	f := memory(t)
	bob := f.user("bob")
	mine := f.as(bob)
	if got := must(f.GetUser(mine, &iamapi.GetUserRequest{}))(t).User; *got.UserName != "bob" {
		t.Errorf("GetUser without a name: %+v", got)
	}
	second := must(f.CreateAccessKey(mine, &iamapi.CreateAccessKeyRequest{}))(t).AccessKey
	if len(*second.AccessKeyId) != 20 || len(*second.SecretAccessKey) != 40 || *second.UserName != "bob" {
		t.Errorf("key of %d characters, secret of %d", len(*second.AccessKeyId), len(*second.SecretAccessKey))
	}
	_, err := f.CreateAccessKey(mine, &iamapi.CreateAccessKeyRequest{})
	refused(t, err, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")

	c, err := f.Lookup(t.Context(), *second.AccessKeyId, "")
	if err != nil || c.SecretAccessKey != *second.SecretAccessKey || c.Principal.(awsapi.Principal).ARN != bob.ARN {
		t.Errorf("lookup: %v, %v", c.Principal, err)
	}
	must(f.UpdateAccessKey(mine, &iamapi.UpdateAccessKeyRequest{AccessKeyId: second.AccessKeyId, Status: new(iamapi.StatusTypeInactive)}))(t)
	if _, err := f.Lookup(t.Context(), *second.AccessKeyId, ""); err == nil {
		t.Error("an inactive key works")
	}
	f.Used(bob.AccessID, "s3", "eu-west-1")
	used := must(f.GetAccessKeyLastUsed(mine, &iamapi.GetAccessKeyLastUsedRequest{AccessKeyId: &bob.AccessID}))(t)
	if *used.UserName != "bob" || *used.AccessKeyLastUsed.ServiceName != "s3" || *used.AccessKeyLastUsed.Region != "eu-west-1" || used.AccessKeyLastUsed.LastUsedDate == nil {
		t.Errorf("last used %+v", used)
	}
	never := must(f.GetAccessKeyLastUsed(mine, &iamapi.GetAccessKeyLastUsedRequest{AccessKeyId: second.AccessKeyId}))(t)
	if *never.AccessKeyLastUsed.ServiceName != "N/A" || never.AccessKeyLastUsed.LastUsedDate != nil {
		t.Errorf("never used %+v", never)
	}
	list := must(f.ListAccessKeys(mine, &iamapi.ListAccessKeysRequest{}))(t).AccessKeyMetadata
	if len(list) != 2 {
		t.Errorf("keys %+v", list)
	}
	must(f.DeleteAccessKey(mine, &iamapi.DeleteAccessKeyRequest{AccessKeyId: &bob.AccessID}))(t)
	if _, err := f.Lookup(t.Context(), bob.AccessID, ""); err == nil {
		t.Error("a deleted key works")
	}
}

func TestManagedPolicy_Versions(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	bob := f.user("bob")
	m := f.policy("m", allow("s3:GetObject"))
	must(f.AttachUserPolicy(ctx, &iamapi.AttachUserPolicyRequest{UserName: new("bob"), PolicyArn: &m}))(t)
	if !f.may(bob, "s3:GetObject") || f.may(bob, "s3:PutObject") {
		t.Error("v1 does not count")
	}
	for i := 2; i <= 5; i++ {
		v := must(f.CreatePolicyVersion(ctx, &iamapi.CreatePolicyVersionRequest{PolicyArn: &m, PolicyDocument: new(allow("s3:PutObject")), SetAsDefault: new(i == 3)}))(t).PolicyVersion
		if *v.VersionId != fmt.Sprintf("v%d", i) || *v.IsDefaultVersion != (i == 3) {
			t.Errorf("version %+v", v)
		}
	}
	_, err := f.CreatePolicyVersion(ctx, &iamapi.CreatePolicyVersionRequest{PolicyArn: &m, PolicyDocument: new(allow("s3:*"))})
	refused(t, err, "LimitExceeded", "A managed policy can have up to 5 versions.")
	if f.may(bob, "s3:GetObject") || !f.may(bob, "s3:PutObject") {
		t.Error("v3 does not count")
	}
	must(f.SetDefaultPolicyVersion(ctx, &iamapi.SetDefaultPolicyVersionRequest{PolicyArn: &m, VersionId: new("v1")}))(t)
	if !f.may(bob, "s3:GetObject") {
		t.Error("v1 does not count again")
	}
	must(f.DeletePolicyVersion(ctx, &iamapi.DeletePolicyVersionRequest{PolicyArn: &m, VersionId: new("v5")}))(t)
	v := must(f.CreatePolicyVersion(ctx, &iamapi.CreatePolicyVersionRequest{PolicyArn: &m, PolicyDocument: new(allow("s3:*"))}))(t)
	if *v.PolicyVersion.VersionId != "v6" {
		t.Errorf("a version id came again: %s", *v.PolicyVersion.VersionId)
	}
	var ids []string
	for _, v := range must(f.ListPolicyVersions(ctx, &iamapi.ListPolicyVersionsRequest{PolicyArn: &m}))(t).Versions {
		ids = append(ids, *v.VersionId)
	}
	if want := []string{"v6", "v4", "v3", "v2", "v1"}; !slices.Equal(ids, want) {
		t.Errorf("versions %v, want %v", ids, want)
	}
	got := must(f.GetPolicyVersion(ctx, &iamapi.GetPolicyVersionRequest{PolicyArn: &m, VersionId: new("v1")}))(t).PolicyVersion
	if text, err := url.PathUnescape(*got.Document); err != nil || text != allow("s3:GetObject") || strings.ContainsAny(*got.Document, `{":*,`) {
		t.Errorf("document %s", *got.Document)
	}
	p := must(f.GetPolicy(ctx, &iamapi.GetPolicyRequest{PolicyArn: &m}))(t).Policy
	if *p.AttachmentCount != 1 || *p.DefaultVersionId != "v1" || !strings.HasPrefix(*p.PolicyId, "ANPA") {
		t.Errorf("policy %+v", p)
	}
	must(f.DetachUserPolicy(ctx, &iamapi.DetachUserPolicyRequest{UserName: new("bob"), PolicyArn: &m}))(t)
	_, err = f.DeletePolicy(ctx, &iamapi.DeletePolicyRequest{PolicyArn: &m})
	refused(t, err, "DeleteConflict", "This policy has more than one version.")
}

func TestGrants_followEveryAttachment(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	bob := f.user("bob")
	m := f.policy("m", allow("s3:ListBucket"))
	must(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new("g")}))(t)
	must(f.PutGroupPolicy(ctx, &iamapi.PutGroupPolicyRequest{GroupName: new("g"), PolicyName: new("p"), PolicyDocument: new(allow("sqs:*"))}))(t)
	must(f.AttachGroupPolicy(ctx, &iamapi.AttachGroupPolicyRequest{GroupName: new("g"), PolicyArn: &m}))(t)
	step := func(name string, want map[string]bool) {
		t.Helper()
		for action, allowed := range want {
			if f.may(bob, action) != allowed {
				t.Errorf("%s: %s is allowed: %v", name, action, !allowed)
			}
		}
	}
	step("nothing", map[string]bool{"s3:ListBucket": false, "sqs:SendMessage": false, "iam:GetUser": false})
	must(f.AddUserToGroup(ctx, &iamapi.AddUserToGroupRequest{GroupName: new("g"), UserName: new("bob")}))(t)
	step("in the group", map[string]bool{"s3:ListBucket": true, "sqs:SendMessage": true, "iam:GetUser": false})
	must(f.UpdateGroup(ctx, &iamapi.UpdateGroupRequest{GroupName: new("g"), NewGroupName: new("h")}))(t)
	step("group renamed", map[string]bool{"s3:ListBucket": true})
	if gs := must(f.ListGroupsForUser(ctx, &iamapi.ListGroupsForUserRequest{UserName: new("bob")}))(t).Groups; len(gs) != 1 || *gs[0].GroupName != "h" {
		t.Errorf("groups %+v", gs)
	}
	must(f.PutUserPolicy(ctx, &iamapi.PutUserPolicyRequest{UserName: new("bob"), PolicyName: new("p"), PolicyDocument: new(allow("iam:GetUser"))}))(t)
	step("inline", map[string]bool{"s3:ListBucket": true, "iam:GetUser": true})
	must(f.PutUserPermissionsBoundary(ctx, &iamapi.PutUserPermissionsBoundaryRequest{UserName: new("bob"), PermissionsBoundary: &m}))(t)
	step("bounded", map[string]bool{"s3:ListBucket": true, "iam:GetUser": false, "sqs:SendMessage": false})
	entities := must(f.ListEntitiesForPolicy(ctx, &iamapi.ListEntitiesForPolicyRequest{PolicyArn: &m}))(t)
	if len(entities.PolicyUsers) != 1 || len(entities.PolicyGroups) != 1 || len(entities.PolicyRoles) != 0 {
		t.Errorf("entities %+v", entities)
	}
	_, err := f.DeletePolicy(ctx, &iamapi.DeletePolicyRequest{PolicyArn: &m})
	refused(t, err, "DeleteConflict", "Cannot delete a policy attached")
	must(f.DeleteUserPermissionsBoundary(ctx, &iamapi.DeleteUserPermissionsBoundaryRequest{UserName: new("bob")}))(t)
	must(f.RemoveUserFromGroup(ctx, &iamapi.RemoveUserFromGroupRequest{GroupName: new("h"), UserName: new("bob")}))(t)
	step("out of the group", map[string]bool{"s3:ListBucket": false, "iam:GetUser": true})
	if !f.may(f.root, "iam:DeleteUser") {
		t.Error("root may not")
	}
	if _, err := f.Grants(ctx, awsapi.Principal{ARN: "arn:aws:iam::000000000000:user/eve", UserID: "AIDAEVE", Account: account, AccessID: "AKIAEVE"}); !errors.Is(err, ErrUnknownPrincipal) {
		t.Errorf("an unknown principal: %v", err)
	}
}

func TestAWSPolicies_areValid(t *testing.T) {
	list, err := awsManaged()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"service-role/AWSLambdaBasicExecutionRole", "AWSLambda_FullAccess", "AmazonS3FullAccess", "AmazonS3ReadOnlyAccess", "AdministratorAccess", "ReadOnlyAccess"} {
		p := list["arn:aws:iam::aws:policy/"+name]
		if p == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if _, err := p.doc(); err != nil || p.ID == "" || p.Created.IsZero() {
			t.Errorf("%s: %q, %v", name, p.ID, err)
		}
	}
}

func TestBootstrap(t *testing.T) {
	store := statetest.NewMemory()
	for _, tc := range []struct {
		name, account, id, secret string
		wantID, failure           string
	}{
		{"no account", "12", "", "", "", "12 digits"},
		{"half a key", account, "test", "", "", "both"},
		{"the user's own", account, "test", "test", "test", ""},
		{"again", account, "test", "test", "test", ""},
		{"the one that is there", account, "", "", "test", ""},
		{"another secret", account, "test", "better", "test", ""},
		{"a second", account, "more", "more", "more", ""},
		{"a third", account, "third", "third", "", "2 access keys already"},
		{"another account", "111111111111", "", "", "", "account 000000000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := New(t.Context(), Config{Store: store})
			if err != nil {
				t.Fatal(err)
			}
			id, secret, err := s.Bootstrap(t.Context(), tc.account, tc.id, tc.secret)
			if tc.failure != "" {
				if err == nil || !strings.Contains(err.Error(), tc.failure) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || id != tc.wantID || tc.secret != "" && secret != tc.secret {
				t.Fatalf("%s, %s, %v", id, secret, err)
			}
			if c, err := s.Lookup(t.Context(), id, ""); err != nil || c.SecretAccessKey != secret || c.Principal.(awsapi.Principal).ARN != "arn:aws:iam::000000000000:root" {
				t.Errorf("lookup: %+v, %v", c.Principal, err)
			}
		})
	}
}

// TestPages: whatever the page size, the pages put together are the list.
func TestPages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.StringMatching(`[a-zA-Z0-9_]{1,4}`), strings.ToLower).Draw(rt, "names")
		slices.SortFunc(names, order)
		size := rapid.Int32Range(1, 10).Draw(rt, "page")
		var got []string
		var marker *string
		for {
			list, truncated, next, err := page(names, itself, marker, &size)
			if err != nil || len(list) > int(size) || *truncated != (next != nil) {
				rt.Fatal(list, truncated, next, err)
			}
			got = append(got, list...)
			if marker = next; next == nil {
				break
			}
		}
		if !slices.Equal(got, names) {
			rt.Fatalf("%v, want %v", got, names)
		}
	})
}

// TestConcurrent: two directories on one store, as two processes would be,
// agree on who has a name, and no policy is deleted while it is attached.
func TestConcurrent(t *testing.T) {
	store := must(sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()}))(t)
	defer store.Close()
	a, b := open(t, store), open(t, store)
	ctx := t.Context()
	role := must(a.CreateRole(ctx, &iamapi.CreateRoleRequest{RoleName: new("r"), AssumeRolePolicyDocument: new(trustLambda)}))(t)

	var wg sync.WaitGroup
	var mu sync.Mutex
	made := map[string]int{}
	for i := range 16 {
		for _, f := range []*fixture{a, b} {
			wg.Go(func() {
				name := fmt.Sprintf("User%d", i%4)
				_, err := f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: &name})
				var exists *iamapi.EntityAlreadyExistsException
				if err != nil && !errors.As(err, &exists) {
					t.Errorf("create %s: %v", name, err)
				}
				if err == nil {
					mu.Lock()
					made[name]++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if want := map[string]int{"User0": 1, "User1": 1, "User2": 1, "User3": 1}; !reflect.DeepEqual(made, want) {
		t.Errorf("made %v", made)
	}

	for i := range 10 {
		m := a.policy(fmt.Sprintf("m%d", i), allow("s3:*"))
		b.snap.Store(must(load(ctx, b.peers, ""))(t)) // b has seen the policy, but not its attachment
		var attached, deleted error
		wg.Go(func() {
			_, attached = a.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: role.Role.RoleName, PolicyArn: &m})
		})
		wg.Go(func() { _, deleted = b.DeletePolicy(ctx, &iamapi.DeletePolicyRequest{PolicyArn: &m}) })
		wg.Wait()
		fresh := open(t, store)
		_, there := fresh.snap.Load().policies[m]
		if fresh.snap.Load().usage(m).attached > 0 && !there {
			t.Fatalf("attached to a policy that is gone: attach %v, delete %v", attached, deleted)
		}
		if there {
			_, _ = fresh.DetachRolePolicy(ctx, &iamapi.DetachRolePolicyRequest{RoleName: new("r"), PolicyArn: &m})
		}
	}
}

// TestRestart: what was acknowledged is there after the store is opened anew.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	store := must(sqlite.Open(t.Context(), sqlite.Config{Dir: dir}))(t)
	f := open(t, store)
	ctx := t.Context()
	bob := f.user("bob")
	role := f.role("r", trustAWS(bob.ARN))
	m := f.policy("m", allow("s3:*"))
	must(f.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: new("r"), PolicyArn: &m}))(t)
	must(f.PutRolePolicy(ctx, &iamapi.PutRolePolicyRequest{RoleName: new("r"), PolicyName: new("p"), PolicyDocument: new(allow("sqs:*"))}))(t)
	must(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new("g")}))(t)
	must(f.AddUserToGroup(ctx, &iamapi.AddUserToGroupRequest{GroupName: new("g"), UserName: new("bob")}))(t)
	must(f.UpdateUser(ctx, &iamapi.UpdateUserRequest{UserName: new("bob"), NewUserName: new("Robert")}))(t)
	must(f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: new("bob")}))(t)
	session := f.assume(f.lookup(bob.AccessID, ""), role, nil)
	want := describe(f.snap.Load())
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	store = must(sqlite.Open(t.Context(), sqlite.Config{Dir: dir}))(t)
	defer store.Close()
	again := open(t, store)
	if got := describe(again.snap.Load()); got != want {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", got, want)
	}
	p := again.lookup(session.AccessKeyID, session.SessionToken)
	if !again.may(p, "s3:GetObject") || !again.may(p, "sqs:SendMessage") || again.may(p, "iam:GetUser") {
		t.Error("the session's permissions differ after a restart")
	}
}

// TestUnknownOutcome: when the store cannot say whether it committed, the
// directory shows what the store has.
func TestUnknownOutcome(t *testing.T) {
	store := statetest.NewMemory()
	f := open(t, store)
	store.FailCommits(state.ErrUnknown)
	if _, err := f.CreateUser(t.Context(), &iamapi.CreateUserRequest{UserName: new("bob")}); !errors.Is(err, state.ErrUnknown) {
		t.Fatalf("got %v", err)
	}
	store.FailCommits(nil)
	_, err := f.GetUser(t.Context(), &iamapi.GetUserRequest{UserName: new("bob")})
	refused(t, err, "NoSuchEntity", "bob")
	must(f.CreateUser(t.Context(), &iamapi.CreateUserRequest{UserName: new("bob")}))(t)
}
