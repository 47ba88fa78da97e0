package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// wanted is what CreateFunction and UpdateFunctionConfiguration both can set;
// nil: not mentioned.
type wanted struct {
	description *string
	environment *lambdaapi.Environment
	ephemeral   *lambdaapi.EphemeralStorage
	handler     *string
	logging     *lambdaapi.LoggingConfig
	memory      *int32
	role        *string
	runtime     *lambdaapi.Runtime
	timeout     *int32
}

// unsupported is a setting that Davy cannot honour, and whether it was asked
// for. A value that means AWS's default is not asking.
type unsupported struct {
	name  string
	asked bool
}

// refuse answers the first setting that was asked for: accepting it without
// effect would be a lie.
func refuse(settings []unsupported) error {
	for _, u := range settings {
		if u.asked {
			return invalid("%s is not supported.", u.name)
		}
	}
	return nil
}

func given(s *string) bool { return s != nil && *s != "" }

func wantsVPC(v *lambdaapi.VpcConfig) bool {
	return v != nil && (len(v.SubnetIds) > 0 || len(v.SecurityGroupIds) > 0 || awsapi.Val(v.Ipv6AllowedForDualStack))
}

func wantsSnapStart(v *lambdaapi.SnapStart) bool {
	return v != nil && v.ApplyOn != nil && *v.ApplyOn != lambdaapi.SnapStartApplyOnNone
}

func wantsTracing(v *lambdaapi.TracingConfig) bool {
	return v != nil && v.Mode != nil && *v.Mode != lambdaapi.TracingModePassThrough
}

// apply checks what is wanted and writes it into v.
func (s *Service) apply(ctx context.Context, v *version, w wanted) error {
	if w.runtime != nil {
		if !slices.Contains(s.cfg.Runtimes, string(*w.runtime)) {
			return invalid("Value %s at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [%s] or be a valid ARN", *w.runtime, strings.Join(s.cfg.Runtimes, ", "))
		}
		v.Runtime = string(*w.runtime)
	}
	if w.timeout != nil {
		if *w.timeout > 900 {
			return constraint(*w.timeout, "timeout", "Member must have value less than or equal to 900")
		}
		if *w.timeout < 1 {
			return constraint(*w.timeout, "timeout", "Member must have value greater than or equal to 1")
		}
		v.Timeout = *w.timeout
	}
	if w.memory != nil {
		if *w.memory > 10240 {
			return invalid("'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240")
		}
		if *w.memory < 128 {
			return constraint(*w.memory, "memorySize", "Member must have value greater than or equal to 128")
		}
		v.MemorySize = *w.memory
	}
	if w.ephemeral != nil {
		size := awsapi.Val(w.ephemeral.Size)
		if size > 10240 {
			return constraint(size, "ephemeralStorage.size", "Member must have value less than or equal to 10240")
		}
		if size < 512 {
			return constraint(size, "ephemeralStorage.size", "Member must have value greater than or equal to 512")
		}
		v.Ephemeral = size
	}
	if w.environment != nil {
		vars := w.environment.Variables
		if err := checkEnvironment(vars); err != nil {
			return err
		}
		if vars == nil {
			vars = map[string]string{}
		}
		v.Environment = vars
	}
	if w.description != nil {
		v.Description = *w.description
	}
	if w.handler != nil {
		v.Handler = *w.handler
	}
	if w.logging != nil {
		if err := v.log(w.logging); err != nil {
			return err
		}
	}
	if w.role != nil && *w.role != v.Role {
		if err := s.checkRole(ctx, *w.role); err != nil {
			return err
		}
		v.Role = *w.role
	}
	return nil
}

func (s *Service) checkRole(ctx context.Context, role string) error {
	err := s.cfg.Roles.AssumableByLambda(ctx, role)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("check role %s: %w", role, err)
	}
	return fmt.Errorf("%w (%w)", invalid("The role defined for the function cannot be assumed by Lambda."), err)
}

// reservedVariables belong to the runtime.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
var reservedVariables = []string{
	"AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
	"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
	"AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
	"AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
	"LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "_HANDLER", "_X_AMZN_TRACE_ID",
}

func checkEnvironment(vars map[string]string) error {
	var reserved []string
	for _, name := range reservedVariables {
		if _, ok := vars[name]; ok {
			reserved = append(reserved, name)
		}
	}
	if len(reserved) > 0 {
		return invalid("Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(reserved, ", "))
	}
	for name, value := range vars {
		if strings.ContainsRune(value, 0) {
			return invalid("Lambda was unable to configure your environment variables because the value of %s contains a null character.", name)
		}
	}
	var size byteCount
	enc := json.NewEncoder(&size)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(vars); err != nil {
		return fmt.Errorf("measure environment: %w", err)
	}
	if vars != nil && size-1 > 4096 { // the encoder's newline is not part of it
		// AWS repeats the variables here; they may be secrets and errors get logged.
		return invalid("Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit.")
	}
	return nil
}

// byteCount counts what is written to it.
type byteCount int

func (n *byteCount) Write(p []byte) (int, error) {
	*n += byteCount(len(p))
	return len(p), nil
}

// checkArchitecture refuses code for another processor than this machine's, as
// AWS does for a runtime that it has not for one.
func (s *Service) checkArchitecture(runtime string, asked []lambdaapi.Architecture) error {
	for _, a := range asked {
		if string(a) != s.cfg.Architecture {
			return invalid("Runtime %s does not support the following architectures [%s]. Please select different architectures from [%s] or select a different runtime.",
				runtime, a, s.cfg.Architecture)
		}
	}
	return nil
}

func checkTags(tags map[string]string) error {
	for name, value := range tags {
		switch {
		case name == "" || len([]rune(name)) > 128:
			return invalid("The tag key must have a length between 1 and 128 characters.")
		case len([]rune(value)) > 256:
			return invalid("The tag value must have a length of at most 256 characters.")
		case strings.HasPrefix(strings.ToLower(name), "aws:"):
			return invalid("aws: prefixed tag key names are not allowed for external use.")
		}
	}
	if len(tags) > maxTags {
		return invalid("Number of tags exceeds resource tag limit.")
	}
	return nil
}
