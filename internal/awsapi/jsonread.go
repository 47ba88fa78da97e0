package awsapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonReader decodes one JSON document straight into structures. Unknown
// members are skipped, null means absent, the last of equal names wins.
type jsonReader struct {
	s   *Service
	b   []byte
	i   int
	bud budget
}

var errJSON = errors.New("malformed JSON")

// clientText is an error in AWS's words, which the client is told.
type clientText string

func (t clientText) Error() string { return string(t) }

// typeError is a JSON value of the wrong kind.
func typeError(token, want string) error {
	article := "a"
	if want != "" && strings.ContainsRune("AEIOU", rune(want[0])) {
		article = "an"
	}
	return fmt.Errorf("%s can not be converted to %s %s", token, article, want)
}

// decodeJSON reads b into v, an addressable structure. No bytes at all are an
// empty object.
func (s *Service) decodeJSON(b []byte, v reflect.Value, lim Limits) error {
	r := &jsonReader{s: s, b: b, bud: budget{lim.Elements, lim.Depth}}
	r.space()
	if r.i == len(b) {
		return nil
	}
	if r.b[r.i] != '{' {
		if err := r.skip(); err != nil {
			return err
		}
		return clientText("Start of structure or map found where not expected.")
	}
	if err := r.structure(v); err != nil {
		return err
	}
	r.space()
	if r.i != len(b) {
		return errJSON
	}
	return nil
}

func (r *jsonReader) space() {
	for r.i < len(r.b) {
		switch r.b[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

// peek returns the first byte of the next token, 0 at the end.
func (r *jsonReader) peek() byte {
	r.space()
	if r.i == len(r.b) {
		return 0
	}
	return r.b[r.i]
}

func (r *jsonReader) literal(word string) error {
	if !strings.HasPrefix(string(r.b[r.i:min(r.i+len(word), len(r.b))]), word) {
		return errJSON
	}
	r.i += len(word)
	return nil
}

// each calls f for every item between open and close; key is empty in arrays.
func (r *jsonReader) each(open, shut byte, f func(key string) error) error {
	if err := r.bud.enter(); err != nil {
		return err
	}
	defer r.bud.leave()
	if r.peek() != open {
		return errJSON
	}
	r.i++
	if r.peek() == shut {
		r.i++
		return nil
	}
	for {
		if err := r.bud.element(); err != nil {
			return err
		}
		key := ""
		if open == '{' {
			if r.peek() != '"' {
				return errJSON
			}
			var err error
			if key, err = r.text(); err != nil {
				return err
			}
			if r.peek() != ':' {
				return errJSON
			}
			r.i++
		}
		if err := f(key); err != nil {
			return err
		}
		switch r.peek() {
		case ',':
			r.i++
		case shut:
			r.i++
			return nil
		default:
			return errJSON
		}
	}
}

func (r *jsonReader) structure(v reflect.Value) error {
	p := r.s.planOf(v.Type())
	return r.each('{', '}', func(key string) error {
		f := p.body[key]
		if f == nil {
			return r.skip()
		}
		if r.peek() == 'n' {
			v.Field(f.index).SetZero()
			return r.literal("null")
		}
		return r.value(v.Field(f.index), f.shape)
	})
}

// value reads the next value, which is not null, into a member or an element.
func (r *jsonReader) value(v reflect.Value, sh *Shape) error {
	c := r.peek()
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case c == 0:
		return errJSON
	case isScalar(t):
		return r.scalar(alloc(v), sh, c)
	case t.Kind() == reflect.Slice:
		return r.list(v, sh, c)
	case t.Kind() == reflect.Map:
		return r.dict(v, sh, c)
	case t.Kind() == reflect.Struct:
		if c != '{' {
			return r.wrong(c, "Structure")
		}
		return r.structure(alloc(v))
	}
	return fmt.Errorf("awsapi: no JSON form of %s", t)
}

func (r *jsonReader) list(v reflect.Value, sh *Shape, c byte) error {
	if c != '[' {
		return r.wrong(c, "List")
	}
	list := reflect.MakeSlice(v.Type(), 0, 0)
	elem := r.s.element(sh)
	err := r.each('[', ']', func(string) error {
		if r.peek() == 'n' {
			return typeError("NULL_VALUE", "list member")
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := r.value(e, elem); err != nil {
			return err
		}
		list = reflect.Append(list, e)
		return nil
	})
	v.Set(list)
	return err
}

func (r *jsonReader) dict(v reflect.Value, sh *Shape, c byte) error {
	if c != '{' {
		return r.wrong(c, "Map")
	}
	m := reflect.MakeMap(v.Type())
	elem := r.s.element(sh)
	err := r.each('{', '}', func(key string) error {
		if r.peek() == 'n' {
			return typeError("NULL_VALUE", "map value")
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := r.value(e, elem); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), e)
		return nil
	})
	v.Set(m)
	return err
}

// wrong reads the value whole, so that bad syntax is told first, and says that
// its kind is not the one wanted.
func (r *jsonReader) wrong(c byte, want string) error {
	if err := r.skip(); err != nil {
		return err
	}
	switch c {
	case '{':
		return clientText("Start of structure or map found where not expected.")
	case '[':
		return clientText("Start of list found where not expected")
	case '"':
		return typeError("STRING_VALUE", want)
	case 't':
		return typeError("TRUE_VALUE", want)
	case 'f':
		return typeError("FALSE_VALUE", want)
	}
	return typeError("NUMBER_VALUE", want)
}

func (r *jsonReader) scalar(v reflect.Value, sh *Shape, c byte) error {
	switch v.Kind() {
	case reflect.String:
		if c != '"' {
			return r.wrong(c, "String")
		}
		s, err := r.text()
		v.SetString(s)
		return err
	case reflect.Slice:
		if c != '"' {
			return r.wrong(c, "Blob")
		}
		return r.blob(v)
	case reflect.Bool:
		if c != 't' && c != 'f' {
			return r.wrong(c, "Boolean")
		}
		v.SetBool(c == 't')
		return r.literal(strconv.FormatBool(c == 't'))
	case reflect.Int32, reflect.Int64:
		if c == '"' || c == '{' || c == '[' || c == 't' || c == 'f' {
			return r.wrong(c, intName(v))
		}
		text, err := r.number()
		if err != nil {
			return err
		}
		n, err := integer(text, v.Type().Bits())
		if err != nil {
			return typeError("NUMBER_VALUE", intName(v))
		}
		v.SetInt(n)
		return nil
	}
	text, err := "", error(nil)
	if c == '"' {
		if text, err = r.text(); err == nil && v.Kind() == reflect.Float64 && text != "NaN" && text != "Infinity" && text != "-Infinity" {
			err = typeError("STRING_VALUE", "Double")
		}
	} else if c == '{' || c == '[' || c == 't' || c == 'f' {
		return r.wrong(c, map[bool]string{true: "Timestamp", false: "Double"}[v.Kind() == reflect.Struct])
	} else {
		text, err = r.number()
	}
	if err != nil {
		return err
	}
	format := epochTime
	if c == '"' {
		format = timestampOf(sh, iso8601)
	}
	return setScalar(v, text, format)
}

// integer reads a JSON number that has an integer value: 3, 3.0, 3e2.
func integer(text string, bits int) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, bits); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || len(text) > 64 || f > 1e19 || f < -1e19 || f != 0 && f < 1 && f > -1 {
		return 0, errJSON
	}
	if f == 0 {
		return 0, nil // and not what 0e999999999 would cost
	}
	exact, ok := new(big.Rat).SetString(text)
	if !ok || !exact.IsInt() || !exact.Num().IsInt64() {
		return 0, errJSON
	}
	n := exact.Num().Int64()
	if bits == 32 && n != int64(int32(n)) {
		return 0, errJSON
	}
	return n, nil
}

