package policy

import (
	"encoding/base64"
	"net/netip"
	"strings"
)

// operator is a condition operator without its Not, IfExists and set prefix.
type operator uint8

const (
	opString operator = iota // StringEquals
	opStringFold
	opStringLike
	opNumericEquals
	opNumericLess
	opNumericLessEquals
	opNumericGreater
	opNumericGreaterEquals
	opDateEquals
	opDateLess
	opDateLessEquals
	opDateGreater
	opDateGreaterEquals
	opBool
	opBinary
	opIP
	opArn // ArnEquals and ArnLike are the same
	opNull
)

// operators are AWS's condition operators.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
var operators = map[string]struct {
	op     operator
	negate bool
}{
	"StringEquals":              {opString, false},
	"StringNotEquals":           {opString, true},
	"StringEqualsIgnoreCase":    {opStringFold, false},
	"StringNotEqualsIgnoreCase": {opStringFold, true},
	"StringLike":                {opStringLike, false},
	"StringNotLike":             {opStringLike, true},
	"NumericEquals":             {opNumericEquals, false},
	"NumericNotEquals":          {opNumericEquals, true},
	"NumericLessThan":           {opNumericLess, false},
	"NumericLessThanEquals":     {opNumericLessEquals, false},
	"NumericGreaterThan":        {opNumericGreater, false},
	"NumericGreaterThanEquals":  {opNumericGreaterEquals, false},
	"DateEquals":                {opDateEquals, false},
	"DateNotEquals":             {opDateEquals, true},
	"DateLessThan":              {opDateLess, false},
	"DateLessThanEquals":        {opDateLessEquals, false},
	"DateGreaterThan":           {opDateGreater, false},
	"DateGreaterThanEquals":     {opDateGreaterEquals, false},
	"Bool":                      {opBool, false},
	"BinaryEquals":              {opBinary, false},
	"IpAddress":                 {opIP, false},
	"NotIpAddress":              {opIP, true},
	"ArnEquals":                 {opArn, false},
	"ArnNotEquals":              {opArn, true},
	"ArnLike":                   {opArn, false},
	"ArnNotLike":                {opArn, true},
	"Null":                      {opNull, false},
}

// setKind is how a condition treats a key that has several values.
type setKind uint8

const (
	single setKind = iota
	forAll
	forAny
)

// condition is one operator on one key with the policy's values, of which one
// field is filled according to the operator.
type condition struct {
	name     string // the operator as written
	key      string // lower case
	op       operator
	negate   bool
	ifExists bool
	set      setKind

	texts    []glob
	numbers  []number
	instants []int64 // nanoseconds
	bools    []bool
	bytes    []string
	networks []netip.Prefix
}

// compileCondition reads an operator, a key and values. It reports false for
// an unknown operator or a value that the operator cannot compare.
func compileCondition(name, key string, values []string, variables bool) (condition, bool) {
	c := condition{name: name, key: strings.ToLower(key)}
	base := name
	if rest, ok := strings.CutPrefix(base, "ForAllValues:"); ok {
		base, c.set = rest, forAll
	} else if rest, ok := strings.CutPrefix(base, "ForAnyValue:"); ok {
		base, c.set = rest, forAny
	}
	def, ok := operators[base]
	if !ok {
		base, c.ifExists = strings.CutSuffix(base, "IfExists")
		if def, ok = operators[base]; !ok || !c.ifExists || def.op == opNull {
			return c, false
		}
	}
	c.op, c.negate = def.op, def.negate
	for _, v := range values {
		if !c.addValue(v, variables) {
			return c, false
		}
	}
	return c, true
}

