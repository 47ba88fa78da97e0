package policy

import (
	"strings"
	"unicode/utf8"
)

// tokenKind is a piece of a pattern.
type tokenKind uint8

const (
	literal    tokenKind = iota
	star                 // any characters
	one                  // any one character
	starInside           // any characters of this ARN segment
	oneInside            // any one character of this ARN segment
	variable             // ${key} or ${key, 'default'}
)

type token struct {
	kind       tokenKind
	text       string // literal; a variable's default
	key        string // a variable's key, lower case
	hasDefault bool
}

// glob is a compiled pattern. What a variable stands for is matched
// literally: a value cannot smuggle a wildcard in.
type glob struct {
	source    string
	tokens    []token
	exact     bool // no wildcard and no variable: source's literal text is exactText
	exactText string
	inside    bool // has tokens confined to an ARN segment
	variables bool
}

// globRule chooses how a pattern is read.
type globRule struct {
	wild      bool // * and ? are wildcards
	variables bool // ${...} is substituted
	fold      bool // lower-case the literals
	// segments confines wildcards of an ARN's first five segments to their
	// segment; a * that ends its segment is free unless strict.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
	segments, strict bool
}

// compileGlob reads s. It reports false for a malformed variable.
func compileGlob(s string, rule globRule) (glob, bool) {
	g := glob{source: s}
	var lit strings.Builder
	flush := func() {
		if lit.Len() == 0 {
			return
		}
		text := lit.String()
		if rule.fold {
			text = strings.ToLower(text)
		}
		g.tokens = append(g.tokens, token{kind: literal, text: text})
		lit.Reset()
	}
	colons := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case rule.variables && c == '$' && i+1 < len(s) && s[i+1] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return glob{}, false
			}
			body := s[i+2 : i+end]
			i += end + 1
			switch body {
			case "*", "?", "$":
				lit.WriteString(body)
				continue
			}
			v, ok := parseVariable(body)
			if !ok {
				return glob{}, false
			}
			flush()
			g.tokens = append(g.tokens, v)
			g.variables = true
			continue
		case rule.wild && (c == '*' || c == '?'):
			flush()
			header := rule.segments && colons < 5
			t := token{kind: one}
			if header {
				t.kind = oneInside
			}
			if c == '*' {
				t.kind = star
				endsSegment := i+1 == len(s) || s[i+1] == ':'
				if header && (rule.strict || !endsSegment) {
					t.kind = starInside
				}
				// ** says nothing more than *.
				if n := len(g.tokens); n > 0 && g.tokens[n-1].kind == t.kind {
					i++
					continue
				}
			}
			g.inside = g.inside || t.kind == oneInside || t.kind == starInside
			g.tokens = append(g.tokens, t)
		default:
			if c == ':' {
				colons++
			}
			lit.WriteByte(c)
		}
		i++
	}
	flush()
	switch {
	case len(g.tokens) == 0:
		g.exact = true
	case len(g.tokens) == 1 && g.tokens[0].kind == literal:
		g.exact, g.exactText = true, g.tokens[0].text
	}
	return g, true
}

// parseVariable reads what stands between ${ and }: a key, or a key and a
// default in single quotes.
func parseVariable(body string) (token, bool) {
	key, def, hasDefault := strings.Cut(body, ",")
	t := token{kind: variable, key: strings.ToLower(strings.TrimSpace(key)), hasDefault: hasDefault}
	if t.key == "" || strings.ContainsAny(t.key, " '\"$*?{") {
		return t, false
	}
	if hasDefault {
		def = strings.TrimSpace(def)
		if len(def) < 2 || def[0] != '\'' || def[len(def)-1] != '\'' {
			return t, false
		}
		t.text = def[1 : len(def)-1]
	}
	return t, true
}

// matchesAll reports whether g is the lone *.
func (g *glob) matchesAll() bool {
	return len(g.tokens) == 1 && g.tokens[0].kind == star
}

