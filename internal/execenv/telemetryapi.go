package execenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// subscription is what an extension asks of the Telemetry API.
// https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html
type subscription struct {
	types    []string
	tcp      bool
	port     uint16
	url      string // with HTTP
	maxItems int
	maxBytes int
	timeout  time.Duration
}

// AWS's bounds of buffering.
const (
	minItems, maxItems, defaultItems    = 1000, 10_000, 10_000
	minBytes, maxBytes, defaultBytes    = 256 << 10, 1 << 20, 256 << 10
	minTimeout, maxTimeout, defaultTime = 25, 30_000, 1000 // ms
)

var (
	schemaVersions = []string{"2022-07-01", "2022-12-13", "2025-01-29"}
	telemetryTypes = []string{"platform", "function", "extension"}
)

// parseSubscription reads the body of a request. The error is the text for
// the extension.
func parseSubscription(body []byte) (subscription, error) {
	var in struct {
		SchemaVersion string   `json:"schemaVersion"`
		Types         []string `json:"types"`
		Buffering     struct {
			MaxItems  *int `json:"maxItems"`
			MaxBytes  *int `json:"maxBytes"`
			TimeoutMs *int `json:"timeoutMs"`
		} `json:"buffering"`
		Destination *struct {
			Protocol string          `json:"protocol"`
			URI      string          `json:"URI"`
			Port     json.RawMessage `json:"port"`
		} `json:"destination"`
	}
	s := subscription{}
	if err := json.Unmarshal(body, &in); err != nil {
		return s, fmt.Errorf("invalid JSON: %w", err)
	}
	if !slices.Contains(schemaVersions, in.SchemaVersion) {
		return s, fmt.Errorf("schemaVersion must be one of %q", schemaVersions)
	}
	if len(in.Types) == 0 {
		return s, fmt.Errorf("types must name at least one of %q", telemetryTypes)
	}
	for _, t := range telemetryTypes { // in AWS's order, once
		if slices.Contains(in.Types, t) {
			s.types = append(s.types, t)
		}
	}
	for _, t := range in.Types {
		if !slices.Contains(telemetryTypes, t) {
			return s, fmt.Errorf("types: %.50q is not one of %q", t, telemetryTypes)
		}
	}
	var err error
	var ms int
	for _, b := range []struct {
		name          string
		given         *int
		low, up, none int
		to            *int
	}{
		{"maxItems", in.Buffering.MaxItems, minItems, maxItems, defaultItems, &s.maxItems},
		{"maxBytes", in.Buffering.MaxBytes, minBytes, maxBytes, defaultBytes, &s.maxBytes},
		{"timeoutMs", in.Buffering.TimeoutMs, minTimeout, maxTimeout, defaultTime, &ms},
	} {
		*b.to = b.none
		if b.given == nil {
			continue
		}
		if *b.given < b.low || *b.given > b.up {
			return s, fmt.Errorf("buffering.%s must be between %d and %d", b.name, b.low, b.up)
		}
		*b.to = *b.given
	}
	s.timeout = time.Duration(ms) * time.Millisecond
	if in.Destination == nil {
		return s, fmt.Errorf("destination is required")
	}
	switch in.Destination.Protocol {
	case "HTTP":
		s.url, s.port, err = telemetryURL(in.Destination.URI)
	case "TCP":
		s.tcp = true
		s.port, err = telemetryPort(string(bytes.Trim(in.Destination.Port, `"`)))
	default:
		err = fmt.Errorf("destination.protocol must be HTTP or TCP")
	}
	return s, err
}

// telemetryHosts lead to the environment itself.
var telemetryHosts = []string{"sandbox.localdomain", "sandbox"}

func telemetryURL(uri string) (string, uint16, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Opaque != "" || len(uri) > 2048 {
		return "", 0, fmt.Errorf("destination.URI must be http://sandbox.localdomain:PORT/PATH")
	}
	if !slices.Contains(telemetryHosts, strings.ToLower(u.Hostname())) {
		return "", 0, fmt.Errorf("destination.URI host must be sandbox.localdomain")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	u.Fragment = ""
	if u.Port() == "" {
		return u.String(), 80, nil
	}
	port, err := telemetryPort(u.Port())
	return u.String(), port, err
}

func telemetryPort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	switch {
	case err != nil || n == 0:
		return 0, fmt.Errorf("destination port must be between 1 and 65535")
	case n == 9001:
		return 0, fmt.Errorf("destination port 9001 is reserved")
	}
	return uint16(n), nil
}

// subscribe answers PUT /telemetry.
func (a *localAPI) subscribe(w http.ResponseWriter, r *http.Request, x *extension) {
	if a.telemetry == nil {
		// Nobody inside can make the connections.
		refuse(w, http.StatusAccepted, "Telemetry.NotSupported", "Telemetry API is not supported without an external extension")
		return
	}
	body, fail := readBody(r)
	if fail != nil {
		refuse(w, http.StatusBadRequest, "ValidationError", fail.text)
		return
	}
	s, err := parseSubscription(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "ValidationError", err.Error())
		return
	}
	if !a.telemetry.subscribe(x.name, s) {
		forbid("Telemetry.SubscriptionClosed", "Telemetry API subscription is closed").answer(w)
		return
	}
	writeJSON(w, http.StatusOK, "OK")
}

// subscriptionLine is what the log says of a subscription.
func subscriptionLine(name string, types []string) string {
	var titles []string
	for _, t := range types {
		titles = append(titles, strings.ToUpper(t[:1])+t[1:])
	}
	return fmt.Sprintf("TELEMETRY\tName: %s\tState: Subscribed\tTypes: [%s]\n", name, strings.Join(titles, ", "))
}
