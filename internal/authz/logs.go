package authz

import "strings"

// logsResource builds the ARNs of CloudWatch Logs. The resource of an action
// on a group is the group with an empty stream, which is why policies end in
// ":*"; tagging names the group itself.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
func (q *request) logsResource(typ string) ([]string, bool) {
	for _, m := range []string{"ResourceArn", "ResourceIdentifier"} {
		// The ARN in PutDeliverySource is of what delivers, not of the source.
		if v := q.in.text(m); strings.HasPrefix(v, "arn:") && typ != "logs:delivery-source" {
			return []string{v}, true
		}
	}
	if typ != "logs:log-group" && typ != "logs:log-stream" {
		return q.fill(typ)
	}
	var groups []string
	for _, m := range []string{"LogGroupName", "LogGroupIdentifier", "LogGroupArn", "LogGroupNames", "LogGroupIdentifiers", "LogGroupArnList"} {
		groups = append(groups, q.in.texts(m)...)
	}
	complete := len(groups) > 0
	if !complete {
		groups = []string{""}
	}
	var out []string
	for _, g := range groups {
		a := g
		if !strings.HasPrefix(g, "arn:") {
			a = "arn:aws:logs:" + q.call.Region + ":" + q.call.Account + ":log-group:" + g
		}
		a = strings.TrimSuffix(a, ":*") + ":log-stream:"
		if typ == "logs:log-stream" {
			a += q.in.text("LogStreamName")
		}
		out = append(out, a)
	}
	return out, complete
}

// createLogGroup also tags.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
func (q *request) createLogGroup() []need {
	out := q.named("logs:CreateLogGroup")
	if q.in.present("Tags") {
		group := strings.TrimSuffix(out[0].resource, ":log-stream:")
		out = append(out, need{action: "logs:TagResource", resource: group})
	}
	return out
}

// anyLogGroup is the resource of listing groups.
func (q *request) anyLogGroup() []need {
	return []need{{
		action:   "logs:" + q.operation,
		resource: "arn:aws:logs:" + q.call.Region + ":" + q.call.Account + ":log-group::log-stream:",
	}}
}
