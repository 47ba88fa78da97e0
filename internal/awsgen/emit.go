package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// emitter writes the package of one service.
type emitter struct {
	m     *model
	names map[string]string // top-level Go names in use, and by what
	empty map[string]bool   // input and output types that no shape stands for
}

// emit returns the generated files of a service by name.
func emit(m *model, pkg, version string) (map[string][]byte, error) {
	e := &emitter{m: m, names: map[string]string{"API": "interface", "Unimplemented": "type", "Service": "variable"}, empty: map[string]bool{}}
	for _, name := range sortedKeys(m.Shapes) {
		if s := m.Shapes[name]; s.Type == "structure" || len(s.Enum) > 0 {
			if err := e.take(goName(name), "shape "+name); err != nil {
				return nil, err
			}
		}
	}
	ops, err := e.operations()
	if err != nil {
		return nil, err
	}
	types, err := e.structs()
	if err != nil {
		return nil, err
	}
	table, err := e.table()
	if err != nil {
		return nil, err
	}
	doc := fmt.Sprintf("// Package %s describes the %s API, version %s: its types, its modelled\n// errors, the API interface that a service implements, and the Service table\n// that package awsapi speaks its protocol by.\n",
		pkg, m.Metadata.ServiceID, m.Metadata.APIVersion)
	files := map[string][]byte{}
	for _, f := range []struct{ name, doc, body string }{
		{"api.gen.go", doc, ops},
		{"types.gen.go", "", types},
		{"enums.gen.go", "", e.enums()},
		{"errors.gen.go", "", e.errors()},
		{"service.gen.go", "", table},
	} {
		if f.body == "" {
			continue
		}
		if files[f.name], err = source(m, pkg, version, f.doc, f.body); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (e *emitter) take(name, what string) error {
	if old, taken := e.names[name]; taken {
		return fmt.Errorf("name %s is both %s and %s", name, old, what)
	}
	e.names[name] = what
	return nil
}

// io returns the Go type of an operation's input or output.
func (e *emitter) io(op string, r *ref, suffix string) (string, error) {
	if r != nil {
		return goName(r.Shape), nil
	}
	name := op + suffix
	e.empty[name] = true
	return name, e.take(name, "empty type of "+op)
}

// operations writes the API interface and its unimplemented form.
func (e *emitter) operations() (string, error) {
	var iface, none strings.Builder
	for _, name := range sortedKeys(e.m.Operations) {
		op := e.m.Operations[name]
		in, err := e.io(name, op.Input, "Input")
		if err != nil {
			return "", err
		}
		out, err := e.io(name, op.Output, "Output")
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&iface, "\t%s(context.Context, *%s) (*%s, error)\n", name, in, out)
		fmt.Fprintf(&none, "// %s answers NotImplemented.\nfunc (Unimplemented) %s(context.Context, *%s) (*%s, error) {\n\treturn nil, awsapi.NotImplemented(%q)\n}\n\n", name, name, in, out, name)
	}
	return "// API is the set of all operations of the service.\ntype API interface {\n" + iface.String() + "}\n\n" +
		"// Unimplemented answers every operation with awsapi.NotImplemented. A service\n// embeds it and overrides what it supports.\ntype Unimplemented struct{}\n\nvar _ API = Unimplemented{}\n\n" + none.String(), nil
}

// structs writes every structure that is not an error.
func (e *emitter) structs() (string, error) {
	var b strings.Builder
	for _, name := range sortedKeys(e.m.Shapes) {
		s := e.m.Shapes[name]
		if s.Type != "structure" || s.Exception {
			continue
		}
		text, err := e.structure(name, s)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	for _, name := range sortedKeys(e.empty) {
		fmt.Fprintf(&b, "// %s has no members.\ntype %s struct{}\n\n", name, name)
	}
	return b.String(), nil
}

func (e *emitter) structure(name string, s *shape) (string, error) {
	var b strings.Builder
	kind := "structure"
	switch {
	case s.EventStream:
		kind = "event stream"
	case s.Event:
		kind = "event"
	case s.Union:
		kind = "union"
	}
	fmt.Fprintf(&b, "// %s is the model's %s %s.\ntype %s struct {\n", goName(name), kind, name, goName(name))
	fields := map[string]bool{}
	for _, member := range s.order {
		if fields[goName(member)] {
			return "", fmt.Errorf("%s has two members named %s", name, goName(member))
		}
		fields[goName(member)] = true
		fmt.Fprintf(&b, "\t%s %s `aws:%q`\n", goName(member), e.fieldType(s, member), e.tag(s, member))
	}
	b.WriteString("}\n\n")
	if e.m.secret(name, map[string]bool{}) && !s.EventStream {
		fmt.Fprintf(&b, "// LogValue hides the sensitive members.\nfunc (v %s) LogValue() slog.Value { return awsapi.Redact(v) }\n\n", goName(name))
		fmt.Fprintf(&b, "// String hides the sensitive members.\nfunc (v %s) String() string { return awsapi.Redact(v).String() }\n\n", goName(name))
	}
	return b.String(), nil
}

// fieldType is the Go type of a structure's member: scalars and structures by
// pointer, so that absent and empty differ.
func (e *emitter) fieldType(s *shape, member string) string {
	r := s.Members[member]
	t := e.m.Shapes[r.Shape]
	switch {
	case t.EventStream:
		return "awsapi.EventStream[" + goName(r.Shape) + "]"
	case t.Type == "blob" && (r.Streaming || t.Streaming) && s.Payload == member:
		return "io.ReadCloser"
	case t.Type == "list", t.Type == "map", t.Type == "blob":
		return e.valueType(r.Shape)
	}
	return "*" + e.valueType(r.Shape)
}

func (e *emitter) valueType(name string) string {
	s := e.m.Shapes[name]
	switch s.Type {
	case "structure":
		return goName(name)
	case "list":
		return "[]" + e.valueType(s.Member.Shape)
	case "map":
		return "map[" + e.valueType(s.Key.Shape) + "]" + e.valueType(s.Value.Shape)
	case "string":
		if len(s.Enum) > 0 {
			return goName(name)
		}
		return "string"
	case "integer":
		return "int32"
	case "long":
		return "int64"
	case "float", "double":
		return "float64"
	case "boolean":
		return "bool"
	case "blob":
		return "[]byte"
	case "timestamp":
		return "time.Time"
	}
	panic("unchecked type " + s.Type)
}

// tag describes a member to awsapi: the wire name and what differs from plain.
// The grammar is documented at awsapi.Service.
func (e *emitter) tag(s *shape, member string) string {
	r := s.Members[member]
	t := e.m.Shapes[r.Shape]
	name := r.LocationName
	parts := []string{""}
	add := func(cond bool, part string) {
		if cond {
			parts = append(parts, part)
		}
	}
	switch r.Location {
	case "uri":
		add(true, "uri")
	case "querystring":
		add(true, "query")
	case "header":
		add(true, "header")
	case "headers":
		add(true, "headers")
	case "statusCode":
		add(true, "status")
	}
	if name == "" && t.Flattened && t.Type == "list" && t.Member.LocationName != "" {
		name = t.Member.LocationName
	}
	if name == "" && r.Location != "headers" {
		name = member
	}
	parts[0] = name
	add(r.LocationName != "" && goName(r.LocationName) != goName(member), "member="+member)
	for _, req := range s.Required {
		add(req == member, "required")
	}
	add(s.Payload == member, "payload")
	add(r.EventPayload, "eventpayload")
	add(r.EventHeader, "eventheader")
	add(r.XMLAttribute, "attr")
	add(r.Flattened || t.Flattened, "flat")
	add(r.Idempotency, "idempotency")
	add(t.Type != "structure" && e.m.secret(r.Shape, map[string]bool{}), "sensitive")
	if n := r.XMLNamespace; n != nil {
		add(true, "xmlns="+n.URI)
	} else if n := t.XMLNamespace; n != nil {
		add(n.Prefix == "", "xmlns="+n.URI)
		add(n.Prefix != "", "xmlns:"+n.Prefix+"="+n.URI)
	}
	add(e.described(r.Shape), "shape="+r.Shape)
	return strings.Join(parts, ",")
}

// enums writes the string types with their values.
func (e *emitter) enums() string {
	var b strings.Builder
	for _, name := range sortedKeys(e.m.Shapes) {
		s := e.m.Shapes[name]
		if s.Type != "string" || len(s.Enum) == 0 {
			continue
		}
		typ := goName(name)
		fmt.Fprintf(&b, "// %s is the model's enumeration %s.\ntype %s string\n\n// Values of %s.\nconst (\n", typ, name, typ, typ)
		var consts []string
		for _, v := range s.Enum {
			c := typ + camel(v)
			for n := 2; e.take(c, "value of "+name) != nil; n++ {
				c = typ + camel(v) + "Value" + strconv.Itoa(n)
			}
			consts = append(consts, c)
			fmt.Fprintf(&b, "\t%s %s = %q\n", c, typ, v)
		}
		fmt.Fprintf(&b, ")\n\n// Values lists the values that the model knows.\nfunc (%s) Values() []string {\n\treturn []string{", typ)
		for i, c := range consts {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "string(%s)", c)
		}
		b.WriteString("}\n}\n\n")
	}
	return b.String()
}

// camel makes an identifier part of an enumeration's value: words of capitals
// become Capitalised, others keep their inner case.
func camel(v string) string {
	var b strings.Builder
	for _, w := range strings.FieldsFunc(v, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if strings.ToUpper(w) == w {
			w = strings.ToLower(w)
		}
		b.WriteString(goName(w))
	}
	return b.String()
}

// errors writes the modelled exceptions.
func (e *emitter) errors() string {
	var b strings.Builder
	for _, name := range sortedKeys(e.m.Shapes) {
		s := e.m.Shapes[name]
		if !s.Exception {
			continue
		}
		code, status, fault := name, s.Error.HTTPStatusCode, "client"
		if s.Error.Code != "" {
			code = s.Error.Code
		}
		if s.Fault || status >= 500 {
			fault = "server"
		}
		if status == 0 {
			status = map[string]int{"client": 400, "server": 500}[fault]
		}
		typ := goName(name)
		fmt.Fprintf(&b, "// %s is the modelled error %s (%d).\ntype %s struct {\n", typ, code, status, typ)
		hasMessage := false
		for _, member := range s.order {
			hasMessage = hasMessage || goName(member) == "Message"
			fmt.Fprintf(&b, "\t%s %s `aws:%q`\n", goName(member), e.fieldType(s, member), e.tag(s, member))
		}
		if !hasMessage {
			fmt.Fprintf(&b, "\tMessage *string `aws:%q`\n", e.messageName())
		}
		fmt.Fprintf(&b, "}\n\n// Error gives code and message.\nfunc (e *%s) Error() string { return awsapi.ErrorText(%q, e.Message) }\n\n", typ, code)
		fmt.Fprintf(&b, "// ErrorCode is %s.\nfunc (*%s) ErrorCode() string { return %q }\n\n", code, typ, code)
		fmt.Fprintf(&b, "// HTTPStatus is %d.\nfunc (*%s) HTTPStatus() int { return %d }\n\n", status, typ, status)
		fmt.Fprintf(&b, "// Fault is %s.\nfunc (*%s) Fault() string { return %q }\n\n", fault, typ, fault)
	}
	return b.String()
}

// messageName is the wire name of a message that the model leaves out.
func (e *emitter) messageName() string {
	switch e.m.Metadata.Protocol {
	case "rest-xml", "query":
		return "Message"
	}
	return "message"
}
