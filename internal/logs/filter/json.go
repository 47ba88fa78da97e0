package filter

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// expression is a node of a JSON pattern.
type expression interface{ holds(doc any) bool }

type and struct{ left, right expression }

func (x and) holds(doc any) bool { return x.left.holds(doc) && x.right.holds(doc) }

type or struct{ left, right expression }

func (x or) holds(doc any) bool { return x.left.holds(doc) || x.right.holds(doc) }

// comparison compares what a selector finds. With a wildcard in the selector
// one element that fits is enough.
type comparison struct {
	path []step
	op   string // =, !=, <, <=, >, >=, null, true, false, exists, missing
	text string
	num  float64
	kind byte // of the operand: 's' string, 'n' number
}

// step is a property, an element (index >= 0), or every element.
type step struct {
	name  string
	index int
}

const (
	property = -1
	every    = -2
	maxDepth = 32
)

func matchJSON(x expression, message string) bool {
	if !strings.HasPrefix(strings.TrimLeft(message, " \t\r\n"), "{") {
		return false
	}
	var doc any
	return json.Unmarshal([]byte(message), &doc) == nil && x.holds(doc)
}

func (c comparison) holds(doc any) bool {
	found := []any{doc}
	for _, s := range c.path {
		var next []any
		for _, v := range found {
			switch v := v.(type) {
			case map[string]any:
				if child, ok := v[s.name]; ok && s.index == property {
					next = append(next, child)
				}
			case []any:
				if s.index == every {
					next = append(next, v...)
				} else if s.index >= 0 && s.index < len(v) {
					next = append(next, v[s.index])
				}
			}
		}
		found = next
	}
	if c.op == "missing" {
		return len(found) == 0
	}
	for _, v := range found {
		if c.fits(v) {
			return true
		}
	}
	return false
}

func (c comparison) fits(v any) bool {
	switch c.op {
	case "exists":
		return true
	case "null":
		return v == nil
	case "true":
		return v == true
	case "false":
		return v == false
	}
	if c.kind == 'n' {
		n, ok := v.(float64)
		if !ok {
			s, isText := v.(string)
			var err error
			if n, err = strconv.ParseFloat(s, 64); !isText || err != nil {
				return c.op == "!=" && v != nil
			}
		}
		switch c.op {
		case "=":
			return n == c.num
		case "!=":
			return n != c.num
		case "<":
			return n < c.num
		case "<=":
			return n <= c.num
		case ">":
			return n > c.num
		}
		return n >= c.num
	}
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case float64:
		s = strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		s = strconv.FormatBool(v)
	default:
		return false
	}
	return wildcard(c.text, s) == (c.op == "=")
}

// wildcard matches text against a pattern in which * stands for anything.
func wildcard(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	last := len(parts) - 1
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, p := range parts[1:last] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return strings.HasSuffix(text, parts[last])
}

// parser reads { expression }.
type parser struct {
	text  string
	depth int
}

func parseJSON(text string) (expression, error) {
	if !strings.HasSuffix(text, "}") {
		return nil, fmt.Errorf("%w: } is missing", ErrSyntax)
	}
	p := &parser{text: text[1 : len(text)-1]}
	x, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.space(); p.text != "" {
		return nil, fmt.Errorf("%w: unexpected %q", ErrSyntax, p.text)
	}
	return x, nil
}

func (p *parser) space() { p.text = strings.TrimLeft(p.text, " \t\r\n") }

// take removes a token if it comes next.
func (p *parser) take(token string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.text, token)
	if ok {
		p.text = rest
	}
	return ok
}

func (p *parser) or() (expression, error) {
	left, err := p.and()
	for err == nil && p.take("||") {
		var right expression
		right, err = p.and()
		left = or{left, right}
	}
	return left, err
}

func (p *parser) and() (expression, error) {
	left, err := p.term()
	for err == nil && p.take("&&") {
		var right expression
		right, err = p.term()
		left = and{left, right}
	}
	return left, err
}

