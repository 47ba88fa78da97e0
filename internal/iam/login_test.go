package iam

import (
	"strings"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/internal/state/statetest"
	"pgregory.net/rapid"
)

func TestPasswordPolicy_Check(t *testing.T) {
	a := &accountRecord{Account: account, Alias: "My-Company9"}
	for _, tc := range []struct {
		name     string
		policy   passwords
		password string
		ok       bool
	}{
		{"default: eight of three kinds", passwords{}, "abcdEF12", true},
		{"default: symbols are a kind", passwords{}, "abcd{}12", true},
		{"default: two kinds", passwords{}, "abcdefG" + "H", false},
		{"default: too short", passwords{}, "abcDE12", false},
		{"default: the alias", passwords{}, "My-Company9", false},
		{"minimum length", passwords{MinLength: 6}, "aaaaaa", true},
		{"below the minimum length", passwords{MinLength: 6}, "aaaaa", false},
		{"length counts characters", passwords{MinLength: 6}, "äöüäöü", true},
		{"upper case missing", passwords{MinLength: 6, Uppercase: true}, "abcdef1!", false},
		{"upper case", passwords{MinLength: 6, Uppercase: true}, "abcdeF", true},
		{"lower case missing", passwords{MinLength: 6, Lowercase: true}, "ABCDEF1!", false},
		{"number missing", passwords{MinLength: 6, Numbers: true}, "abcdefG!", false},
		{"symbol missing", passwords{MinLength: 6, Symbols: true}, "abcdefG1", false},
		{"a space is no symbol", passwords{MinLength: 6, Symbols: true}, "abc def", false},
		{"each AWS symbol", passwords{MinLength: 6, Symbols: true}, "abcdef'", true},
		{"all", passwords{MinLength: 14, Symbols: true, Numbers: true, Uppercase: true, Lowercase: true}, "Correct-horse-7", true},
	} {
		if err := tc.policy.check(tc.password, a); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// TestLoginProfile_Lifecycle walks a user's password through every operation.
func TestLoginProfile_Lifecycle(t *testing.T) {
	store := statetest.NewMemory()
	f := open(t, store)
	ctx := t.Context()
	f.iterations = 1000
	bob := f.user("bob")
	mine := f.as(bob)
	const first, second, third = "First-Password-1", "Second-Password-2", "Third-Password-3"

	_, err := f.GetLoginProfile(ctx, &iamapi.GetLoginProfileRequest{UserName: new("bob")})
	refused(t, err, "NoSuchEntity", "Login Profile for User bob cannot be found.")
	_, err = f.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new(first), NewPassword: new(second)})
	refused(t, err, "NoSuchEntity", "Login Profile for User bob cannot be found.")
	_, err = f.CreateLoginProfile(ctx, &iamapi.CreateLoginProfileRequest{UserName: new("bob"), Password: new("short")})
	refused(t, err, "PasswordPolicyViolation", "Password does not conform to the account password policy.")

	made := must(f.CreateLoginProfile(ctx, &iamapi.CreateLoginProfileRequest{UserName: new("bob"), Password: new(first), PasswordResetRequired: new(true)}))(t).LoginProfile
	if *made.UserName != "bob" || !*made.PasswordResetRequired || !made.CreateDate.Equal(f.clock.at) {
		t.Errorf("made %+v", made)
	}
	_, err = f.CreateLoginProfile(ctx, &iamapi.CreateLoginProfileRequest{UserName: new("bob"), Password: new(second)})
	refused(t, err, "EntityAlreadyExists", "Login Profile for user bob already exists.")
	_, err = f.DeleteUser(ctx, &iamapi.DeleteUserRequest{UserName: new("bob")})
	refused(t, err, "DeleteConflict", "Cannot delete entity, must delete login profile first.")

	_, err = f.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new(second), NewPassword: new(third)})
	refused(t, err, "AccessDenied", "The old password was incorrect.")
	_, err = f.ChangePassword(f.as(f.root), &iamapi.ChangePasswordRequest{OldPassword: new(first), NewPassword: new(second)})
	refused(t, err, "InvalidUserType", "Only IAM Users can change their own password.")
	must(f.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new(first), NewPassword: new(second)}))(t)
	if got := must(f.GetLoginProfile(mine, &iamapi.GetLoginProfileRequest{}))(t).LoginProfile; *got.PasswordResetRequired {
		t.Error("a reset is asked for after the user chose a password")
	}
	_, err = f.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new(first), NewPassword: new(third)})
	refused(t, err, "AccessDenied", "The old password was incorrect.")

	// Two passwords back.
	must(f.UpdateAccountPasswordPolicy(ctx, &iamapi.UpdateAccountPasswordPolicyRequest{PasswordReusePrevention: new(int32(2)), MaxPasswordAge: new(int32(90)), HardExpiry: new(true)}))(t)
	for _, again := range []string{first, second} {
		_, err = f.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new(second), NewPassword: new(again)})
		refused(t, err, "PasswordPolicyViolation", "")
		_, err = f.UpdateLoginProfile(ctx, &iamapi.UpdateLoginProfileRequest{UserName: new("bob"), Password: new(again)})
		refused(t, err, "PasswordPolicyViolation", "")
	}
	must(f.UpdateLoginProfile(ctx, &iamapi.UpdateLoginProfileRequest{UserName: new("bob"), Password: new(third), PasswordResetRequired: new(true)}))(t)
	must(f.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new(third), NewPassword: new(first)}))(t)

	// The hard end.
	f.clock.add(90 * 24 * time.Hour)
	_, err = f.ChangePassword(mine, &iamapi.ChangePasswordRequest{OldPassword: new(first), NewPassword: new(second)})
	refused(t, err, "AccessDenied", "expired")
	must(f.UpdateLoginProfile(ctx, &iamapi.UpdateLoginProfileRequest{UserName: new("bob"), Password: new("Another-One-4")}))(t)

	// No password is in the store, nor its length.
	for after := ""; ; {
		docs, err := store.List(ctx, "", after, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			after = d.Key
			for _, p := range []string{first, second, third, "Another-One-4"} {
				if strings.Contains(string(d.Value), p) {
					t.Errorf("%s holds a password in clear", d.Key)
				}
			}
		}
		if len(docs) < 100 {
			break
		}
	}
	must(f.DeleteLoginProfile(ctx, &iamapi.DeleteLoginProfileRequest{UserName: new("bob")}))(t)
	_, err = f.DeleteLoginProfile(ctx, &iamapi.DeleteLoginProfileRequest{UserName: new("bob")})
	refused(t, err, "NoSuchEntity", "Login Profile for User bob cannot be found.")
	_, err = f.UpdateLoginProfile(ctx, &iamapi.UpdateLoginProfileRequest{UserName: new("bob"), Password: new(first)})
	refused(t, err, "NoSuchEntity", "Login Profile for User bob cannot be found.")
}