// number returns the text of the number at hand.
func (r *jsonReader) number() (string, error) {
	start := r.i
	if r.at('-') {
		r.i++
	}
	if r.at('0') {
		r.i++
	} else if r.digits() == 0 {
		return "", errJSON
	}
	if r.at('.') {
		r.i++
		if r.digits() == 0 {
			return "", errJSON
		}
	}
	if r.at('e') || r.at('E') {
		r.i++
		if r.at('+') || r.at('-') {
			r.i++
		}
		if r.digits() == 0 {
			return "", errJSON
		}
	}
	return string(r.b[start:r.i]), nil
}

func (r *jsonReader) at(c byte) bool { return r.i < len(r.b) && r.b[r.i] == c }

func (r *jsonReader) digits() int {
	n := 0
	for r.i < len(r.b) && r.b[r.i] >= '0' && r.b[r.i] <= '9' {
		r.i++
		n++
	}
	return n
}

// raw returns the bytes between the quotes at hand and whether they are plain:
// without escapes.
func (r *jsonReader) raw() (text []byte, plain bool, err error) {
	r.i++
	start := r.i
	plain = true
	for r.i < len(r.b) {
		switch c := r.b[r.i]; {
		case c == '"':
			text = r.b[start:r.i]
			r.i++
			return text, plain, nil
		case c == '\\':
			plain = false
			r.i += 2
		case c < 0x20:
			return nil, false, errJSON
		default:
			r.i++
		}
	}
	return nil, false, errJSON
}

func (r *jsonReader) text() (string, error) {
	raw, plain, err := r.raw()
	if err != nil {
		return "", err
	}
	if !utf8.Valid(raw) {
		return "", errJSON
	}
	if plain {
		return string(raw), nil
	}
	return unescape(raw)
}

func unescape(raw []byte) (string, error) {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++ // raw never ends in the middle of a two-byte escape
		switch c := raw[i]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			u, ok := hex4(raw[i+1:])
			if !ok {
				return "", errJSON
			}
			i += 4
			if utf16.IsSurrogate(u) {
				low, ok := rune(0), false
				if i+2 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
					low, ok = hex4(raw[i+3:])
				}
				if pair := utf16.DecodeRune(u, low); ok && pair != utf8.RuneError {
					u = pair
					i += 6
				} else {
					u = utf8.RuneError
				}
			}
			out = utf8.AppendRune(out, u)
		default:
			return "", errJSON
		}
	}
	return string(out), nil
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n), err == nil
}

// blob decodes base64 without an intermediate string: a function's code comes
// this way.
func (r *jsonReader) blob(v reflect.Value) error {
	raw, plain, err := r.raw()
	if err != nil {
		return err
	}
	if !plain {
		text, err := unescape(raw)
		if err != nil {
			return err
		}
		raw = []byte(text)
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Decode(out, raw)
	if err != nil {
		return clientText("Invalid base64 in blob")
	}
	v.SetBytes(out[:n])
	return nil
}

// skip reads over one value of any kind.
func (r *jsonReader) skip() error {
	switch c := r.peek(); c {
	case '{':
		return r.each('{', '}', func(string) error { return r.skip() })
	case '[':
		return r.each('[', ']', func(string) error { return r.skip() })
	case '"':
		_, err := r.text()
		return err
	case 't':
		return r.literal("true")
	case 'f':
		return r.literal("false")
	case 'n':
		return r.literal("null")
	default:
		_, err := r.number()
		return err
	}
}
