package execenv

import (
	"strings"

	"davy/internal/sandbox"
)

// wrapperFailure is the failure of a function whose exec wrapper cannot be
// started, told as the script that starts AWS's runtimes does, with its exit
// status. nil: err is something else.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html
func (e *environment) wrapperFailure(err error) *failure {
	wrapper := e.fn.Environment[execWrapper]
	reason, ok := execFailure(err, wrapper)
	if !ok {
		return nil
	}
	exit, says := sandbox.Exit{Code: 126}, "is not an executable"
	if strings.HasSuffix(reason, "no such file or directory") {
		exit, says = sandbox.Exit{Code: 127}, "does not exist"
	}
	e.rec.output([]byte(wrapper + ": " + says + "\n"))
	return &failure{
		status:    "error",
		errorType: errorExit,
		payload:   func(id string) []byte { return exitPayload(id, exit).json() },
		line:      func(id string) string { return exitLine(id, exit) },
	}
}
