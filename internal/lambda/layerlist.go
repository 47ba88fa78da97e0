package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// layerFilter selects versions by what they say of themselves.
type layerFilter struct {
	runtime      *lambdaapi.Runtime
	architecture *lambdaapi.Architecture
}

func (f layerFilter) matches(v *layerVersion) bool {
	return (f.runtime == nil || slices.Contains(v.Runtimes, *f.runtime)) &&
		(f.architecture == nil || slices.Contains(v.Architectures, *f.architecture))
}

func listedLayer(k layerKey, v *layerVersion) lambdaapi.LayerVersionsListItem {
	item := lambdaapi.LayerVersionsListItem{
		LayerVersionArn:         new(k.versionARN(v.Version)),
		Version:                 new(v.Version),
		Description:             new(v.Description),
		CreatedDate:             new(v.Created.UTC().Format(timestamp)),
		CompatibleRuntimes:      v.Runtimes,
		CompatibleArchitectures: v.Architectures,
	}
	if v.License != "" {
		item.LicenseInfo = new(v.License)
	}
	return item
}

// layerVersions gives up to n versions that match, the newest first, of those
// older than before; 0: of all.
func (s *Service) layerVersions(ctx context.Context, k layerKey, f layerFilter, before int64, n int) ([]lambdaapi.LayerVersionsListItem, error) {
	out := []lambdaapi.LayerVersionsListItem{}
	after := ""
	if before > 0 {
		after = k.version(before)
	}
	for len(out) < n {
		docs, err := s.cfg.State.List(ctx, k.versions(), after, n-len(out))
		if err != nil {
			return nil, fmt.Errorf("list versions of layer %s: %w", k.arn(), err)
		}
		if len(docs) == 0 {
			break
		}
		for _, d := range docs {
			after = d.Key
			v := new(layerVersion)
			if err := json.Unmarshal(d.Value, v); err != nil {
				return nil, fmt.Errorf("load layer version %s: %w", d.Key, err)
			}
			if f.matches(v) {
				out = append(out, listedLayer(k, v))
			}
		}
	}
	return out, nil
}

// ListLayerVersions shows the versions of a layer, the newest first.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListLayerVersions.html
func (s *Service) ListLayerVersions(ctx context.Context, in *lambdaapi.ListLayerVersionsRequest) (*lambdaapi.ListLayerVersionsResponse, error) {
	k, err := locateLayer(ctx, in.LayerName)
	if err != nil {
		return nil, err
	}
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	var before int64
	if p.after != "" {
		if before, err = strconv.ParseInt(p.after, 10, 64); err != nil || before < 1 || before > maxLayerVersion {
			return nil, invalid("Invalid marker.")
		}
	}
	found, err := s.layerVersions(ctx, k, layerFilter{in.CompatibleRuntime, in.CompatibleArchitecture}, before, p.n+1)
	if err != nil {
		return nil, err
	}
	out := &lambdaapi.ListLayerVersionsResponse{LayerVersions: found}
	if len(found) > p.n {
		out.LayerVersions = found[:p.n]
		out.NextMarker = marker(strconv.FormatInt(*found[p.n-1].Version, 10))
	}
	return out, nil
}

// ListLayers shows the caller's layers by name, each with its newest version
// that matches.
// https://docs.aws.amazon.com/lambda/latest/api/API_ListLayers.html
func (s *Service) ListLayers(ctx context.Context, in *lambdaapi.ListLayersRequest) (*lambdaapi.ListLayersResponse, error) {
	call := awsapi.CallFrom(ctx)
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	filter := layerFilter{in.CompatibleRuntime, in.CompatibleArchitecture}
	prefix := layerPrefix(call.Account, call.Region)
	after := ""
	if p.after != "" {
		after = prefix + p.after
	}
	out := &lambdaapi.ListLayersResponse{Layers: []lambdaapi.LayersListItem{}}
	for {
		docs, err := s.cfg.State.List(ctx, prefix, after, p.n+1)
		if err != nil {
			return nil, fmt.Errorf("list layers: %w", err)
		}
		if len(docs) == 0 {
			return out, nil
		}
		for _, d := range docs {
			after = d.Key
			k := layerKey{account: call.Account, region: call.Region, name: d.Key[len(prefix):]}
			newest, err := s.layerVersions(ctx, k, filter, 0, 1)
			if err != nil {
				return nil, err
			}
			if len(newest) == 0 { // all of them are deleted, or none matches
				continue
			}
			if len(out.Layers) == p.n {
				out.NextMarker = marker(*out.Layers[p.n-1].LayerName)
				return out, nil
			}
			out.Layers = append(out.Layers, lambdaapi.LayersListItem{
				LayerName: new(k.name), LayerArn: new(k.arn()), LatestMatchingVersion: &newest[0],
			})
		}
	}
}
