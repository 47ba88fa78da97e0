package execenv

import (
	"encoding/json"
	"strings"
	"time"

	"davy/internal/runtimes"
)

// logLevel is how grave a line is; the graver, the higher.
type logLevel int

const (
	levelTrace logLevel = iota
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelFatal
)

// The names of levels in settings, and those that runtimes write besides.
var logLevels = map[string]logLevel{
	"TRACE": levelTrace, "DEBUG": levelDebug, "INFO": levelInfo, "WARN": levelWarn, "ERROR": levelError, "FATAL": levelFatal,
	"WARNING": levelWarn, "CRITICAL": levelFatal,
}

// logFormat is how a function's log is written. The zero one is text, which
// has all lines.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html
type logFormat struct {
	json        bool
	application logLevel // the least grave lines that are kept
	system      logLevel
}

func logFormatOf(f Function) logFormat {
	if !f.LogJSON {
		return logFormat{}
	}
	return logFormat{json: true, application: logLevels[f.LogLevel], system: logLevels[f.SystemLogLevel]}
}

// Bounds of the time that a line tells, as CloudWatch Logs has them.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
const (
	maxLineAge   = 14 * 24 * time.Hour
	maxLineAhead = 2 * time.Hour
)

// place tells when a line of the log was written, and whether it stays. The
// filter is for what functions write, and what they write past their runtime
// tells its time itself.
func (l logFormat) place(text, from string, now time.Time) (at time.Time, kept bool) {
	if !l.json || from != fromFunction && from != fromOutput {
		return now, true
	}
	level, told := readLine(text)
	if from == fromFunction || told.Before(now.Add(-maxLineAge)) || told.After(now.Add(maxLineAhead)) {
		told = now
	}
	return told, level >= l.application
}

// readLine is what a line tells of itself: a JSON object with a level and a
// time. Others count as INFO.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
func readLine(text string) (logLevel, time.Time) {
	var none time.Time
	if !strings.HasPrefix(text, "{") {
		return levelInfo, none
	}
	var line struct{ Level, Timestamp, Time any }
	if json.Unmarshal([]byte(text), &line) != nil {
		return levelInfo, none
	}
	at := timeOf(line.Timestamp)
	if at.IsZero() {
		at = timeOf(line.Time)
	}
	name, _ := line.Level.(string)
	level, ok := logLevels[strings.ToUpper(name)]
	if !ok || at.IsZero() {
		return levelInfo, at
	}
	return level, at
}

func timeOf(v any) time.Time {
	s, _ := v.(string)
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return at
}

// system records an event of the platform's in a log of the format JSON.
func (r *recorder) system(level logLevel, kind string, record any) {
	if !r.format.json || level < r.format.system {
		return
	}
	text := string(telemetryBody(time.Now(), kind, record))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.emit(text, fromPlatform)
}

// What the platform writes about an environment, in either format. The levels
// are AWS's.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html#monitoring-cloudwatchlogs-log-level-mapping

func (e *environment) logInitStart(l runtimes.Launch) {
	e.rec.platform(initStartLine(runtimeLabel(l, e.fn.Region)))
	if e.rec.format.json {
		e.rec.system(levelInfo, "platform.initStart", e.initStart(l))
	}
}

// logInit tells how an init phase ended. In text a good one is told by the
// report of the first invocation.
func (e *environment) logInit(took time.Duration, phase string, fail *failure) {
	done := initEndRecord{InitializationType: e.initializationType(), Phase: phase, Status: "success"}
	level, reported := levelDebug, levelDebug
	if e.provisioned {
		reported = levelInfo
	}
	if fail != nil {
		e.rec.platform(initReportLine(took, phase, fail.status, fail.errorType))
		done.Status, done.ErrorType = fail.status, fail.errorType
		level, reported = levelWarn, levelWarn
	}
	e.rec.system(level, "platform.initRuntimeDone", done)
	done.Metrics = &durationMetrics{ms(took)}
	e.rec.system(reported, "platform.initReport", done)
}

// startLogRecord is the record of platform.start in logs.
type startLogRecord struct {
	RequestID   string `json:"requestId"`
	FunctionARN string `json:"functionArn"`
	Version     string `json:"version"`
}

func (e *environment) logStart(requestID string) {
	e.rec.platform(startLine(requestID, e.fn.Version))
	if e.rec.format.json {
		e.rec.system(levelInfo, "platform.start", startLogRecord{requestID, e.fn.ARN, e.fn.Version})
	}
}

// reportLogRecord is the record of platform.report in logs.
type reportLogRecord struct {
	RequestID string        `json:"requestId"`
	Metrics   reportMetrics `json:"metrics"`
	Tracing   *traceContext `json:"tracing,omitempty"`
	Status    string        `json:"status"`
	ErrorType string        `json:"errorType,omitempty"`
}

// logEnd closes an invocation's part of the log. One that took too long has
// taken its timeout.
func (e *environment) logEnd(v verdict, r report) {
	if r.status == "timeout" {
		r.duration = min(r.duration, e.fn.Timeout)
	}
	if v.line != "" {
		e.rec.platform(v.line)
	}
	e.rec.platform(endLine(r.requestID))
	e.rec.platform(r.line())
	if !e.rec.format.json {
		return
	}
	all := r.record(nil)
	level, reported := levelDebug, levelInfo
	if r.status != "" {
		level, reported = levelWarn, levelWarn
	}
	e.rec.system(level, "platform.runtimeDone", runtimeDoneRecord{
		RequestID: all.RequestID, Status: all.Status, ErrorType: all.ErrorType, Metrics: runtimeDoneMetrics{all.Metrics.DurationMs, len(v.payload)},
	})
	if !strings.Contains(r.traceID, "Sampled=1") {
		all.Tracing = nil
	}
	e.rec.system(reported, "platform.report", reportLogRecord{all.RequestID, all.Metrics, all.Tracing, all.Status, all.ErrorType})
}

func (e *environment) logExtension(x extension) {
	e.rec.platform(extensionLine(x))
	level := levelInfo
	if x.errType != "" {
		level = levelWarn
	}
	e.rec.system(level, "platform.extension", extensionRecord(x))
}
