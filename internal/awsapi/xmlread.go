package awsapi

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
)

// xmlReader decodes one XML document straight into structures. S3 checks
// requests against a schema, so unknown elements, stray text, a wrong root and
// any kind of declaration but the XML one are errors.
type xmlReader struct {
	s   *Service
	d   *xml.Decoder
	bud budget
}

var errXML = errors.New("malformed XML")

// decodeXML reads b, whose root element must be named root, into v, an
// addressable structure. No bytes at all leave v as it is.
func (s *Service) decodeXML(b []byte, root string, v reflect.Value, lim Limits) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	r := &xmlReader{s: s, d: xml.NewDecoder(bytes.NewReader(b)), bud: budget{lim.Elements, lim.Depth}}
	seen := false
	for {
		t, err := r.token()
		if errors.Is(err, io.EOF) {
			if !seen {
				return errXML
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if seen || root != "" && t.Name.Local != root {
				return errXML
			}
			seen = true
			if err := r.structure(v, t); err != nil {
				return err
			}
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errXML
			}
		}
	}
}

// token returns the next token, without comments, and refuses declarations:
// there is no use for a DTD, and much abuse. Entities that are not predefined
// are refused by the decoder.
func (r *xmlReader) token() (xml.Token, error) {
	for {
		t, err := r.d.Token()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.Directive:
			return nil, errXML
		case xml.Comment:
			continue
		case xml.ProcInst:
			if t.Target != "xml" {
				return nil, errXML
			}
			continue
		case xml.StartElement:
			if err := r.bud.element(); err != nil {
				return nil, err
			}
		}
		return t, nil
	}
}

// children calls f for each child element of the element just opened.
func (r *xmlReader) children(f func(xml.StartElement) error) error {
	if err := r.bud.enter(); err != nil {
		return err
	}
	defer r.bud.leave()
	for {
		t, err := r.token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := f(t); err != nil {
				return err
			}
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errXML
			}
		case xml.EndElement:
			return nil
		}
	}
}

func (r *xmlReader) structure(v reflect.Value, start xml.StartElement) error {
	p := r.s.planOf(v.Type())
	for _, a := range start.Attr {
		for _, f := range p.fields {
			// xsi:type: the prefix is the client's choice
			if _, local, ok := strings.Cut(f.wire, ":"); f.attr && (a.Name.Local == f.wire || ok && a.Name.Local == local) {
				if err := setScalar(alloc(v.Field(f.index)), a.Value, iso8601); err != nil {
					return err
				}
			}
		}
	}
	return r.children(func(e xml.StartElement) error {
		f := p.body[e.Name.Local]
		if f == nil || f.attr {
			return errXML
		}
		fv := v.Field(f.index)
		if f.flat {
			return r.flat(fv, f.shape, e)
		}
		if !absent(fv) {
			return errXML // given twice
		}
		return r.value(fv, f.shape, e)
	})
}

// flat adds one element to a flattened list or map.
func (r *xmlReader) flat(v reflect.Value, sh *Shape, start xml.StartElement) error {
	if v.Kind() == reflect.Map {
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		return r.entry(v, sh)
	}
	e := reflect.New(v.Type().Elem()).Elem()
	if err := r.value(e, r.s.element(sh), start); err != nil {
		return err
	}
	v.Set(reflect.Append(v, e))
	return nil
}

func (r *xmlReader) value(v reflect.Value, sh *Shape, start xml.StartElement) error {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case isScalar(t):
		text, err := r.text()
		if err != nil {
			return err
		}
		if t.Kind() != reflect.String {
			text = strings.TrimSpace(text)
		}
		return setScalar(alloc(v), text, timestampOf(sh, iso8601))
	case t.Kind() == reflect.Slice:
		list := reflect.MakeSlice(t, 0, 0)
		err := r.children(func(e xml.StartElement) error {
			if e.Name.Local != memberName(sh) {
				return errXML
			}
			ev := reflect.New(t.Elem()).Elem()
			if err := r.value(ev, r.s.element(sh), e); err != nil {
				return err
			}
			list = reflect.Append(list, ev)
			return nil
		})
		v.Set(list)
		return err
	case t.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(t))
		return r.children(func(e xml.StartElement) error {
			if e.Name.Local != "entry" {
				return errXML
			}
			return r.entry(v, sh)
		})
	}
	return r.structure(alloc(v), start)
}

// entry reads the key and the value of one map entry.
func (r *xmlReader) entry(m reflect.Value, sh *Shape) error {
	keyName, valueName := entryNames(sh)
	key := reflect.New(m.Type().Key()).Elem()
	value := reflect.New(m.Type().Elem()).Elem()
	hasKey := false
	err := r.children(func(e xml.StartElement) error {
		switch e.Name.Local {
		case keyName:
			hasKey = true
			return r.value(key, nil, e)
		case valueName:
			return r.value(value, r.s.element(sh), e)
		}
		return errXML
	})
	if err == nil && !hasKey {
		err = errXML
	}
	if err != nil {
		return err
	}
	m.SetMapIndex(key, value)
	return nil
}

// text reads the characters of the element just opened, which has no children.
func (r *xmlReader) text() (string, error) {
	var b []byte
	for {
		t, err := r.token()
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			b = append(b, t...)
		case xml.EndElement:
			return string(b), nil
		default:
			return "", errXML
		}
	}
}

// memberName is the element name of a list that is not flattened.
func memberName(sh *Shape) string {
	if sh == nil || sh.MemberName == "" {
		return "member"
	}
	return sh.MemberName
}

func entryNames(sh *Shape) (key, value string) {
	key, value = "key", "value"
	if sh != nil && sh.KeyName != "" {
		key = sh.KeyName
	}
	if sh != nil && sh.ValueName != "" {
		value = sh.ValueName
	}
	return key, value
}
