package invoke_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/execenv"
	"davy/internal/invoke"
	"davy/internal/sandbox"
	"davy/internal/state"
	"davy/internal/state/statetest"
)

const (
	account = "000000000000"
	region  = "us-east-1"
	fnARN   = "arn:aws:lambda:us-east-1:000000000000:function:fn"
)

// catalogue is a Functions in memory: the settings by unqualified ARN.
type catalogue struct {
	mu       sync.Mutex
	set      map[string]invoke.Settings
	revision string
}

func (c *catalogue) revise(revision string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision = revision
}

func defaults() invoke.Settings {
	return invoke.Settings{Reserved: -1, Unreserved: 1000, Concurrency: 1000, MaxRetries: 2, MaxEventAge: 6 * time.Hour}
}

func functions(names ...string) *catalogue {
	c := &catalogue{set: map[string]invoke.Settings{}}
	for _, n := range names {
		c.put(n, defaults())
	}
	return c
}

func arnOf(name string) string { return strings.TrimSuffix(fnARN, "fn") + name }

func (c *catalogue) put(name string, set invoke.Settings) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set[arnOf(name)] = set
}

func (c *catalogue) remove(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.set, arnOf(name))
}

func (c *catalogue) Resolve(_ context.Context, account, region, nameOrARN, qualifier string) (*execenv.Function, invoke.Settings, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	arn := strings.TrimSuffix(nameOrARN, ":live")
	if !strings.HasPrefix(arn, "arn:") {
		arn = arnOf(arn)
	}
	set, ok := c.set[arn]
	if !ok {
		return nil, set, &lambdaapi.ResourceNotFoundException{Message: new("Function not found: " + arn)}
	}
	set.InvokedARN = arn
	if qualifier != "" {
		set.InvokedARN += ":" + qualifier
	}
	return &execenv.Function{ARN: arn, Name: arn[strings.LastIndex(arn, ":")+1:], Version: "$LATEST", Account: account, Region: region, Revision: c.revision}, set, nil
}

// environments runs a Go function for each invocation.
type environments func(ctx context.Context, fn execenv.Function, inv execenv.Invocation) (execenv.Outcome, error)

func (e environments) Invoke(ctx context.Context, fn execenv.Function, inv execenv.Invocation) (execenv.Outcome, error) {
	return e(ctx, fn, inv)
}

func echo(_ context.Context, _ execenv.Function, inv execenv.Invocation) (execenv.Outcome, error) {
	return execenv.Outcome{Payload: inv.Payload}, nil
}

// allow is a Permissions.
type allow bool

func (a allow) ServiceMayInvoke(context.Context, string, string, string, string) (bool, error) {
	return bool(a), nil
}

func dispatcher(t testing.TB, c *catalogue, store state.Store, env environments, edit ...func(*invoke.Config)) *invoke.Dispatcher {
	t.Helper()
	cfg := invoke.Config{Functions: c, Environments: env, State: store, Permissions: allow(true)}
	for _, e := range edit {
		e(&cfg)
	}
	d, err := invoke.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func request(ctx context.Context) context.Context {
	return awsapi.WithCall(ctx, &awsapi.Call{RequestID: "req-1", Region: region, Account: account})
}

func wantError(t testing.TB, err error, code, message string) {
	t.Helper()
	var modelled awsapi.Error
	if !errors.As(err, &modelled) || modelled.ErrorCode() != code || modelled.Error() != code+": "+message {
		t.Fatalf("error = %v\nwant    %s: %s", err, code, message)
	}
}

func TestInvoke_RequestResponse(t *testing.T) {
	var got execenv.Invocation
	tail := bytes.Repeat([]byte("x"), 5000)
	tail[len(tail)-1] = '\n'
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(_ context.Context, _ execenv.Function, inv execenv.Invocation) (execenv.Outcome, error) {
		got = inv
		return execenv.Outcome{Payload: []byte(`{"errorMessage":"boom"}`), FunctionError: "Unhandled", LogTail: tail}, nil
	})
	out, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{
		FunctionName:  new("fn"),
		Qualifier:     new("live"),
		LogType:       new(lambdaapi.LogTypeTail),
		ClientContext: new(base64.StdEncoding.EncodeToString([]byte(` {"custom":{"a":1}} `))),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.RequestID != "req-1" || got.InvokedARN != fnARN+":live" || got.ClientContext != `{"custom":{"a":1}}` || string(got.Payload) != "{}" || !strings.HasPrefix(got.TraceID, "Root=1-") {
		t.Errorf("invocation = %+v", got)
	}
	if *out.StatusCode != 200 || *out.FunctionError != "Unhandled" || *out.ExecutedVersion != "$LATEST" || string(out.Payload) != `{"errorMessage":"boom"}` {
		t.Errorf("response = %+v", out)
	}
	if log, err := base64.StdEncoding.DecodeString(*out.LogResult); err != nil || !bytes.Equal(log, tail[len(tail)-4096:]) {
		t.Errorf("log result has %d bytes, %v", len(log), err)
	}
}

func TestInvoke_NoLogWithoutTail(t *testing.T) {
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
		return execenv.Outcome{Payload: []byte("1"), LogTail: []byte("x")}, nil
	})
	out, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new("fn"), Payload: []byte("2")})
	if err != nil || out.LogResult != nil || out.FunctionError != nil {
		t.Fatalf("response = %+v, %v", out, err)
	}
}

