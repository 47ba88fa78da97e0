package authz

import (
	"strings"

	"davy/internal/policy"
)

// action is an entry of the generated table.
type action struct {
	required []string // resource types that are always checked
	optional []string // resource types of which the request names one
	keys     []string // condition keys of the service, lower case; a family ends in /
}

// aliases names the action of operations that are called otherwise.
var aliases = map[string]string{
	"lambda:Invoke":                   "lambda:InvokeFunction",
	"lambda:InvokeAsync":              "lambda:InvokeFunction",
	"lambda:InvokeWithResponseStream": "lambda:InvokeFunction",
	"lambda:GetLayerVersionByArn":     "lambda:GetLayerVersion",

	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
	"s3:ListBuckets":                                 "s3:ListAllMyBuckets",
	"s3:HeadBucket":                                  "s3:ListBucket",
	"s3:ListObjects":                                 "s3:ListBucket",
	"s3:ListObjectsV2":                               "s3:ListBucket",
	"s3:ListObjectVersions":                          "s3:ListBucketVersions",
	"s3:ListMultipartUploads":                        "s3:ListBucketMultipartUploads",
	"s3:ListParts":                                   "s3:ListMultipartUploadParts",
	"s3:UploadPart":                                  "s3:PutObject",
	"s3:CompleteMultipartUpload":                     "s3:PutObject",
	"s3:SelectObjectContent":                         "s3:GetObject",
	"s3:DeleteBucketCors":                            "s3:PutBucketCORS",
	"s3:GetBucketCors":                               "s3:GetBucketCORS",
	"s3:PutBucketCors":                               "s3:PutBucketCORS",
	"s3:GetBucketEncryption":                         "s3:GetEncryptionConfiguration",
	"s3:PutBucketEncryption":                         "s3:PutEncryptionConfiguration",
	"s3:DeleteBucketEncryption":                      "s3:PutEncryptionConfiguration",
	"s3:GetBucketLifecycle":                          "s3:GetLifecycleConfiguration",
	"s3:GetBucketLifecycleConfiguration":             "s3:GetLifecycleConfiguration",
	"s3:PutBucketLifecycle":                          "s3:PutLifecycleConfiguration",
	"s3:PutBucketLifecycleConfiguration":             "s3:PutLifecycleConfiguration",
	"s3:DeleteBucketLifecycle":                       "s3:PutLifecycleConfiguration",
	"s3:GetBucketNotificationConfiguration":          "s3:GetBucketNotification",
	"s3:PutBucketNotificationConfiguration":          "s3:PutBucketNotification",
	"s3:GetBucketReplication":                        "s3:GetReplicationConfiguration",
	"s3:PutBucketReplication":                        "s3:PutReplicationConfiguration",
	"s3:DeleteBucketReplication":                     "s3:PutReplicationConfiguration",
	"s3:DeleteBucketTagging":                         "s3:PutBucketTagging",
	"s3:GetBucketAccelerateConfiguration":            "s3:GetAccelerateConfiguration",
	"s3:PutBucketAccelerateConfiguration":            "s3:PutAccelerateConfiguration",
	"s3:GetBucketAnalyticsConfiguration":             "s3:GetAnalyticsConfiguration",
	"s3:ListBucketAnalyticsConfigurations":           "s3:GetAnalyticsConfiguration",
	"s3:PutBucketAnalyticsConfiguration":             "s3:PutAnalyticsConfiguration",
	"s3:DeleteBucketAnalyticsConfiguration":          "s3:PutAnalyticsConfiguration",
	"s3:GetBucketIntelligentTieringConfiguration":    "s3:GetIntelligentTieringConfiguration",
	"s3:ListBucketIntelligentTieringConfigurations":  "s3:GetIntelligentTieringConfiguration",
	"s3:PutBucketIntelligentTieringConfiguration":    "s3:PutIntelligentTieringConfiguration",
	"s3:DeleteBucketIntelligentTieringConfiguration": "s3:PutIntelligentTieringConfiguration",
	"s3:GetBucketInventoryConfiguration":             "s3:GetInventoryConfiguration",
	"s3:ListBucketInventoryConfigurations":           "s3:GetInventoryConfiguration",
	"s3:PutBucketInventoryConfiguration":             "s3:PutInventoryConfiguration",
	"s3:DeleteBucketInventoryConfiguration":          "s3:PutInventoryConfiguration",
	"s3:GetBucketMetricsConfiguration":               "s3:GetMetricsConfiguration",
	"s3:ListBucketMetricsConfigurations":             "s3:GetMetricsConfiguration",
	"s3:PutBucketMetricsConfiguration":               "s3:PutMetricsConfiguration",
	"s3:DeleteBucketMetricsConfiguration":            "s3:PutMetricsConfiguration",
	"s3:DeleteBucketOwnershipControls":               "s3:PutBucketOwnershipControls",
	"s3:GetPublicAccessBlock":                        "s3:GetBucketPublicAccessBlock",
	"s3:PutPublicAccessBlock":                        "s3:PutBucketPublicAccessBlock",
	"s3:DeletePublicAccessBlock":                     "s3:PutBucketPublicAccessBlock",
	"s3:GetObjectLockConfiguration":                  "s3:GetBucketObjectLockConfiguration",
	"s3:PutObjectLockConfiguration":                  "s3:PutBucketObjectLockConfiguration",
	"s3:CreateBucketMetadataConfiguration":           "s3:CreateBucketMetadataTableConfiguration",
	"s3:GetBucketMetadataConfiguration":              "s3:GetBucketMetadataTableConfiguration",
	"s3:DeleteBucketMetadataConfiguration":           "s3:DeleteBucketMetadataTableConfiguration",

	"logs:GetLogObject": "logs:GetLogRecord",
}

