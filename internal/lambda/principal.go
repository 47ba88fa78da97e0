package lambda

import (
	"maps"
	"slices"
	"strings"
)

// Principals knows who the users and roles are that a permission names.
type Principals interface {
	// Bind returns the unique id of the user or role that an ARN names now, by
	// which a permission keeps it; empty for one that has none here. ok is
	// false when it should exist and does not.
	Bind(principalARN string) (id string, ok bool)
	// Shown returns the ARN that the bearer of an id has now, or the id when it
	// is gone.
	Shown(id string) string
}

// bind keeps the statement's user or role by its id: who gets the name later is
// somebody else.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func (s *Service) bind(st *statement) error {
	p, ok := st.Principal.(map[string]string)
	if !ok || s.cfg.Principals == nil || !strings.HasPrefix(p["AWS"], "arn:aws:iam::") {
		return nil
	}
	id, ok := s.cfg.Principals.Bind(p["AWS"])
	if !ok {
		return invalid("The provided principal was invalid. Please check the principal and try again.")
	}
	if id != "" {
		st.Principal = map[string]string{"AWS": id}
	}
	return nil
}

// shown returns statements as they are shown: with names for ids.
func (s *Service) shown(statements []statement) []statement {
	if s.cfg.Principals == nil {
		return statements
	}
	out := slices.Clone(statements)
	for i := range out {
		switch p := out[i].Principal.(type) {
		case map[string]any: // as it was read
			if id, ok := p["AWS"].(string); ok && !strings.Contains(id, ":") {
				p = maps.Clone(p)
				p["AWS"] = s.cfg.Principals.Shown(id)
				out[i].Principal = p
			}
		case map[string]string: // as it was made
			if id := p["AWS"]; id != "" && !strings.Contains(id, ":") {
				out[i].Principal = map[string]string{"AWS": s.cfg.Principals.Shown(id)}
			}
		}
	}
	return out
}