func TestInvoke_Refusals(t *testing.T) {
	event := new(lambdaapi.InvocationTypeEvent)
	const content, parse = "InvalidRequestContentException", "Could not parse request body into json: Could not parse payload into json: "
	big := append(append([]byte{'"'}, bytes.Repeat([]byte("x"), 6291455)...), '"')
	for _, tc := range []struct {
		name          string
		in            lambdaapi.InvocationRequest
		code, message string
	}{
		{"unknown function", lambdaapi.InvocationRequest{FunctionName: new("none")}, "ResourceNotFoundException", "Function not found: " + arnOf("none")},
		{"7 MB", lambdaapi.InvocationRequest{Payload: big}, "RequestEntityTooLargeException", "Request must be smaller than 6291456 bytes for the InvokeFunction operation"},
		{"large event", lambdaapi.InvocationRequest{Payload: big[:1048577], InvocationType: event}, "RequestEntityTooLargeException", "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"},
		{"no JSON", lambdaapi.InvocationRequest{Payload: []byte("hello world")}, content, parse + "Unrecognized token 'hello': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')\n at [Source: (byte[])\"hello world\"; line: 1, column: 6]"},
		{"two values", lambdaapi.InvocationRequest{Payload: []byte("0D")}, content, parse + "Unexpected character ('D' (code 68)): Expected space separating root-level values\n at [Source: (byte[])\"0D\"; line: 1, column: 3]"},
		{"no value", lambdaapi.InvocationRequest{Payload: []byte("[,]")}, content, parse + "Unexpected character (',' (code 44)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')\n at [Source: (byte[])\"[,]\"; line: 1, column: 3]"},
		{"second line", lambdaapi.InvocationRequest{Payload: []byte("{\n x}")}, content, parse + "Unexpected character ('x' (code 120)): was expecting double-quote to start field name\n at [Source: (byte[])\"{\n x}\"; line: 2, column: 3]"},
		{"cut off", lambdaapi.InvocationRequest{Payload: []byte(`{"a":`), InvocationType: event}, content, parse + "Unexpected end-of-input\n at [Source: (byte[])\"{\"a\":\"; line: 1, column: 6]"},
		{"not UTF-8", lambdaapi.InvocationRequest{Payload: []byte("\"\x97\"")}, content, parse + "Invalid UTF-8 start byte 0x97\n at [Source: (byte[])\"\"\uFFFD\"\"; line: 1, column: 3]"},
		{"context no base64", lambdaapi.InvocationRequest{ClientContext: new("{}")}, content, "Client context must be a valid Base64-encoded JSON object."},
		{"context no JSON", lambdaapi.InvocationRequest{ClientContext: new("aGVsbG8=")}, content, "Client context must be a valid Base64-encoded JSON object."},
		{"context no object", lambdaapi.InvocationRequest{ClientContext: new("WzFd")}, content, "Client context must be a valid Base64-encoded JSON object."},
		{"context too long", lambdaapi.InvocationRequest{ClientContext: new(strings.Repeat("A", 3584))}, content, "Client context must be no larger than 3583 bytes."},
		{"durable", lambdaapi.InvocationRequest{DurableExecutionName: new("x")}, "InvalidParameterValueException", "DurableExecutionName is not supported."},
		{"tenant", lambdaapi.InvocationRequest{TenantId: new("x")}, "InvalidParameterValueException", "TenantId is not supported."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
				t.Error("the function ran")
				return execenv.Outcome{}, nil
			})
			if tc.in.FunctionName == nil {
				tc.in.FunctionName = new("fn")
			}
			_, err := d.Invoke(request(t.Context()), &tc.in)
			wantError(t, err, tc.code, tc.message)
		})
	}
}

