package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"davy/internal/arn"
	"davy/internal/execenv"
	"davy/internal/state"
)

// Settings is what an invocation must know of a function beyond what its
// environment needs.
type Settings struct {
	InvokedARN  string        // as the caller qualified it
	Reserved    int           // the function's reserved concurrency; -1: none
	Unreserved  int           // what the account has left for functions without a reservation
	Concurrency int           // the account's limit
	Provisioned int           // environments of this version that are kept ready
	AllReady    int           // of all versions of the function
	MaxRetries  int           // of an asynchronous event after function errors
	MaxEventAge time.Duration // of an asynchronous event
}

// Defaults of asynchronous invocation.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
const (
	defaultRetries  = 2
	defaultEventAge = 6 * time.Hour
)

// Resolve finds the function version that a name, partial ARN or ARN and an
// optional qualifier mean in an account and region. An alias with a weighted
// second version gives either at random. It does no I/O for a function that
// was used lately. What it returns is shared: it must not be changed.
//
// Errors are AWS's: ResourceNotFoundException, InvalidParameterValueException,
// ValidationException.
func (s *Service) Resolve(ctx context.Context, account, region, nameOrARN, qualifier string) (*execenv.Function, Settings, error) {
	k, qualifier, err := locate(account, region, nameOrARN, qualifier)
	if err != nil {
		return nil, Settings{}, err
	}
	e, err := s.entry(ctx, k)
	if err != nil {
		return nil, Settings{}, s.qualify(err, k, qualifier)
	}
	t := e.target(qualifier)
	if t == nil {
		if t, err = s.target(ctx, k, e.f, qualifier); err != nil {
			return nil, Settings{}, err
		}
		e.putTarget(qualifier, t)
	}
	if t.other != nil && rand.Float64() < t.weight {
		t = t.other
	}
	settings := t.settings
	reserved, err := s.reservedSum(ctx, k.account, k.region)
	if err != nil {
		return nil, Settings{}, err
	}
	settings.Concurrency = s.cfg.Concurrency
	settings.Unreserved = max(0, s.cfg.Concurrency-reserved)
	return t.fn, settings, nil
}

// qualify makes a missing function's error name what the caller named.
func (s *Service) qualify(err error, k key, qualifier string) error {
	if isNotFound(err) && qualifier != "" {
		return functionNotFound(k, qualifier)
	}
	return err
}

func (s *Service) entry(ctx context.Context, k key) (*entry, error) {
	if e := s.cache.get(k); e != nil {
		return e, nil
	}
	ticket := s.cache.take()
	f, _, err := s.load(ctx, k)
	if err != nil {
		return nil, err
	}
	e := &entry{f: f, targets: map[string]*target{}, policies: map[string][]byte{}}
	for qualifier, statements := range f.Policies {
		if e.policies[qualifier], err = policyDocument(statements); err != nil {
			return nil, fmt.Errorf("policy of %s: %w", k.qualified(qualifier), err)
		}
	}
	s.cache.put(k, e, ticket)
	return e, nil
}

// target follows a qualifier. It reads a version's document if need be.
func (s *Service) target(ctx context.Context, k key, f *function, qualifier string) (*target, error) {
	first := qualifier
	a, isAlias := f.Aliases[qualifier]
	if isAlias {
		first = a.Version
	}
	t, err := s.single(ctx, k, f, first, qualifier)
	if err != nil || !isAlias {
		return t, err
	}
	for second, weight := range a.Weights { // at most one
		if t.other, err = s.single(ctx, k, f, second, qualifier); err != nil {
			return nil, err
		}
		t.weight = weight
	}
	return t, nil
}

