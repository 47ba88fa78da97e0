package lambda_test

import (
	"strings"
	"testing"

	"davy/api/lambdaapi"
)

func TestAddPermission_Statements(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   lambdaapi.AddPermissionRequest
		want string
	}{
		{
			"bucket",
			lambdaapi.AddPermissionRequest{Principal: new("s3.amazonaws.com"), SourceArn: new("arn:aws:s3:::source"), SourceAccount: new(account)},
			`{"Sid":"sid","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction","Resource":"` + arnOf("fn") + `","Condition":{"StringEquals":{"AWS:SourceAccount":"000000000000"},"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::source"}}}`,
		},
		{
			"account",
			lambdaapi.AddPermissionRequest{Principal: new("123456789012")},
			`{"Sid":"sid","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"lambda:InvokeFunction","Resource":"` + arnOf("fn") + `"}`,
		},
		{
			"role",
			lambdaapi.AddPermissionRequest{Principal: new("arn:aws:iam::123456789012:role/r")},
			`{"Sid":"sid","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:role/r"},"Action":"lambda:InvokeFunction","Resource":"` + arnOf("fn") + `"}`,
		},
		{
			"organization",
			lambdaapi.AddPermissionRequest{Principal: new("*"), PrincipalOrgID: new("o-1234567890")},
			`{"Sid":"sid","Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunction","Resource":"` + arnOf("fn") + `","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1234567890"}}}`,
		},
		{
			"url",
			lambdaapi.AddPermissionRequest{Principal: new("*"), Action: new("lambda:InvokeFunctionUrl"), FunctionUrlAuthType: new(lambdaapi.FunctionUrlAuthTypeNone)},
			`{"Sid":"sid","Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunctionUrl","Resource":"` + arnOf("fn") + `","Condition":{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}}`,
		},
		{
			"version",
			lambdaapi.AddPermissionRequest{Principal: new("123456789012"), Qualifier: new("1")},
			`{"Sid":"sid","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"lambda:InvokeFunction","Resource":"` + arnOf("fn") + `:1"}`,
		},
		{
			"alias",
			lambdaapi.AddPermissionRequest{Principal: new("123456789012"), Qualifier: new("live")},
			`{"Sid":"sid","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"lambda:InvokeFunction","Resource":"` + arnOf("fn") + `:live"}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t)
			f.create(t, "fn")
			f.publish(t, "fn")
			f.alias(t, "fn", "live", "1")
			tc.in.FunctionName, tc.in.StatementId = new("fn"), new("sid")
			if tc.in.Action == nil {
				tc.in.Action = new("lambda:InvokeFunction")
			}
			out := must[*lambdaapi.AddPermissionResponse](t)(f.AddPermission(request(t), &tc.in))
			if *out.Statement != tc.want {
				t.Errorf("statement %s\nwant      %s", *out.Statement, tc.want)
			}
			got := must[*lambdaapi.GetPolicyResponse](t)(f.GetPolicy(request(t), &lambdaapi.GetPolicyRequest{FunctionName: new("fn"), Qualifier: tc.in.Qualifier}))
			want := `{"Version":"2012-10-17","Id":"default","Statement":[` + tc.want + `]}`
			if *got.Policy != want {
				t.Errorf("policy %s\nwant   %s", *got.Policy, want)
			}
			shown := must[*lambdaapi.FunctionConfiguration](t)(f.GetFunctionConfiguration(request(t), &lambdaapi.GetFunctionConfigurationRequest{FunctionName: new("fn"), Qualifier: tc.in.Qualifier}))
			if tc.name != "alias" && *shown.RevisionId != *got.RevisionId {
				t.Errorf("RevisionId of the policy %s, of the function %s", *got.RevisionId, *shown.RevisionId)
			}
			arn := arnOf("fn")
			if tc.in.Qualifier != nil {
				arn += ":" + *tc.in.Qualifier
			}
			if doc, err := f.FunctionPolicy(t.Context(), arn); err != nil || string(doc) != want {
				t.Errorf("FunctionPolicy = %s, %v", doc, err)
			}
			// No other qualifier has it.
			for _, other := range []string{"", ":1", ":live"} {
				if doc, err := f.FunctionPolicy(t.Context(), arnOf("fn")+other); err != nil || (doc != nil) != (arnOf("fn")+other == arn) {
					t.Errorf("FunctionPolicy of %q = %s, %v", other, doc, err)
				}
			}
		})
	}
}

func TestPermission_Refusals(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	add := func(edit func(*lambdaapi.AddPermissionRequest)) error {
		in := &lambdaapi.AddPermissionRequest{FunctionName: new("fn"), StatementId: new("sid"), Action: new("lambda:InvokeFunction"), Principal: new("s3.amazonaws.com")}
		edit(in)
		_, err := f.AddPermission(request(t), in)
		return err
	}
	remove := func(name, sid, revision string) error {
		in := &lambdaapi.RemovePermissionRequest{FunctionName: new(name), StatementId: new(sid)}
		if revision != "" {
			in.RevisionId = new(revision)
		}
		_, err := f.RemovePermission(request(t), in)
		return err
	}
	_, err := f.GetPolicy(request(t), &lambdaapi.GetPolicyRequest{FunctionName: new("fn")})
	wantError(t, err, "ResourceNotFoundException", "The resource you requested does not exist.")
	wantError(t, remove("fn", "sid", ""), "ResourceNotFoundException", "No policy is associated with the given resource.")
	if err := add(func(*lambdaapi.AddPermissionRequest) {}); err != nil {
		t.Fatal(err)
	}
	wantError(t, add(func(*lambdaapi.AddPermissionRequest) {}), "ResourceConflictException", "The statement id (sid) provided already exists. Please provide a new statement id, or remove the existing statement.")
	wantError(t, add(func(in *lambdaapi.AddPermissionRequest) { in.Qualifier = new("$LATEST") }), "InvalidParameterValueException", "We currently do not support adding policies for $LATEST.")
	wantError(t, add(func(in *lambdaapi.AddPermissionRequest) { in.Qualifier = new("live") }), "ResourceNotFoundException", "Cannot find alias arn: "+arnOf("fn")+":live")
	wantError(t, add(func(in *lambdaapi.AddPermissionRequest) { in.StatementId, in.Principal = new("b"), new("nobody") }), "InvalidParameterValueException", "The provided principal was invalid. Please check the principal and try again.")
	wantError(t, add(func(in *lambdaapi.AddPermissionRequest) {
		in.StatementId, in.FunctionUrlAuthType = new("b"), new(lambdaapi.FunctionUrlAuthTypeNone)
	}), "InvalidParameterValueException", "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
	wantError(t, add(func(in *lambdaapi.AddPermissionRequest) { in.StatementId, in.RevisionId = new("b"), new("other") }), "PreconditionFailedException", stale)
	wantError(t, add(func(in *lambdaapi.AddPermissionRequest) { in.FunctionName = new("none") }), "ResourceNotFoundException", "Function not found: "+arnOf("none"))
	err = add(func(in *lambdaapi.AddPermissionRequest) {
		in.StatementId, in.SourceArn = new("b"), new("arn:aws:s3:::"+strings.Repeat("x", 20480))
	})
	if err == nil || !strings.HasPrefix(err.Error(), "PolicyLengthExceededException: The final policy size (") || !strings.HasSuffix(err.Error(), ") is bigger than the limit (20480).") {
		t.Errorf("error = %v", err)
	}
	wantError(t, remove("fn", "other", ""), "ResourceNotFoundException", "Statement other is not found in resource policy.")
	wantError(t, remove("fn", "sid", "other"), "PreconditionFailedException", stale)
	wantError(t, remove("none", "sid", ""), "ResourceNotFoundException", "No policy found for: "+arnOf("none"))
	if err := remove("fn", "sid", ""); err != nil {
		t.Fatal(err)
	}
	if doc, err := f.FunctionPolicy(t.Context(), arnOf("fn")); doc != nil || err != nil {
		t.Errorf("FunctionPolicy = %s, %v", doc, err)
	}
	if doc, err := f.FunctionPolicy(t.Context(), arnOf("none")); doc != nil || err != nil {
		t.Errorf("FunctionPolicy of nothing = %s, %v", doc, err)
	}
}
