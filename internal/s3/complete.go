package s3

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"davy/api/s3api"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// CompleteMultipartUpload makes an object of an upload's parts. It writes a
// manifest and copies no bytes. Repeating it after success succeeds again while
// the object is the latest version, so that a client whose connection broke
// can retry.
func (s *Service) CompleteMultipartUpload(ctx context.Context, in *s3api.CompleteMultipartUploadRequest) (*s3api.CompleteMultipartUploadOutput, error) {
	key, id := awsapi.Val(in.Key), awsapi.Val(in.UploadId)
	asked := demands{customerKey: [3]*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5}}
	if err := asked.refuse(); err != nil {
		return nil, err
	}
	if in.MultipartUpload == nil || len(in.MultipartUpload.Parts) == 0 || len(in.MultipartUpload.Parts) > maxParts {
		return nil, errMalformedXML()
	}
	last := 0
	for _, p := range in.MultipartUpload.Parts {
		n, err := partNumber(p.PartNumber)
		if err != nil {
			return nil, err
		}
		if n <= last {
			return nil, fault(http.StatusBadRequest, "InvalidPartOrder",
				"The list of parts was not in ascending order. The parts list must be specified in order by part number.", "UploadId", id)
		}
		last = n
	}

	var made version
	var shown *string
	var region string
	err := s.update(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner), key, func(c *change) error {
		region = c.bucket.Region
		up, err := s.findUpload(ctx, c.bucket, key, id)
		if err != nil {
			if v := c.latest; v != nil && v.Data.Kind == inManifest && v.Data.ID == id {
				made, shown = *v, shownID(c.bucket, v)
				return nil
			}
			return err
		}
		if err := (conditions{match: in.IfMatch, noneMatch: in.IfNoneMatch}).write(c.latest, key); err != nil {
			return err
		}
		parts, err := c.assemble(ctx, up, in)
		if err != nil {
			return err
		}
		made = version{
			Seq: c.next(), ETag: multipartETag(parts), Parts: len(parts), Header: up.Header, Meta: up.Meta, Tags: up.Tags,
			Data: extent{Kind: inManifest, ID: id, Owner: newID()},
		}
		for _, p := range parts {
			made.Size += p.Size
		}
		if made.Size > maxObject {
			return errEntityTooLarge(made.Size, maxObject)
		}
		if want := in.MpuObjectSize; want != nil && *want != made.Size {
			return errInvalidRequest(fmt.Sprintf("The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d", *want, made.Size))
		}
		if made.Sum, err = wholeSum(up, parts, in); err != nil {
			return err
		}
		c.op(spaceUploads(c.bucket.ID), uploadRow(key, id), nil, up.rev)
		c.op(spaceRef, id+"/"+upRefOwner, nil, state.Any)
		c.op(spaceManifest(id), "", encode(manifest{Parts: parts}), state.Absent)
		c.op(spaceSweep, id, []byte{'1'}, state.Any)
		c.released = append(c.released, extent{Kind: leftovers, ID: id})
		if err := c.put(ctx, &made); err != nil {
			return err
		}
		shown = shownID(c.bucket, &made)
		return c.emit(ctx, eventComplete, &made)
	})
	if err != nil {
		return nil, err
	}
	out := &s3api.CompleteMultipartUploadOutput{
		Bucket: in.Bucket, Key: in.Key, ETag: new(made.quotedETag()), VersionId: shown,
		Location: new(objectURL(ctx, awsapi.Val(in.Bucket), key, region)), ChecksumType: new(s3api.ChecksumType(made.Sum.kind())),
	}
	fields{
		&out.ChecksumCRC32, &out.ChecksumCRC32C, &out.ChecksumCRC64NVME, &out.ChecksumSHA1, &out.ChecksumSHA256, &out.ChecksumSHA512, &out.ChecksumMD5,
	}.set(made.Sum)
	return out, nil
}

