package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"davy/api/s3api"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// bucket is a bucket's document. ID differs for each bucket that ever had the
// name, so rows of a deleted bucket can't reappear in its successor.
type bucket struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Owner   string `json:"owner"` // account id
	Region  string `json:"region"`
	Created int64  `json:"created"` // seconds since the epoch

	Versioning string `json:"versioning,omitempty"` // empty: never enabled
	Policy     string `json:"policy,omitempty"`
	// Bound are the ids that the principals of Policy had when it was put.
	Bound        map[string]string `json:"bound,omitempty"`
	Tags         []tag             `json:"tags,omitempty"`
	PublicAccess *publicAccess     `json:"publicAccess,omitempty"` // nil: deleted
	Notify       []notification    `json:"notify,omitempty"`

	rev  int64
	size int // of the document
}

const (
	versioningEnabled   = "Enabled"
	versioningSuspended = "Suspended"

	defaultRegion    = "us-east-1" // whose location constraint is empty
	maxBucketsListed = 10000
)

func (b *bucket) arn() string { return "arn:aws:s3:::" + b.Name }

// Info is what authorisation needs of a bucket.
type Info struct {
	Owner  string // account id
	Region string
	Policy string            // JSON; empty: none, or none for this caller
	Bound  map[string]string // ids of the policy's principals, by their ARNs
	Tags   map[string]string
}

// Bucket returns what authorisation needs; ok is false when there is no such
// bucket. Where RestrictPublicBuckets is set, a public policy says nothing to
// callers outside the owner's account; the caller is ctx's.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
func (s *Service) Bucket(ctx context.Context, name string) (info Info, ok bool, err error) {
	b, err := s.lookup(ctx, name)
	if err != nil || b == nil {
		return Info{}, false, err
	}
	info = Info{Owner: b.Owner, Region: b.Region, Policy: b.Policy, Bound: b.Bound, Tags: tagMap(b.Tags)}
	if p := b.PublicAccess; p != nil && p.RestrictBuckets && b.Policy != "" &&
		awsapi.CallFrom(ctx).Principal.Account != b.Owner && publicPolicy(b.Policy) {
		info.Policy = "" // without it nobody from outside has access: its denials are not missed
	}
	return info, true, nil
}

// lookup finds a bucket; nil when there is none. The result is shared: it must
// not be changed.
func (s *Service) lookup(ctx context.Context, name string) (*bucket, error) {
	b, ticket := s.buckets.get(name)
	if b != nil {
		return b, nil
	}
	b, err := s.load(ctx, name)
	if b != nil {
		s.buckets.put(b, ticket)
	}
	return b, err
}

// load reads a bucket from the store; nil when there is none.
func (s *Service) load(ctx context.Context, name string) (*bucket, error) {
	doc, err := s.store.Get(ctx, bucketDocs+name)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storageError("read bucket", err)
	}
	b, err := decode[bucket]("bucket", doc.Value)
	if err != nil {
		return nil, err
	}
	b.rev, b.size = doc.Rev, len(doc.Value)
	return b, nil
}

// bucket reads a bucket that must exist and, if the client says so, belong to
// owner.
func (s *Service) bucket(ctx context.Context, name, owner string) (*bucket, error) {
	b, err := s.lookup(ctx, name)
	if err := requireBucket(b, err, name, owner); err != nil {
		return nil, err
	}
	return b, nil
}

func requireBucket(b *bucket, err error, name, owner string) error {
	if err != nil {
		return err
	}
	if b == nil {
		return errNoSuchBucket(name)
	}
	if owner != "" && owner != b.Owner {
		return errAccessDenied()
	}
	return nil
}

// commitBucket commits a batch that writes a bucket's document, which is
// forgotten whatever the outcome: after an error it may be the new one.
func (s *Service) commitBucket(ctx context.Context, name string, b state.Batch) error {
	defer s.buckets.drop(name)
	_, err := s.store.Commit(ctx, b)
	return err
}

// setting changes a bucket's document.
func (s *Service) setting(ctx context.Context, name, owner *string, change func(*bucket) error) error {
	for range maxAttempts {
		b, err := s.load(ctx, awsapi.Val(name))
		if err := requireBucket(b, err, awsapi.Val(name), awsapi.Val(owner)); err != nil {
			return err
		}
		if err := change(b); err != nil {
			return err
		}
		err = s.commitBucket(ctx, b.Name, state.Batch{Ops: []state.Op{{Key: bucketDocs + b.Name, Value: encode(b), IfRev: b.rev}}})
		if !errors.Is(err, state.ErrConflict) {
			return storageError("commit bucket", err)
		}
	}
	return errBusy()
}

