package s3

import (
	"net/http"
	"strings"
	"time"
)

// conditions are a request's conditional headers on one object.
type conditions struct {
	match, noneMatch *string
	modified         *time.Time // If-Modified-Since
	unmodified       *time.Time
}

// etagIn tells whether a list of entity tags names etag.
func etagIn(list, etag string) bool {
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "*" || strings.Trim(strings.TrimPrefix(item, "W/"), `"`) == etag {
			return true
		}
	}
	return false
}

// failed returns the name of the header that does not hold for v; notModified
// is set when it is one that a reader answers with 304.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (c conditions) failed(v *version) (name string, notModified bool) {
	switch {
	case c.match != nil:
		if !etagIn(*c.match, v.ETag) {
			return "If-Match", false
		}
	case c.unmodified != nil && v.modified().After(*c.unmodified):
		return "If-Unmodified-Since", false
	}
	switch {
	case c.noneMatch != nil:
		if etagIn(*c.noneMatch, v.ETag) {
			return "If-None-Match", true
		}
	case c.modified != nil && !v.modified().After(*c.modified):
		return "If-Modified-Since", true
	}
	return "", false
}

// read is failed in the form of a reader's answer.
func (c conditions) read(v *version) error {
	switch name, notModified := c.failed(v); {
	case name == "":
		return nil
	case notModified:
		return fault(http.StatusNotModified, "NotModified", "Not Modified")
	default:
		return errPrecondition(name)
	}
}

// copySource is failed in the form that CopyObject answers: always 412.
func (c conditions) copySource(v *version) error {
	if name, _ := c.failed(v); name != "" {
		return errPrecondition("x-amz-copy-source-" + name)
	}
	return nil
}

// write checks the conditions of a write against the latest version.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (c conditions) write(latest *version, key string) error {
	exists := latest != nil && !latest.Marker
	if c.noneMatch != nil {
		if strings.TrimSpace(*c.noneMatch) != "*" {
			return errHeader("If-None-Match", "Writes support only If-None-Match: *.")
		}
		if exists {
			return errPrecondition("If-None-Match")
		}
	}
	if c.match != nil {
		if !exists {
			return errNoSuchKey(key)
		}
		if !etagIn(*c.match, latest.ETag) {
			return errPrecondition("If-Match")
		}
	}
	return nil
}
