package policy

import (
	"strings"

	"davy/internal/arn"
)

// Principal is who a request is made by.
type Principal struct {
	// ARN is that of the user, the root user, or the session; empty for an
	// anonymous request and for a service.
	ARN     string
	Account string
	UserID  string // aws:userid: AIDA..., AROA...:SESSION, the account id for root
	// RoleARN is that of an assumed-role session's role, path included.
	RoleARN string
	// Service is a service principal's name, such as s3.amazonaws.com.
	Service string
	// Federated is the identity provider of a caller that has only a web
	// identity token or SAML assertion.
	Federated string
}

// Anonymous reports whether nobody signed the request.
func (p *Principal) Anonymous() bool {
	return p.ARN == "" && p.Service == "" && p.Federated == ""
}

// Root reports whether p is the root user of its account.
func (p *Principal) Root() bool {
	return p.ARN != "" && strings.HasSuffix(p.ARN, ":root") && strings.Contains(p.ARN, ":iam::")
}

// closeness is how precisely a Principal element names a caller. It matters
// within one account: naming the account only delegates to its identity
// policies; naming the role is limited by boundary and session policies;
// naming the user, the session or everyone is not.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html
type closeness uint8

const (
	unnamed closeness = iota
	byAccount
	byRole
	directly
)

// principals is a compiled Principal or NotPrincipal element.
type principals struct {
	everyone  bool
	accounts  []string // 12-digit ids
	names     []string // ARNs and unique ids
	services  []string
	federated []string
}

func (ps *principals) match(p *Principal) closeness {
	if ps.everyone {
		return directly
	}
	if p.Service != "" {
		return pick(contains(ps.services, p.Service), directly)
	}
	if p.Federated != "" {
		return pick(contains(ps.federated, p.Federated), directly)
	}
	if p.ARN == "" {
		return unnamed
	}
	best := unnamed
	for _, n := range ps.names {
		switch {
		case n == p.ARN || n == p.UserID:
			return directly
		case p.RoleARN != "" && (n == p.RoleARN || isRoleOf(n, p.UserID)):
			best = byRole
		}
	}
	if best == unnamed && contains(ps.accounts, p.Account) {
		best = byAccount
	}
	return best
}

// excludes reports whether a NotPrincipal element leaves p out of its
// statement. For a Deny, AWS wants the whole chain named: the account, the
// role, and the session.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
func (ps *principals) excludes(p *Principal, effect Effect) bool {
	if ps.everyone {
		return true
	}
	if effect == Allow || p.Service != "" || p.Federated != "" || p.ARN == "" {
		return ps.match(p) != unnamed
	}
	if !contains(ps.accounts, p.Account) {
		return false
	}
	if p.Root() {
		return true
	}
	named, role := false, p.RoleARN == ""
	for _, n := range ps.names {
		named = named || n == p.ARN || n == p.UserID
		role = role || n == p.RoleARN || isRoleOf(n, p.UserID)
	}
	return named && role
}

// isRoleOf reports whether id, AROA..., is the role of a session whose
// aws:userid is AROA...:NAME.
func isRoleOf(id, userID string) bool {
	return len(userID) > len(id) && strings.HasPrefix(id, "AROA") && strings.HasPrefix(userID, id) && userID[len(id)] == ':'
}

func pick(ok bool, c closeness) closeness {
	if ok {
		return c
	}
	return unnamed
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// addAWS adds one value of the AWS member. It reports false for a value that
// is no principal: AWS accepts the lone * but no pattern.
func (ps *principals) addAWS(v string) bool {
	if v == "*" {
		ps.everyone = true
		return true
	}
	if isAccount(v) {
		ps.accounts = append(ps.accounts, v)
		return true
	}
	if isUniqueID(v) {
		ps.names = append(ps.names, v)
		return true
	}
	a, err := arn.Parse(v)
	if err != nil || a.Region != "" || !isAccount(a.Account) || strings.ContainsAny(v, "*?") {
		return false
	}
	switch {
	case a.Service == "iam" && a.Resource == "root":
		ps.accounts = append(ps.accounts, a.Account)
	case a.Service == "iam" && (strings.HasPrefix(a.Resource, "user/") || strings.HasPrefix(a.Resource, "role/")),
		a.Service == "sts" && (strings.HasPrefix(a.Resource, "assumed-role/") || strings.HasPrefix(a.Resource, "federated-user/")):
		ps.names = append(ps.names, v)
	default:
		return false
	}
	return true
}

// Bind returns the document with ids in place of the users and roles that its
// Principal elements name, as bound has them by their ARNs: an id means who had
// the name when the policy was saved.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func (d *Document) Bind(bound map[string]string) *Document {
	if d == nil || len(bound) == 0 {
		return d
	}
	out := *d
	out.Statements = make([]*Statement, len(d.Statements))
	for i, s := range d.Statements {
		c := *s
		c.principals.names = make([]string, len(s.principals.names))
		for j, n := range s.principals.names {
			if id := bound[n]; id != "" {
				n = id
			}
			c.principals.names[j] = n
		}
		out.Statements[i] = &c
	}
	return &out
}

func isAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isUniqueID reports whether s is the id of a user or role, into which a
// saved policy turns their ARNs.
func isUniqueID(s string) bool {
	if len(s) < 16 || !strings.HasPrefix(s, "AIDA") && !strings.HasPrefix(s, "AROA") {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'A' || s[i] > 'Z') {
			return false
		}
	}
	return true
}
