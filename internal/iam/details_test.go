package iam

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"davy/api/iamapi"
)

// everyKind fills a directory with something of each kind: bob in group g, role
// r in profile p, policy m on r, AWS's AdministratorAccess on g.
func everyKind(t *testing.T) (f *fixture, m string) {
	t.Helper()
	f = memory(t)
	ctx := t.Context()
	f.user("bob")
	f.role("r", trustLambda)
	m = f.policy("m", allow("s3:*"))
	f.policy("idle", allow("sqs:*"))
	must(f.CreatePolicyVersion(ctx, &iamapi.CreatePolicyVersionRequest{PolicyArn: &m, PolicyDocument: new(allow("s3:Get*"))}))(t)
	must(f.CreateGroup(ctx, &iamapi.CreateGroupRequest{GroupName: new("g"), Path: new("/x/")}))(t)
	must(f.AddUserToGroup(ctx, &iamapi.AddUserToGroupRequest{GroupName: new("g"), UserName: new("bob")}))(t)
	must(f.AttachGroupPolicy(ctx, &iamapi.AttachGroupPolicyRequest{GroupName: new("g"), PolicyArn: new("arn:aws:iam::aws:policy/AdministratorAccess")}))(t)
	must(f.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: new("r"), PolicyArn: &m}))(t)
	must(f.PutUserPolicy(ctx, &iamapi.PutUserPolicyRequest{UserName: new("bob"), PolicyName: new("in"), PolicyDocument: new(allow("logs:*"))}))(t)
	must(f.PutUserPermissionsBoundary(ctx, &iamapi.PutUserPermissionsBoundaryRequest{UserName: new("bob"), PermissionsBoundary: &m}))(t)
	must(f.TagUser(ctx, &iamapi.TagUserRequest{UserName: new("bob"), Tags: []iamapi.Tag{{Key: new("a"), Value: new("1")}}}))(t)
	must(f.CreateInstanceProfile(ctx, &iamapi.CreateInstanceProfileRequest{InstanceProfileName: new("p")}))(t)
	must(f.AddRoleToInstanceProfile(ctx, &iamapi.AddRoleToInstanceProfileRequest{InstanceProfileName: new("p"), RoleName: new("r")}))(t)
	return f, m
}

// names lists what an answer holds, in its order.
func names(out *iamapi.GetAccountAuthorizationDetailsResponse) []string {
	var all []string
	for _, u := range out.UserDetailList {
		all = append(all, "user "+*u.UserName)
	}
	for _, g := range out.GroupDetailList {
		all = append(all, "group "+*g.GroupName)
	}
	for _, r := range out.RoleDetailList {
		all = append(all, "role "+*r.RoleName)
	}
	for _, p := range out.Policies {
		all = append(all, "policy "+*p.PolicyName)
	}
	return all
}

func TestGetAccountAuthorizationDetails_FilterAndPages(t *testing.T) {
	f, _ := everyKind(t)
	for _, tc := range []struct {
		filter []iamapi.EntityType
		want   []string
	}{
		{nil, []string{"user bob", "group g", "role r", "policy AdministratorAccess", "policy idle", "policy m"}},
		{[]iamapi.EntityType{"User"}, []string{"user bob"}},
		{[]iamapi.EntityType{"Role", "Group"}, []string{"group g", "role r"}},
		{[]iamapi.EntityType{"LocalManagedPolicy"}, []string{"policy idle", "policy m"}},
		{[]iamapi.EntityType{"AWSManagedPolicy"}, []string{"policy AdministratorAccess"}},
	} {
		for _, size := range []int32{1, 2, 100} {
			var got []string
			in := &iamapi.GetAccountAuthorizationDetailsRequest{Filter: tc.filter, MaxItems: &size}
			for {
				out := must(f.GetAccountAuthorizationDetails(t.Context(), in))(t)
				got = append(got, names(out)...)
				if !*out.IsTruncated {
					break
				}
				in.Marker = out.Marker
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%v by %d: %v, want %v", tc.filter, size, got, tc.want)
			}
		}
	}
}

func TestGetAccountAuthorizationDetails_Members(t *testing.T) {
	f, m := everyKind(t)
	out := must(f.GetAccountAuthorizationDetails(t.Context(), &iamapi.GetAccountAuthorizationDetailsRequest{}))(t)
	u, g, r := out.UserDetailList[0], out.GroupDetailList[0], out.RoleDetailList[0]
	if len(u.GroupList) != 1 || u.GroupList[0] != "g" || len(u.UserPolicyList) != 1 || *u.UserPolicyList[0].PolicyName != "in" || *u.PermissionsBoundary.PermissionsBoundaryArn != m || len(u.Tags) != 1 {
		t.Errorf("user %+v", u)
	}
	if *g.Arn != "arn:aws:iam::000000000000:group/x/g" || *g.AttachedManagedPolicies[0].PolicyName != "AdministratorAccess" {
		t.Errorf("group %+v", g)
	}
	if len(r.InstanceProfileList) != 1 || *r.AttachedManagedPolicies[0].PolicyArn != m || *r.AssumeRolePolicyDocument == "" {
		t.Errorf("role %+v", r)
	}
	for _, p := range out.Policies {
		if *p.PolicyName == "m" && (len(p.PolicyVersionList) != 2 || *p.PolicyVersionList[0].VersionId != "v2" || p.PolicyVersionList[0].Document == nil || *p.AttachmentCount != 1 || *p.PermissionsBoundaryUsageCount != 1) {
			t.Errorf("policy %+v", p)
		}
	}
}

