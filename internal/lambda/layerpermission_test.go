package lambda_test

import (
	"strings"
	"testing"

	"davy/api/lambdaapi"
)

func grant(name, sid, principal string) *lambdaapi.AddLayerVersionPermissionRequest {
	return &lambdaapi.AddLayerVersionPermissionRequest{
		LayerName: new(name), VersionNumber: new(int64(1)), Action: new("lambda:GetLayerVersion"), Principal: new(principal), StatementId: new(sid),
	}
}

func TestAddLayerVersionPermission_Statements(t *testing.T) {
	const tail = `,"Action":"lambda:GetLayerVersion","Resource":"arn:aws:lambda:us-east-1:000000000000:layer:l:1"`
	for _, tc := range []struct {
		name, principal, organisation, want string
	}{
		{"an account", "111111111111", "", `{"Sid":"s","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"}` + tail + `}`},
		{"an account's ARN", "arn:aws:iam::111111111111:root", "", `{"Sid":"s","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"}` + tail + `}`},
		{"everybody", "*", "", `{"Sid":"s","Effect":"Allow","Principal":"*"` + tail + `}`},
		{"an organisation", "*", "o-0123456789", `{"Sid":"s","Effect":"Allow","Principal":"*"` + tail + `,"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-0123456789"}}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t)
			f.layer(t, "l", "x")
			in := grant("l", "s", tc.principal)
			if tc.organisation != "" {
				in.OrganizationId = new(tc.organisation)
			}
			got := must[*lambdaapi.AddLayerVersionPermissionResponse](t)(f.AddLayerVersionPermission(request(t), in))
			if *got.Statement != tc.want {
				t.Errorf("statement = %s\nwant        %s", *got.Statement, tc.want)
			}
			policy := must[*lambdaapi.GetLayerVersionPolicyResponse](t)(f.GetLayerVersionPolicy(request(t), &lambdaapi.GetLayerVersionPolicyRequest{LayerName: new("l"), VersionNumber: new(int64(1))}))
			if want := `{"Version":"2012-10-17","Id":"default","Statement":[` + tc.want + `]}`; *policy.Policy != want || *policy.RevisionId != *got.RevisionId {
				t.Errorf("policy = %s\nwant     %s", *policy.Policy, want)
			}
			if doc, err := f.LayerPolicy(t.Context(), layerARN("l", 1)); err != nil || string(doc) != *policy.Policy {
				t.Errorf("to be evaluated: %s, %v", doc, err)
			}
		})
	}
}

func TestLayerVersionPermission_Refusals(t *testing.T) {
	f := setup(t)
	f.layer(t, "l", "x")
	f.layer(t, "l", "y")
	add := func(in *lambdaapi.AddLayerVersionPermissionRequest) error {
		_, err := f.AddLayerVersionPermission(request(t), in)
		return err
	}
	remove := func(name, sid, revision string) error {
		in := &lambdaapi.RemoveLayerVersionPermissionRequest{LayerName: new(name), VersionNumber: new(int64(1)), StatementId: new(sid)}
		if revision != "" {
			in.RevisionId = new(revision)
		}
		_, err := f.RemoveLayerVersionPermission(request(t), in)
		return err
	}
	get := func(name string) error {
		_, err := f.GetLayerVersionPolicy(request(t), &lambdaapi.GetLayerVersionPolicyRequest{LayerName: new(name), VersionNumber: new(int64(1))})
		return err
	}
	const missing = "ResourceNotFoundException"
	none := "Layer version " + layerARN("none", 1) + " does not exist."
	wantError(t, get("l"), missing, "No policy is associated with the given resource.")
	if err := add(grant("l", "s1", "*")); err != nil {
		t.Fatal(err)
	}
	wantError(t, add(grant("l", "s1", "111111111111")), "ResourceConflictException", "The statement id (s1) provided already exists. Please provide a new statement id, or remove the existing statement.")
	wrong := grant("l", "s2", "*")
	wrong.RevisionId = new("wrong")
	const stale = "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id"
	wantError(t, add(wrong), "PreconditionFailedException", stale)
	wantError(t, remove("l", "s1", "wrong"), "PreconditionFailedException", stale)
	wantError(t, add(grant("none", "s", "*")), missing, none)
	wantError(t, remove("none", "s", ""), missing, none)
	wantError(t, get("none"), missing, none)
	wantError(t, remove("l", "other", ""), missing, "Statement other is not found in resource policy.")
	if err := remove("l", "s1", ""); err != nil {
		t.Fatal(err)
	}
	wantError(t, get("l"), missing, "No policy is associated with the given resource.")
	for i := range 200 {
		err := add(grant("l", strings.Repeat("s", 60)+strings.Repeat("x", i), "*"))
		if err == nil {
			continue
		}
		if !strings.HasPrefix(err.Error(), "PolicyLengthExceededException") {
			t.Fatal(err)
		}
		break
	}
	for _, arn := range []string{"", layerARN("l", 9), layerARN("l", 2), arnOf("fn"), "arn:aws:lambda:us-east-1:000000000000:layer:l", "arn:aws:lambda:us-east-1:000000000000:layer:l:01"} {
		if doc, err := f.LayerPolicy(t.Context(), arn); doc != nil || err != nil {
			t.Errorf("policy of %q: %s, %v", arn, doc, err)
		}
	}
}
