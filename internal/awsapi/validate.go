package awsapi

import (
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxViolations bounds the message of a request that breaks every rule.
const maxViolations = 100

// validate checks v, a decoded input, against the model's constraints and
// answers all violations in AWS's wording. S3 has no such answer: it fails at
// the first, see s3Violation.
func (s *Service) validate(v reflect.Value) error {
	c := &checker{s: s}
	c.structure(v, nil)
	if len(c.found) == 0 {
		return nil
	}
	if s.Protocol == RESTXML {
		return s3Violation(c.found[0])
	}
	code := "ValidationException"
	if s.Protocol == Query {
		code = "ValidationError"
	}
	texts := make([]string, 0, len(c.found))
	for _, x := range c.found {
		if x.shape != nil && x.shape.EnumCode != "" && x.rule == ruleEnum {
			return &ErrorResponse{Status: http.StatusBadRequest, Code: x.shape.EnumCode, Message: x.enumText(), Fields: map[string]string{"Type": "User"}}
		}
		texts = append(texts, x.String())
	}
	if x := c.found[0]; c.count == 1 && x.rule == rulePattern && x.shape.PatternText != "" {
		return &ErrorResponse{Status: http.StatusBadRequest, Code: code, Message: x.String()}
	}
	noun := "errors"
	if c.count == 1 {
		noun = "error"
	}
	return &ErrorResponse{
		Status: http.StatusBadRequest, Code: code,
		Message: fmt.Sprintf("%d validation %s detected: %s", c.count, noun, strings.Join(texts, "; ")),
	}
}

type rule int

const (
	ruleNull rule = iota
	ruleLength
	ruleValue
	rulePattern
	ruleEnum
	ruleElements // a list's elements or a map's keys or values
)

// violation is one broken constraint.
type violation struct {
	rule      rule
	field     *field // the top-level member it is below
	path      string
	value     string
	sensitive bool
	text      string
	shape     *Shape
}

func (x violation) String() string {
	if x.rule == rulePattern && x.shape.PatternText != "" {
		return fmt.Sprintf(x.shape.PatternText, x.path)
	}
	value := "Value "
	switch {
	case x.rule == ruleNull:
		value += "null "
	case !x.sensitive:
		value += "'" + shorten(x.value) + "' "
	}
	return value + "at '" + x.path + "' failed to satisfy constraint: " + x.text
}

// maxShown bounds the bytes of a bad value that its error repeats.
const maxShown = 4096

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "..."
}

// enumText is how Lambda names a runtime that it does not know.
func (x violation) enumText() string {
	return "Value " + shorten(x.value) + " at '" + x.path + "' failed to satisfy constraint: " + x.text + x.shape.EnumNote
}

// step is one step from the input down to a value.
type step struct {
	up   *step
	name string
}

func (p *step) String() string {
	if p == nil {
		return ""
	}
	if p.up == nil {
		return p.name
	}
	return p.up.String() + "." + p.name
}

type checker struct {
	s     *Service
	top   *field
	found []violation
	count int
}

func (c *checker) add(x violation, at *step) {
	c.count++
	if len(c.found) < maxViolations {
		x.field, x.path = c.top, at.String()
		c.found = append(c.found, x)
	}
}

func (c *checker) structure(v reflect.Value, at *step) {
	for _, f := range c.s.planOf(v.Type()).fields {
		if at == nil {
			c.top = f
		}
		fv := v.Field(f.index)
		switch {
		case !absent(fv):
			if f.shape != nil || !isScalar(fv.Type()) {
				c.value(fv, f.shape, &step{at, f.path})
			}
		case f.required:
			c.add(violation{rule: ruleNull, text: "Member must not be null"}, &step{at, f.path})
		}
	}
}

