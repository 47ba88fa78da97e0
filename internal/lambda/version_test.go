package lambda_test

import (
	"fmt"
	"strings"
	"testing"

	"davy/api/lambdaapi"
)

const stale = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"

func (f *fixture) publish(t testing.TB, name string) *lambdaapi.FunctionConfiguration {
	t.Helper()
	return must[*lambdaapi.FunctionConfiguration](t)(f.PublishVersion(request(t), &lambdaapi.PublishVersionRequest{FunctionName: new(name)}))
}

// revise makes $LATEST differ from what was published.
func (f *fixture) revise(t testing.TB, name, description string) *lambdaapi.FunctionConfiguration {
	t.Helper()
	return must[*lambdaapi.FunctionConfiguration](t)(f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new(name), Description: new(description)}))
}

func (f *fixture) alias(t testing.TB, name, alias, version string) *lambdaapi.AliasConfiguration {
	t.Helper()
	return must[*lambdaapi.AliasConfiguration](t)(f.CreateAlias(request(t), &lambdaapi.CreateAliasRequest{FunctionName: new(name), Name: new(alias), FunctionVersion: new(version)}))
}

func TestPublishVersion(t *testing.T) {
	f := setup(t)
	created := f.create(t, "fn")
	one := f.publish(t, "fn")
	if *one.Version != "1" || *one.FunctionArn != arnOf("fn")+":1" || *one.CodeSha256 != *created.CodeSha256 || *one.RevisionId == *created.RevisionId {
		t.Errorf("version = %+v", one)
	}
	if again := f.publish(t, "fn"); *again.Version != "1" || *again.RevisionId != *one.RevisionId {
		t.Errorf("publishing without a change made version %s", *again.Version)
	}
	f.revise(t, "fn", "second")
	if two := f.publish(t, "fn"); *two.Version != "2" || *two.Description != "second" {
		t.Errorf("version = %+v", two)
	}
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("fn"), Qualifier: new("2")}))
	if three := f.publish(t, "fn"); *three.Version != "3" {
		t.Errorf("a deleted version's number was given again: %s", *three.Version)
	}
	got := must[*lambdaapi.FunctionConfiguration](t)(f.GetFunctionConfiguration(request(t), &lambdaapi.GetFunctionConfigurationRequest{FunctionName: new("fn"), Qualifier: new("1")}))
	if *got.Description != "" || *got.Version != "1" || *got.RevisionId != *one.RevisionId {
		t.Errorf("version 1 = %+v", got)
	}
}

func TestPublishVersion_Preconditions(t *testing.T) {
	f := setup(t)
	created := f.create(t, "fn")
	_, err := f.PublishVersion(request(t), &lambdaapi.PublishVersionRequest{FunctionName: new("fn"), RevisionId: new("other")})
	wantError(t, err, "PreconditionFailedException", stale)
	_, err = f.PublishVersion(request(t), &lambdaapi.PublishVersionRequest{FunctionName: new("fn"), CodeSha256: new("other")})
	wantError(t, err, "InvalidParameterValueException", "CodeSHA256 (other) is different from current CodeSHA256 in $LATEST ("+*created.CodeSha256+"). Please try again with the CodeSHA256 in $LATEST.")
	must[*lambdaapi.FunctionConfiguration](t)(f.PublishVersion(request(t), &lambdaapi.PublishVersionRequest{FunctionName: new("fn"), RevisionId: created.RevisionId, CodeSha256: created.CodeSha256}))
}

func TestCreateFunction_Publish(t *testing.T) {
	f := setup(t)
	got := f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) { in.Publish = new(true) })
	if *got.Version != "1" || *got.FunctionArn != arnOf("fn") {
		t.Errorf("created %s %s", *got.FunctionArn, *got.Version)
	}
}

