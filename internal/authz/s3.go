package authz

import (
	"net/url"
	"strings"
)

const s3ARN = "arn:aws:s3:::"

// s3Resource builds bucket and object ARNs; Davy has none of the other types.
func (q *request) s3Resource(typ string) ([]string, bool) {
	bucket := q.in.text("Bucket")
	switch typ {
	case "s3:bucket":
		if bucket != "" {
			return []string{s3ARN + bucket}, true
		}
	case "s3:object":
		if bucket != "" && q.in.has("Key") {
			return []string{s3ARN + bucket + "/" + q.in.text("Key")}, true
		}
	case "s3:accesspoint", "s3:accesspointobject":
		return nil, false
	default:
		return q.fill(typ)
	}
	return nil, false
}

func (q *request) bucketARN() string { return s3ARN + q.in.text("Bucket") }

func (q *request) objectARN() string { return q.bucketARN() + "/" + q.in.text("Key") }

// putObject asks for what the request's headers do beside writing.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
func (q *request) putObject() []need {
	object := q.objectARN()
	out := []need{{action: "s3:PutObject", resource: object}}
	return append(out, q.putExtras(object)...)
}

func (q *request) putExtras(object string) []need {
	var out []need
	add := func(action string) { out = append(out, need{action: action, resource: object}) }
	if q.grantsACL() {
		add("s3:PutObjectAcl")
	}
	if q.in.text("Tagging") != "" {
		add("s3:PutObjectTagging")
	}
	if q.in.present("ObjectLockMode") || q.in.present("ObjectLockRetainUntilDate") {
		add("s3:PutObjectRetention")
	}
	if q.in.present("ObjectLockLegalHoldStatus") {
		add("s3:PutObjectLegalHold")
	}
	return out
}

func (q *request) grantsACL() bool {
	for _, m := range []string{"ACL", "GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP"} {
		if q.in.text(m) != "" {
			return true
		}
	}
	return false
}

// copyObject reads the source and writes the destination.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func (q *request) copyObject() []need {
	var out []need
	object := q.objectARN()
	// The source's tags come along unless the request says otherwise: they are
	// read and written too.
	tagsToo := q.operation == "CopyObject" && q.in.text("TaggingDirective") != "REPLACE"
	tagged := false
	for _, s := range copySources(q.in.text("CopySource")) {
		n := need{action: "s3:GetObject", resource: s3ARN + s.object}
		if s.version != "" {
			n.action = "s3:GetObjectVersion"
		}
		out = append(out, n)
		if !tagsToo || !q.hasTags(s) {
			continue
		}
		n.action = "s3:GetObjectTagging"
		if s.version != "" {
			n.action = "s3:GetObjectVersionTagging"
		}
		out, tagged = append(out, n), true
	}
	out = append(out, need{action: "s3:PutObject", resource: object})
	if tagged {
		out = append(out, need{action: "s3:PutObjectTagging", resource: object})
	}
	return append(out, q.putExtras(object)...)
}

// hasTags reports whether the source of a copy has tags.
func (q *request) hasTags(s copySource) bool {
	bucket, key, ok := strings.Cut(s.object, "/")
	if q.a.cfg.Objects == nil || !ok {
		return false
	}
	tags, err := q.a.cfg.Objects.ObjectTags(q.ctx, bucket, key, s.version)
	if err != nil {
		q.failed = err
	}
	return len(tags) > 0
}

// copySource is what a CopySource header may name.
type copySource struct {
	object  string // BUCKET/KEY
	version string // empty: the latest
}

// copySources reads a CopySource, URL-encoded BUCKET/KEY with an optional
// versionId. Readers disagree on whether + stands for a space: every reading
// must be allowed, so that no disagreement with the service can matter.
func copySources(header string) []copySource {
	path, _, _ := strings.Cut(header, "?")
	version := copyVersion(header)
	readings := []string{path}
	if p, err := url.PathUnescape(path); err == nil {
		readings[0] = p
	}
	if p, err := url.QueryUnescape(path); err == nil && p != readings[0] {
		readings = append(readings, p)
	}
	out := make([]copySource, 0, len(readings))
	for _, r := range readings {
		out = append(out, copySource{object: strings.TrimPrefix(r, "/"), version: version})
	}
	return out
}

// copyVersion is the version that a CopySource names; empty: the latest. What
// cannot be read is refused by the service.
func copyVersion(header string) string {
	_, query, _ := strings.Cut(header, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	return values.Get("versionId")
}

func (q *request) headObject() []need {
	name := "s3:GetObject"
	if q.in.text("VersionId") != "" {
		name = "s3:GetObjectVersion"
	}
	return q.named(name)
}

// getObjectAttributes asks for two permissions.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html
func (q *request) getObjectAttributes() []need {
	if q.in.text("VersionId") != "" {
		return append(q.named("s3:GetObjectVersion"), q.named("s3:GetObjectVersionAttributes")...)
	}
	return append(q.named("s3:GetObject"), q.named("s3:GetObjectAttributes")...)
}

func (q *request) deleteObject() []need {
	name := "s3:DeleteObject"
	if q.in.text("VersionId") != "" {
		name = "s3:DeleteObjectVersion"
	}
	out := q.named(name)
	if q.in.flag("BypassGovernanceRetention") {
		out = append(out, q.named("s3:BypassGovernanceRetention")...)
	}
	return out
}

// deleteObjects asks for each key.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
func (q *request) deleteObjects() []need {
	bucket := q.bucketARN()
	var out []need
	if list := q.in.inner("Delete").member("Objects"); list.IsValid() && !q.a.cfg.PerKeyDelete {
		for i := range list.Len() {
			o := input{v: list.Index(i)}
			n := need{action: "s3:DeleteObject", resource: bucket + "/" + o.text("Key")}
			if o.text("VersionId") != "" {
				n.action = "s3:DeleteObjectVersion"
			}
			out = append(out, n)
		}
	}
	if q.in.flag("BypassGovernanceRetention") {
		out = append(out, need{action: "s3:BypassGovernanceRetention", resource: bucket + "/*"})
	}
	return out
}

// createBucket asks for what the request sets beside creating.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
func (q *request) createBucket() []need {
	bucket := q.bucketARN()
	out := []need{{action: "s3:CreateBucket", resource: bucket}}
	add := func(action string) { out = append(out, need{action: action, resource: bucket}) }
	if acl := q.in.text("ACL"); acl != "" && acl != "private" || acl == "" && q.grantsACL() {
		add("s3:PutBucketAcl")
	}
	if q.in.flag("ObjectLockEnabledForBucket") {
		add("s3:PutBucketObjectLockConfiguration")
		add("s3:PutBucketVersioning")
	}
	if q.in.text("ObjectOwnership") != "" {
		add("s3:PutBucketOwnershipControls")
	}
	if q.in.inner("CreateBucketConfiguration").present("Tags") {
		add("s3:TagResource")
	}
	return out
}
