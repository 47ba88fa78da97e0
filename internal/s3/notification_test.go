package s3

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"davy/api/s3api"
)

func TestPutBucketNotificationConfiguration_Refusals(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	const created, ambiguous, overlap = "s3:ObjectCreated:*",
		"Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are overlapping for the same event type.",
		"Configurations overlap. Configurations on the same bucket cannot share a common event type."
	for _, tc := range []struct {
		name          string
		in            *s3api.NotificationConfiguration
		code, message string
	}{
		{"one", notify(lambda("", testFunction, created)), "", ""},
		{"none", notify(), "", ""},
		{"other events", notify(lambda("a", testFunction, created), lambda("b", testFunction, "s3:ObjectRemoved:*")), "", ""},
		{"same event", notify(lambda("a", testFunction, created), lambda("b", testFunction, created)), "InvalidArgument", overlap},
		{"wildcard and one of it", notify(lambda("a", testFunction, created), lambda("b", testFunction, "s3:ObjectCreated:Put")), "InvalidArgument", overlap},
		{"other prefixes", notify(filtered(lambda("a", testFunction, created), "prefix", "a/"), filtered(lambda("b", testFunction, created), "prefix", "b/")), "", ""},
		{"prefix of a prefix", notify(filtered(lambda("a", testFunction, created), "prefix", "a/"), filtered(lambda("b", testFunction, created), "prefix", "a/b")), "InvalidArgument", ambiguous},
		{"prefix and none", notify(filtered(lambda("a", testFunction, created), "prefix", "a/"), lambda("b", testFunction, created)), "InvalidArgument", ambiguous},
		{"other suffixes", notify(filtered(lambda("a", testFunction, created), "prefix", "a", "suffix", ".jpg"), filtered(lambda("b", testFunction, created), "prefix", "a", "suffix", ".png")), "", ""},
		{"suffix of a suffix", notify(filtered(lambda("a", testFunction, created), "suffix", ".jpg"), filtered(lambda("b", testFunction, created), "suffix", "x.jpg")), "InvalidArgument", ambiguous},
		{"prefix against suffix", notify(filtered(lambda("a", testFunction, created), "prefix", "a"), filtered(lambda("b", testFunction, created), "suffix", "b")), "InvalidArgument", ambiguous},
		{"same prefix, written twice", notify(filtered(lambda("a", testFunction, created), "prefix", "a+b"), filtered(lambda("b", testFunction, created), "prefix", "a%20b")), "InvalidArgument", ambiguous},
		{"same id", notify(lambda("a", testFunction, created), lambda("a", testFunction, "s3:ObjectRemoved:*")), "InvalidArgument", "Same ID used for multiple configurations. IDs must be unique"},
		{"event", notify(lambda("", testFunction, "s3:ObjectCreated")), "InvalidArgument", "A specified event is not supported for notifications."},
		{"event without s3", notify(lambda("", testFunction, "ObjectCreated:*")), "InvalidArgument", "A specified event is not supported for notifications."},
		{"event that never comes", notify(lambda("", testFunction, "s3:Replication:*")), "NotImplemented", "Davy never sends events of the type s3:Replication:*."},
		{"no event", notify(lambda("", testFunction)), "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"},
		{"ARN", notify(lambda("", "resize", created)), "InvalidArgument", "The ARN is not well formed"},
		{"ARN of a queue", notify(lambda("", "arn:aws:sqs:us-east-1:111122223333:q", created)), "InvalidArgument", "The ARN is not well formed"},
		{"other region", notify(lambda("", "arn:aws:lambda:eu-west-1:111122223333:function:f", created)), "InvalidArgument", "The notification destination service region is not valid for the bucket location constraint"},
		{"rule name", notify(filtered(lambda("", testFunction, created), "infix", "a")), "InvalidArgument", "filter rule name must be either prefix or suffix"},
		{"rule twice", notify(filtered(lambda("", testFunction, created), "prefix", "a", "Prefix", "b")), "InvalidArgument", "Cannot specify more than one prefix rule in a filter."},
		{"long rule", notify(filtered(lambda("", testFunction, created), "prefix", strings.Repeat("a", 1025))), "InvalidArgument", "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation"},
		{"queue", &s3api.NotificationConfiguration{QueueConfigurations: []s3api.QueueConfiguration{{}}}, "NotImplemented", "QueueConfiguration is not implemented: only CloudFunctionConfiguration is."},
		{"topic", &s3api.NotificationConfiguration{TopicConfigurations: []s3api.TopicConfiguration{{}}}, "NotImplemented", "TopicConfiguration is not implemented: only CloudFunctionConfiguration is."},
		{"bridge", &s3api.NotificationConfiguration{EventBridgeConfiguration: &s3api.EventBridgeConfiguration{}}, "NotImplemented", "EventBridgeConfiguration is not implemented: only CloudFunctionConfiguration is."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := w.PutBucketNotificationConfiguration(w.ctx(), &s3api.PutBucketNotificationConfigurationRequest{Bucket: new("bkt"), NotificationConfiguration: tc.in})
			if e := wantCode(t, err, tc.code); e != nil && e.Message != tc.message {
				t.Errorf("message %q, want %q", e.Message, tc.message)
			}
		})
	}
}