// match reports whether s as a whole fits the pattern. A pattern with a
// variable that ctx cannot resolve fits nothing.
func (g *glob) match(s string, ctx Context) bool {
	if g.exact {
		return s == g.exactText
	}
	tokens := g.tokens
	if g.variables {
		var ok bool
		if tokens, ok = resolve(tokens, ctx); !ok {
			return false
		}
	}
	if g.inside {
		return matchSegments(tokens, s)
	}
	return matchTokens(tokens, s)
}

// expand returns the pattern's text with its variables substituted; for
// operators without wildcards.
func (g *glob) expand(ctx Context) (string, bool) {
	if g.exact {
		return g.exactText, true
	}
	tokens, ok := resolve(g.tokens, ctx)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(t.text)
	}
	return b.String(), true
}

// unresolved reports whether one of the patterns has a variable without a
// value. A negated element cannot tell what it then leaves out.
func unresolved(list []glob, ctx Context) bool {
	for i := range list {
		if list[i].variables {
			if _, ok := resolve(list[i].tokens, ctx); !ok {
				return true
			}
		}
	}
	return false
}

// resolve replaces variables by literals. Only single-valued keys can be
// substituted.
func resolve(tokens []token, ctx Context) ([]token, bool) {
	out := make([]token, len(tokens))
	copy(out, tokens)
	for i := range out {
		if out[i].kind != variable {
			continue
		}
		var values []string
		if ctx != nil {
			values, _ = ctx.Lookup(out[i].key)
		}
		switch {
		case len(values) == 1:
			out[i] = token{kind: literal, text: values[0]}
		case len(values) == 0 && out[i].hasDefault:
			out[i] = token{kind: literal, text: out[i].text}
		default:
			return nil, false
		}
	}
	return out, true
}

// matchTokens is the usual greedy match: the last star takes as little as
// makes the rest fit. O(len(tokens) * len(s)) at worst.
func matchTokens(tokens []token, s string) bool {
	ti, si, starT, starS := 0, 0, -1, 0
	for {
		if ti < len(tokens) {
			t := &tokens[ti]
			switch t.kind {
			case star:
				if ti == len(tokens)-1 {
					return true
				}
				starT, starS = ti, si
				ti++
				continue
			case one:
				if si < len(s) {
					_, n := utf8.DecodeRuneInString(s[si:])
					si += n
					ti++
					continue
				}
			default:
				if strings.HasPrefix(s[si:], t.text) {
					si += len(t.text)
					ti++
					continue
				}
			}
		} else if si == len(s) {
			return true
		}
		if starT < 0 || starS >= len(s) {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[starS:])
		starS += n
		if next := &tokens[starT+1]; next.kind == literal {
			skip := strings.Index(s[starS:], next.text)
			if skip < 0 {
				return false
			}
			starS += skip
		}
		ti, si = starT+1, starS
	}
}

// matchSegments matches patterns some of whose wildcards stop at a colon, by
// keeping the set of positions reachable after each token.
func matchSegments(tokens []token, s string) bool {
	n := len(s) + 1
	var buf [512]bool
	set := buf[:]
	if 2*n > len(set) {
		set = make([]bool, 2*n)
	}
	cur, next := set[:n], set[n:2*n]
	cur[0] = true
	for i := range tokens {
		t := &tokens[i]
		clear(next)
		alive, open := false, false
		for j := 0; j < n; j++ {
			switch t.kind {
			case star, starInside:
				open = open || cur[j]
				next[j] = open
				alive = alive || open
				if t.kind == starInside && j < len(s) && s[j] == ':' {
					open = false
				}
			case one, oneInside:
				if cur[j] && j < len(s) && (t.kind == one || s[j] != ':') {
					_, w := utf8.DecodeRuneInString(s[j:])
					next[j+w] = true
					alive = true
				}
			default:
				if cur[j] && strings.HasPrefix(s[j:], t.text) {
					next[j+len(t.text)] = true
					alive = true
				}
			}
		}
		if !alive {
			return false
		}
		cur, next = next, cur
	}
	return cur[len(s)]
}