// versioned names the action that replaces another when the request names a
// version of the object.
var versioned = map[string]string{
	"s3:GetObject":           "s3:GetObjectVersion",
	"s3:GetObjectAcl":        "s3:GetObjectVersionAcl",
	"s3:PutObjectAcl":        "s3:PutObjectVersionAcl",
	"s3:GetObjectTagging":    "s3:GetObjectVersionTagging",
	"s3:PutObjectTagging":    "s3:PutObjectVersionTagging",
	"s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
	"s3:GetObjectTorrent":    "s3:GetObjectVersionTorrent",
	"s3:DeleteObject":        "s3:DeleteObjectVersion",
}

// special computes the needs of operations that ask for more, or for other
// things, than the action of their name.
var special = map[string]func(*request) []need{
	"lambda:CreateFunction":              (*request).createFunction,
	"lambda:UpdateFunctionCode":          (*request).updateFunctionCode,
	"lambda:UpdateFunctionConfiguration": (*request).updateFunctionConfiguration,
	"lambda:PublishLayerVersion":         (*request).publishLayerVersion,
	"lambda:ListLayerVersions":           (*request).listLayerVersions,
	"lambda:CreateEventSourceMapping":    (*request).createEventSourceMapping,
	"lambda:CreateCodeSigningConfig":     (*request).withTagResource,

	"s3:PutObject":             (*request).putObject,
	"s3:CreateMultipartUpload": (*request).putObject,
	"s3:CopyObject":            (*request).copyObject,
	"s3:UploadPartCopy":        (*request).copyObject,
	"s3:HeadObject":            (*request).headObject,
	"s3:GetObjectAttributes":   (*request).getObjectAttributes,
	"s3:DeleteObject":          (*request).deleteObject,
	"s3:DeleteObjects":         (*request).deleteObjects,
	"s3:CreateBucket":          (*request).createBucket,

	"iam:AddRoleToInstanceProfile":    (*request).addRoleToInstanceProfile,
	"iam:CreateUser":                  tagged("iam:TagUser"),
	"iam:CreateRole":                  tagged("iam:TagRole"),
	"iam:CreatePolicy":                tagged("iam:TagPolicy"),
	"iam:CreateInstanceProfile":       tagged("iam:TagInstanceProfile"),
	"iam:CreateOpenIDConnectProvider": tagged("iam:TagOpenIDConnectProvider"),
	"iam:CreateSAMLProvider":          tagged("iam:TagSAMLProvider"),
	"iam:CreateVirtualMFADevice":      tagged("iam:TagMFADevice"),
	"iam:UploadServerCertificate":     tagged("iam:TagServerCertificate"),

	"iam:UpdateUser":              rename("user", "NewUserName"),
	"iam:UpdateGroup":             rename("group", "NewGroupName"),
	"iam:UpdateServerCertificate": rename("server-certificate", "NewServerCertificateName"),

	"sts:AssumeRole": (*request).assumeRole,

	"logs:CreateLogGroup":    (*request).createLogGroup,
	"logs:DescribeLogGroups": (*request).anyLogGroup,
	"logs:ListLogGroups":     (*request).anyLogGroup,
}

// needs returns the permissions that the operation asks for; false for an
// operation that is not known.
func (q *request) needs() ([]need, bool) {
	op := q.service + ":" + q.operation
	if f, ok := special[op]; ok {
		return f(q), true
	}
	name := actionOf(op)
	if name == "" {
		return nil, false
	}
	if v, ok := versioned[name]; ok && q.in.text("VersionId") != "" {
		name = v
	}
	return q.named(name), true
}

// actionOf returns the action of an operation with a plain entry; empty for an
// unknown operation.
func actionOf(op string) string {
	if name, ok := aliases[op]; ok {
		return name
	}
	if _, ok := actions[op]; ok {
		return op
	}
	return ""
}

