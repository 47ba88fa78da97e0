package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"davy/api/s3api"
	"davy/internal/arn"
	"davy/internal/awsapi"
)

// notification tells which events go to which function.
type notification struct {
	ID       string   `json:"id"`
	Function string   `json:"function"` // ARN, possibly with a qualifier
	Events   []string `json:"events"`   // s3:ObjectCreated:*
	Filter   bool     `json:"filter,omitempty"`
	Prefix   *string  `json:"prefix,omitempty"` // as configured; see decoded
	Suffix   *string  `json:"suffix,omitempty"`
}

const maxNotifications = 100

// liveEvents are the events that happen here; futureEvents are AWS's others,
// which would never be sent.
var (
	liveEvents = []string{eventPut, eventPost, eventCopy, eventComplete, eventDelete, eventDeleteMarker, eventTaggingPut, eventTaggingDelete}
	wildcards  = []string{"ObjectCreated:*", "ObjectRemoved:*", "ObjectTagging:*"}

	futureEvents = []string{
		"ReducedRedundancyLostObject", "ObjectRestore:*", "ObjectRestore:Post", "ObjectRestore:Completed", "ObjectRestore:Delete",
		"Replication:*", "Replication:OperationFailedReplication", "Replication:OperationNotTracked",
		"Replication:OperationMissedThreshold", "Replication:OperationReplicatedAfterThreshold",
		"LifecycleTransition", "LifecycleExpiration:*", "LifecycleExpiration:Delete", "LifecycleExpiration:DeleteMarkerCreated",
		"IntelligentTiering", "ObjectAcl:Put",
	}
)

// decoded is a filter value as it is compared with keys. AWS wants special
// characters in it URL-encoded, a space as a plus sign.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html
func decoded(value *string) string {
	if value == nil {
		return ""
	}
	if v, err := url.QueryUnescape(*value); err == nil {
		return v
	}
	return *value
}

func (n *notification) matches(event, key string) bool {
	for _, e := range n.Events {
		if covers(e, event) {
			return strings.HasPrefix(key, decoded(n.Prefix)) && strings.HasSuffix(key, decoded(n.Suffix))
		}
	}
	return false
}

// covers tells whether a configured event type includes an event.
func covers(configured, event string) bool {
	configured = strings.TrimPrefix(configured, "s3:")
	if group, wild := strings.CutSuffix(configured, "*"); wild {
		return strings.HasPrefix(event, group)
	}
	return configured == event
}

// overlap tells whether one object could match both for the same event.
func (n *notification) overlap(o *notification) bool {
	shared := false
	for _, e := range liveEvents {
		shared = shared || n.has(e) && o.has(e)
	}
	if !shared {
		return false
	}
	p, q := decoded(n.Prefix), decoded(o.Prefix)
	s, t := decoded(n.Suffix), decoded(o.Suffix)
	return (strings.HasPrefix(p, q) || strings.HasPrefix(q, p)) && (strings.HasSuffix(s, t) || strings.HasSuffix(t, s))
}

func (n *notification) has(event string) bool {
	for _, e := range n.Events {
		if covers(e, event) {
			return true
		}
	}
	return false
}

func notificationFault(message string) error {
	return fault(http.StatusBadRequest, "InvalidArgument", message)
}

// newNotification checks one configuration by itself.
func newNotification(in s3api.LambdaFunctionConfiguration, region string) (notification, error) {
	n := notification{ID: awsapi.Val(in.Id), Function: awsapi.Val(in.LambdaFunctionArn)}
	if n.ID == "" {
		n.ID = newID()
	}
	if len(n.ID) > 255 {
		return n, notificationFault("ID cannot be longer than 255 characters")
	}
	if len(in.Events) == 0 {
		return n, errMalformedXML()
	}
	for _, e := range in.Events {
		if err := checkEvent(string(e)); err != nil {
			return n, err
		}
		n.Events = append(n.Events, string(e))
	}
	a, err := arn.Parse(n.Function)
	if err != nil || a.Service != "lambda" || !strings.HasPrefix(a.Resource, "function:") {
		return n, errInvalidArgument("CloudFunction", n.Function, "The ARN is not well formed")
	}
	if a.Region != region {
		return n, errInvalidArgument("CloudFunction", n.Function,
			"The notification destination service region is not valid for the bucket location constraint")
	}
	return n, n.filter(in.Filter)
}

func checkEvent(name string) error {
	bare, found := strings.CutPrefix(name, "s3:")
	for _, e := range liveEvents {
		if found && e == bare {
			return nil
		}
	}
	for _, e := range wildcards {
		if found && e == bare {
			return nil
		}
	}
	for _, e := range futureEvents {
		if found && e == bare {
			return fault(http.StatusNotImplemented, "NotImplemented", "Davy never sends events of the type "+name+".", "ArgumentName", "Event", "ArgumentValue", name)
		}
	}
	return errInvalidArgument("Event", name, "A specified event is not supported for notifications.")
}

