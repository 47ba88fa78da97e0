package s3

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"davy/internal/awsapi"
	"davy/internal/blob"
	"davy/internal/state"
)

// fault is an error in S3's wording with its extra XML members.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func fault(status int, code, message string, fields ...string) error {
	e := &awsapi.ErrorResponse{Status: status, Code: code, Message: message}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i+1] == "" {
			continue
		}
		if e.Fields == nil {
			e.Fields = make(map[string]string, len(fields)/2)
		}
		e.Fields[fields[i]] = fields[i+1]
	}
	return e
}

func errNoSuchBucket(name string) error {
	return fault(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist", "BucketName", name)
}

func errNoSuchKey(key string) error {
	return fault(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.", "Key", key)
}

func errNoSuchVersion(key, version string) error {
	return fault(http.StatusNotFound, "NoSuchVersion", "The specified version does not exist.", "Key", key, "VersionId", version)
}

func errNoSuchUpload(id string) error {
	return fault(http.StatusNotFound, "NoSuchUpload",
		"The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.", "UploadId", id)
}

func errInvalidArgument(name, value, message string) error {
	return fault(http.StatusBadRequest, "InvalidArgument", message, "ArgumentName", name, "ArgumentValue", value)
}

func errInvalidRequest(message string) error {
	return fault(http.StatusBadRequest, "InvalidRequest", message)
}

func errMalformedXML() error {
	return fault(http.StatusBadRequest, "MalformedXML",
		"The XML you provided was not well-formed or did not validate against our published schema")
}

func errAccessDenied() error {
	return fault(http.StatusForbidden, "AccessDenied", "Access Denied")
}

func errKeyTooLong(n int) error {
	return fault(http.StatusBadRequest, "KeyTooLongError", "Your key is too long",
		"Size", strconv.Itoa(n), "MaxSizeAllowed", strconv.Itoa(maxKeyLength))
}

func errPrecondition(condition string) error {
	return fault(http.StatusPreconditionFailed, "PreconditionFailed",
		"At least one of the pre-conditions you specified did not hold", "Condition", condition)
}

// errBusy is the answer when concurrent writers of one key kept changing it.
func errBusy() error {
	return fault(http.StatusConflict, "OperationAborted",
		"A conflicting conditional operation is currently in progress against this resource. Please try again.")
}

// errHeader is S3's answer to a header that asks for something it can't do.
func errHeader(header, detail string) error {
	return fault(http.StatusNotImplemented, "NotImplemented",
		"A header you provided implies functionality that is not implemented", "Header", header, "additionalMessage", detail)
}

func errEntityTooLarge(proposed, limit int64) error {
	p := ""
	if proposed >= 0 {
		p = strconv.FormatInt(proposed, 10)
	}
	return fault(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
		"ProposedSize", p, "MaxSizeAllowed", strconv.FormatInt(limit, 10))
}

// storageError wraps an engine's error, telling a full disk apart: the client
// can act on it.
func storageError(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, state.ErrFull) || errors.Is(err, blob.ErrFull) {
		// AWS has no code for a full disk; 507 keeps SDKs from retrying for minutes.
		return fmt.Errorf("%s: %w", what, errors.Join(fault(http.StatusInsufficientStorage, "InsufficientStorage",
			"The server has no space left to store this request. Nothing was written."), err))
	}
	return fmt.Errorf("s3: %s: %w", what, err)
}
