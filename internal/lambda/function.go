package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// CreateFunction makes a function from a zip. It is ready when this returns.
// https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
func (s *Service) CreateFunction(ctx context.Context, in *lambdaapi.CreateFunctionRequest) (*lambdaapi.FunctionConfiguration, error) {
	k, qualifier, err := s.locate(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if call := awsapi.CallFrom(ctx); qualifier != "" || k.account != call.Account {
		return nil, constraint(awsapi.Val(in.FunctionName), "functionName", `Member must satisfy regular expression pattern: [a-zA-Z0-9-_]+`)
	}
	code := in.Code
	if code == nil {
		code = &lambdaapi.FunctionCode{}
	}
	if err := refuse([]unsupported{
		{"PackageType Image", in.PackageType != nil && *in.PackageType != lambdaapi.PackageTypeZip},
		{"Code.ImageUri", given(code.ImageUri)},
		{"Code.SourceKMSKeyArn", given(code.SourceKMSKeyArn)},
		{"Code.S3ObjectStorageMode " + string(awsapi.Val(code.S3ObjectStorageMode)), code.S3ObjectStorageMode != nil && *code.S3ObjectStorageMode != lambdaapi.S3ObjectStorageModeCopy},
		{"AcceleratorConfig", in.AcceleratorConfig != nil},
		{"CapacityProviderConfig", in.CapacityProviderConfig != nil},
		{"CodeSigningConfigArn", given(in.CodeSigningConfigArn)},
		{"DeadLetterConfig", in.DeadLetterConfig != nil && given(in.DeadLetterConfig.TargetArn)},
		{"DurableConfig", in.DurableConfig != nil},
		{"FileSystemConfigs", len(in.FileSystemConfigs) > 0},
		{"ImageConfig", in.ImageConfig != nil},
		{"KMSKeyArn", given(in.KMSKeyArn)},
		{"PublishTo", in.PublishTo != nil},
		{"RuntimeConfig", in.RuntimeConfig != nil},
		{"SnapStart", wantsSnapStart(in.SnapStart)},
		{"TenancyConfig", in.TenancyConfig != nil},
		{"TracingConfig.Mode Active", wantsTracing(in.TracingConfig)},
		{"VpcConfig", wantsVPC(in.VpcConfig)},
	}); err != nil {
		return nil, err
	}
	if !given(in.Handler) || in.Runtime == nil {
		return nil, invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if err := s.checkArchitecture(string(*in.Runtime), in.Architectures); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	latest := version{Version: Latest, Timeout: 3, MemorySize: 128, Ephemeral: 512, LogGroup: "/aws/lambda/" + k.name, Architecture: s.cfg.Architecture}
	if err := s.apply(ctx, &latest, wanted{
		description: in.Description, environment: in.Environment, ephemeral: in.EphemeralStorage, handler: in.Handler,
		logging: in.LoggingConfig, memory: in.MemorySize, role: in.Role, runtime: in.Runtime, timeout: in.Timeout,
	}); err != nil {
		return nil, err
	}
	up, err := s.receive(ctx, source{zip: code.ZipFile, bucket: code.S3Bucket, key: code.S3Key, version: code.S3ObjectVersion})
	if err != nil {
		return nil, err
	}
	latest.CodeSHA256, latest.CodeSize = up.sha256, up.size
	shown := &latest
	_, err = s.update(ctx, k, true, func(c *change) error {
		latest.revised()
		c.f.ID, c.f.Latest, c.f.Tags = uuid.NewString(), latest, in.Tags
		shown = &c.f.Latest
		if err := c.attach(&c.f.Latest, in.Layers, up.unzipped); err != nil {
			return err
		}
		if err := c.adopt(up); err != nil {
			return err
		}
		if awsapi.Val(in.Publish) {
			shown, err = c.publish(nil)
		}
		return err
	})
	s.settle(ctx, up, err)
	if err != nil {
		return nil, err
	}
	return configuration(k, shown, k.arn()), nil
}

// GetFunction shows a function, its tags, and where to download its code.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
func (s *Service) GetFunction(ctx context.Context, in *lambdaapi.GetFunctionRequest) (*lambdaapi.GetFunctionResponse, error) {
	k, qualifier, err := s.locate(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	f, v, err := s.show(ctx, k, qualifier)
	if err != nil {
		return nil, err
	}
	out := &lambdaapi.GetFunctionResponse{
		Configuration: configuration(k, v, k.qualified(qualifier)),
		Code:          &lambdaapi.FunctionCodeLocation{RepositoryType: new("S3")},
	}
	if len(f.Tags) > 0 {
		out.Tags = f.Tags
	}
	if f.Reserved != nil {
		out.Concurrency = &lambdaapi.Concurrency{ReservedConcurrentExecutions: new(*f.Reserved)}
	}
	if s.cfg.CodeURL != nil {
		link, err := s.cfg.CodeURL(ctx, v.CodeSHA256)
		if err != nil {
			return nil, fmt.Errorf("link to the code of %s: %w", k.arn(), err)
		}
		out.Code.Location = new(link)
	}
	return out, nil
}

// show finds what the Get operations are about.
func (s *Service) show(ctx context.Context, k key, qualifier string) (*function, *version, error) {
	f, _, err := s.load(ctx, k)
	if err != nil {
		return nil, nil, s.qualify(err, k, qualifier)
	}
	v, err := s.at(ctx, k, f, qualifier)
	if isNotFound(err) {
		return nil, nil, functionNotFound(k, qualifier)
	}
	return f, v, err
}

// GetFunctionConfiguration shows a function's settings.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html
func (s *Service) GetFunctionConfiguration(ctx context.Context, in *lambdaapi.GetFunctionConfigurationRequest) (*lambdaapi.FunctionConfiguration, error) {
	k, qualifier, err := s.locate(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	_, v, err := s.show(ctx, k, qualifier)
	if err != nil {
		return nil, err
	}
	return configuration(k, v, k.qualified(qualifier)), nil
}

// DeleteFunction removes a function with all that belongs to it, or, given a
// version as qualifier, that version. Removing a version that does not exist
// succeeds, as on AWS.
// https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunction.html
func (s *Service) DeleteFunction(ctx context.Context, in *lambdaapi.DeleteFunctionRequest) (*lambdaapi.DeleteFunctionResponse, error) {
	k, qualifier, err := s.locate(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	remove := (*change).remove
	switch {
	case qualifier == Latest:
		return nil, invalid("$LATEST version cannot be deleted without deleting the function.")
	case isVersion(qualifier):
		remove = func(c *change) error { return c.removeVersion(qualifier) }
	case qualifier != "":
		return nil, invalid("Deletion of aliases is not currently supported.")
	}
	if _, err := s.update(ctx, k, false, remove); err != nil {
		return nil, err
	}
	if qualifier == "" && s.cfg.Retired != nil {
		s.cfg.Retired(k.arn())
	}
	s.provisionChanged(k)
	return &lambdaapi.DeleteFunctionResponse{StatusCode: new(int32(http.StatusNoContent))}, nil
}

// remove deletes the function, its versions, its reservation and its hold on
// code.
func (c *change) remove() error {
	if err := c.hold(&c.f.Latest, -1); err != nil {
		return err
	}
	for after := ""; ; {
		docs, err := c.s.cfg.State.List(c.ctx, c.key.versions(), after, 500)
		if err != nil {
			return fmt.Errorf("list versions of %s: %w", c.key.arn(), err)
		}
		for _, d := range docs {
			var v version
			if err := json.Unmarshal(d.Value, &v); err != nil {
				return fmt.Errorf("load version %s: %w", d.Key, err)
			}
			if err := c.hold(&v, -1); err != nil {
				return err
			}
			c.drop(d.Key)
			after = d.Key
		}
		if len(docs) < 500 {
			break
		}
	}
	if c.f.claim() != nil {
		c.f.Reserved, c.f.Provisioned = nil, nil
		if err := c.putClaim(nil); err != nil {
			return err
		}
	}
	c.f = nil
	return nil
}

func (c *change) removeVersion(number string) error {
	v, err := c.s.loadVersion(c.ctx, c.key, number)
	if isNotFound(err) {
		return errUnchanged
	}
	if err != nil {
		return err
	}
	var users []string
	for name, a := range c.f.Aliases {
		if _, weighted := a.Weights[number]; weighted || a.Version == number {
			users = append(users, name)
		}
	}
	if len(users) > 0 {
		slices.Sort(users)
		return conflict("Unable to delete version because the following aliases reference it: [%s]", strings.Join(users, ", "))
	}
	delete(c.f.Policies, number)
	delete(c.f.Revisions, number)
	delete(c.f.EventSettings, number)
	if err := c.unprovision(number); err != nil {
		return err
	}
	if c.f.Published == mustNumber(number) {
		c.f.PublishedAs = "" // the next publication makes a version even if nothing changed
	}
	c.drop(c.key.version(number))
	return c.hold(v, -1)
}

// ListFunctions shows the functions of an account in a region by name, or all
// their versions.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html
func (s *Service) ListFunctions(ctx context.Context, in *lambdaapi.ListFunctionsRequest) (*lambdaapi.ListFunctionsResponse, error) {
	call := awsapi.CallFrom(ctx)
	if m := awsapi.Val(in.MasterRegion); m != "" && m != "ALL" && m != call.Region {
		return &lambdaapi.ListFunctionsResponse{Functions: []lambdaapi.FunctionConfiguration{}}, nil // there are no replicas
	}
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	prefix := functionPrefix(call.Account, call.Region)
	everything := in.FunctionVersion != nil
	// The marker is NAME, or NAME/NUMBER within a function's versions.
	name, within, inside := strings.Cut(p.after, "/")
	out := []lambdaapi.FunctionConfiguration{}
	if inside {
		k := key{account: call.Account, region: call.Region, name: name}
		if f, _, err := s.load(ctx, k); err == nil {
			if out, err = s.listVersions(ctx, k, f, within, p.n+1); err != nil {
				return nil, err
			}
		} else if !isNotFound(err) {
			return nil, err
		}
	}
	after := ""
	if name != "" {
		after = prefix + name
	}
	for len(out) <= p.n {
		docs, err := s.cfg.State.List(ctx, prefix, after, p.n+1-len(out))
		if err != nil {
			return nil, fmt.Errorf("list functions: %w", err)
		}
		for _, d := range docs {
			after = d.Key
			k, f := key{account: call.Account, region: call.Region, name: d.Key[len(prefix):]}, new(function)
			if err := json.Unmarshal(d.Value, f); err != nil {
				return nil, fmt.Errorf("load function %s: %w", k.arn(), err)
			}
			if !everything {
				out = append(out, *listed(k, &f.Latest, k.arn()))
				continue
			}
			versions, err := s.listVersions(ctx, k, f, "", p.n+1-len(out))
			if err != nil {
				return nil, err
			}
			out = append(out, versions...)
			if len(out) > p.n {
				break
			}
		}
		if len(docs) == 0 {
			break
		}
	}
	res := &lambdaapi.ListFunctionsResponse{Functions: out}
	if len(out) > p.n {
		res.Functions = out[:p.n]
		last := res.Functions[p.n-1]
		next := *last.FunctionName
		if everything {
			next += "/" + *last.Version
		}
		res.NextMarker = marker(next)
	}
	return res, nil
}
