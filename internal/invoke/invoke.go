// Package invoke is Lambda's data plane: it runs functions synchronously, and
// asynchronously through a durable queue, within the concurrency that their
// account and their settings allow.
//
// The invariants: an event that was acknowledged is run at least once or its
// loss is logged with the reason; and a function never runs more often at the
// same time than its limits say.
package invoke

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/execenv"
	"davy/internal/state"
)

// Settings is what an invocation must know of a function beyond what its
// environment needs.
type Settings struct {
	InvokedARN  string        // as the caller qualified it
	Reserved    int           // the function's reserved concurrency; -1: none
	Unreserved  int           // what the account has left for functions without a reservation
	Concurrency int           // the account's limit
	Provisioned int           // environments of this version that are kept ready
	AllReady    int           // of all versions of the function
	MaxRetries  int           // of an asynchronous event after function errors
	MaxEventAge time.Duration // of an asynchronous event
}

// Functions is the catalogue of functions.
type Functions interface {
	// Resolve finds the version that a name, partial ARN or ARN and an
	// optional qualifier mean, seen from an account and a region. It is on the
	// path of every invocation. What it returns is not changed. Errors
	// implement awsapi.Error when the caller is to blame; a missing function
	// has the code ResourceNotFoundException.
	Resolve(ctx context.Context, account, region, nameOrARN, qualifier string) (*execenv.Function, Settings, error)
}

// Environments runs functions.
type Environments interface {
	// Invoke runs one event. An error means that the function was not run, or
	// that nobody knows how it ended; a function that fails is an outcome.
	Invoke(ctx context.Context, fn execenv.Function, inv execenv.Invocation) (execenv.Outcome, error)
}

// Permissions decides what services may do on behalf of a resource.
type Permissions interface {
	// ServiceMayInvoke evaluates the function's policy for a service principal
	// such as s3.amazonaws.com, acting for a source in an account.
	ServiceMayInvoke(ctx context.Context, service, functionARN, sourceARN, sourceAccount string) (bool, error)
}

// Observer hears what the dispatcher does, for metrics. Its methods return at
// once.
type Observer interface {
	// Throttled: a concurrency limit, or the rate at which a function may get
	// new environments, refused a synchronous invocation.
	Throttled(fn *execenv.Function)
}

// Config is what a Dispatcher needs.
type Config struct {
	Functions    Functions    // required
	Environments Environments // required
	State        state.Store  // required
	Permissions  Permissions  // nil: Message refuses everything

	// RoleError tells an error of Environments that means that the execution
	// role could not be assumed; nil: none does.
	RoleError func(error) bool

	// Observer hears of refused invocations; nil: nobody.
	Observer Observer

	// Workers is the number of events that run at the same time, over all
	// functions; 0 means 512. Synchronous invocations are not counted.
	Workers int
	// Grace is how long Run waits for running events when it is told to stop;
	// 0 means 25 s. What does not end by then runs again later.
	Grace time.Duration

	Log *slog.Logger // nil means discard
}

// Limits that AWS documents.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	maxSyncPayload   = 6291456 // bytes
	maxEventPayload  = 1048576 // bytes
	maxInvokeArgs    = 262144  // bytes of the deprecated InvokeAsync
	maxClientContext = 3583    // bytes of base64
	maxLogTail       = 4096    // bytes
)

// Dispatcher invokes functions. Safe for concurrent use.
type Dispatcher struct {
	cfg   Config
	limit *limiter
	queue *queue
}

