package execenv

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"davy/internal/runtimes"
)

// Records of the platform's events.
// https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html

type initStartRecord struct {
	InitializationType string `json:"initializationType"`
	Phase              string `json:"phase"`
	FunctionName       string `json:"functionName"`
	FunctionVersion    string `json:"functionVersion"`
	InstanceID         string `json:"instanceId"`
	InstanceMaxMemory  int64  `json:"instanceMaxMemory"` // bytes
	RuntimeVersion     string `json:"runtimeVersion,omitempty"`
	RuntimeVersionARN  string `json:"runtimeVersionArn,omitempty"`
}

type initEndRecord struct {
	InitializationType string           `json:"initializationType"`
	Phase              string           `json:"phase"`
	Status             string           `json:"status"`
	ErrorType          string           `json:"errorType,omitempty"`
	Metrics            *durationMetrics `json:"metrics,omitempty"`
}

type durationMetrics struct {
	DurationMs float64 `json:"durationMs"`
}

type startRecord struct {
	RequestID   string        `json:"requestId"`
	FunctionARN string        `json:"functionArn"` // not in the reference, but in what AWS sends
	Version     string        `json:"version"`
	Tracing     *traceContext `json:"tracing,omitempty"`
}

type runtimeDoneRecord struct {
	RequestID string             `json:"requestId"`
	Status    string             `json:"status"`
	ErrorType string             `json:"errorType,omitempty"`
	Metrics   runtimeDoneMetrics `json:"metrics"`
	Spans     []span             `json:"spans,omitempty"`
	Tracing   *traceContext      `json:"tracing,omitempty"`
}

type runtimeDoneMetrics struct {
	DurationMs    float64 `json:"durationMs"`
	ProducedBytes int     `json:"producedBytes"`
}

type reportRecord struct {
	RequestID string        `json:"requestId"`
	Status    string        `json:"status"`
	ErrorType string        `json:"errorType,omitempty"`
	Metrics   reportMetrics `json:"metrics"`
	Spans     []span        `json:"spans,omitempty"`
	Tracing   *traceContext `json:"tracing,omitempty"`
}

type reportMetrics struct {
	DurationMs       float64 `json:"durationMs"`
	BilledDurationMs int64   `json:"billedDurationMs"`
	MemorySizeMB     int     `json:"memorySizeMB"`
	MaxMemoryUsedMB  int64   `json:"maxMemoryUsedMB"`
	InitDurationMs   float64 `json:"initDurationMs,omitempty"`
}

type span struct {
	Name       string  `json:"name"`
	Start      string  `json:"start"`
	DurationMs float64 `json:"durationMs"`
}

type traceContext struct {
	SpanID string `json:"spanId,omitempty"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}

type namedRecord struct {
	Name      string   `json:"name"`
	State     string   `json:"state"`
	Events    []string `json:"events,omitempty"`
	Types     []string `json:"types,omitempty"`
	ErrorType string   `json:"errorType,omitempty"`
}

const traceHeader = "X-Amzn-Trace-Id"

// traceOf is for an invocation that is traced: the span is the invocation's.
func traceOf(id, requestID string) *traceContext {
	if !slices.Contains(strings.Split(id, ";"), "Sampled=1") {
		return nil
	}
	sum := sha256.Sum256([]byte(requestID))
	return &traceContext{hex.EncodeToString(sum[:8]), traceHeader, id}
}

// ms is a duration in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func spanOf(name string, from, to time.Time) span {
	return span{name, from.UTC().Format(telemetryTime), ms(to.Sub(from))}
}

func (e *environment) initStart(l runtimes.Launch) initStartRecord {
	family, version, region, hash := runtimeLabel(l, e.fn.Region)
	return initStartRecord{
		InitializationType: e.initializationType(), Phase: e.phase, FunctionName: e.fn.Name, FunctionVersion: e.fn.Version,
		InstanceID: e.instance(), InstanceMaxMemory: int64(e.fn.MemoryMB) << 20,
		RuntimeVersion: family + ":" + version, RuntimeVersionARN: runtimeARN(region, hash),
	}
}

// instance names the environment as AWS does: as its log stream, with the
// function's name.
func (e *environment) instance() string {
	day, _, ok := cutLast(e.rec.stream.Stream, "/")
	if !ok {
		return e.id
	}
	return fmt.Sprintf("%s/%s[%s]%s", day, e.fn.Name, e.fn.Version, strings.TrimPrefix(e.id, "env-"))
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (e *environment) initEnd(status, errorType string) initEndRecord {
	return initEndRecord{InitializationType: e.initializationType(), Phase: e.phase, Status: status, ErrorType: errorType}
}

func (e *environment) initReport(status, errorType string) initEndRecord {
	r := e.initEnd(status, errorType)
	r.Metrics = &durationMetrics{ms(time.Since(e.initBegan))}
	return r
}

func extensionRecord(x extension) namedRecord {
	return namedRecord{Name: x.name, State: x.state, Events: x.events, ErrorType: x.errType}
}

func (r report) record(spans []span) reportRecord {
	status := r.status
	if status == "" {
		status = "success"
	}
	return reportRecord{
		RequestID: r.requestID, Status: status, ErrorType: r.errorType, Spans: spans, Tracing: traceOf(r.traceID, r.requestID),
		Metrics: reportMetrics{
			DurationMs: ms(r.duration), BilledDurationMs: r.billed(), MemorySizeMB: r.memoryMB,
			MaxMemoryUsedMB: r.maxUsedMB, InitDurationMs: ms(r.init),
		},
	}
}
