// Package iam drives Davy's IAM and STS with the SDK's clients: signed
// requests in, what the client makes of the answers out.
package iam

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/api/stsapi"
	"davy/internal/awsapi"
	directory "davy/internal/iam"
	"davy/internal/sigv4"
	"davy/internal/state"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

const account = "000000000000"

// store is as much of a store as the directory uses, for one process.
type store struct {
	state.Store
	rev  int64
	docs map[string]state.Doc
}

func (s *store) Commit(_ context.Context, b state.Batch) (int64, error) {
	for _, op := range b.Ops {
		if op.IfRev != state.Any && op.IfRev != s.docs[op.Key].Rev {
			return 0, state.ErrConflict
		}
	}
	s.rev++
	for _, op := range b.Ops {
		if op.Value == nil {
			delete(s.docs, op.Key)
		} else {
			s.docs[op.Key] = state.Doc{Key: op.Key, Rev: s.rev, Value: op.Value}
		}
	}
	return s.rev, nil
}

func (s *store) List(context.Context, string, string, int) ([]state.Doc, error) {
	return slices.Collect(maps.Values(s.docs)), nil
}

// serve is the path of a request without authorisation: verify, decode, call.
func serve(t *testing.T, s *directory.Service) string {
	t.Helper()
	v, err := sigv4.New(sigv4.Config{Keys: s})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		svc, impl := iamapi.Service, any(s)
		if sigv4.Peek(r).Scope.Service == "sts" {
			svc, impl = stsapi.Service, s.STS()
		}
		ec := awsapi.ErrorContext{Method: r.Method, RequestID: "id-1"}
		id, err := v.Verify(r, sigv4.Target{Service: svc.SigningName, Family: sigv4.Query, MaxBody: 1 << 20})
		if err != nil {
			svc.WriteError(w, ec, err)
			return
		}
		p := id.Principal.(awsapi.Principal)
		call := &awsapi.Call{RequestID: ec.RequestID, Request: r, Principal: p, Account: p.Account, Region: id.Scope.Region, Time: time.Now()}
		call.Response.Header = http.Header{}
		m, err := svc.Match(r, "", awsapi.Limits{})
		if err != nil {
			svc.WriteError(w, ec, err)
			return
		}
		ctx := awsapi.WithCall(r.Context(), call)
		in, err := m.Decode(ctx, r, awsapi.Limits{})
		if err != nil {
			svc.WriteError(w, ec, err)
			return
		}
		out, err := m.Op.Call(ctx, impl, in)
		if err != nil {
			svc.WriteError(w, ec, err)
			return
		}
		if err := svc.WriteOutput(w, call, m.Op, out); err != nil {
			t.Errorf("write the output of %s: %v", m.Op.Name, err)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func credentials(id, secret, token string) aws.CredentialsProvider {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
	}))
}

