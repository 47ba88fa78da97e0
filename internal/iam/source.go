package iam

import (
	"errors"
	"slices"
	"strings"

	"davy/api/iamapi"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// source is a policy with its text and whose it is, for operations that tell
// where a decision comes from.
type source struct {
	policy.Attached
	text  string
	owner *record // that it is inline in or attached to
}

// inline reports whether the policy has no ARN.
func (s *source) inline() bool { return s.ARN == "" }

// sourcesOf returns the policies of a user, group or role, a user's groups'
// among them.
func (s *snapshot) sourcesOf(r *record) ([]source, error) {
	var out []source
	for i, p := range r.Inline {
		out = append(out, source{r.inline[i], p.Document, r})
	}
	for _, a := range r.Attached {
		src, err := s.managedSource(a)
		if err != nil {
			return nil, err
		}
		src.owner = r
		out = append(out, *src)
	}
	for _, id := range r.Groups {
		if g := s.byID[id]; g != nil {
			more, err := s.sourcesOf(g)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

func (s *snapshot) managedSource(policyARN string) (*source, error) {
	p := s.policies[policyARN]
	if p == nil {
		return nil, noSuchEntity("Policy %s was not found.", policyARN)
	}
	doc, err := p.doc()
	if err != nil {
		return nil, err
	}
	return &source{Attached: policy.Attached{Name: p.Name, ARN: policyARN, Document: doc}, text: p.version(p.Default).Document}, nil
}

// inputSource compiles a policy that a request brings.
func inputSource(name, text string, kind policy.Kind) (source, error) {
	doc, err := policy.Parse(text, kind)
	var bad *policy.MalformedError
	if errors.As(err, &bad) {
		return source{}, invalidInput("The policy %s is not valid: %s", name, bad.Reason)
	}
	return source{Attached: policy.Attached{Name: name, Document: doc}, text: text}, err
}

func attachedOf(list []source) []policy.Attached {
	var out []policy.Attached
	for i := range list {
		out = append(out, list[i].Attached)
	}
	return out
}

// excludes reports whether a request does not want a policy to be simulated.
func excludes(not []iamapi.PolicyIdentifier, s *source) bool {
	return slices.ContainsFunc(not, func(id iamapi.PolicyIdentifier) bool {
		if id.PolicyArn != nil {
			return s.ARN == *id.PolicyArn && awsapi.Val(id.PolicyType) != iamapi.PolicyIdentifierPolicyTypePermissionBoundary
		}
		in := id.InlinePolicyIdentifier
		return in != nil && s.inline() && s.owner != nil && s.Name == awsapi.Val(in.PolicyName) &&
			s.owner.Name == awsapi.Val(in.AttachmentName) && strings.EqualFold(string(s.owner.Kind), string(awsapi.Val(in.AttachmentType)))
	})
}

// excludesBoundary is excludes for a permissions boundary.
func excludesBoundary(not []iamapi.PolicyIdentifier, policyARN string) bool {
	return slices.ContainsFunc(not, func(id iamapi.PolicyIdentifier) bool {
		return awsapi.Val(id.PolicyArn) == policyARN && awsapi.Val(id.PolicyType) == iamapi.PolicyIdentifierPolicyTypePermissionBoundary
	})
}
