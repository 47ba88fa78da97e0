package policy

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Small alphabets, so that statements and requests meet often.
var (
	someActions   = []string{"s3:GetObject", "s3:PutObject", "s3:*", "s3:Get*", "*", "lambda:Invoke?unction", "lambda:InvokeFunction"}
	someResources = []string{"*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/k", "arn:aws:s3:::?/${aws:username}", "arn:aws:lambda:us-east-1:" + home + ":function:f"}
	someCallers   = []string{"alice", "bob", "root", "anonymous", "role/dev/s", "foreign:alice", "foreign:role/dev/s", "foreign:root", "service:s3.amazonaws.com"}
	someNames     = []string{home, foreign, "arn:aws:iam::" + home + ":user/alice", "arn:aws:iam::" + home + ":role/dev", "arn:aws:sts::" + home + ":assumed-role/dev/s", "arn:aws:iam::" + foreign + ":user/alice", "*"}
)

type object = map[string]any

func drawCondition(t *rapid.T) object {
	op := rapid.SampledFrom([]string{"StringEquals", "StringNotEquals", "StringLikeIfExists", "ForAllValues:StringEquals", "ForAnyValue:StringNotLike", "Null"}).Draw(t, "operator")
	values := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "a*", "${aws:username}"}), 1, 2).Draw(t, "values")
	if op == "Null" {
		values = []string{rapid.SampledFrom([]string{"true", "false"}).Draw(t, "null")}
	}
	return object{op: object{rapid.SampledFrom([]string{"app:one", "app:many"}).Draw(t, "key"): values}}
}

func drawStatement(t *rapid.T, effect string, kind Kind) object {
	s := object{"Effect": effect}
	set := func(name string, from []string, not bool) {
		if not && rapid.Bool().Draw(t, "not "+name) {
			name = "Not" + name
		}
		s[name] = rapid.SliceOfN(rapid.SampledFrom(from), 1, 2).Draw(t, name)
	}
	set("Action", someActions, true)
	set("Resource", someResources, true)
	if kind == Resource {
		name := "Principal"
		if effect == "Deny" && rapid.Bool().Draw(t, "NotPrincipal") {
			name = "NotPrincipal"
		}
		s[name] = object{"AWS": rapid.SliceOfN(rapid.SampledFrom(someNames), 1, 3).Draw(t, "principals")}
	}
	if rapid.Bool().Draw(t, "conditional") {
		s["Condition"] = drawCondition(t)
	}
	return s
}

func drawEffect(t *rapid.T) string {
	return rapid.SampledFrom([]string{"Allow", "Allow", "Deny"}).Draw(t, "effect")
}

func drawStatements(t *rapid.T, kind Kind, least int) []object {
	n := rapid.IntRange(least, 3).Draw(t, "statements")
	out := make([]object, n)
	for i := range out {
		out[i] = drawStatement(t, drawEffect(t), kind)
	}
	return out
}

func attach(t *rapid.T, kind Kind, statements []object) *Attached {
	if len(statements) == 0 {
		return nil
	}
	src, err := json.Marshal(object{"Version": Version2012, "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := Parse(string(src), kind)
	if err != nil {
		t.Fatalf("%v in %s", err, src)
	}
	return &Attached{Name: "p", Document: doc}
}

func listOf(a *Attached) []Attached {
	if a == nil {
		return nil
	}
	return []Attached{*a}
}

// situation is a request with its policies as statements.
type situation struct {
	request                               Request
	identity, resource, boundary, session []object
}

func drawSituation(t *rapid.T) situation {
	values := Values{"aws:username": {"k"}}
	if rapid.Bool().Draw(t, "one") {
		values["app:one"] = []string{rapid.SampledFrom([]string{"a", "b", "k"}).Draw(t, "value")}
	}
	if rapid.Bool().Draw(t, "many") {
		values["app:many"] = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "k"}), 0, 3).Draw(t, "values")
	}
	s := situation{
		identity: drawStatements(t, Identity, 0),
		resource: drawStatements(t, Resource, 0),
	}
	if rapid.Bool().Draw(t, "bounded") {
		s.boundary = drawStatements(t, Identity, 1)
	}
	if rapid.Bool().Draw(t, "session") {
		s.session = drawStatements(t, Identity, 1)
	}
	s.request = Request{
		Principal: principalNamed(rapid.SampledFrom(someCallers).Draw(t, "caller")),
		Action:    rapid.SampledFrom([]string{"s3:GetObject", "s3:PutObject", "lambda:InvokeFunction"}).Draw(t, "action"),
		Resource:  rapid.SampledFrom([]string{"arn:aws:s3:::b/k", "arn:aws:s3:::b/x", "arn:aws:lambda:us-east-1:" + home + ":function:f"}).Draw(t, "resource"),
		Owner:     home, Context: values,
	}
	return s
}

