package s3

import (
	"context"
	"net/http"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

// Settings that no bucket of Davy's can have. Setting one is refused as not
// implemented; asking for one gets AWS's answer for a bucket without it, which
// is the truth, and which infrastructure tools need to read a bucket.

func (s *Service) unset(ctx context.Context, bucket, owner *string, code, message string) error {
	b, err := s.bucket(ctx, awsapi.Val(bucket), awsapi.Val(owner))
	if err != nil {
		return err
	}
	return fault(http.StatusNotFound, code, message, "BucketName", b.Name)
}

// GetBucketCors answers that there is none.
func (s *Service) GetBucketCors(ctx context.Context, in *s3api.GetBucketCorsRequest) (*s3api.GetBucketCorsOutput, error) {
	return nil, s.unset(ctx, in.Bucket, in.ExpectedBucketOwner, "NoSuchCORSConfiguration", "The CORS configuration does not exist")
}

// GetBucketLifecycleConfiguration answers that there is none.
func (s *Service) GetBucketLifecycleConfiguration(ctx context.Context, in *s3api.GetBucketLifecycleConfigurationRequest) (*s3api.GetBucketLifecycleConfigurationOutput, error) {
	return nil, s.unset(ctx, in.Bucket, in.ExpectedBucketOwner, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")
}

// GetBucketWebsite answers that there is none.
func (s *Service) GetBucketWebsite(ctx context.Context, in *s3api.GetBucketWebsiteRequest) (*s3api.GetBucketWebsiteOutput, error) {
	return nil, s.unset(ctx, in.Bucket, in.ExpectedBucketOwner, "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration")
}

// GetBucketReplication answers that there is none.
func (s *Service) GetBucketReplication(ctx context.Context, in *s3api.GetBucketReplicationRequest) (*s3api.GetBucketReplicationOutput, error) {
	return nil, s.unset(ctx, in.Bucket, in.ExpectedBucketOwner, "ReplicationConfigurationNotFoundError", "The replication configuration was not found")
}

// GetObjectLockConfiguration answers that there is none.
func (s *Service) GetObjectLockConfiguration(ctx context.Context, in *s3api.GetObjectLockConfigurationRequest) (*s3api.GetObjectLockConfigurationOutput, error) {
	return nil, s.unset(ctx, in.Bucket, in.ExpectedBucketOwner, "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket")
}

// GetBucketEncryption answers that there is none. AWS encrypts every bucket;
// Davy encrypts none, and says so.
func (s *Service) GetBucketEncryption(ctx context.Context, in *s3api.GetBucketEncryptionRequest) (*s3api.GetBucketEncryptionOutput, error) {
	return nil, s.unset(ctx, in.Bucket, in.ExpectedBucketOwner, "ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found")
}

// GetBucketLogging answers that logging is off.
func (s *Service) GetBucketLogging(ctx context.Context, in *s3api.GetBucketLoggingRequest) (*s3api.GetBucketLoggingOutput, error) {
	_, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	return nil, err
}

// GetBucketAccelerateConfiguration answers that acceleration was never set.
func (s *Service) GetBucketAccelerateConfiguration(ctx context.Context, in *s3api.GetBucketAccelerateConfigurationRequest) (*s3api.GetBucketAccelerateConfigurationOutput, error) {
	_, err := s.bucket(ctx, awsapi.Val(in.Bucket), awsapi.Val(in.ExpectedBucketOwner))
	return nil, err
}
