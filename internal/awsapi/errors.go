package awsapi

import (
	"fmt"
	"net/http"
)

// Error is what a client may be told: an AWS error code with its HTTP status.
// Any other error is an internal one to the caller and its text stays here.
type Error interface {
	error
	ErrorCode() string // NoSuchBucket, ResourceNotFoundException
	HTTPStatus() int
	Fault() string // "client" or "server"
}

// ErrorResponse is an Error that no model has.
type ErrorResponse struct {
	Status  int
	Code    string
	Message string
	Fields  map[string]string // further members of the body, such as BucketName
}

// Errorf returns an ErrorResponse with a formatted message.
func Errorf(status int, code, format string, args ...any) error {
	return &ErrorResponse{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// NotImplemented is the answer of an operation that Davy does not have yet.
func NotImplemented(op string) error {
	return Errorf(http.StatusNotImplemented, "NotImplemented", "The operation %s is not implemented.", op)
}

// Error gives code and message.
func (e *ErrorResponse) Error() string { return ErrorText(e.Code, &e.Message) }

// ErrorCode is the AWS error code.
func (e *ErrorResponse) ErrorCode() string { return e.Code }

// HTTPStatus is the status that the error is answered with.
func (e *ErrorResponse) HTTPStatus() int { return e.Status }

// Fault says whose mistake the status tells of.
func (e *ErrorResponse) Fault() string {
	if e.Status >= http.StatusInternalServerError {
		return "server"
	}
	return "client"
}

// ErrorText is the text of a modelled error; generated code calls it.
func ErrorText(code string, message *string) string {
	if message == nil || *message == "" {
		return code
	}
	return code + ": " + *message
}

// Val returns what p points at, or the zero value if it is nil.
func Val[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
