package iam

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"davy/internal/arn"
	"davy/internal/policy"
)

// kind of a record, as it stands in keys and ARNs.
type kind string

const (
	userKind  kind = "user"
	groupKind kind = "group"
	roleKind  kind = "role"

	profileKind  kind = "instance-profile"
	providerKind kind = "oidc-provider"
)

// kinds are all of them.
var kinds = []kind{userKind, groupKind, roleKind, profileKind, providerKind}

// document is something that the store keeps under one key.
type document interface {
	key() string
	revision() int64
	at(rev int64) document // the same with another revision
}

type tag struct {
	Key   string `json:"k"`
	Value string `json:"v"`
}

type inlinePolicy struct {
	Name     string `json:"name"`
	Document string `json:"document"`
}

type accessKey struct {
	ID      string    `json:"id"`
	Secret  string    `json:"secret"`
	Active  bool      `json:"active"`
	Created time.Time `json:"created"`
}

// record is a user, group, role, instance profile or OIDC provider. Once in a
// snapshot it is never changed: a change clones it.
type record struct {
	Kind     kind           `json:"-"`
	Name     string         `json:"name"`
	Path     string         `json:"path"`
	ID       string         `json:"id"`
	Created  time.Time      `json:"created"`
	Tags     []tag          `json:"tags,omitempty"`
	Inline   []inlinePolicy `json:"inline,omitempty"`
	Attached []string       `json:"attached,omitempty"` // ARNs of managed policies
	Boundary string         `json:"boundary,omitempty"` // ARN of a managed policy

	Keys   []accessKey `json:"keys,omitempty"`   // of a user
	Groups []string    `json:"groups,omitempty"` // of a user: ids, for groups are renamed
	Login  login       `json:"login,omitzero"`   // of a user: its password

	Description string `json:"description,omitempty"` // of a role, as are the following
	MaxSession  int32  `json:"maxSession,omitempty"`  // seconds
	Trust       string `json:"trust,omitempty"`
	// Bound are the ARNs of users and roles in Trust with the ids that they
	// had when it was saved: who later gets the same name is not trusted.
	Bound map[string]string `json:"bound,omitempty"`

	RoleID string `json:"role,omitempty"` // of an instance profile: the id of its role

	// ClientIDs and Thumbprints are of an OIDC provider. Its Name is the
	// issuer's URL without the scheme.
	ClientIDs   []string `json:"clientIds,omitempty"`
	Thumbprints []string `json:"thumbprints,omitempty"`

	rev    int64
	inline []policy.Attached // Inline, compiled
	trust  *policy.Document  // Trust, compiled
}

func recordKey(k kind, name string) string { return "iam/" + string(k) + "/" + strings.ToLower(name) }

func (r *record) key() string     { return recordKey(r.Kind, r.Name) }
func (r *record) revision() int64 { return r.rev }
func (r *record) at(rev int64) document {
	c := *r
	c.rev = rev
	return &c
}

func (r *record) arn(account string) string {
	return arn.New("iam", "", account, string(r.Kind)+r.Path+r.Name).String()
}

// clone returns a copy that may be changed.
func (r *record) clone() *record {
	c := *r
	c.Tags, c.Inline, c.Attached = slices.Clone(r.Tags), slices.Clone(r.Inline), slices.Clone(r.Attached)
	c.Keys, c.Groups, c.Bound = slices.Clone(r.Keys), slices.Clone(r.Groups), maps.Clone(r.Bound)
	c.ClientIDs, c.Thumbprints = slices.Clone(r.ClientIDs), slices.Clone(r.Thumbprints)
	c.Login.Earlier = slices.Clone(r.Login.Earlier)
	return &c
}

