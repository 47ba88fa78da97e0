package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// publish makes a version of $LATEST and returns it, or returns the last one
// made when nothing changed since.
func (c *change) publish(description *string) (*version, error) {
	print := c.f.Latest.fingerprint(c.f.ID)
	if c.f.Published > 0 && c.f.PublishedAs == print {
		v, err := c.s.loadVersion(c.ctx, c.key, strconv.FormatInt(c.f.Published, 10))
		if err == nil {
			v.RevisionID = c.f.revisionOf(v)
		}
		return v, err
	}
	v := c.f.Latest
	v.revised()
	if description != nil {
		v.Description = *description
	}
	c.f.Published++
	c.f.PublishedAs = print
	v.Version = strconv.FormatInt(c.f.Published, 10)
	if err := c.hold(&v, 1); err != nil {
		return nil, err
	}
	return &v, c.put(c.key.version(v.Version), v, state.Absent)
}

// PublishVersion freezes $LATEST as a numbered version.
// https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html
func (s *Service) PublishVersion(ctx context.Context, in *lambdaapi.PublishVersionRequest) (*lambdaapi.FunctionConfiguration, error) {
	k, _, err := s.locate(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if err := refuse([]unsupported{{"PublishTo", in.PublishTo != nil}}); err != nil {
		return nil, err
	}
	var v *version
	_, err = s.update(ctx, k, false, func(c *change) error {
		if err := checkRevision(in.RevisionId, c.f.Latest.RevisionID); err != nil {
			return err
		}
		if have := codeHash(c.f.Latest.CodeSHA256); given(in.CodeSha256) && *in.CodeSha256 != have {
			return invalid("CodeSHA256 (%s) is different from current CodeSHA256 in $LATEST (%s). Please try again with the CodeSHA256 in $LATEST.", *in.CodeSha256, have)
		}
		before := c.f.Published
		if v, err = c.publish(in.Description); err != nil {
			return err
		}
		if c.f.Published == before {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return configuration(k, v, k.qualified(v.Version)), nil
}

// ListVersionsByFunction shows $LATEST and the published versions, oldest
// first.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListVersionsByFunction.html
func (s *Service) ListVersionsByFunction(ctx context.Context, in *lambdaapi.ListVersionsByFunctionRequest) (*lambdaapi.ListVersionsByFunctionResponse, error) {
	k, f, p, err := s.partsOf(ctx, in.FunctionName, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	versions, err := s.listVersions(ctx, k, f, p.after, p.n+1)
	if err != nil {
		return nil, err
	}
	out := &lambdaapi.ListVersionsByFunctionResponse{Versions: versions}
	if len(versions) > p.n {
		out.Versions = versions[:p.n]
		out.NextMarker = marker(awsapi.Val(versions[p.n-1].Version))
	}
	return out, nil
}

// listVersions shows up to n versions behind the one named after, $LATEST
// being the first.
func (s *Service) listVersions(ctx context.Context, k key, f *function, after string, n int) ([]lambdaapi.FunctionConfiguration, error) {
	out := []lambdaapi.FunctionConfiguration{}
	from := ""
	switch {
	case after == "" && n > 0:
		out = append(out, *listed(k, &f.Latest, k.qualified(Latest)))
	case isVersion(after) && len(after) <= 10:
		from = k.version(after)
	}
	docs, err := s.cfg.State.List(ctx, k.versions(), from, n-len(out))
	if err != nil {
		return nil, fmt.Errorf("list versions of %s: %w", k.arn(), err)
	}
	for _, d := range docs {
		v := new(version)
		if err := json.Unmarshal(d.Value, v); err != nil {
			return nil, fmt.Errorf("load version %s: %w", d.Key, err)
		}
		v.RevisionID = f.revisionOf(v)
		out = append(out, *listed(k, v, k.qualified(v.Version)))
	}
	return out, nil
}

// mustNumber is the number of a version; the string has digits only.
func mustNumber(number string) int64 {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
