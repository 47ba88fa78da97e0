package s3

import (
	"context"
	"errors"
	"strings"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// GetObjectAttributes returns what the request asks for: ETag, Checksum,
// ObjectParts, StorageClass, ObjectSize.
func (s *Service) GetObjectAttributes(ctx context.Context, in *s3api.GetObjectAttributesRequest) (*s3api.GetObjectAttributesOutput, error) {
	b, v, err := s.object(ctx, in.Bucket, in.ExpectedBucketOwner, in.Key, in.VersionId)
	if err != nil {
		return nil, err
	}
	out := &s3api.GetObjectAttributesOutput{LastModified: new(v.modified()), VersionId: shownID(b, v)}
	if len(in.ObjectAttributes) == 0 {
		return nil, errInvalidArgument("x-amz-object-attributes", "", "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	for _, list := range in.ObjectAttributes {
		for name := range strings.SplitSeq(string(list), ",") {
			switch strings.TrimSpace(name) {
			case "ETag":
				out.ETag = &v.ETag // without quotes, unlike everywhere else
			case "ObjectSize":
				out.ObjectSize = &v.Size
			case "StorageClass":
				out.StorageClass = new(s3api.StorageClassStandard)
			case "Checksum":
				if v.Sum.Algorithm != "" {
					sum := v.Sum
					sum.Value, _, _ = strings.Cut(sum.Value, "-") // here AWS leaves the number of parts out
					c := &s3api.Checksum{ChecksumType: new(s3api.ChecksumType(sum.kind()))}
					fields{&c.ChecksumCRC32, &c.ChecksumCRC32C, &c.ChecksumCRC64NVME, &c.ChecksumSHA1, &c.ChecksumSHA256, &c.ChecksumSHA512, &c.ChecksumMD5}.set(sum)
					out.Checksum = c
				}
			case "ObjectParts":
				if out.ObjectParts, err = s.attributeParts(ctx, v, in); err != nil {
					return nil, err
				}
			default:
				return nil, errInvalidArgument("x-amz-object-attributes", name, "Invalid attribute name specified.")
			}
		}
	}
	return out, nil
}

// attributeParts lists the parts of a multipart object; AWS lists them only
// where each has a checksum of its own that counts.
func (s *Service) attributeParts(ctx context.Context, v *version, in *s3api.GetObjectAttributesRequest) (*s3api.GetObjectAttributesParts, error) {
	if v.Data.Kind != inManifest {
		return nil, nil
	}
	limit, err := pageSize("max-parts", in.MaxParts)
	if err != nil {
		return nil, err
	}
	marker := awsapi.Val(in.PartNumberMarker)
	out := &s3api.GetObjectAttributesParts{TotalPartsCount: new(int32(v.Parts))}
	if v.Sum.kind() != composite {
		return out, nil
	}
	m, err := s.readManifest(ctx, v.Data.ID)
	if errors.Is(err, errAgain) {
		return nil, errNoSuchKey(awsapi.Val(in.Key)) // deleted while it was looked at
	}
	if err != nil {
		return nil, err
	}
	out.PartNumberMarker, out.MaxParts, out.IsTruncated = &marker, new(int32(limit)), new(false)
	out.NextPartNumberMarker = new(int32(0))
	for _, p := range m.Parts {
		if int32(p.Number) <= marker {
			continue
		}
		if len(out.Parts) == limit {
			*out.IsTruncated = true
			break
		}
		w := s3api.ObjectPart{PartNumber: new(int32(p.Number)), Size: new(p.Size)}
		fields{&w.ChecksumCRC32, &w.ChecksumCRC32C, &w.ChecksumCRC64NVME, &w.ChecksumSHA1, &w.ChecksumSHA256, &w.ChecksumSHA512, &w.ChecksumMD5}.set(p.Sum)
		out.Parts = append(out.Parts, w)
		out.NextPartNumberMarker = w.PartNumber
	}
	return out, nil
}
