package pattern

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// node is a condition on a decoded JSON event.
type node interface{ holds(event any) bool }

type (
	and  []node
	or   []node
	test struct {
		path []step
		op   string // = != < <= > >= TRUE FALSE NULL EXISTS
		num  *float64
		text func(string) bool
	}
	// step is a member name or, with index >= 0, an array element; any
	// element when all is set.
	step struct {
		name  string
		index int
		all   bool
	}
)

func (a and) holds(e any) bool {
	for _, n := range a {
		if !n.holds(e) {
			return false
		}
	}
	return true
}

func (o or) holds(e any) bool {
	for _, n := range o {
		if n.holds(e) {
			return true
		}
	}
	return false
}

func matchJSON(n node, message string) bool {
	if !strings.Contains(message, "{") {
		return false
	}
	var event map[string]any
	if json.Unmarshal([]byte(message), &event) != nil {
		return false
	}
	return n.holds(event)
}

func (t *test) holds(event any) bool {
	values := find([]any{event}, t.path)
	if t.op == "EXISTS" { // only in "NOT EXISTS"
		return len(values) == 0
	}
	for _, v := range values {
		if t.value(v) {
			return true
		}
	}
	return false
}

func find(values []any, path []step) []any {
	for _, s := range path {
		var next []any
		for _, v := range values {
			switch v := v.(type) {
			case map[string]any:
				if m, ok := v[s.name]; ok && s.index < 0 && !s.all {
					next = append(next, m)
				}
			case []any:
				if s.all {
					next = append(next, v...)
				} else if s.index >= 0 && s.index < len(v) {
					next = append(next, v[s.index])
				}
			}
		}
		values = next
	}
	return values
}

func (t *test) value(v any) bool {
	switch t.op {
	case "TRUE":
		return v == true
	case "FALSE":
		return v == false
	case "NULL":
		return v == nil
	}
	switch v := v.(type) {
	case float64:
		if t.num != nil {
			return compare(v, t.op, *t.num)
		}
	case string:
		if t.text != nil && (t.op == "=" || t.op == "!=") {
			return t.text(v) == (t.op == "=")
		}
	}
	return t.op == "!=" // another type is another value
}

func compare(a float64, op string, b float64) bool {
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}

// parser reads { condition } by recursive descent: || binds weaker than &&.
type parser struct {
	s     string
	depth int
	tests int
}

func parseJSON(src string) (node, error) {
	if !strings.HasSuffix(src, "}") {
		return nil, errors.New("a brace is not closed")
	}
	p := &parser{s: src[1 : len(src)-1]}
	n, err := p.either()
	if err != nil {
		return nil, err
	}
	if p.skip(); p.s != "" {
		return nil, fmt.Errorf("unexpected %q", p.s[:min(len(p.s), 20)])
	}
	return n, nil
}

func (p *parser) skip() { p.s = strings.TrimLeft(p.s, " \t\r\n") }

func (p *parser) accept(token string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.s, token)
	if ok {
		p.s = rest
	}
	return ok
}

