package authz

import (
	"crypto/tls"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// TestFacts lists condition keys with the values that they have in a request;
// "-" is a key without a value.
func TestFacts(t *testing.T) {
	const bucket = "arn:aws:s3:::b"
	w := &world{
		grants: map[string]policy.Grants{
			dev: {Tags: map[string]string{"Team": "red"}},
			session: {
				RoleARN: execRole, Tags: map[string]string{"Team": "blue"},
				More: map[string][]string{"aws:tokenissuetime": {"2026-11-22T00:00:00Z"}, "aws:multifactorauthpresent": {"false"}},
			},
		},
		owners:   map[string]string{bucket: other},
		tags:     map[string]map[string]string{"arn:aws:iam::" + account + ":role/r": {"Env": "prod"}, function: {"Env": "dev"}},
		entities: map[string][2]string{"role/r": {"arn:aws:iam::" + account + ":role/r", "arn:aws:iam::" + account + ":policy/b"}},
	}
	a := w.authorizer(t)
	user := awsapi.Principal{ARN: dev, UserID: "AIDAEXAMPLEEXAMPLE00", Account: account}
	assumed := awsapi.Principal{ARN: session, UserID: "AROAEXAMPLEEXAMPLE00:copy", Account: account}
	root := awsapi.Principal{ARN: "arn:aws:iam::" + account + ":root", UserID: account, Account: account}

	for _, tc := range []struct {
		name               string
		who                awsapi.Principal
		service, operation string
		in                 any
		action             string // empty: the first need
		want               string // KEY=VALUE,VALUE ...
	}{
		{
			"a user", user, "s3", "GetObject", &s3api.GetObjectRequest{Bucket: new("b"), Key: new("k")}, "",
			"aws:principalarn=" + dev + " aws:principalaccount=" + account + " aws:principaltype=User aws:userid=AIDAEXAMPLEEXAMPLE00 aws:username=dev" +
				" aws:principaltag/team=red aws:principaltag/TEAM=red aws:principaltag/other=- aws:tokenissuetime=- aws:principalisawsservice=false aws:viaawsservice=false" +
				" aws:sourceip=203.0.113.7 aws:securetransport=true aws:currenttime=2026-11-22T10:00:00Z aws:epochtime=1795341600 aws:requestedregion=us-east-1" +
				" aws:useragent=aws-cli/2 aws:referer=https://example.com/ aws:resourceaccount=" + other + " aws:sourcearn=- aws:nonsense=-" +
				" s3:prefix=- s3:resourceaccount=" + other + " s3:authtype=REST-HEADER s3:signatureversion=AWS4-HMAC-SHA256 s3:tlsversion=1.3 s3:x-amz-content-sha256=UNSIGNED-PAYLOAD lambda:principal=- odd=-",
		},
		{
			"a session", assumed, "s3", "ListBuckets", &s3api.ListBucketsRequest{}, "",
			"aws:principalarn=" + execRole + " aws:principaltype=AssumedRole aws:userid=AROAEXAMPLEEXAMPLE00:copy aws:username=- aws:principaltag/team=blue aws:tokenissuetime=2026-11-22T00:00:00Z aws:multifactorauthpresent=false aws:resourceaccount=" + account,
		},
		{
			"the root user", root, "s3", "ListBuckets", &s3api.ListBucketsRequest{}, "",
			"aws:principalarn=" + root.ARN + " aws:principaltype=Account aws:userid=" + account + " aws:username=-",
		},
		{
			"nobody",
			awsapi.Principal{},
			"s3", "GetObject", &s3api.GetObjectRequest{Bucket: new("b"), Key: new("k")}, "",
			"aws:principalarn=- aws:principalaccount=- aws:principaltype=Anonymous aws:userid=anonymous",
		},
		{
			"a listing", user, "s3", "ListObjectsV2", &s3api.ListObjectsV2Request{Bucket: new("b"), Prefix: new("home/"), Delimiter: new(""), MaxKeys: new(int32(10))}, "",
			"s3:prefix=home/ s3:delimiter= s3:max-keys=10 s3:x-amz-acl=-",
		},
		{"a version", user, "s3", "GetObject", &s3api.GetObjectRequest{Bucket: new("b"), Key: new("k"), VersionId: new("3")}, "", "s3:versionid=3"},
		{"a source's version", user, "s3", "CopyObject", &s3api.CopyObjectRequest{Bucket: new("b"), Key: new("k"), CopySource: new("b/k?versionId=4")}, "", "s3:versionid=4"},
		{
			"an upload", user, "s3", "PutObject", &s3api.PutObjectRequest{Bucket: new("b"), Key: new("k"), Tagging: new("a=1&b=2")}, "",
			"s3:x-amz-acl=public-read s3:requestobjecttag/a=1 s3:requestobjecttag/c=- s3:requestobjecttagkeys=a,b s3:objectcreationoperation=true s3:if-none-match=* s3:prefix=-",
		},
		{"a part", user, "s3", "UploadPart", &s3api.UploadPartRequest{Bucket: new("b"), Key: new("k")}, "", "s3:objectcreationoperation=false"},
		{
			"a bucket", user, "s3", "CreateBucket", &s3api.CreateBucketRequest{Bucket: new("new"), CreateBucketConfiguration: &s3api.CreateBucketConfiguration{
				LocationConstraint: new(s3api.BucketLocationConstraint("eu-west-1")), Tags: []s3api.Tag{{Key: new("k"), Value: new("v")}},
			}}, "",
			"s3:locationconstraint=eu-west-1 aws:requesttag/k=v aws:tagkeys=k",
		},
		{
			"object tags", user, "s3", "PutObjectTagging", &s3api.PutObjectTaggingRequest{Bucket: new("b"), Key: new("k"), Tagging: &s3api.Tagging{TagSet: []s3api.Tag{{Key: new("a"), Value: new("1")}}}}, "",
			"s3:requestobjecttag/a=1 s3:requestobjecttagkeys=a",
		},
		{
			"a function", user, "lambda", "CreateFunction", &lambdaapi.CreateFunctionRequest{
				FunctionName: new("f"), Role: new(execRole), Layers: []string{"l1", "l2"}, Tags: map[string]string{"a": "1"},
				VpcConfig: &lambdaapi.VpcConfig{SubnetIds: []string{"s1"}, SecurityGroupIds: []string{"g1"}},
			}, "",
			"lambda:layer=l1,l2 lambda:subnetids=s1 lambda:securitygroupids=g1 aws:requesttag/a=1 aws:tagkeys=a iam:passedtoservice=-",
		},
		{
			"a passed role", user, "lambda", "CreateFunction", &lambdaapi.CreateFunctionRequest{FunctionName: new("copy"), Role: new(execRole)}, "iam:PassRole",
			"iam:passedtoservice=lambda.amazonaws.com iam:associatedresourcearn=" + function + " lambda:layer=-",
		},
		{
			"a permission", user, "lambda", "AddPermission", &lambdaapi.AddPermissionRequest{FunctionName: new("copy"), Principal: new("*"), FunctionUrlAuthType: new(lambdaapi.FunctionUrlAuthType("NONE"))}, "",
			"lambda:principal=* lambda:functionurlauthtype=NONE aws:resourcetag/env=dev",
		},
		{"a mapping", user, "lambda", "CreateEventSourceMapping", &lambdaapi.CreateEventSourceMappingRequest{FunctionName: new("copy")}, "", "lambda:functionarn=" + function},
		{"untagging", user, "lambda", "UntagResource", &lambdaapi.UntagResourceRequest{Resource: new(function), TagKeys: []string{"a", "b"}}, "", "aws:tagkeys=a,b aws:resourcetag/ENV=dev"},
		{
			"an attachment", user, "iam", "AttachRolePolicy", &iamapi.AttachRolePolicyRequest{RoleName: new("r"), PolicyArn: new("arn:aws:iam::aws:policy/X")}, "",
			"iam:policyarn=arn:aws:iam::aws:policy/X iam:permissionsboundary=arn:aws:iam::" + account + ":policy/b aws:resourcetag/env=prod iam:resourcetag/env=prod",
		},
		{"a service's role", user, "iam", "CreateServiceLinkedRole", &iamapi.CreateServiceLinkedRoleRequest{AWSServiceName: new("lambda.amazonaws.com")}, "", "iam:awsservicename=lambda.amazonaws.com"},
		{
			"a session to be", user, "sts", "AssumeRole", &stsapi.AssumeRoleRequest{RoleArn: new(execRole), ExternalId: new("x"), RoleSessionName: new("s"), SourceIdentity: new("me"), TransitiveTagKeys: []string{"t"}}, "",
			"sts:externalid=x sts:rolesessionname=s sts:sourceidentity=me sts:transitivetagkeys=t",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
			for k, v := range map[string]string{"User-Agent": "aws-cli/2", "Referer": "https://example.com/", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD", "X-Amz-Acl": "public-read", "If-None-Match": "*"} {
				r.Header.Set(k, v)
			}
			call := &awsapi.Call{
				Service: tc.service, Region: "us-east-1", Account: account, Principal: tc.who, SourceIP: "203.0.113.7", Secure: true,
				Time: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Request: r,
			}
			q, err := a.request(t.Context(), call, tc.service, tc.operation, tc.in)
			if err != nil {
				t.Fatal(err)
			}
			needs, _ := q.needs()
			n := &needs[0]
			for i := range needs {
				if needs[i].action == tc.action {
					n = &needs[i]
				}
			}
			f, err := q.facts(n, &policy.Request{})
			if err != nil {
				t.Fatal(err)
			}
			for _, pair := range strings.Fields(tc.want) {
				key, want, _ := strings.Cut(pair, "=")
				values, ok := f.Lookup(key)
				slices.Sort(values)
				got := strings.Join(values, ",")
				if !ok {
					got = "-"
				}
				if got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
		})
	}
}

// A presigned request is told from one signed in its headers.
func TestFacts_AuthType(t *testing.T) {
	a := (&world{}).authorizer(t)
	r := httptest.NewRequest("GET", "/b/k?X-Amz-Signature=00", nil)
	q, err := a.request(t.Context(), &awsapi.Call{Request: r}, "s3", "GetObject", &s3api.GetObjectRequest{Bucket: new("b"), Key: new("k")})
	if err != nil {
		t.Fatal(err)
	}
	f := &facts{request: q, need: &need{action: "s3:GetObject"}}
	if v, _ := f.Lookup("s3:authtype"); len(v) != 1 || v[0] != "REST-QUERY-STRING" {
		t.Error(v)
	}
}
