package execenv

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"davy/internal/runtimes"
)

// functionEnv is the environment of a function's process: its own variables,
// and AWS's, which win.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
func functionEnv(f Function, initialization, stream string, c Credentials) map[string]string {
	env := map[string]string{
		"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
	}
	maps.Copy(env, f.Environment)
	maps.Copy(env, map[string]string{
		"_HANDLER":                        f.Handler,
		"AWS_REGION":                      f.Region,
		"AWS_DEFAULT_REGION":              f.Region,
		"AWS_EXECUTION_ENV":               "AWS_Lambda_" + f.Runtime,
		"AWS_LAMBDA_FUNCTION_NAME":        f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     f.Version,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  initialization,
		"AWS_LAMBDA_LOG_GROUP_NAME":       f.LogGroup,
		"AWS_LAMBDA_LOG_STREAM_NAME":      stream,
		"LAMBDA_TASK_ROOT":                runtimes.TaskRoot,
		"LAMBDA_RUNTIME_DIR":              runtimes.RuntimeDir,
		"AWS_LAMBDA_RUNTIME_API":          runtimeAPIAddress,
		"AWS_ACCESS_KEY_ID":               c.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":           c.SecretAccessKey,
		"AWS_SESSION_TOKEN":               c.SessionToken,
	})
	if f.LogJSON {
		env["AWS_LAMBDA_LOG_FORMAT"], env["AWS_LAMBDA_LOG_LEVEL"] = "JSON", f.LogLevel
	}
	if strings.HasPrefix(f.Runtime, runtimes.Provided) {
		delete(env, "AWS_EXECUTION_ENV")
	}
	return env
}

// streamName is the log stream of an environment. In a log group that is not
// the function's own it tells the function's name.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html
func streamName(f Function, at time.Time, id string) string {
	owner := ""
	if f.LogGroup != "/aws/lambda/"+f.Name {
		owner = f.Name
	}
	return fmt.Sprintf("%s/%s[%s]%s", at.Format("2006/01/02"), owner, f.Version, id)
}

// execWrapper names the variable whose program starts the runtime instead.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html
const execWrapper = "AWS_LAMBDA_EXEC_WRAPPER"

// Variables that a process reads when it starts. A runtime that already runs
// cannot be given them.
var startVariables = []string{
	"AWS_LAMBDA_EXEC_WRAPPER", "GLIBC_TUNABLES", "LANG", "LANGUAGE",
}

var startPrefixes = []string{"NODE_", "PYTHON", "LD_", "LC_", "UV_", "MALLOC_", "OPENSSL_", "SSL_CERT_"}

// startSettings returns the names of a function's variables that must be there
// when its process starts, sorted. A function that has none can be assigned to
// a runtime that is already booted.
func startSettings(f Function) []string {
	var names []string
	for name := range f.Environment {
		atStart := slices.Contains(startVariables, name) ||
			slices.ContainsFunc(startPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if atStart {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// heapFlags bound V8's heap by the function's memory as AWS's runtime does: a
// tenth for the young generation, the rest for the old one. What the function
// sets in NODE_OPTIONS wins.
//
// V8 takes them at its start alone: v8.setFlagsFromString changes nothing about
// a heap that is there.
func heapFlags(f Function) []string {
	if !strings.HasPrefix(f.Runtime, runtimes.NodeJS) {
		return nil
	}
	options := strings.ReplaceAll(f.Environment["NODE_OPTIONS"], "_", "-")
	if strings.Contains(options, "--max-old-space-size") || strings.Contains(options, "--max-semi-space-size") {
		return nil
	}
	young := f.MemoryMB / 10
	return []string{
		"--max-semi-space-size=" + strconv.Itoa(max(1, young/2)),
		"--max-old-space-size=" + strconv.Itoa(max(1, f.MemoryMB-young)),
	}
}

// enabled takes out of a runtime's arguments what a function's NODE_OPTIONS
// turn on again: arguments would win.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html#nodejs-experimental-features
func enabled(args []string, f Function) []string {
	options := strings.Fields(f.Environment["NODE_OPTIONS"])
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		option, off := strings.CutPrefix(arg, "--no-")
		return off && slices.Contains(options, "--"+option)
	})
}
