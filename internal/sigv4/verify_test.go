package sigv4

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

var docCredentials = Credentials{AccessKeyID: docKey, SecretAccessKey: docSecret}

// families has a target of each family.
var families = map[string]Target{
	"s3":       {Service: "s3", Family: S3},
	"query":    {Service: "iam", Family: Query, MaxBody: 1024},
	"json":     {Service: "logs", Family: JSON, MaxBody: 1024},
	"restjson": {Service: "lambda", Family: RESTJSON, MaxBody: 1024},
}

func signed(t Target, at time.Time, c Credentials) *http.Request {
	r := request("POST", "/path/a?q=1", "body", "Host: localhost:4566", "Content-Type: text/plain")
	Sign(r, c, t.Service, "eu-west-1", at, hashHex([]byte("body")))
	return r
}

// TestVerify_Refused is the table of refusals: what AWS's services of each
// family answer.
func TestVerify_Refused(t *testing.T) {
	edit := func(f func(r *http.Request)) func(Target) *http.Request {
		return func(target Target) *http.Request {
			r := signed(target, docTime, docCredentials)
			f(r)
			return r
		}
	}
	replace := func(old, with string) func(Target) *http.Request {
		return edit(func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
		})
	}
	presigned := func(expires time.Duration, more string) func(Target) *http.Request {
		return func(target Target) *http.Request {
			r := request("GET", "/path", "", "Host: localhost")
			u := Presign(r, docCredentials, target.Service, "eu-west-1", docTime.Add(-time.Hour), expires)
			r.RequestURI = u.RequestURI() + more
			return r
		}
	}
	type want = map[string]string // family → "status code"
	for _, tc := range []struct {
		name    string
		request func(Target) *http.Request
		want    want
		text    string // in the message of the query family
	}{
		{"nothing signed", edit(func(r *http.Request) { r.Header.Del("Authorization") }), want{
			"s3": "403 AccessDenied", "query": "403 MissingAuthenticationToken",
			"json": "400 MissingAuthenticationTokenException", "restjson": "403 MissingAuthenticationTokenException",
		}, "Request is missing Authentication Token"},
		{"wrong secret", func(target Target) *http.Request {
			return signed(target, docTime, Credentials{AccessKeyID: docKey, SecretAccessKey: "x"})
		}, want{
			"s3": "403 SignatureDoesNotMatch", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "The Canonical String for this request should have been\n'POST\n/path/a\nq=1\ncontent-type:text/plain\nhost:localhost:4566\n"},
		{"unknown key", func(target Target) *http.Request {
			return signed(target, docTime, Credentials{AccessKeyID: "AKIAX", SecretAccessKey: "x"})
		}, want{
			"s3": "403 InvalidAccessKeyId", "query": "403 InvalidClientTokenId",
			"json": "400 UnrecognizedClientException", "restjson": "403 UnrecognizedClientException",
		}, "The security token included in the request is invalid."},
		{"false token", func(target Target) *http.Request {
			return signed(target, docTime, Credentials{docKey, docSecret, "false"})
		}, want{
			"s3": "400 InvalidToken", "query": "403 InvalidClientTokenId",
			"json": "400 UnrecognizedClientException", "restjson": "403 UnrecognizedClientException",
		}, "The security token included in the request is invalid."},
		{"too old", func(target Target) *http.Request {
			return signed(target, docTime.Add(-15*time.Minute-time.Second), docCredentials)
		}, want{
			"s3": "403 RequestTimeTooSkewed", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "Signature expired: 20130523T234459Z is now earlier than 20130523T234500Z (20130524T000000Z - 15 min.)"},
		{"too early", func(target Target) *http.Request {
			return signed(target, docTime.Add(15*time.Minute+time.Second), docCredentials)
		}, want{
			"s3": "403 RequestTimeTooSkewed", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "Signature not yet current: 20130524T001501Z is still later than 20130524T001500Z (20130524T000000Z + 15 min.)"},
		{"no signature", replace("Signature=", "Sig="), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Authorization header requires 'Signature' parameter. (Hashed with SHA-256 and encoded with Base64) Authorization="},
		{"no equal sign", replace("Signature=", "Signature"), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '"},
		{"signature twice", replace("Signature=", "Signature=0, Signature="), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "twice"},
		{"credential of four", replace("/aws4_request", ""), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIAIOSFODNN7EXAMPLE/20130524/eu-west-1/iam'"},
		{"region that is none", replace("/eu-west-1/", "/eu west/"), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Credential must have"},
		{"another day in the scope", replace("/20130524/", "/20130523/"), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20130523' != '20130524', from '20130524T000000Z'."},
		{"another terminator", replace("/aws4_request", "/aws5_request"), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'."},
		{"another service", func(target Target) *http.Request {
			target.Service = "sqs"
			return signed(target, docTime, docCredentials)
		}, want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "Credential should be scoped to correct service: 'iam'. "},
		{"another region", replace("/eu-west-1/", "/eu-west-2/"), want{
			"s3": "403 SignatureDoesNotMatch", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "/eu-west-2/iam/aws4_request"},
		{"host not signed", replace("host;", ""), want{
			"s3": "403 AccessDenied", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"a signed header twice", replace("host;", "host;host;"), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "SignedHeaders names a header twice."},
		{"date not signed", replace(";x-amz-date", ""), want{
			"s3": "403 AccessDenied", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization."},
		{"header added", edit(func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/a/b") }), want{
			"s3": "403 AccessDenied", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "'X-Amz-Copy-Source' must be a 'SignedHeader'"},
		{"two authorizations", edit(func(r *http.Request) { r.Header.Add("Authorization", "AWS4-HMAC-SHA256 x=y") }), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Only one Authorization header is allowed."},
		{"two dates", edit(func(r *http.Request) { r.Header.Add("X-Amz-Date", "20130524T000000Z") }), want{
			"s3": "400 AuthorizationHeaderMalformed", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Only one X-Amz-Date header is allowed."},
		{"no date", edit(func(r *http.Request) { r.Header.Del("X-Amz-Date") }), want{
			"s3": "403 AccessDenied", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "},
		{"date that is none", edit(func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }), want{
			"s3": "403 AccessDenied", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Date must be in ISO-8601 'basic format'. Got 'yesterday'."},
		{"header and query", edit(func(r *http.Request) { r.RequestURI += "&X-Amz-Algorithm=AWS4-HMAC-SHA256" }), want{
			"s3": "400 InvalidArgument", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Only one auth mechanism allowed"},
		{"Signature Version 2", edit(func(r *http.Request) { r.Header.Set("Authorization", "AWS AKIA:sig") }), want{
			"s3": "400 InvalidRequest", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Please use AWS4-HMAC-SHA256."},
		{"Signature Version 2 in the query", edit(func(r *http.Request) {
			r.Header.Del("Authorization")
			r.RequestURI = "/?AWSAccessKeyId=AKIA&Signature=x&SignatureVersion=2"
		}), want{
			"s3": "400 InvalidRequest", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "Please use AWS4-HMAC-SHA256."},
		{"SigV4a", replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), want{
			"s3": "501 NotImplemented", "query": "501 NotImplemented", "json": "501 NotImplemented", "restjson": "501 NotImplemented",
		}, "SigV4a"},
		{"presigned: over", presigned(time.Hour, ""), want{
			"s3": "403 AccessDenied", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "Signature expired: 20130524T000000Z is now earlier than 20130524T000000Z"},
		{"presigned: for more than a week", presigned(604801*time.Second, ""), want{
			"s3": "400 AuthorizationQueryParametersError", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"},
		{"presigned: for less than nothing", presigned(-time.Second, ""), want{
			"s3": "400 AuthorizationQueryParametersError", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "X-Amz-Expires must be non-negative"},
		{"presigned: a parameter twice", presigned(2*time.Hour, "&X-Amz-Expires=9"), want{
			"s3": "400 AuthorizationQueryParametersError", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "AWS query-string parameters must be given only once: 'X-Amz-Expires'."},
		{"presigned: a parameter added", presigned(2*time.Hour, "&versionId=1"), want{
			"s3": "403 SignatureDoesNotMatch", "query": "403 SignatureDoesNotMatch",
			"json": "400 InvalidSignatureException", "restjson": "403 InvalidSignatureException",
		}, "&versionId=1"},
		{"presigned: another algorithm", func(target Target) *http.Request {
			r := presigned(2*time.Hour, "")(target)
			r.RequestURI = strings.Replace(r.RequestURI, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", 1)
			return r
		}, want{
			"s3": "400 AuthorizationQueryParametersError", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "X-Amz-Algorithm only supports"},
		{"presigned: incomplete", func(target Target) *http.Request {
			r := presigned(2*time.Hour, "")(target)
			r.RequestURI = strings.Replace(r.RequestURI, "X-Amz-SignedHeaders", "X-Amz-Signed", 1)
			return r
		}, want{
			"s3": "400 AuthorizationQueryParametersError", "query": "400 IncompleteSignature",
			"json": "400 IncompleteSignatureException", "restjson": "403 IncompleteSignatureException",
		}, "AWS query-string parameters must include 'X-Amz-SignedHeaders'."},
	} {
		for name, target := range families {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				_, err := newVerifier(t, docTime).Verify(tc.request(target), target)
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("got %v", err)
				}
				if got := http.StatusText(e.HTTPStatus()); got == "" || e.Fault() != "client" {
					t.Errorf("status %d, fault %q", e.HTTPStatus(), e.Fault())
				}
				if got := itoa(e.HTTPStatus()) + " " + e.ErrorCode(); got != tc.want[name] {
					t.Errorf("got %s (%s), want %s", got, e.Message, tc.want[name])
				}
				if name == "query" && !strings.Contains(e.Message, tc.text) {
					t.Errorf("message %q, want %q in it", e.Message, tc.text)
				}
				if strings.Contains(e.Message, docSecret) {
					t.Error("the secret is in the message")
				}
			})
		}
	}
}

func itoa(n int) string {
	return string([]byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)})
}

func TestVerify_Accepted(t *testing.T) {
	for name, target := range families {
		for _, skew := range []time.Duration{0, 15 * time.Minute, -15 * time.Minute} {
			t.Run(name+"/"+skew.String(), func(t *testing.T) {
				r := signed(target, docTime, docCredentials)
				id, err := newVerifier(t, docTime.Add(skew)).Verify(r, target)
				if err != nil {
					t.Fatal(err)
				}
				if id.Scope.Region != "eu-west-1" || id.Scope.Service != target.Service {
					t.Errorf("scope %v", id.Scope)
				}
				b, err := io.ReadAll(r.Body)
				if err != nil || string(b) != "body" {
					t.Errorf("body %q, %v", b, err)
				}
				if buffered, ok := r.Body.(*Buffered); ok != (target.Family != S3) || ok && string(buffered.Bytes()) != "body" {
					t.Errorf("body is a %T", r.Body)
				}
			})
		}
	}
}

func TestVerify_S3Mismatch_showsWhatWasExpected(t *testing.T) {
	r := signed(families["s3"], docTime, Credentials{AccessKeyID: docKey, SecretAccessKey: "x"})
	_, err := newVerifier(t, docTime).Verify(r, s3Target)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"AWSAccessKeyId": docKey, "StringToSign": "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/eu-west-1/s3/aws4_request\n",
		"CanonicalRequest": "POST\n/path/a\nq=1\n", "StringToSignBytes": "41 57 53 34 2d", "CanonicalRequestBytes": "50 4f 53 54 0a",
	} {
		if !strings.HasPrefix(e.ErrorFields()[field], want) {
			t.Errorf("%s: %q", field, e.Fields[field])
		}
	}
}

func TestVerify_BodyOfOtherServices(t *testing.T) {
	target := families["restjson"]
	for _, tc := range []struct {
		name, body string
		code       string
	}{
		{"changed", "bode", "InvalidSignatureException"},
		{"longer", "body ", "InvalidSignatureException"},
		{"missing", "", "InvalidSignatureException"},
		{"too large", strings.Repeat("b", 1025), "RequestEntityTooLargeException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := signed(target, docTime, docCredentials)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(tc.body)), -1
			if got := readError(t, r, target, docTime); got != tc.code {
				t.Errorf("code %q, want %q", got, tc.code)
			}
		})
	}
}

// unread fails the test when a body is read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) { u.t.Error("the body was read"); return 0, io.EOF }
func (u unread) Close() error             { return nil }

func TestVerify_NoKey_noBodyIsKept(t *testing.T) {
	r := signed(families["json"], docTime, Credentials{AccessKeyID: "AKIAX", SecretAccessKey: "x"})
	r.Body = unread{t}
	if got := readError(t, r, families["json"], docTime); got != "UnrecognizedClientException" {
		t.Errorf("code %q", got)
	}
}

type failingKeys struct{ err error }

func (k failingKeys) Lookup(context.Context, string, string) (Credential, error) {
	return Credential{}, k.err
}

func TestVerify_LookupErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, tc := range []struct {
		err      error
		s3, json string
	}{
		{ErrExpiredToken, "ExpiredToken", "ExpiredTokenException"},
		{ErrInvalidToken, "InvalidToken", "UnrecognizedClientException"},
		{broken, "", ""},
	} {
		for name, want := range map[string]string{"s3": tc.s3, "restjson": tc.json} {
			v, err := New(Config{Keys: failingKeys{tc.err}, Now: func() time.Time { return docTime }})
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(signed(families[name], docTime, docCredentials), families[name])
			var e *Error
			if want == "" {
				if !errors.Is(err, broken) || errors.As(err, &e) {
					t.Errorf("a server's error became %v", err)
				}
			} else if !errors.As(err, &e) || e.Code != want {
				t.Errorf("%v for %s: %v, want %s", tc.err, name, err, want)
			}
		}
	}
}

func TestPeek(t *testing.T) {
	scope := Scope{"20130524", "eu-west-1", "lambda"}
	header := signed(families["restjson"], docTime, docCredentials)
	get := request("GET", "/", "", "Host: localhost")
	get.RequestURI = Presign(get, docCredentials, "lambda", "eu-west-1", docTime, time.Minute).RequestURI()
	for _, tc := range []struct {
		name string
		r    *http.Request
		want Hint
	}{
		{"header", header, Hint{Header, docKey, scope}},
		{"presigned", get, Hint{Presigned, docKey, scope}},
		{"anonymous", request("GET", "/b/k?versionId=1", ""), Hint{}},
		{"basic", request("GET", "/", "", "Authorization: Basic eA=="), Hint{Kind: Unsupported}},
		{"version 2", request("GET", "/?AWSAccessKeyId=a&Signature=b", ""), Hint{Kind: Unsupported}},
		{"unreadable", request("GET", "/", "", "Authorization: AWS4-HMAC-SHA256 Credential=a/b"), Hint{Kind: Header}},
	} {
		if got := Peek(tc.r); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestKeyCache_bounded(t *testing.T) {
	c := keyCache{size: 8}
	for i := range 100 {
		s := Scope{Date: "20130524", Region: itoa(i), Service: "s3"}
		k, cached := c.get("secret", s)
		if cached {
			t.Errorf("%v was never added", s)
		}
		c.add("secret", s, k)
		if again, cached := c.get("secret", s); !cached || again != k {
			t.Errorf("%v was not kept", s)
		}
		if len(c.young)+len(c.old) > 16 {
			t.Fatalf("%d keys kept", len(c.young)+len(c.old))
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, name := range []string{"s3", "restjson"} {
		b.Run(name, func(b *testing.B) {
			v, target := newVerifier(b, docTime), families[name]
			r := signed(target, docTime, docCredentials)
			for b.Loop() {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader("body")), 4
				if _, err := v.Verify(r, target); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
		})
	}
}
