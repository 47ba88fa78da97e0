package execenv

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReadLine_Level(t *testing.T) {
	const at = `"timestamp":"2026-11-22T10:00:00.123Z"`
	for text, want := range map[string]logLevel{
		`{"level":"ERROR",` + at + `}`:                           levelError,
		`{"level":"trace",` + at + `}` + "\n":                    levelTrace,
		`{"level":"WARNING","time":"2026-11-22T10:00:00+01:00"}`: levelWarn,
		`{"level":"CRITICAL",` + at + `}`:                        levelFatal,
		`{"level":"DEBUG"}`:                                      levelInfo, // no time
		`{"level":"DEBUG","timestamp":"today"}`:                  levelInfo,
		`{"level":"DEBUG","timestamp":1795342800}`:               levelInfo,
		`{"level":7,` + at + `}`:                                 levelInfo,
		`{"level":"LOUD",` + at + `}`:                            levelInfo,
		`{` + at + `}`:                                           levelInfo,
		`{"level":"ERROR",` + at:                                 levelInfo, // cut off
		`["ERROR"]`:                                              levelInfo,
		`text`:                                                   levelInfo,
		``:                                                       levelInfo,
	} {
		if got, _ := readLine(text); got != want {
			t.Errorf("%s: level %d, want %d", text, got, want)
		}
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add(`{"level":"ERROR","timestamp":"2026-11-22T10:00:00.123Z"}`)
	f.Add(`{"level":{},"time":[]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if l, _ := readLine(text); l < levelTrace || l > levelFatal {
			t.Errorf("level %d", l)
		}
	})
}

// A line that the function writes itself has the time that it tells, if that is
// one which CloudWatch Logs takes. Its runtime's lines are written now.
func TestLogFormat_Time(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	format := logFormat{json: true}
	line := func(at time.Time) string {
		return `{"timestamp":"` + at.Format(time.RFC3339Nano) + `"}`
	}
	for _, tc := range []struct {
		name, text, from string
		format           logFormat
		want             time.Time
	}{
		{"told", line(now.Add(-time.Minute)), fromOutput, format, now.Add(-time.Minute)},
		{"other zone", `{"time":"2026-11-22T10:30:00+01:00"}`, fromOutput, format, now.Add(-30 * time.Minute)},
		{"too old", line(now.Add(-15 * 24 * time.Hour)), fromOutput, format, now},
		{"too far ahead", line(now.Add(3 * time.Hour)), fromOutput, format, now},
		{"none", `{}`, fromOutput, format, now},
		{"text", `10:00`, fromOutput, format, now},
		{"of the runtime", line(now.Add(-time.Minute)), fromFunction, format, now},
		{"of an extension", line(now.Add(-time.Minute)), fromExtension, format, now},
		{"log in text", line(now.Add(-time.Minute)), fromOutput, logFormat{}, now},
	} {
		if got, kept := tc.format.place(tc.text, tc.from, now); !got.Equal(tc.want) || !kept {
			t.Errorf("%s: %s, %v; want %s", tc.name, got, kept, tc.want)
		}
	}
}

// maskedJSON replaces what changes from run to run in a log in JSON.
func maskedJSON(lines []string) []string {
	var out []string
	for _, l := range lines {
		for _, m := range []struct{ from, to string }{
			{`"time(stamp)?":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z"`, `"time$1":"T"`},
			{`(Duration|duration|initDuration|billedDuration)Ms":[0-9.]+`, `${1}Ms":0`},
			{`"maxMemoryUsedMB":\d+`, `"maxMemoryUsedMB":0`},
			{`"(runtimeVersion(Arn)?|instanceId)":"[^"]*"`, `"$1":""`},
			{`"(stack|stackTrace)":\[[^]]*\]`, `"$1":[]`},
			{`off(\\n    at [^"]*)"`, `off"`},
			{testID, "ID"},
		} {
			l = regexp.MustCompile(m.from).ReplaceAllString(l, m.to)
		}
		out = append(out, l)
	}
	return out
}

