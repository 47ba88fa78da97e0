package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/execenv"
)

// Provisioner keeps the environments that provisioned concurrency asks for.
// Safe for concurrent use.
type Provisioner interface {
	// Provision is told that what a function wants to be kept ready may have
	// changed; Service.Provisions says what it is now. It does not wait.
	Provision(functionARN string)
	// Provisioned tells how far the environments of a version are.
	Provisioned(functionARN, version string) Allocation
}

// Allocation is how far the environments of a version are.
type Allocation struct {
	Ready   int    // environments that are initialised
	Failure string // why the others are not, in AWS's words; empty: they are on their way
}

// Provision is how many environments of a version are to be kept ready.
type Provision struct {
	Function *execenv.Function
	Count    int
}

// provision is what is kept ready for a version or an alias.
type provision struct {
	Count    int32
	Modified time.Time
}

// provisionTime is how Lambda writes LastModified of these settings.
const provisionTime = "2006-01-02T15:04:05+0000"

// provisionedSum is what all versions and aliases of a function ask for.
func (f *function) provisionedSum() int32 {
	var n int32
	for _, p := range f.Provisioned {
		n += p.Count
	}
	return n
}

// shares are the versions that a qualifier's environments are of. An alias
// with two versions has them in the proportion of its traffic.
func (f *function) shares(qualifier string) map[string]int {
	n := int(f.Provisioned[qualifier].Count)
	a, isAlias := f.Aliases[qualifier]
	if !isAlias {
		return map[string]int{qualifier: n}
	}
	out := map[string]int{a.Version: n}
	for second, weight := range a.Weights { // at most one
		out[second] = int(math.Round(float64(n) * weight))
		out[a.Version] = n - out[second]
	}
	return out
}

// allocation is how many environments each version keeps ready.
func (f *function) allocation() map[string]int {
	out := map[string]int{}
	for qualifier := range f.Provisioned {
		for number, n := range f.shares(qualifier) {
			out[number] += n
		}
	}
	return out
}

// claim is the part of the account's concurrency that a function sets aside:
// what it reserved, of which what it keeps ready is a part, or else that alone.
// nil: nothing.
// https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
func (f *function) claim() *int32 {
	switch {
	case f.Reserved != nil:
		return f.Reserved
	case len(f.Provisioned) > 0:
		return new(f.provisionedSum())
	}
	return nil
}

// provisions is the qualifier that an operation on provisioned concurrency is
// about.
func (s *Service) provisions(ctx context.Context, nameOrARN, qualifierIn *string, refusal string) (key, string, error) {
	if s.cfg.Provisioner == nil {
		return key{}, "", awsapi.Errorf(http.StatusNotImplemented, "NotImplemented", "Provisioned concurrency is not implemented.")
	}
	k, qualifier, err := s.locate(ctx, nameOrARN, qualifierIn)
	if err == nil && (qualifier == "" || qualifier == Latest) {
		err = invalid("%s", refusal)
	}
	return k, qualifier, err
}

const (
	errUnpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
	errNoVersion   = "The function resource provided must be an alias or a published version."
)

// checkProvisioned refuses a qualifier whose versions cannot be kept ready: an
// unpublished one, or one that another setting of the function is about.
func (c *change) checkProvisioned(qualifier string) error {
	a, isAlias := c.f.Aliases[qualifier]
	if isAlias && a.Version == Latest {
		return invalid(errUnpublished)
	}
	mine := c.f.shares(qualifier)
	for other := range c.f.Provisioned {
		if other == qualifier {
			continue
		}
		for number := range c.f.shares(other) {
			if _, both := mine[number]; !both {
				continue
			}
			if isAlias {
				return conflict("Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version")
			}
			return conflict("Version is pointed by a Provisioned Concurrency alias")
		}
	}
	return nil
}

