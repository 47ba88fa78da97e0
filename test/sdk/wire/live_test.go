package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/awsapi"
)

// serve runs impl behind the runtime as the gateway does.
func serve(t *testing.T, svc *awsapi.Service, impl any) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ec := awsapi.ErrorContext{Method: r.Method, RequestID: "id-1", HostID: "host-1", Resource: r.URL.Path}
		call := &awsapi.Call{RequestID: ec.RequestID, Request: r}
		call.Response.Header = http.Header{}
		m, err := svc.Match(r, "", awsapi.Limits{})
		if err != nil {
			svc.WriteError(w, ec, err)
			return
		}
		in, err := m.Decode(r.Context(), r, awsapi.Limits{})
		if err != nil {
			svc.WriteError(w, ec, err)
			return
		}
		out, err := m.Op.Call(awsapi.WithCall(r.Context(), call), impl, in)
		if err != nil {
			svc.WriteError(w, ec, err)
			return
		}
		if err := svc.WriteOutput(w, call, m.Op, out); err != nil {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestErrors_Modelled sends every modelled error of every service through the
// operations that list it, and wants the client to make its own type of it.
func TestErrors_Modelled(t *testing.T) {
	ctx := t.Context()
	for _, tc := range []struct {
		name string
		err  error
		call func(url string) error
		want func(error) string // what the client's error says; empty if it is another type
	}{
		{
			"rest-json", &lambdaapi.TooManyRequestsException{Message: aws.String("Rate Exceeded."), Reason: new(lambdaapi.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded), RetryAfterSeconds: aws.String("3")},
			func(url string) error {
				_, err := client("lambda", url).Interface().(*lambda.Client).Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("f")})
				return err
			},
			func(err error) string {
				e, ok := errors.AsType[*lambdatypes.TooManyRequestsException](err)
				if !ok {
					return ""
				}
				return fmt.Sprint(*e.Message, " ", e.Reason, " ", *e.RetryAfterSeconds, " ", *e.Type)
			},
		},
		{
			"rest-json 404", &lambdaapi.ResourceNotFoundException{Message: aws.String("Function not found: arn")},
			func(url string) error {
				_, err := client("lambda", url).Interface().(*lambda.Client).GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("f")})
				return err
			},
			func(err error) string {
				e, ok := errors.AsType[*lambdatypes.ResourceNotFoundException](err)
				if !ok {
					return ""
				}
				return *e.Message + " " + *e.Type
			},
		},
		{
			"json", &logsapi.ResourceAlreadyExistsException{Message: aws.String("The specified log group already exists")},
			func(url string) error {
				_, err := client("cloudwatchlogs", url).Interface().(*cloudwatchlogs.Client).CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("g")})
				return err
			},
			func(err error) string {
				e, ok := errors.AsType[*logstypes.ResourceAlreadyExistsException](err)
				if !ok {
					return ""
				}
				return *e.Message
			},
		},
		{
			"query", &iamapi.NoSuchEntityException{Message: aws.String("The role with name r cannot be found.")},
			func(url string) error {
				_, err := client("iam", url).Interface().(*iam.Client).GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r")})
				return err
			},
			func(err error) string {
				e, ok := errors.AsType[*iamtypes.NoSuchEntityException](err)
				if !ok {
					return ""
				}
				return *e.Message
			},
		},
		{
			"query sts", &stsapi.MalformedPolicyDocumentException{Message: aws.String("bad <policy>")},
			func(url string) error {
				_, err := client("sts", url).Interface().(*sts.Client).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::000000000000:role/r"), RoleSessionName: aws.String("session")})
				return err
			},
			func(err error) string {
				e, ok := errors.AsType[*ststypes.MalformedPolicyDocumentException](err)
				if !ok {
					return ""
				}
				return *e.Message
			},
		},
		{
			"rest-xml", &s3api.NoSuchKey{Message: aws.String("The specified key does not exist.")},
			func(url string) error {
				_, err := client("s3", url).Interface().(*s3.Client).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
				return err
			},
			func(err error) string {
				e, ok := errors.AsType[*s3types.NoSuchKey](err)
				if !ok {
					return ""
				}
				return *e.Message
			},
		},
		{
			"rest-xml members", &s3api.InvalidObjectState{Message: aws.String("The operation is not valid for the object's storage class"), StorageClass: new(s3api.StorageClassGlacier)},
			func(url string) error {
				_, err := client("s3", url).Interface().(*s3.Client).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
				return err
			},
			func(err error) string {
				e, ok := errors.AsType[*s3types.InvalidObjectState](err)
				if !ok {
					return ""
				}
				return *e.Message + " " + string(e.StorageClass)
			},
		},
		{
			"rest-xml head", awsapi.Errorf(404, "NotFound", ""),
			func(url string) error {
				_, err := client("s3", url).Interface().(*s3.Client).HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
				return err
			},
			func(err error) string {
				if _, ok := errors.AsType[*s3types.NotFound](err); !ok {
					return ""
				}
				return "NotFound"
			},
		},
		{
			"not modelled", awsapi.Errorf(403, "AccessDenied", "no %s", "way"),
			func(url string) error {
				_, err := client("s3", url).Interface().(*s3.Client).ListBuckets(ctx, &s3.ListBucketsInput{})
				return err
			},
			func(err error) string {
				e, _ := errors.AsType[smithy.APIError](err)
				return e.ErrorCode() + " " + e.ErrorMessage()
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := map[string]string{
				"rest-json":        "Rate Exceeded. ReservedFunctionConcurrentInvocationLimitExceeded 3 User",
				"rest-json 404":    "Function not found: arn User",
				"json":             "The specified log group already exists",
				"query":            "The role with name r cannot be found.",
				"query sts":        "bad <policy>",
				"rest-xml":         "The specified key does not exist.",
				"rest-xml members": "The operation is not valid for the object's storage class GLACIER",
				"rest-xml head":    "NotFound",
				"not modelled":     "AccessDenied no way",
			}[tc.name]
			svc := map[bool]*awsapi.Service{true: s3api.Service}[strings.HasPrefix(tc.name, "rest-xml") || tc.name == "not modelled"]
			switch {
			case svc != nil:
			case strings.HasPrefix(tc.name, "rest-json"):
				svc = lambdaapi.Service
			case tc.name == "json":
				svc = logsapi.Service
			case tc.name == "query":
				svc = iamapi.Service
			default:
				svc = stsapi.Service
			}
			srv := httptest.NewServer(&echo{svc: svc, err: tc.err})
			defer srv.Close()
			err := tc.call(srv.URL)
			if err == nil {
				t.Fatal("no error arrived")
			}
			if got := tc.want(err); got != want {
				t.Errorf("client's error says %q, want %q (%v)", got, want, err)
			}
		})
	}
}

