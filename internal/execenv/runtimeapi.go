package execenv

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// runtimeAPI is the HTTP interface of custom runtimes, version 2018-06-01, for
// one environment.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type runtimeAPI struct {
	*localAPI
	frames chan frame      // what the runtime said; holds one of each phase
	events chan event      // to the request that waits for the next
	ended  <-chan struct{} // of the runtime's process
	told   bool            // that it is booted, of which this API knows nothing

	mu      sync.Mutex
	phase   phase
	current string        // id of the invocation that runs
	rest    chan struct{} // closed while the runtime waits
}

// event is an invocation on its way to the runtime.
type event struct {
	meta    invokeMeta
	payload []byte
}

// phase is what a runtime does, in the words of AWS's error messages.
type phase string

const (
	phaseStarted   phase = "RuntimeStarted"
	phaseInitError phase = "RuntimeInitError"
	phaseReady     phase = "RuntimeReady"
	phaseRunning   phase = "RuntimeRunning"
	phaseAnswering phase = "RuntimeInvocationResponse"
	phaseFailing   phase = "RuntimeInvocationErrorResponse"
	phaseAnswered  phase = "RuntimeResponseSent"
)

func newRuntimeAPI() *runtimeAPI {
	a := &runtimeAPI{
		frames: make(chan frame, 2), events: make(chan event),
		phase: phaseStarted, rest: make(chan struct{}),
	}
	a.localAPI = newLocalAPI(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.next)
		mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", a.response)
		mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", a.invocationError)
		mux.HandleFunc("POST /2018-06-01/runtime/init/error", a.initError)
	})
	return a
}

// send implements control. A custom runtime is given its function when it
// starts, so events are all there is to send.
func (a *runtimeAPI) send(kind frameType, meta any, payload []byte, deadline time.Time) error {
	m, ok := meta.(invokeMeta)
	if kind != frameInvoke || !ok {
		return nil
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case a.events <- event{m, payload}:
		return nil
	case <-a.ended:
		return io.EOF
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// recv implements control.
func (a *runtimeAPI) recv(deadline time.Time) (frame, error) {
	if !a.told {
		a.told = true
		return frame{kind: frameBooted}, nil
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case f := <-a.frames:
		return f, nil
	case <-timer.C:
		return frame{}, os.ErrDeadlineExceeded
	case <-a.ended:
		select {
		case f := <-a.frames: // its last
			return f, nil
		default:
			return frame{}, io.EOF
		}
	}
}

// resting implements control.
func (a *runtimeAPI) resting() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rest
}

// enter changes the phase. It answers the request when AWS does not allow the
// change.
func (a *runtimeAPI) enter(w http.ResponseWriter, to phase, from ...phase) bool {
	a.mu.Lock()
	now := a.phase
	for _, f := range from {
		if f == now {
			a.phase = to
			a.mu.Unlock()
			return true
		}
	}
	a.mu.Unlock()
	refuse(w, http.StatusForbidden, "InvalidStateTransition",
		fmt.Sprintf("State transition from %s to %s failed for runtime. Error: State transition is not allowed", now, to))
	return false
}

// tell passes a frame on. There is one in each phase, so there is room.
func (a *runtimeAPI) tell(f frame) {
	select {
	case a.frames <- f:
	case <-a.closed:
	}
}

func (a *runtimeAPI) next(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	first := a.phase == phaseStarted
	a.mu.Unlock()
	if !a.enter(w, phaseReady, phaseStarted, phaseReady, phaseAnswered) {
		return
	}
	if first {
		a.tell(frame{kind: frameReady})
	}
	a.mu.Lock()
	select {
	case <-a.rest: // another request waits already
	default:
		close(a.rest)
	}
	a.mu.Unlock()
	select {
	case e := <-a.events:
		a.deliver(w, e)
	case <-r.Context().Done():
	case <-a.closed:
	}
}

// deliver answers the request for the next event.
func (a *runtimeAPI) deliver(w http.ResponseWriter, e event) {
	a.mu.Lock()
	a.phase, a.current, a.rest = phaseRunning, e.meta.ID, make(chan struct{})
	a.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(e.payload)))
	h.Set("Lambda-Runtime-Aws-Request-Id", e.meta.ID)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(e.meta.Deadline, 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", e.meta.ARN)
	if e.meta.Trace != "" {
		h.Set("Lambda-Runtime-Trace-Id", e.meta.Trace)
	}
	if e.meta.ClientContext != "" {
		h.Set("Lambda-Runtime-Client-Context", e.meta.ClientContext)
	}
	// A runtime that does not read it has no answer: the invocation times out.
	_, _ = w.Write(e.payload)
}

