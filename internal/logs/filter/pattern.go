// Package filter is the filter pattern language of CloudWatch Logs: terms for
// any text, and expressions for JSON.
//
//	ERROR "exact phrase" -not     all of these, and not that
//	?ERROR ?WARN                  any of these
//	{ $.status >= 500 && $.user.name = "j*" }
//
// Space-delimited patterns ([ip, user, status=4*]) and regular expressions
// (%...%) are not supported and refused.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
package filter

import (
	"errors"
	"fmt"
	"strings"
)

// ErrSyntax is returned (wrapped) for a pattern that is not understood.
var ErrSyntax = errors.New("invalid filter pattern")

// MaxLength is how many bytes a pattern may have.
const MaxLength = 1024

// Pattern decides about messages. Safe for concurrent use.
type Pattern struct {
	all  []string // must be there
	none []string // must not
	any  []string // one of them must; only where there is nothing else
	json expression
}

// Parse reads a pattern; an empty one matches everything. The error wraps
// ErrSyntax.
func Parse(text string) (*Pattern, error) {
	trimmed := strings.TrimSpace(text)
	switch {
	case len(text) > MaxLength:
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrSyntax, MaxLength)
	case strings.HasPrefix(trimmed, "{"):
		x, err := parseJSON(trimmed)
		return &Pattern{json: x}, err
	case strings.HasPrefix(trimmed, "["):
		return nil, fmt.Errorf("%w: space-delimited patterns are not supported", ErrSyntax)
	}
	p := &Pattern{}
	for rest := trimmed; rest != ""; rest = strings.TrimLeft(rest, " \t\r\n") {
		mode := rest[0]
		if mode == '-' || mode == '?' {
			rest = rest[1:]
		}
		var term string
		var err error
		if term, rest, err = nextTerm(rest); err != nil {
			return nil, err
		}
		switch mode {
		case '-':
			p.none = append(p.none, term)
		case '?':
			p.any = append(p.any, term)
		default:
			p.all = append(p.all, term)
		}
	}
	if len(p.all)+len(p.none) > 0 {
		p.any = nil // AWS ignores optional terms beside others
	}
	return p, nil
}

// nextTerm takes a quoted phrase or a word off the text.
func nextTerm(text string) (term, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		return quoted(text)
	}
	end := strings.IndexAny(text, " \t\r\n")
	if end < 0 {
		end = len(text)
	}
	term = text[:end]
	if term == "" {
		return "", "", fmt.Errorf("%w: a term is missing", ErrSyntax)
	}
	for _, c := range term {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c < 0x80 {
			if c == '%' {
				return "", "", fmt.Errorf("%w: regular expressions are not supported", ErrSyntax)
			}
			return "", "", fmt.Errorf("%w: %q must be in quotation marks", ErrSyntax, term)
		}
	}
	return term, text[end:], nil
}

// quoted takes a phrase in quotation marks off the text; \ escapes the next
// character.
func quoted(text string) (phrase, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), text[i+1:], nil
		case '\\':
			if i++; i == len(text) {
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return "", "", fmt.Errorf("%w: a quotation mark is missing", ErrSyntax)
}

// Match tells whether a message matches.
func (p *Pattern) Match(message string) bool {
	if p.json != nil {
		return matchJSON(p.json, message)
	}
	for _, t := range p.all {
		if !strings.Contains(message, t) {
			return false
		}
	}
	for _, t := range p.none {
		if strings.Contains(message, t) {
			return false
		}
	}
	for _, t := range p.any {
		if strings.Contains(message, t) {
			return true
		}
	}
	return len(p.any) == 0
}
