package s3

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

const (
	defaultContentType = "binary/octet-stream"
	maxMetadata        = 2 << 10 // bytes of names and values together
)

// newHeader keeps the system-defined metadata of a request.
func newHeader(ctx context.Context, contentType, cache, disposition, encoding, language *string, expires *time.Time) header {
	h := header{
		ContentType: text(contentType), CacheControl: text(cache), ContentDisposition: text(disposition),
		ContentEncoding: withoutChunked(text(encoding)), ContentLanguage: text(language),
	}
	if h.ContentType == "" {
		h.ContentType = defaultContentType
	}
	if expires != nil {
		h.Expires = expires.UTC().Format(http.TimeFormat)
	}
	if r := awsapi.CallFrom(ctx).Request; r != nil && r.Header.Get("Expires") != "" {
		h.Expires = strings.ToValidUTF8(r.Header.Get("Expires"), "\ufffd") // S3 keeps it as it came
	}
	return h
}

func text(p *string) string { return strings.ToValidUTF8(awsapi.Val(p), "\ufffd") }

// withoutChunked removes the transfer coding that SDKs put into
// Content-Encoding.
func withoutChunked(v string) string {
	if !strings.Contains(strings.ToLower(v), "aws-chunked") {
		return v
	}
	var kept []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" && !strings.EqualFold(item, "aws-chunked") {
			kept = append(kept, item)
		}
	}
	return strings.Join(kept, ",")
}

// newMetadata checks and keeps user-defined metadata. Header bytes that are
// not ASCII are taken for ISO 8859-1, as S3 does.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
func newMetadata(in map[string]string) (map[string]string, error) {
	if len(in) == 0 {
		return nil, nil
	}
	size := 0
	out := make(map[string]string, len(in))
	for name, value := range in {
		name = strings.ToLower(strings.ToValidUTF8(name, "\ufffd"))
		if !ascii(value) {
			runes := make([]rune, len(value))
			for i := range len(value) {
				runes[i] = rune(value[i])
			}
			value = string(runes)
		}
		out[name] = value
		size += len(name) + len(value)
	}
	if size > maxMetadata {
		return nil, fault(http.StatusBadRequest, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
			"Size", strconv.Itoa(size), "MaxSizeAllowed", strconv.Itoa(maxMetadata))
	}
	return out, nil
}

// wireMetadata writes values that are not ASCII in RFC 2047's form.
func wireMetadata(stored map[string]string) map[string]string {
	if len(stored) == 0 {
		return nil
	}
	out := make(map[string]string, len(stored))
	for name, value := range stored {
		if !ascii(value) {
			value = "=?UTF-8?B?" + base64.StdEncoding.EncodeToString([]byte(value)) + "?="
		}
		out[name] = value
	}
	return out
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// demands are the parts of a write request that change how an object is kept.
// What Davy can't do it refuses: silence would be a lie about encryption,
// retention or who may read.
type demands struct {
	acl                *s3api.ObjectCannedACL
	grants             [4]*string
	encryption         *s3api.ServerSideEncryption
	kmsKey, kmsContext *string
	bucketKey          *bool
	customerKey        [3]*string
	class              *s3api.StorageClass
	redirect           *string
	lockMode           *s3api.ObjectLockMode
	lockUntil          *time.Time
	lockHold           *s3api.ObjectLockLegalHoldStatus
}

func (d demands) refuse() error {
	if a := awsapi.Val(d.acl); a != "" && a != "private" && a != "bucket-owner-full-control" {
		return errNoACL()
	}
	for _, g := range d.grants {
		if awsapi.Val(g) != "" {
			return errNoACL()
		}
	}
	for _, k := range d.customerKey {
		if awsapi.Val(k) != "" {
			return errHeader("x-amz-server-side-encryption-customer-algorithm", "Davy does not encrypt objects with customer keys.")
		}
	}
	if e := awsapi.Val(d.encryption); e != "" {
		// AWS would answer AES256 for every object. Davy's files are not
		// encrypted, so it neither promises nor reports it.
		return errHeader("x-amz-server-side-encryption", "Davy does not encrypt objects at rest.")
	}
	if awsapi.Val(d.kmsKey) != "" || awsapi.Val(d.kmsContext) != "" || awsapi.Val(d.bucketKey) {
		return errHeader("x-amz-server-side-encryption-aws-kms-key-id", "Davy does not encrypt objects at rest.")
	}
	if c := awsapi.Val(d.class); c != "" && c != s3api.StorageClassStandard {
		if !knownClass(c) {
			return fault(http.StatusBadRequest, "InvalidStorageClass", "The storage class you specified is not valid", "StorageClassRequested", string(c))
		}
		return errHeader("x-amz-storage-class", fmt.Sprintf("Davy has no storage class %s.", c))
	}
	if awsapi.Val(d.redirect) != "" {
		return errHeader("x-amz-website-redirect-location", "Davy does not serve websites.")
	}
	if awsapi.Val(d.lockMode) != "" || d.lockUntil != nil || awsapi.Val(d.lockHold) != "" {
		return errInvalidRequest("Bucket is missing Object Lock Configuration")
	}
	return nil
}

func knownClass(c s3api.StorageClass) bool {
	switch c {
	case "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE",
		"OUTPOSTS", "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP":
		return true
	}
	return false
}

func errNoACL() error {
	return fault(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
}

// refuseBucketGrants does the same for a bucket.
func refuseBucketGrants(in *s3api.CreateBucketRequest) error {
	acl := awsapi.Val(in.ACL)
	if acl != "" && acl != "private" || awsapi.Val(in.GrantFullControl) != "" || awsapi.Val(in.GrantRead) != "" ||
		awsapi.Val(in.GrantReadACP) != "" || awsapi.Val(in.GrantWrite) != "" || awsapi.Val(in.GrantWriteACP) != "" {
		return fault(http.StatusBadRequest, "InvalidBucketAclWithObjectOwnership",
			"Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
	}
	if o := awsapi.Val(in.ObjectOwnership); o != "" && o != ownerEnforced {
		return errHeader("x-amz-object-ownership", "Davy has no ACLs: buckets are BucketOwnerEnforced.")
	}
	if awsapi.Val(in.ObjectLockEnabledForBucket) {
		return errHeader("x-amz-bucket-object-lock-enabled", "Davy does not lock objects.")
	}
	if ns := awsapi.Val(in.BucketNamespace); ns != "" && ns != "global" {
		return errHeader("x-amz-bucket-namespace", "Davy has only the global namespace.")
	}
	return nil
}
