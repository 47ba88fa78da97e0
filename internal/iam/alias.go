package iam

import (
	"context"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

// CreateAccountAlias names the account. An alias that it had gives way; one
// that any account here has is taken.
func (s *Service) CreateAccountAlias(ctx context.Context, in *iamapi.CreateAccountAliasRequest) (*iamapi.CreateAccountAliasOutput, error) {
	alias := awsapi.Val(in.AccountAlias)
	s.peers.mu.Lock() // two accounts cannot take it at once
	defer s.peers.mu.Unlock()
	for _, other := range s.peers.all() {
		if a := other.snap.Load().account; a != nil && a.Alias == alias {
			return nil, alreadyExists("The account alias %s already exists.", alias)
		}
	}
	return &iamapi.CreateAccountAliasOutput{}, s.updateAccount(ctx, func(a *accountRecord) error {
		a.Alias = alias
		return nil
	})
}

// DeleteAccountAlias deletes the alias, which must be named.
func (s *Service) DeleteAccountAlias(ctx context.Context, in *iamapi.DeleteAccountAliasRequest) (*iamapi.DeleteAccountAliasOutput, error) {
	return &iamapi.DeleteAccountAliasOutput{}, s.updateAccount(ctx, func(a *accountRecord) error {
		if a.Alias != awsapi.Val(in.AccountAlias) {
			return noSuchEntity("The account alias %s cannot be found.", awsapi.Val(in.AccountAlias))
		}
		a.Alias = ""
		return nil
	})
}

// ListAccountAliases returns the alias, if there is one.
func (s *Service) ListAccountAliases(context.Context, *iamapi.ListAccountAliasesRequest) (*iamapi.ListAccountAliasesResponse, error) {
	out := &iamapi.ListAccountAliasesResponse{AccountAliases: []string{}, IsTruncated: new(false)}
	if alias := s.snap.Load().account.Alias; alias != "" {
		out.AccountAliases = append(out.AccountAliases, alias)
	}
	return out, nil
}
