package invoke

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/state"
)

// queueRoot is the prefix of the queues of events: one queue for each ARN that
// events are sent to, as it was qualified, so that no function waits behind
// another's events, nor a version with concurrency of its own behind others.
const queueRoot = "lambda/async/"

// record is an event in the queue: a line of JSON, then the payload. Its
// identity is the same at every attempt.
type record struct {
	RequestID string
	Invoked   string // the ARN as the caller qualified it
	Trace     string
	Accepted  int64 // milliseconds since the epoch
	Errors    int   `json:",omitempty"` // attempts that ended with a function error
	payload   []byte
}

// errRecord is returned for a queued body that is no record.
var errRecord = errors.New("invoke: malformed event record")

func (r *record) encode() ([]byte, error) {
	head, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	b := make([]byte, 0, len(head)+1+len(r.payload))
	b = append(b, head...)
	b = append(b, '\n')
	return append(b, r.payload...), nil
}

func decodeRecord(b []byte) (*record, error) {
	head, payload, ok := bytes.Cut(b, []byte{'\n'})
	if !ok {
		return nil, errRecord
	}
	r := new(record)
	if err := json.Unmarshal(head, r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	if r.RequestID == "" || r.Invoked == "" || r.Errors < 0 {
		return nil, errRecord
	}
	r.payload = payload
	return r, nil
}

// message is the queue message of a new event.
func message(r *record) (state.Msg, error) {
	body, err := r.encode()
	if err != nil {
		return state.Msg{}, err
	}
	return state.Msg{Queue: queueRoot + r.Invoked, Body: body}, nil
}

// enqueue makes an event durable.
func (d *Dispatcher) enqueue(ctx context.Context, set Settings, call *awsapi.Call, payload []byte) error {
	m, err := message(&record{
		RequestID: requestID(call),
		Invoked:   set.InvokedARN,
		Trace:     traceID(call),
		Accepted:  time.Now().UnixMilli(),
		payload:   payload,
	})
	if err != nil {
		return err
	}
	if _, err := d.cfg.State.Commit(ctx, state.Batch{Send: []state.Msg{m}}); err != nil {
		return fmt.Errorf("queue event for %s: %w", set.InvokedARN, err)
	}
	return nil
}

// Message makes the queue message of an event that a service sends to a
// function on behalf of a resource, for the service to commit together with
// what caused it. ok is false when the function does not exist, or its policy
// does not let the service invoke it for that source; the reason is logged.
func (d *Dispatcher) Message(ctx context.Context, functionARN, sourceARN, sourceAccount string, payload []byte) (_ state.Msg, ok bool, err error) {
	refuse := func(reason string) (state.Msg, bool, error) {
		d.cfg.Log.WarnContext(ctx, "event dropped", "reason", reason, "function", functionARN, "source", sourceARN)
		return state.Msg{}, false, nil
	}
	source, err := arn.Parse(sourceARN)
	if err != nil {
		return state.Msg{}, false, fmt.Errorf("event source: %w", err)
	}
	target, err := arn.Parse(functionARN)
	if err != nil {
		return state.Msg{}, false, fmt.Errorf("event target: %w", err)
	}
	if len(payload) > maxEventPayload {
		return refuse("payload too large")
	}
	_, set, err := d.cfg.Functions.Resolve(ctx, target.Account, target.Region, functionARN, "")
	if isMissing(err) {
		return refuse("function does not exist")
	}
	if err != nil {
		return state.Msg{}, false, fmt.Errorf("event for %s: %w", functionARN, err)
	}
	if d.cfg.Permissions == nil {
		return refuse("no permission")
	}
	may, err := d.cfg.Permissions.ServiceMayInvoke(ctx, source.Service+".amazonaws.com", functionARN, sourceARN, sourceAccount)
	if err != nil {
		return state.Msg{}, false, fmt.Errorf("permission to invoke %s: %w", functionARN, err)
	}
	if !may {
		return refuse("no permission")
	}
	m, err := message(&record{
		RequestID: uuid.NewString(),
		Invoked:   set.InvokedARN,
		Trace:     newTraceID(),
		Accepted:  time.Now().UnixMilli(),
		payload:   payload,
	})
	return m, err == nil, err
}
