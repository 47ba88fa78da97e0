package iam

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"davy/api/iamapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
)

// Quotas. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	clientIDsPerProvider   = 100
	thumbprintsPerProvider = 5
	providersPerAccount    = 100
)

// providerByARN finds an OIDC provider.
func (s *snapshot) providerByARN(providerARN *string) (*record, error) {
	text := awsapi.Val(providerARN)
	a, err := arn.Parse(text)
	name, ok := strings.CutPrefix(a.Resource, string(providerKind)+"/")
	if err != nil || a.Service != "iam" || !ok {
		return nil, invalidInput("Invalid ARN: %s", text)
	}
	if r := s.find(providerKind, name); r != nil && r.arn(s.account.Account) == text {
		return r, nil
	}
	return nil, noSuchEntity("OpenIDConnect Provider not found for arn %s", text)
}

func (s *Service) updateProvider(ctx context.Context, providerARN *string, f func(*record) error) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old, err := now.providerByARN(providerARN)
		if err != nil {
			return nil, err
		}
		r := old.clone()
		return []change{{old, r}}, f(r)
	})
}

// issuer returns the name of an OIDC provider: its URL without the scheme.
// Beside what AWS takes, a provider on this machine may speak plain HTTP and
// listen on any port.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html
func issuer(text string) (string, error) {
	u, err := url.Parse(text)
	local := err == nil && loopback(u.Hostname())
	if err != nil || u.Host == "" || u.User != nil || !local && (u.Scheme != "https" || u.Port() != "") || local && !fetchable(u) ||
		strings.ContainsAny(text, "?#*") || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", validationError("Invalid Open ID Connect Provider URL")
	}
	name, ok := strings.CutPrefix(text, u.Scheme+"://")
	if !ok { // the scheme in capitals
		return "", validationError("Invalid Open ID Connect Provider URL")
	}
	return name, nil
}

// checkThumbprints accepts hex-encoded SHA-1 hashes of certificates.
func checkThumbprints(list []string) error {
	if len(list) > thumbprintsPerProvider {
		return invalidInput("Thumbprint list must contain fewer than %d entries.", thumbprintsPerProvider)
	}
	for _, t := range list {
		if len(t) != 40 || strings.Trim(t, "0123456789abcdefABCDEF") != "" {
			return invalidInput("Thumbprint must be a 40-digit hexadecimal string: %s", t)
		}
	}
	return nil
}

func checkClientIDs(list []string) error {
	if len(list) > clientIDsPerProvider {
		return limitExceeded("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", clientIDsPerProvider)
	}
	return nil
}

