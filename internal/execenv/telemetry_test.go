package execenv

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTelemetry_Subscriptions(t *testing.T) {
	const destination = `,"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080"}`
	request := func(version, types, more string) string {
		return `{"schemaVersion":"` + version + `","types":` + types + more + `}`
	}
	buffering := func(s string) string {
		return request("2022-12-13", `["platform"]`, destination+`,"buffering":{`+s+`}`)
	}
	to := func(s string) string {
		return request("2022-12-13", `["platform"]`, `,"destination":{`+s+`}`)
	}
	for _, tc := range []struct{ what, body, want string }{
		{"defaults", request("2022-07-01", `["extension","platform","platform"]`, destination), "[platform extension] http://sandbox.localdomain:8080/ 8080 10000 262144 1s"},
		{"all settings", buffering(`"maxItems":1000,"maxBytes":1048576,"timeoutMs":25`), "[platform] http://sandbox.localdomain:8080/ 8080 1000 1048576 25ms"},
		{"the newest version", request("2025-01-29", `["function"]`, destination), "[function] http://sandbox.localdomain:8080/ 8080 10000 262144 1s"},
		{"a path", to(`"protocol":"HTTP","URI":"http://sandbox:99/a/b?c=d"`), "[platform] http://sandbox:99/a/b?c=d 99 10000 262144 1s"},
		{"no port", to(`"protocol":"HTTP","URI":"http://sandbox.localdomain/x"`), "[platform] http://sandbox.localdomain/x 80 10000 262144 1s"},
		{"TCP", to(`"protocol":"TCP","port":8080`), "[platform]  8080 10000 262144 1s"},
		{"no JSON", `{`, "invalid JSON: unexpected end of JSON input"},
		{"no version", request("", `["platform"]`, destination), `schemaVersion must be one of ["2022-07-01" "2022-12-13" "2025-01-29"]`},
		{"no types", request("2022-12-13", `[]`, destination), `types must name at least one of ["platform" "function" "extension"]`},
		{"an unknown type", request("2022-12-13", `["platform","runtime"]`, destination), `types: "runtime" is not one of ["platform" "function" "extension"]`},
		{"few items", buffering(`"maxItems":999`), "buffering.maxItems must be between 1000 and 10000"},
		{"many bytes", buffering(`"maxBytes":1048577`), "buffering.maxBytes must be between 262144 and 1048576"},
		{"long", buffering(`"timeoutMs":30001`), "buffering.timeoutMs must be between 25 and 30000"},
		{"nowhere", request("2022-12-13", `["platform"]`, ""), "destination is required"},
		{"another protocol", to(`"protocol":"UDP","port":8080`), "destination.protocol must be HTTP or TCP"},
		{"another host", to(`"protocol":"HTTP","URI":"http://example.com:8080"`), "destination.URI host must be sandbox.localdomain"},
		{"HTTPS", to(`"protocol":"HTTP","URI":"https://sandbox.localdomain:8080"`), "destination.URI must be http://sandbox.localdomain:PORT/PATH"},
		{"the reserved port", to(`"protocol":"HTTP","URI":"http://sandbox.localdomain:9001"`), "destination port 9001 is reserved"},
		{"no such port", to(`"protocol":"TCP","port":65536`), "destination port must be between 1 and 65535"},
	} {
		s, err := parseSubscription([]byte(tc.body))
		got := fmt.Sprint(s.types, " ", s.url, " ", s.port, " ", s.maxItems, " ", s.maxBytes, " ", s.timeout)
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: got\n %s\nwant\n %s", tc.what, got, tc.want)
		}
	}
}

