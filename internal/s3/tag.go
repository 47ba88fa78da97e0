package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
const (
	maxObjectTags = 10
	maxBucketTags = 50
	maxTagKey     = 128 // characters
	maxTagValue   = 256
)

func tagMap(tags []tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

func errInvalidTag(message string) error {
	return fault(http.StatusBadRequest, "InvalidTag", message)
}

// checkTags turns a tag set into what is stored.
func checkTags(set []s3api.Tag, limit int) ([]tag, error) {
	tags := make([]tag, 0, len(set))
	for _, t := range set {
		tags = append(tags, tag{awsapi.Val(t.Key), awsapi.Val(t.Value)})
	}
	return tags, validTags(tags, limit)
}

func validTags(tags []tag, limit int) error {
	if len(tags) > limit {
		if limit == maxObjectTags {
			return fault(http.StatusBadRequest, "BadRequest", "Object tags cannot be greater than 10")
		}
		return fault(http.StatusBadRequest, "BadRequest", fmt.Sprintf("Bucket tag count cannot be greater than %d", limit))
	}
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > maxTagKey || !tagText(t.Key):
			return errInvalidTag("The TagKey you have provided is invalid")
		case utf8.RuneCountInString(t.Value) > maxTagValue || !tagText(t.Value):
			return errInvalidTag("The TagValue you have provided is invalid")
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return errInvalidTag("System tags cannot be added/updated by requester")
		case seen[t.Key]:
			return errInvalidTag("Cannot provide multiple Tags with the same key")
		}
		seen[t.Key] = true
	}
	return nil
}

// tagText tells whether s has only what tags may have: letters, digits,
// spaces and + - = . _ : / @.
func tagText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return false
		}
		if r < 0x80 && !strings.ContainsRune(" +-=._:/@", r) &&
			!(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return false
		}
	}
	return true
}

// parseTagging reads the x-amz-tagging header: URL query parameters.
func parseTagging(header string) ([]tag, error) {
	if header == "" {
		return nil, nil
	}
	bad := errInvalidArgument("x-amz-tagging", header,
		"The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
	var tags []tag
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(header, "&") {
		k, v, _ := strings.Cut(pair, "=")
		key, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil || key == "" || seen[key] || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, bad
		}
		seen[key] = true
		tags = append(tags, tag{key, value})
	}
	return tags, validTags(tags, maxObjectTags)
}

func wireTags(tags []tag) []s3api.Tag {
	out := make([]s3api.Tag, 0, len(tags))
	for _, t := range tags {
		out = append(out, s3api.Tag{Key: new(t.Key), Value: new(t.Value)})
	}
	return out
}

// PutObjectTagging replaces the tags of an object version.
func (s *Service) PutObjectTagging(ctx context.Context, in *s3api.PutObjectTaggingRequest) (*s3api.PutObjectTaggingOutput, error) {
	if in.Tagging == nil {
		return nil, errMalformedXML()
	}
	tags, err := checkTags(in.Tagging.TagSet, maxObjectTags)
	if err != nil {
		return nil, err
	}
	id, err := s.retag(ctx, in.Bucket, in.ExpectedBucketOwner, in.Key, in.VersionId, tags, eventTaggingPut)
	return &s3api.PutObjectTaggingOutput{VersionId: id}, err
}

// DeleteObjectTagging removes the tags of an object version.
func (s *Service) DeleteObjectTagging(ctx context.Context, in *s3api.DeleteObjectTaggingRequest) (*s3api.DeleteObjectTaggingOutput, error) {
	id, err := s.retag(ctx, in.Bucket, in.ExpectedBucketOwner, in.Key, in.VersionId, nil, eventTaggingDelete)
	return &s3api.DeleteObjectTaggingOutput{VersionId: id}, err
}

func (s *Service) retag(ctx context.Context, bucket, owner, key, id *string, tags []tag, event string) (*string, error) {
	var shown *string
	err := s.update(ctx, awsapi.Val(bucket), awsapi.Val(owner), awsapi.Val(key), func(c *change) error {
		v, rev, err := s.named(ctx, c.bucket, c.key, awsapi.Val(id), c.latest)
		if err != nil {
			return err
		}
		if err := mustExist(ctx, c.bucket, v, c.key, awsapi.Val(id)); err != nil {
			return err
		}
		v.Tags = tags
		shown = shownID(c.bucket, v)
		if v == c.latest {
			c.op(spaceObjects(c.bucket.ID), c.key, encode(v), c.rev)
		} else {
			c.op(spaceVersions(c.bucket.ID), versionRowKey(c.key, v.Seq), encode(v), rev)
		}
		told := *v
		told.Seq = c.next() // the event's time
		return c.emit(ctx, event, &told)
	})
	return shown, err
}

// GetObjectTagging returns the tags of an object version.
func (s *Service) GetObjectTagging(ctx context.Context, in *s3api.GetObjectTaggingRequest) (*s3api.GetObjectTaggingOutput, error) {
	b, v, err := s.object(ctx, in.Bucket, in.ExpectedBucketOwner, in.Key, in.VersionId)
	if err != nil {
		return nil, err
	}
	return &s3api.GetObjectTaggingOutput{TagSet: wireTags(v.Tags), VersionId: shownID(b, v)}, nil
}

// ObjectTags returns the tags of an object version for authorisation; nil when
// there is no such object.
func (s *Service) ObjectTags(ctx context.Context, bucket, key, versionID string) (map[string]string, error) {
	b, err := s.lookup(ctx, bucket)
	if err != nil || b == nil {
		return nil, err
	}
	v, err := s.find(ctx, b, key, versionID)
	if _, refusal := errors.AsType[awsapi.Error](err); refusal || v == nil && err == nil {
		return nil, nil // a version id that is none
	}
	if err != nil {
		return nil, err
	}
	return tagMap(v.Tags), nil
}
