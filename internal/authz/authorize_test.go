package authz

import (
	"errors"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

func TestAuthorize_UnknownOperationIsRefused(t *testing.T) {
	a := (&world{}).authorizer(t)
	root := awsapi.Principal{ARN: "arn:aws:iam::" + account + ":root", Account: account, UserID: account}
	for service, want := range map[string]string{
		"s3":     "403 AccessDenied User: " + root.ARN + " is not authorized to perform: s3:MakeCoffee",
		"lambda": "403 AccessDeniedException User: " + root.ARN + " is not authorized to perform: lambda:MakeCoffee",
		"logs":   "400 AccessDeniedException User: " + root.ARN + " is not authorized to perform: logs:MakeCoffee",
		"ec2":    "403 AccessDenied User: " + root.ARN + " is not authorized to perform: ec2:MakeCoffee",
	} {
		if got := answer(t, ask(t.Context(), a, root, service, "MakeCoffee", nil)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, name := range unknown {
		service, operation, _ := strings.Cut(name, ":")
		if ask(t.Context(), a, root, service, operation, nil) == nil {
			t.Errorf("%s is allowed", name)
		}
	}
}

// A store that fails allows nothing and tells the caller nothing.
func TestAuthorize_FailsClosed(t *testing.T) {
	w := &world{grants: map[string]policy.Grants{dev: identity(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`)}, broken: errBroken}
	a := w.authorizer(t)
	for name, err := range map[string]error{
		"grants":   ask(t.Context(), a, userPrincipal("dev"), "s3", "ListBuckets", &s3api.ListBucketsRequest{}),
		"resource": ask(t.Context(), a, awsapi.Principal{}, "s3", "GetObject", &s3api.GetObjectRequest{Bucket: new("b"), Key: new("k")}),
		"entity":   ask(t.Context(), a, awsapi.Principal{}, "iam", "GetRole", &iamapi.GetRoleRequest{RoleName: new("r")}),
		"trusts":   a.Trusts(t.Context(), execRole, "lambda.amazonaws.com"),
	} {
		var modelled awsapi.Error
		if !errors.Is(err, errBroken) || errors.As(err, &modelled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A condition whose value can't be read fails the request, not the condition.
func TestAuthorize_FailsClosedInACondition(t *testing.T) {
	w := &brokenTags{world{grants: map[string]policy.Grants{dev: identity(t,
		`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iam:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/lock":"yes"}}}`)}}}
	a := testAuthorizer(t, Config{Identities: w, Resources: w})
	if err := ask(t.Context(), a, userPrincipal("dev"), "iam", "DeleteRole", &iamapi.DeleteRoleRequest{RoleName: new("r")}); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func TestS3_BucketPolicies(t *testing.T) {
	const friend = "arn:aws:iam::" + other + ":user/friend"
	all := `{"Effect":"Allow","Action":"*","Resource":"*"}`
	w := &world{
		grants: map[string]policy.Grants{friend: identity(t, all), dev: {}},
		owners: map[string]string{"arn:aws:s3:::private": account, "arn:aws:s3:::public": account, "arn:aws:s3:::shared": account, "arn:aws:s3:::locked": account, "arn:aws:s3:::theirs": other},
		policies: map[string]*policy.Document{
			"arn:aws:s3:::public": parse(t, policy.Resource, `{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::public/*"}}`),
			"arn:aws:s3:::shared": parse(t, policy.Resource, `{"Statement":{"Effect":"Allow","Principal":{"AWS":["`+other+`","`+dev+`"]},"Action":"s3:GetObject","Resource":"arn:aws:s3:::shared/*"}}`),
			"arn:aws:s3:::locked": parse(t, policy.Resource, `{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::locked","arn:aws:s3:::locked/*"]}}`),
		},
	}
	a := w.authorizer(t)
	root := awsapi.Principal{ARN: "arn:aws:iam::" + account + ":root", Account: account, UserID: account}
	stranger := awsapi.Principal{ARN: friend, Account: other}
	anyone := awsapi.Principal{}
	user := userPrincipal("dev")
	const denied = "403 AccessDenied Access Denied"
	for _, tc := range []struct {
		who    awsapi.Principal
		bucket string
		want   string
	}{
		{anyone, "public", "allowed"},
		{anyone, "private", denied},
		{anyone, "missing", denied},
		{stranger, "shared", "allowed"},
		{stranger, "private", denied},
		{stranger, "public", "allowed"},
		{user, "shared", "allowed"},
		{user, "private", "403 AccessDenied User: " + dev + ` is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::private/k" because no identity-based policy allows the s3:GetObject action`},
		{root, "private", "allowed"},
		{root, "theirs", denied},
		{root, "locked", "403 AccessDenied User: " + root.ARN + ` is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::locked/k" with an explicit deny in a resource-based policy`},
		// A bucket that does not exist is the service's to tell, for those who
		// might read it.
		{root, "missing", "allowed"},
	} {
		got := answer(t, ask(t.Context(), a, tc.who, "s3", "GetObject", &s3api.GetObjectRequest{Bucket: &tc.bucket, Key: new("k")}))
		if got != tc.want {
			t.Errorf("%s on %s:\n got  %s\n want %s", tc.who.ARN, tc.bucket, got, tc.want)
		}
	}
	// Creating what another account has is the service's conflict to tell.
	if got := answer(t, ask(t.Context(), a, root, "s3", "CreateBucket", &s3api.CreateBucketRequest{Bucket: new("theirs")})); got != "allowed" {
		t.Error(got)
	}
}

func TestS3_DeleteObjects(t *testing.T) {
	w := &world{grants: map[string]policy.Grants{dev: identity(t, `{"Effect":"Allow","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::b/mine/*"}`)}}
	request := func(keys ...string) *s3api.DeleteObjectsRequest {
		in := &s3api.DeleteObjectsRequest{Bucket: new("b"), Delete: &s3api.Delete{}}
		for _, k := range keys {
			in.Delete.Objects = append(in.Delete.Objects, s3api.ObjectIdentifier{Key: &k})
		}
		return in
	}
	refused := "403 AccessDenied User: " + dev + ` is not authorized to perform: s3:DeleteObject on resource: "arn:aws:s3:::b/yours" because no identity-based policy allows the s3:DeleteObject action`
	whole := w.authorizer(t)
	if got := answer(t, ask(t.Context(), whole, userPrincipal("dev"), "s3", "DeleteObjects", request("mine/a", "mine/b"))); got != "allowed" {
		t.Error(got)
	}
	if got := answer(t, ask(t.Context(), whole, userPrincipal("dev"), "s3", "DeleteObjects", request("mine/a", "yours"))); got != refused {
		t.Error(got)
	}
	// Where the service asks key by key, the request passes and the key fails.
	each := testAuthorizer(t, Config{Identities: w, Resources: w, PerKeyDelete: true})
	call := &awsapi.Call{Service: "s3", Operation: "DeleteObjects", Account: account, Principal: userPrincipal("dev")}
	ctx := awsapi.WithCall(t.Context(), call)
	if got := answer(t, each.Authorize(ctx, call, "s3", "DeleteObjects", request("mine/a", "yours"))); got != "allowed" {
		t.Error(got)
	}
	for _, tc := range []struct{ key, version, want string }{
		{"mine/a", "", "allowed"},
		{"yours", "", refused},
		{"mine/a", "3", "403 AccessDenied User: " + dev + ` is not authorized to perform: s3:DeleteObjectVersion on resource: "arn:aws:s3:::b/mine/a" because no identity-based policy allows the s3:DeleteObjectVersion action`},
	} {
		if got := answer(t, each.MayDelete(ctx, "b", tc.key, tc.version)); got != tc.want {
			t.Errorf("%s: %s", tc.key, got)
		}
	}
	if got := answer(t, each.Check(ctx, "s3:DeleteObject", "arn:aws:s3:::b/mine/a")); got != "allowed" {
		t.Error(got)
	}
}

// Readers of a CopySource differ on +: both readings must be allowed.
func TestS3_CopySourceReadings(t *testing.T) {
	w := &world{grants: map[string]policy.Grants{dev: identity(t, `{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"},{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/open+*"}`)}}
	a := w.authorizer(t)
	for source, want := range map[string]bool{"b/open%2Bx": true, "b/open+x": false, "b/open%2Bx%zz": false, "/b/open%2B": true, "b/other": false} {
		err := ask(t.Context(), a, userPrincipal("dev"), "s3", "CopyObject", &s3api.CopyObjectRequest{Bucket: new("d"), Key: new("k"), CopySource: &source})
		if (err == nil) != want {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestLambda_FunctionNames(t *testing.T) {
	const base = "arn:aws:lambda:us-east-1:" + account + ":function:f"
	a := (&world{}).authorizer(t)
	for _, tc := range []struct{ name, qualifier, want string }{
		{"f", "", base},
		{"f", "live", base + ":live"},
		{"f:live", "", base + ":live"},
		{"f:live", "live", base + ":live"},
		{base, "$LATEST", base + ":$LATEST"},
		{base + ":1", "", base + ":1"},
		{other + ":function:f", "", "arn:aws:lambda:us-east-1:" + other + ":function:f"},
		{"arn:aws:lambda:eu-west-1:" + other + ":function:f", "2", "arn:aws:lambda:eu-west-1:" + other + ":function:f:2"},
	} {
		q, err := a.request(t.Context(), &awsapi.Call{Region: "us-east-1", Account: account}, "lambda", "Invoke", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := q.functionARN(tc.name, tc.qualifier); got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.name, tc.qualifier, got, tc.want)
		}
	}
}

// A function of another account is called only by its policy.
func TestLambda_CrossAccountInvoke(t *testing.T) {
	theirs := "arn:aws:lambda:us-east-1:" + other + ":function:f"
	w := &world{grants: map[string]policy.Grants{dev: identity(t, `{"Effect":"Allow","Action":"lambda:*","Resource":"*"}`)}}
	in := &lambdaapi.InvocationRequest{FunctionName: &theirs}
	want := "403 AccessDeniedException User: " + dev + " is not authorized to perform: lambda:InvokeFunction on resource: " + theirs + " because no resource-based policy allows the lambda:InvokeFunction action"
	if got := answer(t, ask(t.Context(), w.authorizer(t), userPrincipal("dev"), "lambda", "Invoke", in)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.policies = map[string]*policy.Document{theirs: parse(t, policy.Resource, `{"Statement":{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"lambda:InvokeFunction","Resource":"`+theirs+`"}}`)}
	if got := answer(t, ask(t.Context(), w.authorizer(t), userPrincipal("dev"), "lambda", "Invoke", in)); got != "allowed" {
		t.Error(got)
	}
}

func TestSTS_AssumeRole(t *testing.T) {
	role := "arn:aws:iam::" + account + ":role/deploy"
	w := &world{
		grants: map[string]policy.Grants{dev: {}},
		policies: map[string]*policy.Document{role: parse(t, policy.Trust, `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":"`+dev+`"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"x"},"StringLike":{"sts:RoleSessionName":"${aws:username}-*"}}},
			{"Effect":"Allow","Principal":{"AWS":"`+dev+`"},"Action":"sts:TagSession","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["team"]},"StringEquals":{"aws:RequestTag/team":"red"}}}]}`)},
	}
	a := w.authorizer(t)
	refused := func(action string) string {
		return "403 AccessDenied User: " + dev + " is not authorized to perform: " + action + " on resource: " + role + " because no role trust policy allows the " + action + " action"
	}
	tags := func(kv ...string) (out []stsapi.Tag) {
		for i := 0; i < len(kv); i += 2 {
			out = append(out, stsapi.Tag{Key: &kv[i], Value: &kv[i+1]})
		}
		return out
	}
	for _, tc := range []struct {
		name string
		in   stsapi.AssumeRoleRequest
		want string
	}{
		{"all right", stsapi.AssumeRoleRequest{RoleArn: &role, ExternalId: new("x"), RoleSessionName: new("dev-1")}, "allowed"},
		{"no external id", stsapi.AssumeRoleRequest{RoleArn: &role, RoleSessionName: new("dev-1")}, refused("sts:AssumeRole")},
		{"another's session name", stsapi.AssumeRoleRequest{RoleArn: &role, ExternalId: new("x"), RoleSessionName: new("eve-1")}, refused("sts:AssumeRole")},
		{"tags", stsapi.AssumeRoleRequest{RoleArn: &role, ExternalId: new("x"), RoleSessionName: new("dev-1"), Tags: tags("team", "red")}, "allowed"},
		{"wrong tag", stsapi.AssumeRoleRequest{RoleArn: &role, ExternalId: new("x"), RoleSessionName: new("dev-1"), Tags: tags("team", "blue")}, refused("sts:TagSession")},
		{"one tag too many", stsapi.AssumeRoleRequest{RoleArn: &role, ExternalId: new("x"), RoleSessionName: new("dev-1"), Tags: tags("team", "red", "more", "x")}, refused("sts:TagSession")},
		{"source identity", stsapi.AssumeRoleRequest{RoleArn: &role, ExternalId: new("x"), RoleSessionName: new("dev-1"), SourceIdentity: new("me")}, refused("sts:SetSourceIdentity")},
	} {
		if got := answer(t, ask(t.Context(), a, userPrincipal("dev"), "sts", "AssumeRole", &tc.in)); got != tc.want {
			t.Errorf("%s:\n got  %s\n want %s", tc.name, got, tc.want)
		}
	}
	// One statement with a condition may allow the session's tags as well.
	w.policies[role] = parse(t, policy.Trust, `{"Statement":{"Effect":"Allow","Principal":{"AWS":"`+dev+`"},"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"x"}}}}`)
	together := &stsapi.AssumeRoleRequest{RoleArn: &role, ExternalId: new("x"), RoleSessionName: new("s"), Tags: tags("team", "red")}
	if got := answer(t, ask(t.Context(), a, userPrincipal("dev"), "sts", "AssumeRole", together)); got != "allowed" {
		t.Error(got)
	}
	// What is no role is not assumed, by the root user either.
	root := awsapi.Principal{ARN: "arn:aws:iam::" + account + ":root", Account: account}
	for _, target := range []string{"arn:aws:iam::" + account + ":user/dev", "*", role + "-missing"} {
		if err := ask(t.Context(), a, root, "sts", "AssumeRole", &stsapi.AssumeRoleRequest{RoleArn: &target}); err == nil {
			t.Errorf("%s was assumed", target)
		}
	}
}

func TestSTS_NeedsNoPermission(t *testing.T) {
	w := &world{grants: map[string]policy.Grants{dev: identity(t, `{"Effect":"Deny","Action":"*","Resource":"*"}`)}}
	a := w.authorizer(t)
	if got := answer(t, ask(t.Context(), a, userPrincipal("dev"), "sts", "GetCallerIdentity", nil)); got != "allowed" {
		t.Error(got)
	}
	if got := answer(t, ask(t.Context(), a, awsapi.Principal{}, "sts", "GetCallerIdentity", nil)); got != "403 MissingAuthenticationToken Request is missing Authentication Token" {
		t.Error(got)
	}
	if got := answer(t, ask(t.Context(), a, awsapi.Principal{}, "sts", "AssumeRoleWithWebIdentity", nil)); got != "allowed" {
		t.Error(got)
	}
}

// IAM's resources have the entity's path, and its boundary is a condition key.
func TestIAM_EntitiesArePathed(t *testing.T) {
	const team = "arn:aws:iam::" + account + ":user/team/eve"
	boundary := "arn:aws:iam::" + account + ":policy/bound"
	w := &world{
		entities: map[string][2]string{"user/eve": {team, boundary}},
		grants: map[string]policy.Grants{dev: identity(t, `
			{"Effect":"Allow","Action":["iam:UpdateUser","iam:DeleteUser"],"Resource":"arn:aws:iam::*:user/team/*"},
			{"Effect":"Allow","Action":["iam:AttachUserPolicy","iam:CreateUser"],"Resource":"*","Condition":{"ArnEquals":{"iam:PermissionsBoundary":"`+boundary+`"}}},
			{"Effect":"Deny","Action":"iam:AttachUserPolicy","Resource":"*","Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AdministratorAccess"}}},
			{"Effect":"Allow","Action":"iam:TagUser","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/team":"red"}}}`)},
	}
	a := w.authorizer(t)
	for _, tc := range []struct {
		name, operation string
		in              any
		want            bool
	}{
		{"in the path", "DeleteUser", &iamapi.DeleteUserRequest{UserName: new("eve")}, true},
		{"outside it", "DeleteUser", &iamapi.DeleteUserRequest{UserName: new("bob")}, false},
		{"renamed inside", "UpdateUser", &iamapi.UpdateUserRequest{UserName: new("eve"), NewUserName: new("eva")}, true},
		{"moved out", "UpdateUser", &iamapi.UpdateUserRequest{UserName: new("eve"), NewPath: new("/")}, false},
		{"bounded", "AttachUserPolicy", &iamapi.AttachUserPolicyRequest{UserName: new("eve"), PolicyArn: new("arn:aws:iam::aws:policy/ReadOnlyAccess")}, true},
		{"administrator", "AttachUserPolicy", &iamapi.AttachUserPolicyRequest{UserName: new("eve"), PolicyArn: new("arn:aws:iam::aws:policy/AdministratorAccess")}, false},
		{"unbounded", "AttachUserPolicy", &iamapi.AttachUserPolicyRequest{UserName: new("bob"), PolicyArn: new("arn:aws:iam::aws:policy/ReadOnlyAccess")}, false},
		{"created bounded", "CreateUser", &iamapi.CreateUserRequest{UserName: new("new"), PermissionsBoundary: &boundary}, true},
		{"created unbounded", "CreateUser", &iamapi.CreateUserRequest{UserName: new("new")}, false},
		{"created with tag", "CreateUser", &iamapi.CreateUserRequest{UserName: new("new"), PermissionsBoundary: &boundary, Tags: []iamapi.Tag{{Key: new("team"), Value: new("red")}}}, true},
		{"created with another tag", "CreateUser", &iamapi.CreateUserRequest{UserName: new("new"), PermissionsBoundary: &boundary, Tags: []iamapi.Tag{{Key: new("team"), Value: new("blue")}}}, false},
	} {
		if err := ask(t.Context(), a, userPrincipal("dev"), "iam", tc.operation, tc.in); (err == nil) != tc.want {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// TestNeeds pins what operations ask for beyond the action of their name.
func TestNeeds(t *testing.T) {
	a := (&world{}).authorizer(t)
	tags := []iamapi.Tag{{Key: new("k"), Value: new("v")}}
	group := "arn:aws:logs:us-east-1:" + account + ":log-group:g"
	user := "arn:aws:iam::" + account + ":user/"
	for _, tc := range []struct {
		service, operation string
		in                 any
		want               string
	}{
		{
			"s3", "PutObject", &s3api.PutObjectRequest{Bucket: new("b"), Key: new("k"), GrantRead: new("id=1"), ObjectLockMode: new(s3api.ObjectLockMode("GOVERNANCE")), ObjectLockLegalHoldStatus: new(s3api.ObjectLockLegalHoldStatus("ON"))},
			"s3:PutObject arn:aws:s3:::b/k|s3:PutObjectAcl arn:aws:s3:::b/k|s3:PutObjectRetention arn:aws:s3:::b/k|s3:PutObjectLegalHold arn:aws:s3:::b/k",
		},
		{"s3", "GetObjectAttributes", &s3api.GetObjectAttributesRequest{Bucket: new("b"), Key: new("k")}, "s3:GetObject arn:aws:s3:::b/k|s3:GetObjectAttributes arn:aws:s3:::b/k"},
		{"s3", "DeleteObject", &s3api.DeleteObjectRequest{Bucket: new("b"), Key: new("k"), VersionId: new("1"), BypassGovernanceRetention: new(true)}, "s3:DeleteObjectVersion arn:aws:s3:::b/k|s3:BypassGovernanceRetention arn:aws:s3:::b/k"},
		{"s3", "CreateBucket", &s3api.CreateBucketRequest{Bucket: new("b"), ACL: new(s3api.BucketCannedACL("private"))}, "s3:CreateBucket arn:aws:s3:::b"},
		{
			"s3", "CreateBucket", &s3api.CreateBucketRequest{Bucket: new("b"), ACL: new(s3api.BucketCannedACL("public-read")), ObjectLockEnabledForBucket: new(true), ObjectOwnership: new(s3api.ObjectOwnership("ObjectWriter"))},
			"s3:CreateBucket arn:aws:s3:::b|s3:PutBucketAcl arn:aws:s3:::b|s3:PutBucketObjectLockConfiguration arn:aws:s3:::b|s3:PutBucketVersioning arn:aws:s3:::b|s3:PutBucketOwnershipControls arn:aws:s3:::b",
		},
		{"s3", "DeleteObjectTagging", &s3api.DeleteObjectTaggingRequest{Bucket: new("b"), Key: new("k"), VersionId: new("1")}, "s3:DeleteObjectVersionTagging arn:aws:s3:::b/k"},
		{"lambda", "GetLayerVersion", &lambdaapi.GetLayerVersionRequest{LayerName: new("arn:aws:lambda:us-east-1:" + other + ":layer:l"), VersionNumber: new(int64(3))}, "lambda:GetLayerVersion arn:aws:lambda:us-east-1:" + other + ":layer:l:3"},
		{"lambda", "GetLayerVersionByArn", &lambdaapi.GetLayerVersionByArnRequest{Arn: new("arn:aws:lambda:us-east-1:" + other + ":layer:l:3")}, "lambda:GetLayerVersion arn:aws:lambda:us-east-1:" + other + ":layer:l:3"},
		{"lambda", "AddLayerVersionPermission", &lambdaapi.AddLayerVersionPermissionRequest{LayerName: new("l"), VersionNumber: new(int64(3))}, "lambda:AddLayerVersionPermission arn:aws:lambda:us-east-1:" + account + ":layer:l:3"},
		{"lambda", "ListLayerVersions", &lambdaapi.ListLayerVersionsRequest{LayerName: new("l")}, "lambda:ListLayerVersions arn:aws:lambda:us-east-1:" + account + ":layer:l"},
		{"lambda", "ListLayerVersions", &lambdaapi.ListLayerVersionsRequest{LayerName: new("arn:aws:lambda:us-east-1:" + other + ":layer:l")}, "lambda:ListLayerVersions arn:aws:lambda:us-east-1:" + other + ":layer:l"},
		{"lambda", "PublishLayerVersion", &lambdaapi.PublishLayerVersionRequest{LayerName: new("l"), Content: &lambdaapi.LayerVersionContentInput{S3Bucket: new("b"), S3Key: new("k"), S3ObjectVersion: new("1")}}, "lambda:PublishLayerVersion arn:aws:lambda:us-east-1:" + account + ":layer:l|s3:GetObjectVersion arn:aws:s3:::b/k"},
		{"lambda", "UpdateFunctionConfiguration", &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new("f"), Layers: []string{"arn:aws:lambda:us-east-1:" + other + ":layer:l:3"}}, "lambda:UpdateFunctionConfiguration arn:aws:lambda:us-east-1:" + account + ":function:f|lambda:GetLayerVersion arn:aws:lambda:us-east-1:" + other + ":layer:l:3"},
		{"lambda", "GetProvisionedConcurrencyConfig", &lambdaapi.GetProvisionedConcurrencyConfigRequest{FunctionName: new("f"), Qualifier: new("live")}, "lambda:GetProvisionedConcurrencyConfig arn:aws:lambda:us-east-1:" + account + ":function:f:live"},
		{"lambda", "CreateEventSourceMapping", &lambdaapi.CreateEventSourceMappingRequest{FunctionName: new("f"), Tags: map[string]string{"a": "b"}}, "lambda:CreateEventSourceMapping *|lambda:TagResource *"},
		{"lambda", "UpdateFunctionCode", &lambdaapi.UpdateFunctionCodeRequest{FunctionName: new("f"), S3Bucket: new("b"), S3Key: new("k")}, "lambda:UpdateFunctionCode arn:aws:lambda:us-east-1:" + account + ":function:f|s3:GetObject arn:aws:s3:::b/k"},
		{"iam", "CreateUser", &iamapi.CreateUserRequest{UserName: new("u"), Path: new("/p/"), Tags: tags}, "iam:CreateUser " + user + "p/u|iam:TagUser " + user + "p/u"},
		{"iam", "ListAccessKeys", &iamapi.ListAccessKeysRequest{}, "iam:ListAccessKeys " + user + "dev"},
		{"iam", "ListAccessKeys", &iamapi.ListAccessKeysRequest{UserName: new("u")}, "iam:ListAccessKeys " + user + "u"},
		{"iam", "ChangePassword", &iamapi.ChangePasswordRequest{}, "iam:ChangePassword " + user + "dev"},
		{"iam", "AddRoleToInstanceProfile", &iamapi.AddRoleToInstanceProfileRequest{InstanceProfileName: new("i"), RoleName: new("r")}, "iam:AddRoleToInstanceProfile arn:aws:iam::" + account + ":instance-profile/i|iam:PassRole arn:aws:iam::" + account + ":role/r"},
		{"logs", "CreateLogGroup", &logsapi.CreateLogGroupRequest{LogGroupName: new("g"), Tags: map[string]string{"a": "b"}}, "logs:CreateLogGroup " + group + ":log-stream:|logs:TagResource " + group},
		{"logs", "FilterLogEvents", &logsapi.FilterLogEventsRequest{LogGroupIdentifier: new(group + ":*")}, "logs:FilterLogEvents " + group + ":log-stream:"},
		{"logs", "PutLogEvents", &logsapi.PutLogEventsRequest{LogGroupName: new("g"), LogStreamName: new("s")}, "logs:PutLogEvents " + group + ":log-stream:s"},
		{"logs", "TagResource", &logsapi.TagResourceRequest{ResourceArn: &group}, "logs:TagResource " + group},
		{"logs", "StartQuery", &logsapi.StartQueryRequest{LogGroupNames: []string{"g", "g"}}, "logs:StartQuery " + group + ":log-stream:|logs:StartQuery " + group + ":log-stream:"},
	} {
		q, err := a.request(t.Context(), &awsapi.Call{Region: "us-east-1", Account: account, Principal: userPrincipal("dev")}, tc.service, tc.operation, tc.in)
		if err != nil {
			t.Fatal(err)
		}
		needs, _ := q.needs()
		var got []string
		for _, n := range needs {
			got = append(got, n.action+" "+n.resource)
		}
		if strings.Join(got, "|") != tc.want {
			t.Errorf("%s:\n got  %s\n want %s", tc.operation, strings.Join(got, "|"), tc.want)
		}
	}
}

func BenchmarkAuthorize_PutObject(b *testing.B) {
	w := &world{grants: map[string]policy.Grants{session: identity(b, execution)}, owners: map[string]string{"arn:aws:s3:::destination": account}}
	a := w.authorizer(b)
	call := &awsapi.Call{Service: "s3", Operation: "PutObject", Region: "us-east-1", Account: account, Principal: awsapi.Principal{ARN: session, Account: account}}
	in := &s3api.PutObjectRequest{Bucket: new("destination"), Key: new("k")}
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Authorize(b.Context(), call, "s3", "PutObject", in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthorize_Invoke(b *testing.B) {
	w := &world{grants: map[string]policy.Grants{dev: developer(b, "")}}
	a := w.authorizer(b)
	call := &awsapi.Call{Service: "lambda", Operation: "Invoke", Region: "us-east-1", Account: account, Principal: userPrincipal("dev")}
	in := &lambdaapi.InvocationRequest{FunctionName: new("copy")}
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Authorize(b.Context(), call, "lambda", "Invoke", in); err != nil {
			b.Fatal(err)
		}
	}
}