func FuzzSubscription(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":"2022-12-13","types":["platform"],"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080"}}`))
	f.Add([]byte(`{"schemaVersion":"2022-07-01","types":["function"],"buffering":{"maxItems":1000},"destination":{"protocol":"TCP","port":"1"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSubscription(b)
		if err != nil {
			return
		}
		if len(s.types) == 0 || len(s.types) > 3 || s.port == 0 || s.port == 9001 || s.maxItems < minItems || s.maxItems > maxItems ||
			s.maxBytes < minBytes || s.maxBytes > maxBytes || s.timeout < minTimeout*time.Millisecond || s.timeout > maxTimeout*time.Millisecond {
			t.Errorf("%q was taken as %+v", b, s)
		}
		if !s.tcp && !strings.HasPrefix(s.url, "http://sandbox") && !strings.HasPrefix(strings.ToLower(s.url), "http://sandbox") {
			t.Errorf("%q leads to %s", b, s.url)
		}
	})
}

func TestTelemetryAPI_Answers(t *testing.T) {
	c := newExtensionClient(t, "/opt/extensions/ext")
	_, id := c.register("ext", `[]`)
	put := func(body string) string {
		got, _ := c.do("PUT", "/2022-07-01/telemetry", body, extensionHeader, id)
		return got
	}
	good := `{"schemaVersion":"2022-12-13","types":["platform"],"destination":{"protocol":"TCP","port":1}}`
	if got, want := put(good), `202 {"errorMessage":"Telemetry API is not supported without an external extension","errorType":"Telemetry.NotSupported"}`; got != want {
		t.Errorf("without a starter: %s, want %s", got, want)
	}
	c.api.telemetry = newTelemetry(t.Context(), func(context.Context, uint16) (net.Conn, error) { return nil, io.EOF })
	defer c.api.telemetry.close()
	for _, step := range []struct{ body, want string }{
		{`{}`, `400 {"errorMessage":"schemaVersion must be one of [\"2022-07-01\" \"2022-12-13\" \"2025-01-29\"]","errorType":"ValidationError"}`},
		{good, `200 "OK"`},
		{good, `200 "OK"`},
	} {
		if got := put(step.body); got != step.want {
			t.Errorf("%s: answered %s, want %s", step.body, got, step.want)
		}
	}
	if n := len(c.api.telemetry.subs); n != 1 {
		t.Errorf("%d subscriptions of one extension", n)
	}
	c.api.telemetry.closeSubscriptions()
	if got, want := put(good), refusal("Telemetry.SubscriptionClosed", "Telemetry API subscription is closed"); got != want {
		t.Errorf("after the init phase: %s, want %s", got, want)
	}
	if got, want := firstOf(c.do("PUT", "/2020-08-15/logs", good, extensionHeader, id)), `202 {"errorMessage":"Logs API is not supported","errorType":"Logs.NotSupported"}`; got != want {
		t.Errorf("the Logs API: %s, want %s", got, want)
	}
}

func firstOf(s string, _ http.Header) string { return s }

// listener is an extension's telemetry listener.
type listener struct {
	t     *testing.T
	conns chan net.Conn
	dials chan struct{}
}

func newListener(t *testing.T) (*listener, *telemetry) {
	l := &listener{t: t, conns: make(chan net.Conn, 16), dials: make(chan struct{}, 1000)}
	tel := newTelemetry(t.Context(), func(context.Context, uint16) (net.Conn, error) {
		ours, theirs := net.Pipe()
		l.dials <- struct{}{}
		l.conns <- theirs
		return ours, nil
	})
	t.Cleanup(tel.close)
	return l, tel
}

// post takes one request and answers it.
func (l *listener) post(r *bufio.Reader, c net.Conn, status int) []map[string]any {
	l.t.Helper()
	req, err := http.ReadRequest(r)
	if err != nil {
		l.t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	var events []map[string]any
	if err := json.Unmarshal(body, &events); err != nil {
		l.t.Fatalf("%v: %.200s", err, body)
	}
	fmt.Fprintf(c, "HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n", status)
	return events
}

func subscriptionOf(t *testing.T, body string) subscription {
	t.Helper()
	s, err := parseSubscription([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const functionLines = `{"schemaVersion":"2022-12-13","types":["platform","function"],"buffering":{"maxItems":1000,"timeoutMs":25},"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080"}}`

// What is not taken is sent again; what does not fit meanwhile is counted.
func TestTelemetry_RetriesAndDrops(t *testing.T) {
	l, tel := newListener(t)
	if !tel.subscribe("x", subscriptionOf(t, functionLines)) {
		t.Fatal("no subscription")
	}
	tel.line(time.Unix(0, 0), fromFunction, "first", false)
	c := <-l.conns
	r := bufio.NewReader(c)
	for range 2 {
		if got := l.post(r, c, 500); len(got) != 1 || got[0]["record"] != "first" {
			t.Fatalf("batch %v", got)
		}
	}
	for i := range 1200 { // while the first one is on its way
		tel.line(time.Now(), fromFunction, fmt.Sprint(i), false)
	}
	if got := l.post(r, c, 200); len(got) != 1 || got[0]["record"] != "first" {
		t.Fatalf("batch %v", got)
	}
	got := l.post(r, c, 200)
	if len(got) != 1001 {
		t.Fatalf("a batch of %d", len(got))
	}
	dropped, _ := got[1000]["record"].(map[string]any)
	if got[1000]["type"] != "platform.logsDropped" || dropped["droppedRecords"] != 200.0 || dropped["reason"] != droppedReason {
		t.Errorf("the last event is %v", got[1000])
	}
}

func TestTelemetry_OverTCPIsALineAnEvent(t *testing.T) {
	l, tel := newListener(t)
	if !tel.subscribe("x", subscriptionOf(t, strings.Replace(functionLines, `{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080"}`, `{"protocol":"TCP","port":8080}`, 1))) {
		t.Fatal("no subscription")
	}
	at := time.Date(2022, 10, 12, 0, 3, 50, 64e6, time.UTC)
	tel.line(at, fromFunction, "one", false)
	tel.line(at, fromExtension, "not asked for", false)
	tel.line(at, fromFunction, `{"a":1}`, true)
	tel.line(at, fromFunction, `{"a":1`, true) // cut off
	tel.line(at, fromFunction, `{"a":1}`, false)
	tel.emit(at, "platform.fault", "two")
	r := bufio.NewReader(<-l.conns)
	for _, want := range []string{
		`{"time":"2022-10-12T00:03:50.064Z","type":"function","record":"one"}`,
		`{"time":"2022-10-12T00:03:50.064Z","type":"function","record":{"a":1}}`,
		`{"time":"2022-10-12T00:03:50.064Z","type":"function","record":"{\"a\":1"}`,
		`{"time":"2022-10-12T00:03:50.064Z","type":"function","record":"{\"a\":1}"}`,
		`{"time":"2022-10-12T00:03:50.064Z","type":"platform.fault","record":"two"}`,
	} {
		if got, err := r.ReadString('\n'); err != nil || got != want+"\n" {
			t.Errorf("line %q, %v; want %s", got, err, want)
		}
	}
}

// Nothing is sent to who is frozen, and nothing waits that need not.
func TestTelemetry_FreezeAndFlush(t *testing.T) {
	l, tel := newListener(t)
	if !tel.subscribe("x", subscriptionOf(t, strings.Replace(functionLines, `"timeoutMs":25`, `"timeoutMs":30000`, 1))) {
		t.Fatal("no subscription")
	}
	tel.freeze()
	tel.line(time.Now(), fromFunction, "one", false)
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		tel.flush(t.Context())
	}()
	tel.subs[0].awaitDelivering(t)
	if len(l.dials) != 0 {
		t.Error("a connection into a frozen environment")
	}
	tel.thaw()
	c := <-l.conns
	if got := l.post(bufio.NewReader(c), c, 200); len(got) != 1 || got[0]["record"] != "one" {
		t.Errorf("batch %v", got)
	}
	<-flushed
}