// covered reports whether an operation has an entry at all.
func covered(op string) bool {
	_, ok := special[op]
	_, free := noPermission[op]
	return ok || free || actionOf(op) != ""
}

// named returns the needs of one action on the resources that the input names.
func (q *request) named(name string) []need {
	var out []need
	for _, r := range q.resources(name) {
		out = append(out, need{action: name, resource: r.arn, shown: r.shown})
	}
	return out
}

// own returns the needs of the action of the operation's own name.
func (q *request) own() []need { return q.named(actionOf(q.service + ":" + q.operation)) }

// tagged adds the permission to tag when a create request brings tags.
func tagged(tagAction string) func(*request) []need {
	return func(q *request) []need {
		out := q.own()
		if q.in.present("Tags") {
			for _, n := range out {
				n.action = tagAction
				out = append(out, n)
			}
		}
		return out
	}
}

// passRole is the permission to hand a role to a service.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
func passRole(roleARN, service, associated string) need {
	n := need{
		action:   "iam:PassRole",
		resource: roleARN,
		values:   policy.Values{"iam:passedtoservice": {service}},
	}
	if associated != "" {
		n.values["iam:associatedresourcearn"] = []string{associated}
	}
	return n
}

// resource is what an action works on.
type resource struct {
	arn   string
	shown string // in messages, where it differs
}

// resources returns the resources of an action that the input names: one for
// each required type, else the first optional type that the request fills.
func (q *request) resources(name string) []resource {
	a := actions[name]
	service, _, _ := strings.Cut(name, ":")
	build := q.fill
	switch service {
	case "iam":
		return q.iamResources(a)
	case "logs":
		build = q.logsResource
	case "lambda":
		if direct := q.in.text("Resource"); direct != "" {
			return []resource{{arn: direct}}
		}
		if direct := q.in.text("ResourceArn"); direct != "" {
			return []resource{{arn: direct}}
		}
		build = q.lambdaResource
	case "s3":
		build = q.s3Resource
	case "sts":
		if role := q.in.text("RoleArn"); role != "" {
			return []resource{{arn: role}}
		}
	}
	var out []resource
	for _, typ := range a.required {
		names, _ := build(service + ":" + typ)
		for _, r := range names {
			out = append(out, resource{arn: r})
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, typ := range a.optional {
		names, complete := build(service + ":" + typ)
		if !complete {
			continue
		}
		for _, r := range names {
			out = append(out, resource{arn: r})
		}
		return out
	}
	return []resource{{arn: "*"}}
}

// fill completes a type's ARN pattern from the members of the input that bear
// the placeholders' names. A placeholder without a value becomes *, which only
// a policy on * or on a pattern that wide allows, and complete is false.
func (q *request) fill(typ string) (names []string, complete bool) {
	pattern := resourceARNs[typ]
	out := ""
	complete = true
	for {
		before, rest, ok := strings.Cut(pattern, "${")
		out += before
		if !ok {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		value := ""
		switch name {
		case "Region":
			value = q.call.Region
		case "Account":
			value = q.call.Account
		default:
			for _, member := range members(name) {
				if value = q.in.text(member); value != "" {
					break
				}
			}
		}
		if strings.HasPrefix(value, "arn:") {
			return []string{value}, true // the input names the resource whole
		}
		if value == "" {
			value, complete = "*", false
		}
		out += value
		pattern = after
	}
	return []string{out}, complete
}

// members lists the input members that can give a placeholder's value.
func members(placeholder string) []string {
	if m, ok := placeholders[placeholder]; ok {
		return m
	}
	return []string{placeholder}
}

var placeholders = map[string][]string{
	"CodeSigningConfigId":     {"CodeSigningConfigArn"},
	"LayerName":               {"LayerName", "Arn"},
	"LayerVersion":            {"VersionNumber"},
	"ExecutionName":           {"DurableExecutionArn"},
	"MicrovmImageName":        {"ImageIdentifier", "MicrovmImageName", "ImageName", "Name"},
	"NetworkConnectorId":      {"NetworkConnectorId", "Identifier", "Name"},
	"FederatedUserName":       {"Name"},
	"DeliveryName":            {"Id"},
	"DeliveryDestinationName": {"DeliveryDestinationArn", "DeliveryDestinationName", "Name"},
	"DeliverySourceName":      {"DeliverySourceName", "Name"},
	"DestinationName":         {"DestinationName"},
	"DetectorId":              {"AnomalyDetectorArn"},
	"LookupTableName":         {"LookupTableArn", "LookupTableName", "Name"},
	"ScheduledQueryId":        {"ScheduledQueryArn", "Identifier", "Name"},
}
