// Package sigv4 verifies AWS Signature Version 4 on incoming requests, and
// makes such signatures for Davy's own clients.
//
// It serves the gateway, which asks Peek what a request claims and then
// Verify whether the claim holds. The invariant: what Verify accepts is what
// the owner of the secret signed, byte for byte, in everything that a service
// looks at (method, path, query, host, every x-amz-* header, body). A body is
// checked while it is read: its reader returns io.EOF only after its hash, its
// chunk signatures, its trailers and its length have all been found right, and
// an *Error otherwise, so nothing may be committed before io.EOF was seen.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
package sigv4

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	algorithm    = "AWS4-HMAC-SHA256"
	algorithmV4a = "AWS4-ECDSA-P256-SHA256"
	terminator   = "aws4_request"
	// timeFormat is the ISO 8601 basic format of x-amz-date.
	timeFormat = "20060102T150405Z"
	dateFormat = "20060102"

	// MaxExpires is the longest life of a presigned request: one week.
	MaxExpires = 604800 * time.Second
	// DefaultSkew is how far a request's time may be from the server's.
	DefaultSkew = 15 * time.Minute
)

// Payload hashes with a meaning of their own, as sent in x-amz-content-sha256.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
const (
	EmptyPayload             = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingPayload         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingPayloadTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// Errors that a KeyLookup returns, possibly wrapped. Any other error of it is
// a failure of the server and is passed on as it is.
var (
	// ErrUnknownKey: no such access key, or it is inactive, or it is a
	// temporary one that came without its token.
	ErrUnknownKey = errors.New("sigv4: unknown access key")
	// ErrInvalidToken: the session token is not one that was issued for the
	// access key.
	ErrInvalidToken = errors.New("sigv4: invalid session token")
	// ErrExpiredToken: the session was real and is over.
	ErrExpiredToken = errors.New("sigv4: expired session token")
)

// Credential is what a KeyLookup knows of an access key.
type Credential struct {
	SecretAccessKey string
	Principal       any // whoever the key belongs to; handed through in Identity
}

// String hides the secret.
func (Credential) String() string { return "credential (hidden)" }

// LogValue hides the secret.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// KeyLookup finds the secret of an access key. sessionToken is empty for a
// long-term key. It must be safe for concurrent use and should do no I/O.
type KeyLookup interface {
	Lookup(ctx context.Context, accessKeyID, sessionToken string) (Credential, error)
}

// Scope is where and when a signature is valid.
type Scope struct {
	Date    string // YYYYMMDD
	Region  string
	Service string // signing name: s3, lambda, ...
}

// String returns the scope as it stands in the string to sign.
func (s Scope) String() string {
	return s.Date + "/" + s.Region + "/" + s.Service + "/" + terminator
}

// Identity is what a verified request proves.
type Identity struct {
	AccessKeyID string
	Principal   any // from Credential; nil when anonymous
	Scope       Scope
	Time        time.Time // of the signature
	Presigned   bool      // the signature came in the query
	Anonymous   bool      // the request carries no signature
}
