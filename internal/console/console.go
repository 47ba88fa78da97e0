// Package console serves the console port: what a person or a monitor looks
// at, apart from the AWS APIs and their origin.
//
// The web console itself is not part of this version; the port answers the
// health check and Prometheus, and says where the API is.
package console

import (
	"html/template"
	"net/http"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Davy</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}code{background:#eee;padding:.1em .3em}</style>
<h1>Davy {{.Version}}</h1>
<p>The AWS APIs are served at <code>{{.API}}</code>.</p>
<p>This version has no web console yet: use the AWS CLI, an SDK or an infrastructure tool with the profile in the data directory.</p>
`))

// Config says what the page tells.
type Config struct {
	API     string // URL of the AWS APIs
	Version string
	Health  http.HandlerFunc // answers /_davy/health
	Metrics http.Handler     // answers /metrics, to whoever reaches this port
}

// Handler returns the handler of the console port.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_davy/health", cfg.Health)
	mux.Handle("GET /metrics", cfg.Metrics)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, cfg)
	})
	return headers(mux)
}

// headers keep anything served here from running script or being framed.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}
