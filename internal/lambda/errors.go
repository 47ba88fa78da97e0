package lambda

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

func notFound(format string, args ...any) error {
	return &lambdaapi.ResourceNotFoundException{Type: new(user), Message: new(fmt.Sprintf(format, args...))}
}

func conflict(format string, args ...any) error {
	return &lambdaapi.ResourceConflictException{Type: new(user), Message: new(fmt.Sprintf(format, args...))}
}

// constraint is the answer to a value that the model's constraints refuse.
func constraint(value any, field, rule string) error {
	return awsapi.Errorf(http.StatusBadRequest, "ValidationException",
		"1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value, field, rule)
}

func staleRevision() error {
	return &lambdaapi.PreconditionFailedException{
		Type:    new(user),
		Message: new("The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"),
	}
}

// checkRevision refuses a RevisionId that is given and not the present one.
func checkRevision(given *string, present string) error {
	if given != nil && *given != present {
		return staleRevision()
	}
	return nil
}

func functionNotFound(k key, qualifier string) error {
	return notFound("Function not found: %s", k.qualified(qualifier))
}

func aliasNotFound(k key, alias string) error {
	return notFound("Cannot find alias arn: %s", k.qualified(alias))
}

func isNotFound(err error) bool {
	var missing *lambdaapi.ResourceNotFoundException
	return errors.As(err, &missing)
}

func messageOfNotFound(err error) string {
	var missing *lambdaapi.ResourceNotFoundException
	if !errors.As(err, &missing) {
		return ""
	}
	return awsapi.Val(missing.Message)
}
