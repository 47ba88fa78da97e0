package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// statement is one grant of a function policy, its members in AWS's order.
type statement struct {
	Sid       string
	Effect    string
	Principal any // "*", or a map of one kind to one name
	Action    string
	Resource  string
	Condition *condition `json:",omitempty"`
}

type condition struct {
	StringEquals map[string]string `json:",omitempty"`
	ArnLike      map[string]string `json:",omitempty"`
	Bool         map[string]string `json:",omitempty"`
}

func policyDocument(statements []statement) ([]byte, error) {
	return json.Marshal(struct {
		Version   string
		ID        string `json:"Id"`
		Statement []statement
	}{"2012-10-17", "default", statements})
}

// newStatement is the grant that AddPermission asks for.
// https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html
func newStatement(in *lambdaapi.AddPermissionRequest, resource string) (statement, error) {
	st := statement{Sid: awsapi.Val(in.StatementId), Effect: "Allow", Action: awsapi.Val(in.Action), Resource: resource}
	switch p := awsapi.Val(in.Principal); {
	case p == "*":
		st.Principal = p
	case isAccount(p):
		st.Principal = map[string]string{"AWS": "arn:aws:iam::" + p + ":root"}
	case strings.HasPrefix(p, "arn:aws:iam::"), strings.HasPrefix(p, "arn:aws:sts::"):
		st.Principal = map[string]string{"AWS": p}
	case strings.HasSuffix(p, ".amazonaws.com"):
		st.Principal = map[string]string{"Service": p}
	default:
		return st, invalid("The provided principal was invalid. Please check the principal and try again.")
	}
	var c condition
	equal := func(name string, v *string) {
		if v != nil && *v != "" {
			if c.StringEquals == nil {
				c.StringEquals = map[string]string{}
			}
			c.StringEquals[name] = *v
		}
	}
	if in.FunctionUrlAuthType != nil {
		if st.Action != "lambda:InvokeFunctionUrl" {
			return st, invalid("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
		}
		equal("lambda:FunctionUrlAuthType", new(string(*in.FunctionUrlAuthType)))
	}
	equal("aws:PrincipalOrgID", in.PrincipalOrgID)
	equal("AWS:SourceAccount", in.SourceAccount)
	equal("lambda:EventSourceToken", in.EventSourceToken)
	if v := awsapi.Val(in.SourceArn); v != "" {
		c.ArnLike = map[string]string{"AWS:SourceArn": v}
	}
	if awsapi.Val(in.InvokedViaFunctionUrl) {
		c.Bool = map[string]string{"lambda:InvokedViaFunctionUrl": "true"}
	}
	if c.StringEquals != nil || c.ArnLike != nil || c.Bool != nil {
		st.Condition = &c
	}
	return st, nil
}

// policyOwner is the version or alias whose policy an operation is about.
type policyOwner struct {
	qualifier string // $LATEST: the function itself
	arn       string
	revision  string
}

func (s *Service) policyOwner(ctx context.Context, k key, f *function, qualifier string) (policyOwner, error) {
	o := policyOwner{qualifier: qualifier, arn: k.qualified(qualifier)}
	if qualifier == "" {
		o.qualifier = Latest
	}
	if a, ok := f.Aliases[qualifier]; ok {
		o.revision = a.RevisionID
		return o, nil
	}
	v, err := s.at(ctx, k, f, qualifier)
	if err != nil {
		return o, err
	}
	o.revision = v.RevisionID
	return o, nil
}

// revise gives the owner of a changed policy a new RevisionId.
func (f *function) revise(qualifier string) {
	id := uuid.NewString()
	if a, ok := f.Aliases[qualifier]; ok {
		a.RevisionID = id
		f.Aliases[qualifier] = a
		return
	}
	if qualifier == Latest {
		f.Latest.RevisionID = id
		return
	}
	if f.Revisions == nil {
		f.Revisions = map[string]string{}
	}
	f.Revisions[qualifier] = id
}

// AddPermission lets a service, account or principal use a function.
// https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html
func (s *Service) AddPermission(ctx context.Context, in *lambdaapi.AddPermissionRequest) (*lambdaapi.AddPermissionResponse, error) {
	k, qualifier, err := s.locate(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if qualifier == Latest {
		return nil, invalid("We currently do not support adding policies for $LATEST.")
	}
	var st statement
	_, err = s.update(ctx, k, false, func(c *change) error {
		owner, err := s.policyOwner(ctx, k, c.f, qualifier)
		if err != nil {
			return err
		}
		if err := checkRevision(in.RevisionId, owner.revision); err != nil {
			return err
		}
		if st, err = newStatement(in, owner.arn); err != nil {
			return err
		}
		if err := s.bind(&st); err != nil {
			return err
		}
		policy := c.f.Policies[owner.qualifier]
		if slices.ContainsFunc(policy, func(old statement) bool { return old.Sid == st.Sid }) {
			return conflict("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", st.Sid)
		}
		policy = append(policy, st)
		doc, err := policyDocument(policy)
		if err != nil {
			return fmt.Errorf("encode policy: %w", err)
		}
		if len(doc) > maxPolicy {
			return &lambdaapi.PolicyLengthExceededException{Type: new(user), Message: new(fmt.Sprintf("The final policy size (%d) is bigger than the limit (%d).", len(doc), maxPolicy))}
		}
		if c.f.Policies == nil {
			c.f.Policies = map[string][]statement{}
		}
		c.f.Policies[owner.qualifier] = policy
		c.f.revise(owner.qualifier)
		return nil
	})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(s.shown([]statement{st})[0])
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	return &lambdaapi.AddPermissionResponse{Statement: new(string(b))}, nil
}

// RemovePermission takes a statement out of a function's policy.
// https://docs.aws.amazon.com/lambda/latest/api/API_RemovePermission.html
func (s *Service) RemovePermission(ctx context.Context, in *lambdaapi.RemovePermissionRequest) (*lambdaapi.RemovePermissionOutput, error) {
	k, qualifier, err := s.locate(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	sid := awsapi.Val(in.StatementId)
	_, err = s.update(ctx, k, false, func(c *change) error {
		owner, err := s.policyOwner(ctx, k, c.f, qualifier)
		if err != nil {
			return err
		}
		policy := c.f.Policies[owner.qualifier]
		if len(policy) == 0 {
			return notFound("No policy is associated with the given resource.")
		}
		i := slices.IndexFunc(policy, func(st statement) bool { return st.Sid == sid })
		if i < 0 {
			return notFound("Statement %s is not found in resource policy.", sid)
		}
		if err := checkRevision(in.RevisionId, owner.revision); err != nil {
			return err
		}
		if policy = slices.Delete(policy, i, i+1); len(policy) == 0 {
			delete(c.f.Policies, owner.qualifier)
		} else {
			c.f.Policies[owner.qualifier] = policy
		}
		c.f.revise(owner.qualifier)
		return nil
	})
	if isNotFound(err) && !s.exists(ctx, k) {
		return nil, notFound("No policy found for: %s", k.arn())
	}
	if err != nil {
		return nil, err
	}
	return &lambdaapi.RemovePermissionOutput{}, nil
}

func (s *Service) exists(ctx context.Context, k key) bool {
	_, err := s.entry(ctx, k)
	return err == nil
}

// GetPolicy shows a function's policy.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetPolicy.html
func (s *Service) GetPolicy(ctx context.Context, in *lambdaapi.GetPolicyRequest) (*lambdaapi.GetPolicyResponse, error) {
	k, qualifier, err := s.locate(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	f, _, err := s.load(ctx, k)
	if err != nil {
		return nil, err
	}
	owner, err := s.policyOwner(ctx, k, f, qualifier)
	if err != nil {
		return nil, err
	}
	policy := f.Policies[owner.qualifier]
	if len(policy) == 0 {
		return nil, notFound("The resource you requested does not exist.")
	}
	doc, err := policyDocument(s.shown(policy))
	if err != nil {
		return nil, fmt.Errorf("encode policy: %w", err)
	}
	return &lambdaapi.GetPolicyResponse{Policy: new(string(doc)), RevisionId: new(owner.revision)}, nil
}
