package iam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"davy/internal/policy"
	"davy/internal/state"
)

// snapshot is the whole directory at one moment. Immutable but for what is
// worked out on demand.
type snapshot struct {
	peers    *Accounts
	account  *accountRecord
	records  map[kind]map[string]*record // by lower-case name
	order    map[kind][]*record          // by lower-case name
	byID     map[string]*record
	policies map[string]*managed // by ARN, AWS's among them
	byName   map[string]*managed // the customer's, by lower-case name
	keys     map[string]keyEntry
	keyDocs  map[string]*keyRecord

	grants   sync.Map // id → *policy.Grants of a user or role
	usesOnce sync.Once
	uses     map[string]useCount // by ARN of a managed policy
}

// keyEntry is an access key with whom it belongs to; a nil owner is root.
type keyEntry struct {
	accessKey
	owner *record
}

func (s *snapshot) find(k kind, name string) *record {
	// Names are unique regardless of case but are found as they are written.
	if r := s.records[k][strings.ToLower(name)]; r != nil && r.Name == name {
		return r
	}
	return nil
}

// named returns the record that holds a name, whatever its case.
func (s *snapshot) named(k kind, name string) *record { return s.records[k][strings.ToLower(name)] }

// sorted returns all records of a kind in the order of their names. The list
// is shared: read only.
func (s *snapshot) sorted(k kind) []*record { return s.order[k] }

// place finds where a name stands, or would stand, in the list of its kind.
func (s *snapshot) place(k kind, name string) (int, bool) {
	name = strings.ToLower(name)
	return slices.BinarySearchFunc(s.order[k], name, func(r *record, name string) int {
		return strings.Compare(strings.ToLower(r.Name), name)
	})
}

// load reads the directory whose keys start with root from the store.
func load(ctx context.Context, peers *Accounts, root string) (*snapshot, error) {
	store, aws := peers.store, peers.aws
	s := &snapshot{
		peers:    peers,
		records:  map[kind]map[string]*record{},
		order:    map[kind][]*record{},
		byID:     map[string]*record{},
		policies: maps.Clone(aws),
		byName:   map[string]*managed{},
		keys:     map[string]keyEntry{},
		keyDocs:  map[string]*keyRecord{},
	}
	for _, k := range kinds {
		s.records[k] = map[string]*record{}
	}
	var policies []*managed
	const pageSize = 1000
	for after := ""; ; {
		docs, err := store.List(ctx, root+"iam/", after, pageSize)
		if err != nil {
			return nil, fmt.Errorf("read directory: %w", err)
		}
		for _, d := range docs {
			after = d.Key
			name := strings.TrimPrefix(d.Key, root+"iam/")
			what, rest, _ := strings.Cut(name, "/")
			switch {
			case d.Key == root+accountKey:
				s.account = &accountRecord{rev: d.Rev}
				err = decode(d.Value, s.account)
			case what == "policy":
				p := &managed{rev: d.Rev}
				err = decode(d.Value, p)
				policies = append(policies, p)
			case what == "key":
				k := &keyRecord{ID: rest, rev: d.Rev}
				err = decode(d.Value, k)
				s.keyDocs[rest] = k
			case s.records[kind(what)] != nil:
				r := &record{Kind: kind(what), rev: d.Rev}
				if err = decode(d.Value, r); err == nil {
					err = r.compile()
				}
				s.put(r)
			}
			if err != nil {
				return nil, fmt.Errorf("directory: %s: %w", d.Key, err)
			}
		}
		if len(docs) < pageSize {
			break
		}
	}
	if s.account == nil {
		return s, nil // Bootstrap makes it
	}
	for _, k := range s.account.Keys {
		s.keys[k.ID] = keyEntry{accessKey: k}
	}
	for _, p := range policies {
		if err := p.compile(s.account.Account); err != nil {
			return nil, fmt.Errorf("directory: %w", err)
		}
		s.policies[p.arnText], s.byName[strings.ToLower(p.Name)] = p, p
	}
	return s, nil
}