func TestInvoke_DryRun(t *testing.T) {
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
		t.Error("the function ran")
		return execenv.Outcome{}, nil
	})
	out, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new("fn"), InvocationType: new(lambdaapi.InvocationTypeDryRun)})
	if err != nil || *out.StatusCode != http.StatusNoContent {
		t.Fatalf("response = %+v, %v", out, err)
	}
}

func TestInvoke_RuntimeThatTheMachineLacks(t *testing.T) {
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
		return execenv.Outcome{}, fmt.Errorf("%w: python3.13 is missing", execenv.ErrRuntime)
	})
	_, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new("fn")})
	wantError(t, err, "InvalidRuntimeException", "The runtime or runtime version specified is not supported. execenv: the runtime cannot be used here: python3.13 is missing")
}

func TestInvoke_EnvironmentFailure(t *testing.T) {
	cause := sandbox.ErrUnavailable
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
		return execenv.Outcome{}, cause
	})
	_, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new("fn")})
	wantError(t, err, "ServiceException", "The AWS Lambda service encountered an internal error.")
	if !errors.Is(err, cause) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestInvoke_FunctionThatScalesTooFast(t *testing.T) {
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
		return execenv.Outcome{}, execenv.ErrBurst
	})
	_, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new("fn")})
	wantError(t, err, "TooManyRequestsException", "Rate Exceeded.")
	var throttle *lambdaapi.TooManyRequestsException
	if !errors.As(err, &throttle) || *throttle.Reason != lambdaapi.ThrottleReasonConcurrentInvocationLimitExceeded {
		t.Errorf("throttle = %+v", throttle)
	}
}

func TestInvoke_RoleCannotBeAssumed(t *testing.T) {
	cause := errors.New("no trust")
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
		return execenv.Outcome{}, cause
	}, func(c *invoke.Config) { c.RoleError = func(err error) bool { return errors.Is(err, cause) } })
	_, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new("fn")})
	wantError(t, err, "AccessDeniedException", "The role defined for the function cannot be assumed by Lambda.")
}

// A version that was replaced while its environment was made is not the
// caller's business: the new one runs.
func TestInvoke_FollowsAReplacedVersion(t *testing.T) {
	c := functions("fn")
	d := dispatcher(t, c, statetest.NewMemory(), func(_ context.Context, fn execenv.Function, _ execenv.Invocation) (execenv.Outcome, error) {
		if fn.Revision == "" {
			c.revise("new")
			return execenv.Outcome{}, errors.New("code is gone")
		}
		return execenv.Outcome{Payload: []byte("1")}, nil
	})
	out, err := d.Invoke(request(t.Context()), &lambdaapi.InvocationRequest{FunctionName: new("fn")})
	if err != nil || string(out.Payload) != "1" {
		t.Fatalf("response = %+v, %v", out, err)
	}
}

