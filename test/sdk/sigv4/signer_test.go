// Package sigv4 compares Davy's verifier and signer with the SDK's.
package sigv4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"davy/internal/sigv4"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/encoding/httpbinding"
)

const (
	keyID  = "AKIAIOSFODNN7EXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	token  = "AQoEXAMPLE//token=="
)

type keys struct{ token string }

func (k keys) Lookup(_ context.Context, id, token string) (sigv4.Credential, error) {
	if id != keyID {
		return sigv4.Credential{}, sigv4.ErrUnknownKey
	}
	if token != k.token {
		return sigv4.Credential{}, sigv4.ErrInvalidToken
	}
	return sigv4.Credential{SecretAccessKey: secret}, nil
}

func verifier(t testing.TB, token string, now func() time.Time) *sigv4.Verifier {
	t.Helper()
	v, err := sigv4.New(sigv4.Config{Keys: keys{token}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var at = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// arrive turns a client's request into what a server sees of it.
func arrive(r *http.Request, body []byte) *http.Request {
	in := r.Clone(context.Background())
	in.RequestURI = r.URL.RequestURI()
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	in.Body, in.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	in.Header.Del("Content-Length")
	return in
}

// pieces of paths, queries and header values that signers stumble over.
var pieces = []string{"a", "Z9", "-._~", " ", "+", "%", "/", "//", "=", "&", ";", ":", "@", "!*'()", "ü", "\u1234", "..", "~", "$", ",", "?", "#", `"`, "\\"}

func pick(seed, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(pieces[seed%len(pieces)])
		seed = seed/3 + 7*(seed%11)
	}
	return b.String()
}

// TestSDKSigner_isVerified signs awkward requests with the SDK's signer, in
// the header and in the query, and with Davy's.
func TestSDKSigner_isVerified(t *testing.T) {
	signer := v4.NewSigner()
	for seed := range 500 {
		for _, service := range []string{"s3", "lambda"} {
			body := []byte(pick(seed, 3))
			path := "/bucket/" + httpbinding.EscapePath(pick(seed, 1+seed%6), false)
			if service == "lambda" {
				path = "/2015-03-31/functions/" + url.PathEscape(pick(seed, 1+seed%6)) + "/invocations"
			}
			query := url.Values{pick(seed+1, 2): {pick(seed+2, 2), ""}, "versionId": {pick(seed, 1)}}
			raw := strings.ReplaceAll(query.Encode(), "+", "%20")
			fresh := func() *http.Request {
				r, err := http.NewRequest(http.MethodPut, "https://localhost:4566"+path+"?"+raw, bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "text/plain")
				r.Header.Set("X-Amz-Meta-Text", "  two  words "+strings.Trim(pick(seed, 1), "\\ü\u1234"))
				return r
			}
			options := func(o *v4.SignerOptions) {
				o.DisableURIPathEscaping = service == "s3"
				o.DisableHeaderHoisting = true
			}
			creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
			target := sigv4.Target{Service: service, Family: sigv4.RESTJSON, MaxBody: 1 << 20}
			payload := hash(body)
			if service == "s3" {
				target.Family = sigv4.S3
			}
			if seed%2 == 0 {
				creds.SessionToken = token
			}
			v := verifier(t, creds.SessionToken, func() time.Time { return at })
			check := func(kind string, r *http.Request) {
				t.Helper()
				_, err := v.Verify(r, target)
				if err == nil {
					_, err = io.ReadAll(r.Body)
				}
				if err != nil {
					t.Fatalf("seed %d: %s for %s of %s: %v", seed, kind, service, r.RequestURI, err)
				}
			}

			r := fresh()
			if service == "s3" {
				r.Header.Set("X-Amz-Content-Sha256", payload)
			}
			if err := signer.SignHTTP(t.Context(), creds, r, payload, service, "eu-west-1", at, options); err != nil {
				t.Fatal(err)
			}
			check("the SDK's header", arrive(r, body))

			r = fresh()
			sigv4.Sign(r, sigv4.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: creds.SessionToken}, service, "eu-west-1", at, payload)
			check("Davy's header", arrive(r, body))

			r = fresh()
			q := r.URL.Query()
			q.Set("X-Amz-Expires", "60")
			r.URL.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
			presigned := payload
			if service == "s3" {
				presigned = sigv4.UnsignedPayload
			}
			u, headers, err := signer.PresignHTTP(t.Context(), creds, r, presigned, service, "eu-west-1", at, options)
			if err != nil {
				t.Fatal(err)
			}
			in := fresh()
			if in.URL, err = url.Parse(u); err != nil {
				t.Fatal(err)
			}
			in.Header = headers
			check("the SDK's query", arrive(in, body))
		}
	}
}

// seen is what a server found of the last request.
type seen struct {
	body    []byte
	trailer http.Header
	header  http.Header
	length  int64
	err     error
}

// serve verifies what comes and keeps what it was.
func serve(t *testing.T, target sigv4.Target, tls bool) (string, *http.Client, *seen) {
	t.Helper()
	var last seen
	v := verifier(t, "", time.Now)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = seen{}
		_, last.err = v.Verify(r, target)
		if last.err == nil {
			last.length = r.ContentLength
			last.body, last.err = io.ReadAll(r.Body)
		}
		last.trailer, last.header = r.Trailer, r.Header
		if last.err != nil {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	server := httptest.NewUnstartedServer(handler)
	if tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.URL, server.Client(), &last
}

func provider(secret string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, nil
	})
}

