package authz

import (
	"reflect"
	"strconv"
)

// input reads members of a decoded input structure by name.
type input struct {
	v reflect.Value // a structure, or invalid
}

func inputOf(in any) input {
	v := reflect.ValueOf(in)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return input{}
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return input{}
	}
	return input{v: v}
}

// member returns the member's value with pointers followed; invalid when
// absent.
func (in input) member(name string) reflect.Value {
	if !in.v.IsValid() {
		return reflect.Value{}
	}
	v := in.v.FieldByName(name)
	for v.IsValid() && v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return v
}

// has reports whether the operation's input has the member at all.
func (in input) has(name string) bool {
	return in.v.IsValid() && in.v.FieldByName(name).IsValid()
}

// text returns a string or whole-number member as text; empty when absent.
func (in input) text(name string) string {
	v := in.member(name)
	if !v.IsValid() {
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	}
	return ""
}

// present reports whether the member was sent.
func (in input) present(name string) bool {
	v := in.member(name)
	if !v.IsValid() {
		return false
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	}
	return true
}

// flag returns a boolean member.
func (in input) flag(name string) bool {
	v := in.member(name)
	return v.IsValid() && v.Kind() == reflect.Bool && v.Bool()
}

// inner returns a member that is a structure.
func (in input) inner(name string) input {
	if v := in.member(name); v.IsValid() && v.Kind() == reflect.Struct {
		return input{v: v}
	}
	return input{}
}

// texts returns a member that is a string or a list of strings.
func (in input) texts(name string) []string {
	v := in.member(name)
	if !v.IsValid() {
		return nil
	}
	if v.Kind() == reflect.String {
		return []string{v.String()}
	}
	if v.Kind() != reflect.Slice {
		return nil
	}
	var out []string
	for i := range v.Len() {
		e := v.Index(i)
		if e.Kind() == reflect.Pointer && !e.IsNil() {
			e = e.Elem()
		}
		if e.Kind() == reflect.String {
			out = append(out, e.String())
		}
	}
	return out
}

// tags returns the tags that a request brings: a map, or a list of structures
// with Key and Value.
func (in input) tags(name string) map[string]string {
	v := in.member(name)
	if !v.IsValid() {
		return nil
	}
	out := map[string]string{}
	switch v.Kind() {
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if it.Key().Kind() == reflect.String && it.Value().Kind() == reflect.String {
				out[it.Key().String()] = it.Value().String()
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			e := input{v: reflect.Indirect(v.Index(i))}
			if e.v.Kind() != reflect.Struct {
				return out
			}
			out[e.text("Key")] = e.text("Value")
		}
	}
	return out
}
