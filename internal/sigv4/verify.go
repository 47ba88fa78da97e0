package sigv4

import (
	"context"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says how a Verifier works.
type Config struct {
	Keys KeyLookup        // required
	Now  func() time.Time // nil means the wall clock
	Skew time.Duration    // 0 means DefaultSkew
	// KeyCache is how many derived signing keys are kept, twice over. 0 means 4096.
	KeyCache int
}

// Verifier verifies signed requests. Safe for concurrent use.
type Verifier struct {
	keys  KeyLookup
	now   func() time.Time
	skew  time.Duration
	cache keyCache
}

// New returns a Verifier.
func New(cfg Config) (*Verifier, error) {
	if cfg.Keys == nil {
		return nil, errors.New("sigv4: Keys is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Skew == 0 {
		cfg.Skew = DefaultSkew
	}
	if cfg.KeyCache == 0 {
		cfg.KeyCache = 4096
	}
	return &Verifier{keys: cfg.Keys, now: cfg.Now, skew: cfg.Skew, cache: keyCache{size: cfg.KeyCache}}, nil
}

// Target is what a request is for.
type Target struct {
	Service string // signing name that the scope must have
	Family  Family
	// MaxBody is the greatest body, in bytes, that is read into memory to be
	// hashed; all services but S3 need that. 0 means none.
	MaxBody int64
	// Bucket is the one that the host names, for S3; empty: it is in the path.
	Bucket string
	// AllowAnonymous lets a request without any signature pass.
	AllowAnonymous bool
}

// unknownSecret stands for the secret of an unknown key, so that looking for
// keys by time leads nowhere.
const unknownSecret = "0000000000000000000000000000000000000000"

var canonicalBuffers = sync.Pool{New: func() any { return new([]byte) }}

// Verify checks the signature of r. It returns an *Error for a request that is
// refused; any other error is the server's own.
//
// On success r.Body yields the payload, without aws-chunked framing, and ends
// in io.EOF only if it is what was signed. r.ContentLength is its length, the
// aws-chunked coding is gone from Content-Encoding, and r.Trailer has the
// trailers once io.EOF was seen. For a service other than S3 the body has been
// read and checked already and is a *Buffered.
func (v *Verifier) Verify(r *http.Request, t Target) (Identity, error) {
	_, raw := rawTarget(r)
	query := parseQuery(raw)
	if t.Family == S3 && isV2Link(r, query) {
		return v.verifyV2(r, t, query)
	}
	c, refusal := readClaim(r, query, t)
	if refusal != nil {
		return Identity{}, refusal
	}
	if c == nil {
		return v.anonymous(r, t)
	}
	if refusal = c.checkScope(t.Service); refusal == nil {
		if refusal = c.checkTime(v.now().UTC(), v.skew); refusal == nil {
			refusal = c.checkSigned(r)
		}
	}
	if refusal != nil {
		return Identity{}, refusal
	}

	var body payload
	if t.Family == S3 {
		if body, refusal = s3Payload(r, c, query); refusal != nil {
			return Identity{}, refusal
		}
	} else {
		body.hash = EmptyPayload
	}
	cred, err := v.lookup(r.Context(), c)
	known := err == nil
	if !known {
		if !errors.As(err, &refusal) {
			return Identity{}, fmt.Errorf("look up access key: %w", err)
		}
		cred.SecretAccessKey = unknownSecret
	} else if t.Family != S3 {
		// Only now: nobody without a key makes the server keep a body.
		if body.hash, err = bufferBody(r, t); err != nil {
			return Identity{}, err
		}
	}

	key, cached := v.cache.get(cred.SecretAccessKey, c.scope)
	mismatch := c.verify(r, query, body.hash, key)
	if !known {
		return Identity{}, refusal
	}
	if mismatch != nil {
		return Identity{}, mismatch
	}
	if !cached {
		v.cache.add(cred.SecretAccessKey, c.scope, key)
	}
	if t.Family == S3 {
		body.wrap(r, chunkSigner{family: t.Family, accessKeyID: c.accessKeyID, key: key, scope: c.scope, at: c.at.Format(timeFormat), previous: c.signature})
	}
	return Identity{
		AccessKeyID: c.accessKeyID, Principal: cred.Principal,
		Scope: c.scope, Time: c.at, Presigned: c.presigned,
	}, nil
}

// anonymous admits a request without a signature, if it may come so.
func (v *Verifier) anonymous(r *http.Request, t Target) (Identity, error) {
	if !t.AllowAnonymous {
		return Identity{}, t.Family.missingToken()
	}
	if t.Family == S3 {
		body, refusal := s3Payload(r, nil, nil)
		if refusal != nil {
			return Identity{}, refusal
		}
		body.wrap(r, chunkSigner{family: t.Family})
	}
	return Identity{Anonymous: true, Time: v.now().UTC()}, nil
}

// readClaim finds the one signature of a request; nil: it has none.
func readClaim(r *http.Request, query []pair, t Target) (*claim, *Error) {
	f := t.Family
	var authorization, queryAlg string
	if h := r.Header["Authorization"]; len(h) > 0 {
		authorization = h[0]
	}
	inQuery, v2 := false, false
	for _, p := range query {
		switch p.key {
		case queryAlgorithm:
			inQuery, queryAlg = true, p.value
		case queryCredential, querySignature, querySignedHeaders:
			inQuery = true
		case "Signature":
			v2 = true
		}
	}
	if authorization != "" && (inQuery || v2) {
		const text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"
		if f == S3 {
			scheme, _, _ := strings.Cut(authorization, " ")
			return nil, s3Error(http.StatusBadRequest, "InvalidArgument", text, "ArgumentName", "Authorization", "ArgumentValue", scheme)
		}
		return nil, f.malformed(false, "", text)
	}
	scheme, _, _ := strings.Cut(authorization, " ")
	switch {
	case scheme == algorithm:
		return headerClaim(r, f)
	case strings.HasPrefix(scheme, algorithmV4a), strings.HasPrefix(queryAlg, algorithmV4a):
		return nil, &Error{
			Status: http.StatusNotImplemented, Code: "NotImplemented",
			Message: "Signatures of the kind " + algorithmV4a + " (SigV4a) are not implemented. Please use " + algorithm + ".",
		}
	case authorization != "" || v2:
		if f == S3 {
			return nil, s3Error(http.StatusBadRequest, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use "+algorithm+".")
		}
		return nil, f.malformed(false, "", "The authorization mechanism is not supported. Please use "+algorithm+".")
	case inQuery && queryAlg != "" && queryAlg != algorithm:
		text := `X-Amz-Algorithm only supports "` + algorithm + `"`
		return nil, f.malformed(true, text, text)
	case inQuery:
		return queryClaim(query, f)
	}
	return nil, nil
}

func (c *claim) checkScope(service string) *Error {
	f := c.family
	if day := c.at.Format(dateFormat); c.scope.Date != day {
		return f.scope(c.presigned,
			fmt.Sprintf("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", c.scope.Date, day),
			fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
				c.scope.Date, day, c.at.Format(timeFormat)))
	}
	if c.scope.Service != service {
		return f.scope(c.presigned,
			fmt.Sprintf("incorrect service %q. This endpoint belongs to %q.", c.scope.Service, service),
			fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", service))
	}
	if c.terminator != terminator {
		return f.scope(c.presigned,
			fmt.Sprintf("incorrect terminal %q. This endpoint uses %q.", c.terminator, terminator),
			fmt.Sprintf("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, c.terminator))
	}
	return nil
}

func (c *claim) checkTime(now time.Time, skew time.Duration) *Error {
	early := c.at.After(now.Add(skew))
	switch {
	case c.presigned && early && c.family == S3:
		return s3Error(http.StatusForbidden, "AccessDenied", "Request is not valid yet")
	case early:
		return c.family.skewed(c.at, now, skew)
	case c.presigned:
		if c.expires == 0 || !now.Before(c.at.Add(c.expires)) {
			return c.family.expired(c.at, now, c.expires)
		}
	case c.at.Before(now.Add(-skew)):
		return c.family.skewed(c.at, now, skew)
	}
	return nil
}

// checkSigned refuses a request that carries what its signature does not
// cover: the host, the time and every x-amz-* header.
func (c *claim) checkSigned(r *http.Request) *Error {
	names := slices.Sorted(slices.Values(c.signedHeaders))
	if len(slices.Compact(names)) != len(c.signedHeaders) {
		// each would be written out again: a small request, a huge text to hash
		return c.family.malformed(c.presigned, "a signed header was named twice.", "SignedHeaders names a header twice.")
	}
	var unsigned []string
	if !c.signs("host") {
		unsigned = append(unsigned, "host")
	}
	if c.dateHeader == "date" && !c.signs("date") {
		unsigned = append(unsigned, "date")
	}
	for name := range r.Header {
		if len(name) < 6 || !strings.EqualFold(name[:6], "x-amz-") {
			continue
		}
		name = strings.ToLower(name)
		switch {
		case name == "x-amz-content-sha256" && c.family == S3:
			// its value is the last line of the canonical request
		case name == "x-amz-security-token" && c.family != S3:
			// some clients add it after signing; the key lookup binds it to the access key
		case !c.signs(name):
			unsigned = append(unsigned, name)
		}
	}
	if len(unsigned) == 0 {
		return nil
	}
	slices.Sort(unsigned)
	if c.family == S3 {
		return s3Error(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed",
			"HeadersNotSigned", strings.Join(unsigned, ", "))
	}
	if unsigned[0] == "host" {
		return c.family.signature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return c.family.signature("'" + http.CanonicalHeaderKey(unsigned[0]) + "' must be a 'SignedHeader' in the AWS Authorization.")
}

// lookup returns the credential, or an *Error where the client is to blame.
func (v *Verifier) lookup(ctx context.Context, c *claim) (Credential, error) {
	cred, err := v.keys.Lookup(ctx, c.accessKeyID, c.token)
	switch {
	case err == nil:
		return cred, nil
	case errors.Is(err, ErrUnknownKey):
		return Credential{}, c.family.unknownKey(c.accessKeyID)
	case errors.Is(err, ErrInvalidToken):
		return Credential{}, c.family.invalidToken()
	case errors.Is(err, ErrExpiredToken):
		return Credential{}, c.family.expiredToken()
	}
	return Credential{}, err
}

// verify compares signatures. Clients differ in whether a session token in the
// query is signed (some services have it added afterwards): both ways count,
// except for S3, where it is always signed.
func (c *claim) verify(r *http.Request, query []pair, payloadHash string, key [32]byte) *Error {
	buf := canonicalBuffers.Get().(*[]byte)
	defer canonicalBuffers.Put(buf)
	at, s3 := c.at.Format(timeFormat), c.family == S3

	*buf = canonicalRequest((*buf)[:0], r, s3, query, c.signedHeaders, payloadHash, false)
	toSign := stringToSign(at, c.scope, *buf)
	if equal(sum(key[:], toSign), c.signature) {
		return nil
	}
	canonical := string(*buf)
	if c.presigned && c.token != "" && !s3 {
		*buf = canonicalRequest((*buf)[:0], r, s3, query, c.signedHeaders, payloadHash, true)
		if equal(sum(key[:], stringToSign(at, c.scope, *buf)), c.signature) {
			return nil
		}
	}
	return c.family.mismatch(c.accessKeyID, c.signature, canonical, toSign)
}

// equal compares a signature with its claim in constant time. Upper-case hex
// is not a signature: there is one spelling only.
func equal(want [32]byte, claimed string) bool {
	var h [64]byte
	hex.Encode(h[:], want[:])
	return hmac.Equal(h[:], []byte(claimed))
}
