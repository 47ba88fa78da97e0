package lambda_test

import (
	"slices"
	"testing"

	"davy/api/lambdaapi"
	"davy/internal/lambda"
)

// provisioner is a Provisioner that tells what it was told to tell.
type provisioner struct {
	changed []string
	state   map[string]lambda.Allocation // by version
}

func (p *provisioner) Provision(functionARN string) { p.changed = append(p.changed, functionARN) }

func (p *provisioner) Provisioned(_, version string) lambda.Allocation { return p.state[version] }

// provisioning is a service with a function of three versions, and aliases of
// the first two and of $LATEST.
func provisioning(t *testing.T) (*fixture, *provisioner) {
	t.Helper()
	f, p := setup(t), &provisioner{state: map[string]lambda.Allocation{}}
	f.Service = f.service(t, func(c *lambda.Config) { c.Provisioner = p })
	f.create(t, "fn")
	f.publish(t, "fn")
	f.revise(t, "fn", "second")
	f.publish(t, "fn")
	f.revise(t, "fn", "third")
	f.publish(t, "fn")
	f.alias(t, "fn", "one", "1")
	f.alias(t, "fn", "uno", "1")
	f.alias(t, "fn", "two", "2")
	f.alias(t, "fn", "newest", "$LATEST")
	return f, p
}

func (f *fixture) provision(t *testing.T, name, qualifier string, n int32) (*lambdaapi.PutProvisionedConcurrencyConfigResponse, error) {
	t.Helper()
	return f.PutProvisionedConcurrencyConfig(request(t), &lambdaapi.PutProvisionedConcurrencyConfigRequest{
		FunctionName: new(name), Qualifier: new(qualifier), ProvisionedConcurrentExecutions: new(n),
	})
}

func (f *fixture) reserve(t *testing.T, name string, n int32) error {
	t.Helper()
	_, err := f.PutFunctionConcurrency(request(t), &lambdaapi.PutFunctionConcurrencyRequest{FunctionName: new(name), ReservedConcurrentExecutions: new(n)})
	return err
}

func TestProvisionedConcurrency_Refusals(t *testing.T) {
	const (
		invalid  = "InvalidParameterValueException"
		missing  = "ResourceNotFoundException"
		conflict = "ResourceConflictException"
	)
	for _, tc := range []struct {
		name            string
		function, which string
		n               int32
		code, message   string
	}{
		{"none", "fn", "1", 0, "ValidationException", "1 validation error detected: Value '0' at 'provisionedConcurrentExecutions' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"$LATEST", "fn", "$LATEST", 1, invalid, "Provisioned Concurrency Configs cannot be applied to unpublished function versions."},
		{"alias of $LATEST", "fn", "newest", 1, invalid, "Provisioned Concurrency Configs cannot be applied to unpublished function versions."},
		{"no function", "none", "1", 1, missing, "Function not found: " + arnOf("none")},
		{"no version", "fn", "9", 1, missing, "Function not found: " + arnOf("fn") + ":9"},
		{"no alias", "fn", "nine", 1, missing, "Cannot find alias arn: " + arnOf("fn") + ":nine"},
		{"a version that an alias keeps ready", "fn", "1", 1, conflict, "Version is pointed by a Provisioned Concurrency alias"},
		{"a version that another alias keeps ready", "fn", "uno", 1, conflict, "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"},
		{"an alias with weights", "fn", "split", 1, invalid, "Alias with weights can not be used with Provisioned Concurrency"},
		{"more than the account has", "fn", "2", 1001, invalid, "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."},
		{"more than may be set aside", "fn", "2", 900, invalid, "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."},
		{"more than is reserved", "small", "1", 3, invalid, "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, p := provisioning(t)
			must[*lambdaapi.AliasConfiguration](t)(f.CreateAlias(request(t), &lambdaapi.CreateAliasRequest{
				FunctionName: new("fn"), Name: new("split"), FunctionVersion: new("2"),
				RoutingConfig: &lambdaapi.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"3": 0.5}},
			}))
			f.create(t, "small")
			f.publish(t, "small")
			if err := f.reserve(t, "small", 2); err != nil {
				t.Fatal(err)
			}
			must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "one", 1))
			p.changed = nil
			_, err := f.provision(t, tc.function, tc.which, tc.n)
			wantError(t, err, tc.code, tc.message)
			if len(p.changed) > 0 {
				t.Errorf("a refused setting was acted on: %v", p.changed)
			}
		})
	}
	t.Run("reservation below what is kept ready", func(t *testing.T) {
		f, _ := provisioning(t)
		must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "1", 5))
		wantError(t, f.reserve(t, "fn", 4), invalid, " ReservedConcurrentExecutions  4 should not be lower than function's total provisioned concurrency [5].")
		if err := f.reserve(t, "fn", 5); err != nil {
			t.Error(err)
		}
	})
	t.Run("alias moved", func(t *testing.T) {
		f, _ := provisioning(t)
		must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "one", 1))
		must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "2", 1))
		for version, want := range map[string][2]string{
			"$LATEST": {invalid, "Provisioned Concurrency Configs cannot be applied to unpublished function versions."},
			"2":       {conflict, "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"},
		} {
			_, err := f.UpdateAlias(request(t), &lambdaapi.UpdateAliasRequest{FunctionName: new("fn"), Name: new("one"), FunctionVersion: new(version)})
			wantError(t, err, want[0], want[1])
		}
	})
	t.Run("get and delete", func(t *testing.T) {
		f, _ := provisioning(t)
		for which, want := range map[string][2]string{
			"$LATEST": {invalid, "The function resource provided must be an alias or a published version."},
			"9":       {missing, "Function not found: " + arnOf("fn") + ":9"},
			"nine":    {missing, "Cannot find alias arn: " + arnOf("fn") + ":nine"},
			"1":       {"ProvisionedConcurrencyConfigNotFoundException", "No Provisioned Concurrency Config found for this function"},
		} {
			_, err := f.GetProvisionedConcurrencyConfig(request(t), &lambdaapi.GetProvisionedConcurrencyConfigRequest{FunctionName: new("fn"), Qualifier: new(which)})
			wantError(t, err, want[0], want[1])
			_, err = f.DeleteProvisionedConcurrencyConfig(request(t), &lambdaapi.DeleteProvisionedConcurrencyConfigRequest{FunctionName: new("fn"), Qualifier: new(which)})
			if which == "1" { // deleting what is not there succeeds
				if err != nil {
					t.Error(err)
				}
				continue
			}
			wantError(t, err, want[0], want[1])
		}
	})
}

