package awsapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
)

// Decode reads the input of the operation from r, which Match was given, and
// checks it against the model's constraints. The result is a pointer to
// m.Op.Input; it is there, too, when nothing but a constraint is broken. A
// streaming body is handed over unread; the caller must not read
// r.Body then. Errors that wrap no Error come from reading the connection.
func (m *Match) Decode(_ context.Context, r *http.Request, lim Limits) (any, error) {
	lim = m.svc.limits(m.Op, lim)
	in := reflect.New(m.Op.Input)
	var err error
	switch m.svc.Protocol {
	case JSON:
		err = m.decodeJSONBody(r, in.Elem(), lim)
	case Query:
		err = m.svc.decodeForm(m.form, in.Elem(), lim)
	default:
		err = m.decodeREST(r, in.Elem(), lim)
	}
	if err != nil {
		return nil, err
	}
	return in.Interface(), m.svc.validate(in.Elem())
}

// malformed is the answer to a body that does not parse.
func (s *Service) malformed(err error) error {
	switch s.Protocol {
	case RESTXML:
		return &ErrorResponse{
			Status: http.StatusBadRequest, Code: "MalformedXML",
			Message: "The XML you provided was not well-formed or did not validate against our published schema",
		}
	case Query:
		return Errorf(http.StatusBadRequest, "MalformedInput", "%s", err)
	}
	if errors.Is(err, errJSON) {
		return &ErrorResponse{Status: http.StatusBadRequest, Code: "SerializationException"}
	}
	return Errorf(http.StatusBadRequest, "SerializationException", "%s", err)
}

func (m *Match) decodeJSONBody(r *http.Request, in reflect.Value, lim Limits) error {
	body, err := m.svc.readBody(r, m.Op, lim.Body)
	if err != nil {
		return err
	}
	if err := m.svc.decodeJSON(body, in, lim); err != nil {
		return m.svc.malformed(err)
	}
	return nil
}

// decodeREST fills the members that path, query and headers carry, then the
// body.
func (m *Match) decodeREST(r *http.Request, in reflect.Value, lim Limits) error {
	p := m.svc.planOf(in.Type())
	for _, f := range p.fields {
		v := in.Field(f.index)
		var err error
		switch f.loc {
		case inPath:
			err = m.svc.setText(f, v, m.labels[f.wire], iso8601)
		case inQuery:
			err = m.setQuery(f, v, lim)
		case inHeader:
			if f.wire == "Content-Length" {
				// The body's length, which the caller may have corrected for
				// an encoding it took off.
				if r.ContentLength >= 0 {
					alloc(v).SetInt(r.ContentLength)
				}
				continue
			}
			err = m.setHeader(f, v, r.Header)
		case inHeaders:
			err = setHeaders(f, v, r.Header)
		}
		if err != nil {
			return err
		}
	}
	if p.payload != nil {
		return m.decodePayload(r, p.payload, in.Field(p.payload.index), lim)
	}
	if len(p.body) == 0 {
		return nil
	}
	body, err := m.svc.readBody(r, m.Op, lim.Body)
	if err != nil {
		return err
	}
	if m.svc.Protocol == RESTXML {
		err = m.svc.decodeXML(body, m.Op.InputRoot, in, lim)
	} else {
		err = m.svc.decodeJSON(body, in, lim)
	}
	if err != nil {
		return m.svc.malformed(err)
	}
	return nil
}

// setText parses a member of path, query or header.
func (s *Service) setText(f *field, v reflect.Value, text, timestamp string) error {
	if err := setScalar(alloc(v), text, timestampOf(f.shape, timestamp)); err != nil {
		return s.badText(f, text, err)
	}
	return nil
}

// badText is the answer to a text of the wrong type outside of a body.
func (s *Service) badText(f *field, text string, err error) error {
	if s.Protocol != RESTXML {
		return Errorf(http.StatusBadRequest, "SerializationException", "%s", err)
	}
	message := "Invalid argument."
	if e, ok := errors.AsType[*scalarError](err); ok && (e.want == "Integer" || e.want == "Long") {
		message = "Provided " + f.wire + " not an integer or within integer range"
	}
	return invalidArgument(f.wire, text, message)
}

// invalidArgument is S3's answer to a query member or header it does not take.
func invalidArgument(name, value, message string) error {
	return &ErrorResponse{
		Status: http.StatusBadRequest, Code: "InvalidArgument", Message: message,
		Fields: map[string]string{"ArgumentName": name, "ArgumentValue": value},
	}
}

func (m *Match) setQuery(f *field, v reflect.Value, lim Limits) error {
	values, ok := m.query[f.wire]
	if !ok {
		return nil
	}
	if isScalar(v.Type()) {
		if values[0] == "" && v.Type().Elem().Kind() != reflect.String {
			return nil
		}
		return m.svc.setText(f, v, values[0], iso8601)
	}
	if len(values) > lim.Elements {
		return m.svc.malformed(errElements)
	}
	list := reflect.MakeSlice(v.Type(), len(values), len(values))
	for i, text := range values {
		if err := m.svc.setText(f, list.Index(i), text, iso8601); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

// lenientDates are HTTP's own headers, which a server must ignore if they hold
// no date (RFC 9110, 13.1.3); S3 stores Expires whatever it says.
var lenientDates = map[string]bool{"If-Modified-Since": true, "If-Unmodified-Since": true, "Expires": true}

func (m *Match) setHeader(f *field, v reflect.Value, h http.Header) error {
	values, ok := h[f.header]
	if !ok {
		return nil
	}
	text := strings.Join(values, ",")
	if isScalar(v.Type()) {
		plain := v.Type() == reflect.TypeFor[*string]()
		if text == "" && !plain {
			return nil
		}
		if err := m.svc.setText(f, v, text, rfc822); err != nil {
			if lenientDates[f.wire] {
				v.SetZero()
				return nil
			}
			return err
		}
		return nil
	}
	list := reflect.MakeSlice(v.Type(), 0, 1)
	for part := range strings.SplitSeq(text, ",") {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := m.svc.setText(f, e, strings.Trim(part, ` "`), rfc822); err != nil {
			return err
		}
		list = reflect.Append(list, e)
	}
	v.Set(list)
	return nil
}

// setHeaders collects the headers behind a prefix, in lower case: the case
// that the client wrote is not known here, and S3 stores metadata so.
func setHeaders(f *field, v reflect.Value, h http.Header) error {
	prefix := strings.ToLower(f.wire)
	for name, values := range h {
		key, ok := strings.CutPrefix(strings.ToLower(name), prefix)
		if !ok || key == "" {
			continue
		}
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		v.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(strings.Join(values, ",")))
	}
	return nil
}

// decodePayload fills the member that is the whole body.
func (m *Match) decodePayload(r *http.Request, f *field, v reflect.Value, lim Limits) error {
	if v.Kind() == reflect.Interface {
		v.Set(reflect.ValueOf(r.Body))
		return nil
	}
	body, err := m.svc.readBody(r, m.Op, lim.Body)
	if err != nil || len(body) == 0 {
		return err
	}
	switch {
	case v.Type() == bytesType:
		v.SetBytes(body)
	case isScalar(v.Type()):
		alloc(v).SetString(string(body))
	case m.svc.Protocol == RESTXML:
		if err := m.svc.decodeXML(body, f.wire, alloc(v), lim); err != nil {
			return m.svc.malformed(err)
		}
	default:
		if err := m.svc.decodeJSON(body, alloc(v), lim); err != nil {
			return m.svc.malformed(err)
		}
	}
	return nil
}
