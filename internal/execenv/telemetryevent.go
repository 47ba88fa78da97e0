package execenv

import (
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
	RequestID string        `json:"requestId"`
	Version   string        `json:"version"`
	Tracing   *traceContext `json:"tracing,omitempty"`
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
	Type  string `json:"type"`
	Value string `json:"value"`
}

type namedRecord struct {
	Name      string   `json:"name"`
	State     string   `json:"state"`
	Events    []string `json:"events,omitempty"`
	Types     []string `json:"types,omitempty"`
	ErrorType string   `json:"errorType,omitempty"`
}

const traceHeader = "X-Amzn-Trace-Id"

func traceOf(id string) *traceContext {
	if id == "" {
		return nil
	}
	return &traceContext{traceHeader, id}
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
		InstanceID: e.id, InstanceMaxMemory: int64(e.fn.MemoryMB) << 20,
		RuntimeVersion: family + ":" + version, RuntimeVersionARN: runtimeARN(region, hash),
	}
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
		RequestID: r.requestID, Status: status, ErrorType: r.errorType, Spans: spans, Tracing: traceOf(r.traceID),
		Metrics: reportMetrics{
			DurationMs: ms(r.duration), BilledDurationMs: r.billed(), MemorySizeMB: r.memoryMB,
			MaxMemoryUsedMB: r.maxUsedMB, InitDurationMs: ms(r.init),
		},
	}
}
