package lambda

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

func (r eventInvokeRules) wire(k key, qualifier string) *lambdaapi.FunctionEventInvokeConfig {
	return &lambdaapi.FunctionEventInvokeConfig{
		FunctionArn:              new(k.qualified(qualifier)),
		LastModified:             new(r.Modified),
		MaximumRetryAttempts:     r.Retries,
		MaximumEventAgeInSeconds: r.AgeSecs,
		DestinationConfig:        &lambdaapi.DestinationConfig{OnSuccess: &lambdaapi.OnSuccess{}, OnFailure: &lambdaapi.OnFailure{}},
	}
}

// checkDestinations refuses what would be accepted without effect.
func checkDestinations(d *lambdaapi.DestinationConfig) error {
	if d != nil && (d.OnSuccess != nil && given(d.OnSuccess.Destination) || d.OnFailure != nil && given(d.OnFailure.Destination)) {
		return awsapi.Errorf(http.StatusNotImplemented, "NotImplemented", "DestinationConfig is not implemented.")
	}
	return nil
}

// checkEventRules checks what Put and Update have in common.
func checkEventRules(retries, age *int32, d *lambdaapi.DestinationConfig) error {
	if retries == nil && age == nil && d == nil {
		return invalid("You must specify at least one of error handling or destination setting.")
	}
	if retries != nil && (*retries < 0 || *retries > 2) {
		return constraint(*retries, "maximumRetryAttempts", "Member must have value between 0 and 2")
	}
	if age != nil && (*age < 60 || *age > 21600) {
		return constraint(*age, "maximumEventAgeInSeconds", "Member must have value between 60 and 21600")
	}
	return checkDestinations(d)
}

// eventKey finds the function and the qualifier that rules are kept under.
func (s *Service) eventKey(ctx context.Context, nameOrARN, qualifierIn *string) (key, string, error) {
	k, qualifier, err := s.locate(ctx, nameOrARN, qualifierIn)
	if qualifier == "" {
		qualifier = Latest
	}
	return k, qualifier, err
}

