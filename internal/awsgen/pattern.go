package main

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

var (
	unicodeEscape = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)
	longEscape    = regexp.MustCompile(`\\u[0-9A-Fa-f]{5}`)
	intersection  = regexp.MustCompile(`&&`)
)

// translate turns a model's pattern, which is Java's, into one that RE2 reads
// the same way. Whatever it is not sure of is an error: the overlay must then
// say what is meant.
func translate(p string) (string, error) {
	if longEscape.MatchString(p) {
		return "", fmt.Errorf("pattern %q: escape of more than four digits", p)
	}
	if intersection.MatchString(p) {
		return "", fmt.Errorf("pattern %q: class intersection", p)
	}
	re := unicodeEscape.ReplaceAllString(p, `\x{$1}`)
	re = regexp.MustCompile(`\\p\{Print\}`).ReplaceAllString(re, `[\x20-\x7e]`)
	if err := compiles(re); err != nil {
		return "", fmt.Errorf("pattern %q: %w", p, err)
	}
	return re, nil
}

func compiles(re string) error {
	if _, err := syntax.Parse("^(?:"+re+")$", syntax.Perl); err != nil {
		return err
	}
	_, err := regexp.Compile("^(?:" + re + ")$")
	return err
}
