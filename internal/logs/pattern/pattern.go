// Package pattern is CloudWatch Logs' filter pattern language: terms, regular
// expressions, and conditions on JSON events. A parsed pattern is immutable.
//
// Patterns for space-delimited events ([a, b=1, ...]) are refused.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
package pattern

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Pattern decides whether a message matches.
type Pattern struct {
	all, any, none []term
	json           node // nil: not a JSON pattern
}

// maxTerms and maxDepth bound what a client can make the server do per event.
const (
	maxTerms = 64
	maxDepth = 16
)

// term is a word, a quoted phrase or a regular expression.
type term struct {
	text string
	re   *regexp.Regexp
}

func (t term) in(message string) bool {
	if t.re != nil {
		return t.re.MatchString(message)
	}
	return strings.Contains(message, t.text)
}

// Parse reads a pattern; the empty one matches everything. The error says
// what is wrong, for the client.
func Parse(src string) (*Pattern, error) {
	trimmed := strings.TrimSpace(src)
	switch {
	case strings.HasPrefix(trimmed, "{"):
		n, err := parseJSON(trimmed)
		if err != nil {
			return nil, err
		}
		return &Pattern{json: n}, nil
	case strings.HasPrefix(trimmed, "["):
		return nil, errors.New("patterns for space-delimited events are not supported")
	}
	p := &Pattern{}
	for rest := trimmed; rest != ""; rest = strings.TrimLeft(rest, " \t\r\n") {
		list := &p.all
		switch rest[0] {
		case '?':
			list, rest = &p.any, rest[1:]
		case '-':
			list, rest = &p.none, rest[1:]
		}
		var t term
		var err error
		if t, rest, err = nextTerm(rest); err != nil {
			return nil, err
		}
		*list = append(*list, t)
		if len(p.all)+len(p.any)+len(p.none) > maxTerms {
			return nil, fmt.Errorf("more than %d terms", maxTerms)
		}
	}
	return p, nil
}

func nextTerm(s string) (t term, rest string, err error) {
	if s == "" {
		return t, "", errors.New("a term is missing")
	}
	switch s[0] {
	case '"':
		text, rest, err := quoted(s)
		return term{text: text}, rest, err
	case '%':
		re, rest, err := expression(s)
		return term{re: re}, rest, err
	}
	end := strings.IndexAny(s, " \t\r\n")
	if end < 0 {
		end = len(s)
	}
	return term{text: s[:end]}, s[end:], nil
}

// quoted reads "text" with \" and \\ in it.
func quoted(s string) (text, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a quotation mark is not closed")
}

// expression reads %regular expression%.
func expression(s string) (re *regexp.Regexp, rest string, err error) {
	end := strings.IndexByte(s[1:], '%')
	if end < 0 {
		return nil, "", errors.New("a regular expression is not closed")
	}
	re, err = regexp.Compile(s[1 : end+1])
	if err != nil {
		return nil, "", fmt.Errorf("regular expression: %w", err)
	}
	return re, s[end+2:], nil
}

// Matches tells whether the message matches. Optional terms count only where
// there are no required ones, as AWS documents.
func (p *Pattern) Matches(message string) bool {
	if p.json != nil {
		return matchJSON(p.json, message)
	}
	for _, t := range p.none {
		if t.in(message) {
			return false
		}
	}
	for _, t := range p.all {
		if !t.in(message) {
			return false
		}
	}
	if len(p.all) > 0 || len(p.any) == 0 {
		return true
	}
	for _, t := range p.any {
		if t.in(message) {
			return true
		}
	}
	return false
}
