package execenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
	"davy/internal/sandbox/starter"
)

// Error types of extensions.
const (
	errorExtensionCrash  = "Extension.Crash"
	errorExtensionLaunch = "Extension.LaunchError"
)

// addCrew makes the starter the sandbox's first process and returns the files
// that are the sandbox's.
func (p *process) addCrew(ctx context.Context, spec *sandbox.Spec, s seed, wait patience) (theirs []*os.File, err error) {
	if p.crew, err = newCrew(s.extensions, wait); err != nil {
		return nil, err
	}
	p.runtime = starter.Run{Args: spec.Args, Env: spec.Env, Dir: spec.Dir}
	if !s.launch.Runtime.Custom() {
		p.ch = watch(p.ch, p.crew.broken, wait.words)
	}
	p.api.extensions.launch(s.extensions)
	spec.Args, spec.Env, spec.Dir = []string{starter.Path}, starter.Env(), "/"
	spec.Mounts = append(spec.Mounts, sandbox.Mount{Source: s.starter, Target: starter.Dir})
	spec.Files = append([]*os.File{p.crew.theirs}, spec.Files...)
	theirs = append(theirs, p.crew.theirs)
	for range s.extensions {
		o, file, err := newOutlet()
		if err != nil {
			return theirs, err
		}
		p.voices = append(p.voices, o)
		theirs = append(theirs, file)
		spec.Files = append(spec.Files, file)
	}
	p.telemetry = newTelemetry(context.WithoutCancel(ctx), p.crew.dial)
	p.crew.ended.Go(p.crew.follow)
	return theirs, nil
}

// notForExtensions are the variables that only the runtime has, and those that
// begin with an underscore.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-extensions-registration-api-e
var notForExtensions = []string{
	"AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_XRAY_CONTEXT_MISSING",
	"AWS_XRAY_DAEMON_ADDRESS", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
}

// extensionEnv is the environment of external extensions.
func (e *environment) extensionEnv(l runtimes.Launch, env map[string]string) []string {
	all := map[string]string{}
	for _, kv := range l.Env {
		name, value, _ := strings.Cut(kv, "=")
		if slices.Contains([]string{"PATH", "LD_LIBRARY_PATH", "LANG", "TZ", "SSL_CERT_FILE", "AWS_CA_BUNDLE"}, name) {
			all[name] = value
		}
	}
	if e.es.cfg.TrustCA && all["SSL_CERT_FILE"] == "" {
		all["SSL_CERT_FILE"], all["AWS_CA_BUNDLE"] = runtimes.BundleFile, runtimes.BundleFile
	}
	maps.Copy(all, env)
	maps.DeleteFunc(all, func(name, _ string) bool {
		return strings.HasPrefix(name, "_") || slices.Contains(notForExtensions, name)
	})
	var list []string
	for name, value := range all {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// crewFor adds to a seed what external extensions need. The failure is the
// function's.
func (e *environment) crewFor(plan *seed, env map[string]string) (*failure, error) {
	if len(e.extensions) > starter.MaxExtensions {
		e.logExtension(extension{
			name:  strings.TrimPrefix(e.extensions[starter.MaxExtensions], extensionDir+"/"),
			state: stateLaunchError, errType: "TooManyExtensions",
		})
		return extensionFailure(errorExtensionLaunch, "ErrTooManyExtensions"), nil
	}
	if e.es.cfg.Starter == nil {
		return nil, fmt.Errorf("%w: it has no starter for extensions", ErrRuntime)
	}
	dir, err := e.es.cfg.Starter()
	if err != nil {
		return nil, fmt.Errorf("starter of extensions: %w", err)
	}
	plan.extensions, plan.starter = e.extensions, dir
	plan.extensionEnv = e.extensionEnv(plan.launch, env)
	return nil, nil
}

// startCrew starts the extensions and, when all have registered, the runtime.
func (e *environment) startCrew(p *process, plan seed, deadline time.Time) (*failure, error) {
	p.telemetry.emit(e.initBegan, "platform.initStart", e.initStart(plan.launch))
	err := p.crew.begin(plan.extensionEnv, p.files, deadline)
	if err == nil {
		x := p.api.extensions
		err = x.await(x.allRegistered, p.crew.broken, deadline)
	}
	if err == nil {
		err = p.crew.run(p.runtime, deadline)
	}
	var launch *launchError
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &launch) && launch.process == starter.Runtime:
		if fail := e.wrapperFailure(err); fail != nil {
			e.abandon(p, "error", errorExit)
			return fail, nil
		}
		if plan.program == "" {
			return nil, err
		}
		e.abandon(p, "error", errorEntrypoint)
		return invalidEntry(launch.Error()), nil
	case errors.As(err, &launch):
		kind := "UnknownError"
		if launch.reason == syscall.EACCES.Error() {
			kind = "PermissionDenied"
		}
		p.api.extensions.launchFailed(launch.process, kind)
		e.abandon(p, "error", errorExtensionLaunch)
		return extensionFailure(errorExtensionLaunch, launch.Error()), nil
	default:
		return e.initFailure(p, err, deadline), nil
	}
}

