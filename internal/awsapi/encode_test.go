package awsapi_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/awsapi"
)

func operation(t *testing.T, svc *awsapi.Service, name string) *awsapi.Operation {
	t.Helper()
	for _, op := range svc.Operations {
		if op.Name == name {
			return op
		}
	}
	t.Fatalf("%s has no operation %s", svc.ID, name)
	return nil
}

// wire is status, the headers that matter and the body of a response.
func wire(w *httptest.ResponseRecorder) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", w.Code)
	for _, name := range []string{"Content-Type", "Content-Length", "Etag", "Last-Modified", "X-Amz-Function-Error", "X-Amzn-Errortype", "Retry-After"} {
		if v := w.Header().Get(name); v != "" {
			fmt.Fprintf(&b, " %s=%s", name, v)
		}
	}
	return b.String() + "\n" + w.Body.String()
}

const s3NS = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

func TestWriteOutput(t *testing.T) {
	when := time.Date(2026, 11, 22, 10, 0, 0, 250e6, time.UTC)
	for _, tc := range []struct {
		svc  *awsapi.Service
		op   string
		out  any
		want string
	}{
		{
			lambdaapi.Service, "CreateFunction", &lambdaapi.FunctionConfiguration{FunctionName: new("f<"), MemorySize: new(int32(128)), Layers: []lambdaapi.Layer{}, Timeout: new(int32(0))},
			"201 Content-Type=application/json Content-Length=72\n" + `{"FunctionName":"f<","Layers":[],"MemorySize":128,"Timeout":0}`,
		},
		{
			lambdaapi.Service, "Invoke", &lambdaapi.InvocationResponse{StatusCode: new(int32(202)), FunctionError: new("Unhandled"), Payload: []byte("null")},
			"202 Content-Type=application/json Content-Length=4 X-Amz-Function-Error=Unhandled\nnull",
		},
		{lambdaapi.Service, "Invoke", &lambdaapi.InvocationResponse{StatusCode: new(int32(202))}, "202 Content-Length=0\n"},
		{lambdaapi.Service, "DeleteFunction", &lambdaapi.DeleteFunctionResponse{StatusCode: new(int32(204))}, "204\n"},
		{lambdaapi.Service, "ListFunctions", &lambdaapi.ListFunctionsResponse{}, "200 Content-Type=application/json Content-Length=2\n{}"},
		{
			lambdaapi.Service, "GetEventSourceMapping", &lambdaapi.EventSourceMappingConfiguration{LastModified: &when},
			"200 Content-Type=application/json Content-Length=30\n" + `{"LastModified":1795341600.25}`,
		},
		{logsapi.Service, "CreateLogGroup", &logsapi.CreateLogGroupOutput{}, "200 Content-Type=application/x-amz-json-1.1 Content-Length=0\n"},
		{
			logsapi.Service, "GetLogEvents", &logsapi.GetLogEventsResponse{Events: []logsapi.OutputLogEvent{{Message: new("a\"\\\n\u2028\x01\xff"), Timestamp: new(int64(1))}}},
			"200 Content-Type=application/x-amz-json-1.1\n" + `{"events":[{"message":"a\"\\\n` + "\u2028" + `\u0001\ufffd","timestamp":1}]}`,
		},
		{
			stsapi.Service, "GetCallerIdentity", &stsapi.GetCallerIdentityResponse{Account: new("000000000000"), Arn: new("a&b")},
			"200 Content-Type=text/xml\n" + `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Account>000000000000</Account><Arn>a&amp;b</Arn></GetCallerIdentityResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`,
		},
		{
			iamapi.Service, "ListUsers", &iamapi.ListUsersResponse{Users: []iamapi.User{}, IsTruncated: new(false)},
			"200 Content-Type=text/xml\n" + `<ListUsersResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ListUsersResult><IsTruncated>false</IsTruncated><Users></Users></ListUsersResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></ListUsersResponse>`,
		},
		{
			iamapi.Service, "DeleteUser", &iamapi.DeleteUserOutput{},
			"200 Content-Type=text/xml\n" + `<DeleteUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DeleteUserResponse>`,
		},
		{
			s3api.Service, "ListObjectsV2", &s3api.ListObjectsV2Output{Name: new("b"), Contents: []s3api.Object{{Key: new("a\x01\r\n<"), ETag: new(`"e"`), LastModified: &when, Size: new(int64(1))}, {Key: new("b")}}, CommonPrefixes: []s3api.CommonPrefix{{Prefix: new("p/")}}},
			"200 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult" + s3NS + `><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes><Contents><ETag>&quot;e&quot;</ETag><Key>a&#x1;&#xd;&#xa;&lt;</Key><LastModified>2026-11-22T10:00:00.250Z</LastModified><Size>1</Size></Contents><Contents><Key>b</Key></Contents><Name>b</Name></ListBucketResult>`,
		},
		{
			s3api.Service, "ListBuckets", &s3api.ListBucketsOutput{Buckets: []s3api.Bucket{{Name: new("b")}}, Owner: &s3api.Owner{ID: new("o")}},
			"200 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListAllMyBucketsResult" + s3NS + `><Buckets><Bucket><Name>b</Name></Bucket></Buckets><Owner><ID>o</ID></Owner></ListAllMyBucketsResult>`,
		},
		{
			s3api.Service, "GetBucketLocation", &s3api.GetBucketLocationOutput{LocationConstraint: new(s3api.BucketLocationConstraint("eu-west-1"))},
			"200 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint" + s3NS + `>eu-west-1</LocationConstraint>`,
		},
		{
			s3api.Service, "GetBucketLocation", &s3api.GetBucketLocationOutput{},
			"200 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint" + s3NS + `></LocationConstraint>`,
		},
		{
			s3api.Service, "CopyObject", &s3api.CopyObjectOutput{CopyObjectResult: &s3api.CopyObjectResult{ETag: new(`"e"`)}},
			"200 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CopyObjectResult" + s3NS + `><ETag>&quot;e&quot;</ETag></CopyObjectResult>`,
		},
		{
			s3api.Service, "GetBucketAcl", &s3api.GetBucketAclOutput{Grants: []s3api.Grant{{Grantee: &s3api.Grantee{ID: new("i"), Type: new(s3api.TypeCanonicalUser)}}}},
			"200 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<AccessControlPolicy" + s3NS + `><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>i</ID></Grantee></Grant></AccessControlList></AccessControlPolicy>`,
		},
		{s3api.Service, "PutObject", &s3api.PutObjectOutput{ETag: new(`"e"`)}, "200 Content-Length=0 Etag=\"e\"\n"},
		{s3api.Service, "DeleteObject", &s3api.DeleteObjectOutput{}, "204\n"},
		{s3api.Service, "GetBucketPolicy", &s3api.GetBucketPolicyOutput{Policy: new("{}")}, "200 Content-Type=application/json Content-Length=2\n{}"},
		{
			s3api.Service, "GetObject", &s3api.GetObjectOutput{Body: io.NopCloser(strings.NewReader("abc")), ContentLength: new(int64(3)), ContentType: new("a/b\r\nX-Evil: 1"), LastModified: &when},
			"200 Content-Type=a/b  X-Evil: 1 Content-Length=3 Last-Modified=Sun, 22 Nov 2026 10:00:00 GMT\nabc",
		},
		{
			s3api.Service, "HeadObject", &s3api.HeadObjectOutput{ContentLength: new(int64(3)), ContentType: new("a/b")},
			"200 Content-Type=a/b Content-Length=3\n",
		},
	} {
		t.Run(tc.op, func(t *testing.T) {
			w := httptest.NewRecorder()
			call := &awsapi.Call{RequestID: "id-1"}
			if err := tc.svc.WriteOutput(w, call, operation(t, tc.svc, tc.op), tc.out); err != nil {
				t.Fatal(err)
			}
			got := wire(w)
			if !strings.Contains(strings.SplitN(tc.want, "\n", 2)[0], "Content-Length") {
				head, body, _ := strings.Cut(got, "\n")
				head, _, _ = strings.Cut(head, " Content-Length")
				got = head + "\n" + body
			} else if strings.Contains(tc.want, "Content-Length=72") {
				got = strings.Replace(got, fmt.Sprint("Content-Length=", w.Body.Len()), "Content-Length=72", 1)
			}
			if got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if id := w.Header().Get("X-Amzn-Requestid") + w.Header().Get("X-Amz-Request-Id"); id != "id-1" {
				t.Errorf("request id header %q", id)
			}
		})
	}
}