func TestUpdateFunctionCode(t *testing.T) {
	f := setup(t)
	created := f.create(t, "fn")
	update := func(in lambdaapi.UpdateFunctionCodeRequest) (*lambdaapi.FunctionConfiguration, error) {
		in.FunctionName = new("fn")
		return f.UpdateFunctionCode(request(t), &in)
	}
	dry := must[*lambdaapi.FunctionConfiguration](t)(update(lambdaapi.UpdateFunctionCodeRequest{ZipFile: zipOf(t, "new"), DryRun: new(true)}))
	if *dry.CodeSha256 == *created.CodeSha256 {
		t.Error("the dry run does not show the new code")
	}
	if f.blobs.Len() != 1 {
		t.Error("the dry run stored code")
	}
	_, err := update(lambdaapi.UpdateFunctionCodeRequest{ZipFile: zipOf(t, "new"), RevisionId: new("other")})
	wantError(t, err, "PreconditionFailedException", stale)
	got := must[*lambdaapi.FunctionConfiguration](t)(update(lambdaapi.UpdateFunctionCodeRequest{ZipFile: zipOf(t, "new"), RevisionId: created.RevisionId, Publish: new(true)}))
	if *got.Version != "1" || *got.FunctionArn != arnOf("fn")+":1" || *got.CodeSha256 != *dry.CodeSha256 {
		t.Errorf("updated to %+v", got)
	}
	_, err = update(lambdaapi.UpdateFunctionCodeRequest{ImageUri: new("x")})
	wantError(t, err, "InvalidParameterValueException", "Please don't provide ImageUri when updating a function with packageType Zip.")
	_, err = f.UpdateFunctionCode(request(t), &lambdaapi.UpdateFunctionCodeRequest{FunctionName: new("none"), ZipFile: zipOf(t, "x")})
	wantError(t, err, "ResourceNotFoundException", "Function not found: "+arnOf("none"))
	if f.blobs.Len() != 1 {
		t.Errorf("%d blobs; want 1", f.blobs.Len())
	}
}

func TestDeleteFunction(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	f.publish(t, "fn")
	f.alias(t, "fn", "live", "1")
	remove := func(name, qualifier string) error {
		out, err := f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new(name), Qualifier: new(qualifier)})
		if err == nil && *out.StatusCode != 204 {
			t.Errorf("status %d", *out.StatusCode)
		}
		return err
	}
	wantError(t, remove("fn", "$LATEST"), "InvalidParameterValueException", "$LATEST version cannot be deleted without deleting the function.")
	wantError(t, remove("fn", "live"), "InvalidParameterValueException", "Deletion of aliases is not currently supported.")
	wantError(t, remove("fn", "1"), "ResourceConflictException", "Unable to delete version because the following aliases reference it: [live]")
	wantError(t, remove("none", ""), "ResourceNotFoundException", "Function not found: "+arnOf("none"))
	for _, qualifier := range []string{"99", ""} { // removing a version that is not there succeeds
		if err := remove("fn", qualifier); err != nil {
			t.Error(err)
		}
	}
	if docs := f.documents(t, ""); len(docs) != 0 {
		t.Errorf("left behind: %v", docs)
	}
	if want := []string{arnOf("fn")}; fmt.Sprint(f.retired) != fmt.Sprint(want) {
		t.Errorf("retired %v; want %v", f.retired, want)
	}
	_, _, err := f.Resolve(t.Context(), account, region, "fn", "")
	wantError(t, err, "ResourceNotFoundException", "Function not found: "+arnOf("fn"))
}

func TestGetFunction(t *testing.T) {
	f := setup(t)
	f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) { in.Tags = map[string]string{"team": "x"} })
	f.publish(t, "fn")
	f.alias(t, "fn", "live", "1")
	must[*lambdaapi.Concurrency](t)(f.PutFunctionConcurrency(request(t), &lambdaapi.PutFunctionConcurrencyRequest{FunctionName: new("fn"), ReservedConcurrentExecutions: new(int32(5))}))
	for _, tc := range []struct{ qualifier, arn, version string }{
		{"", arnOf("fn"), "$LATEST"},
		{"$LATEST", arnOf("fn") + ":$LATEST", "$LATEST"},
		{"1", arnOf("fn") + ":1", "1"},
		{"live", arnOf("fn") + ":live", "1"},
	} {
		got := must[*lambdaapi.GetFunctionResponse](t)(f.GetFunction(request(t), &lambdaapi.GetFunctionRequest{FunctionName: new("fn"), Qualifier: new(tc.qualifier)}))
		if *got.Configuration.FunctionArn != tc.arn || *got.Configuration.Version != tc.version {
			t.Errorf("%q: %s %s", tc.qualifier, *got.Configuration.FunctionArn, *got.Configuration.Version)
		}
		if got.Tags["team"] != "x" || *got.Concurrency.ReservedConcurrentExecutions != 5 || *got.Code.RepositoryType != "S3" || !strings.HasPrefix(*got.Code.Location, "http://code/") {
			t.Errorf("%q: %+v", tc.qualifier, got)
		}
	}
	for _, qualifier := range []string{"2", "none", "01"} {
		_, err := f.GetFunction(request(t), &lambdaapi.GetFunctionRequest{FunctionName: new("fn"), Qualifier: new(qualifier)})
		wantError(t, err, "ResourceNotFoundException", "Function not found: "+arnOf("fn")+":"+qualifier)
	}
}

