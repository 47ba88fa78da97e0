package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// newLayerStatement is the grant that AddLayerVersionPermission asks for.
// https://docs.aws.amazon.com/lambda/latest/dg/permissions-layer-cross-account.html
func newLayerStatement(in *lambdaapi.AddLayerVersionPermissionRequest, resource string) statement {
	st := statement{Sid: awsapi.Val(in.StatementId), Effect: "Allow", Action: awsapi.Val(in.Action), Resource: resource}
	switch p := awsapi.Val(in.Principal); {
	case p == "*":
		st.Principal = p
	case isAccount(p):
		st.Principal = map[string]string{"AWS": "arn:aws:iam::" + p + ":root"}
	default: // an account's ARN: the model has no other
		st.Principal = map[string]string{"AWS": p}
	}
	if given(in.OrganizationId) {
		// Evaluated as any condition: accounts are in no organisation here, so
		// it grants nothing.
		st.Condition = &condition{StringEquals: map[string]string{"aws:PrincipalOrgID": *in.OrganizationId}}
	}
	return st
}

func staleLayerPolicy() error {
	return &lambdaapi.PreconditionFailedException{
		Type:    new(user),
		Message: new("The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id"),
	}
}

// editLayerPolicy changes the policy of a layer's version.
func (s *Service) editLayerPolicy(ctx context.Context, nameOrARN *string, version *int64, edit func(v *layerVersion, arn string) error) (*layerVersion, error) {
	k, number, err := locateLayerVersion(ctx, nameOrARN, version)
	if err != nil {
		return nil, err
	}
	var v *layerVersion
	arn := k.versionARN(number)
	err = s.transact(ctx, arn, func(t *transaction) error {
		var rev int64
		var err error
		if v, rev, err = s.policyLayer(ctx, k, number); err != nil {
			return err
		}
		if err := edit(v, arn); err != nil {
			return err
		}
		v.PolicyID = uuid.NewString()
		return t.put(k.version(number), v, rev)
	})
	return v, err
}

// policyLayer reads the version whose policy an operation is about.
func (s *Service) policyLayer(ctx context.Context, k layerKey, number int64) (*layerVersion, int64, error) {
	v, rev, err := s.loadLayerVersion(ctx, k, number)
	if isNotFound(err) {
		err = notFound("Layer version %s does not exist.", k.versionARN(number))
	}
	return v, rev, err
}

// AddLayerVersionPermission lets other accounts use a version of a layer.
// https://docs.aws.amazon.com/lambda/latest/api/API_AddLayerVersionPermission.html
func (s *Service) AddLayerVersionPermission(ctx context.Context, in *lambdaapi.AddLayerVersionPermissionRequest) (*lambdaapi.AddLayerVersionPermissionResponse, error) {
	var st statement
	v, err := s.editLayerPolicy(ctx, in.LayerName, in.VersionNumber, func(v *layerVersion, arn string) error {
		st = newLayerStatement(in, arn)
		if slices.ContainsFunc(v.Policy, func(old statement) bool { return old.Sid == st.Sid }) {
			return conflict("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", st.Sid)
		}
		if in.RevisionId != nil && *in.RevisionId != v.PolicyID {
			return staleLayerPolicy()
		}
		v.Policy = append(v.Policy, st)
		doc, err := policyDocument(v.Policy)
		if err != nil {
			return fmt.Errorf("encode policy: %w", err)
		}
		if len(doc) > maxPolicy {
			return &lambdaapi.PolicyLengthExceededException{Type: new(user), Message: new(fmt.Sprintf("The final policy size (%d) is bigger than the limit (%d).", len(doc), maxPolicy))}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	return &lambdaapi.AddLayerVersionPermissionResponse{Statement: new(string(b)), RevisionId: new(v.PolicyID)}, nil
}

// RemoveLayerVersionPermission takes a statement out of the policy of a layer's
// version. Functions that have the layer keep it.
// https://docs.aws.amazon.com/lambda/latest/api/API_RemoveLayerVersionPermission.html
func (s *Service) RemoveLayerVersionPermission(ctx context.Context, in *lambdaapi.RemoveLayerVersionPermissionRequest) (*lambdaapi.RemoveLayerVersionPermissionOutput, error) {
	sid := awsapi.Val(in.StatementId)
	_, err := s.editLayerPolicy(ctx, in.LayerName, in.VersionNumber, func(v *layerVersion, _ string) error {
		if in.RevisionId != nil && *in.RevisionId != v.PolicyID {
			return staleLayerPolicy()
		}
		i := slices.IndexFunc(v.Policy, func(st statement) bool { return st.Sid == sid })
		if i < 0 {
			return notFound("Statement %s is not found in resource policy.", sid)
		}
		v.Policy = slices.Delete(v.Policy, i, i+1)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &lambdaapi.RemoveLayerVersionPermissionOutput{}, nil
}

// GetLayerVersionPolicy shows the policy of a layer's version.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersionPolicy.html
func (s *Service) GetLayerVersionPolicy(ctx context.Context, in *lambdaapi.GetLayerVersionPolicyRequest) (*lambdaapi.GetLayerVersionPolicyResponse, error) {
	k, number, err := locateLayerVersion(ctx, in.LayerName, in.VersionNumber)
	if err != nil {
		return nil, err
	}
	v, _, err := s.policyLayer(ctx, k, number)
	if err != nil {
		return nil, err
	}
	if len(v.Policy) == 0 {
		return nil, notFound("No policy is associated with the given resource.")
	}
	doc, err := policyDocument(v.Policy)
	if err != nil {
		return nil, fmt.Errorf("encode policy: %w", err)
	}
	return &lambdaapi.GetLayerVersionPolicyResponse{Policy: new(string(doc)), RevisionId: new(v.PolicyID)}, nil
}

// LayerPolicy is the resource policy of the layer's version with this ARN. It
// is nil when there is none, or no such version.
func (s *Service) LayerPolicy(ctx context.Context, layerVersionARN string) ([]byte, error) {
	k, number, ok := parseLayerVersion(layerVersionARN)
	if !ok {
		return nil, nil
	}
	v, _, err := s.loadLayerVersion(ctx, k, number)
	if isNotFound(err) || err == nil && len(v.Policy) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return policyDocument(v.Policy)
}
