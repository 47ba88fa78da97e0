package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"davy/api/s3api"
	"davy/internal/awsapi"
	"davy/internal/blob"
	"davy/internal/state"
)

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
const (
	maxParts   = 10000
	minPart    = 5 << 20 // of every part but the last
	maxObject  = 5 << 40
	upRefOwner = "upload" // owns the upload's data until the object does
)

// uploadRecord is a multipart upload in progress, as stored.
type uploadRecord struct {
	Seq       uint64            `json:"q"`
	Header    header            `json:"h,omitzero"`
	Meta      map[string]string `json:"m,omitempty"`
	Tags      []tag             `json:"t,omitempty"`
	Algorithm algorithm         `json:"a,omitempty"` // empty: CRC64NVME, not asked for
	SumType   string            `json:"y,omitempty"`
	Initiator string            `json:"i,omitempty"` // ARN
}

// uploading is a record with where it was found.
type uploading struct {
	uploadRecord
	id, key string
	rev     int64
}

// algorithm is what every part is summed with.
func (u *uploading) algorithm() algorithm {
	if u.Algorithm == "" {
		return crc64NVME
	}
	return u.Algorithm
}

func uploadRow(key, id string) string { return keyPrefix(key) + id }

// newUploadID orders the uploads of a key by their beginning.
func newUploadID(seq uint64) string { return fmt.Sprintf("%016x", seq) + newID() }

func validUploadID(id string) bool {
	return len(id) == 48 && strings.Trim(id, "0123456789abcdef") == ""
}

func (s *Service) findUpload(ctx context.Context, b *bucket, key, id string) (*uploading, error) {
	if !validUploadID(id) {
		return nil, errNoSuchUpload(id)
	}
	row, err := s.store.GetRow(ctx, spaceUploads(b.ID), uploadRow(key, id))
	if errors.Is(err, state.ErrNotFound) {
		return nil, errNoSuchUpload(id)
	}
	if err != nil {
		return nil, storageError("read upload", err)
	}
	r, err := decode[uploadRecord]("upload", row.Value)
	if err != nil {
		return nil, err
	}
	return &uploading{uploadRecord: *r, id: id, key: key, rev: row.Rev}, nil
}

