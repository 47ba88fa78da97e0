package awsapi_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/awsapi"
)

var services = []*awsapi.Service{iamapi.Service, lambdaapi.Service, logsapi.Service, s3api.Service, stsapi.Service}

func TestMatch_REST(t *testing.T) {
	for _, tc := range []struct {
		svc    *awsapi.Service
		req    string // method, target
		header string // name of a header that is there
		bucket string // of the host
		want   string // operation and labels
	}{
		{s3api.Service, "GET /", "", "", "ListBuckets"},
		{s3api.Service, "GET /?x-id=ListBuckets", "", "", "ListBuckets"},
		{s3api.Service, "GET /?x-id=ListDirectoryBuckets", "", "", "ListDirectoryBuckets"},
		{s3api.Service, "GET /", "", "b", "ListObjects Bucket=b"},
		{s3api.Service, "GET /b", "", "", "ListObjects Bucket=b"},
		{s3api.Service, "GET /b/", "", "", "ListObjects Bucket=b"},
		{s3api.Service, "GET /b?list-type=2&prefix=a", "", "", "ListObjectsV2 Bucket=b"},
		{s3api.Service, "GET /?list-type=2", "", "b", "ListObjectsV2 Bucket=b"},
		{s3api.Service, "GET /b?acl", "", "", "GetBucketAcl Bucket=b"},
		{s3api.Service, "GET /b?acl=", "", "", "GetBucketAcl Bucket=b"},
		{s3api.Service, "GET /b/k?acl", "", "", "GetObjectAcl Bucket=b Key=k"},
		{s3api.Service, "GET /b?location", "", "", "GetBucketLocation Bucket=b"},
		{s3api.Service, "GET /b?notification", "", "", "GetBucketNotificationConfiguration Bucket=b"},
		{s3api.Service, "PUT /b?notification", "", "", "PutBucketNotificationConfiguration Bucket=b"},
		{s3api.Service, "GET /b?lifecycle", "", "", "GetBucketLifecycleConfiguration Bucket=b"},
		{s3api.Service, "PUT /b?lifecycle", "", "", "PutBucketLifecycleConfiguration Bucket=b"},
		{s3api.Service, "GET /b?analytics", "", "", "ListBucketAnalyticsConfigurations Bucket=b"},
		{s3api.Service, "GET /b?analytics&id=1", "", "", "GetBucketAnalyticsConfiguration Bucket=b"},
		{s3api.Service, "POST /b?delete", "", "", "DeleteObjects Bucket=b"},
		{s3api.Service, "POST /?delete=", "", "b", "DeleteObjects Bucket=b"},
		{s3api.Service, "PUT /b/k", "", "", "PutObject Bucket=b Key=k"},
		{s3api.Service, "PUT /b/k?x-id=PutObject", "", "", "PutObject Bucket=b Key=k"},
		{s3api.Service, "PUT /b/k", "X-Amz-Copy-Source", "", "CopyObject Bucket=b Key=k"},
		{s3api.Service, "PUT /b/k?partNumber=1&uploadId=u", "", "", "UploadPart Bucket=b Key=k"},
		{s3api.Service, "PUT /b/k?partNumber=1&uploadId=u", "X-Amz-Copy-Source", "", "UploadPartCopy Bucket=b Key=k"},
		{s3api.Service, "PUT /b/k?uploadId=u", "", "", "MethodNotAllowed"},
		{s3api.Service, "PUT /b/k?partNumber=1", "", "", "MethodNotAllowed"},
		{s3api.Service, "PUT /b/k?lifecycle", "", "", "MethodNotAllowed"},
		{s3api.Service, "PUT /b/k?renameObject", "", "", "RenameObject Bucket=b Key=k"},
		{s3api.Service, "POST /b/k", "", "", "MethodNotAllowed"},
		{s3api.Service, "POST /b/k?uploads", "", "", "CreateMultipartUpload Bucket=b Key=k"},
		{s3api.Service, "POST /b/k?uploadId=u", "", "", "CompleteMultipartUpload Bucket=b Key=k"},
		{s3api.Service, "POST /b/k?select&select-type=2", "", "", "SelectObjectContent Bucket=b Key=k"},
		{s3api.Service, "DELETE /b/k?uploadId=u", "", "", "AbortMultipartUpload Bucket=b Key=k"},
		{s3api.Service, "DELETE /b/k?versionId=v", "", "", "DeleteObject Bucket=b Key=k"},
		{s3api.Service, "GET /b/k?uploadId=u", "", "", "ListParts Bucket=b Key=k"},
		{s3api.Service, "GET /b/k?partNumber=1", "", "", "GetObject Bucket=b Key=k"},
		{s3api.Service, "GET /b/k?response-content-type=a", "", "", "GetObject Bucket=b Key=k"},
		{s3api.Service, "GET /b?uploads", "", "", "ListMultipartUploads Bucket=b"},
		{s3api.Service, "GET /b?versions", "", "", "ListObjectVersions Bucket=b"},
		{s3api.Service, "HEAD /b", "", "", "HeadBucket Bucket=b"},
		{s3api.Service, "HEAD /b/k", "", "", "HeadObject Bucket=b Key=k"},
		{s3api.Service, "PATCH /b/k", "", "", "MethodNotAllowed"},
		{s3api.Service, "GET /b//k", "", "", "GetObject Bucket=b Key=/k"},
		{s3api.Service, "GET //k", "", "b", "GetObject Bucket=b Key=/k"},
		{s3api.Service, "GET /b/a//c", "", "", "GetObject Bucket=b Key=a//c"},
		{s3api.Service, "GET /b/a/", "", "", "GetObject Bucket=b Key=a/"},
		{s3api.Service, "GET /b//", "", "", "GetObject Bucket=b Key=/"},
		{s3api.Service, "GET /b/a/../c", "", "", "GetObject Bucket=b Key=a/../c"},
		{s3api.Service, "GET /b/./c", "", "", "GetObject Bucket=b Key=./c"},
		{s3api.Service, "GET /b/a%2Fc%20d+e", "", "", "GetObject Bucket=b Key=a/c d+e"},
		{s3api.Service, "GET /b/%C3%BC%00", "", "", "GetObject Bucket=b Key=ü\x00"},
		{s3api.Service, "GET /b/k?acl=%zz", "", "", "InvalidURI"},
		{s3api.Service, "POST /WriteGetObjectResponse", "", "", "WriteGetObjectResponse"},

		{lambdaapi.Service, "POST /2015-03-31/functions", "", "", "CreateFunction"},
		{lambdaapi.Service, "POST /2015-03-31/functions/", "", "", "CreateFunction"},
		{lambdaapi.Service, "GET /2015-03-31/functions/", "", "", "ListFunctions"},
		{lambdaapi.Service, "GET /2015-03-31/functions/f", "", "", "GetFunction FunctionName=f"},
		{lambdaapi.Service, "GET /2015-03-31/functions/f/", "", "", "GetFunction FunctionName=f"},
		{lambdaapi.Service, "POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A0%3Afunction%3Af/invocations", "", "", "Invoke FunctionName=arn:aws:lambda:us-east-1:0:function:f"},
		{lambdaapi.Service, "POST /2015-03-31/functions/arn:aws:lambda:us-east-1:0:function:f:1/invocations", "", "", "Invoke FunctionName=arn:aws:lambda:us-east-1:0:function:f:1"},
		{lambdaapi.Service, "POST /2021-11-15/functions/f/response-streaming-invocations", "", "", "InvokeWithResponseStream FunctionName=f"},
		{lambdaapi.Service, "GET /2018-10-31/layers", "", "", "ListLayers"},
		{lambdaapi.Service, "GET /2018-10-31/layers?find=LayerVersion&Arn=a", "", "", "GetLayerVersionByArn"},
		{lambdaapi.Service, "GET /2018-10-31/layers?find=Other", "", "", "ListLayers"},
		{lambdaapi.Service, "DELETE /2017-03-31/tags/arn%3Aa%2Fb", "", "", "UntagResource Resource=arn:a/b"}, // tagKeys missing is for validation
		{lambdaapi.Service, "POST /2015-03-31/functions//invocations", "", "", "UnknownOperationException"},
		{lambdaapi.Service, "POST /2015-03-31/functions/a/b/invocations", "", "", "UnknownOperationException"},
		{lambdaapi.Service, "GET /", "", "", "UnknownOperationException"},
	} {
		t.Run(tc.req+" "+tc.header, func(t *testing.T) {
			method, target, _ := strings.Cut(tc.req, " ")
			r := &http.Request{Method: method, Header: http.Header{}, URL: &url.URL{}}
			path, query, _ := strings.Cut(target, "?")
			r.URL.RawPath, r.URL.RawQuery = path, query
			r.URL.Path, _ = url.PathUnescape(path)
			if tc.header != "" {
				r.Header.Set(tc.header, "x")
			}
			if got := matched(tc.svc.Match(r, tc.bucket, awsapi.Limits{})); got != tc.want {
				t.Errorf("matched %q, want %q", got, tc.want)
			}
		})
	}
}

