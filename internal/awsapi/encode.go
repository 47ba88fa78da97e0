package awsapi

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// WriteOutput answers a request with out, a pointer to op.Output as Call
// returned it. It adds the request id and what the handler put in
// call.Response, sends a streaming body or an event stream to its end, and
// closes it. An error means that the response is incomplete: nothing more can
// be said to the client, the caller should break the connection
// (http.ErrAbortHandler) so that it notices.
func (s *Service) WriteOutput(w http.ResponseWriter, call *Call, op *Operation, out any) error {
	v := reflect.ValueOf(out).Elem()
	p := s.planOf(v.Type())
	h := w.Header()
	s.setRequestID(h, call.RequestID)
	status := op.Status
	if status == 0 {
		status = http.StatusOK
	}
	for _, f := range p.fields {
		fv := v.Field(f.index)
		if absent(fv) {
			continue
		}
		switch f.loc {
		case inHeader:
			setOutputHeader(h, f, fv)
		case inHeaders:
			for _, k := range sortedMapKeys(fv) {
				h[f.wire+k.String()] = []string{headerText(fv.MapIndex(k).String())} // in the case given
			}
		case inStatus:
			status = int(fv.Elem().Int())
		}
	}
	for name, values := range call.Response.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	if call.Response.Status != 0 {
		status = call.Response.Status
	}
	if status < 200 || status > 999 {
		return fmt.Errorf("%s: status %d cannot be sent", op.Name, status)
	}
	if p.payload != nil {
		return s.writePayload(w, op, status, p.payload, v)
	}
	media, body := s.outputBody(op, call, v, p)
	return writeBody(w, op.Method, status, media, body)
}

func setOutputHeader(h http.Header, f *field, v reflect.Value) {
	var text string
	switch {
	case !isScalar(v.Type()):
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = scalarText(v.Index(i), rfc822)
		}
		text = strings.Join(parts, ",")
	case v.Kind() == reflect.Slice:
		text = scalarText(v, rfc822)
	default:
		text = scalarText(v.Elem(), timestampOf(f.shape, rfc822))
	}
	h.Set(f.wire, headerText(text))
}

// headerText keeps a value from ending its header line.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, s)
}

// setRequestID sets the id headers that the protocol's clients read.
func (s *Service) setRequestID(h http.Header, id string) {
	switch {
	case id == "":
	case s.Protocol == RESTXML:
		h.Set("X-Amz-Request-Id", id)
	default:
		h.Set("X-Amzn-Requestid", id)
	}
}

func (s *Service) jsonMedia() string {
	version := s.JSONVersion
	if version == "" {
		version = "1.1"
	}
	return "application/x-amz-json-" + version
}

// outputBody writes an output that has no payload member.
func (s *Service) outputBody(op *Operation, call *Call, v reflect.Value, p *plan) (media string, body []byte) {
	switch s.Protocol {
	case JSON:
		if len(p.body) == 0 && isEmptyName(op) {
			return s.jsonMedia(), nil
		}
		return s.jsonMedia(), s.appendJSON(nil, v)
	case Query:
		x := &xmlWriter{s: s, time: iso8601}
		root := op.Name + "Response"
		x.open(root, xmlns(s.XMLNamespace))
		if op.ResultWrapper != "" {
			x.open(op.ResultWrapper, "")
			x.members(v)
			x.close(op.ResultWrapper)
		}
		x.open("ResponseMetadata", "")
		x.text("RequestId", call.RequestID)
		x.close("ResponseMetadata")
		x.close(root)
		return "text/xml", x.b
	case RESTXML:
		if len(p.body) == 0 {
			return "", nil
		}
		x := &xmlWriter{s: s, b: []byte(xmlDeclaration), time: iso8601Millis}
		root := xmlns(s.XMLNamespace)
		if f := p.body[op.OutputRoot]; f != nil && len(p.body) == 1 && isScalar(v.Field(f.index).Type()) {
			// GetBucketLocation: the member is the document
			if fv := v.Field(f.index); !absent(fv) {
				x.value(op.OutputRoot, root, fv, f.shape)
			} else {
				x.open(op.OutputRoot, root)
				x.close(op.OutputRoot)
			}
			return "application/xml", x.b
		}
		x.open(op.OutputRoot, root)
		x.members(v)
		x.close(op.OutputRoot)
		return "application/xml", x.b
	}
	if len(p.body) == 0 {
		return "application/json", nil
	}
	return "application/json", s.appendJSON(nil, v)
}

// isEmptyName tells whether the model has no output shape for op.
func isEmptyName(op *Operation) bool {
	return op.Output.NumField() == 0 && op.Output.Name() == op.Name+"Output"
}

// writePayload sends an output whose body is one member.
func (s *Service) writePayload(w http.ResponseWriter, op *Operation, status int, f *field, v reflect.Value) error {
	fv := v.Field(f.index)
	switch {
	case absent(fv):
		return writeBody(w, op.Method, status, "", nil)
	case fv.Kind() == reflect.Interface:
		return writeStream(w, op.Method, status, fv.Interface().(io.ReadCloser))
	case fv.Kind() == reflect.Func:
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", EventContentType)
		}
		w.WriteHeader(status)
		return s.stream(w, fv.Interface().(eventSource), v)
	case fv.Type() == bytesType:
		return writeBody(w, op.Method, status, s.blobMedia(), fv.Bytes())
	case isScalar(fv.Type()):
		return writeBody(w, op.Method, status, s.textMedia(), []byte(scalarText(fv.Elem(), iso8601)))
	case s.Protocol == RESTXML:
		x := &xmlWriter{s: s, b: []byte(xmlDeclaration), time: iso8601Millis}
		attrs := x.attrs(f, fv)
		if f.xmlns == "" {
			attrs = xmlns(s.XMLNamespace) + attrs
		}
		x.value(f.wire, attrs, fv, f.shape)
		return writeBody(w, op.Method, status, "application/xml", x.b)
	}
	return writeBody(w, op.Method, status, "application/json", s.appendJSON(nil, fv.Elem()))
}

// blobMedia is the type of a blob that says nothing of itself: Lambda's are
// the JSON of a function's result.
func (s *Service) blobMedia() string {
	if s.Protocol == RESTJSON {
		return "application/json"
	}
	return "application/octet-stream"
}

// textMedia is the type of a string payload: S3's is a bucket policy.
func (s *Service) textMedia() string {
	if s.Protocol == RESTXML {
		return "application/json"
	}
	return "text/plain"
}

// writeBody sends a whole body.
func writeBody(w http.ResponseWriter, method string, status int, media string, body []byte) error {
	h := w.Header()
	bodyless := status == http.StatusNoContent || status == http.StatusNotModified
	if media != "" && h.Get("Content-Type") == "" && !bodyless && (len(body) > 0 || media != "application/json") {
		h.Set("Content-Type", media)
	}
	if method == http.MethodHead || bodyless {
		w.WriteHeader(status)
		return nil
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// writeStream sends a body as it is read. The handler's Content-Length header
// makes a short one visible to the client.
func writeStream(w http.ResponseWriter, method string, status int, body io.ReadCloser) error {
	defer body.Close()
	w.WriteHeader(status)
	if method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified {
		return nil
	}
	_, err := io.Copy(w, body)
	return err
}