// value checks a present value and what it is made of.
func (c *checker) value(v reflect.Value, sh *Shape, at *step) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if sh != nil {
		for _, b := range sh.broken(v) {
			c.add(violation{rule: b.rule, value: plainText(v), sensitive: c.s.secret(sh), text: b.text, shape: sh}, at)
		}
	}
	switch {
	case isScalar(v.Type()):
	case v.Kind() == reflect.Struct:
		c.structure(v, at)
	case v.Kind() == reflect.Slice:
		elem := c.s.element(sh)
		if isScalar(v.Type().Elem()) {
			c.elements(v, elem, sh, at, v.Len(), v.Index, "Member must satisfy constraint: ")
			return
		}
		for i := range v.Len() {
			c.value(v.Index(i), elem, &step{&step{at, strconv.Itoa(i + 1)}, "member"})
		}
	case v.Kind() == reflect.Map:
		keys := sortedMapKeys(v)
		c.elements(v, c.s.key(sh), sh, at, len(keys), func(i int) reflect.Value { return keys[i] }, "Map keys must satisfy constraint: ")
		elem := c.s.element(sh)
		if isScalar(v.Type().Elem()) {
			c.elements(v, elem, sh, at, len(keys), func(i int) reflect.Value { return v.MapIndex(keys[i]) }, "Map value must satisfy constraint: ")
			return
		}
		for _, k := range keys {
			c.value(v.MapIndex(k), elem, &step{&step{at, k.String()}, "member"})
		}
	}
}

// elements checks scalars of a list or map. If any is wrong, AWS shows the
// whole list and every constraint of its elements.
func (c *checker) elements(v reflect.Value, elem, sh *Shape, at *step, n int, item func(int) reflect.Value, prefix string) {
	if elem == nil {
		return
	}
	for i := range n {
		if len(elem.broken(item(i))) > 0 {
			c.add(violation{
				rule: ruleElements, value: plainText(v), sensitive: c.s.secret(sh), shape: elem,
				text: prefix + "[" + strings.Join(elem.rules(item(i)), ", ") + "]",
			}, at)
			return
		}
	}
}

// secret tells whether values of a shape must not be shown.
func (s *Service) secret(sh *Shape) bool {
	for depth := 0; sh != nil && depth < 8; depth++ {
		if k := s.key(sh); sh.Sensitive || k != nil && k.Sensitive {
			return true
		}
		sh = s.element(sh)
	}
	return false
}

type brokenRule struct {
	rule rule
	text string
}

// broken lists the constraints that v does not satisfy.
func (sh *Shape) broken(v reflect.Value) []brokenRule {
	var out []brokenRule
	size, noun, r := sh.size(v)
	if sh.Max != nil && size > *sh.Max {
		out = append(out, brokenRule{r, "Member must have " + noun + " less than or equal to " + floatText(*sh.Max)})
	}
	if sh.Min != nil && size < *sh.Min {
		out = append(out, brokenRule{r, "Member must have " + noun + " greater than or equal to " + floatText(*sh.Min)})
	}
	if v.Kind() != reflect.String {
		return out
	}
	if sh.Pattern != "" && !sh.matches(v.String()) {
		out = append(out, brokenRule{rulePattern, "Member must satisfy regular expression pattern: " + sh.Pattern})
	}
	if len(sh.Enum) > 0 && !sh.Open && !slices.Contains(sh.Enum, v.String()) {
		out = append(out, brokenRule{ruleEnum, "Member must satisfy enum value set: [" + strings.Join(sh.Enum, ", ") + "]"})
	}
	return out
}

// rules lists all constraints on values like v.
func (sh *Shape) rules(v reflect.Value) []string {
	var out []string
	_, noun, _ := sh.size(v)
	if sh.Max != nil {
		out = append(out, "Member must have "+noun+" less than or equal to "+floatText(*sh.Max))
	}
	if sh.Min != nil {
		out = append(out, "Member must have "+noun+" greater than or equal to "+floatText(*sh.Min))
	}
	if sh.Pattern != "" {
		out = append(out, "Member must satisfy regular expression pattern: "+sh.Pattern)
	}
	if len(sh.Enum) > 0 {
		out = append(out, "Member must satisfy enum value set: ["+strings.Join(sh.Enum, ", ")+"]")
	}
	return out
}

