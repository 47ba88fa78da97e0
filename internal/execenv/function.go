package execenv

import (
	"context"
	"time"
)

// Function is one version of a function, as an execution environment needs it.
type Function struct {
	ARN         string // unqualified
	Name        string
	Version     string // $LATEST or a number
	Account     string
	Region      string
	Runtime     string // nodejs22.x, ...
	Handler     string
	CodeSHA256  string   // of the zip, hex: names the code to mount
	Layers      []string // hashes as CodeSHA256, for /opt: later ones replace files of earlier ones
	Environment map[string]string
	MemoryMB    int
	Timeout     time.Duration
	EphemeralMB int
	RoleARN     string
	LogGroup    string
	// LogJSON tells that the log is in JSON, which leaves out what is less
	// grave than the two levels: the function's lines and the platform's.
	LogJSON        bool
	LogLevel       string // TRACE, DEBUG, INFO, WARN, ERROR or FATAL
	SystemLogLevel string // DEBUG, INFO or WARN
	// Revision changes with everything above: an environment of another
	// revision gets no new invocation.
	Revision string
}

// Invocation is one event for a function.
type Invocation struct {
	RequestID     string
	InvokedARN    string // as the caller qualified it
	TraceID       string
	ClientContext string // JSON, may be empty
	Payload       []byte // JSON
	// Tail asks for Outcome.LogTail. The caller then waits for the log's last
	// lines too.
	Tail bool
	// Stream takes the response in parts, as the function writes them; nil: all
	// of it is Outcome.Payload. The function waits while Stream does, at most
	// until the deadline. An error means that nobody listens any more. A part
	// is valid during the call only.
	Stream func(part []byte, deadline time.Time) error
}

// Outcome is what the function answered. A function that fails is an outcome;
// an error is returned only when Davy could not run it.
type Outcome struct {
	Payload       []byte // what was not streamed, or the error
	FunctionError string // "": success; else "Unhandled"
	LogTail       []byte // last 4 KB of the invocation's log, if asked for
	Duration      time.Duration
	InitDuration  time.Duration // zero: warm
	Path          InitPath      // where its environment came from
	Provisioned   bool          // its environment was initialised ahead of invocations
	Spilled       bool          // its version has provisioned concurrency, all of which was in use
}

// CodeSource gives the unpacked code of a function as a host directory that
// stays in place until release is called.
type CodeSource interface {
	// Code unpacks one zip, or several into one directory, later ones over
	// earlier ones.
	Code(ctx context.Context, sha256s ...string) (dir string, release func(), err error)
}

// Credentials of an execution role's session.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
}

// CredentialSource assumes an execution role for Lambda. The error is
// returned when the role no longer trusts lambda.amazonaws.com.
type CredentialSource interface {
	// RoleSession makes a session for the function with the unqualified ARN.
	RoleSession(ctx context.Context, roleARN, sessionName, functionARN string) (Credentials, error)
}

// LogSink receives a function's log lines. Implementations check the role's
// logs permissions, create the stream, and never block the invocation on
// storage: Write queues, Flush waits until what was queued is readable.
type LogSink interface {
	Write(ctx context.Context, stream LogStream, at time.Time, line string)
	Flush(ctx context.Context, stream LogStream) error
}

// LogStream names where an environment logs.
type LogStream struct {
	Account, Region, Group, Stream, RoleARN string
}
