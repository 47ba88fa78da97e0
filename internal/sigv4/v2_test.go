package sigv4

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"
)

type oneKey struct{ id, secret, token string }

func (k oneKey) Lookup(_ context.Context, id, token string) (Credential, error) {
	if id != k.id {
		return Credential{}, ErrUnknownKey
	}
	if token != k.token {
		return Credential{}, ErrInvalidToken
	}
	return Credential{SecretAccessKey: k.secret, Principal: "ann"}, nil
}

// AWS's published example of a link signed with version 2.
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
func TestVerify_Version2Link(t *testing.T) {
	const link = "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"
	key := oneKey{id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	before := time.Unix(1175139600, 0)
	for _, tc := range []struct {
		name   string
		method string
		url    string
		bucket string
		key    oneKey
		now    time.Time
		code   string
	}{
		{"good", "GET", link, "johnsmith", key, before, ""},
		{"expired", "GET", link, "johnsmith", key, before.Add(time.Minute), "AccessDenied"},
		{"another method", "PUT", link, "johnsmith", key, before, "SignatureDoesNotMatch"},
		{"another bucket", "GET", link, "other", key, before, "SignatureDoesNotMatch"},
		{"another key", "GET", "/photos/kitten" + link[len("/photos/puppy"):], "johnsmith", key, before, "SignatureDoesNotMatch"},
		{"another subresource", "GET", link + "&acl", "johnsmith", key, before, "SignatureDoesNotMatch"},
		{"a later end", "GET", link[:len(link)-1] + "9", "johnsmith", key, before, "SignatureDoesNotMatch"},
		{"unknown key", "GET", link, "johnsmith", oneKey{id: "other"}, before, "InvalidAccessKeyId"},
		{"no date", "GET", link[:len(link)-10] + "soon", "johnsmith", key, before, "AccessDenied"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := New(Config{Keys: tc.key, Now: func() time.Time { return tc.now }})
			if err != nil {
				t.Fatal(err)
			}
			id, err := v.Verify(httptest.NewRequest(tc.method, tc.url, nil), Target{Service: "s3", Family: S3, Bucket: tc.bucket})
			var refusal *Error
			if errors.As(err, &refusal) {
				if refusal.Code != tc.code {
					t.Fatalf("refused with %s, want %q", refusal.Code, tc.code)
				}
				return
			}
			if err != nil || tc.code != "" || id.Principal != "ann" {
				t.Fatalf("accepted as %v, %v; want %q", id.Principal, err, tc.code)
			}
		})
	}
}

func TestVerify_Version2OnlyAsS3Link(t *testing.T) {
	v, err := New(Config{Keys: oneKey{}})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/?AWSAccessKeyId=a&Signature=b&Expires=9999999999", nil)
	if _, err := v.Verify(r, Target{Service: "lambda", Family: RESTJSON}); err == nil {
		t.Error("another service took a version 2 link")
	}
	r = httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "AWS AKIA:signature")
	if _, err := v.Verify(r, Target{Service: "s3", Family: S3}); err == nil {
		t.Error("S3 took a version 2 header")
	}
}
