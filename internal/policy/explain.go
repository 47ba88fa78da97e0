package policy

import "fmt"

// Reason returns the end of AWS's AccessDenied message: "because no
// identity-based policy allows the s3:PutObject action", "with an explicit
// deny in a resource-based policy". A managed policy that denies is named by
// its ARN. Empty when allowed.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (d *Decision) Reason() string {
	switch {
	case d.Allowed:
		return ""
	case d.Statement == nil:
		return fmt.Sprintf("because no %s allows the %s action", d.Layer, d.Action)
	}
	article := "a"
	switch d.Layer {
	case IdentityLayer:
		article = "an"
	case TrustLayer:
		article = "the"
	}
	reason := fmt.Sprintf("with an explicit deny in %s %s", article, d.Layer)
	if d.Policy.ARN != "" {
		reason += ": " + d.Policy.ARN
	}
	return reason
}

// Message returns the whole sentence that most services answer with. An
// empty resource is left out, as AWS does for actions without one.
func (d *Decision) Message(resource string) string {
	on := ""
	if resource != "" {
		on = " on resource: " + resource
	}
	return fmt.Sprintf("User: %s is not authorized to perform: %s%s %s", d.Principal, d.Action, on, d.Reason())
}

// Explain returns one line for people: what was decided, by which statement
// of which policy.
func (d *Decision) Explain() string {
	verdict := "denied"
	if d.Allowed {
		verdict = "allowed"
	}
	return fmt.Sprintf("%s %s on %s to %s: %s", verdict, d.Action, d.Resource, d.Principal, d.Deciding())
}

// Deciding names the statement that decided, or what was missing.
func (d *Decision) Deciding() string {
	switch {
	case d.Layer == RootLayer:
		return "the root user of the account"
	case d.Statement == nil:
		return fmt.Sprintf("no %s allows it", d.Layer)
	}
	return fmt.Sprintf("%s in %s %q", d.Statement.Name(), d.Layer, d.Policy.Label())
}

// Name returns the statement's effect, position and Sid.
func (s *Statement) Name() string {
	if s.SID == "" {
		return fmt.Sprintf("%s statement %d", s.Effect, s.Index+1)
	}
	return fmt.Sprintf("%s statement %d %q", s.Effect, s.Index+1, s.SID)
}

// Label is the policy's ARN, or its name where it has none.
func (a *Attached) Label() string {
	if a.ARN != "" {
		return a.ARN
	}
	return a.Name
}

// ContextKeys returns the condition keys that the document refers to, in
// conditions and variables, in lower case and without duplicates.
func (d *Document) ContextKeys() []string {
	var keys []string
	add := func(k string) {
		if !contains(keys, k) {
			keys = append(keys, k)
		}
	}
	fromGlobs := func(list []glob) {
		for i := range list {
			for _, t := range list[i].tokens {
				if t.kind == variable {
					add(t.key)
				}
			}
		}
	}
	for _, s := range d.Statements {
		fromGlobs(s.resources)
		for i := range s.conditions {
			add(s.conditions[i].key)
			fromGlobs(s.conditions[i].texts)
		}
	}
	return keys
}
