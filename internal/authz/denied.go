package authz

import (
	"net/http"

	"davy/internal/awsapi"
	"davy/internal/policy"
)

// refusal words a denied decision as the service does.
func refusal(service string, d *policy.Decision, shown string) error {
	if shown == "" {
		shown = d.Resource
	}
	if service == "s3" {
		// S3 explains itself only within the account, and to callers that it
		// knows.
		// https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html
		if d.CrossAccount || d.Principal == "anonymous" {
			return denial(service, "Access Denied")
		}
		if shown = `"` + shown + `"`; d.Resource == "*" {
			shown = ""
		}
	}
	return denial(service, d.Message(shown))
}

// denial is the error of a refusal with the code and status that the service
// has for it.
func denial(service, message string) error {
	status, code := http.StatusForbidden, "AccessDenied"
	switch service {
	case "lambda":
		code = "AccessDeniedException"
	case "logs":
		// awsJson1.1 services answer 400.
		status, code = http.StatusBadRequest, "AccessDeniedException"
	}
	return &awsapi.ErrorResponse{Status: status, Code: code, Message: message}
}

// refusedByS3 is Lambda's answer when the caller may not read the object that
// holds the code.
func refusedByS3(bucket, key string) func(*policy.Decision) error {
	return func(d *policy.Decision) error {
		cause := refusal("s3", d, "").(*awsapi.ErrorResponse)
		return awsapi.Errorf(http.StatusForbidden, "AccessDeniedException",
			"Your access has been denied by S3, please make sure your request credentials have permission to GetObject for %s/%s. S3 Error Code: %s. S3 Error Message: %s",
			bucket, key, cause.Code, cause.Message)
	}
}
