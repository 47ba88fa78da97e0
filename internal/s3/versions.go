package s3

import (
	"context"
	"strings"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// versionList fills a ListObjectVersions page.
type versionList struct {
	s      *Service
	b      *bucket
	w      walk
	enc    coding
	out    *s3api.ListObjectVersionsOutput
	count  int
	isFull bool
}

// ListObjectVersions lists every version and delete marker, newest first
// within a key.
func (s *Service) ListObjectVersions(ctx context.Context, in *s3api.ListObjectVersionsRequest) (*s3api.ListObjectVersionsOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	l := versionList{s: s, b: b, w: walk{prefix: awsapi.Val(in.Prefix), delimiter: awsapi.Val(in.Delimiter)}}
	if l.enc, err = newCoding(in.EncodingType); err != nil {
		return nil, err
	}
	if l.w.max, err = pageSize("max-keys", in.MaxKeys); err != nil {
		return nil, err
	}
	marker, idMarker := awsapi.Val(in.KeyMarker), awsapi.Val(in.VersionIdMarker)
	if idMarker != "" && marker == "" {
		return nil, errInvalidArgument("version-id-marker", idMarker, "A version-id marker cannot be specified without a key marker.")
	}
	l.out = &s3api.ListObjectVersionsOutput{
		Name: in.Bucket, Prefix: l.enc.text(l.w.prefix), Delimiter: l.enc.shown(in.Delimiter), KeyMarker: l.enc.text(marker),
		VersionIdMarker: new(idMarker), MaxKeys: new(int32(l.w.max)), IsTruncated: new(false), EncodingType: in.EncodingType,
	}
	if l.w.max == 0 {
		return l.out, nil
	}
	if idMarker != "" && strings.HasPrefix(marker, l.w.prefix) {
		if err := l.resume(ctx, marker, idMarker); err != nil {
			return nil, err
		}
	}
	if err := l.walk(ctx, marker); err != nil {
		return nil, err
	}
	if !l.isFull {
		l.out.NextKeyMarker, l.out.NextVersionIdMarker = nil, nil
	}
	return l.out, nil
}

// resume lists the versions of the marker's key that are behind the marker.
func (l *versionList) resume(ctx context.Context, key, id string) error {
	if _, rolled := l.w.commonPrefix(key); rolled {
		return nil
	}
	latest, _, err := l.s.latest(ctx, l.b, key)
	if err != nil || latest == nil {
		return err
	}
	v, _, err := l.s.named(ctx, l.b, key, id, latest)
	if err != nil {
		return err
	}
	seq, ok := versionSeq(id) // of a version that was deleted meanwhile
	if v != nil {
		seq, ok = v.Seq, true
	}
	if !ok {
		return nil
	}
	return l.olderThan(ctx, key, seq)
}

func (l *versionList) olderThan(ctx context.Context, key string, seq uint64) error {
	prefix := keyPrefix(key)
	rows, err := l.s.store.Rows(ctx, spaceVersions(l.b.ID), prefix, versionRowKey(key, seq)+"\x00", l.w.max-l.count+1)
	if err != nil {
		return storageError("list object versions", err)
	}
	for _, r := range rows {
		v, err := decode[version]("object version", r.Value)
		if err != nil {
			return err
		}
		if !l.add(key, v, false) {
			return nil
		}
	}
	return nil
}

// walk lists the keys behind marker with all their versions.
func (l *versionList) walk(ctx context.Context, marker string) error {
	from, ok := l.w.start(marker)
	for ok && !l.isFull {
		rows, err := l.s.store.Rows(ctx, spaceObjects(l.b.ID), l.w.prefix, from, maxListed)
		if err != nil {
			return storageError("list objects", err)
		}
		found, err := entries(rows)
		if err != nil {
			return err
		}
		skip := ""
		for _, e := range found {
			from = e.key + "\x00"
			if skip != "" && strings.HasPrefix(e.key, skip) {
				continue
			}
			if common, rolled := l.w.commonPrefix(e.key); rolled {
				skip = common
				if !l.addPrefix(common) {
					return nil
				}
				continue
			}
			if !l.add(e.key, e.v, true) {
				return nil
			}
			if l.b.Versioning == "" {
				continue
			}
			if err := l.olderThan(ctx, e.key, e.v.Seq); err != nil || l.isFull {
				return err
			}
		}
		if len(rows) < maxListed {
			return nil
		}
		if skip != "" && strings.HasPrefix(found[len(found)-1].key, skip) {
			from, ok = after(skip)
		}
	}
	return nil
}

// room tells whether one more entry fits; otherwise the page ends as truncated.
func (l *versionList) room() bool {
	if l.count == l.w.max {
		*l.out.IsTruncated, l.isFull = true, true
		return false
	}
	l.count++
	return true
}

func (l *versionList) addPrefix(common string) bool {
	if !l.room() {
		return false
	}
	l.out.CommonPrefixes = append(l.out.CommonPrefixes, s3api.CommonPrefix{Prefix: l.enc.text(common)})
	l.mark(common, "")
	return true
}

func (l *versionList) add(key string, v *version, latest bool) bool {
	if !l.room() {
		return false
	}
	if v.Marker {
		l.out.DeleteMarkers = append(l.out.DeleteMarkers, s3api.DeleteMarkerEntry{
			Key: l.enc.text(key), VersionId: new(v.wireID()), IsLatest: &latest, LastModified: new(v.modified()), Owner: ownerOf(l.b.Owner),
		})
	} else {
		o := s3api.ObjectVersion{
			Key: l.enc.text(key), VersionId: new(v.wireID()), IsLatest: &latest, LastModified: new(v.modified()), Owner: ownerOf(l.b.Owner),
			ETag: new(v.quotedETag()), Size: &v.Size, StorageClass: new(s3api.ObjectVersionStorageClassStandard),
		}
		if v.Sum.Algorithm != "" {
			o.ChecksumAlgorithm = []s3api.ChecksumAlgorithm{s3api.ChecksumAlgorithm(v.Sum.Algorithm)}
			o.ChecksumType = new(s3api.ChecksumType(v.Sum.kind()))
		}
		l.out.Versions = append(l.out.Versions, o)
	}
	l.mark(key, v.wireID())
	return true
}

// mark remembers where the next page begins, should there be one.
func (l *versionList) mark(key, id string) {
	l.out.NextKeyMarker, l.out.NextVersionIdMarker = l.enc.text(key), optional(id)
}
