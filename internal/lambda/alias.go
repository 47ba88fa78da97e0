package lambda

import (
	"context"
	"maps"
	"slices"

	"github.com/google/uuid"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

func (a alias) wire(k key, name string) *lambdaapi.AliasConfiguration {
	out := &lambdaapi.AliasConfiguration{
		AliasArn:        new(k.qualified(name)),
		Name:            new(name),
		FunctionVersion: new(a.Version),
		Description:     new(a.Description),
		RevisionId:      new(a.RevisionID),
	}
	if len(a.Weights) > 0 {
		out.RoutingConfig = &lambdaapi.AliasRoutingConfiguration{AdditionalVersionWeights: a.Weights}
	}
	return out
}

// weights checks the second version of an alias.
func (c *change) weights(in *lambdaapi.AliasRoutingConfiguration, first string) (map[string]float64, error) {
	if in == nil || len(in.AdditionalVersionWeights) == 0 {
		return nil, nil
	}
	if len(in.AdditionalVersionWeights) > 1 {
		return nil, invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
	}
	for second, weight := range in.AdditionalVersionWeights {
		switch {
		case !(weight >= 0 && weight <= 1): // also refuses NaN
			return nil, constraint(weight, "routingConfig.additionalVersionWeights", "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]")
		case second == first:
			return nil, invalid("Invalid function version %s. Function version %s is already included in routing configuration.", first, first)
		case first == Latest || !isVersion(second):
			return nil, invalid("$LATEST is not supported for an alias pointing to more than 1 version")
		}
		if _, err := c.s.loadVersion(c.ctx, c.key, second); err != nil {
			return nil, err
		}
	}
	return maps.Clone(in.AdditionalVersionWeights), nil
}

// target checks the version that an alias points to.
func (c *change) target(number string) error {
	if number == Latest {
		return nil
	}
	if !isVersion(number) {
		return functionNotFound(c.key, number)
	}
	_, err := c.s.loadVersion(c.ctx, c.key, number)
	return err
}

// CreateAlias names a version.
// https://docs.aws.amazon.com/lambda/latest/api/API_CreateAlias.html
func (s *Service) CreateAlias(ctx context.Context, in *lambdaapi.CreateAliasRequest) (*lambdaapi.AliasConfiguration, error) {
	k, _, err := s.locate(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	name := awsapi.Val(in.Name)
	if !isQualifier(name) || name == Latest || isVersion(name) {
		return nil, constraint(name, "name", `Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)`)
	}
	f, err := s.update(ctx, k, false, func(c *change) error {
		a := alias{Version: awsapi.Val(in.FunctionVersion), Description: awsapi.Val(in.Description), RevisionID: uuid.NewString()}
		if err := c.target(a.Version); err != nil {
			return err
		}
		if a.Weights, err = c.weights(in.RoutingConfig, a.Version); err != nil {
			return err
		}
		if _, exists := c.f.Aliases[name]; exists {
			return conflict("Alias already exists: %s", k.qualified(name))
		}
		if c.f.Aliases == nil {
			c.f.Aliases = map[string]alias{}
		}
		c.f.Aliases[name] = a
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f.Aliases[name].wire(k, name), nil
}

// GetAlias shows an alias.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetAlias.html
func (s *Service) GetAlias(ctx context.Context, in *lambdaapi.GetAliasRequest) (*lambdaapi.AliasConfiguration, error) {
	k, _, err := s.locate(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	f, _, err := s.load(ctx, k)
	if err != nil {
		return nil, err
	}
	name := awsapi.Val(in.Name)
	a, ok := f.Aliases[name]
	if !ok {
		return nil, aliasNotFound(k, name)
	}
	return a.wire(k, name), nil
}

// UpdateAlias points an alias elsewhere.
// https://docs.aws.amazon.com/lambda/latest/api/API_UpdateAlias.html
func (s *Service) UpdateAlias(ctx context.Context, in *lambdaapi.UpdateAliasRequest) (*lambdaapi.AliasConfiguration, error) {
	k, _, err := s.locate(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	name := awsapi.Val(in.Name)
	f, err := s.update(ctx, k, false, func(c *change) error {
		a, ok := c.f.Aliases[name]
		if !ok {
			return notFound("Alias not found: %s", k.qualified(name))
		}
		if err := checkRevision(in.RevisionId, a.RevisionID); err != nil {
			return err
		}
		if in.FunctionVersion != nil {
			a.Version = *in.FunctionVersion
			if err := c.target(a.Version); err != nil {
				return err
			}
		}
		if in.Description != nil {
			a.Description = *in.Description
		}
		weights := &lambdaapi.AliasRoutingConfiguration{AdditionalVersionWeights: a.Weights}
		if in.RoutingConfig != nil {
			weights = in.RoutingConfig
		}
		if a.Weights, err = c.weights(weights, a.Version); err != nil {
			return err
		}
		a.RevisionID = uuid.NewString()
		c.f.Aliases[name] = a
		if _, provisioned := c.f.Provisioned[name]; provisioned {
			return c.checkProvisioned(name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, provisioned := f.Provisioned[name]; provisioned {
		s.provisionChanged(k) // its environments follow it to another version
	}
	return f.Aliases[name].wire(k, name), nil
}

// DeleteAlias removes an alias with its policy. One that does not exist is no
// error, as on AWS.
// https://docs.aws.amazon.com/lambda/latest/api/API_DeleteAlias.html
func (s *Service) DeleteAlias(ctx context.Context, in *lambdaapi.DeleteAliasRequest) (*lambdaapi.DeleteAliasOutput, error) {
	k, _, err := s.locate(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	name := awsapi.Val(in.Name)
	_, err = s.update(ctx, k, false, func(c *change) error {
		if _, ok := c.f.Aliases[name]; !ok {
			return errUnchanged
		}
		delete(c.f.Aliases, name)
		delete(c.f.Policies, name)
		delete(c.f.EventSettings, name)
		return c.unprovision(name)
	})
	if err != nil {
		return nil, err
	}
	s.provisionChanged(k)
	return &lambdaapi.DeleteAliasOutput{}, nil
}

// ListAliases shows a function's aliases by name, or those of one version.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListAliases.html
func (s *Service) ListAliases(ctx context.Context, in *lambdaapi.ListAliasesRequest) (*lambdaapi.ListAliasesResponse, error) {
	k, f, p, err := s.partsOf(ctx, in.FunctionName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &lambdaapi.ListAliasesResponse{Aliases: []lambdaapi.AliasConfiguration{}}
	for _, name := range slices.Sorted(maps.Keys(f.Aliases)) {
		a := f.Aliases[name]
		if name <= p.after || in.FunctionVersion != nil && *in.FunctionVersion != a.Version {
			continue
		}
		if len(out.Aliases) == p.n {
			out.NextMarker = marker(awsapi.Val(out.Aliases[p.n-1].Name))
			break
		}
		out.Aliases = append(out.Aliases, *a.wire(k, name))
	}
	return out, nil
}
