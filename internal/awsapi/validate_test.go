package awsapi_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/internal/awsapi"
)

// The wanted texts are AWS's own, as users report them.
func TestValidate(t *testing.T) {
	create := func(body string) request { return request{line: "POST /2015-03-31/functions", body: body} }
	const whole = `"FunctionName":"f","Role":"arn:aws:iam::000000000000:role/r","Code":{}`
	for _, tc := range []struct {
		name string
		svc  *awsapi.Service
		req  request
		want string
	}{
		{
			"missing", lambdaapi.Service, create(`{}`),
			"ValidationException: 3 validation errors detected: " +
				"Value null at 'code' failed to satisfy constraint: Member must not be null; " +
				"Value null at 'functionName' failed to satisfy constraint: Member must not be null; " +
				"Value null at 'role' failed to satisfy constraint: Member must not be null",
		},
		{
			"pattern", lambdaapi.Service, create(`{"FunctionName":"f","Role":"lambdarole","Code":{}}`),
			`ValidationException: 1 validation error detected: Value 'lambdarole' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: ` + lambdaapi.Service.Shapes["RoleArn"].Pattern,
		},
		{
			"leading capitals", lambdaapi.Service, create(`{` + whole + `,"KMSKeyArn":"x"}`),
			`ValidationException: 1 validation error detected: Value 'x' at 'kMSKeyArn' failed to satisfy constraint: Member must satisfy regular expression pattern: ` + lambdaapi.Service.Shapes["KMSKeyArn"].Pattern,
		},
		{
			"range", lambdaapi.Service, create(`{` + whole + `,"MemorySize":1,"Timeout":0}`),
			"ValidationException: 2 validation errors detected: " +
				"Value '1' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128; " +
				"Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1",
		},
		{
			"enumeration below", lambdaapi.Service, create(`{` + whole + `,"TracingConfig":{"Mode":"Maybe"}}`),
			"ValidationException: 1 validation error detected: Value 'Maybe' at 'tracingConfig.mode' failed to satisfy constraint: Member must satisfy enum value set: [Active, PassThrough]",
		},
		{
			"list elements", lambdaapi.Service, create(`{` + whole + `,"Architectures":["mips"]}`),
			"ValidationException: 1 validation error detected: Value '[mips]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]",
		},
		{
			"map keys, not shown", lambdaapi.Service, create(`{` + whole + `,"Environment":{"Variables":{"1bad":"secret"}}}`),
			"ValidationException: 1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
		},
		{
			"list of structures", lambdaapi.Service, create(`{` + whole + `,"FileSystemConfigs":[{"Arn":"x","LocalMountPath":"/mnt/a"}]}`),
			"ValidationException: 1 validation error detected: " +
				"Value 'x' at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: Member must satisfy regular expression pattern: " + lambdaapi.Service.Shapes["FileSystemArn"].Pattern,
		},
		{
			"runtime", lambdaapi.Service, create(`{` + whole + `,"Runtime":"nodejs1.x"}`),
			"InvalidParameterValueException: Value nodejs1.x at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [" + strings.Join(lambdaapi.Runtime("").Values(), ", ") + "] or be a valid ARN",
		},
		{
			"length in characters", logsapi.Service, logsCall("PutMetricFilter", `{"logGroupName":"g","filterName":"f","filterPattern":"`+strings.Repeat("ü", 1024)+`","metricTransformations":[]}`),
			"ValidationException: 1 validation error detected: Value '[]' at 'metricTransformations' failed to satisfy constraint: Member must have length greater than or equal to 1",
		},
		{
			"query length", iamapi.Service, form("Action=CreateRole&Version=2010-05-08&AssumeRolePolicyDocument=%7B%7D&RoleName=" + strings.Repeat("r", 65)),
			"ValidationError: 1 validation error detected: Value '" + strings.Repeat("r", 65) + "' at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64",
		},
		{
			"query name", iamapi.Service, form("Action=GetUser&Version=2010-05-08&UserName=a%3Ab"),
			"ValidationError: The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-",
		},
		{
			"secret", iamapi.Service, form("Action=CreateLoginProfile&Version=2010-05-08&UserName=u&Password=" + strings.Repeat("p", 129)),
			"ValidationError: 1 validation error detected: Value at 'password' failed to satisfy constraint: Member must have length less than or equal to 128",
		},
		{
			"s3 header", s3api.Service,
			request{"PUT /b/k", map[string]string{"X-Amz-Acl": "mine"}, ""},
			"InvalidArgument: Invalid argument.",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := decode(t, tc.svc, tc.req, awsapi.Limits{})
			e, ok := errors.AsType[*awsapi.ErrorResponse](err)
			if !ok || e.Error() != tc.want || e.Status != 400 {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestValidate_Bounded breaks many rules with long values: the answer stays small.
func TestValidate_Bounded(t *testing.T) {
	long := strings.Repeat("ü", 100_000)
	body := `{"Role":"` + long + `","Handler":"` + long + `","FileSystemConfigs":[` + strings.Repeat(`{"Arn":"x"},`, 5000) + `{}]}`
	_, err := decode(t, lambdaapi.Service, request{line: "POST /2015-03-31/functions", body: body}, awsapi.Limits{})
	e, ok := errors.AsType[*awsapi.ErrorResponse](err)
	if !ok || len(e.Message) > 100_000 || !strings.HasPrefix(e.Message, "10008 validation errors detected: ") {
		t.Errorf("answered %d bytes: %.100s", len(e.Message), e.Message)
	}
}

// TestValidate_RewrittenPatterns covers what RE2 cannot say, and the overlay does.
func TestValidate_RewrittenPatterns(t *testing.T) {
	alias := func(name string) request {
		return request{line: "POST /2015-03-31/functions/f/aliases", body: `{"FunctionVersion":"1","Name":"` + name + `"}`}
	}
	code := func(bucket string) request {
		return request{line: "PUT /2015-03-31/functions/f/code", body: `{"S3Bucket":"` + bucket + `"}`}
	}
	account := func(name string) request {
		return form("Action=CreateAccountAlias&Version=2010-05-08&AccountAlias=" + name)
	}
	for _, tc := range []struct {
		svc *awsapi.Service
		req request
		ok  bool
	}{
		{lambdaapi.Service, alias("live"), true},
		{lambdaapi.Service, alias("1a"), true},
		{lambdaapi.Service, alias("12"), false},
		{lambdaapi.Service, alias("a b"), false},
		{lambdaapi.Service, code("my-bucket"), true},
		{lambdaapi.Service, code("my-bucket."), false},
		{iamapi.Service, account("a-b-c"), true},
		{iamapi.Service, account("a--b"), false},
		{iamapi.Service, account("abc-"), false},
	} {
		if _, err := decode(t, tc.svc, tc.req, awsapi.Limits{}); (err == nil) != tc.ok {
			t.Errorf("%s %s: %v", tc.req.line, tc.req.body, err)
		}
	}
}

// TestTags_AreUnderstood builds the plan of every type by routing to and
// redacting it: a tag that the runtime does not know panics.
func TestTags_AreUnderstood(t *testing.T) {
	for _, svc := range services {
		for _, op := range svc.Operations {
			for _, typ := range []reflect.Type{op.Input, op.Output} {
				awsapi.CheckTags(svc, typ)
			}
		}
		for name, sh := range svc.Shapes {
			if sh.Pattern != "" {
				sh.CheckPattern()
			}
			for _, ref := range []string{sh.Member, sh.Key, sh.Value} {
				if ref != "" && svc.Shapes[ref] == nil {
					t.Errorf("%s %s names unknown shape %s", svc.ID, name, ref)
				}
			}
		}
	}
}
