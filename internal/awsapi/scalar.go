package awsapi

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Timestamp formats of the models.
const (
	iso8601   = "iso8601"
	rfc822    = "rfc822"
	epochTime = "unixTimestamp"
)

// scalarError says that a text is not of the type that the model wants.
type scalarError struct {
	text string
	want string // Integer, Boolean, ...
}

func (e *scalarError) Error() string { return fmt.Sprintf("%q is not a valid %s", e.text, e.want) }

// setScalar parses text into v, a scalar that alloc returned.
func setScalar(v reflect.Value, text, timestamp string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true":
			v.SetBool(true)
		case "false":
			v.SetBool(false)
		default:
			return &scalarError{text, "Boolean"}
		}
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(strings.TrimPrefix(text, "+"), 10, v.Type().Bits())
		if err != nil {
			return &scalarError{text, intName(v)}
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return &scalarError{text, "Double"}
		}
		v.SetFloat(f)
	case reflect.Struct:
		t, err := parseTime(text, timestamp)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(t))
	case reflect.Slice:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return &scalarError{text, "Blob"}
		}
		v.SetBytes(b)
	default:
		return &scalarError{text, "scalar"}
	}
	return nil
}

// scalarText is the text of a scalar.
func scalarText(v reflect.Value, timestamp string) string {
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return floatText(v.Float())
	case reflect.Struct:
		return formatTime(v.Interface().(time.Time), timestamp)
	case reflect.Slice:
		return base64.StdEncoding.EncodeToString(v.Bytes())
	}
	panic("awsapi: not a scalar: " + v.Type().String())
}

func isScalar(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		return t == timeType
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	case reflect.Map, reflect.Interface, reflect.Func:
		return false
	}
	return true
}

func intName(v reflect.Value) string {
	if v.Kind() == reflect.Int32 {
		return "Integer"
	}
	return "Long"
}

func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// timestampOf is the format of a member at a location.
func timestampOf(sh *Shape, def string) string {
	if sh != nil && sh.Timestamp != "" {
		return sh.Timestamp
	}
	return def
}

// Bounds of a time that both RFC 3339 and an int64 of nanoseconds can say.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
)

func parseTime(text, format string) (time.Time, error) {
	if format == epochTime {
		return parseEpoch(text)
	}
	layouts := []string{time.RFC3339Nano, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "20060102T150405Z", "2006-01-02"}
	if format == rfc822 {
		if t, err := http.ParseTime(text); err == nil {
			return t.UTC(), nil
		}
		layouts = append([]string{time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 GMT"}, layouts...)
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, &scalarError{text, "Timestamp"}
}

// parseEpoch reads decimal seconds exactly, to the nanosecond.
func parseEpoch(text string) (time.Time, error) {
	if len(text) > 64 {
		return time.Time{}, &scalarError{text[:64], "Timestamp"}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || f < float64(firstTime.Unix()) || f > float64(lastTime.Unix()) {
		return time.Time{}, &scalarError{text, "Timestamp"}
	}
	if strings.ContainsAny(text, "xXpP_") || math.Abs(f) < 1e-9 && f != 0 {
		return time.Time{}, &scalarError{text, "Timestamp"}
	}
	if f == 0 {
		return time.Unix(0, 0).UTC(), nil // and not what 0e999999999 would cost
	}
	exact, ok := new(big.Rat).SetString(text)
	if !ok {
		return time.Time{}, &scalarError{text, "Timestamp"}
	}
	exact.Mul(exact, big.NewRat(1e9, 1))
	nanos := new(big.Int).Quo(exact.Num(), exact.Denom())
	secs, rest := new(big.Int).DivMod(nanos, big.NewInt(1e9), new(big.Int))
	return time.Unix(secs.Int64(), rest.Int64()).UTC(), nil
}

func formatTime(t time.Time, format string) string {
	t = t.UTC()
	switch format {
	case rfc822:
		return t.Format(http.TimeFormat)
	case epochTime:
		s := strconv.FormatInt(t.Unix(), 10)
		if ms := t.Nanosecond() / 1e6; ms != 0 && t.Unix() >= 0 {
			s += strings.TrimRight(fmt.Sprintf(".%03d", ms), "0")
		}
		return s
	case iso8601Millis:
		return t.Format("2006-01-02T15:04:05.000Z")
	}
	if t.Nanosecond()/1e6 != 0 {
		return t.Format("2006-01-02T15:04:05.000Z")
	}
	return t.Format("2006-01-02T15:04:05Z")
}

// iso8601Millis is how S3 writes the times of its bodies.
const iso8601Millis = "iso8601-millis"