func (s *snapshot) put(r *record) {
	if i, there := s.place(r.Kind, r.Name); !there {
		s.order[r.Kind] = slices.Insert(s.order[r.Kind], i, r)
	} else {
		s.order[r.Kind][i] = r
	}
	s.records[r.Kind][strings.ToLower(r.Name)], s.byID[r.ID] = r, r
	for _, k := range r.Keys {
		s.keys[k.ID] = keyEntry{k, r}
	}
}

func (s *snapshot) remove(r *record) {
	if i, there := s.place(r.Kind, r.Name); there {
		s.order[r.Kind] = slices.Delete(s.order[r.Kind], i, i+1)
	}
	delete(s.records[r.Kind], strings.ToLower(r.Name))
	delete(s.byID, r.ID)
	for _, k := range r.Keys {
		delete(s.keys, k.ID)
	}
}

// change is the replacement of one document. Before nil makes it, after nil
// deletes it; the same before and after writes it again, so that a concurrent
// deletion fails.
type change struct{ before, after document }

// unshare gives s copies of those of its maps that the changes will change: the
// others are shared with the snapshot before it.
func (s *snapshot) unshare(changes []change) {
	kinds := map[kind]bool{}
	var policies, keys, keyDocs bool
	for _, c := range changes {
		for _, d := range []document{c.before, c.after} {
			switch d := d.(type) {
			case *record:
				kinds[d.Kind] = true
				keys = keys || len(d.Keys) > 0
			case *managed:
				policies = true
			case *keyRecord:
				keyDocs = true
			case *accountRecord:
				keys = true
			}
		}
	}
	for k := range kinds {
		s.records[k], s.order[k] = maps.Clone(s.records[k]), slices.Clone(s.order[k])
	}
	if len(kinds) > 0 {
		s.byID = maps.Clone(s.byID)
	}
	if policies {
		s.policies, s.byName = maps.Clone(s.policies), maps.Clone(s.byName)
	}
	if keys {
		s.keys = maps.Clone(s.keys)
	}
	if keyDocs {
		s.keyDocs = maps.Clone(s.keyDocs)
	}
}

// with returns the directory after the changes, which have revision rev.
func (s *snapshot) with(changes []change, rev int64) *snapshot {
	n := &snapshot{
		peers: s.peers, account: s.account, byID: s.byID, records: maps.Clone(s.records), order: maps.Clone(s.order),
		policies: s.policies, byName: s.byName, keys: s.keys, keyDocs: s.keyDocs,
	}
	n.unshare(changes)
	for _, c := range changes {
		switch d := c.before.(type) {
		case *record:
			n.remove(d)
		case *managed:
			delete(n.policies, d.arnText)
			delete(n.byName, strings.ToLower(d.Name))
		case *keyRecord:
			delete(n.keyDocs, d.ID)
		case *accountRecord:
			for _, k := range d.Keys {
				delete(n.keys, k.ID)
			}
		}
	}
	for _, c := range changes {
		if c.after == nil {
			continue
		}
		switch d := c.after.at(rev).(type) {
		case *record:
			n.put(d)
		case *managed:
			n.policies[d.arnText], n.byName[strings.ToLower(d.Name)] = d, d
		case *keyRecord:
			n.keyDocs[d.ID] = d
		case *accountRecord:
			n.account = d
			for _, k := range d.Keys {
				n.keys[k.ID] = keyEntry{accessKey: k}
			}
		}
	}
	return n
}

