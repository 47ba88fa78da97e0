package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"davy/internal/awsapi"
)

// Names of events, as the record spells them; a configuration has s3: before.
const (
	eventPut           = "ObjectCreated:Put"
	eventPost          = "ObjectCreated:Post"
	eventCopy          = "ObjectCreated:Copy"
	eventComplete      = "ObjectCreated:CompleteMultipartUpload"
	eventDelete        = "ObjectRemoved:Delete"
	eventDeleteMarker  = "ObjectRemoved:DeleteMarkerCreated"
	eventTaggingPut    = "ObjectTagging:Put"
	eventTaggingDelete = "ObjectTagging:Delete"
)

// eventRecord is one event, its members in AWS's order.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
type eventRecord struct {
	EventVersion      string        `json:"eventVersion"`
	EventSource       string        `json:"eventSource"`
	AWSRegion         string        `json:"awsRegion"`
	EventTime         string        `json:"eventTime"`
	EventName         string        `json:"eventName"`
	UserIdentity      eventIdentity `json:"userIdentity"`
	RequestParameters eventRequest  `json:"requestParameters"`
	ResponseElements  eventResponse `json:"responseElements"`
	S3                eventEntity   `json:"s3"`
}

type eventIdentity struct {
	PrincipalID string `json:"principalId"`
}

type eventRequest struct {
	SourceIPAddress string `json:"sourceIPAddress"`
}

type eventResponse struct {
	RequestID string `json:"x-amz-request-id"`
	HostID    string `json:"x-amz-id-2"`
}

type eventEntity struct {
	SchemaVersion   string      `json:"s3SchemaVersion"`
	ConfigurationID string      `json:"configurationId"`
	Bucket          eventBucket `json:"bucket"`
	Object          eventObject `json:"object"`
}

type eventBucket struct {
	Name          string        `json:"name"`
	OwnerIdentity eventIdentity `json:"ownerIdentity"`
	ARN           string        `json:"arn"`
}

type eventObject struct {
	Key       string `json:"key"` // as a form value: a space is a plus sign
	Size      *int64 `json:"size,omitempty"`
	ETag      string `json:"eTag,omitempty"` // without quotes
	VersionID string `json:"versionId,omitempty"`
	Sequencer string `json:"sequencer,omitempty"`
}

// The structure's versions: 2.1, and 2.3 for events about tags. A consumer asks
// for a minor version of at least what it needs, so a record claims no more
// than the members that it has.
const (
	eventVersion        = "2.1"
	taggingEventVersion = "2.3"
)

// emptyETag is the ETag that a delete marker's event carries.
const emptyETag = "d41d8cd98f00b204e9800998ecf8427e"

// emit adds to the change the messages that tell of v.
func (c *change) emit(ctx context.Context, name string, v *version) error {
	for i := range c.bucket.Notify {
		n := &c.bucket.Notify[i]
		if !n.matches(name, c.key) || c.s.events == nil {
			continue
		}
		m, ok, err := c.s.events.Message(ctx, n.Function, c.bucket.arn(), c.bucket.Owner, c.event(name, n.ID, v))
		if err != nil {
			return fmt.Errorf("s3: address event to %s: %w", n.Function, err)
		}
		if !ok {
			c.s.log.WarnContext(ctx, "event dropped: function not invocable", "function", n.Function, "bucket", c.bucket.Name)
			continue
		}
		c.batch.Send = append(c.batch.Send, m)
	}
	return nil
}

// event is the JSON of one record.
func (c *change) event(name, configuration string, v *version) []byte {
	o := eventObject{Key: formEncode(c.key), Sequencer: fmt.Sprintf("%018X", v.Seq)}
	if c.bucket.Versioning != "" {
		o.VersionID = v.wireID()
	}
	schema := eventVersion
	switch name {
	case eventDelete: // AWS names only the object
	case eventTaggingPut, eventTaggingDelete: // not an order of writes
		o.ETag, o.Sequencer, schema = v.ETag, "", taggingEventVersion
	case eventDeleteMarker:
		o.ETag = emptyETag
	default:
		o.Size, o.ETag = &v.Size, v.ETag
	}
	principal := "Anonymous"
	if id := c.call.Principal.UserID; id != "" {
		principal = "AWS:" + id
	}
	record := eventRecord{
		EventVersion: schema, EventSource: "aws:s3", AWSRegion: c.bucket.Region,
		EventTime: time.Unix(0, int64(v.Seq)).UTC().Format("2006-01-02T15:04:05.000Z"), EventName: name,
		UserIdentity:      eventIdentity{principal},
		RequestParameters: eventRequest{c.call.SourceIP},
		ResponseElements:  eventResponse{c.call.RequestID, hostID(c.call)},
		S3: eventEntity{
			SchemaVersion: "1.0", ConfigurationID: configuration,
			Bucket: eventBucket{c.bucket.Name, eventIdentity{customerID(c.bucket.Owner)}, c.bucket.arn()},
			Object: o,
		},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(map[string][]eventRecord{"Records": {record}}); err != nil {
		panic(fmt.Sprintf("s3: encoding event: %v", err)) // only strings and numbers: cannot happen
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// hostID is x-amz-id-2: what the response carries, or a value of its form.
func hostID(call *awsapi.Call) string {
	if call.HostID != "" {
		return call.HostID
	}
	sum := sha512.Sum512([]byte(call.RequestID))
	return base64.StdEncoding.EncodeToString(sum[:56])
}

// customerID stands for the "retail customer ID" of an account.
func customerID(account string) string {
	sum := sha256.Sum256([]byte("davy customer " + account))
	return "A" + base32.StdEncoding.EncodeToString(sum[:])[:13]
}

// formEncode encodes keys in events and in listings with encoding-type=url.
func formEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.*/", c) >= 0:
			b.WriteByte(c)
		case c == ' ':
			b.WriteByte('+')
		default:
			b.WriteString(string([]byte{'%', hex[c>>4], hex[c&15]}))
		}
	}
	return b.String()
}
