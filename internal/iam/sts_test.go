package iam

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/api/stsapi"
	"davy/internal/awsapi"
	"davy/internal/sigv4"
)

// assume assumes a role as p and returns the credentials.
func (f *fixture) assume(p awsapi.Principal, roleARN string, in *stsapi.AssumeRoleRequest) SessionCredentials {
	f.t.Helper()
	if in == nil {
		in = &stsapi.AssumeRoleRequest{}
	}
	in.RoleArn = &roleARN
	if in.RoleSessionName == nil {
		in.RoleSessionName = new("session")
	}
	out := must(f.STS().AssumeRole(f.as(p), in))(f.t)
	c := out.Credentials
	return SessionCredentials{*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken, *c.Expiration}
}

func TestAssumeRole(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	bob, eve := f.user("bob"), f.user("eve")
	must(f.PutUserPolicy(ctx, &iamapi.PutUserPolicyRequest{UserName: new("bob"), PolicyName: new("p"), PolicyDocument: new(allow("sts:*"))}))(t)
	statement := func(principal, more string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":["sts:AssumeRole"]` + more + `}]}`
	}
	root := "arn:aws:iam::000000000000:root"
	roles := map[string]string{
		"trusts-account": f.role("trusts-account", statement(root, "")),
		"trusts-eve":     f.role("trusts-eve", statement(eve.ARN, "")),
		"trusts-lambda":  f.role("trusts-lambda", trustLambda),
		"external-id":    f.role("external-id", statement(root, `,"Condition":{"StringEquals":{"sts:ExternalId":"42"}}`)),
		"own-name":       f.role("own-name", statement(root, `,"Condition":{"StringLike":{"sts:RoleSessionName":"${aws:username}"}}`)),
		"from-home":      f.role("from-home", statement(root, `,"Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`)),
		"from-elsewhere": f.role("from-elsewhere", statement(root, `,"Condition":{"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}}`)),
	}
	must(f.UpdateRole(ctx, &iamapi.UpdateRoleRequest{RoleName: new("trusts-eve"), MaxSessionDuration: new(int32(7200))}))(t)
	for _, tc := range []struct {
		name string
		who  awsapi.Principal
		role string
		in   stsapi.AssumeRoleRequest
		code string
		text string
	}{
		{"the account is trusted, the user allowed", bob, "trusts-account", stsapi.AssumeRoleRequest{}, "", ""},
		{"the account is trusted, the user not allowed", eve, "trusts-account", stsapi.AssumeRoleRequest{}, "AccessDenied", "User: arn:aws:iam::000000000000:user/eve is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::000000000000:role/trusts-account"},
		{"the user is trusted by name", eve, "trusts-eve", stsapi.AssumeRoleRequest{}, "", ""},
		{"another is trusted", bob, "trusts-eve", stsapi.AssumeRoleRequest{}, "AccessDenied", "sts:AssumeRole"},
		{"a service is trusted", bob, "trusts-lambda", stsapi.AssumeRoleRequest{}, "AccessDenied", "sts:AssumeRole"},
		{"external id", bob, "external-id", stsapi.AssumeRoleRequest{ExternalId: new("42")}, "", ""},
		{"another external id", bob, "external-id", stsapi.AssumeRoleRequest{ExternalId: new("43")}, "AccessDenied", ""},
		{"no external id", bob, "external-id", stsapi.AssumeRoleRequest{}, "AccessDenied", ""},
		{"session name", bob, "own-name", stsapi.AssumeRoleRequest{RoleSessionName: new("bob")}, "", ""},
		{"another session name", bob, "own-name", stsapi.AssumeRoleRequest{RoleSessionName: new("eve")}, "AccessDenied", ""},
		{"source address", bob, "from-home", stsapi.AssumeRoleRequest{}, "", ""},
		{"another source address", bob, "from-elsewhere", stsapi.AssumeRoleRequest{}, "AccessDenied", ""},
		{"tags without sts:TagSession", bob, "trusts-account", stsapi.AssumeRoleRequest{Tags: []stsapi.Tag{{Key: new("a"), Value: new("b")}}}, "AccessDenied", "sts:TagSession"},
		{"source identity without permission", bob, "trusts-account", stsapi.AssumeRoleRequest{SourceIdentity: new("bob")}, "AccessDenied", "sts:SetSourceIdentity"},
		{"root", f.root, "trusts-account", stsapi.AssumeRoleRequest{}, "AccessDenied", "Roles may not be assumed by root accounts."},
		{"too long", bob, "trusts-account", stsapi.AssumeRoleRequest{DurationSeconds: new(int32(3601))}, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"long, as the role has it", eve, "trusts-eve", stsapi.AssumeRoleRequest{DurationSeconds: new(int32(7200))}, "", ""},
		{"MFA", bob, "trusts-account", stsapi.AssumeRoleRequest{SerialNumber: new("arn:aws:iam::000000000000:mfa/x"), TokenCode: new("123456")}, "NotImplemented", "MFA"},
		{"a session policy that is none", bob, "trusts-account", stsapi.AssumeRoleRequest{Policy: new("{}")}, "MalformedPolicyDocument", ""},
		{"a session policy too large", bob, "trusts-account", stsapi.AssumeRoleRequest{Policy: new(allow(strings.Repeat("s", 2048) + ":x"))}, "PackedPolicyTooLarge", "allotted space"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := tc.in
			in.RoleArn = new(roles[tc.role])
			if in.RoleSessionName == nil {
				in.RoleSessionName = new("s1")
			}
			out, err := f.STS().AssumeRole(f.as(tc.who), &in)
			if tc.code != "" {
				refused(t, err, tc.code, tc.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := "arn:aws:sts::000000000000:assumed-role/" + tc.role + "/" + *in.RoleSessionName; *out.AssumedRoleUser.Arn != want {
				t.Errorf("session is %s, want %s", *out.AssumedRoleUser.Arn, want)
			}
			p := f.lookup(*out.Credentials.AccessKeyId, *out.Credentials.SessionToken)
			me := must(f.STS().GetCallerIdentity(f.as(p), &stsapi.GetCallerIdentityRequest{}))(t)
			if *me.Arn != *out.AssumedRoleUser.Arn || *me.UserId != *out.AssumedRoleUser.AssumedRoleId || *me.Account != account {
				t.Errorf("caller identity %+v", me)
			}
		})
	}
	_, err := f.STS().AssumeRole(f.as(bob), &stsapi.AssumeRoleRequest{RoleArn: new("arn:aws:iam::000000000000:role/none"), RoleSessionName: new("s1")})
	refused(t, err, "AccessDenied", "is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::000000000000:role/none")
}

func TestAssumeRole_Chaining(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	bob := f.user("bob")
	tagging := func(principal string) string {
		return strings.Replace(trustAWS(principal), `"sts:AssumeRole"`, `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`, 1)
	}
	first := f.role("first", tagging(bob.ARN))
	second := f.role("second", tagging(first))
	for _, r := range []string{"first", "second"} {
		must(f.UpdateRole(ctx, &iamapi.UpdateRoleRequest{RoleName: &r, MaxSessionDuration: new(int32(43200))}))(t)
	}
	must(f.PutRolePolicy(ctx, &iamapi.PutRolePolicyRequest{RoleName: new("first"), PolicyName: new("p"), PolicyDocument: new(allow("sts:*"))}))(t)
	must(f.TagRole(ctx, &iamapi.TagRoleRequest{RoleName: new("second"), Tags: []iamapi.Tag{{Key: new("TEAM"), Value: new("role's")}, {Key: new("own"), Value: new("x")}}}))(t)
	c := f.assume(bob, first, &stsapi.AssumeRoleRequest{
		DurationSeconds: new(int32(43200)), SourceIdentity: new("Bob"),
		Tags:              []stsapi.Tag{{Key: new("team"), Value: new("a")}, {Key: new("stays"), Value: new("b")}},
		TransitiveTagKeys: []string{"team"},
	})
	p := f.lookup(c.AccessKeyID, c.SessionToken)
	_, err := f.STS().AssumeRole(f.as(p), &stsapi.AssumeRoleRequest{RoleArn: &second, RoleSessionName: new("s2"), DurationSeconds: new(int32(3601))})
	refused(t, err, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	_, err = f.STS().AssumeRole(f.as(p), &stsapi.AssumeRoleRequest{RoleArn: &second, RoleSessionName: new("s2"), SourceIdentity: new("Eve")})
	refused(t, err, "AccessDenied", "source identity")
	_, err = f.STS().AssumeRole(f.as(p), &stsapi.AssumeRoleRequest{RoleArn: &second, RoleSessionName: new("s2"), Tags: []stsapi.Tag{{Key: new("TEAM"), Value: new("z")}}})
	refused(t, err, "InvalidParameterValue", "transitive")

	c2 := f.assume(p, second, &stsapi.AssumeRoleRequest{DurationSeconds: new(int32(3600))})
	g := must(f.Grants(ctx, f.lookup(c2.AccessKeyID, c2.SessionToken)))(t)
	if len(g.Tags) != 2 || g.Tags["team"] != "a" || g.Tags["own"] != "x" {
		t.Errorf("tags %v", g.Tags)
	}
	if got := g.More["aws:sourceidentity"]; len(got) != 1 || got[0] != "Bob" {
		t.Errorf("source identity %v", got)
	}
	if g.RoleARN != second || !strings.HasPrefix(g.RoleID, "AROA") {
		t.Errorf("role %s %s", g.RoleARN, g.RoleID)
	}
}

func TestSession_Policies(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	bob := f.user("bob")
	role := f.role("r", trustAWS(bob.ARN))
	must(f.PutRolePolicy(ctx, &iamapi.PutRolePolicyRequest{RoleName: new("r"), PolicyName: new("p"), PolicyDocument: new(allow("s3:*"))}))(t)
	m := f.policy("m", allow("s3:PutObject"))
	for _, tc := range []struct {
		name     string
		in       stsapi.AssumeRoleRequest
		get, put bool
	}{
		{"none", stsapi.AssumeRoleRequest{}, true, true},
		{"inline", stsapi.AssumeRoleRequest{Policy: new(allow("s3:GetObject"))}, true, false},
		{"managed", stsapi.AssumeRoleRequest{PolicyArns: []stsapi.PolicyDescriptorType{{Arn: &m}}}, false, true},
		{"both", stsapi.AssumeRoleRequest{Policy: new(allow("s3:GetObject")), PolicyArns: []stsapi.PolicyDescriptorType{{Arn: &m}}}, true, true},
		{"of what the role lacks", stsapi.AssumeRoleRequest{Policy: new(allow("iam:*"))}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := f.assume(bob, role, &tc.in)
			f.sessions = sessionCache{} // as after a restart: the token alone must tell
			p := f.lookup(c.AccessKeyID, c.SessionToken)
			if f.may(p, "s3:GetObject") != tc.get || f.may(p, "s3:PutObject") != tc.put || f.may(p, "iam:GetUser") {
				t.Errorf("get %v, put %v, iam %v", f.may(p, "s3:GetObject"), f.may(p, "s3:PutObject"), f.may(p, "iam:GetUser"))
			}
		})
	}
	c := f.assume(bob, role, &stsapi.AssumeRoleRequest{PolicyArns: []stsapi.PolicyDescriptorType{{Arn: &m}}})
	must(f.DeletePolicy(ctx, &iamapi.DeletePolicyRequest{PolicyArn: &m}))(t)
	if p := f.lookup(c.AccessKeyID, c.SessionToken); f.may(p, "s3:PutObject") || f.may(p, "s3:GetObject") {
		t.Error("without its session policy the session may do more than with it")
	}
}

func TestSession_Ends(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	bob := f.user("bob")
	role := f.role("r", trustAWS(bob.ARN))
	c := f.assume(bob, role, &stsapi.AssumeRoleRequest{DurationSeconds: new(int32(900))})
	if got := c.Expires.Sub(f.clock.now()); got != 900*time.Second {
		t.Errorf("lasts %v", got)
	}
	if _, err := f.Lookup(ctx, c.AccessKeyID, ""); !errors.Is(err, sigv4.ErrUnknownKey) {
		t.Errorf("without its token: %v", err)
	}
	f.clock.add(899 * time.Second)
	f.lookup(c.AccessKeyID, c.SessionToken)
	f.clock.add(time.Second)
	for _, cached := range []bool{true, false} {
		if !cached {
			f.sessions = sessionCache{}
		}
		if _, err := f.Lookup(ctx, c.AccessKeyID, c.SessionToken); !errors.Is(err, sigv4.ErrExpiredToken) {
			t.Errorf("after its time: %v", err)
		}
	}

	c = f.assume(bob, role, nil)
	p := f.lookup(c.AccessKeyID, c.SessionToken)
	must(f.DeleteRole(ctx, &iamapi.DeleteRoleRequest{RoleName: new("r")}))(t)
	f.role("r", trustAWS(bob.ARN)) // the same name is another role
	if _, err := f.Lookup(ctx, c.AccessKeyID, c.SessionToken); !errors.Is(err, sigv4.ErrInvalidToken) {
		t.Errorf("after its role was deleted: %v", err)
	}
	if _, err := f.Grants(ctx, p); !errors.Is(err, ErrUnknownPrincipal) {
		t.Errorf("grants after its role was deleted: %v", err)
	}
}

// TestTrust_bindsToWhoWasMeant: who takes a deleted user's name does not get
// the trust that the other had.
func TestTrust_bindsToWhoWasMeant(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	bob := f.user("bob")
	role := f.role("r", trustAWS(bob.ARN))
	show := func() string {
		shown := must(f.GetRole(ctx, &iamapi.GetRoleRequest{RoleName: new("r")}))(t).Role.AssumeRolePolicyDocument
		text, err := url.PathUnescape(*shown)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got := show(); got != trustAWS(bob.ARN) {
		t.Errorf("shown as %s", got)
	}
	must(f.UpdateUser(ctx, &iamapi.UpdateUserRequest{UserName: new("bob"), NewUserName: new("robert")}))(t)
	if got := show(); got != trustAWS("arn:aws:iam::000000000000:user/robert") {
		t.Errorf("after a new name shown as %s", got)
	}
	f.assume(f.lookup(bob.AccessID, ""), role, nil)
	must(f.UpdateUser(ctx, &iamapi.UpdateUserRequest{UserName: new("robert"), NewUserName: new("bob")}))(t)
	must(f.DeleteAccessKey(ctx, &iamapi.DeleteAccessKeyRequest{UserName: new("bob"), AccessKeyId: &bob.AccessID}))(t)
	must(f.DeleteUser(ctx, &iamapi.DeleteUserRequest{UserName: new("bob")}))(t)
	impostor := f.user("bob")
	_, err := f.STS().AssumeRole(f.as(impostor), &stsapi.AssumeRoleRequest{RoleArn: &role, RoleSessionName: new("s1")})
	refused(t, err, "AccessDenied", "")
	if got := show(); got != trustAWS(bob.UserID) {
		t.Errorf("shown as %s", got)
	}
}

func TestGetSessionToken(t *testing.T) {
	f := memory(t)
	bob := f.user("bob")
	must(f.PutUserPolicy(t.Context(), &iamapi.PutUserPolicyRequest{UserName: new("bob"), PolicyName: new("p"), PolicyDocument: new(allow("*"))}))(t)
	for _, tc := range []struct {
		name string
		who  awsapi.Principal
		ask  *int32
		want time.Duration
	}{
		{"user", bob, nil, 12 * time.Hour},
		{"user, longer", bob, new(int32(129600)), 36 * time.Hour},
		{"root", f.root, nil, time.Hour},
		{"root, longer", f.root, new(int32(43200)), time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := must(f.STS().GetSessionToken(f.as(tc.who), &stsapi.GetSessionTokenRequest{DurationSeconds: tc.ask}))(t).Credentials
			if got := c.Expiration.Sub(f.clock.now()); got != tc.want {
				t.Errorf("lasts %v, want %v", got, tc.want)
			}
			p := f.lookup(*c.AccessKeyId, *c.SessionToken)
			if p.ARN != tc.who.ARN || p.UserID != tc.who.UserID {
				t.Errorf("is %+v", p)
			}
			if !f.may(p, "s3:GetObject") || f.may(p, "iam:CreateUser") {
				t.Error("s3 must be allowed and iam denied")
			}
			_, err := f.STS().GetSessionToken(f.as(p), &stsapi.GetSessionTokenRequest{})
			refused(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")
		})
	}
}

func TestRoleSession(t *testing.T) {
	f := memory(t)
	ctx := t.Context()
	good := f.role("good", trustLambda)
	bad := f.role("bad", strings.Replace(trustLambda, "lambda.", "ec2.", 1))
	other := f.role("other", strings.Replace(trustLambda, `"sts:AssumeRole"}`, `"sts:AssumeRole","Condition":{"StringEquals":{"aws:SourceAccount":"111111111111"}}}`, 1))
	must(f.AttachRolePolicy(ctx, &iamapi.AttachRolePolicyRequest{RoleName: new("good"), PolicyArn: new("arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")}))(t)
	of := must(f.FunctionSession(ctx, good, "function", "arn:aws:lambda:us-east-1:000000000000:function:f"))(t)
	if g := must(f.Grants(ctx, f.lookup(of.AccessKeyID, of.SessionToken)))(t); len(g.More["lambda:sourcefunctionarn"]) != 1 {
		t.Errorf("a function's session has %v", g.More)
	}
	c := must(f.RoleSession(ctx, good, "function"))(t)
	p := f.lookup(c.AccessKeyID, c.SessionToken)
	if p.ARN != "arn:aws:sts::000000000000:assumed-role/good/function" || !f.may(p, "logs:PutLogEvents") || f.may(p, "s3:GetObject") {
		t.Errorf("session %+v", p)
	}
	if g := must(f.RoleGrants(ctx, good))(t); g.RoleARN != good || len(g.Identity) != 1 {
		t.Errorf("grants %+v", g)
	}
	for role, want := range map[string]error{bad: ErrNotTrusted, other: ErrNotTrusted, "arn:aws:iam::000000000000:role/none": ErrNoRole, "arn:aws:iam::000000000000:role/x/good": ErrNoRole, "good": ErrNoRole} {
		if _, err := f.RoleSession(ctx, role, "function"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", role, err, want)
		}
	}
	if doc, owner, _, err := f.Resource(ctx, good); err != nil || owner != account || doc == nil {
		t.Errorf("trust policy: %v, %s, %v", doc, owner, err)
	}
	if doc, owner, _, err := f.Resource(ctx, good+"x"); err != nil || owner != "" || doc != nil {
		t.Errorf("trust policy of no role: %v, %s, %v", doc, owner, err)
	}
	if name, _, err := f.Entity(ctx, account, "role", "good"); err != nil || name != good {
		t.Errorf("entity %s, %v", name, err)
	}
}

// TestSignedRequest joins the directory with the verifier.
func TestSignedRequest(t *testing.T) {
	f := memory(t)
	bob := f.user("bob")
	role := f.role("r", trustAWS(bob.ARN))
	c := f.assume(bob, role, nil)
	v := must(sigv4.New(sigv4.Config{Keys: f.Service, Now: f.clock.now}))(t)
	send := func(creds sigv4.Credentials) (sigv4.Identity, error) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(""))
		sigv4.Sign(r, creds, "iam", "us-east-1", f.clock.now(), sigv4.EmptyPayload)
		id, err := v.Verify(r, sigv4.Target{Service: "iam", Family: sigv4.Query})
		_, _ = io.Copy(io.Discard, r.Body)
		return id, err
	}
	id, err := send(sigv4.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken})
	if err != nil || id.Principal.(awsapi.Principal).ARN != "arn:aws:sts::000000000000:assumed-role/r/session" {
		t.Errorf("%+v, %v", id, err)
	}
	f.clock.add(time.Hour)
	if _, err = send(sigv4.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}); err == nil {
		t.Fatal("an expired session was accepted")
	}
	refused(t, err, "ExpiredToken", "The security token included in the request is expired")
}