// sumType checks the combination of algorithm and type of a new upload.
func sumType(a algorithm, t string) (string, error) {
	switch {
	case a == "" && t == "":
		return fullObject, nil
	case a == "":
		return "", errInvalidRequest("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	case !a.known():
		return "", errHeader("x-amz-checksum-algorithm", "Davy does not compute "+string(a)+".")
	case t == "" && a == crc64NVME:
		return fullObject, nil
	case t == "":
		return composite, nil
	case t == fullObject && !a.isCRC(), t == composite && a == crc64NVME:
		return "", errInvalidRequest("The " + t + " checksum type cannot be used with the " + strings.ToLower(string(a)) + " checksum algorithm.")
	case t != fullObject && t != composite:
		return "", errInvalidRequest("Value for x-amz-checksum-type header is invalid.")
	}
	return t, nil
}

// CreateMultipartUpload begins an upload.
func (s *Service) CreateMultipartUpload(ctx context.Context, in *s3api.CreateMultipartUploadRequest) (*s3api.CreateMultipartUploadOutput, error) {
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
	r := uploadRecord{
		Seq: s.tick(0), Algorithm: algorithm(awsapi.Val(in.ChecksumAlgorithm)), Initiator: awsapi.CallFrom(ctx).Principal.ARN,
		Header: newHeader(ctx, in.ContentType, in.CacheControl, in.ContentDisposition, in.ContentEncoding, in.ContentLanguage, in.Expires),
	}
	var err error
	if r.Meta, err = newMetadata(in.Metadata); err != nil {
		return nil, err
	}
	if r.Tags, err = parseTagging(awsapi.Val(in.Tagging)); err != nil {
		return nil, err
	}
	if r.SumType, err = sumType(r.Algorithm, string(awsapi.Val(in.ChecksumType))); err != nil {
		return nil, err
	}
	id := newUploadID(r.Seq)
	for range maxAttempts {
		b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
		if err != nil {
			return nil, err
		}
		_, err = s.store.Commit(ctx, state.Batch{
			Checks: []state.Check{{Key: bucketDocs + b.Name, Rev: b.rev}},
			Ops: []state.Op{
				{Space: spaceUploads(b.ID), Key: uploadRow(key, id), Value: encode(r), IfRev: state.Absent},
				{Space: spaceRef, Key: id + "/" + upRefOwner, Value: []byte{'1'}, IfRev: state.Absent},
			},
		})
		if errors.Is(err, state.ErrConflict) {
			s.buckets.drop(b.Name) // perhaps it is what changed
			continue
		}
		if err != nil {
			return nil, storageError("commit upload", err)
		}
		out := &s3api.CreateMultipartUploadOutput{Bucket: in.Bucket, Key: in.Key, UploadId: &id}
		if r.Algorithm != "" {
			out.ChecksumAlgorithm = in.ChecksumAlgorithm
			out.ChecksumType = new(s3api.ChecksumType(r.SumType))
		}
		return out, nil
	}
	return nil, errBusy()
}

func partNumber(p *int32) (int, error) {
	n := int(awsapi.Val(p))
	if n < 1 || n > maxParts {
		return 0, errInvalidArgument("partNumber", strconv.Itoa(n), "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

func (p *part) etag() string { return `"` + hex.EncodeToString(p.MD5) + `"` }

func partRow(number int) string { return fmt.Sprintf("%05d", number) }

// UploadPart stores a part; a part of the same number is replaced.
func (s *Service) UploadPart(ctx context.Context, in *s3api.UploadPartRequest) (*s3api.UploadPartOutput, error) {
	if in.Body != nil {
		defer in.Body.Close()
	}
	asked := demands{customerKey: [3]*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5}}
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
	u := upload{
		length: in.ContentLength, md5: awsapi.Val(in.ContentMD5), declared: string(awsapi.Val(in.ChecksumAlgorithm)), also: up.algorithm(),
		sums: values(in.ChecksumCRC32, in.ChecksumCRC32C, in.ChecksumCRC64NVME, in.ChecksumSHA1, in.ChecksumSHA256, in.ChecksumSHA512, in.ChecksumMD5),
	}
	if in.Body != nil {
		u.body = in.Body
	}
	want, err := u.expected(awsapi.CallFrom(ctx))
	if err != nil {
		return nil, err
	}
	actual := "null"
	if want.claimed {
		actual = strings.ToLower(string(want.algorithm))
	}
	// The sum of parts' sums needs each of them; one over the bytes does not.
	if want.claimed && up.Algorithm != "" && want.algorithm != up.Algorithm || !want.claimed && up.SumType == composite {
		return nil, errInvalidRequest(fmt.Sprintf("Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
			strings.ToLower(string(up.Algorithm)), actual))
	}
	made, err := s.storePart(ctx, b, up, number, u)
	if err != nil {
		return nil, err
	}
	out := &s3api.UploadPartOutput{ETag: new(made.etag())}
	shown := fields{
		&out.ChecksumCRC32, &out.ChecksumCRC32C, &out.ChecksumCRC64NVME, &out.ChecksumSHA1, &out.ChecksumSHA256, &out.ChecksumSHA512, &out.ChecksumMD5,
	}
	switch {
	case up.Algorithm != "": // SDKs build the list of CompleteMultipartUpload from it
		shown.set(made.Sum)
	case want.claimed:
		shown.set(checksum{Algorithm: want.algorithm, Value: made.claimed})
	}
	return out, nil
}

// storedPart is a part with the checksum that its client sent.
type storedPart struct {
	part
	claimed string
}

// storePart ingests a part and commits it while the upload is in progress.
func (s *Service) storePart(ctx context.Context, b *bucket, up *uploading, number int, u upload) (*storedPart, error) {
	body, err := s.ingest(ctx, u)
	if err != nil {
		return nil, err
	}
	if body.blob == "" && body.size > 0 { // a small last part
		if body.blob, err = s.writeBlob(ctx, body.inline); err != nil {
			return nil, err
		}
	}
	p := part{Number: number, Size: body.size, MD5: body.md5, Sum: body.also, Blob: body.blob}
	err = s.commitPart(ctx, b, up, &p)
	s.settle(ctx, body, err)
	return &storedPart{p, body.sum.Value}, err
}

func (s *Service) writeBlob(ctx context.Context, data []byte) (blob.ID, error) {
	w, err := s.blobs.Create(ctx)
	if err != nil {
		return "", storageError("create body", err)
	}
	defer w.Abort()
	if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
		return "", storageError("write body", err)
	}
	id, err := w.Commit()
	if err != nil {
		return "", storageError("commit body", err)
	}
	s.pending.add(id)
	return id, nil
}

func (s *Service) commitPart(ctx context.Context, b *bucket, up *uploading, p *part) error {
	unlock, err := s.keys.lock(ctx, up.id+"/"+partRow(p.Number))
	if err != nil {
		return err
	}
	defer unlock()
	for range maxAttempts {
		space, row := spaceParts(up.id), partRow(p.Number)
		old, err := s.store.GetRow(ctx, space, row)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return storageError("read part", err)
		}
		p.Seq = s.tick(0)
		batch := state.Batch{
			Checks: []state.Check{{Space: spaceUploads(b.ID), Key: uploadRow(up.key, up.id), Rev: up.rev}},
			Ops:    []state.Op{{Space: space, Key: row, Value: encode(p), IfRev: old.Rev}},
		}
		if p.Blob != "" {
			batch.Ops = append(batch.Ops, state.Op{Space: spaceRef, Key: partRef(p.Blob, up.id), Value: []byte{'1'}, IfRev: state.Absent})
		}
		var replaced *part
		if old.Rev != state.Absent {
			if replaced, err = decode[part]("part", old.Value); err != nil {
				return err
			}
			if replaced.Blob != "" {
				batch.Ops = append(batch.Ops, state.Op{Space: spaceRef, Key: partRef(replaced.Blob, up.id), IfRev: state.Any})
			}
		}
		_, err = s.store.Commit(ctx, batch)
		if errors.Is(err, state.ErrConflict) {
			// Ended meanwhile, or another request put the same part.
			if _, err := s.findUpload(ctx, b, up.key, up.id); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return storageError("commit part", err)
		}
		if replaced != nil && replaced.Blob != "" {
			s.bury(ctx, extent{Kind: inBlob, ID: string(replaced.Blob)})
		}
		return nil
	}
	return errBusy()
}

// parts reads the parts of an upload with their rows' revisions.
func (s *Service) parts(ctx context.Context, id string) (parts map[int]*part, revs map[int]int64, err error) {
	parts, revs = map[int]*part{}, map[int]int64{}
	from := ""
	for {
		rows, err := s.store.Rows(ctx, spaceParts(id), "", from, 1000)
		if err != nil {
			return nil, nil, storageError("list parts", err)
		}
		for _, r := range rows {
			p, err := decode[part]("part", r.Value)
			if err != nil {
				return nil, nil, err
			}
			parts[p.Number], revs[p.Number] = p, r.Rev
			from = r.Key + "\x00"
		}
		if len(rows) < 1000 {
			return parts, revs, nil
		}
	}
}

// AbortMultipartUpload ends an upload; its parts are deleted in the background.
func (s *Service) AbortMultipartUpload(ctx context.Context, in *s3api.AbortMultipartUploadRequest) (*s3api.AbortMultipartUploadOutput, error) {
	for range maxAttempts {
		b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
		if err != nil {
			return nil, err
		}
		up, err := s.findUpload(ctx, b, awsapi.Val(in.Key), awsapi.Val(in.UploadId))
		if err != nil {
			return nil, err
		}
		if t := in.IfMatchInitiatedTime; t != nil && !seqTime(up.Seq).Equal(*t) {
			return nil, errPrecondition("x-amz-if-match-initiated-time")
		}
		err = s.abort(ctx, b.ID, up.key, up.id, up.rev)
		if !errors.Is(err, state.ErrConflict) {
			return nil, err
		}
	}
	return nil, errBusy()
}

// abort ends an upload: from here on no part can join it, so that what sweep
// finds is all there is.
func (s *Service) abort(ctx context.Context, bucketID, key, id string, rev int64) error {
	_, err := s.store.Commit(ctx, state.Batch{Frees: true, Ops: []state.Op{
		{Space: spaceUploads(bucketID), Key: uploadRow(key, id), IfRev: rev},
		{Space: spaceRef, Key: id + "/" + upRefOwner, IfRev: state.Any},
		{Space: spaceSweep, Key: id, Value: []byte{'1'}, IfRev: state.Any},
	}})
	if err == nil {
		s.bury(ctx, extent{Kind: leftovers, ID: id})
	}
	return storageError("abort upload", err)
}

// sweep removes the part rows of an upload that ended, and the blobs of those
// that its manifest, if it has one, does not name.
func (s *Service) sweep(ctx context.Context, id string) error {
	named := map[blob.ID]bool{}
	m, err := s.readManifest(ctx, id)
	if err != nil && !errors.Is(err, errAgain) {
		return err
	}
	if err == nil {
		for _, p := range m.Parts {
			named[p.Blob] = true
		}
	}
	parts, _, err := s.parts(ctx, id)
	if err != nil {
		return err
	}
	ops := []state.Op{{Space: spaceSweep, Key: id, IfRev: state.Any}}
	var unused []part
	for number, p := range parts {
		ops = append(ops, state.Op{Space: spaceParts(id), Key: partRow(number), IfRev: state.Any})
		if !named[p.Blob] {
			unused = append(unused, *p)
		}
	}
	return s.destroyParts(ctx, id, unused, ops)
}

func multipartETag(parts []part) string {
	h := md5.New()
	for _, p := range parts {
		h.Write(p.MD5)
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}
