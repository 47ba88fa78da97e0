package lambda_test

import (
	"testing"

	"davy/api/lambdaapi"
)

// Tools ask these of each function, and take an error for a reason to stop.
func TestUnset_IsShownAsAWSShowsIt(t *testing.T) {
	f := setup(t)
	made := f.create(t, "fn")
	ctx := request(t)
	for _, tc := range []struct {
		name string
		ask  func(name *string) (bool, error)
	}{
		{"code signing", func(name *string) (bool, error) {
			got, err := f.GetFunctionCodeSigningConfig(ctx, &lambdaapi.GetFunctionCodeSigningConfigRequest{FunctionName: name})
			return err == nil && *got.FunctionName == "fn" && got.CodeSigningConfigArn == nil, err
		}},
		{"runtime management", func(name *string) (bool, error) {
			got, err := f.GetRuntimeManagementConfig(ctx, &lambdaapi.GetRuntimeManagementConfigRequest{FunctionName: name})
			return err == nil && *got.FunctionArn == *made.FunctionArn && *got.UpdateRuntimeOn == lambdaapi.UpdateRuntimeOnAuto && got.RuntimeVersionArn == nil, err
		}},
		{"URLs", func(name *string) (bool, error) {
			got, err := f.ListFunctionUrlConfigs(ctx, &lambdaapi.ListFunctionUrlConfigsRequest{FunctionName: name})
			return err == nil && got.FunctionUrlConfigs != nil && len(got.FunctionUrlConfigs) == 0, err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if ok, err := tc.ask(new("fn")); !ok {
				t.Errorf("answered otherwise; %v", err)
			}
			_, err := tc.ask(new("none"))
			wantError(t, err, "ResourceNotFoundException", "Function not found: "+arnOf("none"))
		})
	}
	got, err := f.ListEventSourceMappings(ctx, &lambdaapi.ListEventSourceMappingsRequest{})
	if err != nil || got.EventSourceMappings == nil || len(got.EventSourceMappings) != 0 {
		t.Errorf("event source mappings: %v, %v", got, err)
	}
}