// FuzzToken changes a real token, or its key id: nothing but the token itself
// is accepted.
func FuzzToken(f *testing.F) {
	fx := memory(f)
	bob := fx.user("bob")
	c := fx.assume(bob, fx.role("r", trustAWS(bob.ARN)), nil)
	key := fx.snap.Load().account.SessionKey
	f.Add(c.AccessKeyID, c.SessionToken)
	f.Add(c.AccessKeyID, "")
	f.Add(c.AccessKeyID, "AQ==")
	f.Add("ASIAAAAAAAAAAAAAAAAA", c.SessionToken)
	for _, i := range []int{0, 1, 20, len(c.SessionToken) - 3} {
		b := []byte(c.SessionToken)
		b[i] ^= 1
		f.Add(c.AccessKeyID, string(b))
	}
	f.Fuzz(func(t *testing.T, id, token string) {
		ss, err := unseal(key, id, token)
		if real := id == c.AccessKeyID && token == c.SessionToken; (err == nil) != real {
			t.Fatalf("%q %q: %+v, %v", id, token, ss, err)
		}
	})
}

// TestToken_everyBit flips each bit of a token.
func TestToken_everyBit(t *testing.T) {
	f := memory(t)
	bob := f.user("bob")
	c := f.assume(bob, f.role("r", trustAWS(bob.ARN)), nil)
	for i := range c.SessionToken {
		for bit := range 8 {
			b := []byte(c.SessionToken)
			b[i] ^= 1 << bit
			if _, err := f.Lookup(t.Context(), c.AccessKeyID, string(b)); !errors.Is(err, sigv4.ErrInvalidToken) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	f := memory(b)
	bob := f.user("bob")
	role := f.role("r", trustAWS(bob.ARN))
	must(f.PutRolePolicy(b.Context(), &iamapi.PutRolePolicyRequest{RoleName: new("r"), PolicyName: new("p"), PolicyDocument: new(allow("s3:*"))}))(b)
	c := f.assume(bob, role, nil)
	for _, bc := range []struct{ name, id, token string }{{"user", bob.AccessID, ""}, {"session", c.AccessKeyID, c.SessionToken}} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				cred, err := f.Lookup(b.Context(), bc.id, bc.token)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.Grants(b.Context(), cred.Principal.(awsapi.Principal)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("session unsealed", func(b *testing.B) {
		key := f.snap.Load().account.SessionKey
		b.ReportAllocs()
		for b.Loop() {
			if _, err := unseal(key, c.AccessKeyID, c.SessionToken); err != nil {
				b.Fatal(err)
			}
		}
	})
}
