package awsapi

import "reflect"

// CheckTags builds the plans of a type and of all below it.
func CheckTags(s *Service, t reflect.Type) { checkTags(s, t, map[reflect.Type]bool{}) }

func checkTags(s *Service, t reflect.Type, seen map[reflect.Type]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		checkTags(s, t.Elem(), seen)
	case reflect.Struct:
		if t == timeType || seen[t] {
			return
		}
		seen[t] = true
		s.planOf(t)
		for i := range t.NumField() {
			checkTags(s, t.Field(i).Type, seen)
		}
	}
}

// CheckPattern compiles the pattern of a shape.
func (sh *Shape) CheckPattern() { sh.matches("") }