// PutProvisionedConcurrencyConfig keeps environments of a version ready. It
// answers before they are.
// https://docs.aws.amazon.com/lambda/latest/api/API_PutProvisionedConcurrencyConfig.html
func (s *Service) PutProvisionedConcurrencyConfig(ctx context.Context, in *lambdaapi.PutProvisionedConcurrencyConfigRequest) (*lambdaapi.PutProvisionedConcurrencyConfigResponse, error) {
	n := awsapi.Val(in.ProvisionedConcurrentExecutions)
	if n < 1 {
		return nil, constraint(n, "provisionedConcurrentExecutions", "Member must have value greater than or equal to 1")
	}
	k, qualifier, err := s.provisions(ctx, in.FunctionName, in.Qualifier, errUnpublished)
	if err != nil {
		return nil, err
	}
	f, err := s.update(ctx, k, false, func(c *change) error {
		if _, err := s.at(ctx, k, c.f, qualifier); err != nil {
			return err
		}
		if a := c.f.Aliases[qualifier]; len(a.Weights) > 0 {
			return invalid("Alias with weights can not be used with Provisioned Concurrency")
		}
		before := c.f.provisionedSum()
		if c.f.Provisioned == nil {
			c.f.Provisioned = map[string]provision{}
		}
		c.f.Provisioned[qualifier] = provision{Count: n, Modified: now()}
		if r := c.f.Reserved; r != nil && *r < c.f.provisionedSum() {
			return invalid("Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
		}
		if int(n) > s.cfg.Concurrency {
			return invalid("Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [%d].", s.cfg.Concurrency)
		}
		if err := c.checkProvisioned(qualifier); err != nil {
			return err
		}
		return c.putClaim(func(all map[string]int32) error {
			floor := min(minUnreserved, s.cfg.Concurrency)
			if c.f.Reserved == nil && c.f.provisionedSum() > before && s.cfg.Concurrency-sum(all) < floor {
				return invalid("Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", floor)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	s.provisionChanged(k)
	item := s.provisionItem(k, f, qualifier)
	return &lambdaapi.PutProvisionedConcurrencyConfigResponse{
		RequestedProvisionedConcurrentExecutions: &n,
		AllocatedProvisionedConcurrentExecutions: item.AllocatedProvisionedConcurrentExecutions,
		AvailableProvisionedConcurrentExecutions: item.AvailableProvisionedConcurrentExecutions,
		Status:                                   new(lambdaapi.ProvisionedConcurrencyStatusEnumInProgress),
		LastModified:                             item.LastModified,
	}, nil
}

// provisionChanged makes the change of a function's settings known to those who
// act on it.
func (s *Service) provisionChanged(k key) {
	if s.cfg.Provisioner != nil {
		s.cfg.Provisioner.Provision(k.arn())
	}
	s.limitsChanged()
}

// provisionItem tells what is kept ready for a qualifier.
func (s *Service) provisionItem(k key, f *function, qualifier string) lambdaapi.ProvisionedConcurrencyConfigListItem {
	p := f.Provisioned[qualifier]
	ready, failure := 0, ""
	for number, want := range f.shares(qualifier) {
		a := s.cfg.Provisioner.Provisioned(k.arn(), number)
		ready += min(a.Ready, want)
		if a.Ready < want && a.Failure != "" {
			failure = a.Failure
		}
	}
	item := lambdaapi.ProvisionedConcurrencyConfigListItem{
		FunctionArn:                              new(k.qualified(qualifier)),
		RequestedProvisionedConcurrentExecutions: new(p.Count),
		AllocatedProvisionedConcurrentExecutions: new(int32(ready)),
		AvailableProvisionedConcurrentExecutions: new(int32(ready)),
		LastModified:                             new(p.Modified.UTC().Format(provisionTime)),
	}
	switch {
	case ready >= int(p.Count):
		item.Status = new(lambdaapi.ProvisionedConcurrencyStatusEnumReady)
	case failure != "":
		item.Status = new(lambdaapi.ProvisionedConcurrencyStatusEnumFailed)
		item.StatusReason = &failure
	default:
		item.Status = new(lambdaapi.ProvisionedConcurrencyStatusEnumInProgress)
	}
	return item
}

// provisioned reads a function that has a qualifier, whose setting may be
// missing.
func (s *Service) provisioned(ctx context.Context, k key, qualifier string) (*function, error) {
	f, _, err := s.load(ctx, k)
	if err != nil {
		return nil, err
	}
	_, err = s.at(ctx, k, f, qualifier)
	return f, err
}

// GetProvisionedConcurrencyConfig shows what is kept ready for a version or an
// alias, and how far it is.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetProvisionedConcurrencyConfig.html
func (s *Service) GetProvisionedConcurrencyConfig(ctx context.Context, in *lambdaapi.GetProvisionedConcurrencyConfigRequest) (*lambdaapi.GetProvisionedConcurrencyConfigResponse, error) {
	k, qualifier, err := s.provisions(ctx, in.FunctionName, in.Qualifier, errNoVersion)
	if err != nil {
		return nil, err
	}
	f, err := s.provisioned(ctx, k, qualifier)
	if err != nil {
		return nil, err
	}
	if _, ok := f.Provisioned[qualifier]; !ok {
		return nil, &lambdaapi.ProvisionedConcurrencyConfigNotFoundException{
			Type: new(user), Message: new("No Provisioned Concurrency Config found for this function"),
		}
	}
	item := s.provisionItem(k, f, qualifier)
	return &lambdaapi.GetProvisionedConcurrencyConfigResponse{
		RequestedProvisionedConcurrentExecutions: item.RequestedProvisionedConcurrentExecutions,
		AllocatedProvisionedConcurrentExecutions: item.AllocatedProvisionedConcurrentExecutions,
		AvailableProvisionedConcurrentExecutions: item.AvailableProvisionedConcurrentExecutions,
		Status:                                   item.Status,
		StatusReason:                             item.StatusReason,
		LastModified:                             item.LastModified,
	}, nil
}

// DeleteProvisionedConcurrencyConfig keeps nothing ready any more. Without a
// setting it succeeds, as on AWS.
// https://docs.aws.amazon.com/lambda/latest/api/API_DeleteProvisionedConcurrencyConfig.html
func (s *Service) DeleteProvisionedConcurrencyConfig(ctx context.Context, in *lambdaapi.DeleteProvisionedConcurrencyConfigRequest) (*lambdaapi.DeleteProvisionedConcurrencyConfigOutput, error) {
	k, qualifier, err := s.provisions(ctx, in.FunctionName, in.Qualifier, errNoVersion)
	if err != nil {
		return nil, err
	}
	_, err = s.update(ctx, k, false, func(c *change) error {
		if _, err := s.at(ctx, k, c.f, qualifier); err != nil {
			return err
		}
		if _, ok := c.f.Provisioned[qualifier]; !ok {
			return errUnchanged
		}
		return c.unprovision(qualifier)
	})
	if err != nil {
		return nil, err
	}
	s.provisionChanged(k)
	return &lambdaapi.DeleteProvisionedConcurrencyConfigOutput{}, nil
}

// unprovision drops what is kept ready for a qualifier, if anything is.
func (c *change) unprovision(qualifier string) error {
	if _, ok := c.f.Provisioned[qualifier]; !ok {
		return nil
	}
	delete(c.f.Provisioned, qualifier)
	if c.f.Reserved != nil {
		return nil // which stays as it is
	}
	return c.putClaim(nil)
}

// ListProvisionedConcurrencyConfigs shows what a function keeps ready.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListProvisionedConcurrencyConfigs.html
func (s *Service) ListProvisionedConcurrencyConfigs(ctx context.Context, in *lambdaapi.ListProvisionedConcurrencyConfigsRequest) (*lambdaapi.ListProvisionedConcurrencyConfigsResponse, error) {
	k, f, p, err := s.partsOf(ctx, in.FunctionName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &lambdaapi.ListProvisionedConcurrencyConfigsResponse{ProvisionedConcurrencyConfigs: []lambdaapi.ProvisionedConcurrencyConfigListItem{}}
	last := ""
	for _, qualifier := range slices.Sorted(maps.Keys(f.Provisioned)) {
		if qualifier <= p.after || s.cfg.Provisioner == nil {
			continue
		}
		if len(out.ProvisionedConcurrencyConfigs) == p.n {
			out.NextMarker = marker(last)
			break
		}
		out.ProvisionedConcurrencyConfigs = append(out.ProvisionedConcurrencyConfigs, s.provisionItem(k, f, qualifier))
		last = qualifier
	}
	return out, nil
}

// Provisions are the environments that a function with this unqualified ARN
// wants to be kept ready: none if there is no such function.
func (s *Service) Provisions(ctx context.Context, functionARN string) ([]Provision, error) {
	a, err := arn.Parse(functionARN)
	if err != nil {
		return nil, fmt.Errorf("provisioned concurrency: %w", err)
	}
	k := key{account: a.Account, region: a.Region, name: strings.TrimPrefix(a.Resource, "function:")}
	f, _, err := s.load(ctx, k)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Provision
	for number, n := range f.allocation() {
		t, err := s.single(ctx, k, f, number, number)
		if isNotFound(err) {
			continue // deleted with its setting, in between
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Provision{Function: t.fn, Count: n})
	}
	return out, nil
}

// EachProvisioned calls fn with the ARN of every function that may keep
// environments ready, until fn returns an error.
func (s *Service) EachProvisioned(ctx context.Context, fn func(functionARN string) error) error {
	for after := ""; ; {
		docs, err := s.cfg.State.List(ctx, concurrentRoot, after, 100)
		if err != nil {
			return fmt.Errorf("list concurrency: %w", err)
		}
		for _, d := range docs {
			after = d.Key
			account, region, _ := strings.Cut(strings.TrimPrefix(d.Key, concurrentRoot), "/")
			all := map[string]int32{}
			if err := json.Unmarshal(d.Value, &all); err != nil {
				return fmt.Errorf("load %s: %w", d.Key, err)
			}
			for name := range all {
				if err := fn(key{account: account, region: region, name: name}.arn()); err != nil {
					return err
				}
			}
		}
		if len(docs) == 0 {
			return nil
		}
	}
}