const (
	jsonInit    = `{"time":"T","type":"platform.initStart","record":{"initializationType":"on-demand","phase":"init","functionName":"f","functionVersion":"$LATEST","instanceId":"","instanceMaxMemory":268435456,"runtimeVersion":"","runtimeVersionArn":""}}`
	jsonStart   = `{"time":"T","type":"platform.start","record":{"requestId":"ID","functionArn":"arn:aws:lambda:eu-west-1:000000000000:function:f","version":"$LATEST"}}`
	jsonMetrics = `"metrics":{"durationMs":0,"billedDurationMs":0,"memorySizeMB":256,"maxMemoryUsedMB":0`
	jsonCold    = `{"time":"T","type":"platform.report","record":{"requestId":"ID",` + jsonMetrics + `,"initDurationMs":0},"status":`
)

func TestSystemLog_Node(t *testing.T) {
	const lines = `exports.handler = async () => {
		console.trace("t"); console.debug("d"); console.log("two", { a: 1 }); console.info({ a: [1] }); console.warn("%s!", "w");
		console.error(new TypeError("bad")); console.error("it is", new RangeError("off")); console.fatal(1n);
		process.stdout.write("plain\n"); process.stdout.write('{"level":"debug","timestamp":"2026-11-22T10:00:00Z","m":1}\n');
		process.stdout.write('{"level":"error","timestamp":"2026-11-22T10:00:00Z","m":2}\n');
		return 1 }`
	line := func(level, rest string) string {
		return `{"timestamp":"T","level":"` + level + `","requestId":"ID",` + rest + `}`
	}
	grave := []string{
		line("ERROR", `"message":{"errorType":"TypeError","errorMessage":"bad","stackTrace":[]}`),
		line("ERROR", `"message":"it is RangeError: off","errorType":"RangeError","errorMessage":"off","stackTrace":[]`),
		line("FATAL", `"message":"1n"`),
	}
	for _, tc := range []struct {
		name, code          string
		application, system string
		timeout             time.Duration
		want                []string
	}{
		{
			name: "usual levels", code: lines, application: "INFO", system: "INFO",
			want: slices.Concat(
				[]string{jsonInit, jsonStart, line("INFO", `"message":"two { a: 1 }"`), line("INFO", `"message":{"a":[1]}`), line("WARN", `"message":"w!"`)},
				grave, []string{"plain\n", `{"level":"error","timestamp":"T","m":2}` + "\n", jsonCold + `"success"}}`},
			),
		},
		{
			name: "grave lines", code: lines, application: "ERROR", system: "WARN",
			want: append(slices.Clone(grave), `{"level":"error","timestamp":"T","m":2}`+"\n"),
		},
		{
			name: "all of the platform's", code: `exports.handler = async () => [1]`, application: "FATAL", system: "DEBUG",
			want: []string{
				jsonInit,
				`{"time":"T","type":"platform.initRuntimeDone","record":{"initializationType":"on-demand","phase":"init","status":"success"}}`,
				`{"time":"T","type":"platform.initReport","record":{"initializationType":"on-demand","phase":"init","status":"success","metrics":{"durationMs":0}}}`,
				jsonStart,
				`{"time":"T","type":"platform.runtimeDone","record":{"requestId":"ID","status":"success","metrics":{"durationMs":0,"producedBytes":3}}}`,
				jsonCold + `"success"}}`,
			},
		},
		{
			name: "error", code: `exports.handler = async () => { throw Object.assign(new RangeError("no"), { code: "E1" }) }`, application: "WARN", system: "WARN",
			want: []string{line("ERROR", `"message":{"errorType":"RangeError","errorMessage":"no","stackTrace":[],"code":"E1"}`)},
		},
		{
			name: "what ends a runtime", code: `exports.handler = async () => { Promise.reject(new Error("lost")); await new Promise((r) => setTimeout(r, 1e6)) }`, application: "WARN", system: "WARN",
			want: []string{
				line("ERROR", `"message":{"errorType":"UnhandledPromiseRejection","errorMessage":"Error: lost","stackTrace":[],"reason":{"errorType":"Error","errorMessage":"lost","stackTrace":[]},"promise":{}}`),
				`{"time":"T","type":"platform.runtimeDone","record":{"requestId":"ID","status":"error","errorType":"Runtime.ExitError","metrics":{"durationMs":0,"producedBytes":0}}}`,
				jsonCold + `"error","errorType":"Runtime.ExitError"}}`,
			},
		},
		{
			name: "timeout", code: `exports.handler = () => new Promise((r) => setTimeout(r, 1e6))`, application: "WARN", system: "WARN", timeout: time.Second,
			want: []string{
				`{"time":"T","type":"platform.runtimeDone","record":{"requestId":"ID","status":"timeout","metrics":{"durationMs":0,"producedBytes":0}}}`,
				jsonCold + `"timeout"}}`,
			},
		},
	} {
		for _, runtime := range allRuntimes {
			t.Run(tc.name+"/"+runtime, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, nil)
				f := b.js(tc.code)
				f.Runtime, f.LogJSON, f.LogLevel, f.SystemLogLevel = runtime, true, tc.application, tc.system
				if tc.timeout != 0 {
					f.Timeout = tc.timeout
				}
				out := b.invoke(f, `{}`)
				got := maskedJSON(b.logs.all())
				for i := range got { // how much an answer has is not the point
					got[i] = regexp.MustCompile(`"producedBytes":\d{2,}`).ReplaceAllString(got[i], `"producedBytes":0`)
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("log\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(tc.want, "\n "))
				}
				for l := range strings.Lines(string(out.LogTail)) {
					if strings.Count(l, `"type":"platform.`) > 1 {
						t.Errorf("tail has two events in a line: %s", l)
					}
				}
			})
		}
	}
}

