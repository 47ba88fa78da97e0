package iam

import (
	"context"
	"slices"
	"strings"

	"davy/api/iamapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// inlineSize is the quota of all inline policies of an entity together.
func (k kind) inlineSize() int {
	switch k {
	case userKind:
		return 2048
	case groupKind:
		return 5120
	default:
		return 10240
	}
}

// attachable finds a policy that is to be attached or to bound. The changes
// hold it fast until the attachment is made.
func (s *snapshot) attachable(policyARN string) ([]change, error) {
	if a, err := arn.Parse(policyARN); err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "policy/") {
		return nil, invalidInput("ARN %s is not valid.", policyARN)
	}
	p := s.policies[policyARN]
	if p == nil {
		return nil, noSuchEntity("Policy %s does not exist or is not attachable.", policyARN)
	}
	if p.aws {
		return nil, nil
	}
	return []change{{p, p}}, nil
}

func (s *Service) attach(ctx context.Context, k kind, name, policyARN *string) error {
	text := awsapi.Val(policyARN)
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old := now.find(k, awsapi.Val(name))
		if old == nil {
			return nil, notFound(k, awsapi.Val(name))
		}
		touch, err := now.attachable(text)
		if err != nil || slices.Contains(old.Attached, text) {
			return nil, err
		}
		if len(old.Attached) >= attachedPolicies {
			return nil, limitExceeded("Cannot exceed quota for PoliciesPer%s: %d", k.title(), attachedPolicies)
		}
		r := old.clone()
		r.Attached = append(r.Attached, text)
		return append(touch, change{old, r}), nil
	})
}

func (s *Service) detach(ctx context.Context, k kind, name, policyARN *string) error {
	text := awsapi.Val(policyARN)
	return s.update(ctx, k, name, func(now *snapshot, r *record) error {
		i := slices.Index(r.Attached, text)
		if i < 0 {
			return noSuchEntity("Policy %s was not found.", text)
		}
		r.Attached = slices.Delete(r.Attached, i, i+1)
		return nil
	})
}

func (s *Service) listAttached(k kind, name, prefix, marker *string, maxItems *int32) ([]iamapi.AttachedPolicy, *bool, *string, error) {
	now := s.snap.Load()
	r := now.find(k, awsapi.Val(name))
	if r == nil {
		return nil, nil, nil, notFound(k, awsapi.Val(name))
	}
	var all []iamapi.AttachedPolicy
	for _, a := range r.Attached {
		if p := now.policies[a]; p != nil && strings.HasPrefix(p.Path, awsapi.Val(prefix)) {
			all = append(all, iamapi.AttachedPolicy{PolicyArn: new(a), PolicyName: new(p.Name)})
		}
	}
	key := func(p iamapi.AttachedPolicy) string { return *p.PolicyName + " " + *p.PolicyArn }
	slices.SortFunc(all, func(a, b iamapi.AttachedPolicy) int { return order(key(a), key(b)) })
	return page(all, key, marker, maxItems)
}

func (s *Service) putInline(ctx context.Context, k kind, name, policyName, document *string) error {
	text := awsapi.Val(document)
	return s.update(ctx, k, name, func(_ *snapshot, r *record) error {
		if _, err := policy.Parse(text, policy.Identity); err != nil {
			return malformed(err)
		}
		i := slices.IndexFunc(r.Inline, func(p inlinePolicy) bool { return p.Name == awsapi.Val(policyName) })
		if i < 0 {
			r.Inline = append(r.Inline, inlinePolicy{Name: awsapi.Val(policyName)})
			i = len(r.Inline) - 1
		}
		r.Inline[i].Document = text
		total := 0
		for _, p := range r.Inline {
			total += size(p.Document)
		}
		if total > k.inlineSize() {
			return limitExceeded("Maximum policy size of %d bytes exceeded for %s %s", k.inlineSize(), k, r.Name)
		}
		return nil
	})
}

func (s *Service) getInline(k kind, name, policyName *string) (*string, error) {
	r := s.snap.Load().find(k, awsapi.Val(name))
	if r == nil {
		return nil, notFound(k, awsapi.Val(name))
	}
	for _, p := range r.Inline {
		if p.Name == awsapi.Val(policyName) {
			return encoded(p.Document), nil
		}
	}
	return nil, noInline(k, policyName)
}

func noInline(k kind, policyName *string) error {
	return noSuchEntity("The %s policy with name %s cannot be found.", k, awsapi.Val(policyName))
}

func (s *Service) deleteInline(ctx context.Context, k kind, name, policyName *string) error {
	return s.update(ctx, k, name, func(_ *snapshot, r *record) error {
		i := slices.IndexFunc(r.Inline, func(p inlinePolicy) bool { return p.Name == awsapi.Val(policyName) })
		if i < 0 {
			return noInline(k, policyName)
		}
		r.Inline = slices.Delete(r.Inline, i, i+1)
		return nil
	})
}

func (s *Service) listInline(k kind, name, marker *string, maxItems *int32) ([]string, *bool, *string, error) {
	r := s.snap.Load().find(k, awsapi.Val(name))
	if r == nil {
		return nil, nil, nil, notFound(k, awsapi.Val(name))
	}
	names := make([]string, 0, len(r.Inline))
	for _, p := range r.Inline {
		names = append(names, p.Name)
	}
	slices.SortFunc(names, order)
	return page(names, itself, marker, maxItems)
}

// setBoundary sets the permissions boundary; nil removes it.
func (s *Service) setBoundary(ctx context.Context, k kind, name, policyARN *string) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old := now.find(k, awsapi.Val(name))
		if old == nil {
			return nil, notFound(k, awsapi.Val(name))
		}
		var touch []change
		if policyARN != nil {
			var err error
			if touch, err = now.attachable(*policyARN); err != nil {
				return nil, err
			}
		} else if old.Boundary == "" {
			return nil, noSuchEntity("The permissions boundary for %s %s cannot be found.", k, old.Name)
		}
		r := old.clone()
		r.Boundary = awsapi.Val(policyARN)
		return append(touch, change{old, r}), nil
	})
}
