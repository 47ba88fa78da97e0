package awsapi

import (
	"reflect"
	"strconv"
	"unicode/utf8"
)

// xmlWriter appends elements to b.
type xmlWriter struct {
	s    *Service
	b    []byte
	time string // format of timestamps that their shape says nothing of
}

const xmlDeclaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func (w *xmlWriter) open(name, attrs string) {
	w.b = append(append(append(w.b, '<'), name...), attrs...)
	w.b = append(w.b, '>')
}

func (w *xmlWriter) close(name string) {
	w.b = append(append(append(w.b, "</"...), name...), '>')
}

func (w *xmlWriter) text(name, text string) {
	w.open(name, "")
	w.b = appendXMLText(w.b, text)
	w.close(name)
}

// xmlns is the attribute that declares the default namespace.
func xmlns(uri string) string {
	if uri == "" {
		return ""
	}
	return ` xmlns="` + uri + `"`
}

// members writes the present members of v that belong to the body.
func (w *xmlWriter) members(v reflect.Value) {
	for _, f := range w.s.planOf(v.Type()).fields {
		fv := v.Field(f.index)
		if f.loc != inBody || f.attr || f.payload || f.event == "header" || absent(fv) {
			continue
		}
		if f.flat {
			w.flat(f, fv)
			continue
		}
		w.value(f.wire, w.attrs(f, fv), fv, f.shape)
	}
}

// attrs are the namespace of a member and the attributes of its structure.
func (w *xmlWriter) attrs(f *field, v reflect.Value) string {
	var b []byte
	switch {
	case f.nsPrefix != "":
		b = append(b, ` xmlns:`+f.nsPrefix+`="`+f.xmlns+`"`...)
	case f.xmlns != "":
		b = append(b, xmlns(f.xmlns)...)
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct && v.Type() != timeType {
		for _, a := range w.s.planOf(v.Type()).fields {
			if av := v.Field(a.index); a.attr && !absent(av) {
				b = append(b, ` `+a.wire+`="`...)
				b = appendXMLText(b, scalarText(av.Elem(), w.time))
				b = append(b, '"')
			}
		}
	}
	return string(b)
}

func (w *xmlWriter) flat(f *field, v reflect.Value) {
	if v.Kind() == reflect.Map {
		for _, k := range sortedMapKeys(v) {
			w.open(f.wire, "")
			w.entry(k, v.MapIndex(k), f.shape)
			w.close(f.wire)
		}
		return
	}
	for i := range v.Len() {
		w.value(f.wire, "", v.Index(i), w.s.element(f.shape))
	}
}

func (w *xmlWriter) entry(key, value reflect.Value, sh *Shape) {
	keyName, valueName := entryNames(sh)
	w.value(keyName, "", key, nil)
	w.value(valueName, "", value, w.s.element(sh))
}

// value writes one element.
func (w *xmlWriter) value(name, attrs string, v reflect.Value, sh *Shape) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	w.open(name, attrs)
	switch {
	case isScalar(v.Type()):
		w.b = appendXMLText(w.b, scalarText(v, timestampOf(sh, w.time)))
	case v.Kind() == reflect.Struct:
		w.members(v)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			w.value(memberName(sh), "", v.Index(i), w.s.element(sh))
		}
	case v.Kind() == reflect.Map:
		for _, k := range sortedMapKeys(v) {
			w.open("entry", "")
			w.entry(k, v.MapIndex(k), sh)
			w.close("entry")
		}
	default:
		panic("awsapi: no XML form of " + v.Type().String())
	}
	w.close(name)
}

// appendXMLText escapes text. Control characters become references, as S3
// writes them, although XML 1.0 has none for most of them; bytes that are not
// UTF-8 become U+FFFD.
func appendXMLText(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '&':
			b = append(b, "&amp;"...)
		case r == '<':
			b = append(b, "&lt;"...)
		case r == '>':
			b = append(b, "&gt;"...)
		case r == '"':
			b = append(b, "&quot;"...)
		case r < 0x20:
			b = append(append(b, "&#x"...), strconv.FormatInt(int64(r), 16)...)
			b = append(b, ';')
		default:
			b = utf8.AppendRune(b, r)
		}
		i += n
	}
	return b
}
