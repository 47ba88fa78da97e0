package lambda

import (
	"context"

	"davy/api/lambdaapi"
)

// What tools ask of every function they manage and Davy has no way to set: the
// answer is the one that AWS gives of a function that has none of it.

// GetFunctionCodeSigningConfig shows that a function's code need not be signed.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionCodeSigningConfig.html
func (s *Service) GetFunctionCodeSigningConfig(ctx context.Context, in *lambdaapi.GetFunctionCodeSigningConfigRequest) (*lambdaapi.GetFunctionCodeSigningConfigResponse, error) {
	k, err := s.present(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	return &lambdaapi.GetFunctionCodeSigningConfigResponse{FunctionName: &k.name}, nil
}

// GetRuntimeManagementConfig shows that a function runs on the version of its
// runtime that is installed, whichever that becomes.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetRuntimeManagementConfig.html
func (s *Service) GetRuntimeManagementConfig(ctx context.Context, in *lambdaapi.GetRuntimeManagementConfigRequest) (*lambdaapi.GetRuntimeManagementConfigResponse, error) {
	v, err := s.GetFunctionConfiguration(ctx, &lambdaapi.GetFunctionConfigurationRequest{FunctionName: in.FunctionName, Qualifier: in.Qualifier})
	if err != nil {
		return nil, err
	}
	return &lambdaapi.GetRuntimeManagementConfigResponse{FunctionArn: v.FunctionArn, UpdateRuntimeOn: new(lambdaapi.UpdateRuntimeOnAuto)}, nil
}

// ListFunctionUrlConfigs lists a function's URLs: none.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionUrlConfigs.html
func (s *Service) ListFunctionUrlConfigs(ctx context.Context, in *lambdaapi.ListFunctionUrlConfigsRequest) (*lambdaapi.ListFunctionUrlConfigsResponse, error) {
	if _, err := s.present(ctx, in.FunctionName); err != nil {
		return nil, err
	}
	return &lambdaapi.ListFunctionUrlConfigsResponse{FunctionUrlConfigs: []lambdaapi.FunctionUrlConfig{}}, nil
}

// ListEventSourceMappings lists the sources that functions poll: none.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html
func (s *Service) ListEventSourceMappings(ctx context.Context, in *lambdaapi.ListEventSourceMappingsRequest) (*lambdaapi.ListEventSourceMappingsResponse, error) {
	if in.FunctionName != nil {
		if _, _, err := s.locate(ctx, in.FunctionName, nil); err != nil {
			return nil, err
		}
	}
	return &lambdaapi.ListEventSourceMappingsResponse{EventSourceMappings: []lambdaapi.EventSourceMappingConfiguration{}}, nil
}

// present is a function that an operation names which knows no qualifier, and
// that there is.
func (s *Service) present(ctx context.Context, nameOrARN *string) (key, error) {
	k, err := s.whole(ctx, nameOrARN)
	if err == nil {
		_, _, err = s.load(ctx, k)
	}
	return k, err
}