// compile parses the record's policies. They were validated when they came, so
// a failure means that the store is damaged.
func (r *record) compile() error {
	r.inline = make([]policy.Attached, 0, len(r.Inline))
	for _, p := range r.Inline {
		doc, err := policy.Parse(p.Document, policy.Identity)
		if err != nil {
			return fmt.Errorf("%s %s: inline policy %s: %w", r.Kind, r.Name, p.Name, err)
		}
		r.inline = append(r.inline, policy.Attached{Name: p.Name, Document: doc})
	}
	if r.Kind != roleKind {
		return nil
	}
	trust, err := policy.Parse(r.Trust, policy.Trust)
	if err != nil {
		return fmt.Errorf("role %s: trust policy: %w", r.Name, err)
	}
	r.trust = trust.Bind(r.Bound)
	return nil
}

func (r *record) tagMap() map[string]string {
	if len(r.Tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(r.Tags))
	for _, t := range r.Tags {
		m[t.Key] = t.Value
	}
	return m
}

// version of a managed policy.
type version struct {
	ID       string    `json:"id"`
	Document string    `json:"document"`
	Created  time.Time `json:"created"`
}

// managed is a managed policy: the customer's, or one of AWS's.
type managed struct {
	Name        string    `json:"name"`
	Path        string    `json:"path"`
	ID          string    `json:"id"`
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
	Tags        []tag     `json:"tags,omitempty"`
	Default     string    `json:"default"` // version id
	Next        int       `json:"next"`    // number of the next version
	Versions    []version `json:"versions"`

	aws     bool
	arnText string
	rev     int64
	doc     func() (*policy.Document, error) // of the default version
}

func policyKey(name string) string { return "iam/policy/" + strings.ToLower(name) }

func (p *managed) key() string     { return policyKey(p.Name) }
func (p *managed) revision() int64 { return p.rev }
func (p *managed) at(rev int64) document {
	c := *p
	c.rev = rev
	return &c
}

func (p *managed) clone() *managed {
	c := *p
	c.Tags, c.Versions = slices.Clone(p.Tags), slices.Clone(p.Versions)
	return &c
}

func (p *managed) version(id string) *version {
	for i := range p.Versions {
		if p.Versions[i].ID == id {
			return &p.Versions[i]
		}
	}
	return nil
}

// compile sets what follows from the stored members.
func (p *managed) compile(account string) error {
	p.arnText = arn.New("iam", "", account, "policy"+p.Path+p.Name).String()
	v := p.version(p.Default)
	if v == nil {
		return fmt.Errorf("policy %s: no version %s", p.Name, p.Default)
	}
	doc, err := policy.Parse(v.Document, policy.Managed)
	if err != nil {
		return fmt.Errorf("policy %s: %w", p.Name, err)
	}
	p.doc = func() (*policy.Document, error) { return doc, nil }
	return nil
}

// accountRecord is the account with its root user.
type accountRecord struct {
	Account    string      `json:"account"`
	Name       string      `json:"name,omitempty"` // of an account that was added
	Created    time.Time   `json:"created"`
	Keys       []accessKey `json:"keys,omitempty"` // of the root user
	SessionKey []byte      `json:"sessionKey"`     // seals session tokens
	Alias      string      `json:"alias,omitempty"`
	Passwords  passwords   `json:"passwords,omitzero"` // the password policy; zero: none
	rev        int64
}

const accountKey = "iam/account"

func (*accountRecord) key() string       { return accountKey }
func (a *accountRecord) revision() int64 { return a.rev }
func (a *accountRecord) at(rev int64) document {
	c := *a
	c.rev = rev
	return &c
}

func (a *accountRecord) clone() *accountRecord {
	c := *a
	c.Keys = slices.Clone(a.Keys)
	return &c
}

func (a *accountRecord) rootARN() string { return arn.New("iam", "", a.Account, "root").String() }

// keyRecord reserves an access key id.
type keyRecord struct {
	ID    string `json:"-"`
	Owner string `json:"owner"` // id of the user; empty: root
	rev   int64
}

func (k *keyRecord) key() string     { return "iam/key/" + k.ID }
func (k *keyRecord) revision() int64 { return k.rev }
func (k *keyRecord) at(rev int64) document {
	c := *k
	c.rev = rev
	return &c
}

func decode[T any](value []byte, into *T) error {
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
