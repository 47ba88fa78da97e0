package sigv4

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Family is the way in which a service words its authentication errors.
type Family int

// The families. Codes and statuses differ between them.
const (
	JSON     Family = iota // awsJson1.x: CloudWatch Logs, ...
	RESTJSON               // restJson1: Lambda, ...
	Query                  // awsQuery: IAM, STS, ...
	S3
)

// Error is a refused request. It has the methods of a modelled error.
type Error struct {
	Code    string
	Message string
	Status  int
	// Fields are further members of the error document, as S3 has them.
	Fields map[string]string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrorCode returns the code on the wire.
func (e *Error) ErrorCode() string { return e.Code }

// ErrorMessage returns the message on the wire.
func (e *Error) ErrorMessage() string { return e.Message }

// HTTPStatus returns the status of the response.
func (e *Error) HTTPStatus() int { return e.Status }

// Fault is always the client's.
func (e *Error) Fault() string { return "client" }

// ErrorFields returns the further members of the error document, or nil.
func (e *Error) ErrorFields() map[string]string { return e.Fields }

// status is what a family answers to a refused signature.
func (f Family) status() int {
	if f == JSON {
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}

// pick returns the code of the family: S3's, the query services' or the JSON
// services'.
func (f Family) pick(s3, query, json string) string {
	switch {
	case f == S3:
		return s3
	case f == Query:
		return query
	default:
		return json
	}
}

func (f Family) missingToken() *Error {
	e := &Error{Status: f.status(), Code: f.pick("AccessDenied", "MissingAuthenticationToken", "MissingAuthenticationTokenException")}
	e.Message = f.pick("Access Denied", "Request is missing Authentication Token", "Missing Authentication Token")
	return e
}

// malformed is for an authorization that cannot be read. For S3 where is the
// part that is at fault.
func (f Family) malformed(presigned bool, s3Message, message string) *Error {
	if f == S3 {
		if presigned {
			return &Error{Status: http.StatusBadRequest, Code: "AuthorizationQueryParametersError", Message: s3Message}
		}
		return &Error{Status: http.StatusBadRequest, Code: "AuthorizationHeaderMalformed", Message: "The authorization header is malformed; " + s3Message}
	}
	status := http.StatusBadRequest
	if f == RESTJSON {
		status = http.StatusForbidden
	}
	return &Error{Status: status, Code: f.pick("", "IncompleteSignature", "IncompleteSignatureException"), Message: message}
}

// scope is for a credential whose scope does not fit the request.
func (f Family) scope(presigned bool, s3Message, message string) *Error {
	if f == S3 {
		if presigned {
			s3Message = "Error parsing the X-Amz-Credential parameter; " + s3Message
		}
		return f.malformed(presigned, s3Message, "")
	}
	return f.signature(message)
}

// signature is for a signature that is refused, in the words of message.
func (f Family) signature(message string) *Error {
	return &Error{Status: f.status(), Code: f.pick("SignatureDoesNotMatch", "SignatureDoesNotMatch", "InvalidSignatureException"), Message: message}
}

// mismatch shows the client what the server would have signed: by far the
// most useful help in finding a client's mistake.
func (f Family) mismatch(accessKeyID, provided, canonical, stringToSign string) *Error {
	if f == S3 {
		e := f.signature("The request signature we calculated does not match the signature you provided. Check your key and signing method.")
		e.Fields = map[string]string{
			"AWSAccessKeyId":    accessKeyID,
			"StringToSign":      stringToSign,
			"SignatureProvided": provided,
			"StringToSignBytes": hexBytes(stringToSign),
		}
		if canonical != "" {
			e.Fields["CanonicalRequest"] = canonical
			e.Fields["CanonicalRequestBytes"] = hexBytes(canonical)
		}
		return e
	}
	return f.signature("The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\n" +
		"The Canonical String for this request should have been\n'" + canonical + "'\n\n" +
		"The String-to-Sign should have been\n'" + stringToSign + "'\n")
}

func hexBytes(s string) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 3*len(s))
	for i := range len(s) {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, digits[s[i]>>4], digits[s[i]&15])
	}
	return string(b)
}

func (f Family) unknownKey(accessKeyID string) *Error {
	if f == S3 {
		return &Error{
			Status: http.StatusForbidden, Code: "InvalidAccessKeyId",
			Message: "The AWS Access Key Id you provided does not exist in our records.",
			Fields:  map[string]string{"AWSAccessKeyId": accessKeyID},
		}
	}
	return &Error{
		Status: f.status(), Code: f.pick("", "InvalidClientTokenId", "UnrecognizedClientException"),
		Message: "The security token included in the request is invalid.",
	}
}

func (f Family) invalidToken() *Error {
	if f == S3 {
		return &Error{Status: http.StatusBadRequest, Code: "InvalidToken", Message: "The provided token is malformed or otherwise invalid."}
	}
	return f.unknownKey("")
}

func (f Family) expiredToken() *Error {
	if f == S3 {
		return &Error{Status: http.StatusBadRequest, Code: "ExpiredToken", Message: "The provided token has expired."}
	}
	return &Error{
		Status: f.status(), Code: f.pick("", "ExpiredToken", "ExpiredTokenException"),
		Message: "The security token included in the request is expired",
	}
}

// skewed is for a request signed too long ago or too far in the future.
func (f Family) skewed(signed, now time.Time, skew time.Duration) *Error {
	if f == S3 {
		return &Error{
			Status: http.StatusForbidden, Code: "RequestTimeTooSkewed",
			Message: "The difference between the request time and the current time is too large.",
			Fields: map[string]string{
				"RequestTime":                signed.Format(timeFormat),
				"ServerTime":                 now.Format(time.RFC3339),
				"MaxAllowedSkewMilliseconds": strconv.FormatInt(skew.Milliseconds(), 10),
			},
		}
	}
	s, n, minutes := signed.Format(timeFormat), now.Format(timeFormat), int(skew/time.Minute)
	if signed.Before(now) {
		return f.signature(fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %d min.)", s, now.Add(-skew).Format(timeFormat), n, minutes))
	}
	return f.signature(fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %d min.)", s, now.Add(skew).Format(timeFormat), n, minutes))
}

// expired is for a presigned request whose time is over.
func (f Family) expired(signed, now time.Time, expires time.Duration) *Error {
	end := signed.Add(expires)
	if f == S3 {
		return &Error{
			Status: http.StatusForbidden, Code: "AccessDenied", Message: "Request has expired",
			Fields: map[string]string{
				"X-Amz-Expires": strconv.Itoa(int(expires / time.Second)),
				"Expires":       end.Format(time.RFC3339),
				"ServerTime":    now.Format(time.RFC3339),
			},
		}
	}
	return f.signature(fmt.Sprintf("Signature expired: %s is now earlier than %s", end.Format(timeFormat), now.Format(timeFormat)))
}

// hashed stands for a header in an error text without repeating it.
func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// s3Error is an error that only S3 knows.
func s3Error(status int, code, message string, fields ...string) *Error {
	e := &Error{Status: status, Code: code, Message: message}
	for i := 0; i+1 < len(fields); i += 2 {
		if e.Fields == nil {
			e.Fields = make(map[string]string, len(fields)/2)
		}
		e.Fields[fields[i]] = fields[i+1]
	}
	return e
}
