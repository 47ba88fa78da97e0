package iam

import (
	"errors"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/api/stsapi"
	"davy/internal/awsapi"
	"davy/internal/sigv4"
	"davy/internal/state/statetest"
	"pgregory.net/rapid"
)

func TestAccounts(t *testing.T) {
	store := statetest.NewMemory()
	f := open(t, store)
	all := f.peers
	red := must(all.Add(t.Context(), "red"))(t)
	blue := must(all.Add(t.Context(), "222222222222"))(t)
	for _, name := range []string{"red", "RED", "222222222222", red.ID, account, "davy", "default", "", "1", "a/b", "-a", strings.Repeat("a", 64)} {
		if _, err := all.Add(t.Context(), name); !errors.Is(err, ErrAccount) {
			t.Errorf("Add(%q): %v", name, err)
		}
	}
	check := func(all *Accounts) {
		t.Helper()
		if got := all.List(); len(got) != 2 {
			t.Fatalf("accounts %v", got)
		}
		for _, a := range []Account{red, blue} {
			c := must(all.Lookup(t.Context(), a.AccessKeyID, ""))(t)
			p := c.Principal.(awsapi.Principal)
			if p.ARN != "arn:aws:iam::"+a.ID+":root" || c.SecretAccessKey != a.SecretKey {
				t.Fatalf("%+v of %v", p, a)
			}
			if _, err := all.Grants(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
	}
	check(all)
	again := open(t, store)
	check(again.peers)
	if _, _, err := must(Open(t.Context(), Config{Store: store}))(t).Bootstrap(t.Context(), red.ID, "", ""); err == nil {
		t.Error("an added account became the first")
	}
	if strings.Contains(red.String(), red.SecretKey) {
		t.Error("the secret is shown")
	}
}

// What is in one account is nowhere else: names, keys, sessions, policies.
func TestAccounts_AreApart(t *testing.T) {
	f := memory(t)
	f.user("ann")
	other := f.peers.Of(must(f.peers.Add(t.Context(), "other"))(t).ID)
	if out := must(other.ListUsers(t.Context(), &iamapi.ListUsersRequest{}))(t); len(out.Users) != 0 {
		t.Fatalf("users of the other account: %v", out.Users)
	}
	must(other.CreateUser(t.Context(), &iamapi.CreateUserRequest{UserName: new("ann")}))(t)
	mine := f.policy("p", allow("s3:*"))
	if _, err := other.AttachUserPolicy(t.Context(), &iamapi.AttachUserPolicyRequest{UserName: new("ann"), PolicyArn: &mine}); err == nil {
		t.Error("a policy of another account was attached")
	}
	ann := must(other.CreateAccessKey(t.Context(), &iamapi.CreateAccessKeyRequest{UserName: new("ann")}))(t).AccessKey
	if _, err := f.Lookup(t.Context(), *ann.AccessKeyId, ""); !errors.Is(err, sigv4.ErrUnknownKey) {
		t.Errorf("the first account knows a key of the other: %v", err)
	}
	if got := f.peers.owner(*ann.AccessKeyId); got != other {
		t.Error("the key's owner is not found")
	}
	// A token of one account, presented with a key id that names the other.
	session := must(f.STS().GetSessionToken(f.as(f.root), &stsapi.GetSessionTokenRequest{}))(t).Credentials
	if _, err := f.peers.Lookup(t.Context(), newAccessKeyID("ASIA", other.Account()), *session.SessionToken); !errors.Is(err, sigv4.ErrInvalidToken) {
		t.Errorf("a token of another account: %v", err)
	}
}

// An access key id names its account, as AWS's do.
func TestAccessKeyID_NamesItsAccount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account := rapid.StringMatching(`[0-9]{12}`).Draw(t, "account")
		id := newAccessKeyID("ASIA", account)
		if got := accountOfKey(id); got != account || len(id) != 20 {
			t.Fatalf("%s is of %s, not %s", id, got, account)
		}
	})
	// An id that AWS made, with its account, as they have been published.
	if got := accountOfKey("ASIAQNZGKIQY56JQ7WML"); got != "029608264753" {
		t.Errorf("a key of AWS is of %s", got)
	}
}

func TestEncodedMessage(t *testing.T) {
	f := memory(t)
	other := must(f.peers.Add(t.Context(), "other"))(t)
	message := must(f.peers.EncodeMessage(account, `{"allowed":false}`))(t)
	out := must(f.STS().DecodeAuthorizationMessage(t.Context(), &stsapi.DecodeAuthorizationMessageRequest{EncodedMessage: &message}))(t)
	if *out.DecodedMessage != `{"allowed":false}` {
		t.Fatalf("decoded %s", *out.DecodedMessage)
	}
	for name, decode := range map[string]func() error{
		"of another account": func() error {
			return second(f.peers.Of(other.ID).STS().DecodeAuthorizationMessage(t.Context(), &stsapi.DecodeAuthorizationMessageRequest{EncodedMessage: &message}))
		},
		"cut": func() error {
			return second(f.STS().DecodeAuthorizationMessage(t.Context(), &stsapi.DecodeAuthorizationMessageRequest{EncodedMessage: new(message[4:])}))
		},
		"with a line": func() error {
			return second(f.STS().DecodeAuthorizationMessage(t.Context(), &stsapi.DecodeAuthorizationMessageRequest{EncodedMessage: new(message + "\n")}))
		},
		"a session token": func() error {
			c := must(f.STS().GetSessionToken(f.as(f.root), &stsapi.GetSessionTokenRequest{}))(t).Credentials
			return second(f.STS().DecodeAuthorizationMessage(t.Context(), &stsapi.DecodeAuthorizationMessageRequest{EncodedMessage: c.SessionToken}))
		},
	} {
		if e, ok := errors.AsType[*stsapi.InvalidAuthorizationMessageException](decode()); !ok {
			t.Errorf("%s: %v", name, e)
		}
	}
}