func TestPutBucketNotificationConfiguration_ChecksDestinations(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	one, two := "arn:aws:lambda:us-east-1:111122223333:function:forbidden1", "arn:aws:lambda:us-east-1:111122223333:function:forbidden2"
	in := &s3api.PutBucketNotificationConfigurationRequest{Bucket: new("bkt"), NotificationConfiguration: notify(
		lambda("a", one, "s3:ObjectCreated:*"), lambda("b", testFunction, "s3:ObjectRemoved:Delete"), lambda("c", two, "s3:ObjectRemoved:DeleteMarkerCreated"))}
	_, err := w.PutBucketNotificationConfiguration(w.ctx(), in)
	e := wantCode(t, err, "InvalidArgument")
	if e.Status != 400 || e.Message != "Unable to validate the following destination configurations" {
		t.Errorf("%+v", e)
	}
	for i, f := range []string{one, two} {
		if e.Fields[fmt.Sprintf("ArgumentName%d", i+1)] != f+", null" || e.Fields[fmt.Sprintf("ArgumentValue%d", i+1)] != "Not authorized to invoke function ["+f+"]" {
			t.Errorf("members %v", e.Fields)
		}
	}
	w.put("bkt", "k", "x")
	if got := w.events(); len(got) != 0 {
		t.Error("a refused configuration is in force")
	}
	in.SkipDestinationValidation = new(true)
	if _, err := w.PutBucketNotificationConfiguration(w.ctx(), in); err != nil {
		t.Fatal(err)
	}
}

func TestGetBucketNotificationConfiguration(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	in := notify(
		filtered(lambda("mine", testFunction, "s3:ObjectCreated:Put", "s3:ObjectCreated:Copy"), "prefix", "in/", "suffix", ".jpg"),
		lambda("", testFunction+":live", "s3:ObjectRemoved:*"),
	)
	if _, err := w.PutBucketNotificationConfiguration(w.ctx(), &s3api.PutBucketNotificationConfigurationRequest{Bucket: new("bkt"), NotificationConfiguration: in}); err != nil {
		t.Fatal(err)
	}
	out, err := w.GetBucketNotificationConfiguration(w.ctx(), &s3api.GetBucketNotificationConfigurationRequest{Bucket: new("bkt")})
	if err != nil || len(out.LambdaFunctionConfigurations) != 2 {
		t.Fatal(out, err)
	}
	a, b := out.LambdaFunctionConfigurations[0], out.LambdaFunctionConfigurations[1]
	if *a.Id != "mine" || *a.LambdaFunctionArn != testFunction || !slices.Equal(a.Events, []s3api.Event{"s3:ObjectCreated:Put", "s3:ObjectCreated:Copy"}) {
		t.Errorf("%+v", a)
	}
	if rules := a.Filter.Key.FilterRules; len(rules) != 2 || *rules[0].Name != "Prefix" || *rules[0].Value != "in/" || *rules[1].Name != "Suffix" || *rules[1].Value != ".jpg" {
		t.Errorf("%+v", rules)
	}
	if *b.Id == "" || *b.LambdaFunctionArn != testFunction+":live" || b.Filter != nil {
		t.Errorf("%+v", b)
	}
	again, err := w.GetBucketNotificationConfiguration(w.ctx(), &s3api.GetBucketNotificationConfigurationRequest{Bucket: new("bkt")})
	if err != nil || *again.LambdaFunctionConfigurations[1].Id != *b.Id {
		t.Error("a generated id must stay")
	}
}
