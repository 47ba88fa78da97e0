package execenv

import (
	"io"
	"net"
	"net/http"
	"sync"
)

// runtimeAPIAddress is AWS_LAMBDA_RUNTIME_API inside an environment.
const runtimeAPIAddress = Address + ":9001"

// localAPI answers at AWS_LAMBDA_RUNTIME_API inside one environment: the
// Extensions and the Telemetry API everywhere, the Runtime API for custom
// runtimes.
type localAPI struct {
	extensions *extensions
	telemetry  *telemetry // nil: nobody inside can be connected with
	server     http.Server
	closed     chan struct{}
	busy       sync.WaitGroup // requests
	mu         sync.Mutex
}

// newLocalAPI makes an API; routes adds what is special to a runtime.
func newLocalAPI(routes func(*http.ServeMux)) *localAPI {
	a := &localAPI{extensions: newExtensions(), closed: make(chan struct{})}
	// Few environments are ever asked.
	mux := sync.OnceValue(func() *http.ServeMux {
		m := http.NewServeMux()
		m.HandleFunc("GET /2018-06-01/ping", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "pong")
		})
		a.extensionRoutes(m)
		if routes != nil {
			routes(m)
		}
		return m
	})
	// No time limits: who asks is frozen between invocations. It can hold up
	// nobody but itself.
	a.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.admit() {
			return
		}
		defer a.busy.Done()
		mux().ServeHTTP(w, r)
	})
	a.server.MaxHeaderBytes = 64 << 10
	return a
}

// serve answers until close.
func (a *localAPI) serve(l net.Listener) error { return a.server.Serve(l) }

// admit counts a request in, unless close has begun.
func (a *localAPI) admit() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if isClosed(a.closed) {
		return false
	}
	a.busy.Add(1)
	return true
}

// close ends the requests that wait, and all others. Idempotent.
func (a *localAPI) close() {
	a.mu.Lock()
	if !isClosed(a.closed) {
		close(a.closed)
	}
	a.mu.Unlock()
	a.server.Close()
	a.busy.Wait()
}
