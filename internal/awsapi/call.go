package awsapi

import (
	"context"
	"net/http"
	"time"
)

// Call is what a service may know of a request beyond its decoded input. The
// gateway fills it once the signature is verified.
type Call struct {
	RequestID string
	HostID    string // S3's second id (x-amz-id-2); empty for other services
	Time      time.Time
	Service   string // signing name: s3, lambda, ...
	Operation string // CreateFunction, ...
	Region    string // of the credential scope
	Account   string // of the caller
	Principal Principal
	SourceIP  string
	Secure    bool // arrived over TLS

	// Request is the raw request, for what no model expresses (S3's trailers
	// and raw headers). Request.Trailer is complete once a streamed body has
	// been read to its end.
	Request *http.Request

	// Response lets a handler add headers that no model has and choose a
	// status other than the modelled one (206 for ranges). Status 0: modelled.
	Response struct {
		Header http.Header
		Status int
	}
}

// Principal is who signed the request.
type Principal struct {
	ARN      string // arn:aws:iam::ACCOUNT:user/NAME, :root, arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION; empty: anonymous
	UserID   string // aws:userid: AIDA..., the account id for root, AROA...:SESSION
	Account  string
	AccessID string // the access key id used
}

type callKey struct{}

// WithCall returns a context that carries c.
func WithCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// CallFrom returns the call that ctx carries, or an empty one.
func CallFrom(ctx context.Context) *Call {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		return c
	}
	return &Call{}
}