// TestErrors_EveryCode answers every operation with each error that it lists.
// The client must know the code; for most it has a type of its own, for the
// others smithy's generic one.
func TestErrors_EveryCode(t *testing.T) {
	checked, typed := 0, 0
	for _, s := range services {
		e := &echo{svc: s.svc}
		srv := httptest.NewServer(e)
		defer srv.Close()
		c := client(s.module, srv.URL)
		for _, op := range s.svc.Operations {
			method := c.MethodByName(op.Name)
			if !method.IsValid() || op.Method == http.MethodHead || op.HostPrefix != "" || slices.Contains(unions, op.Name) || op.Name == "ListDirectoryBuckets" || op.Name == "CreateSession" {
				continue
			}
			for _, code := range op.Errors {
				in := reflect.New(method.Type().In(1).Elem())
				(&filling{rng(1)}).structure(in.Elem(), 0)
				drain(in.Interface())
				e.err = awsapi.Errorf(418, code, "why not")
				results := method.Call([]reflect.Value{reflect.ValueOf(t.Context()), in})
				err, _ := results[1].Interface().(error)
				api, ok := errors.AsType[smithy.APIError](err)
				if !ok {
					t.Errorf("%s: %s arrived as %v", op.Name, code, err)
					continue
				}
				_, generic := errors.AsType[*smithy.GenericAPIError](err)
				if generic && api.ErrorCode() != code || api.ErrorMessage() != "why not" {
					t.Errorf("%s: %s arrived as %s %q", op.Name, code, api.ErrorCode(), api.ErrorMessage())
				}
				checked++
				if !generic {
					typed++
				}
			}
		}
	}
	t.Logf("%d errors of operations arrived, %d as types of the client's", checked, typed)
	if checked < 1704 || typed < 1700 {
		t.Errorf("only %d errors arrived, %d as types", checked, typed)
	}
}

