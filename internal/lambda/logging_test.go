package lambda_test

import (
	"testing"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// Each step changes what the steps before it left.
func TestLoggingConfig(t *testing.T) {
	f := setup(t)
	f.create(t, "fn")
	json, text := new(lambdaapi.LogFormatJson), new(lambdaapi.LogFormatText)
	for _, tc := range []struct {
		name  string
		given lambdaapi.LoggingConfig
		want  string // format, application level, system level, group
	}{
		{"JSON has levels", lambdaapi.LoggingConfig{LogFormat: json}, "JSON INFO INFO /aws/lambda/fn"},
		{"one level", lambdaapi.LoggingConfig{SystemLogLevel: new(lambdaapi.SystemLogLevelWarn)}, "JSON INFO WARN /aws/lambda/fn"},
		{"the other", lambdaapi.LoggingConfig{LogFormat: json, ApplicationLogLevel: new(lambdaapi.ApplicationLogLevelTrace)}, "JSON TRACE WARN /aws/lambda/fn"},
		{"group", lambdaapi.LoggingConfig{LogGroup: new("mine")}, "JSON TRACE WARN mine"},
		{"text has none", lambdaapi.LoggingConfig{LogFormat: text}, "Text   mine"},
		{"nor remembers them", lambdaapi.LoggingConfig{LogFormat: json}, "JSON INFO INFO mine"},
	} {
		before, _, err := f.Resolve(t.Context(), account, region, "fn", "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{FunctionName: new("fn"), LoggingConfig: &tc.given})
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		c := got.LoggingConfig
		shown := string(awsapi.Val(c.LogFormat)) + " " + string(awsapi.Val(c.ApplicationLogLevel)) + " " + string(awsapi.Val(c.SystemLogLevel)) + " " + awsapi.Val(c.LogGroup)
		if shown != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, shown, tc.want)
		}
		fn, _, err := f.Resolve(t.Context(), account, region, "fn", "")
		if err != nil {
			t.Fatal(err)
		}
		if fn.Revision == before.Revision {
			t.Errorf("%s: environments of before stay in use", tc.name)
		}
		if fn.LogJSON != (awsapi.Val(c.LogFormat) == lambdaapi.LogFormatJson) || fn.LogLevel != string(awsapi.Val(c.ApplicationLogLevel)) || fn.SystemLogLevel != string(awsapi.Val(c.SystemLogLevel)) {
			t.Errorf("%s: environments are told %v %q %q", tc.name, fn.LogJSON, fn.LogLevel, fn.SystemLogLevel)
		}
	}
	_, err := f.UpdateFunctionConfiguration(request(t), &lambdaapi.UpdateFunctionConfigurationRequest{
		FunctionName: new("fn"), LoggingConfig: &lambdaapi.LoggingConfig{LogFormat: text, ApplicationLogLevel: new(lambdaapi.ApplicationLogLevelInfo)},
	})
	wantError(t, err, "InvalidParameterValueException", "ApplicationLogLevel and SystemLogLevel can be set only if the LogFormat is JSON.")
}
