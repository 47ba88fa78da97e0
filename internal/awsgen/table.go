package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var protocols = map[string]string{
	"rest-json": "RESTJSON",
	"rest-xml":  "RESTXML",
	"query":     "Query",
	"json":      "JSON",
}

// table writes the Service variable: operations and described shapes.
func (e *emitter) table() (string, error) {
	md := e.m.Metadata
	proto, ok := protocols[md.Protocol]
	if !ok {
		return "", fmt.Errorf("unknown protocol %q", md.Protocol)
	}
	signing := md.SigningName
	if signing == "" {
		signing = md.EndpointPrefix
	}
	var b strings.Builder
	b.WriteString("// Service describes the service to package awsapi.\nvar Service = &awsapi.Service{\n")
	str := func(field, v string) {
		if v != "" {
			fmt.Fprintf(&b, "%s: %q,\n", field, v)
		}
	}
	str("ID", md.ServiceID)
	str("SigningName", signing)
	str("EndpointPrefix", md.EndpointPrefix)
	fmt.Fprintf(&b, "Protocol: awsapi.%s,\n", proto)
	str("Version", md.APIVersion)
	str("JSONVersion", md.JSONVersion)
	str("TargetPrefix", md.TargetPrefix)
	str("XMLNamespace", md.XMLNamespace)
	if n := e.m.overlay.MaxBody[""]; n != 0 {
		fmt.Fprintf(&b, "MaxBody: %d,\n", n)
	}
	b.WriteString("Operations: []*awsapi.Operation{\n")
	for _, name := range sortedKeys(e.m.Operations) {
		e.operation(&b, name, e.m.Operations[name])
	}
	b.WriteString("},\nShapes: map[string]*awsapi.Shape{\n")
	for _, name := range sortedKeys(e.m.Shapes) {
		if !e.described(name) {
			continue
		}
		if err := e.shape(&b, name); err != nil {
			return "", err
		}
	}
	b.WriteString("},\n}\n")
	return b.String(), nil
}

func (e *emitter) operation(b *strings.Builder, name string, op *operation) {
	fmt.Fprintf(b, "awsapi.Op(API.%s, awsapi.Operation{Name: %q, Method: %q, URI: %q", name, name, op.HTTP.Method, op.HTTP.RequestURI)
	if op.HTTP.ResponseCode != 0 && op.HTTP.ResponseCode != 200 {
		fmt.Fprintf(b, ", Status: %d", op.HTTP.ResponseCode)
	}
	str := func(field, v string) {
		if v != "" {
			fmt.Fprintf(b, ", %s: %q", field, v)
		}
	}
	if op.Output != nil {
		str("ResultWrapper", op.Output.ResultWrapper)
		root := e.m.overlay.Roots[op.Output.Shape]
		if root == "" && e.m.Metadata.Protocol == "rest-xml" {
			root = op.Output.LocationName
			if root == "" {
				root = op.Output.Shape
			}
		}
		str("OutputRoot", root)
	}
	if op.Input != nil {
		str("InputRoot", op.Input.LocationName)
	}
	if n := e.m.overlay.MaxBody[name]; n != 0 {
		fmt.Fprintf(b, ", MaxBody: %d", n)
	}
	str("HostPrefix", op.Endpoint.HostPrefix)
	if op.Deprecated {
		b.WriteString(", Deprecated: true")
	}
	if op.AuthType == "none" {
		b.WriteString(", NoAuth: true")
	}
	if len(op.Errors) > 0 {
		b.WriteString(", Errors: []string{")
		for i, r := range op.Errors {
			if i > 0 {
				b.WriteString(", ")
			}
			code := e.m.Shapes[r.Shape].Error.Code
			if code == "" {
				code = r.Shape
			}
			fmt.Fprintf(b, "%q", code)
		}
		b.WriteString("}")
	}
	b.WriteString("}),\n")
}

// described tells whether a shape needs an entry in the table: it has
// constraints, or is a list or map whose wire form is not the default.
func (e *emitter) described(name string) bool {
	s := e.m.Shapes[name]
	switch s.Type {
	case "structure":
		return false
	case "boolean":
		return false
	case "timestamp":
		return s.TimestampFormat != ""
	case "list":
		return s.Min != nil || s.Max != nil || s.Sensitive || s.Member.LocationName != "" || e.described(s.Member.Shape)
	case "map":
		return s.Min != nil || s.Max != nil || s.Sensitive || s.Key.LocationName != "" || s.Value.LocationName != "" ||
			e.described(s.Key.Shape) || e.described(s.Value.Shape)
	}
	return s.Min != nil || s.Max != nil || s.Pattern != "" || len(s.Enum) > 0 || s.Sensitive
}

func (e *emitter) shape(b *strings.Builder, name string) error {
	s := e.m.Shapes[name]
	var parts []string
	str := func(field, v string) {
		if v != "" {
			parts = append(parts, fmt.Sprintf("%s: %s", field, quote(v)))
		}
	}
	num := func(field string, v *float64) {
		if v != nil {
			parts = append(parts, fmt.Sprintf("%s: new(%s)", field, floatLiteral(*v)))
		}
	}
	num("Min", s.Min)
	num("Max", s.Max)
	if s.Pattern != "" {
		str("Pattern", s.Pattern)
		str("PatternText", e.m.overlay.PatternTexts[s.Pattern])
		if p, ok := e.m.overlay.Patterns[name]; ok {
			for _, re := range []string{p.Accept, p.Reject} {
				if err := compiles(re); err != nil {
					return fmt.Errorf("overlay pattern %s: %w", name, err)
				}
			}
			str("Accept", p.Accept)
			str("Reject", p.Reject)
		} else {
			re, err := translate(s.Pattern)
			if err != nil {
				return fmt.Errorf("shape %s: %w", name, err)
			}
			if re != s.Pattern {
				str("Accept", re)
			}
		}
	}
	if len(s.Enum) > 0 {
		parts = append(parts, fmt.Sprintf("Enum: %s(\"\").Values()", goName(name)))
	}
	if slices.Contains(e.m.overlay.Open, name) {
		parts = append(parts, "Open: true")
	}
	str("EnumCode", e.m.overlay.Enums[name].Code)
	str("EnumNote", e.m.overlay.Enums[name].Note)
	if s.Sensitive {
		parts = append(parts, "Sensitive: true")
	}
	str("Timestamp", s.TimestampFormat)
	elem := func(field, nameField string, r *ref) {
		if r == nil {
			return
		}
		str(nameField, r.LocationName)
		if e.described(r.Shape) {
			str(field, r.Shape)
		}
	}
	elem("Member", "MemberName", s.Member)
	elem("Key", "KeyName", s.Key)
	elem("Value", "ValueName", s.Value)
	fmt.Fprintf(b, "%q: {%s},\n", name, strings.Join(parts, ", "))
	return nil
}

func quote(s string) string {
	if strconv.CanBackquote(s) && strings.Contains(s, `\`) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

func floatLiteral(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if v == float64(int64(v)) {
		s = strconv.FormatInt(int64(v), 10)
	}
	return "float64(" + s + ")"
}
