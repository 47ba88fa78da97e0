package lambda_test

import (
	"archive/zip"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/lambda"
)

func layerARN(name string, version int) string {
	return "arn:aws:lambda:" + region + ":" + account + ":layer:" + name + ":" + strconv.Itoa(version)
}

func (f *fixture) layer(t testing.TB, name, content string, edit ...func(*lambdaapi.PublishLayerVersionRequest)) *lambdaapi.PublishLayerVersionResponse {
	t.Helper()
	in := &lambdaapi.PublishLayerVersionRequest{LayerName: new(name), Content: &lambdaapi.LayerVersionContentInput{ZipFile: zipOf(t, content)}}
	for _, e := range edit {
		e(in)
	}
	return must[*lambdaapi.PublishLayerVersionResponse](t)(f.PublishLayerVersion(request(t), in))
}

func (f *fixture) unlayer(t testing.TB, name string, version int64) {
	t.Helper()
	must[*lambdaapi.DeleteLayerVersionOutput](t)(f.DeleteLayerVersion(request(t), &lambdaapi.DeleteLayerVersionRequest{LayerName: new(name), VersionNumber: new(version)}))
}

func (f *fixture) setLayers(t testing.TB, name string, arns ...string) (*lambdaapi.FunctionConfiguration, error) {
	return f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new(name), Layers: append([]string{}, arns...)})
}

func layersOf(c *lambdaapi.FunctionConfiguration) []string {
	var out []string
	for _, l := range c.Layers {
		out = append(out, *l.Arn)
	}
	return out
}

func TestPublishLayerVersion_AnswersAsAWS(t *testing.T) {
	f := setup(t)
	zipped := zipOf(t, "x")
	got := f.layer(t, "l", "x", func(in *lambdaapi.PublishLayerVersionRequest) {
		in.Description, in.LicenseInfo = new("d"), new("MIT")
		in.CompatibleRuntimes = []lambdaapi.Runtime{"nodejs22.x", "python3.13"}
		in.CompatibleArchitectures = []lambdaapi.Architecture{"arm64"} // it need not run here
	})
	if *got.LayerVersionArn != layerARN("l", 1) || *got.LayerArn != strings.TrimSuffix(layerARN("l", 1), ":1") || *got.Version != 1 ||
		*got.Description != "d" || *got.LicenseInfo != "MIT" || len(got.CompatibleRuntimes) != 2 || len(got.CompatibleArchitectures) != 1 ||
		*got.Content.CodeSize != int64(len(zipped)) || len(*got.Content.CodeSha256) != 44 || !strings.HasPrefix(*got.Content.Location, "http://code/") ||
		!strings.HasSuffix(*got.CreatedDate, "+0000") {
		t.Errorf("layer = %+v, content = %+v", got, got.Content)
	}
	for what, same := range map[string]*lambdaapi.GetLayerVersionResponse{
		"by name":       must[*lambdaapi.GetLayerVersionResponse](t)(f.GetLayerVersion(request(t), &lambdaapi.GetLayerVersionRequest{LayerName: new("l"), VersionNumber: new(int64(1))})),
		"by layer ARN":  must[*lambdaapi.GetLayerVersionResponse](t)(f.GetLayerVersion(request(t), &lambdaapi.GetLayerVersionRequest{LayerName: got.LayerArn, VersionNumber: new(int64(1))})),
		"by versions's": must[*lambdaapi.GetLayerVersionResponse](t)(f.GetLayerVersionByArn(request(t), &lambdaapi.GetLayerVersionByArnRequest{Arn: got.LayerVersionArn})),
	} {
		if *same.LayerVersionArn != *got.LayerVersionArn || *same.Content.CodeSha256 != *got.Content.CodeSha256 || *same.CreatedDate != *got.CreatedDate || *same.LicenseInfo != "MIT" {
			t.Errorf("%s: %+v", what, same)
		}
	}
	bare := f.layer(t, "bare", "x")
	if *bare.Description != "" || bare.LicenseInfo != nil || bare.CompatibleRuntimes != nil || bare.CompatibleArchitectures != nil {
		t.Errorf("layer = %+v", bare)
	}
}

