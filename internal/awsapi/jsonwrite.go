package awsapi

import (
	"encoding/base64"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// appendJSON writes the members of v that belong to the body.
func (s *Service) appendJSON(b []byte, v reflect.Value) []byte {
	b = append(b, '{')
	first := true
	for _, f := range s.planOf(v.Type()).fields {
		if f.loc != inBody || f.payload || f.event == "header" || absent(v.Field(f.index)) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendString(b, f.wire), ':')
		b = s.appendValue(b, v.Field(f.index), f.shape)
	}
	return append(b, '}')
}

func (s *Service) appendValue(b []byte, v reflect.Value, sh *Shape) []byte {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.String:
		return appendString(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Float64:
		text := floatText(v.Float())
		if text[len(text)-1] > '9' {
			return appendString(b, text) // NaN, Infinity
		}
		return append(b, text...)
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			format := timestampOf(sh, epochTime)
			if format == epochTime {
				return append(b, formatTime(t, format)...)
			}
			return appendString(b, formatTime(t, format))
		}
		return s.appendJSON(b, v)
	case reflect.Slice:
		if v.Type() == bytesType {
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, v.Bytes())
			return append(b, '"')
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = s.appendValue(b, v.Index(i), s.element(sh))
		}
		return append(b, ']')
	case reflect.Map:
		b = append(b, '{')
		for i, key := range sortedMapKeys(v) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, key.String()), ':')
			b = s.appendValue(b, v.MapIndex(key), s.element(sh))
		}
		return append(b, '}')
	}
	panic("awsapi: no JSON form of " + v.Type().String())
}

// sortedMapKeys makes output independent of map order.
func sortedMapKeys(v reflect.Value) []reflect.Value {
	byText := map[string]reflect.Value{}
	for _, k := range v.MapKeys() {
		byText[k.String()] = k
	}
	keys := make([]reflect.Value, 0, len(byText))
	for _, text := range slices.Sorted(maps.Keys(byText)) {
		keys = append(keys, byText[text])
	}
	return keys
}

const hexDigits = "0123456789abcdef"

// appendString writes a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[start:i]...), `\ufffd`...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