// TestLogin_usedLooksBackAsFarAsAsked against a list of all passwords.
func TestLogin_usedLooksBackAsFarAsAsked(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var l login
		var all []byte
		for range rapid.IntRange(1, 40).Draw(rt, "passwords") {
			p := rapid.Byte().Draw(rt, "password")
			l.set([]byte{p}, time.Time{}, false)
			all = append(all, p)
		}
		n := rapid.IntRange(0, maxReusePrevention).Draw(rt, "n")
		p := rapid.Byte().Draw(rt, "again")
		want := false
		for i := len(all) - 1; i >= 0 && i >= len(all)-n; i-- {
			want = want || all[i] == p
		}
		if got := l.used([]byte{p}, int32(n)); got != want {
			rt.Errorf("passwords %v, %d again within %d: %v", all, p, n, got)
		}
	})
}

// TestLogin_racesAreSeen: of two changes of one password one is refused.
func TestLogin_racesAreSeen(t *testing.T) {
	f := memory(t)
	f.user("bob")
	seen := f.snap.Load().find(userKind, "bob")
	l := f.newLogin()
	l.set([]byte("hash"), f.now(), false)
	if _, err := f.setLogin(t.Context(), seen, l, "taken"); err != nil {
		t.Fatal(err)
	}
	_, err := f.setLogin(t.Context(), seen, l, "taken")
	refused(t, err, "EntityTemporarilyUnmodifiable", "taken")
	must(f.DeleteLoginProfile(t.Context(), &iamapi.DeleteLoginProfileRequest{UserName: new("bob")}))(t)
	for _, k := range f.snap.Load().find(userKind, "bob").Keys {
		must(f.DeleteAccessKey(t.Context(), &iamapi.DeleteAccessKeyRequest{UserName: new("bob"), AccessKeyId: &k.ID}))(t)
	}
	must(f.DeleteUser(t.Context(), &iamapi.DeleteUserRequest{UserName: new("bob")}))(t)
	_, err = f.setLogin(t.Context(), seen, l, "taken")
	refused(t, err, "NoSuchEntity", "The user with name bob cannot be found.")
}

