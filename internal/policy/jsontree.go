package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds nesting; the language itself needs six levels.
const maxDepth = 16

type nodeKind uint8

const (
	textNode nodeKind = iota // a string, number or boolean as text
	objectNode
	listNode
	nullNode
)

// node is a JSON value that keeps the order of members, so that duplicates
// are seen.
type node struct {
	kind    nodeKind
	str     bool // a JSON string, not a number or boolean
	text    string
	items   []node
	members []member
	// start and end are where an object stands in the text, in bytes.
	start, end int
}

type member struct {
	name  string
	value node
}

// errDuplicate is a member that occurs twice in an object: two readers of the
// document could disagree on which one counts.
var errDuplicate = errors.New("duplicate member")

// readJSON reads exactly one JSON value from src.
func readJSON(src string) (node, error) {
	if !utf8.ValidString(src) {
		return node{}, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(strings.NewReader(src))
	dec.UseNumber()
	n, err := readNode(dec, 0)
	if err != nil {
		return node{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return node{}, errors.New("text after the value")
	}
	return n, nil
}

func readNode(dec *json.Decoder, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, errors.New("nested too deeply")
	}
	tok, err := dec.Token()
	if err != nil {
		return node{}, err
	}
	switch v := tok.(type) {
	case string:
		return node{kind: textNode, str: true, text: v}, nil
	case json.Number:
		return node{kind: textNode, text: v.String()}, nil
	case bool:
		return node{kind: textNode, text: fmt.Sprint(v)}, nil
	case nil:
		return node{kind: nullNode}, nil
	case json.Delim:
		if v == '{' {
			return readObject(dec, depth)
		}
		n := node{kind: listNode}
		for dec.More() {
			item, err := readNode(dec, depth+1)
			if err != nil {
				return node{}, err
			}
			n.items = append(n.items, item)
		}
		_, err := dec.Token()
		return n, err
	}
	return node{}, fmt.Errorf("unexpected token %v", tok)
}

func readObject(dec *json.Decoder, depth int) (node, error) {
	n := node{kind: objectNode, start: int(dec.InputOffset()) - 1}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return node{}, err
		}
		name, ok := tok.(string)
		if !ok {
			return node{}, fmt.Errorf("unexpected token %v", tok)
		}
		if seen[name] {
			return node{}, fmt.Errorf("%w %q", errDuplicate, name)
		}
		seen[name] = true
		value, err := readNode(dec, depth+1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{name: name, value: value})
	}
	_, err := dec.Token()
	n.end = int(dec.InputOffset())
	return n, err
}

// list returns the texts of a string or a list of strings; scalars also
// allows numbers and booleans, as conditions do.
func (n *node) list(scalars bool) ([]string, bool) {
	items := n.items
	if n.kind == textNode {
		items = []node{*n}
	} else if n.kind != listNode {
		return nil, false
	}
	out := make([]string, 0, len(items))
	for i := range items {
		if items[i].kind != textNode || !scalars && !items[i].str {
			return nil, false
		}
		out = append(out, items[i].text)
	}
	return out, true
}
