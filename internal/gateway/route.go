package gateway

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"davy/internal/awsapi"
	"davy/internal/sigv4"
)

// route finds the service that a request is for, and the bucket that its host
// names. A signed request says the service in its credential scope; an
// unsigned one only by its host, target, path or form.
func (g *Gateway) route(r *http.Request) (be *backend, bucket string, err error) {
	at := placeOf(r.Host, g.cfg.Domain)
	service := sigv4.Peek(r).Scope.Service
	if service == "" {
		if service, err = g.guess(r, at); err != nil {
			return nil, "", err
		}
	}
	be = g.byName[service]
	if be == nil {
		return nil, "", awsapi.Errorf(http.StatusNotImplemented, "NotImplemented", "The service %s is not implemented.", printable(service))
	}
	if be.s3 {
		bucket = at.bucket
	}
	return be, bucket, nil
}

func (g *Gateway) guess(r *http.Request, at place) (string, error) {
	if at.service != "" && g.byName[at.service] != nil {
		return at.service, nil
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		prefix, _, _ := strings.Cut(target, ".")
		for name, be := range g.byName {
			if be.Service.TargetPrefix != "" && be.Service.TargetPrefix == prefix {
				return name, nil
			}
		}
		return prefix, nil
	}
	for name, be := range g.byName {
		if be.Service.Protocol != awsapi.RESTJSON {
			continue
		}
		if _, err := be.Service.MatchPath(r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header); err == nil {
			return name, nil
		}
	}
	version := r.URL.Query().Get("Version")
	if version == "" && r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		body, err := readForm(r, defaultBody)
		if err != nil {
			return "", err
		}
		body.rewind(r)
		if form, err := url.ParseQuery(string(body.data)); err == nil {
			version = form.Get("Version")
		}
	}
	for name, be := range g.byName {
		if be.Service.Protocol == awsapi.Query && be.Service.Version == version {
			return name, nil
		}
	}
	return g.s3.Service.SigningName, nil
}

// writeUnrouted answers a request for no service that is here, in the form
// that its client most likely reads.
func (g *Gateway) writeUnrouted(w http.ResponseWriter, r *http.Request, id string, err error) {
	e, ok := errors.AsType[awsapi.Error](err)
	if !ok {
		g.log.DebugContext(r.Context(), "request could not be read", "request_id", id, "error", err)
		panic(http.ErrAbortHandler)
	}
	message := strings.TrimPrefix(e.Error(), e.ErrorCode()+": ")
	w.Header().Set("X-Amzn-Requestid", id)
	if r.Header.Get("X-Amz-Target") != "" || strings.Contains(r.Header.Get("Content-Type"), "json") {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.Header().Set("X-Amzn-Errortype", e.ErrorCode())
		w.WriteHeader(e.HTTPStatus())
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": e.ErrorCode(), "message": message})
		return
	}
	type detail struct {
		Type    string
		Code    string
		Message string
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(e.HTTPStatus())
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Error     detail
		RequestID string `xml:"RequestId"`
	}{Error: detail{"Sender", e.ErrorCode(), message}, RequestID: id})
}

// printable bounds what is repeated of a client's words.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 64)]
}
