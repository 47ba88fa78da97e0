package s3

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// PolicyChecker tells whether a document is a valid bucket policy, and who its
// principals are.
type PolicyChecker interface {
	// CheckBucketPolicy returns the ids of the users and roles that the policy
	// names, by their ARNs, or an error whose text says what is wrong: it is
	// shown to the client behind MalformedPolicy.
	CheckBucketPolicy(ctx context.Context, document, bucketARN string) (bound map[string]string, err error)
	// ShowBucketPolicy returns a policy as it is shown: with the names that
	// those bound have now, or their ids when they are gone.
	ShowBucketPolicy(ctx context.Context, document string, bound map[string]string) string
}

// maxPolicy is the largest bucket policy in bytes.
const maxPolicy = 20 << 10

// PutBucketPolicy attaches a resource policy. Authorisation enforces it.
func (s *Service) PutBucketPolicy(ctx context.Context, in *s3api.PutBucketPolicyRequest) (*s3api.PutBucketPolicyOutput, error) {
	document := awsapi.Val(in.Policy)
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	if len(document) > maxPolicy {
		return nil, fault(http.StatusBadRequest, "PolicyTooLarge", "The policy exceeds the maximum allowed document size of 20480 bytes.")
	}
	if s.policies == nil {
		return nil, fault(http.StatusNotImplemented, "NotImplemented", "This server can't check bucket policies.")
	}
	if !strings.HasPrefix(strings.TrimLeft(document, " \t\r\n"), "{") {
		return nil, errMalformedPolicy("Policies must be valid JSON and the first byte must be '{'")
	}
	bound, err := s.policies.CheckBucketPolicy(ctx, document, b.arn())
	if err != nil {
		return nil, errMalformedPolicy(err.Error())
	}
	return nil, s.setting(ctx, in.Bucket, in.ExpectedBucketOwner, func(b *bucket) error {
		if b.PublicAccess != nil && b.PublicAccess.BlockPolicy && publicPolicy(document) {
			return fault(http.StatusForbidden, "AccessDenied",
				fmt.Sprintf("User: %s is not authorized to perform: s3:PutBucketPolicy on resource: %q because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
					awsapi.CallFrom(ctx).Principal.ARN, b.arn()))
		}
		b.Policy, b.Bound = document, bound
		return nil
	})
}

func errMalformedPolicy(message string) error {
	return fault(http.StatusBadRequest, "MalformedPolicy", message)
}

// GetBucketPolicy returns the policy as it was put, but for principals that
// were renamed or are gone.
func (s *Service) GetBucketPolicy(ctx context.Context, in *s3api.GetBucketPolicyRequest) (*s3api.GetBucketPolicyOutput, error) {
	b, err := s.policied(ctx, in.Bucket, in.ExpectedBucketOwner)
	if err != nil {
		return nil, err
	}
	text := b.Policy
	if s.policies != nil && len(b.Bound) > 0 {
		text = s.policies.ShowBucketPolicy(ctx, text, b.Bound)
	}
	return &s3api.GetBucketPolicyOutput{Policy: &text}, nil
}

// GetBucketPolicyStatus tells whether the policy is public.
func (s *Service) GetBucketPolicyStatus(ctx context.Context, in *s3api.GetBucketPolicyStatusRequest) (*s3api.GetBucketPolicyStatusOutput, error) {
	b, err := s.policied(ctx, in.Bucket, in.ExpectedBucketOwner)
	if err != nil {
		return nil, err
	}
	return &s3api.GetBucketPolicyStatusOutput{PolicyStatus: &s3api.PolicyStatus{IsPublic: new(publicPolicy(b.Policy))}}, nil
}

func (s *Service) policied(ctx context.Context, name, owner *string) (*bucket, error) {
	b, err := s.bucket(ctx, awsapi.Val(name), awsapi.Val(owner))
	if err == nil && b.Policy == "" {
		err = fault(http.StatusNotFound, "NoSuchBucketPolicy", "The bucket policy does not exist", "BucketName", b.Name)
	}
	return b, err
}

// DeleteBucketPolicy removes the policy.
func (s *Service) DeleteBucketPolicy(ctx context.Context, in *s3api.DeleteBucketPolicyRequest) (*s3api.DeleteBucketPolicyOutput, error) {
	return nil, s.setting(ctx, in.Bucket, in.ExpectedBucketOwner, func(b *bucket) error {
		b.Policy, b.Bound = "", nil
		return nil
	})
}

// fixedConditions are the condition keys that, compared with fixed values,
// keep a statement for everyone from being public.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html#access-control-block-public-access-policy-status
var fixedConditions = []string{
	"aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceaccount", "aws:sourceowner", "aws:sourceip", "aws:userid",
	"aws:principalarn", "aws:principalaccount", "aws:principalorgid", "aws:principalorgpaths", "aws:principalserviceordernamespace",
	"s3:x-amz-server-side-encryption-aws-kms-key-id", "s3:dataaccesspointarn", "s3:dataaccesspointaccount",
}

// publicPolicy tells whether a policy gives something to everyone.
func publicPolicy(document string) bool {
	var p struct {
		Statement json.RawMessage
	}
	if json.Unmarshal([]byte(document), &p) != nil {
		return true // stored policies were checked: be careful, not lenient
	}
	var statements []struct {
		Effect       string
		Principal    json.RawMessage
		NotPrincipal json.RawMessage
		Condition    map[string]map[string]json.RawMessage
	}
	if json.Unmarshal(p.Statement, &statements) != nil {
		one := append(append([]byte{'['}, p.Statement...), ']')
		if json.Unmarshal(one, &statements) != nil {
			return true
		}
	}
	for _, st := range statements {
		if st.Effect == "Allow" && (st.NotPrincipal != nil || everyone(st.Principal)) && !narrowed(st.Condition) {
			return true
		}
	}
	return false
}

func everyone(principal json.RawMessage) bool {
	var name string
	if json.Unmarshal(principal, &name) == nil {
		return strings.Contains(name, "*")
	}
	var kinds map[string]json.RawMessage
	if json.Unmarshal(principal, &kinds) != nil {
		return true
	}
	for kind, v := range kinds {
		if kind == "Service" {
			continue
		}
		for _, name := range list(v) {
			if strings.Contains(name, "*") {
				return true
			}
		}
	}
	return false
}

// narrowed tells whether a condition binds the statement to fixed values.
func narrowed(conditions map[string]map[string]json.RawMessage) bool {
	for operator, keys := range conditions {
		op := strings.ToLower(operator)
		if strings.Contains(op, "not") || strings.HasSuffix(op, "ifexists") || strings.HasPrefix(op, "forallvalues") || op == "null" {
			continue
		}
		for key, v := range keys {
			for _, fixed := range fixedConditions {
				if strings.ToLower(key) == fixed && allFixed(fixed, list(v)) {
					return true
				}
			}
		}
	}
	return false
}

func allFixed(key string, values []string) bool {
	for _, v := range values {
		if strings.ContainsAny(v, "*?") || strings.Contains(v, "${") {
			return false
		}
		if key == "aws:sourceip" && (strings.HasSuffix(v, "/0") || strings.HasPrefix(v, "0.0.0.0/") || strings.HasPrefix(v, "::/")) {
			return false
		}
	}
	return len(values) > 0
}

// list reads a JSON string or a list of strings.
func list(v json.RawMessage) []string {
	var many []string
	if json.Unmarshal(v, &many) == nil {
		return many
	}
	var one string
	if json.Unmarshal(v, &one) == nil {
		return []string{one}
	}
	return []string{"*"} // not a string: nothing to rely on
}