// extensionFailure is an init phase that an extension spoiled.
func extensionFailure(kind, reason string) *failure {
	return &failure{
		status:    "error",
		errorType: kind,
		payload: func(id string) []byte {
			return errorPayload{kind, fmt.Sprintf("RequestId: %s Error: %s", id, reason)}.json()
		},
		line: func(id string) string { return fmt.Sprintf("RequestId: %s Error: %s\n%s\n", id, reason, kind) },
	}
}

// crashed tells which error it is that an extension has ended.
func (p *process) crashed() (kind, reason string, ok bool) {
	if p.crew == nil {
		return "", "", false
	}
	x, ok := p.crew.crash()
	if !ok {
		return "", "", false
	}
	kind = p.api.extensions.fatalType()
	if kind == "" {
		kind = errorExtensionCrash
	}
	switch {
	case x.Signal != 0:
		reason = "signal: " + signalName(x.Signal)
	case x.Code != 0:
		reason = fmt.Sprintf("exit status %d", x.Code)
	default:
		reason = "exit code 0"
	}
	return kind, reason, true
}

// extensionsReady ends the init phase: the runtime waits for its first event, and so
// must the extensions.
func (e *environment) extensionsReady(p *process, deadline time.Time) *failure {
	x := p.api.extensions
	x.close()
	n, _ := x.count()
	if n == 0 {
		return nil
	}
	p.initTold = true
	p.telemetry.emit(time.Now(), "platform.initRuntimeDone", e.initEnd("success", ""))
	if err := x.await(x.allReady, p.ended(), deadline); err != nil {
		if errors.Is(err, errInterrupted) && p.crew == nil {
			err = io.EOF
		}
		return e.initFailure(p, err, deadline)
	}
	p.extended = true
	e.reportExtensions(p)
	p.telemetry.emit(time.Now(), "platform.initReport", e.initReport("success", ""))
	p.telemetry.closeSubscriptions()
	return nil
}

// reportExtensions writes what became of the extensions in the init phase.
func (e *environment) reportExtensions(p *process) {
	for _, x := range p.api.extensions.snapshot() {
		e.logExtension(x)
		p.telemetry.emit(time.Now(), "platform.extension", extensionRecord(x))
	}
}

// abandon ends a process whose init phase failed.
func (e *environment) abandon(p *process, status, errorType string) {
	if p.crew != nil {
		if !p.initTold { // what failed is the runtime's part
			p.telemetry.emit(time.Now(), "platform.initRuntimeDone", e.initEnd(status, errorType))
		}
		e.reportExtensions(p)
		p.telemetry.emit(time.Now(), "platform.initReport", e.initReport(status, errorType))
	}
	reason := reasonFailure
	if status == "timeout" {
		reason = reasonTimeout
	}
	e.shutdown(reason)
}