// objects keeps what is put.
type objects struct {
	s3api.Unimplemented
	key  string
	body []byte
	meta map[string]string
	typ  *string
}

func (o *objects) PutObject(_ context.Context, in *s3api.PutObjectRequest) (*s3api.PutObjectOutput, error) {
	var err error
	o.body, err = io.ReadAll(in.Body)
	o.key, o.meta, o.typ = awsapi.Val(in.Key), in.Metadata, in.ContentType
	return &s3api.PutObjectOutput{ETag: aws.String(`"e"`)}, err
}

func (o *objects) GetObject(ctx context.Context, in *s3api.GetObjectRequest) (*s3api.GetObjectOutput, error) {
	out := &s3api.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(o.body)), ContentLength: new(int64(len(o.body))), Metadata: o.meta, ContentType: o.typ}
	if in.Range != nil {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(o.body[:10])), new(int64(10))
		out.ContentRange = aws.String(fmt.Sprintf("bytes 0-9/%d", len(o.body)))
		awsapi.CallFrom(ctx).Response.Status = http.StatusPartialContent
	}
	if awsapi.Val(in.Key) == "broken" {
		out.Body = io.NopCloser(io.MultiReader(bytes.NewReader(o.body[:1<<20]), failing{}))
	}
	return out, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk gone") }

func TestStreaming_PutAndGet(t *testing.T) {
	store := &objects{}
	c := client("s3", serve(t, s3api.Service, store)).Interface().(*s3.Client)
	const key = "/a//b/../ü +%2F?&#\"[x]/./"
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB: more than any buffer on the way
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("b"), Key: aws.String(key), Body: bytes.NewReader(body),
		ContentType: aws.String("image/png"), Metadata: map[string]string{"Mixed-Case": "v"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if store.key != key {
		t.Errorf("key %q arrived as %q", key, store.key)
	}
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(out.Body)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(body) || *out.ContentLength != int64(len(body)) {
		t.Errorf("got %d bytes (%v), put %d", len(got), err, len(body))
	}
	if out.Metadata["mixed-case"] != "v" || *out.ContentType != "image/png" {
		t.Errorf("metadata %v, type %v", out.Metadata, *out.ContentType)
	}

	part, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Range: aws.String("bytes=0-9")})
	if err != nil || *part.ContentRange != fmt.Sprintf("bytes 0-9/%d", len(body)) || *part.ContentLength != 10 {
		t.Errorf("range: %+v, %v", part, err)
	}

	cut, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("broken")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(cut.Body); err == nil {
		t.Error("a body that broke off looks whole to the client")
	}

	_, err = c.GetBucketAcl(t.Context(), &s3.GetBucketAclInput{Bucket: aws.String("b")})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "NotImplemented" || !strings.Contains(e.ErrorMessage(), "GetBucketAcl") {
		t.Errorf("an operation that is not there answered %v", err)
	}
}

// streams answers with events.
type streams struct {
	lambdaapi.Unimplemented
	fail error
}