// size is what Min and Max bound: characters, bytes, a count or the value.
func (sh *Shape) size(v reflect.Value) (float64, string, rule) {
	switch v.Kind() {
	case reflect.String:
		return float64(utf8.RuneCountInString(v.String())), "length", ruleLength
	case reflect.Slice, reflect.Map:
		return float64(v.Len()), "length", ruleLength
	case reflect.Int32, reflect.Int64:
		return float64(v.Int()), "value", ruleValue
	case reflect.Float64:
		return v.Float(), "value", ruleValue
	}
	return 0, "value", ruleValue
}

// matches tells whether text as a whole fits the pattern, as Java's matches.
func (sh *Shape) matches(text string) bool {
	sh.once.Do(func() {
		accept := sh.Accept
		if accept == "" {
			accept = sh.Pattern
		}
		sh.accept = regexp.MustCompile("^(?:" + accept + ")$")
		if sh.Reject != "" {
			sh.reject = regexp.MustCompile("^(?:" + sh.Reject + ")$")
		}
	})
	return sh.accept.MatchString(text) && (sh.reject == nil || !sh.reject.MatchString(text))
}

// plainText shows a value as AWS does: [a, b], {k=v}.
func plainText(v reflect.Value) string {
	switch {
	case v.Type() == bytesType:
		return fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%d cap=%d]", v.Len(), v.Len())
	case isScalar(v.Type()):
		return scalarText(v, iso8601)
	case v.Kind() == reflect.Slice && isScalar(v.Type().Elem()):
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = plainText(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return "[]"
	case v.Kind() == reflect.Map && isScalar(v.Type().Elem()):
		var parts []string
		for _, k := range sortedMapKeys(v) {
			parts = append(parts, k.String()+"="+plainText(v.MapIndex(k)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "..." // structures: no one reads them in an error
}

// s3Violation is S3's answer: to a body its schema does not allow, MalformedXML;
// to a bad query member or header, InvalidArgument.
func s3Violation(x violation) error {
	bad := &ErrorResponse{
		Status: http.StatusBadRequest, Code: "MalformedXML",
		Message: "The XML you provided was not well-formed or did not validate against our published schema",
	}
	f := x.field
	switch {
	case f.loc == inBody && f.payload && x.rule == ruleNull && x.path == f.path:
		return Errorf(http.StatusBadRequest, "MissingRequestBodyError", "Request Body is empty")
	case f.loc == inBody:
		return bad
	case x.rule == ruleNull && f.loc == inHeader:
		return Errorf(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: %s", f.wire)
	case x.rule == ruleNull:
		return invalidArgument(f.wire, "", "A required parameter is missing: "+f.wire)
	case x.rule == ruleValue && x.shape.Min != nil && x.shape.Max != nil:
		return invalidArgument(f.wire, x.value, "Argument "+f.wire+" must be an integer between "+floatText(*x.shape.Min)+" and "+floatText(*x.shape.Max))
	}
	switch f.wire {
	case "x-amz-storage-class":
		return Errorf(http.StatusBadRequest, "InvalidStorageClass", "The storage class you specified is not valid")
	case "x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm":
		return Errorf(http.StatusBadRequest, "InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [%s]", strings.Join(x.shape.Enum, ", "))
	}
	if message, ok := s3Messages[f.wire]; ok {
		return invalidArgument(f.wire, x.value, message)
	}
	return invalidArgument(f.wire, x.value, "Invalid argument.")
}

// s3Messages is what S3 says of values it does not take.
var s3Messages = map[string]string{
	"encoding-type":                "Invalid Encoding Method specified in Request",
	"x-amz-copy-source":            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
	"x-amz-metadata-directive":     "Unknown metadata directive.",
	"x-amz-server-side-encryption": "The encryption method specified is not supported",
	"x-amz-tagging-directive":      "Unknown tagging directive.",
}
