package iam

import (
	"context"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/internal/state/sqlite"
)

// moreOps are the operations of TestSnapshot_isWhatTheStoreHas on instance
// profiles, providers, passwords and the account.
func (f *fixture) moreOps(ctx context.Context, n func() *string) map[string]func() error {
	f.iterations = 1
	provider := func() *string {
		return new("arn:aws:iam::000000000000:oidc-provider/" + strings.ToLower(*n()) + ".example.com")
	}
	return map[string]func() error{
		"CreateInstanceProfile": func() error {
			return second(f.CreateInstanceProfile(ctx, &iamapi.CreateInstanceProfileRequest{InstanceProfileName: n()}))
		},
		"DeleteInstanceProfile": func() error {
			return second(f.DeleteInstanceProfile(ctx, &iamapi.DeleteInstanceProfileRequest{InstanceProfileName: n()}))
		},
		"AddRoleToInstanceProfile": func() error {
			return second(f.AddRoleToInstanceProfile(ctx, &iamapi.AddRoleToInstanceProfileRequest{InstanceProfileName: n(), RoleName: n()}))
		},
		"RemoveRoleFromInstanceProfile": func() error {
			return second(f.RemoveRoleFromInstanceProfile(ctx, &iamapi.RemoveRoleFromInstanceProfileRequest{InstanceProfileName: n(), RoleName: n()}))
		},
		"TagInstanceProfile": func() error {
			return second(f.TagInstanceProfile(ctx, &iamapi.TagInstanceProfileRequest{InstanceProfileName: n(), Tags: []iamapi.Tag{{Key: n(), Value: new("x")}}}))
		},
		"CreateOpenIDConnectProvider": func() error {
			return second(f.CreateOpenIDConnectProvider(ctx, &iamapi.CreateOpenIDConnectProviderRequest{Url: new("https://" + strings.ToLower(*n()) + ".example.com"), ClientIDList: []string{*n()}}))
		},
		"DeleteOpenIDConnectProvider": func() error {
			return second(f.DeleteOpenIDConnectProvider(ctx, &iamapi.DeleteOpenIDConnectProviderRequest{OpenIDConnectProviderArn: provider()}))
		},
		"AddClientIDToOpenIDConnectProvider": func() error {
			return second(f.AddClientIDToOpenIDConnectProvider(ctx, &iamapi.AddClientIDToOpenIDConnectProviderRequest{OpenIDConnectProviderArn: provider(), ClientID: n()}))
		},
		"CreateLoginProfile": func() error {
			return second(f.CreateLoginProfile(ctx, &iamapi.CreateLoginProfileRequest{UserName: n(), Password: new("Correct-horse-7")}))
		},
		"UpdateLoginProfile": func() error {
			return second(f.UpdateLoginProfile(ctx, &iamapi.UpdateLoginProfileRequest{UserName: n(), Password: new("Correct-horse-8"), PasswordResetRequired: new(true)}))
		},
		"DeleteLoginProfile": func() error {
			return second(f.DeleteLoginProfile(ctx, &iamapi.DeleteLoginProfileRequest{UserName: n()}))
		},
		"UpdateAccountPasswordPolicy": func() error {
			return second(f.UpdateAccountPasswordPolicy(ctx, &iamapi.UpdateAccountPasswordPolicyRequest{AllowUsersToChangePassword: new(true), PasswordReusePrevention: new(int32(2))}))
		},
		"DeleteAccountPasswordPolicy": func() error {
			return second(f.DeleteAccountPasswordPolicy(ctx, &iamapi.DeleteAccountPasswordPolicyInput{}))
		},
		"CreateAccountAlias": func() error {
			return second(f.CreateAccountAlias(ctx, &iamapi.CreateAccountAliasRequest{AccountAlias: n()}))
		},
		"DeleteAccountAlias": func() error {
			return second(f.DeleteAccountAlias(ctx, &iamapi.DeleteAccountAliasRequest{AccountAlias: n()}))
		},
	}
}

// TestRestart_everythingElse: a password still opens, and profiles, providers,
// alias and password policy are there after the store is opened anew.
func TestRestart_everythingElse(t *testing.T) {
	dir := t.TempDir()
	store := must(sqlite.Open(t.Context(), sqlite.Config{Dir: dir}))(t)
	f := open(t, store)
	f.iterations = 1000
	ctx := t.Context()
	bob := f.user("bob")
	f.role("r", trustLambda)
	must(f.CreateLoginProfile(ctx, &iamapi.CreateLoginProfileRequest{UserName: new("bob"), Password: new("First-Password-1")}))(t)
	must(f.UpdateLoginProfile(ctx, &iamapi.UpdateLoginProfileRequest{UserName: new("bob"), Password: new("Second-Password-2")}))(t)
	must(f.UpdateAccountPasswordPolicy(ctx, &iamapi.UpdateAccountPasswordPolicyRequest{PasswordReusePrevention: new(int32(5))}))(t)
	must(f.CreateAccountAlias(ctx, &iamapi.CreateAccountAliasRequest{AccountAlias: new("alias")}))(t)
	must(f.CreateInstanceProfile(ctx, &iamapi.CreateInstanceProfileRequest{InstanceProfileName: new("P"), Path: new("/x/")}))(t)
	must(f.AddRoleToInstanceProfile(ctx, &iamapi.AddRoleToInstanceProfileRequest{InstanceProfileName: new("P"), RoleName: new("r")}))(t)
	must(f.CreateOpenIDConnectProvider(ctx, &iamapi.CreateOpenIDConnectProviderRequest{Url: new("https://id.example.com/A/b"), ClientIDList: []string{"c"}, ThumbprintList: []string{strings.Repeat("a", 40)}}))(t)
	want := describe(f.snap.Load())
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	store = must(sqlite.Open(t.Context(), sqlite.Config{Dir: dir}))(t)
	defer store.Close()
	again := open(t, store)
	if got := describe(again.snap.Load()); got != want {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", got, want)
	}
	mine := again.as(bob)
	_, err := again.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new("Second-Password-2"), NewPassword: new("First-Password-1")})
	refused(t, err, "PasswordPolicyViolation", "")
	must(again.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new("Second-Password-2"), NewPassword: new("Third-Password-3")}))(t)
}
