package s3

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"davy/internal/awsapi"
	"davy/internal/state"
)

// maxAttempts bounds how often a write starts again because somebody else
// changed what it was based on.
const maxAttempts = 32

// change collects one transaction on one key.
type change struct {
	s      *Service
	bucket *bucket
	key    string
	call   *awsapi.Call

	latest *version // nil: the key has no version
	rev    int64    // of the latest version's row; state.Absent: none
	batch  state.Batch

	keep     string   // a reference that moves from an old version to a new one
	released []extent // lost their owner: looked at after the commit
}

// update runs plan and commits what it put into the change, again and again
// while others change the same key or its bucket in between. Plan must have
// no effects outside the change.
func (s *Service) update(ctx context.Context, name, owner, key string, plan func(*change) error) error {
	unlock, err := s.keys.lock(ctx, name+"/"+key)
	if err != nil {
		return err
	}
	defer unlock()
	for range maxAttempts {
		b, err := s.bucket(ctx, name, owner)
		if err != nil {
			return err
		}
		c := &change{s: s, bucket: b, key: key, call: awsapi.CallFrom(ctx)}
		if c.latest, c.rev, err = s.latest(ctx, b, key); err != nil {
			return err
		}
		if err := plan(c); err != nil {
			if errors.Is(err, errAgain) {
				continue
			}
			return err
		}
		if len(c.batch.Ops) == 0 && len(c.batch.Send) == 0 {
			return nil
		}
		// The bucket's revision covers its existence and its notification,
		// versioning and ownership settings.
		c.batch.Checks = append(c.batch.Checks, state.Check{Key: bucketDocs + name, Rev: b.rev})
		_, err = s.store.Commit(ctx, c.batch)
		if errors.Is(err, state.ErrConflict) {
			s.buckets.drop(name) // perhaps it is what changed
			continue
		}
		if err != nil {
			return storageError("commit object", err)
		}
		for _, e := range c.released {
			s.bury(ctx, e)
		}
		return nil
	}
	return errBusy()
}

// errAgain is returned by a plan that saw something vanish.
var errAgain = errors.New("s3: changed meanwhile")

// latest reads the newest version of a key; nil when there is none.
func (s *Service) latest(ctx context.Context, b *bucket, key string) (*version, int64, error) {
	row, err := s.store.GetRow(ctx, spaceObjects(b.ID), key)
	if errors.Is(err, state.ErrNotFound) {
		return nil, state.Absent, nil
	}
	if err != nil {
		return nil, 0, storageError("read object", err)
	}
	v, err := decode[version]("object", row.Value)
	return v, row.Rev, err
}

func (c *change) op(space, key string, value []byte, rev int64) {
	c.batch.Ops = append(c.batch.Ops, state.Op{Space: space, Key: key, Value: value, IfRev: rev})
}

// own records that a version owns e; the first owner's row comes with the blob.
func (c *change) own(e extent) {
	if (e.Kind == inBlob || e.Kind == inManifest) && e.ref() != c.keep {
		c.op(spaceRef, e.ref(), []byte{'1'}, state.Any)
	}
}

// disown removes a version's bytes, or its claim on them.
func (c *change) disown(v *version) {
	switch e := v.Data; e.Kind {
	case inBody:
		c.op(spaceBody, e.ID, nil, state.Any)
	case inBlob, inManifest:
		if e.ref() == c.keep {
			return
		}
		c.op(spaceRef, e.ref(), nil, state.Any)
		c.released = append(c.released, e)
	}
}

// put makes v the latest version, as the bucket's versioning state asks for.
// v has its sequence number and data already.
func (c *change) put(ctx context.Context, v *version) error {
	if c.bucket.Versioning == versioningEnabled {
		v.ID = newVersionID(v.Seq)
	}
	if old := c.latest; old != nil {
		switch {
		case old.ID == "" && v.ID == "":
			c.disown(old) // the null version is replaced
		default:
			v.NullSeq = old.NullSeq
			if old.ID == "" {
				v.NullSeq = old.Seq
			}
			if err := c.shelve(old); err != nil {
				return err
			}
			if v.ID == "" && old.NullSeq != 0 {
				if err := c.dropOld(ctx, old.NullSeq); err != nil {
					return err
				}
				v.NullSeq = 0
			}
		}
	}
	c.own(v.Data)
	c.op(spaceObjects(c.bucket.ID), c.key, encode(v), c.rev)
	return nil
}

// shelve moves the latest version to the older ones.
func (c *change) shelve(old *version) error {
	w := *old
	w.NullSeq = 0
	c.op(spaceVersions(c.bucket.ID), versionRowKey(c.key, old.Seq), encode(&w), state.Absent)
	return nil
}

// older reads an older version by its sequence number.
func (c *change) older(ctx context.Context, seq uint64) (*version, int64, error) {
	return c.s.older(ctx, c.bucket, c.key, seq)
}

func (s *Service) older(ctx context.Context, b *bucket, key string, seq uint64) (*version, int64, error) {
	row, err := s.store.GetRow(ctx, spaceVersions(b.ID), versionRowKey(key, seq))
	if errors.Is(err, state.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, storageError("read object version", err)
	}
	v, err := decode[version]("object version", row.Value)
	return v, row.Rev, err
}

