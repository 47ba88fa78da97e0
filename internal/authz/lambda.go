package authz

import (
	"strings"

	"davy/internal/arn"
	"davy/internal/policy"
)

const lambdaService = "lambda.amazonaws.com"

// lambdaResource builds the ARNs of Lambda's types. A function may be named by
// its name, ACCOUNT:function:NAME or its ARN, each with a qualifier.
func (q *request) lambdaResource(typ string) ([]string, bool) {
	switch typ {
	case "lambda:function":
		name := q.in.text("FunctionName")
		if name == "" {
			return q.fill(typ)
		}
		return []string{q.functionARN(name, q.in.text("Qualifier"))}, true
	case "lambda:function alias", "lambda:function version":
		// Alias or version: both have the form NAME:QUALIFIER, once.
		if name := q.in.text("FunctionName"); name != "" && typ == "lambda:function alias" {
			return []string{q.functionARN(name, q.in.text("Qualifier"))}, true
		}
		return nil, false
	case "lambda:layer", "lambda:layerversion":
		name := q.in.text("LayerName")
		if !strings.HasPrefix(name, "arn:") || typ == "lambda:layer" {
			return q.fill(typ)
		}
		// The layer's ARN, and the version's number beside it.
		return []string{name + ":" + q.in.text("VersionNumber")}, true
	case "lambda:code signing config":
		// Named only when the request sets one.
		if q.in.text("CodeSigningConfigArn") == "" {
			return nil, false
		}
	case "lambda:durable execution":
		if a := q.in.text("DurableExecutionArn"); a != "" {
			return []string{a}, true
		}
	}
	return q.fill(typ)
}

// functionARN returns the ARN that a FunctionName and a Qualifier mean.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
func (q *request) functionARN(name, qualifier string) string {
	full := name
	switch {
	case strings.HasPrefix(name, "arn:"):
	case strings.Contains(name, ":function:"):
		account, rest, _ := strings.Cut(name, ":function:")
		full = arn.New("lambda", q.call.Region, account, "function:"+rest).String()
	default:
		full = arn.New("lambda", q.call.Region, q.call.Account, "function:"+name).String()
	}
	if qualifier != "" && strings.Count(full, ":") == 6 {
		full += ":" + qualifier
	}
	return full
}

// createFunction passes a role, reads code and layers.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
func (q *request) createFunction() []need {
	out := q.named("lambda:CreateFunction")
	function := out[0].resource
	if q.in.present("Tags") {
		out = append(out, need{action: "lambda:TagResource", resource: function})
	}
	if role := q.in.text("Role"); role != "" {
		out = append(out, passRole(role, lambdaService, function))
	}
	return append(append(out, codeObject(q.in.inner("Code"))...), q.layers()...)
}

func (q *request) updateFunctionCode() []need {
	return append(q.named("lambda:UpdateFunctionCode"), codeObject(q.in)...)
}

func (q *request) updateFunctionConfiguration() []need {
	out := q.named("lambda:UpdateFunctionConfiguration")
	if role := q.in.text("Role"); role != "" {
		out = append(out, passRole(role, lambdaService, out[0].resource))
	}
	return append(out, q.layers()...)
}

func (q *request) publishLayerVersion() []need {
	return append(q.named("lambda:PublishLayerVersion"), codeObject(q.in.inner("Content"))...)
}

// codeObject is the permission to read the object that holds code.
func codeObject(code input) []need {
	bucket, key := code.text("S3Bucket"), code.text("S3Key")
	if bucket == "" {
		return nil
	}
	n := need{action: "s3:GetObject", resource: s3ARN + bucket + "/" + key, refuse: refusedByS3(bucket, key)}
	if code.text("S3ObjectVersion") != "" {
		n.action = "s3:GetObjectVersion"
	}
	return []need{n}
}

// listLayerVersions asks for the layer. The published table knows no resource
// of this action; AWS names the layer in its refusals and lets policies name it.
// A layer of another account is refused: its policies are those of its versions.
func (q *request) listLayerVersions() []need {
	names, _ := q.lambdaResource("lambda:layer")
	return []need{{action: "lambda:ListLayerVersions", resource: names[0]}}
}

func (q *request) layers() []need {
	var out []need
	for _, l := range q.in.texts("Layers") {
		out = append(out, need{action: "lambda:GetLayerVersion", resource: l})
	}
	return out
}

// createEventSourceMapping has no resource; the function is a condition key.
func (q *request) createEventSourceMapping() []need {
	out := []need{{
		action: "lambda:CreateEventSourceMapping", resource: "*",
		values: policy.Values{"lambda:functionarn": {q.functionARN(q.in.text("FunctionName"), "")}},
	}}
	return append(out, q.tagsAnything()...)
}

func (q *request) withTagResource() []need { return append(q.own(), q.tagsAnything()...) }

// tagsAnything is the permission to tag what has no name yet.
func (q *request) tagsAnything() []need {
	if !q.in.present("Tags") {
		return nil
	}
	return []need{{action: "lambda:TagResource", resource: "*"}}
}
