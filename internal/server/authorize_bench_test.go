package server

import (
	"context"
	"fmt"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/api/s3api"
	"davy/internal/authz"
	"davy/internal/awsapi"
	"davy/internal/iam"
	"davy/internal/policy"
	"davy/internal/state/statetest"
)

// noPolicies are resources of the caller's account without policies.
type noPolicies struct{}

func (noPolicies) ResourcePolicy(context.Context, string) (*policy.Document, string, map[string]string, error) {
	return nil, "000000000000", nil, nil
}

// BenchmarkAuthorize_20Policies is the decision on one request of a user with
// ten policies of its own and ten of its group, the last of which allows it.
// It must stay below 50 µs. Nothing below it does I/O.
func BenchmarkAuthorize_20Policies(b *testing.B) {
	accounts, err := iam.Open(b.Context(), iam.Config{Store: statetest.NewMemory()})
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := accounts.Bootstrap(b.Context(), "000000000000", "", ""); err != nil {
		b.Fatal(err)
	}
	s := accounts.First()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	user, group := new("dev"), new("devs")
	_, err = s.CreateUser(b.Context(), &iamapi.CreateUserRequest{UserName: user})
	must(err)
	_, err = s.CreateGroup(b.Context(), &iamapi.CreateGroupRequest{GroupName: group})
	must(err)
	_, err = s.AddUserToGroup(b.Context(), &iamapi.AddUserToGroupRequest{UserName: user, GroupName: group})
	must(err)
	for i := range 20 {
		p, err := s.CreatePolicy(b.Context(), &iamapi.CreatePolicyRequest{PolicyName: new(fmt.Sprint("p", i)), PolicyDocument: new(fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":["dynamodb:GetItem","dynamodb:Query","dynamodb:BatchGet*"],"Resource":"arn:aws:dynamodb:us-east-1:000000000000:table/t%[1]d*"},
 {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::bucket-%[1]d/*","arn:aws:s3:::other-%[1]d/*/x-*"]},
 {"Effect":"Allow","Action":"s3:List*","Resource":"arn:aws:s3:::bucket-%[1]d","Condition":{"StringLike":{"s3:prefix":["home/*","${aws:username}/*"]}}},
 {"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"},"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.0.0/16"]}}}]}`, i))})
		must(err)
		if i < 10 {
			_, err = s.AttachUserPolicy(b.Context(), &iamapi.AttachUserPolicyRequest{UserName: user, PolicyArn: p.Policy.Arn})
		} else {
			_, err = s.AttachGroupPolicy(b.Context(), &iamapi.AttachGroupPolicyRequest{GroupName: group, PolicyArn: p.Policy.Arn})
		}
		must(err)
	}
	key, err := s.CreateAccessKey(b.Context(), &iamapi.CreateAccessKeyRequest{UserName: user})
	must(err)
	credential, err := accounts.Lookup(b.Context(), *key.AccessKey.AccessKeyId, "")
	must(err)
	judge, err := authz.New(authz.Config{Identities: accounts, Resources: noPolicies{}, Entities: accounts})
	must(err)
	p := credential.Principal.(awsapi.Principal)
	call := &awsapi.Call{Service: "s3", Operation: "GetObject", Account: p.Account, Principal: p, Region: "us-east-1", SourceIP: "10.1.2.3", Secure: true, Time: time.Now()}
	ctx := awsapi.WithCall(b.Context(), call)
	in := &s3api.GetObjectRequest{Bucket: new("bucket-19"), Key: new("some/long/key/of/an/object.jpg")}
	b.ReportAllocs()
	for b.Loop() {
		if err := judge.Authorize(ctx, call, "s3", "GetObject", in); err != nil {
			b.Fatal(err)
		}
	}
}
