package awsapi

import (
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
)

// ErrorContext is what an error's answer tells of the request.
type ErrorContext struct {
	Method    string // HEAD has no body
	RequestID string
	HostID    string // S3: x-amz-id-2
	Resource  string // S3: the path asked for, decoded
}

// WriteError answers a request with err in the service's protocol and returns
// the error that was sent: err itself if it wraps an Error, else the protocol's
// internal error, which tells nothing of err. The caller logs err.
func (s *Service) WriteError(w http.ResponseWriter, ec ErrorContext, err error) Error {
	e, ok := errors.AsType[Error](err)
	if !ok {
		e = s.internal()
	}
	h := w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Content-Type"} {
		h.Del(name)
	}
	s.setRequestID(h, ec.RequestID)
	if s.Protocol == RESTXML && ec.HostID != "" {
		h.Set("X-Amz-Id-2", ec.HostID)
	}
	v := s.modelled(e)
	if v.IsValid() {
		for _, f := range s.planOf(v.Type()).fields {
			if fv := v.Field(f.index); f.loc == inHeader && !absent(fv) {
				setOutputHeader(h, f, fv)
			}
		}
	}
	var media string
	var body []byte
	switch s.Protocol {
	case RESTXML:
		media, body = "application/xml", s.s3Error(e, v, ec)
	case Query:
		media, body = "text/xml", s.queryError(e, v, ec)
	default:
		media, body = "application/json", s.jsonError(e, v)
		if s.Protocol == JSON {
			media = s.jsonMedia()
		}
		h.Set("X-Amzn-Errortype", e.ErrorCode())
	}
	_ = writeBody(w, ec.Method, e.HTTPStatus(), media, body) // the client has gone
	return e
}

// internal is what a client is told of an error that is none of its business.
func (s *Service) internal() Error {
	e := &ErrorResponse{Status: http.StatusInternalServerError, Code: "InternalFailure", Message: "The request processing has failed because of an unknown error, exception or failure."}
	switch s.Protocol {
	case RESTXML:
		e.Code, e.Message = "InternalError", "We encountered an internal error. Please try again."
	case RESTJSON:
		e.Code, e.Message = "ServiceException", "An internal error occurred."
		e.Fields = map[string]string{"Type": "Service"}
	}
	return e
}

// modelled returns the structure of a generated error, or the zero Value.
func (s *Service) modelled(e Error) reflect.Value {
	v := reflect.ValueOf(e)
	if v.Kind() == reflect.Pointer && !v.IsNil() && s.isModelled(v.Elem()) {
		return v.Elem()
	}
	return reflect.Value{}
}

// isModelled tells generated structures by their tags.
func (s *Service) isModelled(v reflect.Value) bool {
	if v.Kind() != reflect.Struct || v.NumField() == 0 {
		return false
	}
	_, ok := v.Type().Field(0).Tag.Lookup("aws")
	return ok
}

// messageOf is the message that the client is told, without the code.
func messageOf(e Error) string {
	if r, ok := e.(*ErrorResponse); ok {
		return r.Message
	}
	if m, ok := e.(interface{ ErrorMessage() string }); ok { // of packages that do not import this one
		return m.ErrorMessage()
	}
	if v := reflect.Indirect(reflect.ValueOf(e)); v.Kind() == reflect.Struct {
		if f := v.FieldByName("Message"); f.IsValid() && f.Kind() == reflect.Pointer && !f.IsNil() && f.Elem().Kind() == reflect.String {
			return f.Elem().String()
		}
	}
	return ""
}

func fieldsOf(e Error) map[string]string {
	if r, ok := e.(*ErrorResponse); ok {
		return r.Fields
	}
	if f, ok := e.(interface{ ErrorFields() map[string]string }); ok {
		return f.ErrorFields()
	}
	return nil
}

// jsonError writes {"__type", "Type", members}. Lambda's errors say whose fault
// they are.
func (s *Service) jsonError(e Error, v reflect.Value) []byte {
	var head []byte
	member := func(name, value string) {
		if len(head) > 1 {
			head = append(head, ',')
		}
		head = append(appendString(head, name), ':')
		head = appendString(head, value)
	}
	head = append(head, '{')
	if s.Protocol == JSON {
		member("__type", e.ErrorCode())
	}
	if !v.IsValid() {
		fields := fieldsOf(e)
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			member(name, fields[name])
		}
		if message := messageOf(e); message != "" {
			name := "message"
			if code := e.ErrorCode(); code == "AccessDeniedException" || code == "SerializationException" {
				name = "Message" // these come from AWS's front, not from the service
			}
			member(name, message)
		}
		return append(head, '}')
	}
	if f := v.FieldByName("Type"); f.IsValid() && f.Kind() == reflect.Pointer && f.IsNil() {
		kind := "User"
		if e.Fault() == "server" {
			kind = "Service"
		}
		member("Type", kind)
	}
	rest := s.appendJSON(nil, v)[1:]
	if len(head) > 1 && len(rest) > 1 {
		head = append(head, ',')
	}
	return append(head, rest...)
}

// queryError writes <ErrorResponse><Error>...</Error><RequestId/></ErrorResponse>.
func (s *Service) queryError(e Error, v reflect.Value, ec ErrorContext) []byte {
	x := &xmlWriter{s: s, time: iso8601}
	x.open("ErrorResponse", xmlns(s.XMLNamespace))
	x.open("Error", "")
	kind := "Sender"
	if e.Fault() == "server" {
		kind = "Receiver"
	}
	x.text("Type", kind)
	s.errorMembers(x, e, v)
	x.close("Error")
	x.text("RequestId", ec.RequestID)
	x.close("ErrorResponse")
	return x.b
}

// s3Error writes the bare <Error> of S3.
func (s *Service) s3Error(e Error, v reflect.Value, ec ErrorContext) []byte {
	x := &xmlWriter{s: s, b: []byte(xmlDeclaration), time: iso8601Millis}
	x.open("Error", "")
	s.errorMembers(x, e, v)
	if _, told := fieldsOf(e)["Resource"]; ec.Resource != "" && !told {
		x.text("Resource", ec.Resource)
	}
	x.text("RequestId", ec.RequestID)
	x.text("HostId", ec.HostID)
	x.close("Error")
	return x.b
}

// errorMembers writes Code, Message and whatever else the error has.
func (s *Service) errorMembers(x *xmlWriter, e Error, v reflect.Value) {
	x.text("Code", e.ErrorCode())
	x.text("Message", messageOf(e))
	if !v.IsValid() {
		fields := fieldsOf(e)
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if isXMLName(name) {
				x.text(name, fields[name])
			}
		}
		return
	}
	for _, f := range s.planOf(v.Type()).fields {
		if fv := v.Field(f.index); f.loc == inBody && f.path != "message" && !absent(fv) {
			x.value(f.wire, "", fv, f.shape)
		}
	}
}

func isXMLName(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}
