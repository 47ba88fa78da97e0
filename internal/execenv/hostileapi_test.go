package execenv

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever is asked of the API inside an environment, in whatever order, every
// request has an answer, and no more is said to Davy than fits the phases.
func FuzzLocalAPI(f *testing.F) {
	const next, invocation = "GET /2018-06-01/runtime/invocation/next", "POST /2018-06-01/runtime/invocation/"
	for _, script := range []string{
		next + "\n" + next,
		next + "\n" + invocation + "id/response\nbody",
		invocation + "id/error\n{}",
		"POST /2018-06-01/runtime/init/error\n{}\n" + next,
		"POST /2020-01-01/extension/register\n" + `{"events":["INVOKE","SHUTDOWN"]}`,
		"GET /2020-01-01/extension/event/next\nPUT /2022-07-01/telemetry\n{}",
		"PUT /2020-08-15/logs\nGET /2018-06-01/ping\nOPTIONS *",
		invocation + strings.Repeat("x", 300) + "/response\n" + strings.Repeat("y", 100),
	} {
		f.Add(script, "streaming", "an extension")
	}
	f.Fuzz(func(t *testing.T, script, mode, name string) {
		a := newRuntimeAPI()
		defer a.close()
		lines := strings.Split(script, "\n")
		for i, line := range lines[:min(len(lines), 16)] {
			method, path, ok := strings.Cut(line, " ")
			if !ok {
				continue // a body
			}
			body := ""
			if i+1 < len(lines) {
				body = lines[i+1]
			}
			// Who asks has gone already: nothing waits.
			ctx, gone := context.WithCancel(t.Context())
			gone()
			r, err := http.NewRequestWithContext(ctx, method, "http://"+runtimeAPIAddress, bytes.NewReader([]byte(body)))
			if err != nil {
				continue
			}
			r.URL.Path = path
			r.Header.Set("Lambda-Runtime-Function-Response-Mode", mode)
			r.Header.Set("Lambda-Runtime-Function-Error-Type", name)
			r.Header.Set("Lambda-Extension-Name", name)
			r.Header.Set(extensionHeader, name)
			w := httptest.NewRecorder()
			a.server.Handler.ServeHTTP(w, r)
			if w.Code < 200 || w.Code > 599 {
				t.Errorf("%q is answered with %d", line, w.Code)
			}
			if w.Code >= 500 {
				t.Errorf("%q is answered with %d %s", line, w.Code, w.Body)
			}
			if len(a.frames) > 2 {
				t.Errorf("%d frames wait", len(a.frames))
			}
		}
	})
}
