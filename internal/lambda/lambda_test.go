package lambda_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/blob"
	"davy/internal/blob/blobtest"
	"davy/internal/lambda"
	"davy/internal/state"
	"davy/internal/state/statetest"
)

const (
	account = "000000000000"
	region  = "us-east-1"
	role    = "arn:aws:iam::000000000000:role/lab"
)

func arnOf(name string) string {
	return "arn:aws:lambda:" + region + ":" + account + ":function:" + name
}

// roles is a Roles in which only some role is assumable.
type roles map[string]bool

func (r roles) AssumableByLambda(_ context.Context, arn string) error {
	if r[arn] {
		return nil
	}
	return errors.New("role does not trust lambda.amazonaws.com")
}

// objects is an Objects from bucket/key to content.
type objects map[string][]byte

func (o objects) OpenObject(_ context.Context, bucket, key, _ string) (io.ReadCloser, error) {
	b, ok := o[bucket+"/"+key]
	if !ok {
		return nil, awsapi.Errorf(404, "NoSuchKey", "The specified key does not exist.")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func checkZip(r io.ReaderAt, size int64) (int64, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, f := range z.File {
		n += int64(f.UncompressedSize64)
	}
	return n, nil
}

// zipOf makes a deployment package of one file.
func zipOf(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("index.js")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type fixture struct {
	*lambda.Service
	store   *statetest.Memory
	blobs   *blobtest.Memory
	retired []string
	limits  int // times that LimitsChanged was called
}

func setup(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{store: statetest.NewMemory(), blobs: blobtest.NewMemory()}
	f.Service = f.service(t, func(*lambda.Config) {})
	return f
}

// service makes a further service on the same stores.
func (f *fixture) service(t testing.TB, edit func(*lambda.Config)) *lambda.Service {
	t.Helper()
	cfg := lambda.Config{
		State:         f.store,
		Blobs:         f.blobs,
		Roles:         roles{role: true},
		Objects:       objects{"code/fn.zip": zipOf(t, "s3"), "code/bad.zip": []byte("no zip"), "code/empty": {}},
		CheckZip:      checkZip,
		CodeURL:       func(_ context.Context, sha string) (string, error) { return "http://code/" + sha, nil },
		Retired:       func(arn string) { f.retired = append(f.retired, arn) },
		LimitsChanged: func() { f.limits++ },
		Runtimes:      []string{"nodejs20.x", "nodejs22.x", "nodejs24.x"},
		Architecture:  "x86_64",
	}
	edit(&cfg)
	s, err := lambda.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(t testing.TB) context.Context {
	return awsapi.WithCall(t.Context(), &awsapi.Call{RequestID: "r", Region: region, Account: account})
}

func creation(t testing.TB, name string) *lambdaapi.CreateFunctionRequest {
	return &lambdaapi.CreateFunctionRequest{
		FunctionName: new(name),
		Runtime:      new(lambdaapi.RuntimeNodejs22X),
		Handler:      new("index.handler"),
		Role:         new(role),
		Code:         &lambdaapi.FunctionCode{ZipFile: zipOf(t, name)},
	}
}

func (f *fixture) create(t testing.TB, name string, edit ...func(*lambdaapi.CreateFunctionRequest)) *lambdaapi.FunctionConfiguration {
	t.Helper()
	in := creation(t, name)
	for _, e := range edit {
		e(in)
	}
	out, err := f.CreateFunction(request(t), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantError fails unless err is AWS's error of that code with that message.
func wantError(t testing.TB, err error, code, message string) {
	t.Helper()
	var modelled awsapi.Error
	if !errors.As(err, &modelled) {
		t.Fatalf("error = %v; want %s", err, code)
	}
	if got := modelled.Error(); modelled.ErrorCode() != code || got != code+": "+message {
		t.Fatalf("error = %s (%s)\nwant    %s: %s", got, modelled.ErrorCode(), code, message)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// documents lists the keys of the store under a prefix.
func (f *fixture) documents(t testing.TB, prefix string) []string {
	t.Helper()
	docs, err := f.store.List(t.Context(), prefix, "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(docs))
	for i, d := range docs {
		keys[i] = d.Key
	}
	return keys
}

func TestCreateFunction_AnswersAsAWS(t *testing.T) {
	f := setup(t)
	got := f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) {
		in.Environment = &lambdaapi.Environment{Variables: map[string]string{"KEY": "value"}}
	})
	if !strings.HasSuffix(*got.LastModified, "+0000") || len(*got.LastModified) != len("2026-11-22T15:00:00.000+0000") {
		t.Errorf("LastModified = %s", *got.LastModified)
	}
	if len(*got.RevisionId) != 36 {
		t.Errorf("RevisionId = %s", *got.RevisionId)
	}
	if len(*got.CodeSha256) != 44 {
		t.Errorf("CodeSha256 = %s", *got.CodeSha256)
	}
	if *got.CodeSize != int64(len(zipOf(t, "fn"))) {
		t.Errorf("CodeSize = %d", *got.CodeSize)
	}
	got.CodeSize, got.LastModified, got.RevisionId, got.CodeSha256 = new(int64(1)), new("m"), new("r"), new("c")
	*got.RuntimeVersionConfig.RuntimeVersionArn, _, _ = strings.Cut(*got.RuntimeVersionConfig.RuntimeVersionArn, "::")
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var shown map[string]any
	if err := json.Unmarshal(b, &shown); err != nil {
		t.Fatal(err)
	}
	for name, v := range shown {
		if v == nil {
			delete(shown, name)
		}
	}
	b, _ = json.MarshalIndent(shown, "", " ")
	want := `{
 "Architectures": [
  "x86_64"
 ],
 "CodeSha256": "c",
 "CodeSize": 1,
 "Description": "",
 "Environment": {
  "Error": null,
  "Variables": {
   "KEY": "value"
  }
 },
 "EphemeralStorage": {
  "Size": 512
 },
 "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:fn",
 "FunctionName": "fn",
 "Handler": "index.handler",
 "LastModified": "m",
 "LastUpdateStatus": "Successful",
 "LoggingConfig": {
  "ApplicationLogLevel": null,
  "LogFormat": "Text",
  "LogGroup": "/aws/lambda/fn",
  "SystemLogLevel": null
 },
 "MemorySize": 128,
 "PackageType": "Zip",
 "RevisionId": "r",
 "Role": "arn:aws:iam::000000000000:role/lab",
 "Runtime": "nodejs22.x",
 "RuntimeVersionConfig": {
  "Error": null,
  "RuntimeVersionArn": "arn:aws:lambda:us-east-1"
 },
 "SnapStart": {
  "ApplyOn": "None",
  "OptimizationStatus": "Off"
 },
 "State": "Active",
 "Timeout": 3,
 "TracingConfig": {
  "Mode": "PassThrough"
 },
 "Version": "$LATEST"
}`
	if string(b) != want {
		t.Errorf("got %s\nwant %s", b, want)
	}
}

func TestCreateFunction_Refusals(t *testing.T) {
	const (
		value = "InvalidParameterValueException"
		valid = "ValidationException"
	)
	type in = lambdaapi.CreateFunctionRequest
	for _, tc := range []struct {
		name          string
		edit          func(*in)
		code, message string
	}{
		{"role without trust", func(r *in) { r.Role = new("arn:aws:iam::000000000000:role/other") }, value, "The role defined for the function cannot be assumed by Lambda."},
		{"no handler", func(r *in) { r.Handler = nil }, value, "Runtime and Handler are mandatory parameters for functions created with deployment packages."},
		{"no runtime", func(r *in) { r.Runtime = nil }, value, "Runtime and Handler are mandatory parameters for functions created with deployment packages."},
		{"unknown runtime", func(r *in) { r.Runtime = new(lambdaapi.RuntimePython312) }, value, "Value python3.12 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs20.x, nodejs22.x, nodejs24.x] or be a valid ARN"},
		{"no code", func(r *in) { r.Code = &lambdaapi.FunctionCode{} }, value, "Please provide a source for function code."},
		{"two sources", func(r *in) { r.Code.S3Bucket, r.Code.S3Key = new("b"), new("k") }, value, "Please do not provide other FunctionCode parameters when providing a ZipFile."},
		{"empty zip", func(r *in) { r.Code.ZipFile = []byte{} }, value, "Uploaded file must be a non-empty zip"},
		{"no zip", func(r *in) { r.Code.ZipFile = []byte("PK nonsense") }, value, "Could not unzip uploaded file. Please check your file, then try to upload again."},
		{"zip above 50 MB", func(r *in) { r.Code.ZipFile = make([]byte, 52428801) }, "RequestEntityTooLargeException", "Zipped size must be smaller than 52428800 bytes"},
		{"S3 without key", func(r *in) { r.Code = &lambdaapi.FunctionCode{S3Bucket: new("b")} }, value, "Please provide a source for function code."},
		{"S3 missing", func(r *in) { r.Code = &lambdaapi.FunctionCode{S3Bucket: new("code"), S3Key: new("none")} }, value, "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."},
		{"S3 no zip", func(r *in) { r.Code = &lambdaapi.FunctionCode{S3Bucket: new("code"), S3Key: new("bad.zip")} }, value, "Could not unzip uploaded file. Please check your file, then try to upload again."},
		{"S3 empty", func(r *in) { r.Code = &lambdaapi.FunctionCode{S3Bucket: new("code"), S3Key: new("empty")} }, value, "Uploaded file must be a non-empty zip"},
		{"timeout", func(r *in) { r.Timeout = new(int32(901)) }, valid, "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"},
		{"memory", func(r *in) { r.MemorySize = new(int32(10241)) }, value, "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240"},
		{"ephemeral", func(r *in) { r.EphemeralStorage = &lambdaapi.EphemeralStorage{Size: new(int32(10241))} }, valid, "1 validation error detected: Value '10241' at 'ephemeralStorage.size' failed to satisfy constraint: Member must have value less than or equal to 10240"},
		{"large environment", func(r *in) {
			r.Environment = &lambdaapi.Environment{Variables: map[string]string{"A": strings.Repeat("x", 4096-7)}}
		}, value, "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit."},
		{"reserved variables", func(r *in) {
			r.Environment = &lambdaapi.Environment{Variables: map[string]string{"AWS_REGION": "x", "_HANDLER": "y"}}
		}, value, "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION, _HANDLER"},
		{"other architecture", func(r *in) { r.Architectures = []lambdaapi.Architecture{"arm64"} }, value, "Runtime nodejs22.x does not support the following architectures [arm64]. Please select different architectures from [x86_64] or select a different runtime."},
		{"image", func(r *in) { r.PackageType = new(lambdaapi.PackageTypeImage) }, value, "PackageType Image is not supported."},
		{"image uri", func(r *in) { r.Code.ImageUri = new("x") }, value, "Code.ImageUri is not supported."},
		{"vpc", func(r *in) { r.VpcConfig = &lambdaapi.VpcConfig{SubnetIds: []string{"subnet-1"}} }, value, "VpcConfig is not supported."},
		{"file system", func(r *in) { r.FileSystemConfigs = []lambdaapi.FileSystemConfig{{}} }, value, "FileSystemConfigs is not supported."},
		{"kms", func(r *in) { r.KMSKeyArn = new("arn:aws:kms:x") }, value, "KMSKeyArn is not supported."},
		{"dead letters", func(r *in) { r.DeadLetterConfig = &lambdaapi.DeadLetterConfig{TargetArn: new("arn:aws:sqs:x")} }, value, "DeadLetterConfig is not supported."},
		{"snap start", func(r *in) {
			r.SnapStart = &lambdaapi.SnapStart{ApplyOn: new(lambdaapi.SnapStartApplyOnPublishedVersions)}
		}, value, "SnapStart is not supported."},
		{"tracing", func(r *in) { r.TracingConfig = &lambdaapi.TracingConfig{Mode: new(lambdaapi.TracingModeActive)} }, value, "TracingConfig.Mode Active is not supported."},
		{"layer", func(r *in) { r.Layers = []string{"arn:aws:lambda:us-east-1:000000000000:layer:l:1"} }, value, "Layer version arn:aws:lambda:us-east-1:000000000000:layer:l:1 does not exist."},
		{"levels of a log in text", func(r *in) {
			r.LoggingConfig = &lambdaapi.LoggingConfig{SystemLogLevel: new(lambdaapi.SystemLogLevelWarn)}
		}, value, "ApplicationLogLevel and SystemLogLevel can be set only if the LogFormat is JSON."},
		{"tenancy", func(r *in) { r.TenancyConfig = &lambdaapi.TenancyConfig{} }, value, "TenancyConfig is not supported."},
		{"durable", func(r *in) { r.DurableConfig = &lambdaapi.DurableConfig{} }, value, "DurableConfig is not supported."},
		{"capacity", func(r *in) { r.CapacityProviderConfig = &lambdaapi.CapacityProviderConfig{} }, value, "CapacityProviderConfig is not supported."},
		{"signing", func(r *in) { r.CodeSigningConfigArn = new("x") }, value, "CodeSigningConfigArn is not supported."},
		{"reserved tag", func(r *in) { r.Tags = map[string]string{"aws:x": "y"} }, value, "aws: prefixed tag key names are not allowed for external use."},
		{"name too long", func(r *in) { r.FunctionName = new(strings.Repeat("a", 65)) }, valid, "1 validation error detected: Value '" + strings.Repeat("a", 65) + "' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t)
			req := creation(t, "fn")
			tc.edit(req)
			_, err := f.CreateFunction(request(t), req)
			wantError(t, err, tc.code, tc.message)
			if n := f.blobs.Len(); n != 0 {
				t.Errorf("%d blobs left", n)
			}
			if docs := f.documents(t, ""); len(docs) != 0 {
				t.Errorf("documents left: %v", docs)
			}
		})
	}
}

func TestCreateFunction_DefaultsAreNotRefused(t *testing.T) {
	f := setup(t)
	f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) {
		in.PackageType = new(lambdaapi.PackageTypeZip)
		in.Architectures = []lambdaapi.Architecture{lambdaapi.ArchitectureX8664}
		in.VpcConfig = &lambdaapi.VpcConfig{SubnetIds: []string{}, SecurityGroupIds: []string{}}
		in.DeadLetterConfig = &lambdaapi.DeadLetterConfig{TargetArn: new("")}
		in.KMSKeyArn = new("")
		in.TracingConfig = &lambdaapi.TracingConfig{Mode: new(lambdaapi.TracingModePassThrough)}
		in.SnapStart = &lambdaapi.SnapStart{ApplyOn: new(lambdaapi.SnapStartApplyOnNone)}
		in.Layers = []string{}
		in.LoggingConfig = &lambdaapi.LoggingConfig{LogFormat: new(lambdaapi.LogFormatText), LogGroup: new("/mine")}
		in.Environment = &lambdaapi.Environment{Variables: map[string]string{"AB": strings.Repeat("x", 4096-9)}}
	})
	fn, _, err := f.Resolve(t.Context(), account, region, "fn", "")
	if err != nil || fn.LogGroup != "/mine" {
		t.Fatalf("Resolve = %+v, %v", fn, err)
	}
}

func TestCreateFunction_Twice(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	_, err := f.CreateFunction(request(t), creation(t, "fn"))
	wantError(t, err, "ResourceConflictException", "Function already exist: fn")
	if n := f.blobs.Len(); n != 1 {
		t.Errorf("%d blobs; want 1", n)
	}
}

func TestCreateFunction_FromS3(t *testing.T) {
	f := setup(t)
	got := f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) {
		in.Code = &lambdaapi.FunctionCode{S3Bucket: new("code"), S3Key: new("fn.zip")}
	})
	fn, _, err := f.Resolve(t.Context(), account, region, *got.FunctionArn, "")
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, f.Service, fn.CodeSHA256, zipOf(t, "s3"))
}

func wantCode(t *testing.T, s *lambda.Service, sha string, want []byte) {
	t.Helper()
	r, size, closeZip, err := s.CodeZip(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closeZip() }()
	got, err := io.ReadAll(io.NewSectionReader(r, 0, size))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("code differs (%v)", err)
	}
}

