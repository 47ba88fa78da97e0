package invoke

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/execenv"
)

// InvokeWithResponseStream runs a function and passes its response on as the
// function writes it. What a function that does not stream returns is one part.
// https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html
func (d *Dispatcher) InvokeWithResponseStream(ctx context.Context, in *lambdaapi.InvokeWithResponseStreamRequest) (*lambdaapi.InvokeWithResponseStreamResponse, error) {
	if in.TenantId != nil {
		return nil, invalid("TenantId is not supported.")
	}
	o, err := d.open(ctx, request{in.FunctionName, in.Qualifier, in.ClientContext, lambdaapi.InvocationTypeRequestResponse, in.Payload, in.LogType})
	if err != nil {
		return nil, err
	}
	if in.InvocationType != nil && *in.InvocationType == lambdaapi.ResponseStreamingInvocationTypeDryRun {
		return &lambdaapi.InvokeWithResponseStreamResponse{StatusCode: new(int32(http.StatusNoContent))}, nil
	}
	s := &stream{parts: make(chan []byte), done: make(chan struct{}), ctx: ctx}
	inv := o.invocation()
	inv.Stream = s.add
	// Ends with the invocation, which does not wait for a caller that is gone.
	go func() {
		defer close(s.done)
		s.out, s.err = d.run(ctx, o.fn, o.set, inv)
	}()
	// The status says whether the function could be run.
	var first []byte
	select {
	case first = <-s.parts:
	case <-s.done:
		if s.err != nil {
			return nil, s.err
		}
	}
	return &lambdaapi.InvokeWithResponseStreamResponse{
		StatusCode: new(int32(http.StatusOK)), ExecutedVersion: &o.fn.Version,
		EventStream: func(send func(*lambdaapi.InvokeWithResponseStreamResponseEvent) error) error {
			return s.pass(first, send)
		},
	}, nil
}

// stream carries an invocation's parts to its caller.
type stream struct {
	ctx   context.Context // of the caller
	parts chan []byte
	done  chan struct{} // closed when out and err are set
	out   execenv.Outcome
	err   error
}

var errSlow = errors.New("invoke: the caller did not take the response in time")

// add waits until the caller has got the parts before this one.
func (s *stream) add(part []byte, deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case s.parts <- bytes.Clone(part):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-timer.C:
		return errSlow
	}
}

// pass sends the events of an invocation.
func (s *stream) pass(first []byte, send func(*lambdaapi.InvokeWithResponseStreamResponseEvent) error) error {
	chunk := func(part []byte) error {
		return send(&lambdaapi.InvokeWithResponseStreamResponseEvent{PayloadChunk: &lambdaapi.InvokeResponseStreamUpdate{Payload: part}})
	}
	part := first
	for {
		if part != nil {
			if err := chunk(part); err != nil {
				return err // the connection is broken: ctx ends
			}
		}
		select {
		case part = <-s.parts:
			continue
		case <-s.done:
		}
		break
	}
	if s.err != nil {
		return s.err
	}
	complete := &lambdaapi.InvokeWithResponseStreamCompleteEvent{}
	switch {
	case s.out.FunctionError != "":
		var e struct {
			ErrorType string `json:"errorType"`
		}
		_ = json.Unmarshal(s.out.Payload, &e) // of the function's own making: no type
		if e.ErrorType == "" {
			e.ErrorType = s.out.FunctionError
		}
		complete.ErrorCode, complete.ErrorDetails = &e.ErrorType, new(string(s.out.Payload))
	case len(s.out.Payload) > 0:
		if err := chunk(s.out.Payload); err != nil {
			return err
		}
	}
	if s.out.LogTail != nil {
		tail := s.out.LogTail[max(0, len(s.out.LogTail)-maxLogTail):]
		complete.LogResult = new(base64.StdEncoding.EncodeToString(tail))
	}
	return send(&lambdaapi.InvokeWithResponseStreamResponseEvent{InvokeComplete: complete})
}
