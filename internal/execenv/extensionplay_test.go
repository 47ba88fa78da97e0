package execenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"davy/internal/sandbox/starter"
)

// playExtension is what the test binary does as an external extension: its file
// name says how it behaves, in words joined by dots.
func playExtension() {
	name := filepath.Base(os.Args[0])
	does := func(word string) bool { return slices.Contains(strings.Split(name, "."), word) }
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API")
	id := ""
	before, asked := time.Now(), time.Now() // of the request before the last, and of the last
	ask := func(method, path, body string, headers ...string) (string, http.Header) {
		r, err := http.NewRequest(method, api+path, strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		r.Header.Set("Lambda-Extension-Name", name)
		if id != "" {
			r.Header.Set(extensionHeader, id)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(name, err)
			os.Exit(70)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(string(b))), res.Header
	}
	if does("silent") {
		select {}
	}
	if does("exit") {
		os.Exit(4)
	}
	events := `["INVOKE","SHUTDOWN"]`
	if does("invokeonly") {
		events = `["INVOKE"]`
	}
	answer, header := ask("POST", "/2020-01-01/extension/register", `{"events":`+events+`}`, "Lambda-Extension-Accept-Feature", "accountId")
	id = header.Get(extensionHeader)
	if does("talk") {
		fmt.Println(name, "registered", answer)
		_, handler := os.LookupEnv("_HANDLER")
		fmt.Println(name, "environment", os.Getenv("MINE"), os.Getenv("AWS_ACCESS_KEY_ID"), handler, os.Getenv("AWS_LAMBDA_FUNCTION_NAME"))
	}
	if does("initerror") {
		answer, _ := ask("POST", "/2020-01-01/extension/init/error", `{}`, "Lambda-Extension-Function-Error-Type", "Mine.Odd")
		fmt.Println(name, answer)
		os.Exit(0)
	}
	if does("telemetry") || does("tcp") {
		listenTelemetry(name, does("tcp"), ask)
	}
	if does("deaf") {
		l, err := net.Listen("tcp", "sandbox.localdomain:8099")
		if err != nil {
			panic(err)
		}
		defer l.Close()
		answer, _ = ask("PUT", "/2022-07-01/telemetry", `{"schemaVersion":"2022-12-13","types":["platform","function"],"buffering":{"timeoutMs":25,"maxItems":1000},"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8099/"}}`)
		fmt.Println(name, answer)
	}
	for n := 1; ; n++ {
		before, asked = asked, time.Now()
		answer, _ := ask("GET", "/2020-01-01/extension/event/next", "")
		var e struct {
			EventType, ShutdownReason, RequestID string
			DeadlineMs                           int64
		}
		if _, body, ok := strings.Cut(answer, " "); !ok || json.Unmarshal([]byte(body), &e) != nil || e.EventType == "" {
			fmt.Println(name, answer)
			os.Exit(71)
		}
		switch {
		case e.EventType == eventShutdown && does("stubborn"):
			fmt.Println(name, "goes on")
			select {}
		case e.EventType == eventShutdown && does("curious"):
			// It leaves when it knows how the init phase went.
			for {
				if heard, _ := os.ReadFile("/tmp/telemetry"); bytes.Contains(heard, []byte(`"platform.initReport"`)) {
					os.Exit(0)
				}
				time.Sleep(time.Millisecond)
			}
		case e.EventType == eventShutdown:
			// It began after what was answered before it, so after the
			// request for that, and before now.
			left := func(since time.Time) int64 { return e.DeadlineMs - since.UnixMilli() }
			fmt.Println(name, "shutdown", e.ShutdownReason, slices.ContainsFunc([]time.Duration{ample, scarce}, func(all time.Duration) bool {
				return left(before) >= all.Milliseconds() && left(time.Now()) <= all.Milliseconds()
			}))
			os.Exit(0)
		}
		if does("talk") {
			fmt.Println(name, "invoke", e.RequestID)
		}
		if does("crash") && n == 2 {
			os.Exit(9)
		}
		if does("exiterror") && n == 2 {
			ask("POST", "/2020-01-01/extension/exit/error", `{}`, "Lambda-Extension-Function-Error-Type", "Mine.Odd")
			os.Exit(1)
		}
		if does("hang") && n == 2 {
			select {}
		}
		if does("slow") {
			time.Sleep(200 * time.Millisecond)
			fmt.Println(name, "done")
		}
	}
}

// listenTelemetry writes what it receives to a file, one line for each event.
func listenTelemetry(name string, tcp bool, ask func(method, path, body string, headers ...string) (string, http.Header)) {
	l, err := net.Listen("tcp", "sandbox.localdomain:8080")
	if err != nil {
		fmt.Println(name, err)
		os.Exit(72)
	}
	out, err := os.OpenFile("/tmp/telemetry", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		panic(err)
	}
	destination := `{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080/in"}`
	if tcp {
		destination = `{"protocol":"TCP","port":8080}`
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(out, c) }()
			}
		}()
	} else {
		go http.Serve(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var events []json.RawMessage
			if err := json.NewDecoder(r.Body).Decode(&events); err != nil || r.Method != "POST" || r.URL.Path != "/in" {
				fmt.Fprintln(out, "bad request", err, r.Method, r.URL)
			}
			fmt.Fprintf(out, "%s\n", bytes.Join(rawBytes(events), []byte("\n")))
		}))
	}
	answer, _ := ask("PUT", "/2022-07-01/telemetry", `{"schemaVersion":"2022-12-13","types":["platform","function","extension"],"buffering":{"timeoutMs":25},"destination":`+destination+`}`)
	if answer != `200 "OK"` {
		fmt.Println(name, answer)
	}
}

func rawBytes(events []json.RawMessage) [][]byte {
	var v [][]byte
	for _, e := range events {
		v = append(v, e)
	}
	return v
}

// extended adds external extensions to a function.
func (b *bench) extended(f Function, names ...string) Function {
	b.t.Helper()
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.t.Fatal(err)
	}
	files := map[string]string{}
	for _, n := range names {
		files["extensions/"+n] = string(exe)
	}
	layer := b.function(files)
	for _, n := range names {
		makeExecutable(b.t, b, layer, "extensions/"+n)
	}
	f.Layers = []string{layer.CodeSHA256}
	return f
}

// newExtensionBench is a bench on the real driver that can start extensions.
func newExtensionBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	return newExtensionBenchOn(t, newSandboxedBench, change)
}

func newExtensionBenchOn(t *testing.T, base func(testing.TB, func(*Config)) *bench, change func(*Config)) *bench {
	t.Helper()
	return base(t, func(c *Config) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		exe, err := os.ReadFile("/proc/self/exe")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, starter.File), exe, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.Starter = func() (string, error) { return dir, nil }
		if change != nil {
			change(c)
		}
	})
}

// logged are the lines of the log that begin so, without what varies.
func (b *bench) logged(prefixes ...string) []string {
	var v []string
	for _, l := range b.logs.all() {
		for _, p := range prefixes {
			if strings.HasPrefix(l, p) {
				v = append(v, strings.TrimSuffix(l, "\n"))
			}
		}
	}
	return v
}

func (b *bench) expectLogged(want []string, prefixes ...string) {
	b.t.Helper()
	if got := b.logged(prefixes...); !slices.Equal(got, want) {
		b.t.Errorf("log\n %s\nwant\n %s\nof all %q", strings.Join(got, "\n "), strings.Join(want, "\n "), b.logs.all())
	}
}
