package sigv4

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature Version 2 survives in one place: S3's presigned links. The Python
// SDK and the AWS CLI version 1 still make them for us-east-1 unless told
// otherwise, and S3 still takes them there. Nothing else may be signed so.
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html

// Parameters of a version 2 link.
const (
	v2AccessKey = "AWSAccessKeyId"
	v2Expires   = "Expires"
	v2Signature = "Signature"
	v2Token     = "x-amz-security-token"
)

// v2Region is where a version 2 link counts as made: it names none.
const v2Region = "us-east-1"

// v2Resources are the query parameters that are part of the resource signed.
var v2Resources = []string{
	"accelerate", "acl", "analytics", "cors", "delete", "inventory", "lifecycle", "location", "logging", "metrics",
	"notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
	"response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
	"response-content-type", "response-expires", "restore", "select", "select-type", "storageClass", "tagging", "torrent",
	"uploadId", "uploads", "versionId", "versioning", "versions", "website",
}

// isV2Link tells whether a request is a version 2 link.
func isV2Link(r *http.Request, query []pair) bool {
	seen := 0
	for _, p := range query {
		switch p.key {
		case v2AccessKey, v2Expires, v2Signature:
			seen++
		case queryAlgorithm, querySignature, queryCredential:
			return false
		}
	}
	return seen == 3 && r.Header.Get("Authorization") == ""
}

// verifyV2 checks a version 2 link.
func (v *Verifier) verifyV2(r *http.Request, t Target, query []pair) (Identity, error) {
	var accessKeyID, expires, signature, token string
	for _, p := range query {
		switch p.key {
		case v2AccessKey:
			accessKeyID = p.value
		case v2Expires:
			expires = p.value
		case v2Signature:
			signature = p.value
		case v2Token:
			token = p.value
		}
	}
	unix, err := strconv.ParseInt(expires, 10, 64)
	if err != nil {
		return Identity{}, s3Error(http.StatusForbidden, "AccessDenied", "Invalid date (should be seconds since epoch): "+hashed(expires))
	}
	end, now := time.Unix(unix, 0).UTC(), v.now().UTC()
	if !now.Before(end) {
		return Identity{}, s3Error(http.StatusForbidden, "AccessDenied", "Request has expired",
			"Expires", end.Format(time.RFC3339), "ServerTime", now.Format(time.RFC3339))
	}
	cred, err := v.lookup(r.Context(), &claim{accessKeyID: accessKeyID, token: token, family: S3})
	var refusal *Error
	if errors.As(err, &refusal) {
		cred.SecretAccessKey = unknownSecret
	} else if err != nil {
		return Identity{}, fmt.Errorf("look up access key: %w", err)
	}
	toSign := v2ToSign(r, t.Bucket, query, expires)
	mac := hmac.New(sha1.New, []byte(cred.SecretAccessKey))
	mac.Write([]byte(toSign))
	got, err := base64.StdEncoding.DecodeString(signature)
	match := err == nil && hmac.Equal(got, mac.Sum(nil))
	switch {
	case refusal != nil:
		return Identity{}, refusal
	case !match:
		return Identity{}, S3.mismatch(accessKeyID, signature, "", toSign)
	}
	body, refusal := s3Payload(r, nil, nil)
	if refusal != nil {
		return Identity{}, refusal
	}
	body.wrap(r, chunkSigner{family: S3})
	return Identity{
		AccessKeyID: accessKeyID, Principal: cred.Principal, Time: now, Presigned: true,
		Scope: Scope{Date: now.Format(dateFormat), Region: v2Region, Service: t.Service},
	}, nil
}

// v2ToSign is the string that a version 2 link signs.
func v2ToSign(r *http.Request, bucket string, query []pair, expires string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n%s\n", r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), expires)

	amz := make(map[string][]string)
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			for _, value := range values {
				amz[name] = append(amz[name], strings.TrimSpace(value))
			}
		}
	}
	for _, p := range query { // a link carries in its query what would be headers
		if name := strings.ToLower(p.key); strings.HasPrefix(name, "x-amz-") {
			amz[name] = append(amz[name], strings.TrimSpace(p.value))
		}
	}
	names := make([]string, 0, len(amz))
	for name := range amz {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString(name + ":" + strings.Join(amz[name], ",") + "\n")
	}

	path, _ := rawTarget(r)
	if bucket != "" {
		b.WriteString("/" + bucket)
	}
	b.WriteString(path)
	var sub []string
	for _, p := range query {
		if slices.Contains(v2Resources, p.key) {
			if p.value == "" {
				sub = append(sub, p.key)
			} else {
				sub = append(sub, p.key+"="+p.value)
			}
		}
	}
	if len(sub) > 0 {
		slices.Sort(sub)
		b.WriteString("?" + strings.Join(sub, "&"))
	}
	return b.String()
}
