package s3

import (
	"context"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// PutObject stores an object. The body is verified to its end before anything
// becomes visible; the events are sent in the same transaction.
func (s *Service) PutObject(ctx context.Context, in *s3api.PutObjectRequest) (*s3api.PutObjectOutput, error) {
	if in.Body != nil {
		defer in.Body.Close()
	}
	key := awsapi.Val(in.Key)
	if err := validKey(key); err != nil {
		return nil, err
	}
	asked := demands{
		acl: in.ACL, grants: [4]*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWriteACP},
		encryption: in.ServerSideEncryption, kmsKey: in.SSEKMSKeyId, kmsContext: in.SSEKMSEncryptionContext, bucketKey: in.BucketKeyEnabled,
		customerKey: [3]*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5}, class: in.StorageClass,
		redirect: in.WebsiteRedirectLocation, lockMode: in.ObjectLockMode, lockUntil: in.ObjectLockRetainUntilDate, lockHold: in.ObjectLockLegalHoldStatus,
	}
	if err := asked.refuse(); err != nil {
		return nil, err
	}
	if in.WriteOffsetBytes != nil {
		return nil, errHeader("x-amz-write-offset-bytes", "Objects can't be appended to.")
	}
	meta, err := newMetadata(in.Metadata)
	if err != nil {
		return nil, err
	}
	tags, err := parseTagging(awsapi.Val(in.Tagging))
	if err != nil {
		return nil, err
	}
	// Before the body is read, so that nobody uploads gigabytes to nowhere.
	if _, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner)); err != nil {
		return nil, err
	}
	u := upload{
		length: in.ContentLength, md5: awsapi.Val(in.ContentMD5), declared: string(awsapi.Val(in.ChecksumAlgorithm)),
		sums: values(in.ChecksumCRC32, in.ChecksumCRC32C, in.ChecksumCRC64NVME, in.ChecksumSHA1, in.ChecksumSHA256, in.ChecksumSHA512, in.ChecksumMD5),
	}
	if in.Body != nil {
		u.body = in.Body
	}
	body, err := s.ingest(ctx, u)
	if err != nil {
		return nil, err
	}
	v := version{
		Size: body.size, ETag: etagOf(body.md5), Sum: body.sum, Meta: meta, Tags: tags,
		Header: newHeader(ctx, in.ContentType, in.CacheControl, in.ContentDisposition, in.ContentEncoding, in.ContentLanguage, in.Expires),
	}
	var id *string
	cond := conditions{match: in.IfMatch, noneMatch: in.IfNoneMatch}
	err = s.update(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner), key, func(c *change) error {
		if err := cond.write(c.latest, key); err != nil {
			return err
		}
		w := v
		w.Seq = c.next()
		w.Data = c.extentOf(body)
		if err := c.put(ctx, &w); err != nil {
			return err
		}
		id = shownID(c.bucket, &w)
		return c.emit(ctx, eventPut, &w)
	})
	s.settle(ctx, body, err)
	if err != nil {
		return nil, err
	}
	out := &s3api.PutObjectOutput{ETag: new(v.quotedETag()), VersionId: id, ChecksumType: new(s3api.ChecksumType(v.Sum.kind()))}
	fields{
		&out.ChecksumCRC32, &out.ChecksumCRC32C, &out.ChecksumCRC64NVME, &out.ChecksumSHA1, &out.ChecksumSHA256, &out.ChecksumSHA512, &out.ChecksumMD5,
	}.set(v.Sum)
	return out, nil
}

// next is the sequence number of the version that the change makes.
func (c *change) next() uint64 {
	if c.latest == nil {
		return c.s.tick(0)
	}
	return c.s.tick(c.latest.Seq)
}

// fields are an output's checksum members in the order of algorithms.
type fields [7]**string

func (f fields) set(sum checksum) {
	for i, a := range algorithms {
		if a == sum.Algorithm {
			*f[i] = new(sum.Value)
		}
	}
}

// values are an input's checksum members in the order of algorithms.
func values(p ...*string) []string {
	out := make([]string, len(p))
	for i := range p {
		out[i] = awsapi.Val(p[i])
	}
	return out
}