// dropOld deletes an older version.
func (c *change) dropOld(ctx context.Context, seq uint64) error {
	v, rev, err := c.older(ctx, seq)
	if err != nil {
		return err
	}
	if v == nil {
		return errAgain
	}
	c.disown(v)
	c.op(spaceVersions(c.bucket.ID), versionRowKey(c.key, seq), nil, rev)
	return nil
}

// dropLatest deletes the latest version; the newest older one takes its place.
func (c *change) dropLatest(ctx context.Context) error {
	c.disown(c.latest)
	next, tail, rev, err := c.newestOlder(ctx)
	if err != nil {
		return err
	}
	objects := spaceObjects(c.bucket.ID)
	if next == nil {
		c.op(objects, c.key, nil, c.rev)
		return nil
	}
	if next.ID != "" {
		next.NullSeq = c.latest.NullSeq
	}
	c.op(spaceVersions(c.bucket.ID), keyPrefix(c.key)+tail, nil, rev)
	c.op(objects, c.key, encode(next), c.rev)
	return nil
}

func (c *change) newestOlder(ctx context.Context) (v *version, tail string, rev int64, err error) {
	if c.bucket.Versioning == "" {
		return nil, "", 0, nil // versioning was never on: there are none
	}
	prefix := keyPrefix(c.key)
	rows, err := c.s.store.Rows(ctx, spaceVersions(c.bucket.ID), prefix, prefix, 1)
	if err != nil || len(rows) == 0 {
		return nil, "", 0, storageError("read object versions", err)
	}
	v, err = decode[version]("object version", rows[0].Value)
	return v, strings.TrimPrefix(rows[0].Key, prefix), rows[0].Rev, err
}

// find returns the version that the client named; id empty: the latest. nil
// when there is none.
func (s *Service) find(ctx context.Context, b *bucket, key, id string) (*version, error) {
	latest, _, err := s.latest(ctx, b, key)
	if err != nil {
		return nil, err
	}
	v, _, err := s.named(ctx, b, key, id, latest)
	return v, err
}

// named finds a version by its id among latest and the older ones; rev is
// that of an older one's row.
func (s *Service) named(ctx context.Context, b *bucket, key, id string, latest *version) (v *version, rev int64, err error) {
	if id == "" || latest != nil && latest.wireID() == id {
		return latest, 0, nil
	}
	seq := uint64(0)
	if id != nullVersion {
		var ok bool
		if seq, ok = versionSeq(id); !ok {
			return nil, 0, errInvalidArgument("versionId", id, "Invalid version id specified")
		}
	} else if latest != nil {
		seq = latest.NullSeq
	}
	if seq == 0 || latest == nil {
		return nil, 0, nil
	}
	v, rev, err = s.older(ctx, b, key, seq)
	if err != nil || v == nil || v.wireID() != id {
		return nil, 0, err
	}
	return v, rev, nil
}

// object finds a version that a client wants to read.
func (s *Service) object(ctx context.Context, bucket, owner, key, id *string) (*bucket, *version, error) {
	b, err := s.bucket(ctx, awsapi.Val(bucket), awsapi.Val(owner))
	if err != nil {
		return nil, nil, err
	}
	if err := validKey(awsapi.Val(key)); err != nil {
		return nil, nil, err
	}
	v, err := s.find(ctx, b, awsapi.Val(key), awsapi.Val(id))
	if err != nil {
		return nil, nil, err
	}
	if awsapi.Val(id) == "" && (v == nil || v.Marker) && s.lists != nil && awsapi.CallFrom(ctx).Service == "s3" {
		// Who may not list is not told what is there and what is not.
		if err := s.lists.MayList(ctx, b.Name); err != nil {
			return nil, nil, err
		}
	}
	return b, v, mustExist(ctx, b, v, awsapi.Val(key), awsapi.Val(id))
}

// ListAuthorizer decides whether a caller may learn that a key does not exist.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
type ListAuthorizer interface {
	// MayList returns nil or the refusal of s3:ListBucket.
	MayList(ctx context.Context, bucket string) error
}

// mustExist answers the error for a version that is not there or is a delete
// marker; id is what the client asked for.
func mustExist(ctx context.Context, b *bucket, v *version, key, id string) error {
	switch {
	case v == nil && id != "":
		return errNoSuchVersion(key, id)
	case v == nil:
		return errNoSuchKey(key)
	case !v.Marker:
		return nil
	}
	setHeader(ctx, "X-Amz-Delete-Marker", "true")
	setHeader(ctx, "X-Amz-Version-Id", v.wireID())
	if id == "" {
		return errNoSuchKey(key)
	}
	setHeader(ctx, "Last-Modified", v.modified().Format(http.TimeFormat))
	setHeader(ctx, "Allow", "DELETE")
	return fault(http.StatusMethodNotAllowed, "MethodNotAllowed",
		"The specified method is not allowed against this resource.", "Method", methodOf(ctx), "ResourceType", "DeleteMarker")
}

// shownID is the version id that a response carries: none in a bucket that
// never had versions.
func shownID(b *bucket, v *version) *string {
	if b.Versioning == "" {
		return nil
	}
	return new(v.wireID())
}

func setHeader(ctx context.Context, name, value string) {
	call := awsapi.CallFrom(ctx)
	if call.Response.Header == nil {
		call.Response.Header = make(http.Header)
	}
	call.Response.Header.Set(name, value)
}

func methodOf(ctx context.Context) string {
	if r := awsapi.CallFrom(ctx).Request; r != nil {
		return r.Method
	}
	return http.MethodGet
}
