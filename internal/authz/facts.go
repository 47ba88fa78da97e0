package authz

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"davy/internal/policy"
)

// facts gives the values of condition keys for one need of one request. Values
// are computed when a policy asks for them.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
type facts struct {
	*request
	need      *need
	owner     string // account that owns the resource; empty: unknown
	tags      map[string]string
	tagsKnown bool
}

var _ policy.Context = (*facts)(nil)

// Lookup implements policy.Context.
func (f *facts) Lookup(key string) ([]string, bool) {
	if v, ok := f.need.values[key]; ok {
		return v, true
	}
	if v, ok := f.grants.More[key]; ok {
		return v, true
	}
	family, name, _ := strings.Cut(key, "/")
	if rest, ok := strings.CutPrefix(family, "aws:"); ok {
		return f.global(rest, name)
	}
	if family == "iam:resourcetag" {
		return tag(f.resourceTags(), name)
	}
	service, rest, _ := strings.Cut(key, ":")
	if service == "sts" {
		// One request asks for several sts actions; a trust policy's statement
		// may allow them together.
		return f.stsKey(rest)
	}
	if !f.hasKey(key) {
		return nil, false
	}
	switch service {
	case "s3":
		return f.s3Key(rest)
	case "lambda":
		return f.lambdaKey(rest)
	case "iam":
		return f.iamKey(rest)
	}
	return nil, false
}

// hasKey reports whether the need's action has a service's condition key: s3
// keys of a listing mean nothing for a GetObject.
func (f *facts) hasKey(key string) bool {
	for _, k := range actions[f.need.action].keys {
		if k == key || strings.HasSuffix(k, "/") && strings.HasPrefix(key, k) {
			return true
		}
	}
	return false
}

func one(s string) ([]string, bool) {
	if s == "" {
		return nil, false
	}
	return []string{s}, true
}

func boolean(b bool) ([]string, bool) { return []string{strconv.FormatBool(b)}, true }

// tag finds a tag; its key's case does not matter in a condition key.
func tag(tags map[string]string, key string) ([]string, bool) {
	for k, v := range tags {
		if strings.EqualFold(k, key) {
			return []string{v}, true
		}
	}
	return nil, false
}

// global gives aws: keys.
func (f *facts) global(key, name string) ([]string, bool) {
	p := &f.principal
	switch key {
	case "principalarn":
		if p.RoleARN != "" {
			return one(p.RoleARN)
		}
		return one(p.ARN)
	case "principalaccount":
		return one(p.Account)
	case "principaltype":
		return one(principalType(p))
	case "userid":
		if p.Anonymous() {
			return one("anonymous")
		}
		return one(p.UserID)
	case "username":
		if _, path, ok := strings.Cut(p.ARN, ":user/"); ok {
			return one(path[strings.LastIndexByte(path, '/')+1:])
		}
	case "principalisawsservice":
		return boolean(p.Service != "")
	case "principaltag":
		return tag(f.grants.Tags, name)
	case "resourcetag":
		return tag(f.resourceTags(), name)
	case "requesttag":
		return tag(f.requestTags(), name)
	case "tagkeys":
		return f.tagKeys()
	case "resourceaccount":
		if f.owner != "" {
			return one(f.owner)
		}
		return one(p.Account)
	case "viaawsservice":
		return boolean(false)
	default:
		return f.network(key)
	}
	return nil, false
}

// network gives the aws: keys that are properties of the call.
func (f *facts) network(key string) ([]string, bool) {
	switch key {
	case "sourceip":
		return one(f.call.SourceIP)
	case "securetransport":
		return boolean(f.call.Secure)
	case "currenttime":
		return one(f.now().UTC().Format(time.RFC3339))
	case "epochtime":
		return one(strconv.FormatInt(f.now().Unix(), 10))
	case "requestedregion":
		return one(f.call.Region)
	case "useragent":
		return one(f.header("User-Agent"))
	case "referer":
		return one(f.header("Referer"))
	}
	return nil, false
}

func (f *facts) now() time.Time {
	if f.call.Time.IsZero() {
		return f.a.cfg.Clock()
	}
	return f.call.Time
}

func (f *facts) header(name string) string {
	if f.call.Request == nil {
		return ""
	}
	return f.call.Request.Header.Get(name)
}

func principalType(p *policy.Principal) string {
	switch {
	case p.Anonymous():
		return "Anonymous"
	case p.Root():
		return "Account"
	case strings.Contains(p.ARN, ":user/"):
		return "User"
	case strings.Contains(p.ARN, ":assumed-role/"):
		return "AssumedRole"
	case strings.Contains(p.ARN, ":federated-user/"):
		return "FederatedUser"
	}
	return ""
}

// resourceTags returns the tags of the need's resource, read when first asked
// for.
func (f *facts) resourceTags() map[string]string {
	if f.tagsKnown || f.need.resource == "*" {
		return f.tags
	}
	f.tagsKnown = true
	_, _, tags, err := f.a.cfg.Resources.ResourcePolicy(f.ctx, f.need.resource)
	if err != nil {
		f.failed = err
	}
	f.tags = tags
	return f.tags
}

// requestTags returns the tags that the request brings.
func (f *facts) requestTags() map[string]string {
	if t := f.in.tags("Tags"); t != nil {
		return t
	}
	return f.in.inner("CreateBucketConfiguration").tags("Tags")
}

func (f *facts) tagKeys() ([]string, bool) {
	keys := f.in.texts("TagKeys")
	for k := range f.requestTags() {
		keys = append(keys, k)
	}
	return keys, len(keys) > 0
}

