package lambda_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/lambda"
	"davy/internal/state"
	"davy/internal/state/statetest"
)

func TestResolve(t *testing.T) {
	f := setup(t)
	f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) {
		in.Timeout, in.MemorySize = new(int32(7)), new(int32(256))
		in.Environment = &lambdaapi.Environment{Variables: map[string]string{"KEY": "value"}}
	})
	f.publish(t, "fn")
	f.alias(t, "fn", "live", "1")
	for _, tc := range []struct{ name, qualifier, invoked, version string }{
		{"fn", "", arnOf("fn"), "$LATEST"},
		{"fn:1", "", arnOf("fn") + ":1", "1"},
		{"fn", "live", arnOf("fn") + ":live", "1"},
		{arnOf("fn") + ":$LATEST", "", arnOf("fn") + ":$LATEST", "$LATEST"},
	} {
		fn, set, err := f.Resolve(t.Context(), account, region, tc.name, tc.qualifier)
		if err != nil {
			t.Fatal(err)
		}
		if set != (lambda.Settings{InvokedARN: tc.invoked, Reserved: -1, Unreserved: 1000, Concurrency: 1000, MaxRetries: 2, MaxEventAge: 6 * time.Hour}) {
			t.Errorf("settings = %+v", set)
		}
		if fn.ARN != arnOf("fn") || fn.Version != tc.version || fn.Timeout != 7*time.Second || fn.MemoryMB != 256 || fn.EphemeralMB != 512 ||
			fn.Environment["KEY"] != "value" || fn.RoleARN != role || fn.LogGroup != "/aws/lambda/fn" || len(fn.CodeSHA256) != 64 || fn.Handler != "index.handler" {
			t.Errorf("function = %+v", fn)
		}
	}
	for name, want := range map[string]string{"none": arnOf("none"), "none:x": arnOf("none") + ":x", "fn:2": arnOf("fn") + ":2", "fn:other": arnOf("fn") + ":other"} {
		_, _, err := f.Resolve(t.Context(), account, region, name, "")
		wantError(t, err, "ResourceNotFoundException", "Function not found: "+want)
	}
}

func TestResolve_SeesEveryAcknowledgedChange(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	resolve := func() (string, lambda.Settings) {
		fn, set, err := f.Resolve(t.Context(), account, region, "fn", "")
		if err != nil {
			t.Fatal(err)
		}
		return fn.Revision, set
	}
	first, _ := resolve()
	f.revise(t, "fn", "new")
	second, _ := resolve()
	if first == second {
		t.Error("a changed function has the same revision")
	}
	must[*lambdaapi.AddPermissionResponse](t)(f.AddPermission(request(t), &lambdaapi.AddPermissionRequest{FunctionName: new("fn"), StatementId: new("s"), Action: new("lambda:InvokeFunction"), Principal: new("s3.amazonaws.com")}))
	if third, _ := resolve(); third != second {
		t.Error("a permission changed the revision: environments would be lost")
	}
	must[*lambdaapi.Concurrency](t)(f.PutFunctionConcurrency(request(t), &lambdaapi.PutFunctionConcurrencyRequest{FunctionName: new("fn"), ReservedConcurrentExecutions: new(int32(5))}))
	if _, set := resolve(); set.Reserved != 5 || set.Unreserved != 995 {
		t.Errorf("settings = %+v", set)
	}
	must[*lambdaapi.FunctionEventInvokeConfig](t)(f.PutFunctionEventInvokeConfig(request(t), &lambdaapi.PutFunctionEventInvokeConfigRequest{FunctionName: new("fn"), MaximumRetryAttempts: new(int32(0)), MaximumEventAgeInSeconds: new(int32(60))}))
	if _, set := resolve(); set.MaxRetries != 0 || set.MaxEventAge != time.Minute {
		t.Errorf("settings = %+v", set)
	}
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("fn")}))
	f.create(t, "fn")
	if again, set := resolve(); again == first || set.Reserved != -1 || set.Unreserved != 1000 || set.MaxRetries != 2 {
		t.Errorf("a function made anew has the environments or settings of the old one: %+v", set)
	}
}

// counting counts reads of the store.
type counting struct {
	*statetest.Memory
	gets int
}

func (c *counting) Get(ctx context.Context, key string) (state.Doc, error) {
	c.gets++
	return c.Memory.Get(ctx, key)
}