// New returns a Dispatcher. Events run only while Run does.
func New(cfg Config) (*Dispatcher, error) {
	if cfg.Functions == nil || cfg.Environments == nil || cfg.State == nil {
		return nil, errors.New("invoke: Functions, Environments and State are required")
	}
	if cfg.Workers == 0 {
		cfg.Workers = 512
	}
	if cfg.Grace == 0 {
		cfg.Grace = 25 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Dispatcher{cfg: cfg, limit: newLimiter()}
	d.queue = newQueue(cfg, d.limit)
	return d, nil
}

// Run delivers asynchronous events until ctx ends, then waits for the running
// ones as long as Config.Grace says.
func (d *Dispatcher) Run(ctx context.Context) error { return d.queue.run(ctx) }

// LimitsChanged looks again at events that wait for concurrency: for calling
// when reservations change. It never blocks.
func (d *Dispatcher) LimitsChanged() {
	select {
	case d.queue.done <- struct{}{}:
	default:
	}
}

// Invoke runs a function and answers with its result, or queues an event, or
// tells whether it could be run.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
func (d *Dispatcher) Invoke(ctx context.Context, in *lambdaapi.InvocationRequest) (*lambdaapi.InvocationResponse, error) {
	switch {
	case in.DurableExecutionName != nil:
		return nil, invalid("DurableExecutionName is not supported.")
	case in.TenantId != nil:
		return nil, invalid("TenantId is not supported.")
	}
	kind := lambdaapi.InvocationTypeRequestResponse
	if in.InvocationType != nil {
		kind = *in.InvocationType
	}
	o, err := d.open(ctx, request{in.FunctionName, in.Qualifier, in.ClientContext, kind, in.Payload, in.LogType})
	if err != nil {
		return nil, err
	}
	switch kind {
	case lambdaapi.InvocationTypeDryRun:
		return &lambdaapi.InvocationResponse{StatusCode: new(int32(http.StatusNoContent))}, nil
	case lambdaapi.InvocationTypeEvent:
		if err := d.enqueue(ctx, o.set, o.call, o.payload); err != nil {
			return nil, err
		}
		return &lambdaapi.InvocationResponse{StatusCode: new(int32(http.StatusAccepted))}, nil
	}
	fn, inv := o.fn, o.invocation()
	out, err := d.run(ctx, fn, o.set, inv)
	if err != nil && ctx.Err() == nil && !isThrottle(err) {
		// The version may have been replaced, and its code with it, since it was
		// resolved: then the new one is what the caller wants.
		if now, set, gone := d.resolve(ctx, o.call, o.request); gone != nil {
			err = gone
		} else if now.Revision != fn.Revision {
			fn = now
			out, err = d.run(ctx, fn, set, inv)
		}
	}
	if err != nil {
		return nil, err
	}
	res := &lambdaapi.InvocationResponse{StatusCode: new(int32(http.StatusOK)), ExecutedVersion: &fn.Version, Payload: out.Payload}
	if out.FunctionError != "" {
		res.FunctionError = &out.FunctionError
	}
	if inv.Tail {
		tail := out.LogTail[max(0, len(out.LogTail)-maxLogTail):]
		res.LogResult = new(base64.StdEncoding.EncodeToString(tail))
	}
	return res, nil
}

// run takes a place within the limits and runs the function in it.
func (d *Dispatcher) run(ctx context.Context, fn *execenv.Function, set Settings, inv execenv.Invocation) (execenv.Outcome, error) {
	place, why := d.limit.acquire(fn, set)
	if why != "" {
		if d.cfg.Observer != nil {
			d.cfg.Observer.Throttled(fn)
		}
		return execenv.Outcome{}, throttled(why)
	}
	defer d.limit.release(place)
	out, err := d.cfg.Environments.Invoke(ctx, *fn, inv)
	if errors.Is(err, execenv.ErrBurst) {
		if d.cfg.Observer != nil {
			d.cfg.Observer.Throttled(fn)
		}
		// What AWS gives as the reason is not documented: concurrency is what
		// cannot grow so fast.
		return out, throttled(lambdaapi.ThrottleReasonConcurrentInvocationLimitExceeded)
	}
	if err != nil {
		return out, d.environmentError(ctx, fn, err)
	}
	return out, nil
}

// environmentError is what the caller hears when Davy could not run the
// function: AWS's internal error, with the cause for the log only.
func (d *Dispatcher) environmentError(ctx context.Context, fn *execenv.Function, err error) error {
	if modelled := awsapi.Error(nil); errors.As(err, &modelled) {
		return err
	}
	if d.cfg.RoleError != nil && d.cfg.RoleError(err) {
		return fmt.Errorf("%w (%w)", roleError(), err)
	}
	if errors.Is(err, execenv.ErrRuntime) {
		return fmt.Errorf("invoke %s: %w", fn.ARN, runtimeError(err))
	}
	if ctx.Err() != nil { // the caller is gone
		return fmt.Errorf("invoke %s: %w", fn.ARN, err)
	}
	return fmt.Errorf("invoke %s: %w: %w", fn.ARN, serviceError(), err)
}

// InvokeAsync queues an event: the deprecated form of Invoke with type Event.
// https://docs.aws.amazon.com/lambda/latest/api/API_InvokeAsync.html
func (d *Dispatcher) InvokeAsync(ctx context.Context, in *lambdaapi.InvokeAsyncRequest) (*lambdaapi.InvokeAsyncResponse, error) {
	var payload []byte
	if in.InvokeArgs != nil {
		defer in.InvokeArgs.Close()
		var err error
		if payload, err = io.ReadAll(io.LimitReader(in.InvokeArgs, maxInvokeArgs+1)); err != nil {
			return nil, fmt.Errorf("read invoke args: %w", err)
		}
	}
	if len(payload) > maxInvokeArgs {
		return nil, tooLargeEvent(len(payload), maxInvokeArgs)
	}
	payload, err := checkPayload(payload, lambdaapi.InvocationTypeEvent)
	if err != nil {
		return nil, err
	}
	call := awsapi.CallFrom(ctx)
	_, set, err := d.cfg.Functions.Resolve(ctx, call.Account, call.Region, awsapi.Val(in.FunctionName), "")
	if err != nil {
		return nil, err
	}
	if err := d.enqueue(ctx, set, call, payload); err != nil {
		return nil, err
	}
	return &lambdaapi.InvokeAsyncResponse{Status: new(int32(http.StatusAccepted))}, nil
}