// s3Key gives the s3: keys.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func (f *facts) s3Key(key string) ([]string, bool) {
	family, name, _ := strings.Cut(key, "/")
	switch family {
	case "prefix", "delimiter":
		// An absent parameter has no value; an empty one has the empty value.
		member := strings.ToUpper(family[:1]) + family[1:]
		if f.in.present(member) {
			return []string{f.in.text(member)}, true
		}
	case "max-keys":
		return one(f.in.text("MaxKeys"))
	case "versionid":
		if f.operation == "CopyObject" || f.operation == "UploadPartCopy" {
			return one(copyVersion(f.in.text("CopySource")))
		}
		return one(f.in.text("VersionId"))
	case "locationconstraint":
		return one(f.in.inner("CreateBucketConfiguration").text("LocationConstraint"))
	case "resourceaccount":
		return one(f.owner)
	case "authtype":
		if f.call.Request != nil && f.call.Request.URL.Query().Has("X-Amz-Signature") {
			return one("REST-QUERY-STRING")
		}
		return one("REST-HEADER")
	case "signatureversion":
		return one("AWS4-HMAC-SHA256")
	case "tlsversion":
		if f.call.Request != nil && f.call.Request.TLS != nil {
			return one(tlsVersion(f.call.Request.TLS.Version))
		}
	case "existingobjecttag":
		return tag(f.existingTags(), name)
	case "requestobjecttag":
		return tag(f.objectTags(), name)
	case "requestobjecttagkeys":
		var keys []string
		for k := range f.objectTags() {
			keys = append(keys, k)
		}
		return keys, len(keys) > 0
	case "objectcreationoperation":
		return boolean(f.operation != "CreateMultipartUpload" && f.operation != "UploadPart" && f.operation != "UploadPartCopy")
	case "if-match", "if-none-match":
		return one(f.header(family))
	default:
		// The rest are headers by their own names.
		if strings.HasPrefix(family, "x-amz-") {
			return one(f.header(family))
		}
		if strings.HasPrefix(family, "object-lock-") {
			return one(f.header("x-amz-" + family))
		}
	}
	return nil, false
}

// existingTags returns the tags of the object that the need is about.
func (f *facts) existingTags() map[string]string {
	bucket, key, ok := strings.Cut(strings.TrimPrefix(f.need.resource, s3ARN), "/")
	if f.a.cfg.Objects == nil || !ok {
		return nil
	}
	version, _ := f.s3Key("versionid")
	tags, err := f.a.cfg.Objects.ObjectTags(f.ctx, bucket, key, strings.Join(version, ""))
	if err != nil {
		f.failed = err
	}
	return tags
}

// objectTags returns the tags that a request puts on an object: the header
// x-amz-tagging, or the body of PutObjectTagging.
func (f *facts) objectTags() map[string]string {
	if set := f.in.inner("Tagging").tags("TagSet"); set != nil {
		return set
	}
	values, err := url.ParseQuery(f.in.text("Tagging"))
	if err != nil {
		return nil
	}
	out := make(map[string]string, len(values))
	for k := range values {
		out[k] = values.Get(k)
	}
	return out
}

func tlsVersion(v uint16) string {
	// tls.VersionTLS10 is 0x0301, and each later one adds 1.
	if v < 0x0301 {
		return ""
	}
	return "1." + strconv.Itoa(int(v-0x0301))
}

// lambdaKey gives the lambda: keys.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
func (f *facts) lambdaKey(key string) ([]string, bool) {
	switch key {
	case "layer":
		layers := f.in.texts("Layers")
		return layers, len(layers) > 0
	case "principal":
		return one(f.in.text("Principal"))
	case "functionurlauthtype":
		if v := f.in.text("FunctionUrlAuthType"); v != "" {
			return one(v)
		}
		return one(f.in.text("AuthType"))
	case "functionarn":
		if name := f.in.text("FunctionName"); name != "" {
			return one(f.functionARN(name, ""))
		}
	case "codesigningconfigarn":
		return one(f.in.text("CodeSigningConfigArn"))
	case "eventsourcetoken":
		return one(f.in.text("EventSourceToken"))
	case "invokedviafunctionurl":
		return boolean(f.in.flag("InvokedViaFunctionUrl"))
	case "subnetids":
		ids := f.in.inner("VpcConfig").texts("SubnetIds")
		return ids, len(ids) > 0
	case "securitygroupids":
		ids := f.in.inner("VpcConfig").texts("SecurityGroupIds")
		return ids, len(ids) > 0
	}
	return nil, false
}

// iamKey gives the iam: keys.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
func (f *facts) iamKey(key string) ([]string, bool) {
	switch key {
	case "policyarn":
		return one(f.in.text("PolicyArn"))
	case "permissionsboundary":
		b := f.boundaryOf()
		return b, len(b) > 0
	case "awsservicename":
		return one(f.in.text("AWSServiceName"))
	}
	return nil, false
}

// stsKey gives the sts: keys.
func (f *facts) stsKey(key string) ([]string, bool) {
	switch key {
	case "externalid":
		return one(f.in.text("ExternalId"))
	case "rolesessionname":
		return one(f.in.text("RoleSessionName"))
	case "sourceidentity":
		return one(f.in.text("SourceIdentity"))
	case "transitivetagkeys":
		keys := f.in.texts("TransitiveTagKeys")
		return keys, len(keys) > 0
	}
	return nil, false
}