func TestCredentialReport(t *testing.T) {
	f, _ := everyKind(t)
	ctx := t.Context()
	_, err := f.GetCredentialReport(ctx, &iamapi.GetCredentialReportInput{})
	refused(t, err, "ReportNotPresent", "")
	f.iterations = 1000
	must(f.UpdateAccountPasswordPolicy(ctx, &iamapi.UpdateAccountPasswordPolicyRequest{MaxPasswordAge: new(int32(10))}))(t)
	must(f.CreateLoginProfile(ctx, &iamapi.CreateLoginProfileRequest{UserName: new("bob"), Password: new("Correct-horse-7")}))(t)
	must(f.CreateUser(ctx, &iamapi.CreateUserRequest{UserName: new("plain"), Path: new("/x/")}))(t)
	keys := must(f.ListAccessKeys(ctx, &iamapi.ListAccessKeysRequest{UserName: new("bob")}))(t).AccessKeyMetadata
	f.Used(*keys[0].AccessKeyId, "s3", "eu-west-1")

	if got := must(f.GenerateCredentialReport(ctx, &iamapi.GenerateCredentialReportInput{}))(t); *got.State != "STARTED" || *got.Description == "" {
		t.Errorf("first: %+v", got)
	}
	if got := must(f.GenerateCredentialReport(ctx, &iamapi.GenerateCredentialReportInput{}))(t); *got.State != "COMPLETE" {
		t.Errorf("second: %+v", got)
	}
	report := must(f.GetCredentialReport(ctx, &iamapi.GetCredentialReportInput{}))(t)
	if *report.ReportFormat != "text/csv" || !report.GeneratedTime.Equal(f.clock.at) {
		t.Errorf("report %+v", report)
	}
	rows, err := csv.NewReader(strings.NewReader(string(report.Content))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, strings.Join(r, ","))
	}
	want := []string{
		"user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated",
		"<root_account>,arn:aws:iam::000000000000:root,2026-11-22T12:00:00+00:00,not_supported,N/A,not_supported,not_supported,false,true,2026-11-22T12:00:00+00:00,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
		"bob,arn:aws:iam::000000000000:user/bob,2026-11-22T12:00:00+00:00,true,no_information,2026-11-22T12:00:00+00:00,2026-12-02T12:00:00+00:00,false,true,2026-11-22T12:00:00+00:00,2026-11-22T12:00:00+00:00,eu-west-1,s3,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
		"plain,arn:aws:iam::000000000000:user/x/plain,2026-11-22T12:00:00+00:00,false,N/A,N/A,N/A,false,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	f.clock.add(4 * time.Hour)
	_, err = f.GetCredentialReport(ctx, &iamapi.GetCredentialReportInput{})
	refused(t, err, "ReportExpired", "")
	if got := must(f.GenerateCredentialReport(ctx, &iamapi.GenerateCredentialReportInput{}))(t); *got.State != "STARTED" {
		t.Errorf("after it expired: %+v", got)
	}
}

func TestListPoliciesGrantingServiceAccess(t *testing.T) {
	f, m := everyKind(t)
	out := must(f.ListPoliciesGrantingServiceAccess(t.Context(), &iamapi.ListPoliciesGrantingServiceAccessRequest{
		Arn: new("arn:aws:iam::000000000000:user/bob"), ServiceNamespaces: []string{"s3", "logs"},
	}))(t)
	var got []string
	for _, e := range out.PoliciesGrantingServiceAccess {
		for _, p := range e.Policies {
			entity := ""
			if p.EntityName != nil {
				entity = string(*p.EntityType) + " " + *p.EntityName
			}
			got = append(got, fmt.Sprint(*e.ServiceNamespace, " ", *p.PolicyName, " ", *p.PolicyType, " ", entity))
		}
	}
	if want := []string{"logs in INLINE USER bob", "logs AdministratorAccess MANAGED ", "s3 AdministratorAccess MANAGED "}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	of := must(f.ListPoliciesGrantingServiceAccess(t.Context(), &iamapi.ListPoliciesGrantingServiceAccessRequest{Arn: new("arn:aws:iam::000000000000:role/r"), ServiceNamespaces: []string{"s3"}}))(t)
	if p := of.PoliciesGrantingServiceAccess[0].Policies; len(p) != 1 || *p[0].PolicyArn != m {
		t.Errorf("of the role: %+v", p)
	}
}

