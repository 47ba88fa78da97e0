package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"davy/api/s3api"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// source is what x-amz-copy-source names.
type source struct{ bucket, key, id string }

// ParseCopySource reads x-amz-copy-source: [/]BUCKET/KEY[?versionId=ID], with
// the key URL-encoded. Authorisation needs it too: the source is read on the
// caller's behalf. The error is AWS's answer.
func ParseCopySource(header string) (bucket, key, versionID string, err error) {
	bad := errInvalidArgument("x-amz-copy-source", header, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	path, query, _ := strings.Cut(header, "?")
	if query != "" {
		values, err := url.ParseQuery(query)
		if err != nil || !values.Has("versionId") || len(values) != 1 {
			return "", "", "", bad
		}
		versionID = values.Get("versionId")
		if versionID == "" {
			return "", "", "", errInvalidArgument("x-amz-copy-source", header, "Version id cannot be the empty string")
		}
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return "", "", "", errInvalidArgument("x-amz-copy-source", header, "Invalid copy source encoding.")
	}
	if strings.HasPrefix(decoded, "arn:") {
		return "", "", "", fault(http.StatusNotImplemented, "NotImplemented", "Copying from an access point is not implemented.")
	}
	bucket, key, ok := strings.Cut(strings.TrimPrefix(decoded, "/"), "/")
	if !ok || bucket == "" || key == "" {
		return "", "", "", bad
	}
	return bucket, key, versionID, validKey(key)
}

// sourceVersion finds the version to copy and checks the conditions on it.
func (s *Service) sourceVersion(ctx context.Context, from source, owner *string, cond conditions) (*bucket, *version, error) {
	b, v, err := s.object(ctx, &from.bucket, owner, &from.key, &from.id)
	if err != nil {
		var known awsapi.Error
		if errors.As(err, &known) && known.ErrorCode() == "MethodNotAllowed" {
			err = errInvalidRequest("The source of a copy request may not specifically refer to a delete marker by version id.")
		}
		return nil, nil, err
	}
	return b, v, cond.copySource(v)
}

func errSourceTooLarge() error {
	return errInvalidRequest("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
}

// CopyObject makes a new version that shares the source's bytes.
func (s *Service) CopyObject(ctx context.Context, in *s3api.CopyObjectRequest) (*s3api.CopyObjectOutput, error) {
	key := awsapi.Val(in.Key)
	if err := validKey(key); err != nil {
		return nil, err
	}
	var from source
	var err error
	if from.bucket, from.key, from.id, err = ParseCopySource(awsapi.Val(in.CopySource)); err != nil {
		return nil, err
	}
	asked := demands{
		acl: in.ACL, grants: [4]*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWriteACP},
		encryption: in.ServerSideEncryption, kmsKey: in.SSEKMSKeyId, kmsContext: in.SSEKMSEncryptionContext, bucketKey: in.BucketKeyEnabled,
		customerKey: [3]*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.CopySourceSSECustomerKey}, class: in.StorageClass,
		redirect: in.WebsiteRedirectLocation, lockMode: in.ObjectLockMode, lockUntil: in.ObjectLockRetainUntilDate, lockHold: in.ObjectLockLegalHoldStatus,
	}
	if err := asked.refuse(); err != nil {
		return nil, err
	}
	replace := awsapi.Val(in.MetadataDirective) == s3api.MetadataDirectiveReplace
	retag := awsapi.Val(in.TaggingDirective) == s3api.TaggingDirectiveReplace
	// Named on AWS's account: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
	if from.bucket == awsapi.Val(in.Bucket) && from.key == key && from.id == "" && !replace && in.StorageClass == nil {
		return nil, errInvalidRequest("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	meta, err := newMetadata(in.Metadata)
	if err != nil {
		return nil, err
	}
	tags, err := parseTagging(awsapi.Val(in.Tagging))
	if err != nil {
		return nil, err
	}
	cond := conditions{in.CopySourceIfMatch, in.CopySourceIfNoneMatch, in.CopySourceIfModifiedSince, in.CopySourceIfUnmodifiedSince}
	wanted := algorithm(awsapi.Val(in.ChecksumAlgorithm))

	var made version
	var id, sourceID *string
	err = s.update(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner), key, func(c *change) error {
		if err := (conditions{match: in.IfMatch, noneMatch: in.IfNoneMatch}).write(c.latest, key); err != nil {
			return err
		}
		b, v, err := s.sourceVersion(ctx, from, in.ExpectedSourceBucketOwner, cond)
		if err != nil {
			return err
		}
		if v.Size > maxBody {
			return errSourceTooLarge()
		}
		sourceID = shownID(b, v)
		made = version{
			Seq: c.next(), Size: v.Size, ETag: v.ETag, Parts: v.Parts, Sum: v.Sum,
			Header: v.Header, Meta: v.Meta, Tags: v.Tags,
		}
		if replace {
			made.Meta = meta
			made.Header = newHeader(ctx, in.ContentType, in.CacheControl, in.ContentDisposition, in.ContentEncoding, in.ContentLanguage, in.Expires)
		}
		if retag {
			made.Tags = tags
		}
		if wanted != "" && wanted != v.Sum.Algorithm {
			if made.Sum, err = s.rehash(ctx, v, wanted); err != nil {
				return err
			}
		}
		if err := c.share(ctx, b, from.key, v, &made); err != nil {
			return err
		}
		if err := c.put(ctx, &made); err != nil {
			return err
		}
		id = shownID(c.bucket, &made)
		return c.emit(ctx, eventCopy, &made)
	})
	if err != nil {
		return nil, err
	}
	result := &s3api.CopyObjectResult{ETag: new(made.quotedETag()), LastModified: new(made.modified())}
	if made.Sum.Algorithm != "" {
		result.ChecksumType = new(s3api.ChecksumType(made.Sum.kind()))
		fields{
			&result.ChecksumCRC32, &result.ChecksumCRC32C, &result.ChecksumCRC64NVME, &result.ChecksumSHA1, &result.ChecksumSHA256, &result.ChecksumSHA512, &result.ChecksumMD5,
		}.set(made.Sum)
	}
	return &s3api.CopyObjectOutput{CopyObjectResult: result, VersionId: id, CopySourceVersionId: sourceID}, nil
}

// share lets made use v's bytes. A blob gets one more owner, provided that v
// still owns it when the change commits.
func (c *change) share(ctx context.Context, b *bucket, key string, v, made *version) error {
	switch v.Data.Kind {
	case "":
		return nil
	case inBody:
		row, err := c.s.store.GetRow(ctx, spaceBody, v.Data.ID)
		if errors.Is(err, state.ErrNotFound) {
			return errAgain
		}
		if err != nil {
			return storageError("read body", err)
		}
		made.Data = extent{Kind: inBody, ID: newID()}
		c.op(spaceBody, made.Data.ID, row.Value, state.Absent)
		return nil
	}
	row, err := c.s.store.GetRow(ctx, spaceRef, v.Data.ref())
	if errors.Is(err, state.ErrNotFound) {
		return errAgain
	}
	if err != nil {
		return storageError("read reference", err)
	}
	if b.ID == c.bucket.ID && key == c.key && v.ID == "" && c.bucket.Versioning != versioningEnabled {
		// The new null version replaces its own source: the claim on the
		// bytes passes from one to the other.
		made.Data, c.keep = v.Data, v.Data.ref()
		return nil
	}
	made.Data = v.Data
	made.Data.Owner = newID()
	c.batch.Checks = append(c.batch.Checks, state.Check{Space: spaceRef, Key: row.Key, Rev: row.Rev})
	return nil
}

// rehash computes another checksum of a version. Unlike the rest of a copy it
// reads the bytes.
func (s *Service) rehash(ctx context.Context, v *version, a algorithm) (checksum, error) {
	if !a.known() {
		return checksum{}, errHeader("x-amz-checksum-algorithm", "Davy does not compute "+string(a)+".")
	}
	body, err := s.openRange(ctx, v, 0, v.Size)
	if err != nil {
		return checksum{}, err
	}
	defer body.Close()
	h := a.new()
	if _, err := io.Copy(h, body); err != nil {
		return checksum{}, fmt.Errorf("s3: read body: %w", err)
	}
	return checksum{Algorithm: a, Value: encodeSum(h)}, nil
}

// UploadPartCopy makes a part of a range of an object.
func (s *Service) UploadPartCopy(ctx context.Context, in *s3api.UploadPartCopyRequest) (*s3api.UploadPartCopyOutput, error) {
	var from source
	var err error
	if from.bucket, from.key, from.id, err = ParseCopySource(awsapi.Val(in.CopySource)); err != nil {
		return nil, err
	}
	asked := demands{customerKey: [3]*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.CopySourceSSECustomerKey}}
	if err := asked.refuse(); err != nil {
		return nil, err
	}
	number, err := partNumber(in.PartNumber)
	if err != nil {
		return nil, err
	}
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	up, err := s.findUpload(ctx, b, awsapi.Val(in.Key), awsapi.Val(in.UploadId))
	if err != nil {
		return nil, err
	}
	cond := conditions{in.CopySourceIfMatch, in.CopySourceIfNoneMatch, in.CopySourceIfModifiedSince, in.CopySourceIfUnmodifiedSince}
	for range maxAttempts {
		sb, v, err := s.sourceVersion(ctx, from, in.ExpectedSourceBucketOwner, cond)
		if err != nil {
			return nil, err
		}
		span := byteRange{0, v.Size}
		if in.CopySourceRange != nil {
			if span, err = parseCopyRange(*in.CopySourceRange, v.Size); err != nil {
				return nil, err
			}
		}
		if span.n > maxBody {
			return nil, errSourceTooLarge()
		}
		body, err := s.openRange(ctx, v, span.from, span.n)
		if errors.Is(err, errAgain) {
			continue
		}
		if err != nil {
			return nil, err
		}
		made, err := s.storePart(ctx, b, up, number, upload{body: body, length: &span.n, also: up.algorithm(), local: true})
		body.Close()
		if err != nil {
			return nil, err
		}
		result := &s3api.CopyPartResult{ETag: new(made.etag()), LastModified: new(seqTime(made.Seq))}
		if up.Algorithm != "" {
			fields{
				&result.ChecksumCRC32, &result.ChecksumCRC32C, &result.ChecksumCRC64NVME, &result.ChecksumSHA1, &result.ChecksumSHA256, &result.ChecksumSHA512, &result.ChecksumMD5,
			}.set(made.Sum)
		}
		return &s3api.UploadPartCopyOutput{CopyPartResult: result, CopySourceVersionId: shownID(sb, v)}, nil
	}
	return nil, errBusy()
}