// matched names the operation and its labels, or the error's code.
func matched(m *awsapi.Match, err error) string {
	if err != nil {
		e, ok := errors.AsType[awsapi.Error](err)
		if !ok {
			return "unmodelled " + err.Error()
		}
		return e.ErrorCode()
	}
	s := m.Op.Name
	for _, label := range []string{"Bucket", "Key", "FunctionName", "Resource"} {
		if v := m.Label(label); v != "" {
			s += " " + label + "=" + v
		}
	}
	return s
}

func TestMatch_RPC(t *testing.T) {
	for _, tc := range []struct {
		name   string
		svc    *awsapi.Service
		method string
		target string
		header string
		body   string
		want   string
		text   string
	}{
		{"target", logsapi.Service, "POST", "/", "Logs_20140328.CreateLogGroup", "{}", "CreateLogGroup", ""},
		{"other prefix", logsapi.Service, "POST", "/", "Logs_20150328.CreateLogGroup", "{}", "UnknownOperationException", ""},
		{"no target", logsapi.Service, "POST", "/", "", "{}", "UnknownOperationException", ""},
		{"get", logsapi.Service, "GET", "/", "Logs_20140328.CreateLogGroup", "", "UnknownOperationException", ""},
		{"unknown", logsapi.Service, "POST", "/", "Logs_20140328.Nothing", "{}", "UnknownOperationException", ""},
		{"body", stsapi.Service, "POST", "/", "", "Action=GetCallerIdentity&Version=2011-06-15", "GetCallerIdentity", ""},
		{"query", stsapi.Service, "GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "", "", "GetCallerIdentity", ""},
		{"no action", stsapi.Service, "POST", "/", "", "Version=2011-06-15", "MissingAction", ""},
		{"no version", stsapi.Service, "POST", "/", "", "Action=GetCallerIdentity", "InvalidAction", "Could not find operation GetCallerIdentity for version NO_VERSION_SPECIFIED"},
		{"other service", stsapi.Service, "POST", "/", "", "Action=ListUsers&Version=2010-05-08", "InvalidAction", "Could not find operation ListUsers for version 2010-05-08"},
		{"bad form", iamapi.Service, "POST", "/", "", "Action=%zz", "MalformedInput", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, tc.target, strings.NewReader(tc.body))
			r.Header.Set("X-Amz-Target", tc.header)
			if tc.body != "" && tc.header == "" {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			}
			m, err := tc.svc.Match(r, "", awsapi.Limits{})
			if got := matched(m, err); got != tc.want {
				t.Fatalf("matched %q, want %q", got, tc.want)
			}
			if e, ok := errors.AsType[*awsapi.ErrorResponse](err); ok && tc.text != "" && e.Message != tc.text {
				t.Errorf("message %q, want %q", e.Message, tc.text)
			}
		})
	}
}
