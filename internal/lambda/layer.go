package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// layer is the document of a layer. It outlives the layer's versions: a number
// is given once.
type layer struct {
	Last int64 // the highest number ever given
}

// layerVersion is the document of a layer's version. All but its policy is
// fixed.
type layerVersion struct {
	Version       int64
	Created       time.Time
	Description   string
	License       string                   `json:",omitempty"`
	Runtimes      []lambdaapi.Runtime      `json:",omitempty"`
	Architectures []lambdaapi.Architecture `json:",omitempty"`
	CodeSHA256    string                   // hex
	CodeSize      int64
	Policy        []statement `json:",omitempty"`
	PolicyID      string      `json:",omitempty"` // the RevisionId of the policy
}

// loadLayerVersion reads a version of a layer; it answers AWS's error when
// there is none.
func (s *Service) loadLayerVersion(ctx context.Context, k layerKey, number int64) (*layerVersion, int64, error) {
	d, err := s.cfg.State.Get(ctx, k.version(number))
	if errors.Is(err, state.ErrNotFound) {
		return nil, 0, noSuchLayer()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("load layer %s: %w", k.versionARN(number), err)
	}
	v := new(layerVersion)
	if err := json.Unmarshal(d.Value, v); err != nil {
		return nil, 0, fmt.Errorf("load layer %s: %w", k.versionARN(number), err)
	}
	return v, d.Rev, nil
}

// transact lets edit gather a transaction and commits it; when somebody else
// changed what it rests on, everything is done again.
func (s *Service) transact(ctx context.Context, resource string, edit func(*transaction) error) error {
	for range maxTries {
		t := s.begin(ctx)
		switch err := edit(&t); {
		case errors.Is(err, errUnchanged):
			return nil
		case err != nil:
			return err
		}
		switch err := t.commit(); {
		case err == nil:
			return nil
		case !errors.Is(err, state.ErrConflict):
			return fmt.Errorf("write %s: %w", resource, err)
		}
	}
	return conflict("The operation cannot be performed at this time. An update is in progress for resource: %s", resource)
}

// PublishLayerVersion makes a version of a layer from a zip, and the layer if
// there was none. It can be used when this returns.
// https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html
func (s *Service) PublishLayerVersion(ctx context.Context, in *lambdaapi.PublishLayerVersionRequest) (*lambdaapi.PublishLayerVersionResponse, error) {
	k, err := locateLayer(ctx, in.LayerName)
	if err != nil {
		return nil, err
	}
	content := in.Content
	if content == nil {
		content = &lambdaapi.LayerVersionContentInput{}
	}
	if err := refuse([]unsupported{
		{"Content.S3ObjectStorageMode " + string(awsapi.Val(content.S3ObjectStorageMode)), content.S3ObjectStorageMode != nil && *content.S3ObjectStorageMode != lambdaapi.S3ObjectStorageModeCopy},
	}); err != nil {
		return nil, err
	}
	up, err := s.receive(ctx, source{zip: content.ZipFile, bucket: content.S3Bucket, key: content.S3Key, version: content.S3ObjectVersion})
	if err != nil {
		return nil, err
	}
	v := &layerVersion{
		Created: now(), Description: awsapi.Val(in.Description), License: awsapi.Val(in.LicenseInfo),
		Runtimes: in.CompatibleRuntimes, Architectures: in.CompatibleArchitectures,
		CodeSHA256: up.sha256, CodeSize: up.size,
	}
	err = s.transact(ctx, k.arn(), func(t *transaction) error {
		l, rev, err := s.loadLayer(ctx, k)
		if err != nil {
			return err
		}
		l.Last++
		v.Version = l.Last
		if err := t.put(k.doc(), l, rev); err != nil {
			return err
		}
		if err := t.put(k.version(v.Version), v, state.Absent); err != nil {
			return err
		}
		return t.adopt(up)
	})
	s.settle(ctx, up, err)
	if err != nil {
		return nil, err
	}
	out, err := s.layerWire(ctx, k, v)
	if err != nil {
		return nil, err
	}
	published := lambdaapi.PublishLayerVersionResponse(*out)
	return &published, nil
}

