package s3

import (
	"context"
	"net/http"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// ownerEnforced is the only object ownership: Davy has no ACLs.
const ownerEnforced = "BucketOwnerEnforced"

// publicAccess is S3 Block Public Access. The two settings about ACLs hold
// whatever their value, since there are no ACLs.
type publicAccess struct {
	BlockACLs       bool `json:"blockAcls"`
	IgnoreACLs      bool `json:"ignoreAcls"`
	BlockPolicy     bool `json:"blockPolicy"`
	RestrictBuckets bool `json:"restrictBuckets"`
}

// allBlocked is what new buckets have.
func allBlocked() *publicAccess { return &publicAccess{true, true, true, true} }

// PutBucketVersioning switches versioning on or suspends it.
func (s *Service) PutBucketVersioning(ctx context.Context, in *s3api.PutBucketVersioningRequest) (*s3api.PutBucketVersioningOutput, error) {
	conf := in.VersioningConfiguration
	if conf == nil {
		return nil, errMalformedXML()
	}
	if in.MFA != nil || awsapi.Val(conf.MFADelete) == "Enabled" {
		return nil, errHeader("x-amz-mfa", "Davy has no MFA delete.")
	}
	status := string(awsapi.Val(conf.Status))
	if status != versioningEnabled && status != versioningSuspended {
		return nil, fault(http.StatusBadRequest, "IllegalVersioningConfigurationException",
			"The Versioning element must be specified")
	}
	return nil, s.setting(ctx, in.Bucket, in.ExpectedBucketOwner, func(b *bucket) error {
		b.Versioning = status
		return nil
	})
}

// GetBucketVersioning returns the state; nothing while it was never enabled.
func (s *Service) GetBucketVersioning(ctx context.Context, in *s3api.GetBucketVersioningRequest) (*s3api.GetBucketVersioningOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	out := &s3api.GetBucketVersioningOutput{}
	if b.Versioning != "" {
		out.Status = new(s3api.BucketVersioningStatus(b.Versioning))
	}
	return out, nil
}

// PutBucketTagging replaces the bucket's tags.
func (s *Service) PutBucketTagging(ctx context.Context, in *s3api.PutBucketTaggingRequest) (*s3api.PutBucketTaggingOutput, error) {
	if in.Tagging == nil {
		return nil, errMalformedXML()
	}
	tags, err := checkTags(in.Tagging.TagSet, maxBucketTags)
	if err != nil {
		return nil, err
	}
	return nil, s.setting(ctx, in.Bucket, in.ExpectedBucketOwner, func(b *bucket) error {
		b.Tags = tags
		return nil
	})
}

// GetBucketTagging returns the bucket's tags.
func (s *Service) GetBucketTagging(ctx context.Context, in *s3api.GetBucketTaggingRequest) (*s3api.GetBucketTaggingOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	if len(b.Tags) == 0 {
		return nil, fault(http.StatusNotFound, "NoSuchTagSet", "The TagSet does not exist", "BucketName", b.Name)
	}
	return &s3api.GetBucketTaggingOutput{TagSet: wireTags(b.Tags)}, nil
}

// DeleteBucketTagging removes the bucket's tags.
func (s *Service) DeleteBucketTagging(ctx context.Context, in *s3api.DeleteBucketTaggingRequest) (*s3api.DeleteBucketTaggingOutput, error) {
	return nil, s.setting(ctx, in.Bucket, in.ExpectedBucketOwner, func(b *bucket) error {
		b.Tags = nil
		return nil
	})
}

// PutPublicAccessBlock sets Block Public Access.
func (s *Service) PutPublicAccessBlock(ctx context.Context, in *s3api.PutPublicAccessBlockRequest) (*s3api.PutPublicAccessBlockOutput, error) {
	conf := in.PublicAccessBlockConfiguration
	if conf == nil {
		return nil, errMalformedXML()
	}
	return nil, s.setting(ctx, in.Bucket, in.ExpectedBucketOwner, func(b *bucket) error {
		b.PublicAccess = &publicAccess{
			awsapi.Val(conf.BlockPublicAcls), awsapi.Val(conf.IgnorePublicAcls),
			awsapi.Val(conf.BlockPublicPolicy), awsapi.Val(conf.RestrictPublicBuckets),
		}
		return nil
	})
}

// GetPublicAccessBlock returns Block Public Access.
func (s *Service) GetPublicAccessBlock(ctx context.Context, in *s3api.GetPublicAccessBlockRequest) (*s3api.GetPublicAccessBlockOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	p := b.PublicAccess
	if p == nil {
		return nil, fault(http.StatusNotFound, "NoSuchPublicAccessBlockConfiguration",
			"The public access block configuration was not found", "BucketName", b.Name)
	}
	return &s3api.GetPublicAccessBlockOutput{PublicAccessBlockConfiguration: &s3api.PublicAccessBlockConfiguration{
		BlockPublicAcls: &p.BlockACLs, IgnorePublicAcls: &p.IgnoreACLs, BlockPublicPolicy: &p.BlockPolicy, RestrictPublicBuckets: &p.RestrictBuckets,
	}}, nil
}

// DeletePublicAccessBlock removes Block Public Access.
func (s *Service) DeletePublicAccessBlock(ctx context.Context, in *s3api.DeletePublicAccessBlockRequest) (*s3api.DeletePublicAccessBlockOutput, error) {
	return nil, s.setting(ctx, in.Bucket, in.ExpectedBucketOwner, func(b *bucket) error {
		b.PublicAccess = nil
		return nil
	})
}

// PutBucketOwnershipControls accepts what is in force and refuses ACLs.
func (s *Service) PutBucketOwnershipControls(ctx context.Context, in *s3api.PutBucketOwnershipControlsRequest) (*s3api.PutBucketOwnershipControlsOutput, error) {
	if in.OwnershipControls == nil || len(in.OwnershipControls.Rules) != 1 {
		return nil, errMalformedXML()
	}
	if awsapi.Val(in.OwnershipControls.Rules[0].ObjectOwnership) != ownerEnforced {
		return nil, fault(http.StatusNotImplemented, "NotImplemented", "Davy has no ACLs: buckets are BucketOwnerEnforced.")
	}
	_, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	return nil, err
}

// GetBucketOwnershipControls returns BucketOwnerEnforced.
func (s *Service) GetBucketOwnershipControls(ctx context.Context, in *s3api.GetBucketOwnershipControlsRequest) (*s3api.GetBucketOwnershipControlsOutput, error) {
	if _, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner)); err != nil {
		return nil, err
	}
	return &s3api.GetBucketOwnershipControlsOutput{OwnershipControls: &s3api.OwnershipControls{
		Rules: []s3api.OwnershipControlsRule{{ObjectOwnership: new(s3api.ObjectOwnership(ownerEnforced))}},
	}}, nil
}