// setEventRules changes the rules of a qualifier that must exist.
func (s *Service) setEventRules(ctx context.Context, k key, qualifier string, set func(old eventInvokeRules, had bool) (eventInvokeRules, error)) (*lambdaapi.FunctionEventInvokeConfig, error) {
	f, err := s.update(ctx, k, false, func(c *change) error {
		if _, err := s.at(ctx, k, c.f, qualifier); err != nil {
			return err
		}
		old, had := c.f.EventSettings[qualifier]
		rules, err := set(old, had)
		if err != nil {
			return err
		}
		rules.Modified = now()
		if c.f.EventSettings == nil {
			c.f.EventSettings = map[string]eventInvokeRules{}
		}
		c.f.EventSettings[qualifier] = rules
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f.EventSettings[qualifier].wire(k, qualifier), nil
}

func noEventRules(k key, qualifier string) error {
	return notFound("The function %s doesn't have an EventInvokeConfig", k.qualified(qualifier))
}

// missingFunction is how these operations tell that the function is not there.
func missingFunction(k key, err error) error {
	if isNotFound(err) && messageOfNotFound(err) == messageOfNotFound(functionNotFound(k, "")) {
		return notFound("The function doesn't exist.")
	}
	return err
}

// PutFunctionEventInvokeConfig sets how events of asynchronous invocations are
// retried.
// https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
func (s *Service) PutFunctionEventInvokeConfig(ctx context.Context, in *lambdaapi.PutFunctionEventInvokeConfigRequest) (*lambdaapi.FunctionEventInvokeConfig, error) {
	if err := checkEventRules(in.MaximumRetryAttempts, in.MaximumEventAgeInSeconds, in.DestinationConfig); err != nil {
		return nil, err
	}
	k, qualifier, err := s.eventKey(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	out, err := s.setEventRules(ctx, k, qualifier, func(eventInvokeRules, bool) (eventInvokeRules, error) {
		return eventInvokeRules{Retries: in.MaximumRetryAttempts, AgeSecs: in.MaximumEventAgeInSeconds}, nil
	})
	return out, missingFunction(k, err)
}

// UpdateFunctionEventInvokeConfig changes some of those settings.
// https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionEventInvokeConfig.html
func (s *Service) UpdateFunctionEventInvokeConfig(ctx context.Context, in *lambdaapi.UpdateFunctionEventInvokeConfigRequest) (*lambdaapi.FunctionEventInvokeConfig, error) {
	if err := checkEventRules(in.MaximumRetryAttempts, in.MaximumEventAgeInSeconds, in.DestinationConfig); err != nil {
		return nil, err
	}
	k, qualifier, err := s.eventKey(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	out, err := s.setEventRules(ctx, k, qualifier, func(rules eventInvokeRules, had bool) (eventInvokeRules, error) {
		if !had {
			return rules, noEventRules(k, qualifier)
		}
		if in.MaximumRetryAttempts != nil {
			rules.Retries = in.MaximumRetryAttempts
		}
		if in.MaximumEventAgeInSeconds != nil {
			rules.AgeSecs = in.MaximumEventAgeInSeconds
		}
		return rules, nil
	})
	return out, missingFunction(k, err)
}

// GetFunctionEventInvokeConfig shows those settings.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionEventInvokeConfig.html
func (s *Service) GetFunctionEventInvokeConfig(ctx context.Context, in *lambdaapi.GetFunctionEventInvokeConfigRequest) (*lambdaapi.FunctionEventInvokeConfig, error) {
	k, qualifier, err := s.eventKey(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	f, _, err := s.load(ctx, k)
	if isNotFound(err) {
		return nil, noEventRules(k, qualifier)
	}
	if err != nil {
		return nil, err
	}
	rules, ok := f.EventSettings[qualifier]
	if !ok {
		return nil, noEventRules(k, qualifier)
	}
	return rules.wire(k, qualifier), nil
}

// DeleteFunctionEventInvokeConfig goes back to AWS's defaults.
// https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionEventInvokeConfig.html
func (s *Service) DeleteFunctionEventInvokeConfig(ctx context.Context, in *lambdaapi.DeleteFunctionEventInvokeConfigRequest) (*lambdaapi.DeleteFunctionEventInvokeConfigOutput, error) {
	k, qualifier, err := s.eventKey(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	_, err = s.update(ctx, k, false, func(c *change) error {
		if _, ok := c.f.EventSettings[qualifier]; !ok {
			return noEventRules(k, qualifier)
		}
		delete(c.f.EventSettings, qualifier)
		return nil
	})
	if isNotFound(err) {
		return nil, noEventRules(k, qualifier)
	}
	if err != nil {
		return nil, err
	}
	return &lambdaapi.DeleteFunctionEventInvokeConfigOutput{}, nil
}

// ListFunctionEventInvokeConfigs shows them for every qualifier.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionEventInvokeConfigs.html
func (s *Service) ListFunctionEventInvokeConfigs(ctx context.Context, in *lambdaapi.ListFunctionEventInvokeConfigsRequest) (*lambdaapi.ListFunctionEventInvokeConfigsResponse, error) {
	k, _, err := s.eventKey(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	f, _, err := s.load(ctx, k)
	if err != nil {
		return nil, missingFunction(k, err)
	}
	out := &lambdaapi.ListFunctionEventInvokeConfigsResponse{FunctionEventInvokeConfigs: []lambdaapi.FunctionEventInvokeConfig{}}
	last := ""
	for _, qualifier := range slices.Sorted(maps.Keys(f.EventSettings)) {
		if qualifier <= p.after {
			continue
		}
		if len(out.FunctionEventInvokeConfigs) == p.n {
			out.NextMarker = marker(last)
			break
		}
		out.FunctionEventInvokeConfigs = append(out.FunctionEventInvokeConfigs, *f.EventSettings[qualifier].wire(k, qualifier))
		last = qualifier
	}
	return out, nil
}