// assemble checks the client's list against the stored parts. The parts'
// revisions join the transaction, so none can be replaced under it.
func (c *change) assemble(ctx context.Context, up *uploading, in *s3api.CompleteMultipartUploadRequest) ([]part, error) {
	have, revs, err := c.s.parts(ctx, up.id)
	if err != nil {
		return nil, err
	}
	list := in.MultipartUpload.Parts
	parts := make([]part, 0, len(list))
	for i := range list {
		n := int(awsapi.Val(list[i].PartNumber))
		etag := strings.Trim(awsapi.Val(list[i].ETag), `"`)
		p := have[n]
		if p == nil || hex.EncodeToString(p.MD5) != etag || !sameSum(p, &list[i]) {
			return nil, fault(http.StatusBadRequest, "InvalidPart",
				"One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
				"UploadId", up.id, "PartNumber", strconv.Itoa(n), "ETag", etag)
		}
		if i < len(list)-1 && p.Size < minPart {
			return nil, fault(http.StatusBadRequest, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
				"ProposedSize", strconv.FormatInt(p.Size, 10), "MinSizeAllowed", strconv.Itoa(minPart),
				"PartNumber", strconv.Itoa(n), "ETag", etag)
		}
		if up.SumType == composite && sumOf(&list[i], up.Algorithm) == "" {
			a := strings.ToLower(string(up.Algorithm))
			return nil, errInvalidRequest(fmt.Sprintf("The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.", a, n))
		}
		c.batch.Checks = append(c.batch.Checks, state.Check{Space: spaceParts(up.id), Key: partRow(n), Rev: revs[n]})
		parts = append(parts, *p)
	}
	return parts, nil
}

func partSums(p *s3api.CompletedPart) []string {
	return values(p.ChecksumCRC32, p.ChecksumCRC32C, p.ChecksumCRC64NVME, p.ChecksumSHA1, p.ChecksumSHA256, p.ChecksumSHA512, p.ChecksumMD5)
}

func sumOf(p *s3api.CompletedPart, a algorithm) string {
	for i, v := range partSums(p) {
		if algorithms[i] == a {
			return v
		}
	}
	return ""
}

// sameSum compares the checksum that the client lists for a part, if Davy kept
// one of that algorithm.
func sameSum(p *part, listed *s3api.CompletedPart) bool {
	v := sumOf(listed, p.Sum.Algorithm)
	return v == "" || v == p.Sum.Value
}

// wholeSum is the checksum of the object, checked against the client's.
func wholeSum(up *uploading, parts []part, in *s3api.CompleteMultipartUploadRequest) (checksum, error) {
	if t := string(awsapi.Val(in.ChecksumType)); t != "" && up.Algorithm != "" && t != up.SumType {
		return checksum{}, errInvalidRequest(fmt.Sprintf("The upload was created using the %s checksum mode. The complete request must use the same checksum mode.", up.SumType))
	}
	list := make([]sized, len(parts))
	for i, p := range parts {
		raw, err := base64.StdEncoding.DecodeString(p.Sum.Value)
		if err != nil || len(raw) != up.algorithm().size() {
			return checksum{}, errors.New("s3: stored part checksum is damaged")
		}
		list[i] = sized{raw, p.Size}
	}
	var sum checksum
	if up.SumType == composite {
		sum = compositeSum(up.algorithm(), list)
	} else {
		sum = combinedSum(up.algorithm(), list)
	}
	for i, v := range values(in.ChecksumCRC32, in.ChecksumCRC32C, in.ChecksumCRC64NVME, in.ChecksumSHA1, in.ChecksumSHA256, in.ChecksumSHA512, in.ChecksumMD5) {
		a := algorithms[i]
		switch {
		case v == "":
		case a != sum.Algorithm:
			return checksum{}, errInvalidRequest(fmt.Sprintf("Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
				strings.ToLower(string(sum.Algorithm)), strings.ToLower(string(a))))
		case v != sum.Value && v != strings.SplitN(sum.Value, "-", 2)[0]:
			return checksum{}, fault(http.StatusBadRequest, "BadDigest",
				"The "+strings.ToLower(string(a))+" you specified did not match the calculated checksum.")
		}
	}
	return sum, nil
}

// objectURL is where a client finds the object, in the form it addressed it.
func objectURL(ctx context.Context, bucket, key, region string) string {
	path := (&url.URL{Path: "/" + key}).EscapedPath()
	r := awsapi.CallFrom(ctx).Request
	if r == nil || r.Host == "" {
		return "https://" + bucket + ".s3." + region + ".amazonaws.com" + path
	}
	scheme := "http://"
	if awsapi.CallFrom(ctx).Secure {
		scheme = "https://"
	}
	if strings.HasPrefix(r.Host, bucket+".") {
		return scheme + r.Host + path
	}
	return scheme + r.Host + "/" + bucket + path
}