func TestCode_SharedAndReleased(t *testing.T) {
	f := setup(t)
	code := zipOf(t, "same")
	same := func(in *lambdaapi.CreateFunctionRequest) { in.Code.ZipFile = code }
	f.create(t, "a", same)
	f.create(t, "b", same)
	fn, _, err := f.Resolve(t.Context(), account, region, "a", "")
	if err != nil {
		t.Fatal(err)
	}
	if n := f.blobs.Len(); n != 1 {
		t.Fatalf("%d blobs for one package", n)
	}
	must[*lambdaapi.FunctionConfiguration](t)(f.PublishVersion(request(t), &lambdaapi.PublishVersionRequest{FunctionName: new("a")}))
	must[*lambdaapi.FunctionConfiguration](t)(f.UpdateFunctionCode(request(t), &lambdaapi.UpdateFunctionCodeRequest{FunctionName: new("a"), ZipFile: zipOf(t, "new")}))
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("b")}))
	wantCode(t, f.Service, fn.CodeSHA256, code) // version 1 of a still has it
	var blobs int
	if err := f.EachBlob(t.Context(), func(blob.ID) error { blobs++; return nil }); err != nil || blobs != 2 || f.blobs.Len() != 2 {
		t.Fatalf("EachBlob saw %d, %v; the store has %d; want 2", blobs, err, f.blobs.Len())
	}
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("a"), Qualifier: new("1")}))
	if _, _, _, err := f.CodeZip(t.Context(), fn.CodeSHA256); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("CodeZip = %v; want ErrNotFound", err)
	}
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("a")}))
	if n, docs := f.blobs.Len(), f.documents(t, ""); n != 0 || len(docs) != 0 {
		t.Errorf("left behind: %d blobs, documents %v", n, docs)
	}
}

