package iam

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/api/stsapi"
	"davy/internal/awsapi"
)

// issuerServer is an identity provider on this machine.
type issuerServer struct {
	*httptest.Server
	keys  []map[string]any
	asked atomic.Int32 // for keys
	wrong atomic.Bool  // its discovery document names another issuer
}

func newIssuer(t testing.TB) *issuerServer {
	p := &issuerServer{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		issuer := p.URL
		if p.wrong.Load() {
			issuer += "/other"
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": p.keys})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes a token. alg overrides the one that fits the key.
func sign(t testing.TB, key crypto.Signer, alg, kid string, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64(raw)
	}
	signed := part(map[string]any{"alg": alg, "kid": kid, "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	var signature []byte
	switch k := key.(type) {
	case *rsa.PrivateKey:
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:]); err != nil {
			t.Fatal(err)
		}
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	return signed + "." + b64(signature)
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	strange := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	idp := newIssuer(t)
	point := must(ecKey.PublicKey.Bytes())(t)
	idp.keys = []map[string]any{
		{"kid": "r", "kty": "RSA", "use": "sig", "n": b64(rsaKey.N.Bytes()), "e": "AQAB"},
		{"kid": "e", "kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		{"kid": "small", "kty": "RSA", "n": b64([]byte{1, 2, 3}), "e": "AQAB"},
		{"kid": "secret", "kty": "oct", "k": "c2VjcmV0"},
	}
	f := memory(t)
	issuer := strings.TrimPrefix(idp.URL, "http://")
	provider := must(f.CreateOpenIDConnectProvider(t.Context(), &iamapi.CreateOpenIDConnectProviderRequest{
		Url: &idp.URL, ClientIDList: []string{"app"},
	}))(t)
	trust := func(condition string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + *provider.OpenIDConnectProviderArn +
			`"},"Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"]` + condition + `}]}`
	}
	role := f.role("web", trust(`,"Condition":{"StringEquals":{"`+issuer+`:sub":"repo:main","`+issuer+`:aud":"app"}}`))
	f.role("lambda", trustLambda)
	now := f.clock.now()
	claims := func(more map[string]any) map[string]any {
		c := map[string]any{"iss": idp.URL, "sub": "repo:main", "aud": "app", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
		maps.Copy(c, more)
		for k, v := range more {
			if v == nil {
				delete(c, k)
			}
		}
		return c
	}
	good := sign(t, rsaKey, "RS256", "r", claims(nil))
	type in = stsapi.AssumeRoleWithWebIdentityRequest
	for _, tc := range []struct {
		name, token string
		in          in
		code        string
	}{
		{"RSA", good, in{}, ""},
		{"elliptic curve", sign(t, ecKey, "ES256", "e", claims(nil)), in{}, ""},
		{"one of several audiences", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"aud": []string{"else", "app"}})), in{}, ""},
		{"authorised party", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"aud": "else", "azp": "app"})), in{}, ""},
		{"another subject", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"sub": "repo:fork"})), in{}, "AccessDenied"},
		{"another audience", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"aud": "else"})), in{}, "InvalidIdentityToken"},
		{"another party", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"azp": "else"})), in{}, "InvalidIdentityToken"},
		{"another issuer", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"iss": "https://example.com"})), in{}, "InvalidIdentityToken"},
		{"expired", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"exp": now.Unix()})), in{}, "ExpiredTokenException"},
		{"without expiry", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"exp": nil})), in{}, "InvalidIdentityToken"},
		{"without time of issue", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"iat": nil})), in{}, "InvalidIdentityToken"},
		{"not yet", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"nbf": now.Add(time.Hour).Unix()})), in{}, "InvalidIdentityToken"},
		{"from the future", sign(t, rsaKey, "RS256", "r", claims(map[string]any{"iat": now.Add(time.Hour).Unix()})), in{}, "InvalidIdentityToken"},
		{"a stranger's key", sign(t, strange, "RS256", "r", claims(nil)), in{}, "InvalidIdentityToken"},
		{"an unknown key", sign(t, strange, "RS256", "x", claims(nil)), in{}, "InvalidIdentityToken"},
		{"a key that is too small", sign(t, strange, "RS256", "small", claims(nil)), in{}, "InvalidIdentityToken"},
		{"no algorithm", sign(t, rsaKey, "none", "r", claims(nil)), in{}, "InvalidIdentityToken"},
		{"the key as a secret", sign(t, rsaKey, "HS256", "r", claims(nil)), in{}, "InvalidIdentityToken"},
		{"an RSA key for a curve", sign(t, rsaKey, "ES256", "r", claims(nil)), in{}, "InvalidIdentityToken"},
		{"another payload", good[:strings.Index(good, ".")] + "." + strings.Split(sign(t, rsaKey, "RS256", "r", claims(map[string]any{"sub": "x"})), ".")[1] + good[strings.LastIndex(good, "."):], in{}, "InvalidIdentityToken"},
		{"no token", "eyJh", in{}, "InvalidIdentityToken"},
		{"a role that trusts another", good, in{RoleArn: new("arn:aws:iam::000000000000:role/lambda")}, "AccessDenied"},
		{"no role", good, in{RoleArn: new("arn:aws:iam::000000000000:role/nobody")}, "AccessDenied"},
		{"a role elsewhere", good, in{RoleArn: new("arn:aws:iam::999999999999:role/web")}, "AccessDenied"},
		{"too long", good, in{DurationSeconds: new(int32(7200))}, "ValidationError"},
		{"an OAuth provider", good, in{ProviderId: new("graph.facebook.com")}, "NotImplemented"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := tc.in
			in.WebIdentityToken, in.RoleSessionName = &tc.token, new("build")
			if in.RoleArn == nil {
				in.RoleArn = &role
			}
			out, err := f.STS().AssumeRoleWithWebIdentity(f.as(awsapi.Principal{}), &in)
			var refusal awsapi.Error
			switch {
			case tc.code == "" && err != nil:
				t.Fatal(err)
			case tc.code == "":
				p := f.lookup(*out.Credentials.AccessKeyId, *out.Credentials.SessionToken)
				if p.ARN != "arn:aws:sts::000000000000:assumed-role/web/build" || *out.SubjectFromWebIdentityToken != "repo:main" {
					t.Fatalf("%+v %s", p, *out.SubjectFromWebIdentityToken)
				}
				g := must(f.Grants(t.Context(), p))(t)
				if got := g.More[issuer+":sub"]; len(got) != 1 || got[0] != "repo:main" {
					t.Fatalf("session keys %v", g.More)
				}
			case !errors.As(err, &refusal) || refusal.ErrorCode() != tc.code:
				t.Fatalf("got %v, want %s", err, tc.code)
			}
		})
	}
	// Keys are fetched once; an unknown one does not make it twice at once.
	if n := idp.asked.Load(); n != 1 {
		t.Errorf("keys were fetched %d times", n)
	}
	f.clock.add(time.Minute)
	_, _ = f.STS().AssumeRoleWithWebIdentity(f.as(awsapi.Principal{}), &in{RoleArn: &role, RoleSessionName: new("s2"), WebIdentityToken: new(sign(t, strange, "RS256", "x", claims(nil)))})
	if n := idp.asked.Load(); n != 2 {
		t.Errorf("after a while keys were fetched %d times", n)
	}

	tags := map[string]any{"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"team": []string{"red"}}, "transitive_tag_keys": []string{"team"}}}
	out := must(f.STS().AssumeRoleWithWebIdentity(f.as(awsapi.Principal{}), &in{RoleArn: &role, RoleSessionName: new("s3"), WebIdentityToken: new(sign(t, rsaKey, "RS256", "r", claims(tags)))}))(t)
	g := must(f.Grants(t.Context(), f.lookup(*out.Credentials.AccessKeyId, *out.Credentials.SessionToken)))(t)
	if g.Tags["team"] != "red" {
		t.Errorf("tags %v", g.Tags)
	}
	f.peers.fetch.kept = nil
	idp.wrong.Store(true)
	_, err := f.STS().AssumeRoleWithWebIdentity(f.as(awsapi.Principal{}), &in{RoleArn: &role, RoleSessionName: new("s4"), WebIdentityToken: &good})
	if e, ok := errors.AsType[awsapi.Error](err); !ok || e.ErrorCode() != "IDPCommunicationError" {
		t.Errorf("a provider that says it is another: %v", err)
	}
}

// Whatever a token or a key is, reading it does not fail in another way.
func FuzzReadWebToken(f *testing.F) {
	f.Add("a.b.c", []byte(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`))
	f.Add(b64([]byte(`{"alg":"RS256"}`))+"."+b64([]byte(`{"iss":"https://a","sub":"b","aud":["c"],"exp":1e99}`))+".AA", []byte(`{"kty":"RSA","n":"AQAB","e":"AQAB"}`))
	f.Fuzz(func(t *testing.T, token string, key []byte) {
		_, k := readKey(key)
		if w, err := readWebToken(token); err == nil {
			_, _ = seconds(w.claims.Expires)
			if k != nil && w.signedBy(k) {
				t.Fatalf("a signature out of nothing: %q by %s", token, key)
			}
		}
	})
}
