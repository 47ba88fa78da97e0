package invoke

import (
	"errors"
	"fmt"
	"net/http"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// user is the Type of errors that the caller can mend.
const user = "User"

func invalid(format string, args ...any) error {
	return &lambdaapi.InvalidParameterValueException{Type: new(user), Message: new(fmt.Sprintf(format, args...))}
}

func invalidContent(format string, args ...any) error {
	return &lambdaapi.InvalidRequestContentException{Type: new(user), Message: new(fmt.Sprintf(format, args...))}
}

// tooLarge has the code that AWS sends; its model calls the same error
// RequestTooLargeException.
func tooLarge(format string, args ...any) error {
	return awsapi.Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", format, args...)
}

func tooLargeEvent(size, limit int) error {
	return tooLarge("%d byte payload is too large for the Event invocation type (limit %d bytes)", size, limit)
}

func serviceError() error {
	return &lambdaapi.ServiceException{Type: new("Service"), Message: new("The AWS Lambda service encountered an internal error.")}
}

// runtimeError tells what this machine lacks for a function's runtime: AWS has
// all of them.
func runtimeError(err error) error {
	return &lambdaapi.InvalidRuntimeException{Type: new("Service"), Message: new("The runtime or runtime version specified is not supported. " + err.Error())}
}

func roleError() error {
	return awsapi.Errorf(http.StatusForbidden, "AccessDeniedException", "The role defined for the function cannot be assumed by Lambda.")
}

// throttled is AWS's answer to an invocation beyond a limit.
func throttled(why lambdaapi.ThrottleReason) error {
	return &lambdaapi.TooManyRequestsException{
		Type:              new(user),
		Reason:            new(why),
		Message:           new("Rate Exceeded."),
		RetryAfterSeconds: new("1"),
	}
}

// isMissing reports that there is no such function, version or alias.
func isMissing(err error) bool {
	var modelled awsapi.Error
	return errors.As(err, &modelled) && modelled.ErrorCode() == "ResourceNotFoundException"
}

func isThrottle(err error) bool {
	var throttle *lambdaapi.TooManyRequestsException
	return errors.As(err, &throttle)
}