func TestPublishLayerVersion_Sources(t *testing.T) {
	const value = "InvalidParameterValueException"
	type content = lambdaapi.LayerVersionContentInput
	for _, tc := range []struct {
		name          string
		content       *content
		code, message string
	}{
		{"a bucket", &content{S3Bucket: new("code"), S3Key: new("fn.zip")}, "", ""},
		{"nothing", nil, value, "Please provide a source for function code."},
		{"two", &content{ZipFile: []byte("x"), S3Bucket: new("code"), S3Key: new("fn.zip")}, value, "Please do not provide other FunctionCode parameters when providing a ZipFile."},
		{"an empty zip", &content{ZipFile: []byte{}}, value, "Uploaded file must be a non-empty zip"},
		{"no zip", &content{ZipFile: []byte("x")}, value, "Could not unzip uploaded file. Please check your file, then try to upload again."},
		{"no object", &content{S3Bucket: new("code"), S3Key: new("none")}, value, "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."},
		{"a reference to the object", &content{S3Bucket: new("code"), S3Key: new("fn.zip"), S3ObjectStorageMode: new(lambdaapi.S3ObjectStorageMode("REFERENCE"))}, value, "Content.S3ObjectStorageMode REFERENCE is not supported."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t)
			_, err := f.PublishLayerVersion(request(t), &lambdaapi.PublishLayerVersionRequest{LayerName: new("l"), Content: tc.content})
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, tc.code, tc.message)
			if f.blobs.Len() != 0 || len(f.documents(t, "")) != 0 {
				t.Errorf("left %d blobs, %v", f.blobs.Len(), f.documents(t, ""))
			}
		})
	}
}

func TestLayer_NumbersAreNeverReused(t *testing.T) {
	f := setup(t)
	f.layer(t, "l", "a")
	f.layer(t, "l", "a")
	f.unlayer(t, "l", 2)
	f.unlayer(t, "l", 1)
	f.unlayer(t, "l", 1) // is no error
	f.unlayer(t, "never", 1)
	if n := f.blobs.Len(); n != 0 {
		t.Errorf("%d blobs left", n)
	}
	none := must[*lambdaapi.ListLayersResponse](t)(f.ListLayers(request(t), &lambdaapi.ListLayersRequest{}))
	versions := must[*lambdaapi.ListLayerVersionsResponse](t)(f.ListLayerVersions(request(t), &lambdaapi.ListLayerVersionsRequest{LayerName: new("l")}))
	if len(none.Layers) != 0 || versions.LayerVersions == nil || len(versions.LayerVersions) != 0 {
		t.Errorf("layers = %+v, versions = %+v", none, versions)
	}
	if got := f.layer(t, "l", "a"); *got.Version != 3 {
		t.Errorf("version = %d", *got.Version)
	}
}

func TestLayer_MissingOnes(t *testing.T) {
	f := setup(t)
	f.layer(t, "l", "a")
	const missing, value = "ResourceNotFoundException", "InvalidParameterValueException"
	get := func(name string, n int64) error {
		_, err := f.GetLayerVersion(request(t), &lambdaapi.GetLayerVersionRequest{LayerName: new(name), VersionNumber: new(n)})
		return err
	}
	byARN := func(arn string) error {
		_, err := f.GetLayerVersionByArn(request(t), &lambdaapi.GetLayerVersionByArnRequest{Arn: new(arn)})
		return err
	}
	const gone = "The resource you requested does not exist."
	wantError(t, get("l", 2), missing, gone)
	wantError(t, get("other", 1), missing, gone)
	wantError(t, get("l", 1<<40), missing, gone)
	wantError(t, get("arn:aws:lambda:eu-west-1:"+account+":layer:l", 1), missing, gone)
	wantError(t, get("l", 0), value, "Layer Version Cannot be less than 1")
	wantError(t, byARN(layerARN("l", 2)), missing, gone)
	wantError(t, byARN("arn:aws:lambda:eu-west-1:"+account+":layer:l:1"), missing, gone)
	wantError(t, byARN(layerARN("l", 1)+"0000000000"), missing, gone)
	_, err := f.DeleteLayerVersion(request(t), &lambdaapi.DeleteLayerVersionRequest{LayerName: new("l"), VersionNumber: new(int64(-1))})
	wantError(t, err, value, "Layer Version Cannot be less than 1")
}