func TestInvoke_Throttled(t *testing.T) {
	for _, tc := range []struct {
		name   string
		set    func(*invoke.Settings)
		reason lambdaapi.ThrottleReason
	}{
		{"reserved", func(s *invoke.Settings) { s.Reserved = 1 }, lambdaapi.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded},
		{"account", func(s *invoke.Settings) { s.Unreserved = 1 }, lambdaapi.ThrottleReasonConcurrentInvocationLimitExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := functions()
			set := defaults()
			tc.set(&set)
			c.put("fn", set)
			running, end := make(chan struct{}), make(chan struct{})
			d := dispatcher(t, c, statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
				running <- struct{}{}
				<-end
				return execenv.Outcome{}, nil
			})
			in := &lambdaapi.InvocationRequest{FunctionName: new("fn")}
			ended := make(chan error)
			go func() {
				_, err := d.Invoke(request(t.Context()), in)
				ended <- err
			}()
			<-running
			_, err := d.Invoke(request(t.Context()), in)
			wantError(t, err, "TooManyRequestsException", "Rate Exceeded.")
			var throttle *lambdaapi.TooManyRequestsException
			if !errors.As(err, &throttle) || *throttle.Reason != tc.reason || *throttle.RetryAfterSeconds != "1" {
				t.Errorf("throttle = %+v", throttle)
			}
			close(end)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			go func() { <-running }()
			if _, err := d.Invoke(request(t.Context()), in); err != nil {
				t.Errorf("after the other ended: %v", err)
			}
		})
	}
}

func TestInvokeAsync(t *testing.T) {
	store := statetest.NewMemory()
	d := dispatcher(t, functions("fn"), store, echo)
	out, err := d.InvokeAsync(request(t.Context()), &lambdaapi.InvokeAsyncRequest{FunctionName: new("fn"), InvokeArgs: io.NopCloser(strings.NewReader("{}"))})
	if err != nil || *out.Status != http.StatusAccepted {
		t.Fatalf("response = %+v, %v", out, err)
	}
	_, err = d.InvokeAsync(request(t.Context()), &lambdaapi.InvokeAsyncRequest{FunctionName: new("fn"), InvokeArgs: io.NopCloser(strings.NewReader(strings.Repeat(" ", 262145)))})
	wantError(t, err, "RequestEntityTooLargeException", "262145 byte payload is too large for the Event invocation type (limit 262144 bytes)")
	if n, _, err := store.Depth(t.Context(), "lambda/async/"+fnARN); n != 1 || err != nil {
		t.Errorf("%d events queued, %v; want 1", n, err)
	}
}

// lines collects the log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// logged makes a logger without times and the place where its lines go.
func logged() (*slog.Logger, *lines) {
	l := new(lines)
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), l
}

func TestMessage(t *testing.T) {
	const bucket = "arn:aws:s3:::source"
	for _, tc := range []struct {
		name   string
		target string
		may    allow
		ok     bool
		log    string
	}{
		{"allowed", fnARN, true, true, ""},
		{"no permission", fnARN, false, false, "level=WARN msg=\"event dropped\" reason=\"no permission\" function=" + fnARN + " source=" + bucket + "\n"},
		{"no function", arnOf("none"), true, false, "level=WARN msg=\"event dropped\" reason=\"function does not exist\" function=" + arnOf("none") + " source=" + bucket + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log, out := logged()
			d := dispatcher(t, functions("fn"), statetest.NewMemory(), echo, func(c *invoke.Config) { c.Permissions, c.Log = tc.may, log })
			m, ok, err := d.Message(t.Context(), tc.target, bucket, account, []byte("{}"))
			if err != nil || ok != tc.ok || ok && m.Queue != "lambda/async/"+fnARN {
				t.Errorf("Message = %+v, %v, %v", m, ok, err)
			}
			if got := out.take(); got != tc.log {
				t.Errorf("log = %q\nwant  %q", got, tc.log)
			}
		})
	}
}

// fixed is a Functions that does nothing.
type fixed struct {
	fn  execenv.Function
	set invoke.Settings
}

func (f *fixed) Resolve(context.Context, string, string, string, string) (*execenv.Function, invoke.Settings, error) {
	return &f.fn, f.set, nil
}

// What the dispatcher adds to a warm invocation.
func BenchmarkInvoke(b *testing.B) {
	f := &fixed{execenv.Function{ARN: fnARN, Account: account, Region: region, Version: "$LATEST"}, defaults()}
	d, err := invoke.New(invoke.Config{Functions: f, Environments: environments(echo), State: statetest.NewMemory()})
	if err != nil {
		b.Fatal(err)
	}
	payload := []byte(`{"text":"` + strings.Repeat("x", 1000) + `"}`)
	ctx := request(b.Context())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := d.Invoke(ctx, &lambdaapi.InvocationRequest{FunctionName: new("fn"), Payload: payload}); err != nil {
				b.Error(err)
			}
		}
	})
}