func TestAlias(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	f.publish(t, "fn")
	f.revise(t, "fn", "two")
	f.publish(t, "fn")
	made := f.alias(t, "fn", "live", "1")
	if *made.AliasArn != arnOf("fn")+":live" || *made.FunctionVersion != "1" || len(*made.RevisionId) != 36 {
		t.Errorf("alias = %+v", made)
	}
	create := func(name, version string, weights map[string]float64) error {
		_, err := f.CreateAlias(request(t), &lambdaapi.CreateAliasRequest{FunctionName: new("fn"), Name: new(name), FunctionVersion: new(version), RoutingConfig: &lambdaapi.AliasRoutingConfiguration{AdditionalVersionWeights: weights}})
		return err
	}
	wantError(t, create("live", "1", nil), "ResourceConflictException", "Alias already exists: "+arnOf("fn")+":live")
	wantError(t, create("7", "1", nil), "ValidationException", "1 validation error detected: Value '7' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)")
	wantError(t, create("x", "9", nil), "ResourceNotFoundException", "Function not found: "+arnOf("fn")+":9")
	wantError(t, create("x", "1", map[string]float64{"1": 0.5}), "InvalidParameterValueException", "Invalid function version 1. Function version 1 is already included in routing configuration.")
	wantError(t, create("x", "1", map[string]float64{"2": 0.5, "1": 0.1}), "InvalidParameterValueException", "Number of items in AdditionalVersionWeights cannot be greater than 1")
	wantError(t, create("x", "$LATEST", map[string]float64{"2": 0.5}), "InvalidParameterValueException", "$LATEST is not supported for an alias pointing to more than 1 version")

	_, err := f.UpdateAlias(request(t), &lambdaapi.UpdateAliasRequest{FunctionName: new("fn"), Name: new("live"), RevisionId: new("other")})
	wantError(t, err, "PreconditionFailedException", stale)
	_, err = f.UpdateAlias(request(t), &lambdaapi.UpdateAliasRequest{FunctionName: new("fn"), Name: new("none")})
	wantError(t, err, "ResourceNotFoundException", "Alias not found: "+arnOf("fn")+":none")
	got := must[*lambdaapi.AliasConfiguration](t)(f.UpdateAlias(request(t), &lambdaapi.UpdateAliasRequest{FunctionName: new("fn"), Name: new("live"), RevisionId: made.RevisionId, FunctionVersion: new("2"), Description: new("d")}))
	if *got.FunctionVersion != "2" || *got.Description != "d" || *got.RevisionId == *made.RevisionId {
		t.Errorf("alias = %+v", got)
	}
	f.alias(t, "fn", "old", "1")
	list := must[*lambdaapi.ListAliasesResponse](t)(f.ListAliases(request(t), &lambdaapi.ListAliasesRequest{FunctionName: new("fn"), MaxItems: new(int32(1))}))
	if len(list.Aliases) != 1 || *list.Aliases[0].Name != "live" || list.NextMarker == nil {
		t.Fatalf("aliases = %+v", list)
	}
	list = must[*lambdaapi.ListAliasesResponse](t)(f.ListAliases(request(t), &lambdaapi.ListAliasesRequest{FunctionName: new("fn"), Marker: list.NextMarker}))
	if len(list.Aliases) != 1 || *list.Aliases[0].Name != "old" || list.NextMarker != nil {
		t.Errorf("aliases = %+v", list)
	}
	must[*lambdaapi.DeleteAliasOutput](t)(f.DeleteAlias(request(t), &lambdaapi.DeleteAliasRequest{FunctionName: new("fn"), Name: new("live")}))
	_, err = f.GetAlias(request(t), &lambdaapi.GetAliasRequest{FunctionName: new("fn"), Name: new("live")})
	wantError(t, err, "ResourceNotFoundException", "Cannot find alias arn: "+arnOf("fn")+":live")
}