func TestListLayers(t *testing.T) {
	f := setup(t)
	runtimes := func(names ...lambdaapi.Runtime) func(*lambdaapi.PublishLayerVersionRequest) {
		return func(in *lambdaapi.PublishLayerVersionRequest) {
			in.CompatibleRuntimes, in.CompatibleArchitectures = names, []lambdaapi.Architecture{"x86_64"}
		}
	}
	for n := range 12 {
		f.layer(t, "many", fmt.Sprint(n), runtimes("python3.13"))
	}
	f.layer(t, "node", "1", runtimes("nodejs22.x"))
	f.layer(t, "node", "2", runtimes("nodejs20.x"))
	f.layer(t, "plain", "3")
	gone := f.layer(t, "gone", "4")
	f.unlayer(t, "gone", *gone.Version)

	list := func(in lambdaapi.ListLayersRequest) string {
		t.Helper()
		var out []string
		for {
			got := must[*lambdaapi.ListLayersResponse](t)(f.ListLayers(request(t), &in))
			var page []string
			for _, l := range got.Layers {
				page = append(page, fmt.Sprintf("%s:%d", *l.LayerName, *l.LatestMatchingVersion.Version))
			}
			out = append(out, strings.Join(page, " "))
			if in.Marker = got.NextMarker; in.Marker == nil {
				return strings.Join(out, " | ")
			}
		}
	}
	versions := func(in lambdaapi.ListLayerVersionsRequest) string {
		t.Helper()
		var out []string
		for {
			got := must[*lambdaapi.ListLayerVersionsResponse](t)(f.ListLayerVersions(request(t), &in))
			var page []string
			for _, v := range got.LayerVersions {
				page = append(page, fmt.Sprint(*v.Version))
			}
			out = append(out, strings.Join(page, " "))
			if in.Marker = got.NextMarker; in.Marker == nil {
				return strings.Join(out, " | ")
			}
		}
	}
	for _, tc := range []struct{ name, got, want string }{
		{"by name, each with its newest version", list(lambdaapi.ListLayersRequest{}), "many:12 node:2 plain:1"},
		{"in pages", list(lambdaapi.ListLayersRequest{MaxItems: new(int32(2))}), "many:12 node:2 | plain:1"},
		{"the newest that matches", list(lambdaapi.ListLayersRequest{CompatibleRuntime: new(lambdaapi.Runtime("nodejs22.x"))}), "node:1"},
		{"one that says nothing matches nothing", list(lambdaapi.ListLayersRequest{CompatibleArchitecture: new(lambdaapi.Architecture("x86_64"))}), "many:12 node:2"},
		{"of both filters", list(lambdaapi.ListLayersRequest{CompatibleArchitecture: new(lambdaapi.Architecture("arm64")), CompatibleRuntime: new(lambdaapi.Runtime("nodejs22.x"))}), ""},
		{"versions, newest first, in pages", versions(lambdaapi.ListLayerVersionsRequest{LayerName: new("many"), MaxItems: new(int32(5))}), "12 11 10 9 8 | 7 6 5 4 3 | 2 1"},
		{"versions that match", versions(lambdaapi.ListLayerVersionsRequest{LayerName: new("node"), CompatibleRuntime: new(lambdaapi.Runtime("nodejs22.x"))}), "1"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, tc.got, tc.want)
		}
	}
	other := awsapi.WithCall(t.Context(), &awsapi.Call{Region: region, Account: "111111111111"})
	if got := must[*lambdaapi.ListLayersResponse](t)(f.ListLayers(other, &lambdaapi.ListLayersRequest{})); len(got.Layers) != 0 {
		t.Errorf("another account sees %+v", got)
	}
	_, err := f.ListLayerVersions(request(t), &lambdaapi.ListLayerVersionsRequest{LayerName: new("many"), Marker: new("eA")})
	wantError(t, err, "InvalidParameterValueException", "Invalid marker.")
}

