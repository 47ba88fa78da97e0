// Package wire tests the protocol runtime against the AWS SDK for Go: its
// recorded requests, and its clients talking to a server made of awsapi.
package wire

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/awsapi"
)

var services = []struct {
	module       string
	svc          *awsapi.Service
	bucketInHost bool
	snapshots    int // requests of the SDK that must decode
	unlived      int // operations that no client call reaches: streams, other hosts, not in the SDK
}{
	{"lambda", lambdaapi.Service, false, 87, 4},
	{"s3", s3api.Service, true, 108, 9},
	{"iam", iamapi.Service, false, 180, 0},
	{"sts", stsapi.Service, false, 11, 0},
	{"cloudwatchlogs", logsapi.Service, false, 116, 3},
}

// texts collects the strings of a decoded input.
func texts(v any) string {
	var b strings.Builder
	collect(&b, reflect.ValueOf(v))
	return b.String()
}

func collect(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			collect(b, v.Elem())
		}
	case reflect.Interface:
		if r, ok := v.Interface().(io.Reader); ok {
			text, err := io.ReadAll(r)
			fmt.Fprintf(b, "%s %v\n", text, err)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				collect(b, v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(b, "%s\n", v.Bytes())
			return
		}
		for i := range v.Len() {
			collect(b, v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			fmt.Fprintln(b, k.String())
			collect(b, v.MapIndex(k))
		}
	case reflect.String:
		fmt.Fprintln(b, v.String())
	}
}