// runs reports whether the request is about the invocation that runs.
func (a *runtimeAPI) runs(w http.ResponseWriter, r *http.Request) bool {
	a.mu.Lock()
	ok := a.current != "" && r.PathValue("id") == a.current
	a.mu.Unlock()
	if !ok {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
	}
	return ok
}

func (a *runtimeAPI) response(w http.ResponseWriter, r *http.Request) {
	if !a.runs(w, r) || !a.enter(w, phaseAnswering, phaseRunning) {
		return
	}
	meta := replyMeta{ID: r.PathValue("id")}
	if r.Header.Get("Lambda-Runtime-Function-Response-Mode") == "streaming" {
		a.stream(w, r, meta)
		return
	}
	body, err := read(r)
	switch {
	case errors.Is(err, errTooLarge):
		meta.Size = max(r.ContentLength, MaxResponse+1)
		text, _ := json.Marshal(meta) // cannot fail
		a.answered(frame{kind: frameTooLarge, body: text})
		// A client that is still sending would meet a closed connection in
		// place of the answer.
		_, _ = io.CopyN(io.Discard, r.Body, 4*MaxResponse)
		refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", MaxResponse))
		return
	case err != nil:
		// Cut off: the runtime ended, or may try again.
		a.enter(w, phaseRunning, phaseAnswering)
		return
	}
	a.answered(frame{kind: frameResponse, body: join(meta, body)})
	accept(w)
}

// stream takes a response in parts. The runtime reports what goes wrong after
// the first one in trailers.
func (a *runtimeAPI) stream(w http.ResponseWriter, r *http.Request, meta replyMeta) {
	for {
		part := make([]byte, 32<<10) // each frame has its own
		n, err := r.Body.Read(part)
		if n > 0 {
			a.tell(frame{kind: frameChunk, body: part[:n]})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			a.answered(frame{kind: frameError, body: join(meta, errorPayload{errorTruncated, "Response was cut off"}.json())})
			return
		}
	}
	end := frame{kind: frameResponse, body: join(meta, nil)}
	if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		body, err := base64.StdEncoding.DecodeString(r.Trailer.Get("Lambda-Runtime-Function-Error-Body"))
		if err != nil || !json.Valid(body) {
			body = errorPayload{kind, ""}.json()
		}
		end = frame{kind: frameError, body: join(meta, body)}
	}
	a.answered(end)
	accept(w)
}

func (a *runtimeAPI) invocationError(w http.ResponseWriter, r *http.Request) {
	if !a.runs(w, r) || !a.enter(w, phaseFailing, phaseRunning) {
		return
	}
	body, err := read(r)
	if err != nil && !errors.Is(err, errTooLarge) {
		a.enter(w, phaseRunning, phaseFailing)
		return
	}
	if !json.Valid(body) { // too large, too
		body = errorPayload{r.Header.Get("Lambda-Runtime-Function-Error-Type"), ""}.json()
	}
	a.answered(frame{kind: frameError, body: join(replyMeta{ID: r.PathValue("id")}, body)})
	accept(w)
}

// answered ends the invocation.
func (a *runtimeAPI) answered(f frame) {
	a.mu.Lock()
	a.phase = phaseAnswered
	a.mu.Unlock()
	a.tell(f)
}

func (a *runtimeAPI) initError(w http.ResponseWriter, r *http.Request) {
	if !a.enter(w, phaseInitError, phaseStarted) {
		return
	}
	kind := r.Header.Get("Lambda-Runtime-Function-Error-Type")
	body, err := read(r)
	if err != nil || !json.Valid(body) {
		body = errorPayload{kind, ""}.json()
	}
	accept(w)
	a.tell(frame{kind: frameInitError, body: body, errorType: kind})
}

var errTooLarge = errors.New("body is too large")

// read reads a request's body, up to the limit of a response.
func read(r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxResponse {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxResponse+1))
	if err == nil && len(body) > MaxResponse {
		return nil, errTooLarge
	}
	return body, err
}

// join is the opposite of frame.split.
func join(meta replyMeta, payload []byte) []byte {
	m, _ := json.Marshal(meta) // cannot fail
	body := make([]byte, 0, 4+len(m)+len(payload))
	body = binary.BigEndian.AppendUint32(body, uint32(len(m)))
	body = append(body, m...)
	return append(body, payload...)
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`+"\n")
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"errorMessage": message, "errorType": kind})
}