func TestFunction_WithLayers(t *testing.T) {
	f := setup(t)
	a, b := f.layer(t, "a", "a"), f.layer(t, "b", "b")
	created := f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) {
		in.Layers = []string{*b.LayerVersionArn, *a.LayerVersionArn}
	})
	if got := layersOf(created); !slices.Equal(got, []string{layerARN("b", 1), layerARN("a", 1)}) || *created.Layers[0].CodeSize != *b.Content.CodeSize {
		t.Errorf("layers = %v", got)
	}
	fn, _, err := f.Resolve(t.Context(), account, region, "fn", "")
	if err != nil || len(fn.Layers) != 2 {
		t.Fatalf("function = %+v, %v", fn, err)
	}
	for i, sha := range fn.Layers {
		wantCode(t, f.Service, sha, zipOf(t, []string{"b", "a"}[i]))
	}

	// What does not mention layers keeps them.
	same := must[*lambdaapi.FunctionConfiguration](t)(f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new("fn"), Timeout: new(int32(9))}))
	if len(same.Layers) != 2 {
		t.Errorf("layers = %v", layersOf(same))
	}
	// Another order is another revision: environments of the old one get nothing.
	turned := must[*lambdaapi.FunctionConfiguration](t)(f.setLayers(t, "fn", layerARN("a", 1), layerARN("b", 1)))
	after, _, err := f.Resolve(t.Context(), account, region, "fn", "")
	if err != nil || after.Revision == fn.Revision || !slices.Equal(layersOf(turned), []string{layerARN("a", 1), layerARN("b", 1)}) {
		t.Errorf("revision %s after %s; layers = %v; %v", after.Revision, fn.Revision, layersOf(turned), err)
	}
	// An empty list takes them away.
	bare := must[*lambdaapi.FunctionConfiguration](t)(f.setLayers(t, "fn"))
	if bare.Layers != nil {
		t.Errorf("layers = %v", layersOf(bare))
	}
}

func TestFunction_LayerRefusals(t *testing.T) {
	f := setup(t)
	var six []string
	for i := range 6 {
		six = append(six, *f.layer(t, fmt.Sprint("l", i), fmt.Sprint(i)).LayerVersionArn)
	}
	f.layer(t, "l0", "again")
	f.layer(t, "del", "x")
	f.unlayer(t, "del", 1)
	elsewhere := awsapi.WithCall(t.Context(), &awsapi.Call{Region: "eu-west-1", Account: account})
	far := must[*lambdaapi.PublishLayerVersionResponse](t)(f.PublishLayerVersion(elsewhere, &lambdaapi.PublishLayerVersionRequest{LayerName: new("far"), Content: &lambdaapi.LayerVersionContentInput{ZipFile: zipOf(t, "x")}}))
	f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) { in.Layers = six[:1] })
	before := f.documents(t, "")
	for _, tc := range []struct {
		name    string
		layers  []string
		message string
	}{
		{"six", six, "Cannot reference more than 5 layers."},
		{"two versions of one", []string{layerARN("l0", 1), layerARN("l0", 2)}, "Two different versions of the same layer are not allowed to be referenced in the same function. " + layerARN("l0", 1) + " and " + layerARN("l0", 2) + " are versions of the same layer."},
		{"one twice", []string{layerARN("l1", 1), layerARN("l0", 1), layerARN("l1", 1)}, "Two different versions of the same layer are not allowed to be referenced in the same function. " + layerARN("l1", 1) + " and " + layerARN("l1", 1) + " are versions of the same layer."},
		{"one that never was", []string{layerARN("none", 1)}, "Layer version " + layerARN("none", 1) + " does not exist."},
		{"a version that never was", []string{layerARN("l0", 3)}, "Layer version " + layerARN("l0", 3) + " does not exist."},
		{"a deleted one", []string{layerARN("del", 1)}, "Layer version " + layerARN("del", 1) + " does not exist."},
		{"another region", []string{*far.LayerVersionArn}, "Layers are not in the same region as the function. Layers are expected to be in region us-east-1."},
		{"007", []string{strings.TrimSuffix(layerARN("l0", 1), "1") + "01"}, "Layer version " + strings.TrimSuffix(layerARN("l0", 1), "1") + "01 does not exist."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := f.setLayers(t, "fn", tc.layers...)
			wantError(t, err, "InvalidParameterValueException", tc.message)
			req := creation(t, "new")
			req.Layers = tc.layers
			_, err = f.CreateFunction(request(t), req)
			wantError(t, err, "InvalidParameterValueException", tc.message)
			if after := f.documents(t, ""); !slices.Equal(after, before) {
				t.Errorf("documents %v, before %v", after, before)
			}
		})
	}
}

