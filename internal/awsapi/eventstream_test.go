package awsapi_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"davy/internal/awsapi"
)

// The vectors are those that the AWS SDKs share for this format: an empty
// message, one with an int32 header, one with a payload.
func TestEventWriter_Vectors(t *testing.T) {
	for _, tc := range []struct {
		name    string
		headers []awsapi.EventHeader
		payload string
		want    string
	}{
		{"empty", nil, "", "000000100000000005c248eb7d98c8ff"},
		{"payload", nil, "{'foo':'bar'}", "0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936"},
		{"int32 header", []awsapi.EventHeader{{Name: "event-type", Value: int32(0x0000a00c)}}, "{'foo':'bar'}", "0000002d0000001041c424b80a6576656e742d74797065040000a00c7b27666f6f273a27626172277d36f480a0"},
		{"string header", []awsapi.EventHeader{{Name: "content-type", Value: "application/json"}}, "{'foo':'bar'}", "0000003d0000002007fd83960c636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b27666f6f273a27626172277d8d9c08b1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := awsapi.NewEventWriter(&b).WriteMessage(tc.headers, []byte(tc.payload)); err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(b.Bytes()); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestEventWriter_Refuses(t *testing.T) {
	w := awsapi.NewEventWriter(&bytes.Buffer{})
	for name, h := range map[string]awsapi.EventHeader{
		"no name":    {Name: "", Value: true},
		"long name":  {Name: strings.Repeat("n", 256), Value: true},
		"long value": {Name: "n", Value: strings.Repeat("v", 1<<15)},
		"type":       {Name: "n", Value: 3.5},
	} {
		if w.WriteMessage([]awsapi.EventHeader{h}, nil) == nil {
			t.Errorf("%s was written", name)
		}
	}
	if w.WriteMessage(nil, make([]byte, 16<<20+1)) == nil {
		t.Error("a payload beyond the format's limit was written")
	}
}

func TestEventWriter_AllTypes(t *testing.T) {
	var b bytes.Buffer
	headers := []awsapi.EventHeader{
		{"t", true},
		{"f", false},
		{"b", int8(-1)},
		{"s", int16(2)},
		{"i", int32(3)},
		{"l", int64(4)},
		{"y", []byte{5}},
		{"x", "six"},
		{"d", time.UnixMilli(7)},
		{"u", [16]byte{8}},
	}
	if err := awsapi.NewEventWriter(&b).WriteMessage(headers, nil); err != nil {
		t.Fatal(err)
	}
	const want = "017400" + "016601" + "016202ff" + "0173030002" + "01690400000003" + "016c050000000000000004" +
		"017906000105" + "017807" + "0003736978" + "0164080000000000000007" + "01750908000000000000000000000000000000"
	if got := hex.EncodeToString(b.Bytes()[12 : b.Len()-4]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