func (n *notification) filter(f *s3api.NotificationConfigurationFilter) error {
	if f == nil {
		return nil
	}
	n.Filter = true
	if f.Key == nil {
		return nil
	}
	for _, r := range f.Key.FilterRules {
		value := awsapi.Val(r.Value)
		if len(value) > maxKeyLength {
			return errInvalidArgument("FilterRule.Value", "", "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation")
		}
		var slot **string
		name := strings.ToLower(string(awsapi.Val(r.Name)))
		switch name {
		case "prefix":
			slot = &n.Prefix
		case "suffix":
			slot = &n.Suffix
		default:
			return errInvalidArgument("FilterRule.Name", string(awsapi.Val(r.Name)), "filter rule name must be either prefix or suffix")
		}
		if *slot != nil {
			return errInvalidArgument("FilterRule.Name", name, "Cannot specify more than one "+name+" rule in a filter.")
		}
		*slot = &value
	}
	return nil
}

// checkTogether checks configurations against each other.
func checkTogether(all []notification) error {
	if len(all) > maxNotifications {
		return notificationFault(fmt.Sprintf("A bucket can have at most %d notification configurations.", maxNotifications))
	}
	ids := map[string]bool{}
	for i := range all {
		if ids[all[i].ID] {
			return notificationFault("Same ID used for multiple configurations. IDs must be unique")
		}
		ids[all[i].ID] = true
		for j := range i {
			a, b := &all[i], &all[j]
			if !a.overlap(b) {
				continue
			}
			if decoded(a.Prefix)+decoded(a.Suffix)+decoded(b.Prefix)+decoded(b.Suffix) == "" {
				return notificationFault("Configurations overlap. Configurations on the same bucket cannot share a common event type.")
			}
			return notificationFault("Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are overlapping for the same event type.")
		}
	}
	return nil
}

// PutBucketNotificationConfiguration replaces the bucket's notifications. The
// functions must exist and let S3 call them.
func (s *Service) PutBucketNotificationConfiguration(ctx context.Context, in *s3api.PutBucketNotificationConfigurationRequest) (*s3api.PutBucketNotificationConfigurationOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	conf := in.NotificationConfiguration
	if conf == nil {
		return nil, errMalformedXML()
	}
	for _, other := range []struct {
		kind    string
		present bool
	}{
		{"QueueConfiguration", len(conf.QueueConfigurations) > 0},
		{"TopicConfiguration", len(conf.TopicConfigurations) > 0},
		{"EventBridgeConfiguration", conf.EventBridgeConfiguration != nil},
	} {
		if other.present {
			return nil, fault(http.StatusNotImplemented, "NotImplemented", other.kind+" is not implemented: only CloudFunctionConfiguration is.")
		}
	}
	all := make([]notification, 0, len(conf.LambdaFunctionConfigurations))
	for _, l := range conf.LambdaFunctionConfigurations {
		n, err := newNotification(l, b.Region)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	if err := checkTogether(all); err != nil {
		return nil, err
	}
	if err := s.checkDestinations(ctx, b, all, awsapi.Val(in.SkipDestinationValidation)); err != nil {
		return nil, err
	}
	return nil, s.setting(ctx, in.Bucket, in.ExpectedBucketOwner, func(now *bucket) error {
		if now.ID != b.ID {
			return errNoSuchBucket(b.Name)
		}
		now.Notify = all
		return nil
	})
}

// checkDestinations answers all the destinations that can't be used at once.
func (s *Service) checkDestinations(ctx context.Context, b *bucket, all []notification, skip bool) error {
	if len(all) == 0 {
		return nil
	}
	if s.events == nil || s.dests == nil {
		return fault(http.StatusNotImplemented, "NotImplemented", "This server has no functions to notify.")
	}
	if skip {
		return nil
	}
	var members []string
	for _, n := range all {
		err := s.dests.CheckFunction(ctx, n.Function, b.arn(), b.Owner)
		if err != nil && !errors.Is(err, ErrDestination) {
			return fmt.Errorf("s3: check destination %s: %w", n.Function, err)
		}
		if err != nil {
			i := len(members)/4 + 1
			members = append(members,
				fmt.Sprintf("ArgumentName%d", i), n.Function+", null",
				fmt.Sprintf("ArgumentValue%d", i), "Not authorized to invoke function ["+n.Function+"]")
		}
	}
	if members == nil {
		return nil
	}
	return fault(http.StatusBadRequest, "InvalidArgument", "Unable to validate the following destination configurations", members...)
}

// GetBucketNotificationConfiguration returns the notifications as they were
// put, with their ids.
func (s *Service) GetBucketNotificationConfiguration(ctx context.Context, in *s3api.GetBucketNotificationConfigurationRequest) (*s3api.NotificationConfiguration, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	out := &s3api.NotificationConfiguration{}
	for _, n := range b.Notify {
		l := s3api.LambdaFunctionConfiguration{Id: new(n.ID), LambdaFunctionArn: new(n.Function)}
		for _, e := range n.Events {
			l.Events = append(l.Events, s3api.Event(e))
		}
		if n.Filter {
			key := &s3api.S3KeyFilter{}
			for _, r := range []struct {
				name  s3api.FilterRuleName
				value *string
			}{{"Prefix", n.Prefix}, {"Suffix", n.Suffix}} {
				if r.value != nil {
					key.FilterRules = append(key.FilterRules, s3api.FilterRule{Name: new(r.name), Value: r.value})
				}
			}
			l.Filter = &s3api.NotificationConfigurationFilter{Key: key}
		}
		out.LambdaFunctionConfigurations = append(out.LambdaFunctionConfigurations, l)
	}
	return out, nil
}