// claimed is a CheckZip by which a zip's first file says how large it is
// unpacked.
func claimed(r io.ReaderAt, size int64) (n int64, err error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return 0, err
	}
	f, err := z.File[0].Open()
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fscan(f, &n)
	return n, err
}

func TestFunction_SizeWithLayers(t *testing.T) {
	f := setup(t)
	f.Service = f.service(t, func(c *lambda.Config) { c.CheckZip = claimed })
	for _, size := range []string{"100000000", "162000000", "162144000", "262144000"} {
		f.layer(t, "s"+size, size)
	}
	create := func(name, code string, layers ...string) error {
		req := creation(t, name)
		req.Code, req.Layers = &lambdaapi.FunctionCode{ZipFile: zipOf(t, code)}, layers
		_, err := f.CreateFunction(request(t), req)
		return err
	}
	const value = "InvalidParameterValueException"
	small, rest, large := layerARN("s100000000", 1), layerARN("s162000000", 1), layerARN("s262144000", 1)
	wantError(t, create("a", "1", small, large), value, "Layers consume more than the available size of 262144000 bytes")
	wantError(t, create("a", "1", small, layerARN("s162144000", 1)), value, "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual size is 262144001 bytes.")
	if err := create("a", "144000", small, rest); err != nil { // to the byte
		t.Fatal(err)
	}
	_, err := f.setLayers(t, "a", large)
	wantError(t, err, value, "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. The actual size is 262288000 bytes.")
	_, err = f.UpdateFunctionCode(request(t), &lambdaapi.UpdateFunctionCodeRequest{FunctionName: new("a"), ZipFile: zipOf(t, "144001")})
	wantError(t, err, value, "Unzipped size must be smaller than 144000 bytes")
	must[*lambdaapi.FunctionConfiguration](t)(f.UpdateFunctionCode(request(t), &lambdaapi.UpdateFunctionCodeRequest{FunctionName: new("a"), ZipFile: zipOf(t, "143999")}))
}

func TestGetAccountSettings_CountsLayers(t *testing.T) {
	f := setup(t)
	usage := func() int64 {
		return *must[*lambdaapi.GetAccountSettingsResponse](t)(f.GetAccountSettings(request(t), &lambdaapi.GetAccountSettingsRequest{})).AccountUsage.TotalCodeSize
	}
	l := f.layer(t, "l", "a")
	f.layer(t, "l", "a")
	if got, want := usage(), 2**l.Content.CodeSize; got != want {
		t.Errorf("usage = %d, want %d", got, want)
	}
	f.unlayer(t, "l", 2)
	if got, want := usage(), *l.Content.CodeSize; got != want {
		t.Errorf("usage = %d, want %d", got, want)
	}
}

func TestFunction_LayersThatCannotBeMerged(t *testing.T) {
	f := setup(t)
	var seen []int64
	f.Service = f.service(t, func(c *lambda.Config) {
		c.CheckLayers = func(zips []*io.SectionReader) error {
			seen = nil
			for _, z := range zips {
				seen = append(seen, z.Size())
			}
			return awsapi.Errorf(400, "InvalidParameterValueException", "not together")
		}
	})
	a, b := f.layer(t, "a", "1"), f.layer(t, "b", "2222222222")
	f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) { in.Layers = []string{*a.LayerVersionArn} }) // one alone is as it was published
	_, err := f.setLayers(t, "fn", *b.LayerVersionArn, *a.LayerVersionArn)
	wantError(t, err, "InvalidParameterValueException", "not together")
	if want := []int64{*b.Content.CodeSize, *a.Content.CodeSize}; !slices.Equal(seen, want) {
		t.Errorf("checked zips of %v bytes, want %v", seen, want)
	}
}

