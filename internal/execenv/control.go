package execenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
)

// control is the way to a runtime: frames on pipes for the managed ones
// (channel), the Runtime API over HTTP for those that a function brings
// (runtimeAPI), which is told in the same frames. One goroutine uses it.
type control interface {
	// send passes a frame of metadata and bytes on. A runtime that does not
	// take it makes it fail at the deadline.
	send(kind frameType, meta any, payload []byte, deadline time.Time) error
	// recv waits for the next frame, until the deadline: then the error is
	// os.ErrDeadlineExceeded. io.EOF: the runtime has ended.
	recv(deadline time.Time) (frame, error)
	// resting is closed when the runtime waits for its next event, after
	// which nothing of the last one is left to do.
	resting() <-chan struct{}
	close()
}

// newControl returns the way to a runtime, what answers inside its environment,
// and the files that the runtime needs.
func newControl(l runtimes.Launch) (control, *localAPI, []*os.File, error) {
	if l.Runtime.Custom() {
		a := newRuntimeAPI()
		return a, a.localAPI, nil, nil
	}
	c, files, err := newChannel()
	return c, newLocalAPI(nil), files, err
}

// closedChannel is what waits for nothing.
var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// resting implements control: a managed runtime that has answered has done
// all that AWS lets it do.
func (c *channel) resting() <-chan struct{} { return closedChannel }

// programIn finds the program of a custom runtime in a function's code and
// layer: AWS's order. Empty: there is none.
func programIn(mounts []sandbox.Mount) string {
	for _, target := range []string{runtimes.TaskRoot, runtimes.LayerDir} {
		for _, m := range mounts {
			if m.Target != target {
				continue
			}
			// Not followed: where a link leads is for the sandbox to find.
			if info, err := os.Lstat(filepath.Join(m.Source, "bootstrap")); err == nil && !info.IsDir() {
				return target + "/bootstrap"
			}
		}
	}
	return ""
}

// execFailure tells why a program of the function's did not start, if that is
// what went wrong.
func execFailure(err error, program string) (string, bool) {
	if err == nil || program == "" {
		return "", false
	}
	_, reason, ok := strings.Cut(err.Error(), "exec "+program+": ")
	return "fork/exec " + program + ": " + reason, ok
}

// invalidEntry is the failure of a function whose program cannot be started.
func invalidEntry(reason string) *failure {
	return &failure{
		status:    "error",
		errorType: errorEntrypoint,
		payload: func(id string) []byte {
			return errorPayload{errorEntrypoint, fmt.Sprintf("RequestId: %s Error: %s", id, reason)}.json()
		},
		line: func(id string) string {
			return fmt.Sprintf("RequestId: %s Error: %s\n%s\n", id, reason, errorEntrypoint)
		},
	}
}

const errorEntrypoint = "Runtime.InvalidEntrypoint"
