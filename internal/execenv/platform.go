package execenv

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"syscall"
	"time"

	"davy/internal/sandbox"
)

// Error types that Lambda itself reports.
// https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html
const (
	errorTimedOut    = "Sandbox.Timedout"
	errorExit        = "Runtime.ExitError"
	errorOutOfMemory = "Runtime.OutOfMemory"
	errorTooLarge    = "Function.ResponseSizeTooLarge"
	errorUnknown     = "Runtime.Unknown"
	errorTruncated   = "Runtime.TruncatedResponse"
)

// unhandled is the only value of X-Amz-Function-Error that AWS sends today.
const unhandled = "Unhandled"

type errorPayload struct {
	ErrorType    string `json:"errorType"`
	ErrorMessage string `json:"errorMessage"`
}

func (p errorPayload) json() []byte {
	b, _ := json.Marshal(p) // two strings
	return b
}

func timeoutPayload(requestID string, timeout time.Duration) errorPayload {
	return errorPayload{
		errorTimedOut,
		fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", requestID, timeout.Seconds()),
	}
}

func tooLargePayload(size int64) errorPayload {
	return errorPayload{
		errorTooLarge,
		fmt.Sprintf("Response payload size (%d bytes) exceeded maximum allowed payload size (%d bytes).", size, MaxResponse),
	}
}

func exitPayload(requestID string, exit sandbox.Exit) errorPayload {
	kind := errorExit
	if exit.OOMKilled {
		kind = errorOutOfMemory
	}
	return errorPayload{kind, fmt.Sprintf("RequestId: %s Error: %s", requestID, exitReason(exit))}
}

func exitReason(exit sandbox.Exit) string {
	switch {
	case exit.OOMKilled:
		return "Runtime exited with error: signal: killed"
	case exit.Signal != 0:
		return "Runtime exited with error: signal: " + signalName(exit.Signal)
	case exit.Code != 0:
		return fmt.Sprintf("Runtime exited with error: exit status %d", exit.Code)
	default:
		return "Runtime exited without providing a reason"
	}
}

func signalName(s syscall.Signal) string { return s.String() }

// Log lines of the platform. The text and its tabs are AWS's.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html

func initStartLine(family string, version, region, hash string) string {
	return fmt.Sprintf("INIT_START Runtime Version: %s:%s\tRuntime Version ARN: %s\n", family, version, runtimeARN(region, hash))
}

func runtimeARN(region, hash string) string { return "arn:aws:lambda:" + region + "::runtime:" + hash }

func initReportLine(d time.Duration, phase, status, errorType string) string {
	line := fmt.Sprintf("INIT_REPORT Init Duration: %s ms\tPhase: %s\tStatus: %s", millis(d), phase, status)
	if errorType != "" {
		line += "\tError Type: " + errorType
	}
	return line + "\n"
}

func startLine(requestID, version string) string {
	return fmt.Sprintf("START RequestId: %s Version: %s\n", requestID, version)
}

func endLine(requestID string) string { return fmt.Sprintf("END RequestId: %s\n", requestID) }

func timeoutLine(at time.Time, requestID string, timeout time.Duration) string {
	return fmt.Sprintf("%s %s Task timed out after %.2f seconds\n\n", at.UTC().Format("2006-01-02T15:04:05.000Z"), requestID, timeout.Seconds())
}

func exitLine(requestID string, exit sandbox.Exit) string {
	kind := errorExit
	if exit.OOMKilled {
		kind = errorOutOfMemory
	}
	return fmt.Sprintf("RequestId: %s Error: %s\n%s\n", requestID, exitReason(exit), kind)
}

// report is what the REPORT line says of an invocation.
type report struct {
	requestID string
	duration  time.Duration
	init      time.Duration // 0: warm
	ahead     bool          // the init phase was before the invocation came
	memoryMB  int
	maxUsedMB int64
	status    string // "", "timeout" or "error"
	errorType string // with status "error"
	traceID   string
}

func (r report) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "REPORT RequestId: %s\tDuration: %s ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		r.requestID, millis(r.duration), r.billed(), r.memoryMB, r.maxUsedMB)
	if r.init > 0 {
		fmt.Fprintf(&b, "Init Duration: %s ms\t", millis(r.init))
	}
	if r.status != "" { // the last field has no tab behind it
		b.WriteString("Status: " + r.status)
	}
	if r.errorType != "" {
		b.WriteString("\tError Type: " + r.errorType)
	}
	if id, ok := strings.CutPrefix(strings.SplitN(r.traceID, ";", 2)[0], "Root="); ok && strings.Contains(r.traceID, "Sampled=1") {
		fmt.Fprintf(&b, "\nXRAY TraceId: %s\tSampled: true\t", id)
	}
	b.WriteByte('\n')
	return b.String()
}

// billed is the billed duration in milliseconds: the init phase counts, unless
// it was ahead of the invocation.
func (r report) billed() int64 {
	if r.ahead {
		return billed(r.duration)
	}
	return billed(r.duration + r.init)
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

// billed rounds up to the millisecond, as Lambda has since it bills by the
// millisecond.
func billed(d time.Duration) int64 {
	return int64(math.Ceil(float64(d) / float64(time.Millisecond)))
}