func TestGrantsService(t *testing.T) {
	for _, tc := range []struct {
		statement string
		want      bool
	}{
		{`{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`, true},
		{`{"Effect":"Allow","Action":["sqs:*","S3:Get*"],"Resource":"*"}`, true},
		{`{"Effect":"Allow","Action":"*","Resource":"*"}`, true},
		{`{"Effect":"Allow","Action":"sqs:*","Resource":"*"}`, false},
		{`{"Effect":"Deny","Action":"s3:*","Resource":"*"}`, false},
		{`{"Effect":"Allow","NotAction":"sqs:*","Resource":"*"}`, true},
		{`{"Effect":"Allow","NotAction":["s3:*"],"Resource":"*"}`, false},
		{`{"Effect":"Allow","NotAction":"s3:Get*","Resource":"*"}`, true},
		{`[{"Effect":"Deny","Action":"s3:*","Resource":"*"},{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]`, true},
	} {
		got, err := grantsService(`{"Version":"2012-10-17","Statement":`+tc.statement+`}`, "s3")
		if err != nil || got != tc.want {
			t.Errorf("%s: %v, %v", tc.statement, got, err)
		}
	}
}

// TestAbsent: what Davy does not have is listed as empty, for users that exist
// only, and cannot be made.
func TestAbsent(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	f.user("bob")
	for _, name := range []string{"bob", "eve"} {
		for op, call := range map[string]func() error{
			"ListMFADevices": func() error { return second(f.ListMFADevices(ctx, &iamapi.ListMFADevicesRequest{UserName: &name})) },
			"ListSigningCertificates": func() error {
				return second(f.ListSigningCertificates(ctx, &iamapi.ListSigningCertificatesRequest{UserName: &name}))
			},
			"ListSSHPublicKeys": func() error {
				return second(f.ListSSHPublicKeys(ctx, &iamapi.ListSSHPublicKeysRequest{UserName: &name}))
			},
			"ListServiceSpecificCredentials": func() error {
				return second(f.ListServiceSpecificCredentials(ctx, &iamapi.ListServiceSpecificCredentialsRequest{UserName: &name}))
			},
		} {
			if err := call(); name == "bob" && err != nil {
				t.Errorf("%s: %v", op, err)
			} else if name == "eve" {
				refused(t, err, "NoSuchEntity", "The user with name eve cannot be found.")
			}
		}
	}
	if n := len(must(f.ListVirtualMFADevices(ctx, nil))(t).VirtualMFADevices) + len(must(f.ListServerCertificates(ctx, nil))(t).ServerCertificateMetadataList) + len(must(f.ListSAMLProviders(ctx, nil))(t).SAMLProviderList); n != 0 {
		t.Errorf("%d things that do not exist", n)
	}
	for op, err := range map[string]error{
		"CreateVirtualMFADevice":  second(f.CreateVirtualMFADevice(ctx, nil)),
		"EnableMFADevice":         second(f.EnableMFADevice(ctx, nil)),
		"UploadSSHPublicKey":      second(f.UploadSSHPublicKey(ctx, nil)),
		"UploadServerCertificate": second(f.UploadServerCertificate(ctx, nil)),
		"CreateSAMLProvider":      second(f.CreateSAMLProvider(ctx, nil)),
		"CreateServiceLinkedRole": second(f.CreateServiceLinkedRole(ctx, nil)),
		"DeleteServiceLinkedRole": second(f.DeleteServiceLinkedRole(ctx, nil)),
	} {
		refused(t, err, "NotImplemented", op)
	}
	_, err := f.CreateRole(ctx, &iamapi.CreateRoleRequest{RoleName: new("AWSServiceRoleForX"), Path: new("/aws-service-role/x.amazonaws.com/"), AssumeRolePolicyDocument: new(trustLambda)})
	refused(t, err, "InvalidInput", "reserved for service-linked roles")
}

// TestDetails_manyPages: pages of a large directory join without gap or
// repetition, whatever their size.
func TestDetails_manyPages(t *testing.T) {
	s := &snapshot{order: map[kind][]*record{}}
	for _, k := range []kind{userKind, groupKind, roleKind} {
		for i := range 1300 {
			s.order[k] = append(s.order[k], &record{Kind: k, Name: fmt.Sprintf("n%04d", i)})
		}
	}
	for _, size := range []int32{7, 1000} {
		in := &iamapi.GetAccountAuthorizationDetailsRequest{MaxItems: &size}
		seen := 0
		for last := ""; ; {
			list, truncated, marker, err := page(s.details(in), detail.name, in.Marker, in.MaxItems)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				if d.name() <= last {
					t.Fatalf("%s after %s", d.name(), last)
				}
				last = d.name()
				seen++
			}
			if in.Marker = marker; !*truncated {
				break
			}
		}
		if seen != 3900 {
			t.Errorf("%d entities in pages of %d", seen, size)
		}
	}
}
