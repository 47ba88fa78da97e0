package iam

import (
	"slices"
	"testing"

	"davy/api/iamapi"
	"davy/internal/policy"
)

// TestAWSManaged_documents: each of AWS's policies compiles, lies where AWS
// has it, and grants what its users attach it for.
func TestAWSManaged_documents(t *testing.T) {
	all, err := awsManaged()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for arn, p := range all {
		if _, err := p.doc(); err != nil {
			t.Errorf("%s: %v", arn, err)
		}
		if other := ids[p.ID]; other != "" || len(p.ID) != 21 || p.Updated.Before(p.Created) {
			t.Errorf("%s: id %q (also of %q), created %v, updated %v", arn, p.ID, other, p.Created, p.Updated)
		}
		ids[p.ID] = arn
	}
	const prefix = "arn:aws:iam::aws:policy/"
	for _, tc := range []struct {
		policy, resource string
		allows, not      []string
	}{
		{"service-role/AWSLambdaBasicExecutionRole", "*", []string{"logs:PutLogEvents"}, []string{"s3:GetObject"}},
		{"service-role/AWSLambdaVPCAccessExecutionRole", "*", []string{"ec2:CreateNetworkInterface", "logs:CreateLogGroup"}, []string{"ec2:RunInstances"}},
		{"service-role/AWSLambdaSQSQueueExecutionRole", "*", []string{"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}, []string{"sqs:SendMessage"}},
		{"service-role/AWSLambdaDynamoDBExecutionRole", "*", []string{"dynamodb:GetRecords", "dynamodb:ListStreams"}, []string{"dynamodb:GetItem"}},
		{"service-role/AWSLambdaKinesisExecutionRole", "*", []string{"kinesis:GetRecords", "kinesis:SubscribeToShard"}, []string{"kinesis:PutRecord"}},
		{"service-role/AWSLambdaMSKExecutionRole", "*", []string{"kafka:GetBootstrapBrokers"}, []string{"kafka:DeleteCluster"}},
		{"service-role/AWSLambdaRole", "*", []string{"lambda:InvokeFunction"}, []string{"lambda:GetFunction"}},
		{"AWSLambdaExecute", "arn:aws:s3:::b/k", []string{"s3:PutObject", "s3:GetObject"}, []string{"s3:DeleteObject"}},
		{"AWSLambda_ReadOnlyAccess", "*", []string{"lambda:GetFunction", "lambda:ListFunctions"}, []string{"lambda:InvokeFunction", "lambda:DeleteFunction"}},
		{"AWSLambda_FullAccess", "*", []string{"lambda:CreateFunction"}, []string{"iam:PassRole"}},
		{"AWSXRayDaemonWriteAccess", "*", []string{"xray:PutTraceSegments"}, []string{"xray:GetTraceSummaries"}},
		{"CloudWatchLogsFullAccess", "*", []string{"logs:DeleteLogGroup"}, []string{"lambda:InvokeFunction"}},
		{"IAMFullAccess", "*", []string{"iam:CreateUser"}, []string{"s3:GetObject"}},
		{"IAMReadOnlyAccess", "*", []string{"iam:GetUser", "iam:SimulatePrincipalPolicy", "iam:GenerateCredentialReport"}, []string{"iam:CreateUser"}},
		{"PowerUserAccess", "*", []string{"lambda:CreateFunction", "iam:ListRoles"}, []string{"iam:CreateUser"}},
		{"SecurityAudit", "*", []string{"iam:GetAccountAuthorizationDetails", "s3:GetBucketPolicy"}, []string{"s3:PutObject"}},
		{"AmazonSQSFullAccess", "*", []string{"sqs:SendMessage"}, []string{"sns:Publish"}},
		{"AmazonSNSFullAccess", "*", []string{"sns:Publish"}, []string{"sqs:SendMessage"}},
		{"AmazonDynamoDBFullAccess", "*", []string{"dynamodb:PutItem"}, []string{"s3:PutObject"}},
		{"AmazonS3FullAccess", "*", []string{"s3:PutObject", "s3-object-lambda:GetObject"}, []string{"sqs:SendMessage"}},
		{"AmazonS3ReadOnlyAccess", "*", []string{"s3:GetObject", "s3:ListBucket"}, []string{"s3:PutObject"}},
		{"ReadOnlyAccess", "*", []string{"s3:GetObject", "lambda:GetFunction"}, []string{"lambda:InvokeFunction"}},
		{"AdministratorAccess", "*", []string{"iam:CreateUser"}, nil},
	} {
		p := all[prefix+tc.policy]
		if p == nil {
			t.Errorf("%s is missing", tc.policy)
			continue
		}
		doc, err := p.doc()
		if err != nil {
			continue // reported above
		}
		g := &policy.Grants{Identity: []policy.Attached{{ARN: p.arnText, Document: doc}}}
		for _, action := range slices.Concat(tc.allows, tc.not) {
			d := policy.Decide(&policy.Request{Principal: policy.Principal{ARN: "arn:aws:iam::000000000000:user/u", Account: account}, Action: action, Resource: tc.resource, Grants: g})
			if want := slices.Contains(tc.allows, action); d.Allowed != want {
				t.Errorf("%s allows %s: %v, want %v", tc.policy, action, d.Allowed, want)
			}
		}
	}
}

// TestAWSManaged_canBeAttached: they answer as the customer's do.
func TestAWSManaged_canBeAttached(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	f.role("r", trustLambda)
	const sqs = "arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole"
	must(f.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: new("r"), PolicyArn: new(sqs)}))(t)
	p := must(f.GetPolicy(ctx, &iamapi.GetPolicyRequest{PolicyArn: new(sqs)}))(t).Policy
	if *p.Path != "/service-role/" || *p.AttachmentCount != 1 || *p.DefaultVersionId != "v1" {
		t.Errorf("policy %+v", p)
	}
	if v := must(f.GetPolicyVersion(ctx, &iamapi.GetPolicyVersionRequest{PolicyArn: new(sqs), VersionId: new("v1")}))(t).PolicyVersion; v.Document == nil {
		t.Error("no document")
	}
}
