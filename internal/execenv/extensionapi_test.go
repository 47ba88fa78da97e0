package execenv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// extensionClient is an extension that a test plays, without an environment.
type extensionClient struct {
	t   testing.TB
	api *localAPI
	url string
}

func newExtensionClient(t testing.TB, external ...string) *extensionClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &extensionClient{t: t, api: newLocalAPI(nil), url: "http://" + l.Addr().String()}
	c.api.extensions.assign(Function{Name: "f", Version: "7", Handler: "index.handler", Account: "000000000000"})
	c.api.extensions.launch(external)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.api.serve(l)
	}()
	t.Cleanup(func() {
		c.api.close()
		<-done
		http.DefaultClient.CloseIdleConnections()
	})
	return c
}

func (c *extensionClient) do(method, path, body string, header ...string) (string, http.Header) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error(), nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error(), nil
	}
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(b))), res.Header
}

func (c *extensionClient) register(name, events string, header ...string) (string, string) {
	c.t.Helper()
	got, h := c.do("POST", "/2020-01-01/extension/register", `{"events":`+events+`}`, append([]string{"Lambda-Extension-Name", name}, header...)...)
	return got, h.Get(extensionHeader)
}

func refusal(kind, message string) string {
	b, _ := json.Marshal(map[string]string{"errorMessage": message, "errorType": kind})
	return "403 " + string(b)
}

func notAllowed(from, to, who string) string {
	return refusal("Extension.InvalidExtensionState", "State transition from "+from+" to "+to+" failed for extension "+who+". Error: State transition is not allowed")
}

const someID = "0f0f0f0f-0000-4000-8000-000000000000"

func TestExtensionAPI_Register(t *testing.T) {
	const path = "/2020-01-01/extension/register"
	name := "Lambda-Extension-Name"
	registered := `200 {"functionName":"f","functionVersion":"7","handler":"index.handler"}`
	for _, tc := range []struct {
		what   string
		body   string
		header []string
		want   string
	}{
		{"external", `{"events":["INVOKE","SHUTDOWN"]}`, []string{name, "ext"}, registered},
		{"external, for nothing", `{}`, []string{name, "ext"}, registered},
		{"internal", `{"events":["INVOKE"]}`, []string{name, "other"}, registered},
		{"with the account", `{"events":[]}`, []string{name, "ext", "Lambda-Extension-Accept-Feature", "more, accountId"}, `200 {"functionName":"f","functionVersion":"7","handler":"index.handler","accountId":"000000000000"}`},
		{"no name", `{}`, nil, refusal("Extension.InvalidExtensionName", "Empty extension name")},
		{"a name of control characters", `{}`, []string{name, "a\tb"}, refusal("Extension.InvalidExtensionName", "Invalid extension name")},
		{"internal for SHUTDOWN", `{"events":["SHUTDOWN"]}`, []string{name, "other"}, refusal("Extension.InvalidEventType", "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension")},
		{"an unknown event", `{"events":["INVOKE","REST"]}`, []string{name, "ext"}, refusal("Extension.InvalidEventType", "REST: ErrorInvalidEventType")},
		{"no JSON", `{`, []string{name, "ext"}, refusal("InvalidRequestFormat", "unexpected end of JSON input")},
		{"configuration keys", `{"configurationKeys":["a"]}`, []string{name, "ext"}, refusal("InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead")},
		{"too long", `{"x":"` + strings.Repeat("x", maxExtensionBody) + `"}`, []string{name, "ext"}, refusal("InvalidRequestFormat", "the request body is cut off or longer than 262144 bytes")},
	} {
		t.Run(tc.what, func(t *testing.T) {
			c := newExtensionClient(t, "/opt/extensions/ext")
			if got, _ := c.do("POST", path, tc.body, tc.header...); got != tc.want {
				t.Errorf("answered\n %s\nwant\n %s", got, tc.want)
			}
		})
	}
}

func TestExtensionAPI_RegistersOnceAndTenAtMost(t *testing.T) {
	c := newExtensionClient(t, "/opt/extensions/ext")
	for i := range 10 {
		name := "ext"
		if i > 0 {
			name = fmt.Sprint("inside", i)
		}
		if got, id := c.register(name, `["INVOKE"]`); !strings.HasPrefix(got, "200 ") || id == "" {
			t.Fatalf("%s: %s, %q", name, got, id)
		}
	}
	for _, tc := range []struct{ name, want string }{
		{"inside10", refusal("Extension.TooManyExtensions", "Extension limit (10) reached")},
		{"inside1", refusal("Extension.InvalidExtensionState", "Extension with this name already registered")},
		{"ext", notAllowed("Registered", "Registered", "ext")},
	} {
		if got, _ := c.register(tc.name, `[]`); got != tc.want {
			t.Errorf("%s: answered\n %s\nwant\n %s", tc.name, got, tc.want)
		}
	}
	c.api.extensions.close()
	if got, _ := c.register("late", `[]`); got != refusal("Extension.RegistrationClosed", "Extension registration closed already") {
		t.Errorf("after the init phase: %s", got)
	}
}

func TestExtensionAPI_AsksForAnIdentifier(t *testing.T) {
	c := newExtensionClient(t)
	for _, path := range []string{"GET /2020-01-01/extension/event/next", "POST /2020-01-01/extension/init/error", "POST /2020-01-01/extension/exit/error", "PUT /2022-07-01/telemetry", "PUT /2022-07-01/telemetry/"} {
		method, path, _ := strings.Cut(path, " ")
		for id, want := range map[string]string{
			"":     refusal("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"),
			"me":   refusal("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"),
			someID: refusal("Extension.UnknownExtensionIdentifier", "Unknown extension "+someID),
		} {
			header := []string{extensionHeader, id}
			if id == "" {
				header = nil
			}
			if got, _ := c.do(method, path, `{}`, header...); got != want {
				t.Errorf("%s %s with %q: answered\n %s\nwant\n %s", method, path, id, got, want)
			}
		}
	}
}