func (p *parser) either() (node, error) {
	n, err := p.both()
	if err != nil {
		return nil, err
	}
	list := or{n}
	for p.accept("||") {
		if n, err = p.both(); err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func (p *parser) both() (node, error) {
	n, err := p.one()
	if err != nil {
		return nil, err
	}
	list := and{n}
	for p.accept("&&") {
		if n, err = p.one(); err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func (p *parser) one() (node, error) {
	if p.accept("(") {
		if p.depth++; p.depth > maxDepth {
			return nil, errors.New("nested too deeply")
		}
		n, err := p.either()
		if err != nil {
			return nil, err
		}
		if p.depth--; !p.accept(")") {
			return nil, errors.New("a parenthesis is not closed")
		}
		return n, nil
	}
	if p.tests++; p.tests > maxTerms {
		return nil, fmt.Errorf("more than %d conditions", maxTerms)
	}
	return p.test()
}

func (p *parser) test() (node, error) {
	path, err := p.path()
	if err != nil {
		return nil, err
	}
	t := &test{path: path}
	if p.keyword("NOT") {
		if !p.keyword("EXISTS") {
			return nil, errors.New("NOT must be followed by EXISTS")
		}
		t.op = "EXISTS"
		return t, nil
	}
	if p.keyword("IS") {
		for _, k := range []string{"TRUE", "FALSE", "NULL"} {
			if p.keyword(k) {
				t.op = k
				return t, nil
			}
		}
		return nil, errors.New("IS must be followed by TRUE, FALSE or NULL")
	}
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.accept(op) {
			t.op = op
			return t, p.operand(t)
		}
	}
	return nil, errors.New("an operator is missing")
}

// keyword accepts a whole word in any case.
func (p *parser) keyword(word string) bool {
	p.skip()
	if len(p.s) < len(word) || !strings.EqualFold(p.s[:len(word)], word) {
		return false
	}
	if len(p.s) > len(word) && strings.IndexByte(" \t\r\n)&|", p.s[len(word)]) < 0 {
		return false
	}
	p.s = p.s[len(word):]
	return true
}

// path reads $.a.b[0].c, $.a[*] and $.["odd name"].
func (p *parser) path() ([]step, error) {
	if !p.accept("$") {
		return nil, errors.New("a selector must begin with $")
	}
	var path []step
	for len(path) < maxTerms {
		switch {
		case strings.HasPrefix(p.s, ".[\""), strings.HasPrefix(p.s, "[\""):
			p.s = strings.TrimPrefix(p.s, ".")
			name, rest, err := quoted(p.s[1:])
			if err != nil {
				return nil, err
			}
			if !strings.HasPrefix(rest, "]") {
				return nil, errors.New("a bracket is not closed")
			}
			path, p.s = append(path, step{name: name, index: -1}), rest[1:]
		case strings.HasPrefix(p.s, "."):
			end := strings.IndexAny(p.s[1:], " \t\r\n.[=!<>)&|") + 1
			if end == 0 {
				end = len(p.s)
			}
			if end == 1 {
				return nil, errors.New("a member name is missing")
			}
			path, p.s = append(path, step{name: p.s[1:end], index: -1}), p.s[end:]
		case strings.HasPrefix(p.s, "["):
			text, rest, ok := strings.Cut(p.s[1:], "]")
			if !ok {
				return nil, errors.New("a bracket is not closed")
			}
			if text == "*" {
				path = append(path, step{index: -1, all: true})
			} else {
				i, err := strconv.Atoi(text)
				if err != nil || i < 0 {
					return nil, fmt.Errorf("%q is no index", text)
				}
				path = append(path, step{index: i})
			}
			p.s = rest
		default:
			if len(path) == 0 {
				return nil, errors.New("a selector names nothing")
			}
			return path, nil
		}
	}
	return nil, errors.New("a selector is too long")
}

// operand reads a quoted string, %regular expression%, a number or a bare
// string; * in strings stands for anything.
func (p *parser) operand(t *test) error {
	p.skip()
	var text string
	switch {
	case strings.HasPrefix(p.s, `"`):
		var err error
		if text, p.s, err = quoted(p.s); err != nil {
			return err
		}
	case strings.HasPrefix(p.s, "%"):
		re, rest, err := expression(p.s)
		if err != nil {
			return err
		}
		p.s, t.text = rest, re.MatchString
		return t.onlyEquality("a regular expression")
	default:
		end := strings.IndexAny(p.s, " \t\r\n)&|")
		if end < 0 {
			end = len(p.s)
		}
		if end == 0 {
			return errors.New("a value is missing")
		}
		text, p.s = p.s[:end], p.s[end:]
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			t.num = &n
			return nil
		}
	}
	if t.text = func(s string) bool { return s == text }; strings.Contains(text, "*") {
		var parts []string
		for part := range strings.SplitSeq(text, "*") {
			parts = append(parts, regexp.QuoteMeta(part))
		}
		re, err := regexp.Compile("(?s)^" + strings.Join(parts, ".*") + "$")
		if err != nil {
			return err
		}
		t.text = re.MatchString
	}
	return t.onlyEquality("a string")
}

func (t *test) onlyEquality(what string) error {
	if t.op != "=" && t.op != "!=" {
		return fmt.Errorf("%s can be compared by = and != only", what)
	}
	return nil
}
