package authz

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
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

// answer is how a refusal looks to a client: "403 AccessDenied message".
func answer(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return "allowed"
	}
	var e *awsapi.ErrorResponse
	if !errors.As(err, &e) {
		t.Fatalf("not a modelled error: %v", err)
	}
	return strings.Join([]string{map[int]string{400: "400", 403: "403"}[e.Status], e.Code, e.Message}, " ")
}

func ask(ctx context.Context, a *Authorizer, p awsapi.Principal, service, operation string, in any) error {
	call := &awsapi.Call{Service: service, Operation: operation, Region: "us-east-1", Account: p.Account, Principal: p, SourceIP: "127.0.0.1"}
	return a.Authorize(awsapi.WithCall(ctx, call), call, service, operation, in)
}

const (
	dev      = "arn:aws:iam::" + account + ":user/dev"
	function = "arn:aws:lambda:us-east-1:" + account + ":function:copy"
	execRole = "arn:aws:iam::" + account + ":role/service/exec"
	session  = "arn:aws:sts::" + account + ":assumed-role/exec/copy"
)

// links are the statements of the lab's developer, one for each link.
var links = map[string]string{
	"change": `{"Effect":"Allow","Action":"lambda:UpdateFunctionConfiguration","Resource":"` + function + `"}`,
	"create": `{"Effect":"Allow","Action":"lambda:CreateFunction","Resource":"` + function + `"}`,
	"pass":   `{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + execRole + `","Condition":{"StringEquals":{"iam:PassedToService":"lambda.amazonaws.com"}}}`,
	"code":   `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::code/*"}`,
	"layer":  `{"Effect":"Allow","Action":"lambda:GetLayerVersion","Resource":"*"}`,
	"tag":    `{"Effect":"Allow","Action":"lambda:TagResource","Resource":"*"}`,
	"permit": `{"Effect":"Allow","Action":"lambda:AddPermission","Resource":"*","Condition":{"StringEquals":{"lambda:Principal":"s3.amazonaws.com"}}}`,
	"notify": `{"Effect":"Allow","Action":"s3:PutBucketNotification","Resource":"arn:aws:s3:::source"}`,
	"upload": `{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::source/*"}`,
	"invoke": `{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"` + function + `"}`,
	"logs":   `{"Effect":"Allow","Action":"logs:FilterLogEvents","Resource":"arn:aws:logs:us-east-1:` + account + `:log-group:/aws/lambda/copy:*"}`,
	"iam":    `{"Effect":"Allow","Action":["iam:GetUser","iam:CreateRole","iam:CreatePolicy","iam:ListUsers"],"Resource":"*"}`,
	"sts":    `{"Effect":"Allow","Action":"sts:GetAccessKeyInfo","Resource":"*"}`,
	"list":   `{"Effect":"Allow","Action":["s3:ListAllMyBuckets","lambda:ListFunctions"],"Resource":"*"}`,
}

func developer(t testing.TB, without string) policy.Grants {
	var list []string
	for name, s := range links {
		if name != without {
			list = append(list, s)
		}
	}
	return identity(t, strings.Join(list, ","))
}

