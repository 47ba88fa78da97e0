package s3

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

const (
	maxDeletes        = 1000
	concurrentDeletes = 32 // of one DeleteObjects; they share commits
)

// removal is one object to delete.
type removal struct {
	key, id string
	match   *string
	time    *time.Time
	size    *int64
}

// removed is what a deletion did.
type removed struct {
	marker bool    // a delete marker was made, or one was deleted
	id     *string // of the marker or the deleted version
}

func (r *removal) check(v *version) error {
	exists := v != nil && !v.Marker
	if r.match != nil {
		if !exists {
			return errNoSuchKey(r.key)
		}
		if !etagIn(*r.match, v.ETag) {
			return errPrecondition("If-Match")
		}
	}
	if r.time != nil && exists && !v.modified().Equal(r.time.Truncate(time.Second)) {
		return errPrecondition("If-Match-Last-Modified-Time")
	}
	if r.size != nil && exists && v.Size != *r.size {
		return errPrecondition("If-Match-Size")
	}
	return nil
}

// remove deletes a version, or the key. Deleting what does not exist succeeds.
func (s *Service) remove(ctx context.Context, bucket, owner string, r removal) (done removed, err error) {
	if err := validKey(r.key); err != nil {
		return done, err
	}
	err = s.update(ctx, bucket, owner, r.key, func(c *change) error {
		done = removed{}
		if r.id != "" {
			return c.removeVersion(ctx, &r, &done)
		}
		if err := r.check(c.latest); err != nil {
			return err
		}
		if c.bucket.Versioning != "" {
			marker := &version{Seq: c.next(), Marker: true}
			if err := c.put(ctx, marker); err != nil {
				return err
			}
			done = removed{true, new(marker.wireID())}
			return c.emit(ctx, eventDeleteMarker, marker)
		}
		if c.latest == nil {
			return nil
		}
		c.batch.Frees = true
		gone := &version{Seq: c.next()}
		if err := c.dropLatest(ctx); err != nil {
			return err
		}
		return c.emit(ctx, eventDelete, gone)
	})
	return done, err
}

func (c *change) removeVersion(ctx context.Context, r *removal, done *removed) error {
	v, rev, err := c.s.named(ctx, c.bucket, c.key, r.id, c.latest)
	if err != nil {
		return err
	}
	if err := r.check(v); err != nil {
		return err
	}
	done.id = &r.id
	if v == nil {
		return nil
	}
	done.marker = v.Marker
	c.batch.Frees = true
	seq := c.next()
	switch {
	case v == c.latest:
		err = c.dropLatest(ctx)
	default:
		c.disown(v)
		c.op(spaceVersions(c.bucket.ID), versionRowKey(c.key, v.Seq), nil, rev)
		// The latest version's row is written too: it serialises the key.
		if v.ID == "" {
			c.latest.NullSeq = 0
		}
		c.op(spaceObjects(c.bucket.ID), c.key, encode(c.latest), c.rev)
	}
	if err != nil {
		return err
	}
	return c.emit(ctx, eventDelete, &version{Seq: seq, ID: v.ID})
}

// DeleteObject removes an object, a version, or puts a delete marker.
func (s *Service) DeleteObject(ctx context.Context, in *s3api.DeleteObjectRequest) (*s3api.DeleteObjectOutput, error) {
	if in.MFA != nil {
		return nil, errHeader("x-amz-mfa", "Davy has no MFA delete.")
	}
	done, err := s.remove(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner), removal{
		key: awsapi.Val(in.Key), id: awsapi.Val(in.VersionId), match: in.IfMatch, time: in.IfMatchLastModifiedTime, size: in.IfMatchSize,
	})
	if err != nil {
		return nil, err
	}
	out := &s3api.DeleteObjectOutput{VersionId: done.id}
	if done.marker {
		out.DeleteMarker = new(true)
	}
	return out, nil
}

// DeleteAuthorizer decides on each key of a DeleteObjects, as AWS does.
type DeleteAuthorizer interface {
	// MayDelete returns nil or the refusal. versionID may be empty.
	MayDelete(ctx context.Context, bucket, key, versionID string) error
}

// DeleteObjects removes up to 1000 objects; each has its own outcome.
func (s *Service) DeleteObjects(ctx context.Context, in *s3api.DeleteObjectsRequest) (*s3api.DeleteObjectsOutput, error) {
	if in.MFA != nil {
		return nil, errHeader("x-amz-mfa", "Davy has no MFA delete.")
	}
	bucket, owner := awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner)
	if _, err := s.bucket(ctx, bucket, owner); err != nil {
		return nil, err
	}
	if in.Delete == nil || len(in.Delete.Objects) == 0 || len(in.Delete.Objects) > maxDeletes {
		return nil, errMalformedXML()
	}
	type outcome struct {
		done removed
		err  error
	}
	objects := in.Delete.Objects
	results := make([]outcome, len(objects))
	var wg sync.WaitGroup
	slots := make(chan struct{}, concurrentDeletes)
	for i := range objects {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			o := &objects[i]
			key, id := awsapi.Val(o.Key), awsapi.Val(o.VersionId)
			if s.deletes != nil {
				if results[i].err = s.deletes.MayDelete(ctx, bucket, key, id); results[i].err != nil {
					return
				}
			}
			results[i].done, results[i].err = s.remove(ctx, bucket, owner, removal{key: key, id: id, match: o.ETag, time: o.LastModifiedTime, size: o.Size})
		})
	}
	wg.Wait()

	out := &s3api.DeleteObjectsOutput{}
	for i := range objects {
		o, r := &objects[i], &results[i]
		if r.err != nil {
			code, message := "InternalError", "We encountered an internal error. Please try again."
			var known awsapi.Error
			if errors.As(r.err, &known) {
				code, message = known.ErrorCode(), strings.TrimPrefix(known.Error(), known.ErrorCode()+": ")
			} else {
				s.log.ErrorContext(ctx, "delete object failed", "bucket", bucket, "error", r.err)
			}
			out.Errors = append(out.Errors, s3api.Error{Key: o.Key, VersionId: o.VersionId, Code: &code, Message: &message})
			continue
		}
		if awsapi.Val(in.Delete.Quiet) {
			continue
		}
		d := s3api.DeletedObject{Key: o.Key, VersionId: o.VersionId}
		if r.done.marker {
			d.DeleteMarker, d.DeleteMarkerVersionId = new(true), r.done.id
		}
		out.Deleted = append(out.Deleted, d)
	}
	return out, nil
}