func (s *situation) decide(t *rapid.T) Decision {
	r := s.request
	r.Grants = &Grants{Identity: listOf(attach(t, Identity, s.identity)), Boundary: attach(t, Identity, s.boundary), Session: listOf(attach(t, Identity, s.session))}
	r.ResourcePolicy = attach(t, Resource, s.resource)
	return Decide(&r)
}

// Adding a Deny anywhere never turns a refusal into a grant.
func TestLaw_DenyNeverGrants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSituation(t)
		before := s.decide(t)
		switch rapid.IntRange(0, 3).Draw(t, "where") {
		case 0:
			s.identity = append(s.identity, drawStatement(t, "Deny", Identity))
		case 1:
			s.resource = append(s.resource, drawStatement(t, "Deny", Resource))
		case 2:
			if s.boundary != nil {
				s.boundary = append(s.boundary, drawStatement(t, "Deny", Identity))
			}
		case 3:
			if s.session != nil {
				s.session = append(s.session, drawStatement(t, "Deny", Identity))
			}
		}
		if after := s.decide(t); after.Allowed && !before.Allowed {
			t.Fatalf("%s; before: %s", after.Explain(), before.Explain())
		}
	})
}

// A Deny that matches refuses, whatever else there is.
func TestLaw_MatchingDenyRefuses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSituation(t)
		s.resource = append(s.resource, object{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"})
		if d := s.decide(t); d.Allowed || !d.Explicit() {
			t.Fatal(d.Explain())
		}
	})
}

// Adding a boundary or a session policy never grants.
func TestLaw_LimitsNeverGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSituation(t)
		boundary, session := s.boundary, s.session
		limited := s.decide(t)
		for _, without := range []situation{
			{request: s.request, identity: s.identity, resource: s.resource, session: session},
			{request: s.request, identity: s.identity, resource: s.resource, boundary: boundary},
			{request: s.request, identity: s.identity, resource: s.resource},
		} {
			if free := without.decide(t); limited.Allowed && !free.Allowed {
				t.Fatalf("%s; without limits: %s", limited.Explain(), free.Explain())
			}
		}
	})
}

// The order of statements decides nothing.
func TestLaw_OrderIsIrrelevant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSituation(t)
		before := s.decide(t)
		shuffled := situation{request: s.request, boundary: s.boundary, session: s.session}
		if len(s.identity) > 0 {
			shuffled.identity = rapid.Permutation(s.identity).Draw(t, "identity")
		}
		if len(s.resource) > 0 {
			shuffled.resource = rapid.Permutation(s.resource).Draw(t, "resource")
		}
		if after := shuffled.decide(t); after.Allowed != before.Allowed || after.Layer != before.Layer || after.Reason() != before.Reason() {
			t.Fatalf("%s; shuffled: %s", before.Explain(), after.Explain())
		}
	})
}

// NotAction and NotResource match exactly what Action and Resource do not.
func TestLaw_NotComplements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSituation(t)
		s.request.Principal = principalNamed("alice")
		actions := rapid.SliceOfN(rapid.SampledFrom(someActions), 1, 3).Draw(t, "actions")
		resources := rapid.SliceOfN(rapid.SampledFrom(someResources), 1, 3).Draw(t, "resources")
		allowed := func(action string, actions []string, resource string, resources []string) bool {
			r := s.request
			r.Grants = &Grants{Identity: listOf(attach(t, Identity, []object{{"Effect": "Allow", action: actions, resource: resources}}))}
			d := Decide(&r)
			return d.Allowed
		}
		all := []string{"*"}
		if allowed("Action", actions, "Resource", all) == allowed("NotAction", actions, "Resource", all) {
			t.Fatalf("NotAction %v", actions)
		}
		if allowed("Action", all, "Resource", resources) == allowed("Action", all, "NotResource", resources) {
			t.Fatalf("NotResource %v", resources)
		}
	})
}

// A trace changes no answer, and the deciding statement is in it.
func TestLaw_TraceOnlyTells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSituation(t)
		plain := s.decide(t)
		s.request.Trace = true
		traced := s.decide(t)
		if plain.Explain() != traced.Explain() {
			t.Fatalf("%s; traced: %s", plain.Explain(), traced.Explain())
		}
		if traced.Statement == nil {
			return
		}
		for _, m := range traced.Matched {
			if m.Statement == traced.Statement && m.Layer == traced.Layer {
				return
			}
		}
		t.Fatalf("%s is not in %v", traced.Explain(), fmt.Sprint(traced.Matched))
	})
}
