package awsapi

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// location is where a member travels.
type location int

const (
	inBody location = iota
	inPath
	inQuery
	inHeader
	inHeaders // a map, by header prefix
	inStatus
)

// plan is what the codecs know of a structure type.
type plan struct {
	typ     reflect.Type
	fields  []*field
	body    map[string]*field // members of the body, by wire name
	payload *field            // the member that is the whole body
}

// field is a member of a structure.
type field struct {
	index     int
	wire      string // name on the wire
	header    string // the same as net/http keys headers
	path      string // name in validation messages
	loc       location
	payload   bool
	required  bool
	flat      bool
	attr      bool
	sensitive bool
	event     string // "payload", "header": place in an event-stream message
	xmlns     string
	nsPrefix  string
	shape     *Shape // nil: nothing to say
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

// planOf returns the plan of a structure type. The tags are generated, so a
// bad one is a defect of the generator and panics.
func (s *Service) planOf(t reflect.Type) *plan {
	if p, ok := s.plans.Load(t); ok {
		return p.(*plan)
	}
	p := &plan{typ: t, body: map[string]*field{}}
	for i := range t.NumField() {
		f := s.fieldOf(t.Field(i))
		f.index = i
		p.fields = append(p.fields, f)
		switch {
		case f.payload:
			p.payload = f
		case f.loc == inBody:
			p.body[f.wire] = f
		}
	}
	actual, _ := s.plans.LoadOrStore(t, p)
	return actual.(*plan)
}

func (s *Service) fieldOf(sf reflect.StructField) *field {
	tag, ok := sf.Tag.Lookup("aws")
	if !ok {
		panic(fmt.Sprintf("awsapi: field %s has no aws tag", sf.Name))
	}
	parts := strings.Split(tag, ",")
	f := &field{wire: parts[0], path: lowerFirst(sf.Name)}
	f.payload = sf.Type.Kind() == reflect.Func // an event stream, which RPC models do not mark
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		switch {
		case name == "uri":
			f.loc = inPath
		case name == "query":
			f.loc = inQuery
		case name == "header":
			f.loc = inHeader
			f.header = http.CanonicalHeaderKey(f.wire)
		case name == "headers":
			f.loc = inHeaders
		case name == "status":
			f.loc = inStatus
		case name == "payload":
			f.payload = true
		case name == "required":
			f.required = true
		case name == "flat":
			f.flat = true
		case name == "attr":
			f.attr = true
		case name == "sensitive":
			f.sensitive = true
		case name == "eventpayload", name == "eventheader":
			f.event = strings.TrimPrefix(name, "event")
		case name == "idempotency", name == "member":
		case name == "xmlns":
			f.xmlns = value
		case strings.HasPrefix(name, "xmlns:"):
			f.xmlns, f.nsPrefix = value, strings.TrimPrefix(name, "xmlns:")
		case name == "shape":
			if f.shape = s.Shapes[value]; f.shape == nil {
				panic(fmt.Sprintf("awsapi: field %s names unknown shape %s", sf.Name, value))
			}
		default:
			panic(fmt.Sprintf("awsapi: field %s has unknown tag part %q", sf.Name, part))
		}
	}
	return f
}

// element returns the shape of a list's elements or a map's values.
func (s *Service) element(sh *Shape) *Shape {
	if sh == nil {
		return nil
	}
	if sh.Member != "" {
		return s.Shapes[sh.Member]
	}
	return s.Shapes[sh.Value]
}

func (s *Service) key(sh *Shape) *Shape {
	if sh == nil {
		return nil
	}
	return s.Shapes[sh.Key]
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}

// alloc returns the value that v, a member or an element, stands for, making
// it present if v is a pointer.
func alloc(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	return v.Elem()
}

// absent tells whether a member was not given.
func absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Func:
		return v.IsNil()
	}
	return false
}