// TestLab_EachLink: with all links the developer may do everything; without
// one, the operation that needs it is refused in the service's words.
func TestLab_EachLink(t *testing.T) {
	create := &lambdaapi.CreateFunctionRequest{
		FunctionName: new("copy"), Role: new(execRole),
		Code:   &lambdaapi.FunctionCode{S3Bucket: new("code"), S3Key: new("copy.zip")},
		Layers: []string{"arn:aws:lambda:us-east-1:" + account + ":layer:sdk:1"},
		Tags:   map[string]string{"team": "red"},
	}
	for _, tc := range []struct {
		link, service, operation string
		in                       any
		want                     string
	}{
		{
			"create", "lambda", "CreateFunction", create,
			"403 AccessDeniedException User: " + dev + " is not authorized to perform: lambda:CreateFunction on resource: " + function + " because no identity-based policy allows the lambda:CreateFunction action",
		},
		{
			"pass", "lambda", "CreateFunction", create,
			"403 AccessDeniedException User: " + dev + " is not authorized to perform: iam:PassRole on resource: " + execRole + " because no identity-based policy allows the iam:PassRole action",
		},
		{
			"pass", "lambda", "UpdateFunctionConfiguration", &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new("copy"), Role: new(execRole)},
			"403 AccessDeniedException User: " + dev + " is not authorized to perform: iam:PassRole on resource: " + execRole + " because no identity-based policy allows the iam:PassRole action",
		},
		{
			"code", "lambda", "CreateFunction", create,
			"403 AccessDeniedException Your access has been denied by S3, please make sure your request credentials have permission to GetObject for code/copy.zip. S3 Error Code: AccessDenied. S3 Error Message: User: " + dev + ` is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::code/copy.zip" because no identity-based policy allows the s3:GetObject action`,
		},
		{
			"layer", "lambda", "CreateFunction", create,
			"403 AccessDeniedException User: " + dev + " is not authorized to perform: lambda:GetLayerVersion on resource: arn:aws:lambda:us-east-1:" + account + ":layer:sdk:1 because no identity-based policy allows the lambda:GetLayerVersion action",
		},
		{
			"tag", "lambda", "CreateFunction", create,
			"403 AccessDeniedException User: " + dev + " is not authorized to perform: lambda:TagResource on resource: " + function + " because no identity-based policy allows the lambda:TagResource action",
		},
		{
			"permit", "lambda", "AddPermission", &lambdaapi.AddPermissionRequest{FunctionName: new("copy"), Principal: new("s3.amazonaws.com")},
			"403 AccessDeniedException User: " + dev + " is not authorized to perform: lambda:AddPermission on resource: " + function + " because no identity-based policy allows the lambda:AddPermission action",
		},
		{
			"notify", "s3", "PutBucketNotificationConfiguration", &s3api.PutBucketNotificationConfigurationRequest{Bucket: new("source")},
			"403 AccessDenied User: " + dev + ` is not authorized to perform: s3:PutBucketNotification on resource: "arn:aws:s3:::source" because no identity-based policy allows the s3:PutBucketNotification action`,
		},
		{
			"upload", "s3", "PutObject", &s3api.PutObjectRequest{Bucket: new("source"), Key: new("a b/ü+.jpg")},
			"403 AccessDenied User: " + dev + ` is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::source/a b/ü+.jpg" because no identity-based policy allows the s3:PutObject action`,
		},
		{
			"invoke", "lambda", "Invoke", &lambdaapi.InvocationRequest{FunctionName: new("copy")},
			"403 AccessDeniedException User: " + dev + " is not authorized to perform: lambda:InvokeFunction on resource: " + function + " because no identity-based policy allows the lambda:InvokeFunction action",
		},
		{
			"logs", "logs", "FilterLogEvents", &logsapi.FilterLogEventsRequest{LogGroupName: new("/aws/lambda/copy")},
			"400 AccessDeniedException User: " + dev + " is not authorized to perform: logs:FilterLogEvents on resource: arn:aws:logs:us-east-1:" + account + ":log-group:/aws/lambda/copy:log-stream: because no identity-based policy allows the logs:FilterLogEvents action",
		},
		{
			"iam", "iam", "GetUser", &iamapi.GetUserRequest{},
			"403 AccessDenied User: " + dev + " is not authorized to perform: iam:GetUser on resource: user dev because no identity-based policy allows the iam:GetUser action",
		},
		{
			"iam", "iam", "CreateRole", &iamapi.CreateRoleRequest{RoleName: new("r"), Path: new("/p/")},
			"403 AccessDenied User: " + dev + " is not authorized to perform: iam:CreateRole on resource: arn:aws:iam::" + account + ":role/p/r because no identity-based policy allows the iam:CreateRole action",
		},
		{
			"iam", "iam", "CreatePolicy", &iamapi.CreatePolicyRequest{PolicyName: new("p")},
			"403 AccessDenied User: " + dev + " is not authorized to perform: iam:CreatePolicy on resource: policy p because no identity-based policy allows the iam:CreatePolicy action",
		},
		{
			"iam", "iam", "ListUsers", &iamapi.ListUsersRequest{},
			"403 AccessDenied User: " + dev + " is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::" + account + ":user/ because no identity-based policy allows the iam:ListUsers action",
		},
		{
			"sts", "sts", "GetAccessKeyInfo", &stsapi.GetAccessKeyInfoRequest{},
			"403 AccessDenied User: " + dev + " is not authorized to perform: sts:GetAccessKeyInfo on resource: * because no identity-based policy allows the sts:GetAccessKeyInfo action",
		},
		{
			"list", "s3", "ListBuckets", &s3api.ListBucketsRequest{},
			"403 AccessDenied User: " + dev + " is not authorized to perform: s3:ListAllMyBuckets because no identity-based policy allows the s3:ListAllMyBuckets action",
		},
		{
			"list", "lambda", "ListFunctions", &lambdaapi.ListFunctionsRequest{},
			"403 AccessDeniedException User: " + dev + " is not authorized to perform: lambda:ListFunctions on resource: * because no identity-based policy allows the lambda:ListFunctions action",
		},
	} {
		t.Run(tc.link+" "+tc.operation, func(t *testing.T) {
			whole := &world{grants: map[string]policy.Grants{dev: developer(t, "")}}
			if got := answer(t, ask(t.Context(), whole.authorizer(t), userPrincipal("dev"), tc.service, tc.operation, tc.in)); got != "allowed" {
				t.Errorf("with all links: %s", got)
			}
			cut := &world{grants: map[string]policy.Grants{dev: developer(t, tc.link)}}
			if got := answer(t, ask(t.Context(), cut.authorizer(t), userPrincipal("dev"), tc.service, tc.operation, tc.in)); got != tc.want {
				t.Errorf("without %s:\n got  %s\n want %s", tc.link, got, tc.want)
			}
		})
	}
}