func TestProvisionedConcurrency_Status(t *testing.T) {
	f, p := provisioning(t)
	put := must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "one", 4))
	if *put.Status != "IN_PROGRESS" || *put.RequestedProvisionedConcurrentExecutions != 4 || *put.AllocatedProvisionedConcurrentExecutions != 0 || put.StatusReason != nil {
		t.Errorf("put = %+v", put)
	}
	for _, tc := range []struct {
		state  lambda.Allocation
		status string
		ready  int32
		reason string
	}{
		{lambda.Allocation{}, "IN_PROGRESS", 0, ""},
		{lambda.Allocation{Ready: 3}, "IN_PROGRESS", 3, ""},
		{lambda.Allocation{Ready: 4}, "READY", 4, ""},
		{lambda.Allocation{Ready: 9}, "READY", 4, ""}, // of a larger setting before
		{lambda.Allocation{Ready: 1, Failure: "FUNCTION_ERROR_INIT_FAILURE"}, "FAILED", 1, "FUNCTION_ERROR_INIT_FAILURE"},
	} {
		p.state["1"] = tc.state
		got := must[*lambdaapi.GetProvisionedConcurrencyConfigResponse](t)(f.GetProvisionedConcurrencyConfig(request(t), &lambdaapi.GetProvisionedConcurrencyConfigRequest{FunctionName: new("fn"), Qualifier: new("one")}))
		reason := ""
		if got.StatusReason != nil {
			reason = *got.StatusReason
		}
		if string(*got.Status) != tc.status || *got.AllocatedProvisionedConcurrentExecutions != tc.ready || *got.AvailableProvisionedConcurrentExecutions != tc.ready || reason != tc.reason || *got.LastModified != *put.LastModified {
			t.Errorf("%+v: got %s %d %q", tc.state, *got.Status, *got.AllocatedProvisionedConcurrentExecutions, reason)
		}
	}
	must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "2", 1))
	first := must[*lambdaapi.ListProvisionedConcurrencyConfigsResponse](t)(f.ListProvisionedConcurrencyConfigs(request(t), &lambdaapi.ListProvisionedConcurrencyConfigsRequest{FunctionName: new("fn"), MaxItems: new(int32(1))}))
	second := must[*lambdaapi.ListProvisionedConcurrencyConfigsResponse](t)(f.ListProvisionedConcurrencyConfigs(request(t), &lambdaapi.ListProvisionedConcurrencyConfigsRequest{FunctionName: new("fn"), Marker: first.NextMarker}))
	if got := []string{*first.ProvisionedConcurrencyConfigs[0].FunctionArn, *second.ProvisionedConcurrencyConfigs[0].FunctionArn}; !slices.Equal(got, []string{arnOf("fn") + ":2", arnOf("fn") + ":one"}) || second.NextMarker != nil {
		t.Errorf("listed %v", got)
	}
}

// kept is what a function wants to be kept ready, by version.
func (f *fixture) kept(t *testing.T, name string) map[string]int {
	t.Helper()
	got, err := f.Provisions(t.Context(), arnOf(name))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, p := range got {
		if p.Function.ARN != arnOf(name) || p.Function.Revision == "" {
			t.Errorf("function = %+v", p.Function)
		}
		out[p.Function.Version] = p.Count
	}
	return out
}

