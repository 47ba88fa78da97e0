package lambda_test

import (
	"fmt"
	"testing"

	"davy/api/lambdaapi"
	"davy/internal/lambda"
)

// A function is of the processor that this machine has; code for the other one
// is refused, with AWS's words for a runtime that is not there for it.
func TestArchitecture_IsTheMachines(t *testing.T) {
	for own, other := range map[lambdaapi.Architecture]lambdaapi.Architecture{"x86_64": "arm64", "arm64": "x86_64"} {
		t.Run(string(own), func(t *testing.T) {
			f := setup(t)
			s := f.service(t, func(c *lambda.Config) { c.Architecture = string(own) })
			refused := fmt.Sprintf("Runtime nodejs22.x does not support the following architectures [%s]. "+
				"Please select different architectures from [%s] or select a different runtime.", other, own)

			in := creation(t, "fn")
			in.Architectures = []lambdaapi.Architecture{other}
			_, err := s.CreateFunction(request(t), in)
			wantError(t, err, "InvalidParameterValueException", refused)

			for name, asked := range map[string][]lambdaapi.Architecture{"said": {own}, "unsaid": nil} {
				in := creation(t, name)
				in.Architectures = asked
				got, err := s.CreateFunction(request(t), in)
				if err != nil || len(got.Architectures) != 1 || got.Architectures[0] != own {
					t.Errorf("%s: %+v, %v", name, got, err)
				}
			}

			update := &lambdaapi.UpdateFunctionCodeRequest{FunctionName: new("said"), ZipFile: zipOf(t, "new"), Architectures: []lambdaapi.Architecture{other}}
			_, err = s.UpdateFunctionCode(request(t), update)
			wantError(t, err, "InvalidParameterValueException", refused)

			// A layer is only said to be for processors.
			if _, err := s.PublishLayerVersion(request(t), &lambdaapi.PublishLayerVersionRequest{
				LayerName: new("l"), Content: &lambdaapi.LayerVersionContentInput{ZipFile: zipOf(t, "l")},
				CompatibleArchitectures: []lambdaapi.Architecture{own, other},
			}); err != nil {
				t.Error(err)
			}

			// The data directory moves to a machine with the other processor.
			moved := f.service(t, func(c *lambda.Config) { c.Architecture = string(other) })
			got, err := moved.UpdateFunctionCode(request(t), update)
			if err != nil || got.Architectures[0] != other {
				t.Errorf("after the move: %+v, %v", got, err)
			}
		})
	}
}