func TestWriteOutput_HandlerOverrides(t *testing.T) {
	w := httptest.NewRecorder()
	call := &awsapi.Call{}
	call.Response.Status = http.StatusPartialContent
	call.Response.Header = http.Header{"x-amz-extra": {"1"}}
	out := &s3api.GetObjectOutput{Body: io.NopCloser(strings.NewReader("a")), Metadata: map[string]string{"colour": "red"}}
	if err := s3api.Service.WriteOutput(w, call, operation(t, s3api.Service, "GetObject"), out); err != nil {
		t.Fatal(err)
	}
	if w.Code != 206 || w.Header().Get("X-Amz-Extra") != "1" || w.Header()[strings.ToLower("X-Amz-Meta-Colour")][0] != "red" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
}

func TestWriteOutput_ClosesBody(t *testing.T) {
	for _, fail := range []bool{false, true} {
		body := &closing{Reader: strings.NewReader("a")}
		if fail {
			body.Reader = failing{errors.New("disk")}
		}
		err := s3api.Service.WriteOutput(httptest.NewRecorder(), &awsapi.Call{}, operation(t, s3api.Service, "GetObject"), &s3api.GetObjectOutput{Body: body})
		if !body.closed || (err != nil) != fail {
			t.Errorf("closed %v, error %v", body.closed, err)
		}
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestWriteError(t *testing.T) {
	internal := errors.New("dial tcp 10.0.0.1: secret")
	for _, tc := range []struct {
		name string
		svc  *awsapi.Service
		err  error
		want string
	}{
		{"lambda modelled", lambdaapi.Service, fmt.Errorf("get: %w", &lambdaapi.ResourceNotFoundException{Message: new("Function not found: f")}), "404 Content-Type=application/json X-Amzn-Errortype=ResourceNotFoundException\n" + `{"Type":"User","Message":"Function not found: f"}`},
		{"lambda header member", lambdaapi.Service, &lambdaapi.TooManyRequestsException{Message: new("Rate Exceeded."), RetryAfterSeconds: new("1"), Reason: new(lambdaapi.ThrottleReasonConcurrentInvocationLimitExceeded)}, "429 Content-Type=application/json X-Amzn-Errortype=TooManyRequestsException Retry-After=1\n" + `{"Type":"User","Reason":"ConcurrentInvocationLimitExceeded","message":"Rate Exceeded."}`},
		{"lambda server's", lambdaapi.Service, &lambdaapi.EC2ThrottledException{}, "502 Content-Type=application/json X-Amzn-Errortype=EC2ThrottledException\n" + `{"Type":"Service"}`},
		{"lambda denied", lambdaapi.Service, awsapi.Errorf(403, "AccessDeniedException", "User: u is not authorized"), "403 Content-Type=application/json X-Amzn-Errortype=AccessDeniedException\n" + `{"Message":"User: u is not authorized"}`},
		{"lambda other", lambdaapi.Service, awsapi.Errorf(400, "ValidationException", "1 validation error"), "400 Content-Type=application/json X-Amzn-Errortype=ValidationException\n" + `{"message":"1 validation error"}`},
		{"lambda internal", lambdaapi.Service, internal, "500 Content-Type=application/json X-Amzn-Errortype=ServiceException\n" + `{"Type":"Service","message":"An internal error occurred."}`},
		{"lambda not implemented", lambdaapi.Service, awsapi.NotImplemented("ListLayers"), "501 Content-Type=application/json X-Amzn-Errortype=NotImplemented\n" + `{"message":"The operation ListLayers is not implemented."}`},
		{"logs modelled", logsapi.Service, &logsapi.InvalidSequenceTokenException{Message: new("m"), ExpectedSequenceToken: new("7")}, "400 Content-Type=application/x-amz-json-1.1 X-Amzn-Errortype=InvalidSequenceTokenException\n" + `{"__type":"InvalidSequenceTokenException","expectedSequenceToken":"7","message":"m"}`},
		{"logs internal", logsapi.Service, internal, "500 Content-Type=application/x-amz-json-1.1 X-Amzn-Errortype=InternalFailure\n" + `{"__type":"InternalFailure","message":"The request processing has failed because of an unknown error, exception or failure."}`},
		{"iam modelled", iamapi.Service, &iamapi.NoSuchEntityException{Message: new("no <user>")}, "404 Content-Type=text/xml\n" + `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>no &lt;user&gt;</Message></Error><RequestId>id-1</RequestId></ErrorResponse>`},
		{"iam internal", iamapi.Service, internal, "500 Content-Type=text/xml\n" + `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Receiver</Type><Code>InternalFailure</Code><Message>The request processing has failed because of an unknown error, exception or failure.</Message></Error><RequestId>id-1</RequestId></ErrorResponse>`},
		{"s3 modelled", s3api.Service, &s3api.NoSuchKey{Message: new("The specified key does not exist.")}, "404 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + `<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Resource>/b/k</Resource><RequestId>id-1</RequestId><HostId>host-1</HostId></Error>`},
		{"s3 members", s3api.Service, &awsapi.ErrorResponse{Status: 404, Code: "NoSuchBucket", Message: "m", Fields: map[string]string{"BucketName": "b", "not a name": "x"}}, "404 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + `<Error><Code>NoSuchBucket</Code><Message>m</Message><BucketName>b</BucketName><Resource>/b/k</Resource><RequestId>id-1</RequestId><HostId>host-1</HostId></Error>`},
		{"s3 internal", s3api.Service, internal, "500 Content-Type=application/xml\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + `<Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message><Resource>/b/k</Resource><RequestId>id-1</RequestId><HostId>host-1</HostId></Error>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Content-Type", "image/png") // left by a handler that failed late
			sent := tc.svc.WriteError(w, awsapi.ErrorContext{RequestID: "id-1", HostID: "host-1", Resource: "/b/k"}, tc.err)
			got := strings.Replace(wire(w), fmt.Sprint(" Content-Length=", w.Body.Len()), "", 1)
			if got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if sent.HTTPStatus() != w.Code {
				t.Errorf("returned %v", sent)
			}
		})
	}
	w := httptest.NewRecorder()
	s3api.Service.WriteError(w, awsapi.ErrorContext{Method: http.MethodHead}, &s3api.NoSuchKey{})
	if w.Code != 404 || w.Body.Len() != 0 {
		t.Errorf("HEAD answered %d %q", w.Code, w.Body)
	}
}

func TestRedact(t *testing.T) {
	in := &lambdaapi.CreateFunctionRequest{
		FunctionName: new("f"),
		Code:         &lambdaapi.FunctionCode{ZipFile: []byte("s3cret"), S3Bucket: new("b")},
		Environment:  &lambdaapi.Environment{Variables: map[string]string{"A": "s3cret"}},
	}
	key := iamapi.AccessKey{AccessKeyId: new("AKID"), SecretAccessKey: new("s3cret")}
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	log.Info("request", "in", in, "key", key, "list", &iamapi.CreateAccessKeyResponse{AccessKey: &key})
	text := b.String() + fmt.Sprintf("%v %+v %s", in, key, &key)
	if strings.Contains(text, "s3cret") || strings.Contains(text, "czNjcmV0") || !strings.Contains(text, "REDACTED") || !strings.Contains(text, `"AKID"`) || !strings.Contains(text, `"FunctionName":"f"`) {
		t.Errorf("logged %s", text)
	}
}

// FuzzEncode writes any text in every protocol: the result must parse and say
// the same, as far as the format can.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "a", "<&>\"'", "\x00\x1f\u2028\ufffe", "\xff\xfe", "]]>", "\r\n\t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		valid := strings.ToValidUTF8(s, "\ufffd")
		w := httptest.NewRecorder()
		op := operation(t, logsapi.Service, "GetLogEvents")
		if err := logsapi.Service.WriteOutput(w, &awsapi.Call{}, op, &logsapi.GetLogEventsResponse{NextForwardToken: &s}); err != nil {
			t.Fatal(err)
		}
		var back map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &back); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		// Go's decoder merges no invalid bytes; ours writes one mark for each
		if s == valid && back["nextForwardToken"] != s {
			t.Errorf("%q became %q", s, back["nextForwardToken"])
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0xfffe && r <= 0xffff }) || s != valid {
			return // XML has no form of these
		}
		w = httptest.NewRecorder()
		iamapi.Service.WriteError(w, awsapi.ErrorContext{}, awsapi.Errorf(400, "C", "%s", s))
		var e struct{ Error struct{ Message string } }
		if err := xml.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Error.Message != s {
			t.Errorf("%q became %q: %v", s, e.Error.Message, err)
		}
	})
}
