package iam

import (
	"context"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

// ownPassword is what a password policy with AllowUsersToChangePassword grants
// to each user. ChangePassword is always about the caller.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_passwords_enable-user-change.html
var ownPassword = builtIn("account password policy", `{"Effect":"Allow","Action":["iam:ChangePassword","iam:GetAccountPasswordPolicy"],"Resource":"*"}`)

// updateAccount changes the account record in place of a clone.
func (s *Service) updateAccount(ctx context.Context, f func(*accountRecord) error) error {
	return s.mutate(ctx, func(now *snapshot) ([]change, error) {
		a := now.account.clone()
		return []change{{now.account, a}}, f(a)
	})
}

// UpdateAccountPasswordPolicy replaces the password policy: what is absent
// gets its default. It counts for passwords that are set from then on; the age
// counts for all.
func (s *Service) UpdateAccountPasswordPolicy(ctx context.Context, in *iamapi.UpdateAccountPasswordPolicyRequest) (*iamapi.UpdateAccountPasswordPolicyOutput, error) {
	p := passwords{
		MinLength: defaultMinLength, Symbols: awsapi.Val(in.RequireSymbols), Numbers: awsapi.Val(in.RequireNumbers),
		Uppercase: awsapi.Val(in.RequireUppercaseCharacters), Lowercase: awsapi.Val(in.RequireLowercaseCharacters),
		UsersMayChange: awsapi.Val(in.AllowUsersToChangePassword), HardExpiry: awsapi.Val(in.HardExpiry),
		MaxAge: awsapi.Val(in.MaxPasswordAge), ReusePrevention: awsapi.Val(in.PasswordReusePrevention),
	}
	if in.MinimumPasswordLength != nil {
		p.MinLength = *in.MinimumPasswordLength
	}
	return &iamapi.UpdateAccountPasswordPolicyOutput{}, s.updateAccount(ctx, func(a *accountRecord) error {
		a.Passwords = p
		return nil
	})
}

// GetAccountPasswordPolicy returns the password policy.
func (s *Service) GetAccountPasswordPolicy(context.Context, *iamapi.GetAccountPasswordPolicyInput) (*iamapi.GetAccountPasswordPolicyResponse, error) {
	a := s.snap.Load().account
	p := &a.Passwords
	if !p.present() {
		return nil, noSuchEntity("The Password Policy with domain name %s cannot be found.", a.Account)
	}
	out := &iamapi.PasswordPolicy{
		MinimumPasswordLength: new(p.MinLength), RequireSymbols: new(p.Symbols), RequireNumbers: new(p.Numbers),
		RequireUppercaseCharacters: new(p.Uppercase), RequireLowercaseCharacters: new(p.Lowercase),
		AllowUsersToChangePassword: new(p.UsersMayChange), ExpirePasswords: new(p.MaxAge > 0), HardExpiry: new(p.HardExpiry),
	}
	if p.MaxAge > 0 {
		out.MaxPasswordAge = new(p.MaxAge)
	}
	if p.ReusePrevention > 0 {
		out.PasswordReusePrevention = new(p.ReusePrevention)
	}
	return &iamapi.GetAccountPasswordPolicyResponse{PasswordPolicy: out}, nil
}

// DeleteAccountPasswordPolicy goes back to AWS's default.
func (s *Service) DeleteAccountPasswordPolicy(ctx context.Context, _ *iamapi.DeleteAccountPasswordPolicyInput) (*iamapi.DeleteAccountPasswordPolicyOutput, error) {
	return &iamapi.DeleteAccountPasswordPolicyOutput{}, s.updateAccount(ctx, func(a *accountRecord) error {
		if !a.Passwords.present() {
			return noSuchEntity("The account policy with name PasswordPolicy cannot be found.")
		}
		a.Passwords = passwords{}
		return nil
	})
}
