// Package policy is the IAM policy language: it parses a document into a
// compiled form, evaluates requests against sets of them as AWS documents it,
// and says which statement decided and why. It serves authz (every request)
// and iam (validation at Put time, simulation).
//
// Pure functions over immutable values: no I/O, no clock, no globals that
// change. A compiled [Document] is safe for concurrent use, and evaluating one
// does not allocate unless a pattern has policy variables.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies.html
package policy

// Versions of the language. Variables exist in Version2012 only.
const (
	Version2008 = "2008-10-17"
	Version2012 = "2012-10-17"
)

// Kind says where a document is to be used, and so what it must contain.
type Kind int

// The kinds of document.
const (
	// Identity is an inline policy of a user, group or role, or a session
	// policy: no Principal; Resource required.
	Identity Kind = iota
	// Managed is a customer-managed policy: as Identity, of version
	// 2012-10-17.
	Managed
	// Resource is a policy of a bucket, function, layer, ...: Principal
	// required.
	Resource
	// Trust is a role's AssumeRolePolicyDocument: Principal required, no
	// Resource, sts actions only.
	Trust
)

// Effect of a statement.
type Effect bool

// The two effects.
const (
	Deny  Effect = false
	Allow Effect = true
)

// String returns the effect as policies spell it.
func (e Effect) String() string {
	if e == Allow {
		return "Allow"
	}
	return "Deny"
}

// Document is a parsed and compiled policy. It is immutable.
type Document struct {
	Version    string // Version2008 when the text has none
	ID         string // the Id element
	Statements []*Statement
}

// Statement is one compiled statement.
type Statement struct {
	Index  int    // position in its document, from 0
	Start  int    // where it begins in the text that was parsed, in bytes
	Text   string // as it was written
	SID    string
	Effect Effect

	notAction    bool
	actions      []glob // lower case
	notResource  bool
	anyResource  bool // a trust policy's statement names no resource
	resources    []glob
	hasPrincipal bool
	notPrincipal bool
	principals   principals
	conditions   []condition
}

// Attached is a document with the name by which a decision refers to it.
type Attached struct {
	Name     string // of an inline or managed policy; free text otherwise
	ARN      string // of a managed policy; empty for inline and resource policies
	Document *Document
}

// Grants is everything attached to a principal that decides what it may do.
// It is assembled by iam from its records and is read only here.
type Grants struct {
	// Identity are the inline and managed policies of the user, of its
	// groups, or of the session's role.
	Identity []Attached
	// Boundary is the permissions boundary; nil: none.
	Boundary *Attached
	// Session are the policies passed when the session was made; they are
	// united. Nil: not a session, or one without policies.
	Session []Attached
	// ServiceControl are the organisation's policies, one list per level from
	// the root to the account: each level must allow. Nil: none.
	ServiceControl [][]Attached

	// RoleARN and RoleID are those of the role behind an assumed-role
	// session: the ARN with its path, the id AROA....
	RoleARN string
	RoleID  string
	// Tags are aws:PrincipalTag: the user's or role's own, overridden by the
	// session's.
	Tags map[string]string
	// More holds further context keys that are properties of the session, by
	// lower-case name: aws:tokenissuetime, aws:sourceidentity,
	// aws:multifactorauthpresent, aws:federatedprovider, ...
	More map[string][]string
}

// Context gives the values of condition keys. Keys are asked for in lower
// case: condition key names do not distinguish case. A key that is absent has
// ok false.
type Context interface {
	Lookup(key string) (values []string, ok bool)
}

// Values is a Context held in a map with lower-case keys.
type Values map[string][]string

// Lookup returns the values of key, which is in lower case.
func (v Values) Lookup(key string) ([]string, bool) {
	vs, ok := v[key]
	return vs, ok
}

// MalformedError says, in AWS's words, why a document is refused: the message
// of IAM's MalformedPolicyDocument and S3's MalformedPolicy.
type MalformedError struct {
	Reason string
}

// Error returns the reason with its kind.
func (e *MalformedError) Error() string { return "malformed policy document: " + e.Reason }