func TestCode_FailedCommitLeavesNoBlob(t *testing.T) {
	f := setup(t)
	f.store.FailCommits(state.ErrFull)
	if _, err := f.CreateFunction(request(t), creation(t, "fn")); !errors.Is(err, state.ErrFull) {
		t.Fatalf("error = %v", err)
	}
	if n := f.blobs.Len(); n != 0 {
		t.Errorf("%d blobs left", n)
	}
	// Nobody knows whether this one was written: the blob must stay.
	f.store.FailCommits(state.ErrUnknown)
	if _, err := f.CreateFunction(request(t), creation(t, "fn")); !errors.Is(err, state.ErrUnknown) {
		t.Fatalf("error = %v", err)
	}
	if n := f.blobs.Len(); n != 1 {
		t.Errorf("%d blobs; want 1", n)
	}
}

// interloper does something just before the first commit.
type interloper struct {
	*statetest.Memory
	before func()
}

func (i *interloper) Commit(ctx context.Context, b state.Batch) (int64, error) {
	if do := i.before; do != nil {
		i.before = nil
		do()
	}
	return i.Memory.Commit(ctx, b)
}

func TestCode_StoredByAnotherMeanwhile(t *testing.T) {
	f := setup(t)
	code := zipOf(t, "same")
	same := func(in *lambdaapi.CreateFunctionRequest) { in.Code.ZipFile = code }
	store := &interloper{Memory: f.store, before: func() { f.create(t, "other", same) }}
	s := f.service(t, func(c *lambda.Config) { c.State = store })
	in := creation(t, "fn")
	same(in)
	must[*lambdaapi.FunctionConfiguration](t)(s.CreateFunction(request(t), in))
	if n := f.blobs.Len(); n != 1 {
		t.Errorf("%d blobs of one package", n)
	}
	for _, name := range []string{"fn", "other"} {
		fn, _, err := s.Resolve(t.Context(), account, region, name, "")
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, s, fn.CodeSHA256, code)
		must[*lambdaapi.DeleteFunctionResponse](t)(s.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new(name)}))
	}
	if n := f.blobs.Len(); n != 0 {
		t.Errorf("%d blobs left", n)
	}
}
