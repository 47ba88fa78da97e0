package iam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
	"davy/internal/sigv4"
	"davy/internal/state"
)

// accountsRoot is what the keys of the second account and of those after it
// start with: accounts/ID/iam/....
const accountsRoot = "accounts/"

// Accounts are the accounts of one Davy: a directory each, which knows the
// others for what crosses accounts. The first is made by Bootstrap, the others
// by Add. Safe for concurrent use.
type Accounts struct {
	store state.Store
	clock func() time.Time
	aws   map[string]*managed
	fetch keyFetcher // of identity providers

	mu    sync.Mutex // held by the one that adds
	first *Service
	rest  atomic.Pointer[map[string]*Service] // by account id, without the first
}

var _ sigv4.KeyLookup = (*Accounts)(nil)

// Open reads the directories of all accounts from the store.
func Open(ctx context.Context, cfg Config) (*Accounts, error) {
	if cfg.Store == nil {
		return nil, errors.New("iam: Store is required")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.HTTP == nil {
		cfg.HTTP = providerClient()
	}
	a := &Accounts{store: cfg.Store, clock: cfg.Clock, fetch: keyFetcher{http: cfg.HTTP, clock: cfg.Clock}}
	var err error
	if a.aws, err = awsManaged(); err != nil {
		return nil, err
	}
	if a.first, err = newService(ctx, a, ""); err != nil {
		return nil, err
	}
	rest := map[string]*Service{}
	for after := ""; ; {
		docs, err := a.store.List(ctx, accountsRoot, after, 1)
		if err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		if len(docs) == 0 {
			break
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(docs[0].Key, accountsRoot), "/")
		after = accountsRoot + id + "/\xff"
		s, err := newService(ctx, a, accountsRoot+id+"/")
		if err != nil {
			return nil, err
		}
		if s.snap.Load().account == nil {
			return nil, fmt.Errorf("directory: account %s has no record", id)
		}
		rest[id] = s
	}
	a.rest.Store(&rest)
	return a, nil
}

// Bootstrap makes the first account at the first start and returns an access
// key of its root user: see Service.Bootstrap.
func (a *Accounts) Bootstrap(ctx context.Context, account, rootAccessKeyID, rootSecret string) (accessKeyID, secret string, err error) {
	if (*a.rest.Load())[account] != nil {
		return "", "", fmt.Errorf("iam: account %s was added and cannot be the first", account)
	}
	return a.first.Bootstrap(ctx, account, rootAccessKeyID, rootSecret)
}

// Account is an account with an access key of its root user.
type Account struct {
	ID, Name               string
	AccessKeyID, SecretKey string
}

// LogValue and String leave the secret out.
func (a Account) String() string { return a.ID + " " + a.Name }

var accountName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,62}$`)

// maxAccounts bounds what every look-up of an access key may have to search.
const maxAccounts = 1000

// ErrAccount is wrapped by what Add refuses.
var ErrAccount = errors.New("iam: the account cannot be added")

// Add makes an account from a name, whose id is then drawn, or from an id of
// twelve digits, and returns an access key of its root user. Names and ids are
// unique.
func (a *Accounts) Add(ctx context.Context, nameOrID string) (Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(*a.rest.Load())+1 >= maxAccounts {
		return Account{}, fmt.Errorf("%w: there are %d already", ErrAccount, maxAccounts)
	}
	added := Account{ID: nameOrID, Name: nameOrID}
	switch {
	case isAccountID(nameOrID):
	case accountName.MatchString(nameOrID) && nameOrID != "davy" && nameOrID != "default":
		for added.ID = ""; added.ID == "" || a.Of(added.ID) != nil; {
			n, err := rand.Int(rand.Reader, big.NewInt(1_000_000_000_000))
			if err != nil {
				return Account{}, fmt.Errorf("draw an account id: %w", err)
			}
			added.ID = fmt.Sprintf("%012d", n)
		}
	default:
		return Account{}, fmt.Errorf("%w: %q is neither an id of 12 digits nor a name of letters, digits, '_', '.' and '-'", ErrAccount, nameOrID)
	}
	for _, s := range a.all() {
		if r := s.snap.Load().account; r.Account == added.ID || strings.EqualFold(r.Name, added.Name) {
			return Account{}, fmt.Errorf("%w: %s exists already", ErrAccount, nameOrID)
		}
	}
	s, err := newService(ctx, a, accountsRoot+added.ID+"/")
	if err != nil {
		return Account{}, err
	}
	if added.AccessKeyID, added.SecretKey, err = s.bootstrap(ctx, &accountRecord{Account: added.ID, Name: added.Name}, "", ""); err != nil {
		return Account{}, err
	}
	rest := maps.Clone(*a.rest.Load())
	rest[added.ID] = s
	a.rest.Store(&rest)
	return added, nil
}

// List returns the accounts that were added, by their ids, each with an active
// access key of its root user, if it has one.
func (a *Accounts) List() []Account {
	var out []Account
	for _, s := range a.all()[1:] {
		r := s.snap.Load().account
		one := Account{ID: r.Account, Name: r.Name}
		for _, k := range r.Keys {
			if k.Active {
				one.AccessKeyID, one.SecretKey = k.ID, k.Secret
				break
			}
		}
		out = append(out, one)
	}
	return out
}

// all are the directories, the first account's first.
func (a *Accounts) all() []*Service {
	rest := *a.rest.Load()
	out := make([]*Service, 0, 1+len(rest))
	out = append(out, a.first)
	for _, id := range slices.Sorted(maps.Keys(rest)) {
		out = append(out, rest[id])
	}
	return out
}

// First returns the directory of the first account.
func (a *Accounts) First() *Service { return a.first }

// Of returns the directory of an account; nil: it is not here.
func (a *Accounts) Of(account string) *Service {
	if r := a.first.snap.Load().account; r != nil && r.Account == account {
		return a.first
	}
	return (*a.rest.Load())[account]
}

// ofARN returns the directory that an ARN lies in.
func (a *Accounts) ofARN(text string) *Service {
	parsed, err := arn.Parse(text)
	if err != nil {
		return nil
	}
	return a.Of(parsed.Account)
}

// ofKey returns the directory that an access key is of: the one that its id
// names, else the one that has it.
func (a *Accounts) ofKey(accessKeyID string) *Service {
	if s := a.Of(accountOfKey(accessKeyID)); s != nil {
		return s
	}
	for _, s := range *a.rest.Load() {
		if _, known := s.snap.Load().keys[accessKeyID]; known {
			return s
		}
	}
	return a.first
}

// owner returns the directory of a long-term key that exists, or of a session's
// key that was made here; nil: neither.
func (a *Accounts) owner(accessKeyID string) *Service {
	s := a.ofKey(accessKeyID)
	for _, s := range []*Service{a.first, s} {
		if _, known := s.snap.Load().keys[accessKeyID]; known || s.sessions.get(accessKeyID, nil) != nil {
			return s
		}
	}
	if strings.HasPrefix(accessKeyID, "ASIA") {
		return a.Of(accountOfKey(accessKeyID))
	}
	return nil
}

// Lookup finds the secret of an access key of any account: see Service.Lookup.
func (a *Accounts) Lookup(ctx context.Context, accessKeyID, sessionToken string) (sigv4.Credential, error) {
	if _, chosen := a.first.snap.Load().keys[accessKeyID]; chosen { // root's, as the user named it
		return a.first.Lookup(ctx, accessKeyID, sessionToken)
	}
	return a.ofKey(accessKeyID).Lookup(ctx, accessKeyID, sessionToken)
}

// Used notes that a request was signed with an access key.
func (a *Accounts) Used(accessKeyID, service, region string) {
	a.ofKey(accessKeyID).Used(accessKeyID, service, region)
}

// Select returns what answers the IAM API to the caller of ctx: the directory
// of its account.
func (a *Accounts) Select(ctx context.Context) any { return a.caller(ctx) }

// SelectSTS is Select for the STS API.
func (a *Accounts) SelectSTS(ctx context.Context) any { return a.caller(ctx).STS() }

func (a *Accounts) caller(ctx context.Context) *Service {
	if s := a.Of(awsapi.CallFrom(ctx).Account); s != nil {
		return s
	}
	return a.first // anonymous
}

// Grants returns what is attached to a principal: see Service.Grants.
func (a *Accounts) Grants(ctx context.Context, p awsapi.Principal) (policy.Grants, error) {
	if s := a.Of(p.Account); s != nil {
		return s.Grants(ctx, p)
	}
	return policy.Grants{}, fmt.Errorf("%w: %s", ErrUnknownPrincipal, p.ARN)
}

// GrantsOf returns the principal of an ARN and what is attached to it: see
// Service.GrantsOf.
func (a *Accounts) GrantsOf(ctx context.Context, principalARN string) (awsapi.Principal, policy.Grants, error) {
	if s := a.ofARN(principalARN); s != nil {
		return s.GrantsOf(ctx, principalARN)
	}
	return awsapi.Principal{}, policy.Grants{}, fmt.Errorf("%w: %s", ErrUnknownPrincipal, principalARN)
}

// RoleGrants returns what is attached to a role: see Service.RoleGrants.
func (a *Accounts) RoleGrants(ctx context.Context, roleARN string) (policy.Grants, error) {
	if s := a.ofARN(roleARN); s != nil {
		return s.RoleGrants(ctx, roleARN)
	}
	return policy.Grants{}, ErrNoRole
}

// Entity resolves an IAM name: see Service.Entity.
func (a *Accounts) Entity(ctx context.Context, account, kind, name string) (entityARN, boundary string, err error) {
	if s := a.Of(account); s != nil {
		return s.Entity(ctx, account, kind, name)
	}
	return "", "", nil
}

// Resource returns the trust policy, if it is a role, of what an IAM ARN
// names, its account and its tags: see Service.Resource.
func (a *Accounts) Resource(ctx context.Context, resourceARN string) (doc *policy.Document, owner string, tags map[string]string, err error) {
	if s := a.ofARN(resourceARN); s != nil {
		return s.Resource(ctx, resourceARN)
	}
	return nil, "", nil, nil
}

// FunctionSession returns credentials of a role for a function: see
// Service.FunctionSession.
func (a *Accounts) FunctionSession(ctx context.Context, roleARN, sessionName, functionARN string) (SessionCredentials, error) {
	if s := a.ofARN(roleARN); s != nil {
		return s.FunctionSession(ctx, roleARN, sessionName, functionARN)
	}
	return SessionCredentials{}, ErrNoRole
}