// loadLayer reads a layer's document; an empty one of a layer that never was.
func (s *Service) loadLayer(ctx context.Context, k layerKey) (layer, int64, error) {
	var l layer
	d, err := s.cfg.State.Get(ctx, k.doc())
	if errors.Is(err, state.ErrNotFound) {
		return l, state.Absent, nil
	}
	if err == nil {
		err = json.Unmarshal(d.Value, &l)
	}
	if err != nil {
		return l, 0, fmt.Errorf("load layer %s: %w", k.arn(), err)
	}
	return l, d.Rev, nil
}

// layerWire shows a version with a link to its zip.
func (s *Service) layerWire(ctx context.Context, k layerKey, v *layerVersion) (*lambdaapi.GetLayerVersionResponse, error) {
	out := &lambdaapi.GetLayerVersionResponse{
		LayerArn:                new(k.arn()),
		LayerVersionArn:         new(k.versionARN(v.Version)),
		Version:                 new(v.Version),
		Description:             new(v.Description),
		CreatedDate:             new(v.Created.UTC().Format(timestamp)),
		CompatibleRuntimes:      v.Runtimes,
		CompatibleArchitectures: v.Architectures,
		Content:                 &lambdaapi.LayerVersionContentOutput{CodeSha256: new(codeHash(v.CodeSHA256)), CodeSize: new(v.CodeSize)},
	}
	if v.License != "" {
		out.LicenseInfo = new(v.License)
	}
	if s.cfg.CodeURL != nil {
		link, err := s.cfg.CodeURL(ctx, v.CodeSHA256)
		if err != nil {
			return nil, fmt.Errorf("link to layer %s: %w", k.versionARN(v.Version), err)
		}
		out.Content.Location = new(link)
	}
	return out, nil
}

// GetLayerVersion shows a version of a layer and where to download it.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersion.html
func (s *Service) GetLayerVersion(ctx context.Context, in *lambdaapi.GetLayerVersionRequest) (*lambdaapi.GetLayerVersionResponse, error) {
	k, number, err := locateLayerVersion(ctx, in.LayerName, in.VersionNumber)
	if err != nil {
		return nil, err
	}
	return s.getLayerVersion(ctx, k, number)
}

// GetLayerVersionByArn shows the version of a layer with an ARN.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersionByArn.html
func (s *Service) GetLayerVersionByArn(ctx context.Context, in *lambdaapi.GetLayerVersionByArnRequest) (*lambdaapi.GetLayerVersionResponse, error) {
	k, number, ok := parseLayerVersion(awsapi.Val(in.Arn))
	if !ok || k.region != awsapi.CallFrom(ctx).Region {
		return nil, noSuchLayer()
	}
	return s.getLayerVersion(ctx, k, number)
}

func (s *Service) getLayerVersion(ctx context.Context, k layerKey, number int64) (*lambdaapi.GetLayerVersionResponse, error) {
	v, _, err := s.loadLayerVersion(ctx, k, number)
	if err != nil {
		return nil, err
	}
	return s.layerWire(ctx, k, v)
}

// DeleteLayerVersion removes a version of a layer. Functions that have it keep
// it; no other can be given it. One that does not exist is no error, as on AWS.
// https://docs.aws.amazon.com/lambda/latest/api/API_DeleteLayerVersion.html
func (s *Service) DeleteLayerVersion(ctx context.Context, in *lambdaapi.DeleteLayerVersionRequest) (*lambdaapi.DeleteLayerVersionOutput, error) {
	k, number, err := locateLayerVersion(ctx, in.LayerName, in.VersionNumber)
	if err == nil {
		err = s.transact(ctx, k.versionARN(number), func(t *transaction) error {
			v, rev, err := s.loadLayerVersion(ctx, k, number)
			if err != nil {
				return err
			}
			t.dropIf(k.version(number), rev)
			return t.use(v.CodeSHA256, -1)
		})
	}
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	return &lambdaapi.DeleteLayerVersionOutput{}, nil
}
