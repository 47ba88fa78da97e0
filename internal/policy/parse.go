package policy

import (
	"errors"
)

// reason texts shared by several checks.
const (
	syntaxErrors   = "Syntax errors in policy."
	legacyParsing  = "The policy failed legacy parsing"
	invalidSyntax  = "Invalid policy syntax."
	vendorRequired = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
)

// Parse reads, validates and compiles a document for use as kind. The error
// is a *MalformedError with AWS's wording. The size limit, which depends on
// the service and on what the document is attached to, is the caller's.
func Parse(src string, kind Kind) (*Document, error) {
	root, err := readJSON(src)
	if err != nil {
		return nil, &MalformedError{Reason: notJSON(kind, err)}
	}
	raw, reason := readDocument(&root, kind)
	if reason == "" {
		reason = raw.validate(kind)
	}
	if reason != "" {
		return nil, &MalformedError{Reason: reason}
	}
	doc, reason := raw.compile(kind)
	if reason != "" {
		return nil, &MalformedError{Reason: reason}
	}
	for i, s := range doc.Statements {
		r := &raw.statements[i]
		s.Start, s.Text = r.start, src[r.start:r.end]
	}
	return doc, nil
}

func notJSON(kind Kind, err error) string {
	switch {
	case kind == Trust:
		return "This policy contains invalid Json"
	case kind == Resource && errors.Is(err, errDuplicate):
		return invalidSyntax
	case kind == Resource:
		return "Policies must be valid JSON and the first byte must be '{'"
	}
	return syntaxErrors
}

// rawDocument is a document whose structure is right; its contents are not
// looked at yet.
type rawDocument struct {
	version    string
	id         string
	statements []rawStatement
}

type rawStatement struct {
	start, end   int // in the text
	sid          string
	effect       string
	action       *[]string
	notAction    *[]string
	resource     *[]string
	notResource  *[]string
	principal    *node
	notPrincipal *node
	conditions   []rawCondition
}

type rawCondition struct {
	operator, key string
	values        []string
}

// readDocument checks the structure. IAM answers every structural fault of an
// identity policy with one sentence; resource and trust policies name the
// field.
func readDocument(root *node, kind Kind) (rawDocument, string) {
	var d rawDocument
	if root.kind != objectNode {
		return d, notJSON(kind, nil)
	}
	fault := func(detail string) string {
		if kind == Identity || kind == Managed {
			return syntaxErrors
		}
		return detail
	}
	var statements *node
	for i := range root.members {
		m := &root.members[i]
		switch m.name {
		case "Version":
			if m.value.text != Version2008 && m.value.text != Version2012 || !m.value.str {
				return d, fault("The policy must contain a valid version string")
			}
			d.version = m.value.text
		case "Id":
			if !m.value.str {
				return d, fault(invalidSyntax)
			}
			d.id = m.value.text
		case "Statement":
			statements = &m.value
		default:
			return d, fault("Unknown field " + m.name)
		}
	}
	if statements == nil {
		return d, fault("Missing required field Statement")
	}
	items := statements.items
	if statements.kind == objectNode {
		items = []node{*statements}
	} else if statements.kind != listNode {
		return d, fault(invalidSyntax)
	}
	if len(items) == 0 {
		return d, fault("Statement is empty!")
	}
	for i := range items {
		s, detail := readStatement(&items[i])
		if detail != "" {
			return d, fault(detail)
		}
		d.statements = append(d.statements, s)
	}
	return d, ""
}

func readStatement(n *node) (rawStatement, string) {
	s := rawStatement{start: n.start, end: n.end}
	if n.kind != objectNode {
		return s, invalidSyntax
	}
	hasEffect := false
	for i := range n.members {
		m := &n.members[i]
		ok := true
		switch m.name {
		case "Sid":
			s.sid, ok = m.value.text, m.value.str
		case "Effect":
			s.effect, ok, hasEffect = m.value.text, m.value.str, true
			if ok && !foldedEffect(s.effect) {
				return s, "Invalid effect: " + s.effect
			}
		case "Action":
			s.action, ok = m.value.strings()
		case "NotAction":
			s.notAction, ok = m.value.strings()
		case "Resource":
			s.resource, ok = m.value.strings()
		case "NotResource":
			s.notResource, ok = m.value.strings()
		case "Principal":
			s.principal = &m.value
		case "NotPrincipal":
			s.notPrincipal = &m.value
		case "Condition":
			s.conditions, ok = readConditions(&m.value)
		default:
			return s, "Unknown field " + m.name
		}
		if !ok {
			return s, invalidSyntax
		}
	}
	if !hasEffect {
		return s, "Missing required field Effect"
	}
	if s.action != nil && s.notAction != nil || s.resource != nil && s.notResource != nil || s.principal != nil && s.notPrincipal != nil {
		return s, invalidSyntax
	}
	return s, ""
}

func (n *node) strings() (*[]string, bool) {
	list, ok := n.list(false)
	return &list, ok
}

func readConditions(n *node) ([]rawCondition, bool) {
	if n.kind != objectNode {
		return nil, false
	}
	var out []rawCondition
	for i := range n.members {
		op := &n.members[i]
		if op.value.kind != objectNode {
			return nil, false
		}
		for j := range op.value.members {
			key := &op.value.members[j]
			values, ok := key.value.list(true)
			if !ok {
				return nil, false
			}
			out = append(out, rawCondition{operator: op.name, key: key.name, values: values})
		}
	}
	return out, true
}

// compile turns a validated document into its evaluable form.
func (d *rawDocument) compile(kind Kind) (*Document, string) {
	doc := &Document{Version: d.version, ID: d.id}
	if doc.Version == "" {
		doc.Version = Version2008
	}
	variables := doc.Version == Version2012
	for i := range d.statements {
		s, reason := d.statements[i].compile(kind, i, variables)
		if reason != "" {
			return nil, reason
		}
		doc.Statements = append(doc.Statements, s)
	}
	return doc, ""
}

func (r *rawStatement) compile(kind Kind, index int, variables bool) (*Statement, string) {
	fault := syntaxErrors
	if kind == Resource || kind == Trust {
		fault = invalidSyntax
	}
	s := &Statement{Index: index, SID: r.sid, Effect: r.effect == "Allow"}

	actions := r.action
	if actions == nil {
		actions, s.notAction = r.notAction, true
	}
	for _, a := range *actions {
		g, _ := compileGlob(a, globRule{wild: true, fold: true})
		s.actions = append(s.actions, g)
	}

	resources := r.resource
	if resources == nil {
		resources, s.notResource = r.notResource, r.notResource != nil
	}
	if resources == nil {
		s.anyResource = true
	} else {
		for _, res := range *resources {
			g, ok := compileGlob(res, globRule{wild: true, variables: variables, segments: true})
			if !ok {
				return nil, fault
			}
			s.resources = append(s.resources, g)
		}
	}

	for _, c := range r.conditions {
		compiled, ok := compileCondition(c.operator, c.key, c.values, variables)
		if !ok {
			return nil, fault
		}
		s.conditions = append(s.conditions, compiled)
	}

	element := r.principal
	if element == nil {
		element, s.notPrincipal = r.notPrincipal, r.notPrincipal != nil
	}
	if element != nil {
		s.hasPrincipal = true
		if reason := s.principals.read(element, kind); reason != "" {
			return nil, reason
		}
	}
	return s, ""
}