// What is kept ready follows an alias to its versions, and ends with what it
// was set on.
func TestProvisions(t *testing.T) {
	f, p := provisioning(t)
	must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "one", 10))
	want := func(what string, one, two, three int) {
		t.Helper()
		if got := f.kept(t, "fn"); got["1"] != one || got["2"] != two || got["3"] != three {
			t.Errorf("%s: kept ready %v, want %d, %d, %d", what, got, one, two, three)
		}
		if len(p.changed) == 0 || p.changed[len(p.changed)-1] != arnOf("fn") {
			t.Errorf("%s: nobody was told", what)
		}
		p.changed = nil
	}
	want("set", 10, 0, 0)
	update := func(version string, weights map[string]float64) {
		t.Helper()
		must[*lambdaapi.AliasConfiguration](t)(f.UpdateAlias(request(t), &lambdaapi.UpdateAliasRequest{
			FunctionName: new("fn"), Name: new("one"), FunctionVersion: new(version),
			RoutingConfig: &lambdaapi.AliasRoutingConfiguration{AdditionalVersionWeights: weights},
		}))
	}
	update("1", map[string]float64{"2": 0.3})
	want("routed", 7, 3, 0)
	_, set, err := f.Resolve(t.Context(), account, region, "fn", "2")
	if err != nil || set.Provisioned != 3 || set.AllReady != 10 || set.Unreserved != 990 || set.Reserved != -1 {
		t.Errorf("settings of version 2 = %+v, %v", set, err)
	}
	update("2", nil)
	want("moved", 0, 10, 0)
	must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "3", 2))
	want("a version too", 0, 10, 2)
	must[*lambdaapi.DeleteAliasOutput](t)(f.DeleteAlias(request(t), &lambdaapi.DeleteAliasRequest{FunctionName: new("fn"), Name: new("one")}))
	want("alias deleted", 0, 0, 2)
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("fn"), Qualifier: new("3")}))
	want("version deleted", 0, 0, 0)
	must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "2", 5))
	want("again", 0, 5, 0)
	must[*lambdaapi.DeleteProvisionedConcurrencyConfigOutput](t)(f.DeleteProvisionedConcurrencyConfig(request(t), &lambdaapi.DeleteProvisionedConcurrencyConfigRequest{FunctionName: new("fn"), Qualifier: new("2")}))
	want("setting deleted", 0, 0, 0)
	must[*lambdaapi.PutProvisionedConcurrencyConfigResponse](t)(f.provision(t, "fn", "2", 5))
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("fn")}))
	want("function deleted", 0, 0, 0)
}

// What is kept ready is a part of the function's reservation; without one, it
// is taken out of what the account has left.
func TestProvisionedConcurrency_AndReservations(t *testing.T) {
	f, _ := provisioning(t)
	unreserved := func() int32 {
		t.Helper()
		return *must[*lambdaapi.GetAccountSettingsResponse](t)(f.GetAccountSettings(request(t), &lambdaapi.GetAccountSettingsRequest{})).AccountLimit.UnreservedConcurrentExecutions
	}
	each := func() (arns []string) {
		if err := f.EachProvisioned(t.Context(), func(arn string) error { arns = append(arns, arn); return nil }); err != nil {
			t.Error(err)
		}
		return arns
	}
	steps := []struct {
		what string
		do   func() error
		want int32
	}{
		{"nothing", func() error { return nil }, 1000},
		{"40 ready", func() error { _, err := f.provision(t, "fn", "1", 40); return err }, 960},
		{"60 more", func() error { _, err := f.provision(t, "fn", "2", 60); return err }, 900},
		{"150 reserved", func() error { return f.reserve(t, "fn", 150) }, 850},
		{"less ready", func() error { _, err := f.provision(t, "fn", "2", 10); return err }, 850},
		{"no reservation", func() error {
			_, err := f.DeleteFunctionConcurrency(request(t), &lambdaapi.DeleteFunctionConcurrencyRequest{FunctionName: new("fn")})
			return err
		}, 950},
		{"one setting deleted", func() error {
			_, err := f.DeleteProvisionedConcurrencyConfig(request(t), &lambdaapi.DeleteProvisionedConcurrencyConfigRequest{FunctionName: new("fn"), Qualifier: new("1")})
			return err
		}, 990},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
		if got := unreserved(); got != s.want {
			t.Errorf("%s: %d unreserved, want %d", s.what, got, s.want)
		}
		if got := each(); s.want < 1000 && !slices.Equal(got, []string{arnOf("fn")}) {
			t.Errorf("%s: functions with concurrency set aside: %v", s.what, got)
		}
	}
	must[*lambdaapi.DeleteFunctionResponse](t)(f.DeleteFunction(request(t), &lambdaapi.DeleteFunctionRequest{FunctionName: new("fn")}))
	if got := each(); unreserved() != 1000 || len(got) > 0 {
		t.Errorf("a deleted function still sets aside: %v", got)
	}
}