func TestClients(t *testing.T) {
	s := must(directory.New(t.Context(), directory.Config{Store: &store{docs: map[string]state.Doc{}}}))(t)
	rootID, rootSecret, err := s.Bootstrap(t.Context(), account, "", "")
	if err != nil {
		t.Fatal(err)
	}
	endpoint, ctx := serve(t, s), t.Context()
	client := func(c aws.CredentialsProvider) (*iam.Client, *sts.Client) {
		return iam.New(iam.Options{BaseEndpoint: &endpoint, Region: "us-east-1", Credentials: c, RetryMaxAttempts: 1}),
			sts.New(sts.Options{BaseEndpoint: &endpoint, Region: "us-east-1", Credentials: c, RetryMaxAttempts: 1})
	}
	root, rootSTS := client(credentials(rootID, rootSecret, ""))
	me := must(rootSTS.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))(t)
	if *me.Arn != "arn:aws:iam::000000000000:root" || *me.UserId != account {
		t.Errorf("root is %s", *me.Arn)
	}

	u := must(root.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("bob"), Path: aws.String("/staff/"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v+ü @x")}}}))(t).User
	if *u.Arn != "arn:aws:iam::000000000000:user/staff/bob" || u.CreateDate == nil || *u.Tags[0].Value != "v+ü @x" {
		t.Errorf("user %+v", u)
	}
	key := must(root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: u.UserName}))(t).AccessKey
	bob, bobSTS := client(credentials(*key.AccessKeyId, *key.SecretAccessKey, ""))
	if got := must(bob.GetUser(ctx, &iam.GetUserInput{}))(t).User; *got.UserName != "bob" {
		t.Errorf("bob is %+v", got)
	}

	const document = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/ü+%"}]}`
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + *u.Arn + `"},"Action":"sts:AssumeRole"}]}`
	role := must(root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: &trust, MaxSessionDuration: aws.Int32(7200)}))(t).Role
	if text, _ := url.PathUnescape(*role.AssumeRolePolicyDocument); text != trust || *role.MaxSessionDuration != 7200 {
		t.Errorf("role %+v", role)
	}
	p := must(root.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(document)}))(t).Policy
	must(root.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: role.RoleName, PolicyArn: p.Arn}))(t)
	must(root.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: aws.String("inline"), PolicyDocument: aws.String(document)}))(t)
	v := must(root.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v1")}))(t).PolicyVersion
	if text, _ := url.PathUnescape(*v.Document); text != document || !v.IsDefaultVersion {
		t.Errorf("version %+v", v)
	}
	if got := must(root.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: role.RoleName}))(t); len(got.AttachedPolicies) != 1 || *got.AttachedPolicies[0].PolicyName != "p" || got.IsTruncated {
		t.Errorf("attached %+v", got.AttachedPolicies)
	}
	if got := must(root.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: role.RoleName}))(t); len(got.PolicyNames) != 1 {
		t.Errorf("inline %v", got.PolicyNames)
	}
	entities := must(root.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: p.Arn}))(t)
	if len(entities.PolicyRoles) != 1 || len(entities.PolicyUsers) != 0 {
		t.Errorf("entities %+v", entities)
	}
	if got := must(root.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{}))(t).SummaryMap; got["Users"] != 1 || got["Roles"] != 1 || got["Policies"] != 1 {
		t.Errorf("summary %v", got)
	}
	// AWS's managed policies and one of the account's, each once.
	pages, seen := iam.NewListPoliciesPaginator(root, &iam.ListPoliciesInput{MaxItems: aws.Int32(2)}), map[string]bool{}
	for pages.HasMorePages() {
		for _, p := range must(pages.NextPage(ctx))(t).Policies {
			if seen[*p.PolicyName] {
				t.Errorf("policy %s is listed twice", *p.PolicyName)
			}
			seen[*p.PolicyName] = true
		}
	}
	if !seen["p"] || !seen["AWSLambdaBasicExecutionRole"] {
		t.Errorf("policies %v", seen)
	}

	assumed := must(bobSTS.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Arn, RoleSessionName: aws.String("s1"), DurationSeconds: aws.Int32(7200)}))(t)
	c := assumed.Credentials
	_, sessionSTS := client(credentials(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken))
	if got := must(sessionSTS.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))(t); *got.Arn != "arn:aws:sts::000000000000:assumed-role/r/s1" || *got.Arn != *assumed.AssumedRoleUser.Arn {
		t.Errorf("session is %s", *got.Arn)
	}

	for _, tc := range []struct {
		name       string
		err        error
		code, text string
	}{
		{"no such role", second(root.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("x")})), "NoSuchEntity", "The role with name x cannot be found."},
		{"user exists", second(root.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("bob")})), "EntityAlreadyExists", "User with name bob already exists."},
		{"role in use", second(root.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: role.RoleName})), "DeleteConflict", "Cannot delete entity, must detach all policies first."},
		{"not a policy", second(root.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: u.UserName, PolicyName: aws.String("x"), PolicyDocument: aws.String("{}")})), "MalformedPolicyDocument", ""},
		{"bad name", second(root.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("a/b")})), "ValidationError", "userName"},
		{"not built yet", second(root.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("m")})), "NotImplemented", "CreateVirtualMFADevice"},
		{"root assumes", second(rootSTS.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Arn, RoleSessionName: aws.String("s1")})), "AccessDenied", "Roles may not be assumed by root accounts."},
		{"wrong secret", func() error {
			wrong, _ := client(credentials(*key.AccessKeyId, "wrong", ""))
			return second(wrong.GetUser(ctx, &iam.GetUserInput{}))
		}(), "SignatureDoesNotMatch", "The Canonical String for this request should have been"},
		{"unknown key", func() error {
			unknown, _ := client(credentials("AKIAAAAAAAAAAAAAAAAA", "wrong", ""))
			return second(unknown.GetUser(ctx, &iam.GetUserInput{}))
		}(), "InvalidClientTokenId", "The security token included in the request is invalid."},
	} {
		var e smithy.APIError
		if !errors.As(tc.err, &e) || e.ErrorCode() != tc.code || !strings.Contains(e.ErrorMessage(), tc.text) {
			t.Errorf("%s: %v, want %s: %s", tc.name, tc.err, tc.code, tc.text)
		}
	}
}

func second[T any](_ T, err error) error { return err }