// batch is the transaction that makes the changes in the directory whose keys
// start with root.
func batch(root string, changes []change) (state.Batch, error) {
	var b state.Batch
	grows := 0
	for _, c := range changes {
		if c.before != nil {
			old, err := json.Marshal(c.before)
			if err != nil {
				return b, fmt.Errorf("encode %s: %w", c.before.key(), err)
			}
			grows -= len(old)
		}
		if c.before != nil && (c.after == nil || c.after.key() != c.before.key()) {
			b.Ops = append(b.Ops, state.Op{Key: root + c.before.key(), IfRev: c.before.revision()})
		}
		if c.after == nil {
			continue
		}
		value, err := json.Marshal(c.after)
		if err != nil {
			return b, fmt.Errorf("encode %s: %w", c.after.key(), err)
		}
		op := state.Op{Key: root + c.after.key(), Value: value, IfRev: state.Absent}
		if c.before != nil && c.before.key() == c.after.key() {
			op.IfRev = c.before.revision()
		}
		b.Ops = append(b.Ops, op)
		grows += len(value)
	}
	// Taking rights away works on a full disk too: a status is a few letters
	// longer when it says no.
	b.Frees = len(changes) > 0 && grows <= 16
	return b, nil
}

// attempts is how often a change is tried when other writers are faster. More
// would mean that the directory in memory does not follow the store.
const attempts = 8

// mutate makes one change: f looks at the directory and says what to replace.
// It runs again when the directory was not the newest.
func (s *Service) mutate(ctx context.Context, f func(*snapshot) ([]change, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for range attempts {
		now := s.snap.Load()
		changes, ferr := f(now)
		if ferr != nil || len(changes) == 0 {
			return ferr
		}
		b, berr := batch(s.root, changes)
		if berr != nil {
			return berr
		}
		var rev int64
		if rev, err = s.store.Commit(ctx, b); err == nil {
			s.snap.Store(now.with(changes, rev))
			return nil
		}
		if !errors.Is(err, state.ErrConflict) && !errors.Is(err, state.ErrUnknown) {
			return fmt.Errorf("commit: %w", err)
		}
		fresh, lerr := load(context.WithoutCancel(ctx), s.peers, s.root)
		if lerr != nil {
			return lerr
		}
		s.snap.Store(fresh)
		if errors.Is(err, state.ErrUnknown) {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return fmt.Errorf("commit: %w", err)
}

// attachedTo returns the compiled policies of a record, its groups' among them.
func (s *snapshot) attachedTo(r *record) ([]policy.Attached, error) {
	out := slices.Clone(r.inline)
	for _, a := range r.Attached {
		p, err := s.attached(a)
		if err != nil {
			return nil, err
		}
		if p == nil {
			// It may have held a Deny: never go on without it.
			return nil, fmt.Errorf("%s %s: attached policy %s is missing", r.Kind, r.Name, a)
		}
		out = append(out, *p)
	}
	for _, id := range r.Groups {
		if g := s.byID[id]; g != nil {
			more, err := s.attachedTo(g)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// attached returns a managed policy by its ARN; nil: there is none.
func (s *snapshot) attached(policyARN string) (*policy.Attached, error) {
	p := s.policies[policyARN]
	if p == nil {
		return nil, nil
	}
	doc, err := p.doc()
	if err != nil {
		return nil, err
	}
	return &policy.Attached{Name: p.Name, ARN: p.arnText, Document: doc}, nil
}

// grantsOf returns what is attached to a user or role.
func (s *snapshot) grantsOf(r *record) (*policy.Grants, error) {
	if g, ok := s.grants.Load(r.ID); ok {
		return g.(*policy.Grants), nil
	}
	g := &policy.Grants{Tags: r.tagMap()}
	var err error
	if g.Identity, err = s.attachedTo(r); err != nil {
		return nil, err
	}
	if r.Kind == userKind && s.account.Passwords.UsersMayChange {
		g.Identity = append(g.Identity, ownPassword)
	}
	if r.Boundary != "" {
		if g.Boundary, err = s.attached(r.Boundary); err != nil {
			return nil, err
		}
		if g.Boundary == nil {
			// A boundary that is gone still bounds: to nothing.
			g.Boundary = &policy.Attached{ARN: r.Boundary}
		}
	}
	if r.Kind == roleKind {
		g.RoleARN, g.RoleID = r.arn(s.account.Account), r.ID
	}
	s.grants.Store(r.ID, g)
	return g, nil
}
