package awsapi

import (
	"log/slog"
	"reflect"
	"strings"
)

const redacted = "REDACTED"

// Redact returns v, a structure of a generated package, as a group without its
// absent members and with the sensitive ones replaced. Generated LogValue
// methods call it, so no secret reaches a log by way of a request.
func Redact(v any) slog.Value { return redactValue(reflect.ValueOf(v)) }

func redactValue(v reflect.Value) slog.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return slog.Value{}
		}
		return redactValue(v.Elem())
	case reflect.Struct:
		return redactStruct(v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct || v.Type().Elem().Kind() == reflect.Uint8 {
			return slog.IntValue(v.Len()) // elements may hold secrets; bytes say nothing
		}
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.Struct {
			return slog.IntValue(v.Len())
		}
	case reflect.Func, reflect.Interface:
		return slog.StringValue("stream")
	}
	return slog.AnyValue(v.Interface())
}

func redactStruct(v reflect.Value) slog.Value {
	var attrs []slog.Attr
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, described := f.Tag.Lookup("aws")
		if !described {
			return slog.AnyValue(v.Interface()) // time.Time
		}
		if v.Field(i).IsZero() {
			continue
		}
		value := slog.StringValue(redacted)
		if !strings.Contains(tag+",", ",sensitive,") {
			value = redactValue(v.Field(i))
		}
		attrs = append(attrs, slog.Attr{Key: f.Name, Value: value})
	}
	return slog.GroupValue(attrs...)
}