func TestAccountPasswordPolicy(t *testing.T) {
	store := statetest.NewMemory()
	f := open(t, store)
	ctx := t.Context()
	bob := f.user("bob")
	_, err := f.GetAccountPasswordPolicy(ctx, &iamapi.GetAccountPasswordPolicyInput{})
	refused(t, err, "NoSuchEntity", "The Password Policy with domain name 000000000000 cannot be found.")
	_, err = f.DeleteAccountPasswordPolicy(ctx, &iamapi.DeleteAccountPasswordPolicyInput{})
	refused(t, err, "NoSuchEntity", "The account policy with name PasswordPolicy cannot be found.")
	if f.may(bob, "iam:ChangePassword") {
		t.Error("a user may change its password without any policy")
	}
	must(f.UpdateAccountPasswordPolicy(ctx, &iamapi.UpdateAccountPasswordPolicyRequest{RequireNumbers: new(true), AllowUsersToChangePassword: new(true)}))(t)
	f = open(t, store) // it is stored
	p := must(f.GetAccountPasswordPolicy(ctx, &iamapi.GetAccountPasswordPolicyInput{}))(t).PasswordPolicy
	if *p.MinimumPasswordLength != 6 || !*p.RequireNumbers || *p.RequireSymbols || *p.ExpirePasswords || p.MaxPasswordAge != nil || p.PasswordReusePrevention != nil || !*p.AllowUsersToChangePassword {
		t.Errorf("policy %+v", p)
	}
	if !f.may(bob, "iam:ChangePassword") || f.may(bob, "iam:GetUser") {
		t.Error("AllowUsersToChangePassword does not grant iam:ChangePassword alone")
	}
	must(f.UpdateAccountPasswordPolicy(ctx, &iamapi.UpdateAccountPasswordPolicyRequest{MinimumPasswordLength: new(int32(20)), MaxPasswordAge: new(int32(30))}))(t)
	p = must(f.GetAccountPasswordPolicy(ctx, &iamapi.GetAccountPasswordPolicyInput{}))(t).PasswordPolicy
	if *p.MinimumPasswordLength != 20 || *p.RequireNumbers || !*p.ExpirePasswords || *p.MaxPasswordAge != 30 || *p.AllowUsersToChangePassword {
		t.Errorf("replaced: %+v", p)
	}
	if f.may(bob, "iam:ChangePassword") {
		t.Error("the grant outlives its policy")
	}
	must(f.DeleteAccountPasswordPolicy(ctx, &iamapi.DeleteAccountPasswordPolicyInput{}))(t)
}

func TestAccountAlias(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	list := func() []string {
		return must(f.ListAccountAliases(ctx, &iamapi.ListAccountAliasesRequest{}))(t).AccountAliases
	}
	if len(list()) != 0 {
		t.Error("an alias before one is made")
	}
	must(f.CreateAccountAlias(ctx, &iamapi.CreateAccountAliasRequest{AccountAlias: new("one")}))(t)
	_, err := f.CreateAccountAlias(ctx, &iamapi.CreateAccountAliasRequest{AccountAlias: new("one")})
	refused(t, err, "EntityAlreadyExists", "The account alias one already exists.")
	must(f.CreateAccountAlias(ctx, &iamapi.CreateAccountAliasRequest{AccountAlias: new("two")}))(t)
	if got := list(); len(got) != 1 || got[0] != "two" {
		t.Errorf("aliases %v", got)
	}
	_, err = f.DeleteAccountAlias(ctx, &iamapi.DeleteAccountAliasRequest{AccountAlias: new("one")})
	refused(t, err, "NoSuchEntity", "The account alias one cannot be found.")
	must(f.DeleteAccountAlias(ctx, &iamapi.DeleteAccountAliasRequest{AccountAlias: new("two")}))(t)
	if len(list()) != 0 {
		t.Error("the alias is still there")
	}

	other := must(f.peers.Add(ctx, "other"))(t)
	must(f.peers.Of(other.ID).CreateAccountAlias(ctx, &iamapi.CreateAccountAliasRequest{AccountAlias: new("theirs")}))(t)
	_, err = f.CreateAccountAlias(ctx, &iamapi.CreateAccountAliasRequest{AccountAlias: new("theirs")})
	refused(t, err, "EntityAlreadyExists", "The account alias theirs already exists.")
}

// BenchmarkPassword_hash is what one guess costs.
func BenchmarkPassword_hash(b *testing.B) {
	f := memory(b)
	l := f.newLogin()
	for b.Loop() {
		if _, err := f.hash(&l, "Correct-horse-7"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAccountSummary has every key of the model but those of organisations.
func TestAccountSummary(t *testing.T) {
	f := memory(t)
	f.user("bob")
	f.role("r", trustLambda)
	f.policy("m", allow("s3:*"))
	must(f.CreateInstanceProfile(t.Context(), &iamapi.CreateInstanceProfileRequest{InstanceProfileName: new("p")}))(t)
	got := must(f.GetAccountSummary(t.Context(), &iamapi.GetAccountSummaryInput{}))(t).SummaryMap
	for _, key := range iamapi.SummaryKeyType("").Values() {
		if _, ok := got[iamapi.SummaryKeyType(key)]; !ok {
			t.Errorf("no %s", key)
		}
	}
	for key, want := range map[iamapi.SummaryKeyType]int32{"Users": 1, "Roles": 1, "Policies": 1, "PolicyVersionsInUse": 1, "InstanceProfiles": 1, "Groups": 0, "AccountAccessKeysPresent": 1, "AccountPasswordPresent": 0, "PolicySizeQuota": 6144} {
		if got[key] != want {
			t.Errorf("%s is %d, want %d", key, got[key], want)
		}
	}
}