func (c *condition) addValue(v string, variables bool) bool {
	switch c.op {
	case opString, opStringFold, opStringLike, opArn:
		rule := globRule{variables: variables, wild: c.op == opStringLike || c.op == opArn && v == "*"}
		if c.op == opArn && v != "*" {
			rule.wild, rule.segments, rule.strict = true, true, true
		}
		g, ok := compileGlob(v, rule)
		c.texts = append(c.texts, g)
		return ok
	case opNumericEquals, opNumericLess, opNumericLessEquals, opNumericGreater, opNumericGreaterEquals:
		n, ok := parseNumber(v)
		c.numbers = append(c.numbers, n)
		return ok
	case opDateEquals, opDateLess, opDateLessEquals, opDateGreater, opDateGreaterEquals:
		t, ok := parseInstant(v)
		c.instants = append(c.instants, t)
		return ok
	case opBool, opNull:
		b, ok := parseBool(v)
		c.bools = append(c.bools, b)
		return ok
	case opBinary:
		b, err := base64.StdEncoding.DecodeString(v)
		c.bytes = append(c.bytes, string(b))
		return err == nil
	case opIP:
		p, ok := parseNetwork(v)
		c.networks = append(c.networks, p)
		return ok
	}
	return false
}

// holds evaluates the condition.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
func (c *condition) holds(ctx Context) bool {
	var values []string
	if ctx != nil {
		values, _ = ctx.Lookup(c.key)
	}
	present := len(values) > 0
	if c.op == opNull {
		for _, absent := range c.bools {
			if absent != present {
				return true
			}
		}
		return false
	}
	switch c.set {
	case forAll:
		// No value, or only empty ones, is vacuously true.
		if !present || allEmpty(values) {
			return true
		}
		for _, v := range values {
			if c.matches(v, ctx) == c.negate {
				return false
			}
		}
		return true
	case forAny:
		if !present {
			return c.ifExists
		}
		for _, v := range values {
			if c.matches(v, ctx) != c.negate {
				return true
			}
		}
		return false
	}
	if !present {
		return c.ifExists || c.negate
	}
	for _, v := range values {
		if c.matches(v, ctx) {
			return !c.negate
		}
	}
	return c.negate
}

func allEmpty(values []string) bool {
	for _, v := range values {
		if v != "" {
			return false
		}
	}
	return true
}

// matches reports whether v fits one of the policy's values, the operator
// taken without its Not.
func (c *condition) matches(v string, ctx Context) bool {
	switch c.op {
	case opString, opStringLike, opArn:
		for i := range c.texts {
			if c.texts[i].match(v, ctx) {
				return true
			}
		}
	case opStringFold:
		for i := range c.texts {
			if want, ok := c.texts[i].expand(ctx); ok && strings.EqualFold(v, want) {
				return true
			}
		}
	case opNumericEquals, opNumericLess, opNumericLessEquals, opNumericGreater, opNumericGreaterEquals:
		n, ok := parseNumber(v)
		if !ok {
			return false
		}
		for _, want := range c.numbers {
			if order(c.op-opNumericEquals, n.compare(want)) {
				return true
			}
		}
	case opDateEquals, opDateLess, opDateLessEquals, opDateGreater, opDateGreaterEquals:
		t, ok := parseInstant(v)
		if !ok {
			return false
		}
		for _, want := range c.instants {
			if order(c.op-opDateEquals, compareInt(t, want)) {
				return true
			}
		}
	case opBool:
		b, ok := parseBool(v)
		for _, want := range c.bools {
			if ok && b == want {
				return true
			}
		}
	case opBinary:
		b, err := base64.StdEncoding.DecodeString(v)
		for _, want := range c.bytes {
			if err == nil && string(b) == want {
				return true
			}
		}
	case opIP:
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return false
		}
		addr = addr.Unmap().WithZone("")
		for _, p := range c.networks {
			if p.Contains(addr) {
				return true
			}
		}
	}
	return false
}

// order applies the n-th of Equals, LessThan, LessThanEquals, GreaterThan,
// GreaterThanEquals to a comparison's result.
func order(n operator, cmp int) bool {
	switch n {
	case 0:
		return cmp == 0
	case 1:
		return cmp < 0
	case 2:
		return cmp <= 0
	case 3:
		return cmp > 0
	}
	return cmp >= 0
}