// stream cannot be read twice, as a pipe.
type stream struct{ io.Reader }

// TestS3Client uploads as the SDK's client does: over TLS with a trailing
// checksum, in clear with a signed body, without checksums, presigned.
func TestS3Client(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 30_000)
	for _, tc := range []struct {
		name    string
		tls     bool
		in      s3.PutObjectInput
		options []func(*s3.Options)
		mode    string
		trailer string
	}{
		{"clear", false, s3.PutObjectInput{Body: bytes.NewReader(body)}, nil, hash(body), ""},
		{"TLS", true, s3.PutObjectInput{Body: bytes.NewReader(body)}, nil, sigv4.StreamingUnsignedTrailer, "X-Amz-Checksum-Crc32"},
		{"TLS, stream", true, s3.PutObjectInput{Body: stream{bytes.NewReader(body)}, ContentLength: aws.Int64(int64(len(body)))}, nil, sigv4.StreamingUnsignedTrailer, "X-Amz-Checksum-Crc32"},
		{"TLS, SHA-256", true, s3.PutObjectInput{Body: bytes.NewReader(body), ChecksumAlgorithm: types.ChecksumAlgorithmSha256}, nil, sigv4.StreamingUnsignedTrailer, "X-Amz-Checksum-Sha256"},
		{"no checksum", true, s3.PutObjectInput{Body: bytes.NewReader(body)}, []func(*s3.Options){func(o *s3.Options) {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		}}, sigv4.UnsignedPayload, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			endpoint, client, got := serve(t, sigv4.Target{Service: "s3", Family: sigv4.S3}, tc.tls)
			c := s3.New(s3.Options{
				BaseEndpoint: &endpoint, HTTPClient: client, Region: "eu-west-1", UsePathStyle: true, Credentials: provider(secret),
				RetryMaxAttempts: 1, RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
			})
			tc.in.Bucket, tc.in.Key = aws.String("bucket"), aws.String("a b/+ü(1)//..txt")
			tc.in.Metadata = map[string]string{"note": "two  words"}
			if _, err := c.PutObject(t.Context(), &tc.in, tc.options...); err != nil {
				t.Fatalf("%v; server: %v", err, got.err)
			}
			if !bytes.Equal(got.body, body) || got.length != int64(len(body)) {
				t.Errorf("%d bytes, length %d", len(got.body), got.length)
			}
			if mode := got.header.Get("X-Amz-Content-Sha256"); mode != tc.mode {
				t.Errorf("sent as %s, want %s", mode, tc.mode)
			}
			if tc.trailer != "" && got.trailer.Get(tc.trailer) == "" {
				t.Errorf("trailers %v", got.trailer)
			}
			if got.header.Get("Content-Encoding") != "" {
				t.Errorf("encoding %q", got.header.Get("Content-Encoding"))
			}
		})
	}
}

func TestPresignedClients(t *testing.T) {
	endpoint, client, got := serve(t, sigv4.Target{Service: "s3", Family: sigv4.S3}, false)
	c := s3.NewPresignClient(s3.New(s3.Options{BaseEndpoint: &endpoint, Region: "eu-west-1", UsePathStyle: true, Credentials: provider(secret)}))
	put, err := c.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b+c"), ContentType: aws.String("text/plain")})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), put.Method, put.URL, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = put.SignedHeader.Clone()
	r.Header.Del("Host")
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got.err != nil || string(got.body) != "hello" {
		t.Errorf("s3: %q, %v", got.body, got.err)
	}

	endpoint, client, got = serve(t, sigv4.Target{Service: "sts", Family: sigv4.Query, MaxBody: 1 << 20}, false)
	who, err := sts.NewPresignClient(sts.New(sts.Options{BaseEndpoint: &endpoint, Region: "eu-west-1", Credentials: provider(secret)})).
		PresignGetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = client.Get(who.URL); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got.err != nil {
		t.Errorf("sts: %v", got.err)
	}
}

func TestLambdaClient(t *testing.T) {
	endpoint, client, got := serve(t, sigv4.Target{Service: "lambda", Family: sigv4.RESTJSON, MaxBody: 6 << 20}, false)
	for name, key := range map[string]string{"right": secret, "wrong": "wrong"} {
		c := lambda.New(lambda.Options{BaseEndpoint: &endpoint, HTTPClient: client, Region: "eu-west-1", Credentials: provider(key), RetryMaxAttempts: 1})
		_, err := c.Invoke(t.Context(), &lambda.InvokeInput{
			FunctionName: aws.String("arn:aws:lambda:eu-west-1:000000000000:function:f:live"), Payload: []byte(`{"a":1}`), ClientContext: aws.String("e30="),
		})
		if key == secret {
			if err != nil || string(got.body) != `{"a":1}` {
				t.Errorf("%s secret: %q, %v, %v", name, got.body, err, got.err)
			}
			continue
		}
		var e *sigv4.Error
		if err == nil || !errors.As(got.err, &e) || e.Code != "InvalidSignatureException" {
			t.Errorf("%s secret: %v, %v", name, err, got.err)
		}
	}
}

func ExampleSign() {
	r, _ := http.NewRequest(http.MethodGet, "http://localhost:4566/?Action=GetCallerIdentity", nil)
	sigv4.Sign(r, sigv4.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, "sts", "us-east-1", at, sigv4.EmptyPayload)
	fmt.Println(r.Header.Get("X-Amz-Date"))
	// Output: 20261122T120000Z
}