// awaitDelivering waits until a batch is on its way.
func (s *subscriber) awaitDelivering(t *testing.T) {
	for {
		s.mu.Lock()
		ok := s.delivering
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("it is not delivered")
		}
	}
}

// Who subscribes in the init phase hears of what came before.
func TestTelemetry_History(t *testing.T) {
	l, tel := newListener(t)
	tel.emit(time.Unix(0, 0), "platform.initStart", namedRecord{Name: "n"})
	for range 2 * maxHistory {
		tel.line(time.Now(), fromExtension, strings.Repeat("x", 1000), false)
	}
	if tel.kept > maxHistoryBytes || len(tel.history) > maxHistory {
		t.Errorf("%d events of %d bytes are kept", len(tel.history), tel.kept)
	}
	tel.subscribe("x", subscriptionOf(t, functionLines))
	c := <-l.conns
	if got := l.post(bufio.NewReader(c), c, 200); len(got) != 1 || got[0]["type"] != "platform.initStart" {
		t.Errorf("batch %v", got)
	}
	tel.closeSubscriptions()
	if tel.subscribe("y", subscriptionOf(t, functionLines)) {
		t.Error("a subscription after the init phase")
	}
}

func TestLineBuffer_CutsLines(t *testing.T) {
	var l lineBuffer
	var got []string
	take := func(s string) { got = append(got, s) }
	l.split([]byte("one\ntw"), take)
	l.split([]byte("o\n"), take)
	l.split(bytes.Repeat([]byte("x"), maxEvent+1), take)
	l.flush(take)
	want := []string{"one\n", "two\n", strings.Repeat("x", maxEvent), "x"}
	if len(got) != len(want) {
		t.Fatalf("%d lines", len(got))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
		}
	}
}