// ownerGrant is the access list of everything: full control for the owner.
func ownerGrant(account string) []s3api.Grant {
	return []s3api.Grant{{
		Grantee:    &s3api.Grantee{ID: new(canonicalID(account)), Type: new(s3api.Type("CanonicalUser"))},
		Permission: new(s3api.Permission("FULL_CONTROL")),
	}}
}

// GetBucketAcl returns the owner's full control.
func (s *Service) GetBucketAcl(ctx context.Context, in *s3api.GetBucketAclRequest) (*s3api.GetBucketAclOutput, error) {
	b, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	if err != nil {
		return nil, err
	}
	return &s3api.GetBucketAclOutput{Owner: ownerOf(b.Owner), Grants: ownerGrant(b.Owner)}, nil
}

// GetObjectAcl returns the owner's full control.
func (s *Service) GetObjectAcl(ctx context.Context, in *s3api.GetObjectAclRequest) (*s3api.GetObjectAclOutput, error) {
	b, _, err := s.object(ctx, in.Bucket, in.ExpectedBucketOwner, in.Key, in.VersionId)
	if err != nil {
		return nil, err
	}
	return &s3api.GetObjectAclOutput{Owner: ownerOf(b.Owner), Grants: ownerGrant(b.Owner)}, nil
}

// PutBucketAcl is refused as AWS refuses it for BucketOwnerEnforced buckets.
func (s *Service) PutBucketAcl(ctx context.Context, in *s3api.PutBucketAclRequest) (*s3api.PutBucketAclOutput, error) {
	if _, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner)); err != nil {
		return nil, err
	}
	return nil, errNoACL()
}

// PutObjectAcl is refused as AWS refuses it for BucketOwnerEnforced buckets.
func (s *Service) PutObjectAcl(ctx context.Context, in *s3api.PutObjectAclRequest) (*s3api.PutObjectAclOutput, error) {
	if _, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner)); err != nil {
		return nil, err
	}
	return nil, errNoACL()
}

// GetBucketRequestPayment returns the owner: there is nobody else to pay.
func (s *Service) GetBucketRequestPayment(ctx context.Context, in *s3api.GetBucketRequestPaymentRequest) (*s3api.GetBucketRequestPaymentOutput, error) {
	if _, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner)); err != nil {
		return nil, err
	}
	return &s3api.GetBucketRequestPaymentOutput{Payer: new(s3api.Payer("BucketOwner"))}, nil
}
