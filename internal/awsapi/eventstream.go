package awsapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"reflect"
	"time"
)

// EventStream writes the events of a streamed output: the runtime calls it
// once the response's headers are sent, with a function that sends one event,
// flushed before it returns. E is a union: exactly one member must be set. An
// error that it returns ends the stream with an exception message.
type EventStream[E any] func(send func(*E) error) error

// events hides E from the runtime.
func (e EventStream[E]) events(send func(reflect.Value) error) error {
	return e(func(event *E) error { return send(reflect.ValueOf(event).Elem()) })
}

type eventSource interface {
	events(send func(reflect.Value) error) error
}

// EventContentType is the media type of an event stream.
const EventContentType = "application/vnd.amazon.eventstream"

// Limits of one event-stream message.
const (
	maxEventHeaders = 128 << 10
	maxEventPayload = 16 << 20
)

// EventHeader is a typed header of an event-stream message. Value is a bool,
// int8, int16, int32, int64, []byte, string, time.Time or [16]byte (a UUID).
type EventHeader struct {
	Name  string
	Value any
}

// EventWriter writes event-stream messages:
//
//	prelude   total length u32 | headers length u32 | CRC32 of these u32
//	headers   name length u8 | name | type u8 | value ...
//	payload
//	CRC32 of all before it, u32
//
// All numbers are big-endian.
// https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html
type EventWriter struct {
	w   io.Writer
	buf []byte
}

// NewEventWriter returns a writer to w. If w is an http.ResponseWriter, every
// message is flushed.
func NewEventWriter(w io.Writer) *EventWriter { return &EventWriter{w: w} }

// WriteMessage writes one message.
func (e *EventWriter) WriteMessage(headers []EventHeader, payload []byte) error {
	b := append(e.buf[:0], make([]byte, 12)...)
	for _, h := range headers {
		if h.Name == "" || len(h.Name) > 255 {
			return fmt.Errorf("event header name %q has a bad length", h.Name)
		}
		b = append(append(b, byte(len(h.Name))), h.Name...)
		var err error
		if b, err = appendEventValue(b, h.Value); err != nil {
			return fmt.Errorf("event header %s: %w", h.Name, err)
		}
	}
	n := len(b) - 12
	if n > maxEventHeaders || len(payload) > maxEventPayload {
		return errors.New("event-stream message is too large")
	}
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b, uint32(len(b)+4))
	binary.BigEndian.PutUint32(b[4:], uint32(n))
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[:8]))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	e.buf = b
	if _, err := e.w.Write(b); err != nil {
		return err
	}
	if rw, ok := e.w.(http.ResponseWriter); ok {
		if err := http.NewResponseController(rw).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	return nil
}

func appendEventValue(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case bool:
		if v {
			return append(b, 0), nil
		}
		return append(b, 1), nil
	case int8:
		return append(b, 2, byte(v)), nil
	case int16:
		return binary.BigEndian.AppendUint16(append(b, 3), uint16(v)), nil
	case int32:
		return binary.BigEndian.AppendUint32(append(b, 4), uint32(v)), nil
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 5), uint64(v)), nil
	case []byte:
		if len(v) > 1<<15-1 {
			return nil, errors.New("value is too long")
		}
		return append(binary.BigEndian.AppendUint16(append(b, 6), uint16(len(v))), v...), nil
	case string:
		if len(v) > 1<<15-1 {
			return nil, errors.New("value is too long")
		}
		return append(binary.BigEndian.AppendUint16(append(b, 7), uint16(len(v))), v...), nil
	case time.Time:
		return binary.BigEndian.AppendUint64(append(b, 8), uint64(v.UnixMilli())), nil
	case [16]byte:
		return append(append(b, 9), v[:]...), nil
	}
	return nil, fmt.Errorf("no event-stream form of %T", value)
}

// event writes one member of a union as a message.
func (s *Service) event(w *EventWriter, union reflect.Value) error {
	for _, f := range s.planOf(union.Type()).fields {
		v := union.Field(f.index)
		if absent(v) {
			continue
		}
		if e, ok := v.Interface().(Error); ok {
			return s.exception(w, f.wire, e)
		}
		headers := []EventHeader{{":message-type", "event"}, {":event-type", f.wire}}
		return s.message(w, headers, v.Elem())
	}
	return errors.New("event union has no member")
}

// message writes the structure v behind headers.
func (s *Service) message(w *EventWriter, headers []EventHeader, v reflect.Value) error {
	var payload *field
	body := false
	for _, f := range s.planOf(v.Type()).fields {
		fv := v.Field(f.index)
		switch {
		case f.event == "payload":
			payload = f
		case f.event == "header" && !absent(fv):
			value := fv.Interface()
			if fv.Kind() == reflect.Pointer {
				value = fv.Elem().Interface()
			}
			headers = append(headers, EventHeader{f.wire, value})
		case f.loc == inBody:
			body = true
		}
	}
	var content []byte
	media := ""
	switch {
	case payload == nil && !body:
	case payload == nil:
		media, content = s.eventBody(v)
	case absent(v.Field(payload.index)):
	case v.Field(payload.index).Type() == bytesType:
		media, content = "application/octet-stream", v.Field(payload.index).Bytes()
	case isScalar(v.Field(payload.index).Type()):
		media, content = "text/plain", []byte(scalarText(v.Field(payload.index).Elem(), iso8601))
	default:
		media, content = s.eventBody(v.Field(payload.index).Elem())
	}
	if media != "" {
		headers = append(headers, EventHeader{":content-type", media})
	}
	return w.WriteMessage(headers, content)
}

// eventBody is a structure in the service's protocol.
func (s *Service) eventBody(v reflect.Value) (string, []byte) {
	switch s.Protocol {
	case RESTXML:
		x := &xmlWriter{s: s, time: iso8601Millis}
		x.open(v.Type().Name(), xmlns(s.XMLNamespace))
		x.members(v)
		x.close(v.Type().Name())
		return "text/xml", x.b
	case JSON:
		return s.jsonMedia(), s.appendJSON(nil, v)
	}
	return "application/json", s.appendJSON(nil, v)
}

// exception writes a modelled error as the end of a stream.
func (s *Service) exception(w *EventWriter, name string, e Error) error {
	headers := []EventHeader{{":message-type", "exception"}, {":exception-type", name}}
	if v := reflect.ValueOf(e); v.Kind() == reflect.Pointer && s.isModelled(v.Elem()) {
		return s.message(w, headers, v.Elem())
	}
	return w.WriteMessage([]EventHeader{
		{":message-type", "error"},
		{":error-code", e.ErrorCode()},
		{":error-message", messageOf(e)},
	}, nil)
}

// stream sends the events of source; an error of the handler is told in the
// stream, and returned as well.
func (s *Service) stream(w http.ResponseWriter, source eventSource, first reflect.Value) error {
	ew := NewEventWriter(w)
	if s.Protocol == JSON { // RPC protocols tell the output's other members first
		headers := []EventHeader{{":message-type", "event"}, {":event-type", "initial-response"}, {":content-type", s.jsonMedia()}}
		if err := ew.WriteMessage(headers, s.appendJSON(nil, first)); err != nil {
			return err
		}
	}
	broken := false
	err := source.events(func(event reflect.Value) error {
		err := s.event(ew, event)
		broken = broken || err != nil
		return err
	})
	if err == nil || broken {
		return err
	}
	e, ok := errors.AsType[Error](err)
	if !ok {
		e = s.internal()
	}
	return errors.Join(err, s.exception(ew, e.ErrorCode(), e))
}