func TestExtensionAPI_Events(t *testing.T) {
	c := newExtensionClient(t, "/opt/extensions/ext")
	_, id := c.register("ext", `["SHUTDOWN","INVOKE","INVOKE"]`)
	x := c.api.extensions
	next := func() <-chan string {
		got := make(chan string, 1)
		go func() {
			s, h := c.do("GET", "/2020-01-01/extension/event/next", "", extensionHeader, id)
			if h.Get("Lambda-Extension-Event-Identifier") == "" || h.Get(extensionHeader) != id {
				s += " without its headers"
			}
			got <- s
		}()
		return got
	}
	first := next()
	if err := x.await(x.allReady, nil, soon()); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.do("GET", "/2020-01-01/extension/event/next", "", extensionHeader, id); got != notAllowed("Ready", "Ready", id) {
		t.Errorf("a second request: %s", got)
	}
	x.invoke(eventJSON(invokeEvent{EventType: eventInvoke, DeadlineMs: 5, RequestID: "r", InvokedFunctionARN: "arn", Tracing: tracing{traceHeader, "Root=1"}}))
	if got, want := <-first, `200 {"eventType":"INVOKE","deadlineMs":5,"requestId":"r","invokedFunctionArn":"arn","tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1"}}`; got != want {
		t.Errorf("got\n %s\nwant\n %s", got, want)
	}
	// An extension that works hears of the end when it asks.
	if others := x.shutdown(eventJSON(shutdownEvent{eventShutdown, 9, reasonSpindown})); len(others) != 0 {
		t.Errorf("shutdown leaves %v", others)
	}
	if got, want := <-next(), `200 {"eventType":"SHUTDOWN","deadlineMs":9,"shutdownReason":"spindown"}`; got != want {
		t.Errorf("got\n %s\nwant\n %s", got, want)
	}
}

func TestExtensionAPI_Errors(t *testing.T) {
	const initError, exitError = "/2020-01-01/extension/init/error", "/2020-01-01/extension/exit/error"
	for _, tc := range []struct {
		what, path string
		header     bool
		state      string // before
		want       string // ID stands for the identifier
		fatal      string
	}{
		{"init error", initError, true, stateRegistered, accepted, "Extension.InitError"},
		{"exit error in init", exitError, true, stateRegistered, accepted, "Extension.ExitError"},
		{"exit error", exitError, true, stateRunning, accepted, "Extension.ExitError"},
		{"no type", initError, false, stateRegistered, refusal("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found"), ""},
		{"init error too late", initError, true, stateRunning, notAllowed("Running", "InitError", "ID"), ""},
		{"again", initError, true, stateInitError, accepted, ""},
		{"another", exitError, true, stateInitError, notAllowed("InitError", "ExitError", "ID"), ""},
	} {
		t.Run(tc.what, func(t *testing.T) {
			c := newExtensionClient(t, "/opt/extensions/ext")
			_, id := c.register("ext", `[]`)
			c.api.extensions.all[0].state = tc.state
			header := []string{extensionHeader, id}
			if tc.header {
				header = append(header, "Lambda-Extension-Function-Error-Type", "Mine.Odd")
			}
			got, _ := c.do("POST", tc.path, `{}`, header...)
			if want := strings.ReplaceAll(tc.want, "ID", id); got != want && strings.ReplaceAll(got, id, "ID") != tc.want {
				t.Errorf("answered\n %s\nwant\n %s", got, want)
			}
			if got := c.api.extensions.fatalType(); got != tc.fatal {
				t.Errorf("fatal type %q, want %q", got, tc.fatal)
			}
			if tc.want != accepted {
				return
			}
			if got, _ := c.do("GET", "/2020-01-01/extension/event/next", "", extensionHeader, id); !strings.HasPrefix(got, "403 ") {
				t.Errorf("then next answered %s", got)
			}
		})
	}
}

func TestExtensions_AwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExtensions()
		x.launch([]string{"/opt/extensions/ext"})
		if err := x.await(x.allRegistered, nil, time.Now().Add(time.Second)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("await = %v at its deadline", err)
		}
		if err := x.await(x.allRegistered, closedChannel, time.Now().Add(time.Second)); !errors.Is(err, errInterrupted) {
			t.Errorf("await = %v when it is interrupted", err)
		}
		x.launchFailed(1, "PermissionDenied")
		if err := x.await(x.allRegistered, nil, time.Now().Add(time.Second)); err != nil {
			t.Errorf("await = %v when it holds", err)
		}
	})
}

func TestExtensionLine(t *testing.T) {
	for want, x := range map[string]extension{
		"EXTENSION\tName: a\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n":                       {name: "a", state: stateReady, events: []string{"INVOKE", "SHUTDOWN"}},
		"EXTENSION\tName: a\tState: InitError\tEvents: []\tError Type: Mine.Odd\n":             {name: "a", state: stateInitError, errType: "Mine.Odd"},
		"EXTENSION\tName: a.b\tState: LaunchError\tEvents: []\tError Type: PermissionDenied\n": {name: "a.b", state: stateLaunchError, errType: "PermissionDenied"},
	} {
		if got := extensionLine(x); got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}