func (s *streams) InvokeWithResponseStream(_ context.Context, in *lambdaapi.InvokeWithResponseStreamRequest) (*lambdaapi.InvokeWithResponseStreamResponse, error) {
	return &lambdaapi.InvokeWithResponseStreamResponse{
		StatusCode:      new(int32(200)),
		ExecutedVersion: aws.String("$LATEST"),
		EventStream: func(send func(*lambdaapi.InvokeWithResponseStreamResponseEvent) error) error {
			for _, word := range strings.Fields(string(in.Payload)) {
				if err := send(&lambdaapi.InvokeWithResponseStreamResponseEvent{PayloadChunk: &lambdaapi.InvokeResponseStreamUpdate{Payload: []byte(word)}}); err != nil {
					return err
				}
			}
			if s.fail != nil {
				return s.fail
			}
			return send(&lambdaapi.InvokeWithResponseStreamResponseEvent{InvokeComplete: &lambdaapi.InvokeWithResponseStreamCompleteEvent{LogResult: aws.String("log")}})
		},
	}, nil
}

func TestEventStream_Lambda(t *testing.T) {
	for _, fail := range []error{nil, errors.New("secret cause")} {
		c := client("lambda", serve(t, lambdaapi.Service, &streams{fail: fail})).Interface().(*lambda.Client)
		out, err := c.InvokeWithResponseStream(t.Context(), &lambda.InvokeWithResponseStreamInput{FunctionName: aws.String("f"), Payload: []byte("one two three")})
		if err != nil {
			t.Fatal(err)
		}
		stream := out.GetStream()
		var got []string
		for event := range stream.Events() {
			switch e := event.(type) {
			case *lambdatypes.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
				got = append(got, string(e.Value.Payload))
			case *lambdatypes.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
				got = append(got, "complete:"+*e.Value.LogResult)
			}
		}
		err = stream.Err()
		want := "one two three complete:log"
		if fail != nil {
			want = "one two three"
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("a broken stream ended with %v", err)
			}
		} else if err != nil {
			t.Error(err)
		}
		if strings.Join(got, " ") != want || *out.ExecutedVersion != "$LATEST" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// noHostPrefix keeps the client from calling stream-127.0.0.1.
func noHostPrefix(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("NoHostPrefix",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
		}), middleware.Before)
}

// tails answers StartLiveTail, whose stream begins with an initial response.
type tails struct{ logsapi.Unimplemented }

func (tails) StartLiveTail(context.Context, *logsapi.StartLiveTailRequest) (*logsapi.StartLiveTailResponse, error) {
	return &logsapi.StartLiveTailResponse{
		ResponseStream: func(send func(*logsapi.StartLiveTailResponseStream) error) error {
			if err := send(&logsapi.StartLiveTailResponseStream{SessionStart: &logsapi.LiveTailSessionStart{SessionId: aws.String("s1")}}); err != nil {
				return err
			}
			return send(&logsapi.StartLiveTailResponseStream{SessionTimeoutException: &logsapi.SessionTimeoutException{Message: aws.String("three hours")}})
		},
	}, nil
}

func TestEventStream_Logs(t *testing.T) {
	c := client("cloudwatchlogs", serve(t, logsapi.Service, tails{})).Interface().(*cloudwatchlogs.Client)
	out, err := c.StartLiveTail(t.Context(), &cloudwatchlogs.StartLiveTailInput{LogGroupIdentifiers: []string{"arn:aws:logs:us-east-1:000000000000:log-group:g"}},
		func(o *cloudwatchlogs.Options) { o.APIOptions = append(o.APIOptions, noHostPrefix) })
	if err != nil {
		t.Fatal(err)
	}
	stream := out.GetStream()
	var got []string
	for event := range stream.Events() {
		if e, ok := event.(*logstypes.StartLiveTailResponseStreamMemberSessionStart); ok {
			got = append(got, *e.Value.SessionId)
		}
	}
	e, ok := errors.AsType[*logstypes.SessionTimeoutException](stream.Err())
	if len(got) != 1 || got[0] != "s1" || !ok || *e.Message != "three hours" {
		t.Errorf("events %q, error %v", got, stream.Err())
	}
}