func TestAlias_WeightsDecideWhatRuns(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	f.publish(t, "fn")
	f.revise(t, "fn", "two")
	f.publish(t, "fn")
	f.alias(t, "fn", "live", "1")
	for _, tc := range []struct {
		weight   float64
		min, max int
	}{{0, 0, 0}, {0.5, 1, 199}, {1, 200, 200}} {
		must[*lambdaapi.AliasConfiguration](t)(f.UpdateAlias(request(t), &lambdaapi.UpdateAliasRequest{
			FunctionName: new("fn"), Name: new("live"),
			RoutingConfig: &lambdaapi.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": tc.weight}},
		}))
		second := 0
		for range 200 {
			fn, _, err := f.Resolve(t.Context(), account, region, "fn", "live")
			if err != nil {
				t.Fatal(err)
			}
			if fn.Version == "2" {
				second++
			}
		}
		if second < tc.min || second > tc.max {
			t.Errorf("weight %v: %d of 200", tc.weight, second)
		}
	}
}

func TestListFunctions_Pages(t *testing.T) {
	f := setup(t)
	for _, name := range []string{"c", "a", "b"} {
		f.create(t, name)
		f.publish(t, name)
		f.revise(t, name, "two")
		f.publish(t, name)
	}
	for _, tc := range []struct {
		all  *lambdaapi.FunctionVersion
		want string
	}{
		{nil, "[a b c]"},
		{new(lambdaapi.FunctionVersionAll), "[a:$LATEST a:1 a:2 b:$LATEST b:1 b:2 c:$LATEST c:1 c:2]"},
	} {
		for _, size := range []int32{1, 2, 3, 4, 5, 9, 50} {
			var got []string
			var marker *string
			for {
				page := must[*lambdaapi.ListFunctionsResponse](t)(f.ListFunctions(request(t), &lambdaapi.ListFunctionsRequest{FunctionVersion: tc.all, MaxItems: &size, Marker: marker}))
				if len(page.Functions) > int(size) || page.NextMarker != nil && len(page.Functions) != int(size) {
					t.Fatalf("a page of %d has %d", size, len(page.Functions))
				}
				for _, c := range page.Functions {
					got = append(got, strings.TrimPrefix(*c.FunctionArn, arnOf("")))
					if c.State != nil {
						t.Error("a listing shows the state")
					}
				}
				if marker = page.NextMarker; marker == nil {
					break
				}
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("pages of %d: %v; want %s", size, got, tc.want)
			}
		}
	}
	list := must[*lambdaapi.ListVersionsByFunctionResponse](t)(f.ListVersionsByFunction(request(t), &lambdaapi.ListVersionsByFunctionRequest{FunctionName: new("b"), MaxItems: new(int32(2))}))
	if len(list.Versions) != 2 || *list.Versions[0].Version != "$LATEST" || *list.Versions[1].Version != "1" {
		t.Fatalf("versions = %+v", list)
	}
	list = must[*lambdaapi.ListVersionsByFunctionResponse](t)(f.ListVersionsByFunction(request(t), &lambdaapi.ListVersionsByFunctionRequest{FunctionName: new("b"), Marker: list.NextMarker}))
	if len(list.Versions) != 1 || *list.Versions[0].Version != "2" || list.NextMarker != nil {
		t.Errorf("versions = %+v", list)
	}
	_, err := f.ListFunctions(request(t), &lambdaapi.ListFunctionsRequest{Marker: new("!")})
	wantError(t, err, "InvalidParameterValueException", "Invalid marker.")
}