// CreateOpenIDConnectProvider registers who may vouch for callers of
// AssumeRoleWithWebIdentity.
func (s *Service) CreateOpenIDConnectProvider(ctx context.Context, in *iamapi.CreateOpenIDConnectProviderRequest) (*iamapi.CreateOpenIDConnectProviderResponse, error) {
	name, err := issuer(awsapi.Val(in.Url))
	if err != nil {
		return nil, err
	}
	if err := checkThumbprints(in.ThumbprintList); err != nil {
		return nil, err
	}
	r := &record{
		Kind: providerKind, Name: name, Path: "/", ID: newID("OIDC"), Created: s.now(), Thumbprints: slices.Clone(in.ThumbprintList),
	}
	for _, id := range in.ClientIDList {
		if !slices.Contains(r.ClientIDs, id) {
			r.ClientIDs = append(r.ClientIDs, id)
		}
	}
	if err := checkClientIDs(r.ClientIDs); err != nil {
		return nil, err
	}
	if r.Tags, err = tagged(nil, in.Tags); err != nil {
		return nil, err
	}
	err = s.mutate(ctx, func(now *snapshot) ([]change, error) {
		if now.named(providerKind, name) != nil {
			return nil, alreadyExists("Provider with url %s already exists.", *in.Url)
		}
		return []change{{nil, r}}, now.room(providerKind)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.CreateOpenIDConnectProviderResponse{OpenIDConnectProviderArn: new(r.arn(s.snap.Load().account.Account)), Tags: wireTags(r.Tags)}, nil
}

// GetOpenIDConnectProvider returns a provider. Its URL has no scheme, as AWS
// shows it.
func (s *Service) GetOpenIDConnectProvider(_ context.Context, in *iamapi.GetOpenIDConnectProviderRequest) (*iamapi.GetOpenIDConnectProviderResponse, error) {
	r, err := s.snap.Load().providerByARN(in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetOpenIDConnectProviderResponse{
		Url: new(r.Name), CreateDate: new(r.Created), Tags: wireTags(r.Tags),
		ClientIDList: append([]string{}, r.ClientIDs...), ThumbprintList: append([]string{}, r.Thumbprints...),
	}, nil
}

// ListOpenIDConnectProviders lists the ARNs of the providers.
func (s *Service) ListOpenIDConnectProviders(context.Context, *iamapi.ListOpenIDConnectProvidersRequest) (*iamapi.ListOpenIDConnectProvidersResponse, error) {
	now := s.snap.Load()
	out := &iamapi.ListOpenIDConnectProvidersResponse{OpenIDConnectProviderList: []iamapi.OpenIDConnectProviderListEntry{}}
	for _, r := range now.sorted(providerKind) {
		out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, iamapi.OpenIDConnectProviderListEntry{Arn: new(r.arn(now.account.Account))})
	}
	return out, nil
}

// DeleteOpenIDConnectProvider deletes a provider. One that is gone is no
// error, as the API says.
func (s *Service) DeleteOpenIDConnectProvider(ctx context.Context, in *iamapi.DeleteOpenIDConnectProviderRequest) (*iamapi.DeleteOpenIDConnectProviderOutput, error) {
	return &iamapi.DeleteOpenIDConnectProviderOutput{}, s.mutate(ctx, func(now *snapshot) ([]change, error) {
		r, err := now.providerByARN(in.OpenIDConnectProviderArn)
		if r == nil {
			if e, ok := err.(awsapi.Error); ok && e.ErrorCode() == "NoSuchEntity" {
				return nil, nil
			}
			return nil, err
		}
		return []change{{r, nil}}, nil
	})
}

// UpdateOpenIDConnectProviderThumbprint replaces the thumbprints.
func (s *Service) UpdateOpenIDConnectProviderThumbprint(ctx context.Context, in *iamapi.UpdateOpenIDConnectProviderThumbprintRequest) (*iamapi.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	if err := checkThumbprints(in.ThumbprintList); err != nil {
		return nil, err
	}
	return &iamapi.UpdateOpenIDConnectProviderThumbprintOutput{}, s.updateProvider(ctx, in.OpenIDConnectProviderArn, func(r *record) error {
		r.Thumbprints = slices.Clone(in.ThumbprintList)
		return nil
	})
}

// AddClientIDToOpenIDConnectProvider lets another audience in; one that is
// known stays.
func (s *Service) AddClientIDToOpenIDConnectProvider(ctx context.Context, in *iamapi.AddClientIDToOpenIDConnectProviderRequest) (*iamapi.AddClientIDToOpenIDConnectProviderOutput, error) {
	id := awsapi.Val(in.ClientID)
	return &iamapi.AddClientIDToOpenIDConnectProviderOutput{}, s.updateProvider(ctx, in.OpenIDConnectProviderArn, func(r *record) error {
		if !slices.Contains(r.ClientIDs, id) {
			r.ClientIDs = append(r.ClientIDs, id)
		}
		return checkClientIDs(r.ClientIDs)
	})
}

// RemoveClientIDFromOpenIDConnectProvider takes an audience away; one that is
// not known is no error, as the API says.
func (s *Service) RemoveClientIDFromOpenIDConnectProvider(ctx context.Context, in *iamapi.RemoveClientIDFromOpenIDConnectProviderRequest) (*iamapi.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	return &iamapi.RemoveClientIDFromOpenIDConnectProviderOutput{}, s.updateProvider(ctx, in.OpenIDConnectProviderArn, func(r *record) error {
		r.ClientIDs = slices.DeleteFunc(r.ClientIDs, func(id string) bool { return id == awsapi.Val(in.ClientID) })
		return nil
	})
}

// TagOpenIDConnectProvider adds or replaces tags.
func (s *Service) TagOpenIDConnectProvider(ctx context.Context, in *iamapi.TagOpenIDConnectProviderRequest) (*iamapi.TagOpenIDConnectProviderOutput, error) {
	return &iamapi.TagOpenIDConnectProviderOutput{}, s.updateProvider(ctx, in.OpenIDConnectProviderArn, func(r *record) (err error) {
		r.Tags, err = tagged(r.Tags, in.Tags)
		return err
	})
}

// UntagOpenIDConnectProvider removes tags.
func (s *Service) UntagOpenIDConnectProvider(ctx context.Context, in *iamapi.UntagOpenIDConnectProviderRequest) (*iamapi.UntagOpenIDConnectProviderOutput, error) {
	return &iamapi.UntagOpenIDConnectProviderOutput{}, s.updateProvider(ctx, in.OpenIDConnectProviderArn, func(r *record) error {
		r.Tags = untagged(r.Tags, in.TagKeys)
		return nil
	})
}

// ListOpenIDConnectProviderTags lists a provider's tags.
func (s *Service) ListOpenIDConnectProviderTags(_ context.Context, in *iamapi.ListOpenIDConnectProviderTagsRequest) (*iamapi.ListOpenIDConnectProviderTagsResponse, error) {
	r, err := s.snap.Load().providerByARN(in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListOpenIDConnectProviderTagsResponse{}
	out.Tags, out.IsTruncated, out.Marker, err = pageTags(r.Tags, in.Marker, in.MaxItems)
	return out, err
}