// single is the target of one version, invoked under a qualifier.
func (s *Service) single(ctx context.Context, k key, f *function, number, qualifier string) (*target, error) {
	v, err := s.at(ctx, k, f, number)
	if isNotFound(err) {
		return nil, functionNotFound(k, qualifier)
	}
	if err != nil {
		return nil, err
	}
	set := Settings{InvokedARN: k.qualified(qualifier), Reserved: -1, MaxRetries: defaultRetries, MaxEventAge: defaultEventAge}
	if f.Reserved != nil {
		set.Reserved = int(*f.Reserved)
	}
	if len(f.Provisioned) > 0 {
		set.Provisioned, set.AllReady = f.allocation()[v.Version], int(f.provisionedSum())
	}
	rules, ok := f.EventSettings[qualifier]
	if qualifier == "" {
		rules, ok = f.EventSettings[Latest]
	}
	if ok && rules.Retries != nil {
		set.MaxRetries = int(*rules.Retries)
	}
	if ok && rules.AgeSecs != nil {
		set.MaxEventAge = time.Duration(*rules.AgeSecs) * time.Second
	}
	fn := &execenv.Function{
		ARN:         k.arn(),
		Name:        k.name,
		Version:     v.Version,
		Account:     k.account,
		Region:      k.region,
		Runtime:     v.Runtime,
		Handler:     v.Handler,
		CodeSHA256:  v.CodeSHA256,
		Layers:      v.layerHashes(),
		Environment: v.Environment,
		MemoryMB:    int(v.MemorySize),
		Timeout:     time.Duration(v.Timeout) * time.Second,
		EphemeralMB: int(v.Ephemeral),
		RoleARN:     v.Role,
		LogGroup:    v.LogGroup,
		Revision:    v.fingerprint(f.ID),
	}
	if v.Logging != nil {
		fn.LogJSON, fn.LogLevel, fn.SystemLogLevel = true, string(v.Logging.Application), string(v.Logging.System)
	}
	return &target{settings: set, fn: fn}, nil
}

// reservedSum is the concurrency that an account's functions have set aside.
func (s *Service) reservedSum(ctx context.Context, account, region string) (int, error) {
	if n, ok := s.cache.getReserved(account, region); ok {
		return n, nil
	}
	ticket := s.cache.take()
	all, _, err := s.reservations(ctx, account, region)
	if err != nil {
		return 0, err
	}
	n := sum(all)
	s.cache.putReserved(account, region, n, ticket)
	return n, nil
}

// reservations reads what each function of an account has set aside.
func (s *Service) reservations(ctx context.Context, account, region string) (map[string]int32, int64, error) {
	d, err := s.cfg.State.Get(ctx, concurrencyKey(account, region))
	if errors.Is(err, state.ErrNotFound) {
		return map[string]int32{}, state.Absent, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("load reservations: %w", err)
	}
	all := map[string]int32{}
	if err := json.Unmarshal(d.Value, &all); err != nil {
		return nil, 0, fmt.Errorf("load reservations: %w", err)
	}
	return all, d.Rev, nil
}

// sum adds up reservations.
func sum(all map[string]int32) int {
	n := 0
	for _, r := range all {
		n += int(r)
	}
	return n
}

// FunctionTags are the tags of the function that an ARN lies in, for
// authorisation; none of one that does not exist. They are shared: read only.
func (s *Service) FunctionTags(ctx context.Context, functionARN string) (map[string]string, error) {
	a, err := arn.Parse(functionARN)
	if err != nil {
		return nil, fmt.Errorf("function tags: %w", err)
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(a.Resource, "function:"), ":")
	e, err := s.entry(ctx, key{account: a.Account, region: a.Region, name: name})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return e.f.Tags, nil
}

// FunctionPolicy is the resource policy that decides about a function ARN: a
// qualified ARN has the policy of its qualifier alone. It is nil when there is
// none, or no such function. The result is shared: it must not be changed.
func (s *Service) FunctionPolicy(ctx context.Context, functionARN string) ([]byte, error) {
	a, err := arn.Parse(functionARN)
	if err != nil {
		return nil, fmt.Errorf("function policy: %w", err)
	}
	name, qualifier, _ := strings.Cut(strings.TrimPrefix(a.Resource, "function:"), ":")
	if qualifier == "" {
		qualifier = Latest
	}
	e, err := s.entry(ctx, key{account: a.Account, region: a.Region, name: name})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return e.policies[qualifier], nil
}
