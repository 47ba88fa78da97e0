package s3

import (
	"context"
	"fmt"
	"strings"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// ListParts lists the parts of an upload in progress.
func (s *Service) ListParts(ctx context.Context, in *s3api.ListPartsRequest) (*s3api.ListPartsOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	up, err := s.findUpload(ctx, b, awsapi.Val(in.Key), awsapi.Val(in.UploadId))
	if err != nil {
		return nil, err
	}
	limit, err := pageSize("max-parts", in.MaxParts)
	if err != nil {
		return nil, err
	}
	marker := int(awsapi.Val(in.PartNumberMarker))
	if marker < 0 {
		return nil, errInvalidArgument("part-number-marker", fmt.Sprint(marker), "Argument part-number-marker must be an integer between 0 and 2147483647")
	}
	out := &s3api.ListPartsOutput{
		Bucket: in.Bucket, Key: in.Key, UploadId: in.UploadId, MaxParts: new(int32(limit)), PartNumberMarker: new(int32(marker)),
		NextPartNumberMarker: new(int32(0)), IsTruncated: new(false), StorageClass: new(s3api.StorageClassStandard), Owner: ownerOf(b.Owner),
		Initiator: initiator(b, up.Initiator),
	}
	if up.Algorithm != "" {
		out.ChecksumAlgorithm = new(s3api.ChecksumAlgorithm(up.Algorithm))
		out.ChecksumType = new(s3api.ChecksumType(up.SumType))
	}
	if limit == 0 || marker >= maxParts {
		return out, nil
	}
	rows, err := s.store.Rows(ctx, spaceParts(up.id), "", partRow(marker+1), limit+1)
	if err != nil {
		return nil, storageError("list parts", err)
	}
	for _, r := range rows[:min(len(rows), limit)] {
		p, err := decode[part]("part", r.Value)
		if err != nil {
			return nil, err
		}
		w := s3api.Part{PartNumber: new(int32(p.Number)), Size: &p.Size, ETag: new(p.etag()), LastModified: new(seqTime(p.Seq))}
		if up.Algorithm != "" {
			fields{
				&w.ChecksumCRC32, &w.ChecksumCRC32C, &w.ChecksumCRC64NVME, &w.ChecksumSHA1, &w.ChecksumSHA256, &w.ChecksumSHA512, &w.ChecksumMD5,
			}.set(p.Sum)
		}
		out.Parts = append(out.Parts, w)
		out.NextPartNumberMarker = w.PartNumber
	}
	*out.IsTruncated = len(rows) > limit
	return out, nil
}

// initiator names who began an upload: users by ARN, the account by its id.
func initiator(b *bucket, who string) *s3api.Initiator {
	if who == "" || strings.HasSuffix(who, ":root") {
		return &s3api.Initiator{ID: new(canonicalID(b.Owner))}
	}
	_, name, _ := strings.Cut(who, "/")
	return &s3api.Initiator{ID: &who, DisplayName: &name}
}

// ListMultipartUploads lists the uploads in progress by key and beginning.
func (s *Service) ListMultipartUploads(ctx context.Context, in *s3api.ListMultipartUploadsRequest) (*s3api.ListMultipartUploadsOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	enc, err := newCoding(in.EncodingType)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize("max-uploads", in.MaxUploads)
	if err != nil {
		return nil, err
	}
	w := walk{prefix: awsapi.Val(in.Prefix), delimiter: awsapi.Val(in.Delimiter), max: limit}
	marker, upMarker := awsapi.Val(in.KeyMarker), awsapi.Val(in.UploadIdMarker)
	out := &s3api.ListMultipartUploadsOutput{
		Bucket: in.Bucket, KeyMarker: enc.text(marker), UploadIdMarker: new(upMarker), Prefix: enc.shown(in.Prefix), Delimiter: enc.shown(in.Delimiter),
		MaxUploads: new(int32(limit)), IsTruncated: new(false), EncodingType: in.EncodingType, NextKeyMarker: new(""), NextUploadIdMarker: new(""),
	}
	from, ok := w.uploadStart(marker, upMarker)
	for count, skip := 0, ""; ok && limit > 0; {
		rows, err := s.store.Rows(ctx, spaceUploads(b.ID), escapeKey(w.prefix), from, limit+1)
		if err != nil {
			return nil, storageError("list uploads", err)
		}
		for _, r := range rows {
			key, id, err := splitRowKey(r.Key)
			if err != nil {
				return nil, fmt.Errorf("s3: upload row %q: %w", r.Key, err)
			}
			from = r.Key + "\x00"
			if skip != "" && strings.HasPrefix(key, skip) {
				continue
			}
			if count == limit {
				*out.IsTruncated = true
				return out, nil
			}
			count++
			if common, rolled := w.commonPrefix(key); rolled {
				skip = common
				out.CommonPrefixes = append(out.CommonPrefixes, s3api.CommonPrefix{Prefix: enc.text(common)})
				out.NextKeyMarker, out.NextUploadIdMarker = enc.text(common), new("")
				continue
			}
			u, err := decode[uploadRecord]("upload", r.Value)
			if err != nil {
				return nil, err
			}
			l := s3api.MultipartUpload{
				Key: enc.text(key), UploadId: &id, Initiated: new(seqTime(u.Seq)), StorageClass: new(s3api.StorageClassStandard),
				Owner: ownerOf(b.Owner), Initiator: initiator(b, u.Initiator),
			}
			if u.Algorithm != "" {
				l.ChecksumAlgorithm = new(s3api.ChecksumAlgorithm(u.Algorithm))
				l.ChecksumType = new(s3api.ChecksumType(u.SumType))
			}
			out.Uploads = append(out.Uploads, l)
			out.NextKeyMarker, out.NextUploadIdMarker = l.Key, l.UploadId
		}
		if len(rows) <= limit {
			break
		}
		if skip != "" {
			if from, ok = after(escapeKey(skip)); !ok {
				break
			}
		}
	}
	out.NextKeyMarker, out.NextUploadIdMarker = nil, nil // nothing follows
	return out, nil
}

// uploadStart is walk.start for rows of uploads: without an upload id all the
// uploads of the marker's key are behind it.
func (w *walk) uploadStart(marker, id string) (from string, ok bool) {
	if marker == "" || marker < w.prefix {
		return escapeKey(w.prefix), true
	}
	if strings.HasPrefix(marker, w.prefix) {
		if common, rolled := w.commonPrefix(marker); rolled && common == marker {
			return after(escapeKey(marker))
		}
	}
	if id == "" {
		return after(keyPrefix(marker))
	}
	return uploadRow(marker, id) + "\x00", true
}