var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+$`)

// location is the region that a CreateBucket asks for at an endpoint's region.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html
func location(endpoint, constraint string) (string, error) {
	if endpoint == "" {
		endpoint = defaultRegion
	}
	region := constraint
	if constraint == "EU" {
		region = "eu-west-1"
	}
	incompatible := func(name string) error {
		return fault(http.StatusBadRequest, "IllegalLocationConstraintException",
			fmt.Sprintf("The %s location constraint is incompatible for the region specific endpoint this request was sent to.", name))
	}
	switch {
	case constraint == "" && endpoint == defaultRegion:
		return defaultRegion, nil
	case constraint == "":
		return "", incompatible("unspecified")
	case constraint == defaultRegion || !regionName.MatchString(region):
		return "", fault(http.StatusBadRequest, "InvalidLocationConstraint",
			"The specified location-constraint is not valid", "LocationConstraint", constraint)
	case endpoint != defaultRegion && region != endpoint:
		return "", incompatible(constraint)
	}
	return region, nil
}

// CreateBucket makes a bucket in the region of the request or of its location
// constraint. Names are global.
func (s *Service) CreateBucket(ctx context.Context, in *s3api.CreateBucketRequest) (*s3api.CreateBucketOutput, error) {
	call := awsapi.CallFrom(ctx)
	name := awsapi.Val(in.Bucket)
	if !validBucketName(name) {
		return nil, fault(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.", "BucketName", name)
	}
	if err := refuseBucketGrants(in); err != nil {
		return nil, err
	}
	constraint := ""
	var tags []tag
	if conf := in.CreateBucketConfiguration; conf != nil {
		constraint = string(awsapi.Val(conf.LocationConstraint))
		if conf.Bucket != nil || conf.Location != nil {
			return nil, fault(http.StatusNotImplemented, "NotImplemented", "Directory buckets are not implemented.")
		}
		var err error
		if tags, err = checkTags(conf.Tags, maxBucketTags); err != nil {
			return nil, err
		}
	}
	region, err := location(call.Region, constraint)
	if err != nil {
		return nil, err
	}
	b := &bucket{
		Name: name, ID: newID(), Owner: call.Account, Region: region, Created: s.now().Unix(),
		Tags: tags, PublicAccess: allBlocked(),
	}
	err = s.commitBucket(ctx, name, state.Batch{Ops: []state.Op{{Key: bucketDocs + name, Value: encode(b), IfRev: state.Absent}}})
	if errors.Is(err, state.ErrConflict) {
		err = s.recreate(ctx, name, call.Account, region)
	}
	if err != nil {
		return nil, storageError("create bucket", err)
	}
	at := "/" + name
	if region != defaultRegion {
		at = "http://" + name + ".s3.amazonaws.com/"
	}
	return &s3api.CreateBucketOutput{Location: &at}, nil
}

// recreate answers a CreateBucket whose name is taken. In us-east-1 AWS still
// answers the owner with success.
func (s *Service) recreate(ctx context.Context, name, account, region string) error {
	b, err := s.lookup(ctx, name)
	switch {
	case err != nil:
		return err
	case b == nil:
		return errBusy() // deleted at this very moment
	case b.Owner != account:
		return fault(http.StatusConflict, "BucketAlreadyExists",
			"The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
			"BucketName", name)
	case b.Region == defaultRegion && region == defaultRegion:
		return nil
	}
	return fault(http.StatusConflict, "BucketAlreadyOwnedByYou",
		"Your previous request to create the named bucket succeeded and you already own it.", "BucketName", name)
}

// DeleteBucket removes an empty bucket. Uploads in progress don't count; they
// are aborted in the background.
func (s *Service) DeleteBucket(ctx context.Context, in *s3api.DeleteBucketRequest) (*s3api.DeleteBucketOutput, error) {
	name := awsapi.Val(in.Bucket)
	for range maxAttempts {
		b, err := s.load(ctx, name)
		if err := requireBucket(b, err, name, awsapi.Val(in.ExpectedBucketOwner)); err != nil {
			return nil, err
		}
		err = s.commitBucket(ctx, name, state.Batch{
			Frees: true,
			Empty: []string{spaceObjects(b.ID), spaceVersions(b.ID)},
			Ops: []state.Op{
				{Key: bucketDocs + name, IfRev: b.rev},
				{Key: droppedDocs + b.ID, Value: encode(b), IfRev: state.Any},
			},
		})
		if err == nil {
			return nil, nil
		}
		if !errors.Is(err, state.ErrConflict) {
			return nil, storageError("delete bucket", err)
		}
		rows, err := s.store.Rows(ctx, spaceObjects(b.ID), "", "", 1)
		if err != nil {
			return nil, storageError("list objects", err)
		}
		if len(rows) > 0 {
			message := "The bucket you tried to delete is not empty"
			if b.Versioning != "" {
				message += ". You must delete all versions in the bucket."
			}
			return nil, fault(http.StatusConflict, "BucketNotEmpty", message, "BucketName", name)
		}
	}
	return nil, errBusy()
}

// HeadBucket says where a bucket is. Davy serves every region from one
// address, so a request signed for another region is answered here instead of
// being redirected; no SDK depends on the redirect.
func (s *Service) HeadBucket(ctx context.Context, in *s3api.HeadBucketRequest) (*s3api.HeadBucketOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	return &s3api.HeadBucketOutput{BucketRegion: &b.Region, AccessPointAlias: new(false)}, nil
}

// GetBucketLocation returns the location constraint, which is empty for
// us-east-1.
func (s *Service) GetBucketLocation(ctx context.Context, in *s3api.GetBucketLocationRequest) (*s3api.GetBucketLocationOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	out := &s3api.GetBucketLocationOutput{}
	if b.Region != defaultRegion {
		out.LocationConstraint = new(s3api.BucketLocationConstraint(b.Region))
	}
	return out, nil
}

// ListBuckets lists the caller's buckets in the order of their names.
func (s *Service) ListBuckets(ctx context.Context, in *s3api.ListBucketsRequest) (*s3api.ListBucketsOutput, error) {
	call := awsapi.CallFrom(ctx)
	limit := maxBucketsListed
	if in.MaxBuckets != nil {
		limit = int(*in.MaxBuckets)
		if limit < 1 || limit > maxBucketsListed {
			return nil, errInvalidArgument("max-buckets", fmt.Sprint(limit), "Argument max-buckets must be an integer between 1 and 10000")
		}
	}
	prefix, last := awsapi.Val(in.Prefix), ""
	if t := awsapi.Val(in.ContinuationToken); t != "" {
		raw, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil || !strings.HasPrefix(string(raw), "b:") {
			return nil, errToken()
		}
		last = string(raw[2:])
	}
	out := &s3api.ListBucketsOutput{Owner: ownerOf(call.Account), Prefix: in.Prefix, Buckets: []s3api.Bucket{}}
	region := string(awsapi.Val(in.BucketRegion))
	after := ""
	if last != "" {
		after = bucketDocs + last
	}
	for {
		docs, err := s.store.List(ctx, bucketDocs+prefix, after, 500)
		if err != nil {
			return nil, storageError("list buckets", err)
		}
		for _, d := range docs {
			after = d.Key
			b, err := decode[bucket]("bucket", d.Value)
			if err != nil {
				return nil, err
			}
			if b.Owner != call.Account || region != "" && b.Region != region {
				continue
			}
			if len(out.Buckets) == limit {
				previous := awsapi.Val(out.Buckets[limit-1].Name)
				out.ContinuationToken = new(base64.RawURLEncoding.EncodeToString([]byte("b:" + previous)))
				return out, nil
			}
			listed := s3api.Bucket{Name: &b.Name, CreationDate: new(time.Unix(b.Created, 0).UTC())}
			if in.MaxBuckets != nil || in.Prefix != nil || region != "" || last != "" {
				listed.BucketRegion = &b.Region // AWS tells it in paginated listings only
			}
			out.Buckets = append(out.Buckets, listed)
		}
		if len(docs) < 500 {
			return out, nil
		}
	}
}

// canonicalID is the 64-digit id that S3 uses for an account.
func canonicalID(account string) string {
	sum := sha256.Sum256([]byte("davy canonical user " + account))
	return hex.EncodeToString(sum[:])
}

func ownerOf(account string) *s3api.Owner { return &s3api.Owner{ID: new(canonicalID(account))} }

func errToken() error {
	return errInvalidArgument("continuation-token", "", "The continuation token provided is incorrect")
}