func TestResolve_DoesNoIOWhenWarm(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	f.publish(t, "fn")
	f.alias(t, "fn", "live", "1")
	store := &counting{Memory: f.store}
	s := f.service(t, func(c *lambda.Config) { c.State = store })
	names := []string{"fn", "fn:1", "fn:live"}
	resolve := func() {
		for _, name := range names {
			if _, _, err := s.Resolve(t.Context(), account, region, name, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	resolve()
	before := store.gets
	if allocs := testing.AllocsPerRun(100, resolve); store.gets != before || allocs != 0 {
		t.Errorf("%d reads and %v allocations of warm calls", store.gets-before, allocs)
	}
}

func TestResolve_CacheIsBounded(t *testing.T) {
	f := setup(t)
	for i := range 20 {
		f.create(t, fmt.Sprint("fn", i))
	}
	store := &counting{Memory: f.store}
	s := f.service(t, func(c *lambda.Config) { c.State, c.CacheSize = store, 4 })
	for range 5 {
		for i := range 20 {
			if _, _, err := s.Resolve(t.Context(), account, region, fmt.Sprint("fn", i), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	if store.gets < 50 {
		t.Errorf("%d reads of 100 calls over 20 functions with a cache of 4", store.gets)
	}
}

func TestRun_SeesOtherProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		other := f.service(t, func(*lambda.Config) {})
		f.create(t, "fn")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- other.Run(ctx) }()
		synctest.Wait()
		revision := func() string {
			fn, _, err := other.Resolve(t.Context(), account, region, "fn", "")
			if err != nil {
				t.Fatal(err)
			}
			return fn.Revision
		}
		before := revision()
		f.revise(t, "fn", "new")
		synctest.Wait()
		if revision() == before {
			t.Error("the change of another process is not seen")
		}
		must[*lambdaapi.Concurrency](t)(f.PutFunctionConcurrency(request(t), &lambdaapi.PutFunctionConcurrencyRequest{FunctionName: new("fn"), ReservedConcurrentExecutions: new(int32(7))}))
		synctest.Wait()
		if _, set, err := other.Resolve(t.Context(), account, region, "fn", ""); err != nil || set.Unreserved != 993 {
			t.Errorf("settings = %+v, %v", set, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestUpdate_ConcurrentWritersLoseNothing(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := f.TagResource(request(t), &lambdaapi.TagResourceRequest{Resource: new(arnOf("fn")), Tags: map[string]string{fmt.Sprint("tag", i): "x"}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	tags := must[*lambdaapi.ListTagsResponse](t)(f.ListTags(request(t), &lambdaapi.ListTagsRequest{Resource: new(arnOf("fn"))}))
	if len(tags.Tags) != 16 {
		t.Errorf("%d tags; want 16", len(tags.Tags))
	}
}

func TestConcurrency(t *testing.T) {
	f := setup(t)
	f.create(t, "a")
	f.create(t, "b")
	put := func(name string, n int32) error {
		_, err := f.PutFunctionConcurrency(request(t), &lambdaapi.PutFunctionConcurrencyRequest{FunctionName: new(name), ReservedConcurrentExecutions: new(n)})
		return err
	}
	const low = "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
	wantError(t, put("a", 901), "InvalidParameterValueException", low)
	if err := put("a", 800); err != nil {
		t.Fatal(err)
	}
	wantError(t, put("b", 101), "InvalidParameterValueException", low)
	for name, n := range map[string]int32{"a": 850, "b": 0} { // its own old reservation does not count
		if err := put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, put("a:live", 1), "InvalidParameterValueException", "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.")
	wantError(t, put("none", 1), "ResourceNotFoundException", "Function not found: "+arnOf("none"))
	got := must[*lambdaapi.GetAccountSettingsResponse](t)(f.GetAccountSettings(request(t), &lambdaapi.GetAccountSettingsRequest{}))
	if *got.AccountLimit.UnreservedConcurrentExecutions != 150 || *got.AccountUsage.FunctionCount != 2 || *got.AccountUsage.TotalCodeSize != int64(len(zipOf(t, "a"))*2) {
		t.Errorf("settings = %+v %+v", got.AccountLimit, got.AccountUsage)
	}
	must[*lambdaapi.DeleteFunctionConcurrencyOutput](t)(f.DeleteFunctionConcurrency(request(t), &lambdaapi.DeleteFunctionConcurrencyRequest{FunctionName: new("a")}))
	if got := must[*lambdaapi.GetFunctionConcurrencyResponse](t)(f.GetFunctionConcurrency(request(t), &lambdaapi.GetFunctionConcurrencyRequest{FunctionName: new("a")})); got.ReservedConcurrentExecutions != nil {
		t.Errorf("reserved %d", *got.ReservedConcurrentExecutions)
	}
	if f.limits != 4 { // three reservations and one given back
		t.Errorf("LimitsChanged was called %d times", f.limits)
	}
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("b")}))
	if _, set, err := f.Resolve(t.Context(), account, region, "a", ""); err != nil || set.Unreserved != 1000 {
		t.Errorf("settings = %+v, %v", set, err)
	}
}

// However many reserve at once, the account keeps its minimum.
func TestConcurrency_Race(t *testing.T) {
	f := setup(t)
	f.Service = f.service(t, func(c *lambda.Config) { c.LimitsChanged = nil })
	for i := range 8 {
		f.create(t, fmt.Sprint("fn", i))
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := f.PutFunctionConcurrency(request(t), &lambdaapi.PutFunctionConcurrencyRequest{FunctionName: new(fmt.Sprint("fn", i)), ReservedConcurrentExecutions: new(int32(200))})
			var refused *lambdaapi.InvalidParameterValueException
			if err != nil && !errors.As(err, &refused) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, set, err := f.Resolve(t.Context(), account, region, "fn0", ""); err != nil || set.Unreserved != 200 {
		t.Errorf("settings = %+v, %v; want four reservations", set, err)
	}
}

func TestEventInvokeConfig(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	f.publish(t, "fn")
	put := func(in lambdaapi.PutFunctionEventInvokeConfigRequest) error {
		if in.FunctionName == nil {
			in.FunctionName = new("fn")
		}
		_, err := f.PutFunctionEventInvokeConfig(request(t), &in)
		return err
	}
	get := func(qualifier string) (*lambdaapi.FunctionEventInvokeConfig, error) {
		return f.GetFunctionEventInvokeConfig(request(t), &lambdaapi.GetFunctionEventInvokeConfigRequest{FunctionName: new("fn"), Qualifier: new(qualifier)})
	}
	wantError(t, put(lambdaapi.PutFunctionEventInvokeConfigRequest{}), "InvalidParameterValueException", "You must specify at least one of error handling or destination setting.")
	wantError(t, put(lambdaapi.PutFunctionEventInvokeConfigRequest{DestinationConfig: &lambdaapi.DestinationConfig{OnFailure: &lambdaapi.OnFailure{Destination: new("arn:aws:sqs:x")}}}), "NotImplemented", "DestinationConfig is not implemented.")
	wantError(t, put(lambdaapi.PutFunctionEventInvokeConfigRequest{FunctionName: new("none"), MaximumRetryAttempts: new(int32(1))}), "ResourceNotFoundException", "The function doesn't exist.")
	_, err := get("")
	wantError(t, err, "ResourceNotFoundException", "The function "+arnOf("fn")+":$LATEST doesn't have an EventInvokeConfig")
	if err := put(lambdaapi.PutFunctionEventInvokeConfigRequest{MaximumRetryAttempts: new(int32(1))}); err != nil {
		t.Fatal(err)
	}
	if err := put(lambdaapi.PutFunctionEventInvokeConfigRequest{Qualifier: new("1"), MaximumEventAgeInSeconds: new(int32(60))}); err != nil {
		t.Fatal(err)
	}
	got := must[*lambdaapi.FunctionEventInvokeConfig](t)(f.UpdateFunctionEventInvokeConfig(request(t), &lambdaapi.UpdateFunctionEventInvokeConfigRequest{FunctionName: new("fn"), MaximumEventAgeInSeconds: new(int32(120))}))
	if *got.FunctionArn != arnOf("fn")+":$LATEST" || *got.MaximumRetryAttempts != 1 || *got.MaximumEventAgeInSeconds != 120 {
		t.Errorf("config = %+v", got)
	}
	if _, set, err := f.Resolve(t.Context(), account, region, "fn:1", ""); err != nil || set.MaxRetries != 2 || set.MaxEventAge != time.Minute {
		t.Errorf("settings of version 1 = %+v, %v", set, err)
	}
	list := must[*lambdaapi.ListFunctionEventInvokeConfigsResponse](t)(f.ListFunctionEventInvokeConfigs(request(t), &lambdaapi.ListFunctionEventInvokeConfigsRequest{FunctionName: new("fn")}))
	if len(list.FunctionEventInvokeConfigs) != 2 {
		t.Errorf("configs = %+v", list)
	}
	must[*lambdaapi.DeleteFunctionEventInvokeConfigOutput](t)(f.DeleteFunctionEventInvokeConfig(request(t), &lambdaapi.DeleteFunctionEventInvokeConfigRequest{FunctionName: new("fn")}))
	_, err = get("$LATEST")
	wantError(t, err, "ResourceNotFoundException", "The function "+arnOf("fn")+":$LATEST doesn't have an EventInvokeConfig")
}

func TestTags(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	tag := func(resource string, tags map[string]string) error {
		_, err := f.TagResource(request(t), &lambdaapi.TagResourceRequest{Resource: new(resource), Tags: tags})
		return err
	}
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint(i)] = ""
	}
	wantError(t, tag(arnOf("fn"), many), "InvalidParameterValueException", "Number of tags exceeds resource tag limit.")
	wantError(t, tag(arnOf("fn")+":live", map[string]string{"a": "b"}), "InvalidParameterValueException", "Tags on function aliases and versions are not supported. Please specify a function ARN.")
	wantError(t, tag(arnOf("none"), map[string]string{"a": "b"}), "ResourceNotFoundException", "Function not found: "+arnOf("none"))
	if err := tag(arnOf("fn"), map[string]string{"a": "b", "c": "d"}); err != nil {
		t.Fatal(err)
	}
	must[*lambdaapi.UntagResourceOutput](t)(f.UntagResource(request(t), &lambdaapi.UntagResourceRequest{Resource: new(arnOf("fn")), TagKeys: []string{"a", "x"}}))
	got := must[*lambdaapi.ListTagsResponse](t)(f.ListTags(request(t), &lambdaapi.ListTagsRequest{Resource: new(arnOf("fn"))}))
	if fmt.Sprint(got.Tags) != "map[c:d]" {
		t.Errorf("tags = %v", got.Tags)
	}
}

func TestUpdateFunctionConfiguration(t *testing.T) {
	f := setup(t)
	created := f.create(t, "fn", func(in *lambdaapi.CreateFunctionRequest) {
		in.Environment = &lambdaapi.Environment{Variables: map[string]string{"KEY": "value"}}
	})
	got := must[*lambdaapi.FunctionConfiguration](t)(f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{
		FunctionName: new("fn"), RevisionId: created.RevisionId, Timeout: new(int32(900)), MemorySize: new(int32(10240)), Runtime: new(lambdaapi.RuntimeNodejs24X),
	}))
	if *got.Timeout != 900 || *got.MemorySize != 10240 || *got.Runtime != "nodejs24.x" || *got.Handler != "index.handler" || got.Environment.Variables["KEY"] != "value" || *got.RevisionId == *created.RevisionId {
		t.Errorf("configuration = %+v", got)
	}
	_, err := f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new("fn"), RevisionId: created.RevisionId})
	wantError(t, err, "PreconditionFailedException", stale)
	_, err = f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new("fn"), Role: new("arn:aws:iam::000000000000:role/other")})
	wantError(t, err, "InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda.")
	_, err = f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new("fn"), Layers: []string{"arn:aws:lambda:::awslayer:x"}})
	wantError(t, err, "InvalidParameterValueException", "Layer version arn:aws:lambda:::awslayer:x does not exist.")
	after := must[*lambdaapi.FunctionConfiguration](t)(f.GetFunctionConfiguration(request(t), &lambdaapi.GetFunctionConfigurationRequest{FunctionName: new("fn")}))
	if *after.RevisionId != *got.RevisionId {
		t.Error("a refused update changed the function")
	}
}

func TestUnsupportedOperations(t *testing.T) {
	f := setup(t)
	_, err := f.CreateCodeSigningConfig(request(t), &lambdaapi.CreateCodeSigningConfigRequest{})
	var modelled awsapi.Error
	if !errors.As(err, &modelled) || modelled.ErrorCode() != "NotImplemented" {
		t.Errorf("error = %v", err)
	}
}

func BenchmarkResolve(b *testing.B) {
	f := setup(b)
	f.create(b, "fn")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := f.Resolve(b.Context(), account, region, "fn", ""); err != nil {
				b.Error(err)
			}
		}
	})
}
