package execenv

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Bounds of what an extension sends.
const (
	maxExtensionBody = 256 << 10
	maxErrorType     = 128
	maxNameLength    = 255 // of a file
)

const extensionHeader = "Lambda-Extension-Identifier"

// extensionRoutes adds the Extensions API, version 2020-01-01, and the
// Telemetry API, version 2022-07-01.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-extensions-registration-api
func (a *localAPI) extensionRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /2020-01-01/extension/register", a.register)
	mux.HandleFunc("GET /2020-01-01/extension/event/next", a.identified(a.nextEvent))
	mux.HandleFunc("POST /2020-01-01/extension/init/error", a.identified(a.extensionError(stateInitError)))
	mux.HandleFunc("POST /2020-01-01/extension/exit/error", a.identified(a.extensionError(stateExitError)))
	mux.HandleFunc("PUT /2022-07-01/telemetry", a.identified(a.subscribe))
	mux.HandleFunc("PUT /2022-07-01/telemetry/{$}", a.identified(a.subscribe))
	// The older Logs API, which AWS's own emulator answers like this.
	mux.HandleFunc("PUT /2020-08-15/logs", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusAccepted, "Logs.NotSupported", "Logs API is not supported")
	})
}

func (e *apiError) answer(w http.ResponseWriter) { refuse(w, e.status, e.kind, e.text) }

// identified finds the extension that asks.
func (a *localAPI) identified(h func(http.ResponseWriter, *http.Request, *extension)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get(extensionHeader)
		if given == "" {
			forbid("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header").answer(w)
			return
		}
		id, err := uuid.Parse(given)
		if err != nil {
			forbid("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier").answer(w)
			return
		}
		x, ok := a.extensions.find(id)
		if !ok {
			forbid("Extension.UnknownExtensionIdentifier", "Unknown extension %s", id).answer(w)
			return
		}
		h(w, r, x)
	}
}

// registration is the answer to who registers.
type registration struct {
	FunctionName    string `json:"functionName"`
	FunctionVersion string `json:"functionVersion"`
	Handler         string `json:"handler"`
	AccountID       string `json:"accountId,omitempty"`
}

// printable keeps names out that would break a line of the log.
var printable = regexp.MustCompile(`^[ -~]+$`)

func (a *localAPI) register(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("Lambda-Extension-Name")
	if name == "" {
		forbid("Extension.InvalidExtensionName", "Empty extension name").answer(w)
		return
	}
	if len(name) > maxNameLength || !printable.MatchString(name) {
		forbid("Extension.InvalidExtensionName", "Invalid extension name").answer(w)
		return
	}
	var body struct {
		Events            []string `json:"events"`
		ConfigurationKeys []string `json:"configurationKeys"`
	}
	b, fail := readBody(r)
	if fail == nil {
		if err := json.Unmarshal(b, &body); err != nil {
			fail = forbid("InvalidRequestFormat", "%s", err)
		} else if len(body.ConfigurationKeys) > 0 {
			fail = forbid("InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead")
		}
	}
	if fail != nil {
		fail.answer(w)
		return
	}
	x, f, fail := a.extensions.register(name, body.Events)
	if fail != nil {
		fail.answer(w)
		return
	}
	answer := registration{FunctionName: f.Name, FunctionVersion: f.Version, Handler: f.Handler}
	if slices.ContainsFunc(strings.Split(r.Header.Get("Lambda-Extension-Accept-Feature"), ","), func(s string) bool {
		return strings.TrimSpace(s) == "accountId"
	}) {
		answer.AccountID = f.Account
	}
	w.Header().Set(extensionHeader, x.id)
	writeJSON(w, http.StatusOK, answer)
}

// nextEvent waits for the extension's next event.
func (a *localAPI) nextEvent(w http.ResponseWriter, r *http.Request, x *extension) {
	if fail := a.extensions.ready(x); fail != nil {
		fail.answer(w)
		return
	}
	select {
	case event := <-x.inbox:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set(extensionHeader, x.id)
		h.Set("Lambda-Extension-Event-Identifier", uuid.NewString())
		_, _ = w.Write(event)
	case <-r.Context().Done(): // it must not give up; who does has left
	case <-a.closed:
	}
}

// extensionError takes the error that an extension tells before it exits.
func (a *localAPI) extensionError(state string) func(http.ResponseWriter, *http.Request, *extension) {
	return func(w http.ResponseWriter, r *http.Request, x *extension) {
		const header = "Lambda-Extension-Function-Error-Type"
		kind := r.Header.Get(header)
		if kind == "" {
			forbid("Extension.MissingHeader", "%s not found", header).answer(w)
			return
		}
		if !printable.MatchString(kind) {
			kind = "UnknownError"
		}
		if fail := a.extensions.reported(x, state, kind[:min(len(kind), maxErrorType)]); fail != nil {
			fail.answer(w)
			return
		}
		accept(w)
	}
}

// readBody reads a small request.
func readBody(r *http.Request) ([]byte, *apiError) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxExtensionBody+1))
	if err != nil || len(b) > maxExtensionBody {
		return nil, forbid("InvalidRequestFormat", "the request body is cut off or longer than %d bytes", maxExtensionBody)
	}
	return b, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(eventJSON(v))
}

// Events as extensions receive them.

type tracing struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type invokeEvent struct {
	EventType          string  `json:"eventType"`
	DeadlineMs         int64   `json:"deadlineMs"` // ms since 1970
	RequestID          string  `json:"requestId"`
	InvokedFunctionARN string  `json:"invokedFunctionArn"`
	Tracing            tracing `json:"tracing"`
}

type shutdownEvent struct {
	EventType      string `json:"eventType"`
	DeadlineMs     int64  `json:"deadlineMs"`
	ShutdownReason string `json:"shutdownReason"`
}

func eventJSON(v any) []byte {
	b, _ := json.Marshal(v) // strings and numbers
	return b
}
