package lambda

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"davy/api/lambdaapi"
)

// timestamp is how Lambda writes LastModified.
const timestamp = "2006-01-02T15:04:05.000+0000"

// configuration shows a version under an ARN.
func configuration(k key, v *version, arn string) *lambdaapi.FunctionConfiguration {
	c := listed(k, v, arn)
	c.State = new(lambdaapi.StateActive)
	c.LastUpdateStatus = new(lambdaapi.LastUpdateStatusSuccessful)
	c.RuntimeVersionConfig = &lambdaapi.RuntimeVersionConfig{RuntimeVersionArn: new(runtimeVersion(k.region, v.Runtime))}
	return c
}

// listed shows a version as the listings do: without its state.
func listed(k key, v *version, arn string) *lambdaapi.FunctionConfiguration {
	c := &lambdaapi.FunctionConfiguration{
		FunctionName:     new(k.name),
		FunctionArn:      new(arn),
		Version:          new(v.Version),
		RevisionId:       new(v.RevisionID),
		LastModified:     new(v.LastModified.UTC().Format(timestamp)),
		Description:      new(v.Description),
		Runtime:          new(lambdaapi.Runtime(v.Runtime)),
		Handler:          new(v.Handler),
		Role:             new(v.Role),
		Timeout:          new(v.Timeout),
		MemorySize:       new(v.MemorySize),
		EphemeralStorage: &lambdaapi.EphemeralStorage{Size: new(v.Ephemeral)},
		CodeSha256:       new(codeHash(v.CodeSHA256)),
		CodeSize:         new(v.CodeSize),
		PackageType:      new(lambdaapi.PackageTypeZip),
		Architectures:    []lambdaapi.Architecture{lambdaapi.Architecture(v.Architecture)},
		TracingConfig:    &lambdaapi.TracingConfigResponse{Mode: new(lambdaapi.TracingModePassThrough)},
		SnapStart: &lambdaapi.SnapStartResponse{
			ApplyOn:            new(lambdaapi.SnapStartApplyOnNone),
			OptimizationStatus: new(lambdaapi.SnapStartOptimizationStatusOff),
		},
		LoggingConfig: v.loggingConfig(),
	}
	for _, l := range v.Layers {
		c.Layers = append(c.Layers, lambdaapi.Layer{Arn: new(l.ARN), CodeSize: new(l.Size)})
	}
	if v.Environment != nil {
		c.Environment = &lambdaapi.EnvironmentResponse{Variables: v.Environment}
	}
	return c
}

// codeHash is a SHA-256 as the API shows it: base64 instead of hex.
func codeHash(sha string) string {
	b, err := hex.DecodeString(sha)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(b)
}

// runtimeVersion names the version of a managed runtime. Davy has one of each.
func runtimeVersion(region, runtime string) string {
	sum := sha256.Sum256([]byte(runtime))
	return "arn:aws:lambda:" + region + "::runtime:" + hex.EncodeToString(sum[:])
}