func TestSystemLog_InitError(t *testing.T) {
	b := newBench(t, nil)
	f := b.js(`require("nothing")`)
	f.LogJSON, f.LogLevel, f.SystemLogLevel = true, "ERROR", "WARN"
	b.invoke(f, `{}`)
	done := func(phase string) []string {
		end := `"record":{"initializationType":"on-demand","phase":"` + phase + `","status":"error","errorType":"Runtime.ImportModuleError"`
		return []string{`{"time":"T","type":"platform.initRuntimeDone",` + end + `}}`, `{"time":"T","type":"platform.initReport",` + end + `,"metrics":{"durationMs":0}}}`}
	}
	const failure = `{"timestamp":"T","level":"ERROR","message":{"errorType":"ImportModuleError","errorMessage":"Error: Cannot find module 'nothing'\nRequire stack:\n- /var/task/index.js\n- /var/runtime/index.mjs","stackTrace":[]}}`
	want := slices.Concat([]string{failure}, done("init"), []string{failure}, done("invoke"))
	got := maskedJSON(b.logs.all())
	if !slices.Equal(got[:min(len(want), len(got))], want) || len(got) != len(want)+2 {
		t.Errorf("log\n %s\nwant\n %s\n and the end of the invocation", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

func TestSystemLog_Python(t *testing.T) {
	for _, runtime := range pythons(t) {
		b := newBench(t, nil)
		f := b.py(runtime, `
import logging
log = logging.getLogger("mine")
def handler(e, c):
    log.debug("d"); log.info("i %d", 1); log.warning({"a": "é"}, extra={"who": object, "n": 2})
    try: 1 / 0
    except Exception: log.exception("caught")
    print("plain")
    raise KeyError("k")
`)
		f.LogJSON, f.LogLevel, f.SystemLogLevel = true, "INFO", "WARN"
		b.invoke(f, `{}`)
		want := []string{
			`{"timestamp": "T", "level": "INFO", "message": "i 1", "logger": "mine", "requestId": "ID"}`,
			`{"timestamp": "T", "level": "WARNING", "message": {"a": "é"}, "logger": "mine", "requestId": "ID", "who": "<class 'object'>", "n": 2}`,
			`{"timestamp": "T", "level": "ERROR", "message": "caught", "logger": "mine", "stackTrace": [], "errorType": "ZeroDivisionError", "errorMessage": "division by zero", "requestId": "ID", "location": "/var/task/app.py:handler:7"}`,
			`plain`,
			`{"timestamp": "T", "level": "ERROR", "errorMessage": "'k'", "errorType": "KeyError", "requestId": "ID", "stackTrace": []}`,
		}
		var got []string
		for _, l := range b.logs.all() {
			l = regexp.MustCompile(`"timestamp": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`).ReplaceAllString(strings.TrimSuffix(l, "\n"), `"timestamp": "T"`)
			l = regexp.MustCompile(`"stackTrace": \[.*?\\n"\]`).ReplaceAllString(l, `"stackTrace": []`)
			got = append(got, strings.ReplaceAll(l, testID, "ID"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: log\n %s\nwant\n %s", runtime, strings.Join(got, "\n "), strings.Join(want, "\n "))
		}
	}
}