// A layer's zip stays as long as a version of the layer or of a function has it.
func TestLayer_StaysForFunctionsThatHaveIt(t *testing.T) {
	f := setup(t)
	l := f.layer(t, "l", "layer")
	f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) { in.Layers = []string{*l.LayerVersionArn} })
	f.unlayer(t, "l", 1)
	fn, _, err := f.Resolve(t.Context(), account, region, "fn", "")
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, f.Service, fn.Layers[0], zipOf(t, "layer"))
	shown := must[*lambdaapi.GetFunctionResponse](t)(f.GetFunction(request(t), &lambdaapi.GetFunctionRequest{FunctionName: new("fn")}))
	if got := layersOf(shown.Configuration); !slices.Equal(got, []string{layerARN("l", 1)}) {
		t.Errorf("layers = %v", got)
	}

	// A published version has it too.
	published := f.publish(t, "fn")
	if got := layersOf(published); !slices.Equal(got, []string{layerARN("l", 1)}) {
		t.Errorf("layers of the version = %v", got)
	}
	must[*lambdaapi.FunctionConfiguration](t)(f.setLayers(t, "fn"))
	wantCode(t, f.Service, fn.Layers[0], zipOf(t, "layer"))
	if n := f.blobs.Len(); n != 2 {
		t.Errorf("%d blobs, want code and layer", n)
	}
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("fn"), Qualifier: new("1")}))
	if n := f.blobs.Len(); n != 1 {
		t.Errorf("%d blobs, want code alone", n)
	}

	// Code and layer may be one zip.
	f.layer(t, "l", "fn")
	must[*lambdaapi.FunctionConfiguration](t)(f.setLayers(t, "fn", layerARN("l", 2)))
	f.unlayer(t, "l", 2)
	if n := f.blobs.Len(); n != 1 {
		t.Errorf("%d blobs, want one", n)
	}
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("fn")}))
	if docs := f.documents(t, "lambda/code/"); f.blobs.Len() != 0 || len(docs) != 0 {
		t.Errorf("%d blobs, documents %v", f.blobs.Len(), docs)
	}
}

func TestFunction_LayerDeletedMeanwhile(t *testing.T) {
	f := setup(t)
	l := f.layer(t, "l", "layer")
	late := f.service(t, func(c *lambda.Config) {
		c.State = &interloper{Memory: f.store, before: func() { f.unlayer(t, "l", 1) }}
	})
	req := creation(t, "fn")
	req.Layers = []string{*l.LayerVersionArn}
	_, err := late.CreateFunction(request(t), req)
	wantError(t, err, "InvalidParameterValueException", "Layer version "+*l.LayerVersionArn+" does not exist.")
	if n := f.blobs.Len(); n != 0 {
		t.Errorf("%d blobs left", n)
	}
}

func TestPublishLayerVersion_ConcurrentOnesGetTheirOwnNumbers(t *testing.T) {
	f := setup(t)
	const n = 20
	got := make(chan int64, n)
	for i := range n {
		go func() {
			out, err := f.PublishLayerVersion(request(t), &lambdaapi.PublishLayerVersionRequest{LayerName: new("l"), Content: &lambdaapi.LayerVersionContentInput{ZipFile: zipOf(t, fmt.Sprint(i%3))}})
			if err != nil {
				t.Error(err)
				got <- 0
				return
			}
			got <- *out.Version
		}()
	}
	var all []int64
	for range n {
		all = append(all, <-got)
	}
	slices.Sort(all)
	for i, v := range all {
		if v != int64(i+1) {
			t.Fatalf("versions = %v", all)
		}
	}
	if blobs := f.blobs.Len(); blobs != 3 {
		t.Errorf("%d blobs, want 3", blobs)
	}
}
