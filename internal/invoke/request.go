package invoke

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
)

// checkPayload refuses what is too large or no JSON. An empty payload stands
// for an empty object.
func checkPayload(p []byte, kind lambdaapi.InvocationType) ([]byte, error) {
	switch {
	case kind == lambdaapi.InvocationTypeEvent && len(p) > maxEventPayload:
		return nil, tooLargeEvent(len(p), maxEventPayload)
	case len(p) > maxSyncPayload:
		return nil, tooLarge("Request must be smaller than %d bytes for the InvokeFunction operation", maxSyncPayload)
	case len(p) == 0:
		return []byte("{}"), nil
	case utf8.Valid(p) && json.Valid(p):
		return p, nil
	}
	return nil, invalidContent("Could not parse request body into json: Could not parse payload into json: %s", jsonFault(p))
}

// jsonFault says where a payload stops being JSON, in the words that AWS's
// parser has for it.
func jsonFault(p []byte) string {
	at := bytes.IndexFunc(p, func(r rune) bool { return r == utf8.RuneError })
	if at >= 0 && !bytes.HasPrefix(p[at:], []byte("\uFFFD")) {
		return fmt.Sprintf("Invalid UTF-8 start byte 0x%x%s", p[at], position(p, at))
	}
	var v json.RawMessage
	var syntax *json.SyntaxError
	if err := json.Unmarshal(p, &v); !errors.As(err, &syntax) || int(syntax.Offset) > len(p) || syntax.Offset < 1 {
		return "Unexpected end-of-input" + position(p, len(p)-1)
	}
	at = int(syntax.Offset) - 1
	if at == len(p)-1 && strings.Contains(syntax.Error(), "unexpected end") {
		return "Unexpected end-of-input" + position(p, len(p)-1)
	}
	const values = "JSON String, Number, Array, Object or token 'null', 'true' or 'false'"
	r, _ := utf8.DecodeRune(p[at:])
	switch text := syntax.Error(); {
	case strings.Contains(text, "object key"):
		return fmt.Sprintf("Unexpected character ('%c' (code %d)): was expecting double-quote to start field name%s", r, r, position(p, at))
	case strings.Contains(text, "after top-level value"):
		return fmt.Sprintf("Unexpected character ('%c' (code %d)): Expected space separating root-level values%s", r, r, position(p, at))
	case strings.Contains(text, "beginning of value") && unicode.IsLetter(r):
		token := p[at:]
		if end := bytes.IndexFunc(token, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }); end >= 0 {
			token = token[:end]
		}
		return fmt.Sprintf("Unrecognized token '%.256s': was expecting (%s)%s", token, values, position(p, at+len(token)-1))
	}
	return fmt.Sprintf("Unexpected character ('%c' (code %d)): expected a valid value (%s)%s", r, r, values, position(p, at))
}

// position is the place behind a byte of a payload, counted as AWS does, with
// the payload's beginning.
func position(p []byte, at int) string {
	line := bytes.Count(p[:at], []byte{'\n'}) + 1
	column := at + 1 - bytes.LastIndexByte(p[:at], '\n')
	start := p[:min(len(p), 500)]
	return fmt.Sprintf("\n at [Source: (byte[])\"%s\"; line: %d, column: %d]", strings.ToValidUTF8(string(start), "\uFFFD"), line, column)
}

// parseClientContext decodes the X-Amz-Client-Context header: an object in
// base64.
func parseClientContext(s string) (string, error) {
	if len(s) > maxClientContext {
		return "", invalidContent("Client context must be no larger than %d bytes.", maxClientContext)
	}
	if s == "" {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err == nil {
		b = bytes.TrimSpace(b)
	}
	if err != nil || len(b) == 0 || b[0] != '{' || !utf8.Valid(b) || !json.Valid(b) {
		return "", invalidContent("Client context must be a valid Base64-encoded JSON object.")
	}
	return string(b), nil
}

// requestID is the request's, or a new one.
func requestID(call *awsapi.Call) string {
	if call.RequestID != "" {
		return call.RequestID
	}
	return uuid.NewString()
}

// maxTraceID bounds a caller's trace header; AWS's own are below 100 bytes.
const maxTraceID = 256

// traceID is the caller's trace header, or that of a new, unsampled trace.
// https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html
func traceID(call *awsapi.Call) string {
	if call.Request != nil {
		if id := call.Request.Header.Get("X-Amzn-Trace-Id"); id != "" && len(id) <= maxTraceID {
			return id
		}
	}
	return newTraceID()
}

func newTraceID() string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 80)
	hex := func(v uint64, n int) {
		for i := n - 1; i >= 0; i-- {
			b = append(b, digits[v>>(4*i)&15])
		}
	}
	b = append(b, "Root=1-"...)
	hex(uint64(time.Now().Unix()), 8)
	b = append(b, '-')
	hex(rand.Uint64(), 8)
	hex(rand.Uint64(), 16)
	b = append(b, ";Parent="...)
	hex(rand.Uint64(), 16)
	return string(append(b, ";Sampled=0"...))
}