func (p *parser) term() (expression, error) {
	if p.take("(") {
		if p.depth++; p.depth > maxDepth {
			return nil, fmt.Errorf("%w: nested too deeply", ErrSyntax)
		}
		x, err := p.or()
		if err != nil {
			return nil, err
		}
		p.depth--
		if !p.take(")") {
			return nil, fmt.Errorf("%w: ) is missing", ErrSyntax)
		}
		return x, nil
	}
	path, err := p.selector()
	if err != nil {
		return nil, err
	}
	for _, keyword := range []struct{ words, op string }{
		{"IS NULL", "null"}, {"IS TRUE", "true"}, {"IS FALSE", "false"}, {"NOT EXISTS", "missing"}, {"EXISTS", "exists"},
	} {
		if p.words(keyword.words) {
			return comparison{path: path, op: keyword.op}, nil
		}
	}
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.take(op) {
			return p.operand(comparison{path: path, op: op})
		}
	}
	return nil, fmt.Errorf("%w: an operator is missing at %q", ErrSyntax, p.text)
}

// words takes keywords, in any case and with any space between them.
func (p *parser) words(want string) bool {
	text := p.text
	for w := range strings.FieldsSeq(want) {
		text = strings.TrimLeft(text, " \t\r\n")
		if len(text) < len(w) || !strings.EqualFold(text[:len(w)], w) {
			return false
		}
		text = text[len(w):]
	}
	p.text = text
	return true
}

// selector reads $.a.b[0]['c'][*].
func (p *parser) selector() ([]step, error) {
	if !p.take("$") {
		return nil, fmt.Errorf("%w: a property selector is missing at %q", ErrSyntax, p.text)
	}
	var path []step
	for {
		switch {
		case strings.HasPrefix(p.text, "."):
			p.text = p.text[1:]
			end := strings.IndexFunc(p.text, func(c rune) bool { return strings.ContainsRune(" \t\r\n.[]()=!<>&|\"'", c) })
			if end < 0 {
				end = len(p.text)
			}
			if end == 0 {
				return nil, fmt.Errorf("%w: a property name is missing", ErrSyntax)
			}
			path = append(path, step{p.text[:end], property})
			p.text = p.text[end:]
		case strings.HasPrefix(p.text, "["):
			inside, rest, ok := strings.Cut(p.text[1:], "]")
			if !ok {
				return nil, fmt.Errorf("%w: ] is missing", ErrSyntax)
			}
			p.text = rest
			n, err := strconv.ParseUint(inside, 10, 31)
			switch {
			case inside == "*":
				path = append(path, step{"", every})
			case err == nil:
				path = append(path, step{"", int(n)})
			case len(inside) > 2 && strings.ContainsAny(inside[:1], `'"`) && inside[0] == inside[len(inside)-1]:
				path = append(path, step{inside[1 : len(inside)-1], property})
			default:
				return nil, fmt.Errorf("%w: [%s]", ErrSyntax, inside)
			}
		case len(path) == 0:
			return nil, fmt.Errorf("%w: a property name is missing", ErrSyntax)
		default:
			return path, nil
		}
	}
}

// operand reads a number, a quoted string or a bare word.
func (p *parser) operand(c comparison) (expression, error) {
	p.space()
	if strings.HasPrefix(p.text, `"`) {
		var err error
		c.kind = 's'
		c.text, p.text, err = quoted(p.text)
		return c, c.check(err)
	}
	end := strings.IndexAny(p.text, " \t\r\n)&|")
	if end < 0 {
		end = len(p.text)
	}
	c.text, p.text = p.text[:end], p.text[end:]
	switch {
	case c.text == "":
		return nil, fmt.Errorf("%w: a value is missing", ErrSyntax)
	case strings.HasPrefix(c.text, "%"):
		return nil, fmt.Errorf("%w: regular expressions are not supported", ErrSyntax)
	}
	var err error
	if c.num, err = strconv.ParseFloat(c.text, 64); err == nil {
		c.kind = 'n'
		return c, nil
	}
	c.kind = 's'
	return c, c.check(nil)
}

// check refuses an order of strings.
func (c comparison) check(err error) error {
	if err == nil && c.op != "=" && c.op != "!=" {
		return fmt.Errorf("%w: %s needs a number, not %q", ErrSyntax, c.op, c.text)
	}
	return err
}
