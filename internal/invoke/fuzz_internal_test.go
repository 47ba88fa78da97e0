package invoke

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"davy/api/lambdaapi"
)

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range []record{
		{RequestID: "r", Invoked: "arn", payload: []byte("{}")},
		{RequestID: "r", Invoked: "arn", Trace: "t", Accepted: 1, Errors: 2, payload: []byte("\n\n")},
	} {
		b, err := r.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("{}\n"))
	f.Add([]byte("{"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		r2, err := decodeRecord(again)
		if err != nil {
			t.Fatalf("decode(encode(%q)): %v", b, err)
		}
		if r2.RequestID != r.RequestID || r2.Invoked != r.Invoked || r2.Errors != r.Errors || !bytes.Equal(r2.payload, r.payload) {
			t.Fatalf("%+v != %+v", r2, r)
		}
	})
}

func FuzzParseClientContext(f *testing.F) {
	for _, s := range []string{"", "e30=", "eyJjdXN0b20iOnt9fQ==", "W10=", "e30", "%%%", strings.Repeat("A", 3584)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseClientContext(s)
		if err != nil || got == "" {
			return
		}
		if len(s) > maxClientContext || !json.Valid([]byte(got)) || got[0] != '{' {
			t.Fatalf("parseClientContext(%q) = %q", s, got)
		}
	})
}

func FuzzCheckPayload(f *testing.F) {
	for _, s := range []string{"", "{}", "[1,2]", "nul", "\"\xff\"", "{\"a\":", "1 2", "\n\n}", "\uFFFD", "\uFFFD\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := checkPayload(p, lambdaapi.InvocationTypeEvent)
		if err == nil && (!json.Valid(got) || !utf8.Valid(got) || len(got) > maxEventPayload) {
			t.Fatalf("checkPayload(%q) = %q", p, got)
		}
		if err != nil && !utf8.ValidString(err.Error()) {
			t.Fatalf("the message is not text: %q", err.Error())
		}
	})
}
