package server

import (
	"context"
	"log/slog"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/execenv"
	"davy/internal/lambda"
)

// expectFunctions tells the pool of runtimes what the functions that are there
// need, so that it holds nothing for a server without functions.
func expectFunctions(functions *lambda.Service, envs *execenv.Environments, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		err := functions.EachRuntime(ctx, func(runtime string, memoryMB int) error {
			envs.Expect(runtime, memoryMB)
			return ctx.Err()
		})
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "runtimes in use not known", "error", err)
		}
		<-ctx.Done()
		return nil
	}
}

// expect passes on that a function was made or changed: environments of what it
// was end, and one of what it is gets ready.
func (a lambdaAPI) expect(ctx context.Context, c *lambdaapi.FunctionConfiguration, err error) (*lambdaapi.FunctionConfiguration, error) {
	if err != nil {
		return c, err
	}
	call := awsapi.CallFrom(ctx)
	if f, _, err := a.Resolve(ctx, call.Account, call.Region, awsapi.Val(c.FunctionName), ""); err == nil {
		a.environments.Revised(*f)
		a.environments.ExpectFunction(*f)
	}
	return c, nil
}

// CreateFunction also readies a runtime for the new function.
func (a lambdaAPI) CreateFunction(ctx context.Context, in *lambdaapi.CreateFunctionRequest) (*lambdaapi.FunctionConfiguration, error) {
	c, err := a.Service.CreateFunction(ctx, in)
	return a.expect(ctx, c, err)
}

// UpdateFunctionCode also readies a runtime for the new code.
func (a lambdaAPI) UpdateFunctionCode(ctx context.Context, in *lambdaapi.UpdateFunctionCodeRequest) (*lambdaapi.FunctionConfiguration, error) {
	c, err := a.Service.UpdateFunctionCode(ctx, in)
	return a.expect(ctx, c, err)
}

// UpdateFunctionConfiguration also readies a runtime for the new settings.
func (a lambdaAPI) UpdateFunctionConfiguration(ctx context.Context, in *lambdaapi.UpdateFunctionConfigurationRequest) (*lambdaapi.FunctionConfiguration, error) {
	c, err := a.Service.UpdateFunctionConfiguration(ctx, in)
	return a.expect(ctx, c, err)
}
