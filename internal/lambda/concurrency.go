package lambda

import (
	"context"
	"encoding/json"
	"fmt"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// PutFunctionConcurrency reserves a part of the account's concurrency for a
// function and limits it to that part.
// https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionConcurrency.html
func (s *Service) PutFunctionConcurrency(ctx context.Context, in *lambdaapi.PutFunctionConcurrencyRequest) (*lambdaapi.Concurrency, error) {
	k, err := s.whole(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	n := awsapi.Val(in.ReservedConcurrentExecutions)
	if n < 0 {
		return nil, constraint(n, "reservedConcurrentExecutions", "Member must have value greater than or equal to 0")
	}
	_, err = s.update(ctx, k, false, func(c *change) error {
		c.f.Reserved = &n
		if ready := c.f.provisionedSum(); n < ready {
			return invalid(" ReservedConcurrentExecutions  %d should not be lower than function's total provisioned concurrency [%d].", n, ready)
		}
		return c.putClaim(func(all map[string]int32) error {
			floor := min(minUnreserved, s.cfg.Concurrency)
			if n > 0 && s.cfg.Concurrency-sum(all) < floor {
				return invalid("Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", floor)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	s.limitsChanged()
	return &lambdaapi.Concurrency{ReservedConcurrentExecutions: &n}, nil
}

// putClaim writes what the function sets aside into the account's document, if
// check (which may be nil) is content with what all would have then.
func (c *change) putClaim(check func(all map[string]int32) error) error {
	n := c.f.claim()
	all, rev, err := c.s.reservations(c.ctx, c.key.account, c.key.region)
	if err != nil {
		return err
	}
	if n == nil {
		delete(all, c.key.name)
	} else {
		all[c.key.name] = *n
	}
	if check != nil {
		if err := check(all); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		c.batch.Ops = append(c.batch.Ops, state.Op{Key: concurrencyKey(c.key.account, c.key.region), IfRev: rev})
		return nil
	}
	return c.put(concurrencyKey(c.key.account, c.key.region), all, rev)
}

// limitsChanged tells whoever holds events back for want of concurrency.
func (s *Service) limitsChanged() {
	if s.cfg.LimitsChanged != nil {
		s.cfg.LimitsChanged()
	}
}

// whole is the function that an operation names which knows no qualifier.
func (s *Service) whole(ctx context.Context, nameOrARN *string) (key, error) {
	k, qualifier, err := s.locate(ctx, nameOrARN, nil)
	if err == nil && qualifier != "" && qualifier != Latest {
		err = invalid("This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.")
	}
	return k, err
}

// GetFunctionConcurrency shows a function's reservation.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConcurrency.html
func (s *Service) GetFunctionConcurrency(ctx context.Context, in *lambdaapi.GetFunctionConcurrencyRequest) (*lambdaapi.GetFunctionConcurrencyResponse, error) {
	k, err := s.whole(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	f, _, err := s.load(ctx, k)
	if err != nil {
		return nil, err
	}
	return &lambdaapi.GetFunctionConcurrencyResponse{ReservedConcurrentExecutions: f.Reserved}, nil
}

// DeleteFunctionConcurrency gives a function's reservation back.
// https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionConcurrency.html
func (s *Service) DeleteFunctionConcurrency(ctx context.Context, in *lambdaapi.DeleteFunctionConcurrencyRequest) (*lambdaapi.DeleteFunctionConcurrencyOutput, error) {
	k, err := s.whole(ctx, in.FunctionName)
	if err != nil {
		return nil, err
	}
	_, err = s.update(ctx, k, false, func(c *change) error {
		if c.f.Reserved == nil {
			return errUnchanged
		}
		c.f.Reserved = nil
		return c.putClaim(nil)
	})
	if err != nil {
		return nil, err
	}
	s.limitsChanged()
	return &lambdaapi.DeleteFunctionConcurrencyOutput{}, nil
}

// GetAccountSettings shows the limits of the account in the region and what it
// uses of them. It reads every function and layer of the account.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetAccountSettings.html
func (s *Service) GetAccountSettings(ctx context.Context, _ *lambdaapi.GetAccountSettingsRequest) (*lambdaapi.GetAccountSettingsResponse, error) {
	call := awsapi.CallFrom(ctx)
	all, _, err := s.reservations(ctx, call.Account, call.Region)
	if err != nil {
		return nil, err
	}
	functions, latest, err := s.measure(ctx, functionPrefix(call.Account, call.Region), func(b []byte) (version, error) {
		var f function
		err := json.Unmarshal(b, &f)
		return f.Latest, err
	})
	if err != nil {
		return nil, err
	}
	_, published, err := s.measure(ctx, versionRoot+call.Account+"/"+call.Region+"/", func(b []byte) (version, error) {
		var v version
		err := json.Unmarshal(b, &v)
		return v, err
	})
	if err != nil {
		return nil, err
	}
	_, layers, err := s.measure(ctx, layerVerRoot+call.Account+"/"+call.Region+"/", func(b []byte) (version, error) {
		var l layerVersion
		err := json.Unmarshal(b, &l)
		return version{CodeSize: l.CodeSize}, err
	})
	if err != nil {
		return nil, err
	}
	return &lambdaapi.GetAccountSettingsResponse{
		AccountLimit: &lambdaapi.AccountLimit{
			TotalCodeSize:                  new(int64(maxCodeStorage)),
			CodeSizeUnzipped:               new(int64(maxUnzipped)),
			CodeSizeZipped:                 new(int64(maxZipUpload)),
			ConcurrentExecutions:           new(int32(s.cfg.Concurrency)),
			UnreservedConcurrentExecutions: new(int32(s.cfg.Concurrency - sum(all))),
		},
		AccountUsage: &lambdaapi.AccountUsage{FunctionCount: &functions, TotalCodeSize: new(latest + published + layers)},
	}, nil
}

// measure counts the documents under a prefix and adds up their code.
func (s *Service) measure(ctx context.Context, prefix string, decode func([]byte) (version, error)) (count, size int64, err error) {
	for after := ""; ; {
		var docs []state.Doc
		if docs, err = s.cfg.State.List(ctx, prefix, after, 500); err != nil {
			return 0, 0, fmt.Errorf("list %s: %w", prefix, err)
		}
		for _, d := range docs {
			v, err := decode(d.Value)
			if err != nil {
				return 0, 0, fmt.Errorf("load %s: %w", d.Key, err)
			}
			count, size, after = count+1, size+v.CodeSize, d.Key
		}
		if len(docs) < 500 {
			return count, size, nil
		}
	}
}
