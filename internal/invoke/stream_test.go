package invoke_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/execenv"
	"davy/internal/state/statetest"
)

// events runs a stream to its end: "part|part|{ErrorCode ErrorDetails LogResult}".
func events(out *lambdaapi.InvokeWithResponseStreamResponse) (string, error) {
	var got []string
	err := out.EventStream(func(e *lambdaapi.InvokeWithResponseStreamResponseEvent) error {
		if e.PayloadChunk != nil {
			got = append(got, string(e.PayloadChunk.Payload))
			return nil
		}
		text := func(s *string) string {
			if s == nil {
				return "-"
			}
			return *s
		}
		got = append(got, fmt.Sprintf("{%s %s %s}", text(e.InvokeComplete.ErrorCode), text(e.InvokeComplete.ErrorDetails), text(e.InvokeComplete.LogResult)))
		return nil
	})
	return strings.Join(got, "|"), err
}

func streamRequest() *lambdaapi.InvokeWithResponseStreamRequest {
	return &lambdaapi.InvokeWithResponseStreamRequest{FunctionName: new("fn"), LogType: new(lambdaapi.LogTypeTail)}
}

func TestStream_Events(t *testing.T) {
	for _, tc := range []struct {
		name  string
		parts []string
		out   execenv.Outcome
		want  string
	}{
		{"parts", []string{"a", "b"}, execenv.Outcome{LogTail: []byte("log")}, "a|b|{- - bG9n}"},
		{"nothing", nil, execenv.Outcome{}, "{- - -}"},
		{"whole response", nil, execenv.Outcome{Payload: []byte("whole")}, "whole|{- - -}"},
		{"error", nil, execenv.Outcome{Payload: []byte(`{"errorType":"T"}`), FunctionError: "Unhandled"}, `{T {"errorType":"T"} -}`},
		{"error in the middle", []string{"a"}, execenv.Outcome{Payload: []byte(`odd`), FunctionError: "Unhandled"}, "a|{Unhandled odd -}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(_ context.Context, _ execenv.Function, inv execenv.Invocation) (execenv.Outcome, error) {
				for _, p := range tc.parts {
					part := []byte(p)
					if err := inv.Stream(part, time.Now().Add(time.Minute)); err != nil {
						t.Error(err)
					}
					part[0] = '!' // it is valid during the call only
				}
				return tc.out, nil
			})
			out, err := d.InvokeWithResponseStream(request(t.Context()), streamRequest())
			if err != nil || *out.StatusCode != http.StatusOK {
				t.Fatalf("%+v, %v", out, err)
			}
			if got, err := events(out); err != nil || got != tc.want {
				t.Errorf("events %s, %v; want %s", got, err, tc.want)
			}
		})
	}
}

func TestStream_DryRun(t *testing.T) {
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
		t.Error("the function ran")
		return execenv.Outcome{}, nil
	})
	in := streamRequest()
	in.InvocationType = new(lambdaapi.ResponseStreamingInvocationTypeDryRun)
	if out, err := d.InvokeWithResponseStream(request(t.Context()), in); err != nil || *out.StatusCode != http.StatusNoContent || out.EventStream != nil {
		t.Fatalf("%+v, %v", out, err)
	}
}

func TestStream_ErrorsBeforeTheFirstPart(t *testing.T) {
	d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(context.Context, execenv.Function, execenv.Invocation) (execenv.Outcome, error) {
		return execenv.Outcome{}, errors.New("no memory left")
	})
	_, err := d.InvokeWithResponseStream(request(t.Context()), streamRequest())
	wantError(t, err, "ServiceException", "The AWS Lambda service encountered an internal error.")
	in := streamRequest()
	in.FunctionName = new("other")
	if _, err := d.InvokeWithResponseStream(request(t.Context()), in); !strings.Contains(fmt.Sprint(err), "ResourceNotFoundException") {
		t.Errorf("unknown function: %v", err)
	}
}

// Who does not take the parts holds the function up, to its deadline; who goes
// away does not.
func TestStream_CallerThatDoesNotRead(t *testing.T) {
	for name, leave := range map[string]bool{"slow": false, "gone": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began := time.Now()
				ended := make(chan error, 1)
				d := dispatcher(t, functions("fn"), statetest.NewMemory(), func(_ context.Context, _ execenv.Function, inv execenv.Invocation) (execenv.Outcome, error) {
					deadline := time.Now().Add(time.Minute)
					err := inv.Stream([]byte("a"), deadline)
					if err == nil {
						err = inv.Stream([]byte("b"), deadline)
					}
					ended <- err
					return execenv.Outcome{}, nil
				})
				if _, err := d.InvokeWithResponseStream(request(ctx), streamRequest()); err != nil {
					t.Fatal(err)
				}
				if leave {
					cancel()
				}
				err, took := <-ended, time.Since(began)
				if leave && (!errors.Is(err, context.Canceled) || took != 0) || !leave && (!strings.Contains(fmt.Sprint(err), "in time") || took != time.Minute) {
					t.Errorf("the function was held up for %s, %v", took, err)
				}
			})
		})
	}
}
