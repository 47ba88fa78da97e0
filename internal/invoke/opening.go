package invoke

import (
	"context"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/execenv"
)

// request is what all ways to invoke a function by its API have in common.
type request struct {
	function, qualifier, clientContext *string

	kind    lambdaapi.InvocationType
	payload []byte
	log     *lambdaapi.LogType
}

// opening is a request that obeys the rules, and the function that it is for.
type opening struct {
	request
	call *awsapi.Call
	fn   *execenv.Function
	set  Settings

	context string // of the client, decoded
}

// open checks a request and finds its function.
func (d *Dispatcher) open(ctx context.Context, r request) (o opening, err error) {
	o = opening{request: r, call: awsapi.CallFrom(ctx)}
	if o.payload, err = checkPayload(r.payload, r.kind); err != nil {
		return o, err
	}
	if r.clientContext != nil {
		if o.context, err = parseClientContext(*r.clientContext); err != nil {
			return o, err
		}
	}
	o.fn, o.set, err = d.resolve(ctx, o.call, r)
	return o, err
}

func (d *Dispatcher) resolve(ctx context.Context, call *awsapi.Call, r request) (*execenv.Function, Settings, error) {
	return d.cfg.Functions.Resolve(ctx, call.Account, call.Region, awsapi.Val(r.function), awsapi.Val(r.qualifier))
}

// invocation is what an environment is given to run.
func (o *opening) invocation() execenv.Invocation {
	return execenv.Invocation{
		RequestID:     requestID(o.call),
		InvokedARN:    o.set.InvokedARN,
		TraceID:       traceID(o.call),
		ClientContext: o.context,
		Payload:       o.payload,
		Tail:          o.log != nil && *o.log == lambdaapi.LogTypeTail,
	}
}
