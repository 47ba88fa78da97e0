package lambda

import (
	"context"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// UpdateFunctionConfiguration changes settings of $LATEST.
// https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html
func (s *Service) UpdateFunctionConfiguration(ctx context.Context, in *lambdaapi.UpdateFunctionConfigurationRequest) (*lambdaapi.FunctionConfiguration, error) {
	k, _, err := s.locate(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if err := refuse([]unsupported{
		{"AcceleratorConfig", in.AcceleratorConfig != nil},
		{"CapacityProviderConfig", in.CapacityProviderConfig != nil},
		{"DeadLetterConfig", in.DeadLetterConfig != nil && given(in.DeadLetterConfig.TargetArn)},
		{"DurableConfig", in.DurableConfig != nil},
		{"FileSystemConfigs", len(in.FileSystemConfigs) > 0},
		{"ImageConfig", in.ImageConfig != nil},
		{"KMSKeyArn", given(in.KMSKeyArn)},
		{"RuntimeConfig", in.RuntimeConfig != nil},
		{"SnapStart", wantsSnapStart(in.SnapStart)},
		{"TracingConfig.Mode Active", wantsTracing(in.TracingConfig)},
		{"VpcConfig", wantsVPC(in.VpcConfig)},
	}); err != nil {
		return nil, err
	}
	f, err := s.update(ctx, k, false, func(c *change) error {
		if err := checkRevision(in.RevisionId, c.f.Latest.RevisionID); err != nil {
			return err
		}
		c.f.Latest.revised()
		if in.Layers != nil { // an empty list takes them away
			code, err := c.codeDoc(c.f.Latest.CodeSHA256)
			if err != nil {
				return err
			}
			if err := c.attach(&c.f.Latest, in.Layers, code.Unzipped); err != nil {
				return err
			}
		}
		return s.apply(ctx, &c.f.Latest, wanted{
			description: in.Description, environment: in.Environment, ephemeral: in.EphemeralStorage, handler: in.Handler,
			logging: in.LoggingConfig, memory: in.MemorySize, role: in.Role, runtime: in.Runtime, timeout: in.Timeout,
		})
	})
	if err != nil {
		return nil, err
	}
	return configuration(k, &f.Latest, k.arn()), nil
}

// UpdateFunctionCode gives $LATEST another package.
// https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html
func (s *Service) UpdateFunctionCode(ctx context.Context, in *lambdaapi.UpdateFunctionCodeRequest) (*lambdaapi.FunctionConfiguration, error) {
	k, _, err := s.locate(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if given(in.ImageUri) {
		return nil, invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
	}
	if err := refuse([]unsupported{
		{"PublishTo", in.PublishTo != nil},
		{"SourceKMSKeyArn", given(in.SourceKMSKeyArn)},
		{"S3ObjectStorageMode " + string(awsapi.Val(in.S3ObjectStorageMode)), in.S3ObjectStorageMode != nil && *in.S3ObjectStorageMode != lambdaapi.S3ObjectStorageModeCopy},
	}); err != nil {
		return nil, err
	}
	f, _, err := s.load(ctx, k) // before taking in the package
	if err != nil {
		return nil, err
	}
	if err := s.checkArchitecture(f.Latest.Runtime, in.Architectures); err != nil {
		return nil, err
	}
	up, err := s.receive(ctx, source{zip: in.ZipFile, bucket: in.S3Bucket, key: in.S3Key, version: in.S3ObjectVersion})
	if err != nil {
		return nil, err
	}
	arn := k.arn()
	var shown *version
	_, err = s.update(ctx, k, false, func(c *change) error {
		if err := checkRevision(in.RevisionId, c.f.Latest.RevisionID); err != nil {
			return err
		}
		old := c.f.Latest.CodeSHA256
		c.f.Latest.revised()
		c.f.Latest.CodeSHA256, c.f.Latest.CodeSize = up.sha256, up.size
		if len(in.Architectures) > 0 { // of data from a machine with another processor
			c.f.Latest.Architecture = string(in.Architectures[0])
		}
		shown = &c.f.Latest
		if left := maxUnzipped - unzipped(c.f.Latest.Layers); up.unzipped > left {
			return invalid("Unzipped size must be smaller than %d bytes", left)
		}
		if awsapi.Val(in.DryRun) {
			return errUnchanged
		}
		if err := c.adopt(up); err != nil {
			return err
		}
		if err := c.use(old, -1); err != nil {
			return err
		}
		if awsapi.Val(in.Publish) {
			if shown, err = c.publish(nil); err != nil {
				return err
			}
			arn = k.qualified(shown.Version)
		}
		return nil
	})
	s.settle(ctx, up, err)
	if err != nil {
		return nil, err
	}
	return configuration(k, shown, arn), nil
}
