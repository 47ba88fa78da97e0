package sigv4

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Credentials sign requests.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // empty for a long-term key
}

// String shows the access key id only.
func (c Credentials) String() string { return c.AccessKeyID }

// LogValue shows the access key id only.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.AccessKeyID) }

// Sign signs a client's request in its Authorization header: its method, URL,
// host and headers, but for those that proxies change. payloadHash is the hex
// SHA-256 of the body or, for S3, one of the constants of this package; a
// chunked body's framing is the caller's.
func Sign(r *http.Request, c Credentials, service, region string, at time.Time, payloadHash string) {
	at = at.UTC()
	scope := Scope{Date: at.Format(dateFormat), Region: region, Service: service}
	r.Header.Del("Authorization")
	r.Header.Set("X-Amz-Date", at.Format(timeFormat))
	if c.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", c.SessionToken)
	}
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", payloadHash)
	}
	names := namesToSign(r)
	_, query := rawTarget(r)
	canonical := canonicalRequest(nil, r, service == "s3", parseQuery(query), names, payloadHash, false)
	signature := sign(signingKey(c.SecretAccessKey, scope), stringToSign(at.Format(timeFormat), scope, canonical))
	r.Header.Set("Authorization", algorithm+" Credential="+c.AccessKeyID+"/"+scope.String()+
		", SignedHeaders="+strings.Join(names, ";")+", Signature="+signature)
}

// Presign returns the URL of r with a signature that is valid for expires
// (1 s to MaxExpires). Whoever uses it must send r's headers too. For S3 the body is not signed; for others it is empty.
func Presign(r *http.Request, c Credentials, service, region string, at time.Time, expires time.Duration) *url.URL {
	at = at.UTC()
	scope := Scope{Date: at.Format(dateFormat), Region: region, Service: service}
	names := namesToSign(r)
	query := []pair{
		{queryAlgorithm, algorithm},
		{queryCredential, c.AccessKeyID + "/" + scope.String()},
		{queryDate, at.Format(timeFormat)},
		{queryExpires, strconv.FormatInt(int64(expires/time.Second), 10)},
		{querySignedHeaders, strings.Join(names, ";")},
	}
	if c.SessionToken != "" {
		query = append(query, pair{queryToken, c.SessionToken})
	}
	path, raw := rawTarget(r)
	query = append(parseQuery(raw), query...)
	payloadHash := EmptyPayload
	if service == "s3" {
		payloadHash = UnsignedPayload
	}
	canonical := canonicalRequest(nil, r, service == "s3", query, names, payloadHash, false)
	signature := sign(signingKey(c.SecretAccessKey, scope), stringToSign(at.Format(timeFormat), scope, canonical))

	u := *r.URL
	u.RawPath = path
	u.RawQuery = string(appendQuery(nil, append(query, pair{querySignature, signature}), "", false))
	return &u
}

// namesToSign returns the headers to sign, sorted.
func namesToSign(r *http.Request) []string {
	names := []string{"host"}
	for name := range r.Header {
		switch name = strings.ToLower(name); name {
		case "accept-encoding", "authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