// A role may be passed to Lambda only if the policy names Lambda.
func TestPassRole_ToAnotherService(t *testing.T) {
	g := identity(t, links["create"]+`,{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"ec2.amazonaws.com"}}}`)
	w := &world{grants: map[string]policy.Grants{dev: g}}
	in := &lambdaapi.CreateFunctionRequest{FunctionName: new("copy"), Role: new(execRole)}
	if got := answer(t, ask(t.Context(), w.authorizer(t), userPrincipal("dev"), "lambda", "CreateFunction", in)); !strings.Contains(got, "iam:PassRole") {
		t.Error(got)
	}
}

// The role trusts lambda.amazonaws.com.
func TestTrusts(t *testing.T) {
	trust := func(service string) *policy.Document {
		return parse(t, policy.Trust, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"`+service+`"},"Action":"sts:AssumeRole"}}`)
	}
	w := &world{policies: map[string]*policy.Document{execRole: trust("lambda.amazonaws.com"), execRole + "2": trust("ec2.amazonaws.com")}}
	a := w.authorizer(t)
	if err := a.Trusts(t.Context(), execRole, "lambda.amazonaws.com"); err != nil {
		t.Error(err)
	}
	for _, role := range []string{execRole + "2", execRole + "-missing", "arn:aws:iam::" + account + ":user/dev", "nonsense"} {
		want := "403 AccessDenied User: lambda.amazonaws.com is not authorized to perform: sts:AssumeRole on resource: " + role + " because no role trust policy allows the sts:AssumeRole action"
		if got := answer(t, a.Trusts(t.Context(), role, "lambda.amazonaws.com")); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The bucket may invoke the function, and only this bucket of this account.
func TestServiceMay(t *testing.T) {
	doc := parse(t, policy.Resource, `{"Version":"2012-10-17","Statement":[{"Sid":"s3","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction","Resource":"`+function+`",
		"Condition":{"StringEquals":{"AWS:SourceAccount":"`+account+`"},"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::source"}}}]}`)
	a := (&world{policies: map[string]*policy.Document{function: doc}}).authorizer(t)
	for _, tc := range []struct {
		service, function, source, account, want string
	}{
		{"s3.amazonaws.com", function, "arn:aws:s3:::source", account, `Allow statement 1 "s3" in resource-based policy "policy of ` + function + `"`},
		{"s3.amazonaws.com", function, "arn:aws:s3:::other", account, "no resource-based policy allows it"},
		{"s3.amazonaws.com", function, "arn:aws:s3:::source", other, "no resource-based policy allows it"},
		{"s3.amazonaws.com", function, "arn:aws:s3:::source", "", "no resource-based policy allows it"},
		{"sns.amazonaws.com", function, "arn:aws:s3:::source", account, "no resource-based policy allows it"},
		{"s3.amazonaws.com", function + "2", "arn:aws:s3:::source", account, "no resource-based policy allows it"},
	} {
		d, err := a.ServiceMay(t.Context(), tc.service, "lambda:InvokeFunction", tc.function, tc.source, tc.account)
		if err != nil || d.Deciding() != tc.want {
			t.Errorf("%+v: %s, %v", tc, d.Deciding(), err)
		}
		if ok, _ := a.ServiceMayInvoke(t.Context(), tc.service, tc.function, tc.source, tc.account); ok != d.Allowed {
			t.Errorf("%+v: ServiceMayInvoke %v", tc, ok)
		}
	}
}

// execution is what the function's role may do: read the source, write the
// destination, and log.
const execution = `{"Sid":"read","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::source/*"},
	{"Sid":"write","Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::destination/*"},
	{"Sid":"log","Effect":"Allow","Action":["logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"arn:aws:logs:*:*:*"}`

// The function's session reads the source and writes the destination, nothing
// else.
func TestSession_OfTheExecutionRole(t *testing.T) {
	g := identity(t, execution)
	g.RoleARN, g.RoleID = execRole, "AROAEXAMPLEEXAMPLE00"
	a := (&world{grants: map[string]policy.Grants{session: g}}).authorizer(t)
	p := awsapi.Principal{ARN: session, Account: account, UserID: "AROAEXAMPLEEXAMPLE00:copy"}
	for _, tc := range []struct {
		operation string
		in        any
		want      string
	}{
		{"GetObject", &s3api.GetObjectRequest{Bucket: new("source"), Key: new("k")}, "allowed"},
		{"PutObject", &s3api.PutObjectRequest{Bucket: new("destination"), Key: new("k")}, "allowed"},
		{"CopyObject", &s3api.CopyObjectRequest{Bucket: new("destination"), Key: new("k"), CopySource: new("/source/a%20b")}, "allowed"},
		{"UploadPartCopy", &s3api.UploadPartCopyRequest{Bucket: new("destination"), Key: new("k"), CopySource: new("source/k")}, "allowed"},
		{"CompleteMultipartUpload", &s3api.CompleteMultipartUploadRequest{Bucket: new("destination"), Key: new("k")}, "allowed"},
		{"CopyObject", &s3api.CopyObjectRequest{Bucket: new("destination"), Key: new("k"), CopySource: new("secret/k")}, "s3:GetObject on \"arn:aws:s3:::secret/k\""},
		{"CopyObject", &s3api.CopyObjectRequest{Bucket: new("source"), Key: new("k"), CopySource: new("source/k")}, "s3:PutObject on \"arn:aws:s3:::source/k\""},
		{"CopyObject", &s3api.CopyObjectRequest{Bucket: new("destination"), Key: new("k"), CopySource: new("source/k?versionId=3")}, "s3:GetObjectVersion on \"arn:aws:s3:::source/k\""},
		{"CopyObject", &s3api.CopyObjectRequest{Bucket: new("destination"), Key: new("k"), CopySource: new("source/k"), Tagging: new("a=b")}, "s3:PutObjectTagging on \"arn:aws:s3:::destination/k\""},
		{"CopyObject", &s3api.CopyObjectRequest{Bucket: new("destination"), Key: new("k"), CopySource: new("source/k"), ACL: new(s3api.ObjectCannedACL("public-read"))}, "s3:PutObjectAcl on \"arn:aws:s3:::destination/k\""},
		{"PutObject", &s3api.PutObjectRequest{Bucket: new("source"), Key: new("k")}, "s3:PutObject on \"arn:aws:s3:::source/k\""},
		{"GetObject", &s3api.GetObjectRequest{Bucket: new("destination"), Key: new("k")}, "s3:GetObject on \"arn:aws:s3:::destination/k\""},
		{"HeadObject", &s3api.HeadObjectRequest{Bucket: new("destination"), Key: new("k")}, "s3:GetObject on \"arn:aws:s3:::destination/k\""},
		{"GetObject", &s3api.GetObjectRequest{Bucket: new("source"), Key: new("k"), VersionId: new("1")}, "s3:GetObjectVersion on \"arn:aws:s3:::source/k\""},
		{"HeadBucket", &s3api.HeadBucketRequest{Bucket: new("source")}, "s3:ListBucket on \"arn:aws:s3:::source\""},
		{"DeleteObject", &s3api.DeleteObjectRequest{Bucket: new("destination"), Key: new("k")}, "s3:DeleteObject on \"arn:aws:s3:::destination/k\""},
	} {
		want := tc.want
		if want != "allowed" {
			action, resource, _ := strings.Cut(want, " on ")
			want = "403 AccessDenied User: " + session + " is not authorized to perform: " + action + " on resource: " + resource + " because no identity-based policy allows the " + action + " action"
		}
		if got := answer(t, ask(t.Context(), a, p, "s3", tc.operation, tc.in)); got != want {
			t.Errorf("%s:\n got  %s\n want %s", tc.operation, got, want)
		}
	}
}

// Services ask what a role may do without a request.
func TestRoleAllowed(t *testing.T) {
	stream := "arn:aws:logs:us-east-1:" + account + ":log-group:/aws/lambda/copy:log-stream:s"
	w := &world{grants: map[string]policy.Grants{execRole: identity(t, execution), execRole + "2": {}, session: identity(t, execution)}}
	a := w.authorizer(t)
	for role, want := range map[string]bool{execRole: true, execRole + "2": false} {
		d, err := a.RoleAllowed(t.Context(), role, "logs:PutLogEvents", stream, nil)
		if err != nil || d.Allowed != want {
			t.Errorf("%s: %s, %v", role, d.Explain(), err)
		}
	}
	d, err := a.Allowed(t.Context(), awsapi.Principal{ARN: session, Account: account}, "s3:GetObject", "arn:aws:s3:::source/k", nil)
	if err != nil || !d.Allowed {
		t.Error(d.Explain(), err)
	}
}

// A refusal is logged once, with the statement that decided.
func TestRefusal_IsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	w := &world{grants: map[string]policy.Grants{dev: identity(t, `{"Sid":"No","Effect":"Deny","Action":"s3:*","Resource":"*"}`)}}
	a := testAuthorizer(t, Config{Identities: w, Resources: w, Log: slog.New(slog.NewTextHandler(&out, nil))})
	err := ask(t.Context(), a, userPrincipal("dev"), "s3", "GetObject", &s3api.GetObjectRequest{Bucket: new("b"), Key: new("k")})
	want := "403 AccessDenied User: " + dev + ` is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::b/k" with an explicit deny in an identity-based policy`
	if got := answer(t, err); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	line := out.String()
	for _, part := range []string{"level=INFO", `msg="access denied"`, "principal=" + dev, "action=s3:GetObject", "resource=arn:aws:s3:::b/k", `deciding="Deny statement 1 \"No\" in identity-based policy \"inline\""`} {
		if !strings.Contains(line, part) {
			t.Errorf("%s is not in %s", part, line)
		}
	}
	if strings.Count(line, "\n") != 1 {
		t.Errorf("logged %q", line)
	}
}
