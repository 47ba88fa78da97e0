package iam

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"davy/api/iamapi"
	"davy/internal/policy"
)

// span is where a statement lies in the text of its policy, in bytes.
type span struct{ start, end int }

// spans finds the statements of a policy. As AWS does, it lets a statement of
// a list begin where what comes before it ends.
func spans(text string) []span {
	dec := json.NewDecoder(strings.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var value json.RawMessage
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil
		}
		if key != "Statement" {
			if dec.Decode(&value) != nil {
				return nil
			}
			continue
		}
		if err := dec.Decode(&value); err != nil {
			return nil
		}
		end := int(dec.InputOffset())
		base := end - len(value)
		if len(value) > 0 && value[0] == '{' {
			return []span{{base, end}}
		}
		return listSpans(value, base)
	}
	return nil
}

func listSpans(list json.RawMessage, base int) []span {
	dec := json.NewDecoder(strings.NewReader(string(list)))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil
	}
	var out []span
	var value json.RawMessage
	for start := int(dec.InputOffset()); dec.More(); {
		if dec.Decode(&value) != nil {
			return nil
		}
		end := int(dec.InputOffset())
		out = append(out, span{base + start, base + end})
		start = end
	}
	return out
}

// position is a place in a text as AWS counts: both from 1.
func position(text string, offset int) *iamapi.Position {
	before := text[:offset]
	line := strings.LastIndexByte(before, '\n') + 1
	return &iamapi.Position{
		Line:   new(int32(1 + strings.Count(before, "\n"))),
		Column: new(int32(1 + utf8.RuneCountInString(before[line:]))),
	}
}

// contextKeys returns the condition keys that a policy refers to, as its text
// spells them.
func contextKeys(doc *policy.Document, text string) []string {
	folded := lowerASCII(text)
	keys := doc.ContextKeys()
	for i, k := range keys {
		if at := strings.Index(folded, k); at >= 0 {
			keys[i] = text[at : at+len(k)]
		}
	}
	return keys
}

// lowerASCII keeps the length of what it folds.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
