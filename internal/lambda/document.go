package lambda

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"davy/internal/state"
)

// The documents of this package:
//
//	lambda/fn/ACCOUNT/REGION/NAME           the function: $LATEST, aliases, policies, settings
//	lambda/ver/ACCOUNT/REGION/NAME/NUMBER   a published version, its number in ten digits
//	lambda/concurrency/ACCOUNT/REGION       what the account's functions have set aside
//	lambda/layer/ACCOUNT/REGION/NAME        the highest number that a version of the layer ever had
//	lambda/lver/ACCOUNT/REGION/NAME/NUMBER  a layer's version, its number such that the newest comes first
//	lambda/code/SHA256                      which blob holds a package, and how many versions use it
//	lambda/watch                            written to learn the store's revision
//
// A function's document is the lock of all that belongs to it: every change of
// a version or a reservation also writes the function, under its revision.
// Packages have users of both kinds: versions of functions, each with its code
// and its layers, and versions of layers. So a layer's version that is deleted
// stays for the functions that have it.
const (
	keyRoot        = "lambda/"
	functionRoot   = keyRoot + "fn/"
	versionRoot    = keyRoot + "ver/"
	concurrentRoot = keyRoot + "concurrency/"
	layerRoot      = keyRoot + "layer/"
	layerVerRoot   = keyRoot + "lver/"
	codeRoot       = keyRoot + "code/"
	watchKey       = keyRoot + "watch"
)

func functionPrefix(account, region string) string {
	return functionRoot + account + "/" + region + "/"
}

func (k key) function() string { return functionPrefix(k.account, k.region) + k.name }

func (k key) versions() string { return versionRoot + k.account + "/" + k.region + "/" + k.name + "/" }

func (k key) version(number string) string {
	return k.versions() + strings.Repeat("0", max(0, 10-len(number))) + number
}

func concurrencyKey(account, region string) string { return concurrentRoot + account + "/" + region }

// keyOf is the function that a document key belongs to.
func keyOf(doc string) (key, bool) {
	parts := strings.Split(doc, "/")
	if len(parts) < 5 || parts[1] != "fn" && parts[1] != "ver" {
		return key{}, false
	}
	return key{account: parts[2], region: parts[3], name: parts[4]}, true
}

// function is the document of a function.
type function struct {
	ID            string // differs when a function of the same name is made anew
	Latest        version
	Published     int64                       // the highest version number ever given
	PublishedAs   string                      // fingerprint of $LATEST when that version was made
	Aliases       map[string]alias            `json:",omitempty"`
	Policies      map[string][]statement      `json:",omitempty"` // by qualifier; the function's own under $LATEST
	Revisions     map[string]string           `json:",omitempty"` // of versions whose policy changed since they were made
	EventSettings map[string]eventInvokeRules `json:",omitempty"` // by qualifier; the function's own under $LATEST
	Reserved      *int32                      `json:",omitempty"`
	Provisioned   map[string]provision        `json:",omitempty"` // by alias or version
	Tags          map[string]string           `json:",omitempty"`
}

// version is the code and settings of $LATEST or of a published version.
type version struct {
	Version      string
	RevisionID   string
	LastModified time.Time
	Description  string
	Runtime      string
	Handler      string
	Role         string
	Timeout      int32             // seconds
	MemorySize   int32             // MB
	Ephemeral    int32             // MB
	Environment  map[string]string // nil: never set
	LogGroup     string
	Logging      *structured `json:",omitempty"` // nil: the log is text
	Architecture string
	CodeSHA256   string // hex
	CodeSize     int64
	Layers       []attached `json:",omitempty"` // in the order of their merging
}

type alias struct {
	Version     string
	Description string
	Weights     map[string]float64 `json:",omitempty"`
	RevisionID  string
}

// eventInvokeRules are the settings of asynchronous invocation.
type eventInvokeRules struct {
	Retries  *int32 `json:",omitempty"`
	AgeSecs  *int32 `json:",omitempty"`
	Modified time.Time
}

// revised gives a version a new identity after a change.
func (v *version) revised() {
	v.RevisionID = uuid.NewString()
	v.LastModified = now()
}

// fingerprint is the same for versions that behave the same: it decides what
// environments can run and whether there is anything to publish.
func (v version) fingerprint(functionID string) string {
	v.Version, v.RevisionID, v.LastModified = "", "", time.Time{}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	sum := sha256.Sum256(append(b, functionID...))
	return hex.EncodeToString(sum[:16])
}

// revisionOf is the RevisionId of a published version.
func (f *function) revisionOf(v *version) string {
	if id := f.Revisions[v.Version]; id != "" {
		return id
	}
	return v.RevisionID
}

// load reads a function's document.
func (s *Service) load(ctx context.Context, k key) (*function, int64, error) {
	d, err := s.cfg.State.Get(ctx, k.function())
	if errors.Is(err, state.ErrNotFound) {
		return nil, 0, functionNotFound(k, "")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("load function %s: %w", k.arn(), err)
	}
	f := new(function)
	if err := json.Unmarshal(d.Value, f); err != nil {
		return nil, 0, fmt.Errorf("load function %s: %w", k.arn(), err)
	}
	return f, d.Rev, nil
}

// loadVersion reads a published version; it answers AWS's error when there is
// none.
func (s *Service) loadVersion(ctx context.Context, k key, number string) (*version, error) {
	if len(number) > 10 {
		return nil, functionNotFound(k, number)
	}
	d, err := s.cfg.State.Get(ctx, k.version(number))
	if errors.Is(err, state.ErrNotFound) {
		return nil, functionNotFound(k, number)
	}
	if err != nil {
		return nil, fmt.Errorf("load version %s: %w", k.qualified(number), err)
	}
	v := new(version)
	if err := json.Unmarshal(d.Value, v); err != nil {
		return nil, fmt.Errorf("load version %s: %w", k.qualified(number), err)
	}
	if v.Version != number { // 007 is not version 7
		return nil, functionNotFound(k, number)
	}
	return v, nil
}

// at reads the version that a qualifier names, following an alias.
func (s *Service) at(ctx context.Context, k key, f *function, qualifier string) (*version, error) {
	switch a, isAlias := f.Aliases[qualifier]; {
	case qualifier == "", qualifier == Latest:
		return &f.Latest, nil
	case isAlias:
		return s.at(ctx, k, f, a.Version)
	case isVersion(qualifier):
		v, err := s.loadVersion(ctx, k, qualifier)
		if err == nil {
			v.RevisionID = f.revisionOf(v)
		}
		return v, err
	}
	return nil, aliasNotFound(k, qualifier)
}

// transaction gathers documents that are written together, and what changes in
// the use of packages.
type transaction struct {
	ctx   context.Context
	s     *Service
	batch state.Batch
	code  map[string]*codeUse
}

func (s *Service) begin(ctx context.Context) transaction {
	return transaction{ctx: ctx, s: s, code: map[string]*codeUse{}}
}

// put writes a document.
func (t *transaction) put(docKey string, v any, ifRev int64) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", docKey, err)
	}
	t.batch.Ops = append(t.batch.Ops, state.Op{Key: docKey, Value: b, IfRev: ifRev})
	return nil
}

func (t *transaction) drop(docKey string) { t.dropIf(docKey, state.Any) }

func (t *transaction) dropIf(docKey string, ifRev int64) {
	t.batch.Ops = append(t.batch.Ops, state.Op{Key: docKey, IfRev: ifRev})
	t.batch.Frees = true // what else changes counts down
}

// commit writes everything. The error wraps state.ErrConflict when somebody
// else was faster.
func (t *transaction) commit() error {
	if err := t.writeCode(); err != nil {
		return err
	}
	if _, err := t.s.cfg.State.Commit(t.ctx, t.batch); err != nil {
		return err
	}
	t.freeCode()
	return nil
}

// change is a transaction on a function.
type change struct {
	transaction
	key key
	f   *function
}

// maxTries bounds how often a change is tried again because somebody else was
// faster; each loss means that another writer made progress.
const maxTries = 64

// errUnchanged ends an edit that found nothing to write.
var errUnchanged = errors.New("lambda: unchanged")

// update reads a function, lets edit change it, and commits; when somebody
// else changed it meanwhile, everything is done again. edit must not keep
// anything between calls. A new function starts from an empty document.
func (s *Service) update(ctx context.Context, k key, create bool, edit func(*change) error) (*function, error) {
	for range maxTries {
		c := &change{transaction: s.begin(ctx), key: k, f: new(function)}
		rev := state.Absent
		if !create {
			var err error
			if c.f, rev, err = s.load(ctx, k); err != nil {
				return nil, err
			}
		}
		switch err := edit(c); {
		case errors.Is(err, errUnchanged):
			return c.f, nil
		case err != nil:
			return nil, err
		}
		if c.f == nil { // deleted
			c.dropIf(k.function(), rev)
		} else if err := c.put(k.function(), c.f, rev); err != nil {
			return nil, err
		}
		err := c.commit()
		s.cache.drop(k)
		switch {
		case err == nil:
			return c.f, nil
		case !errors.Is(err, state.ErrConflict):
			return nil, fmt.Errorf("write function %s: %w", k.arn(), err)
		case create:
			if _, _, err := s.load(ctx, k); err == nil {
				return nil, conflict("Function already exist: %s", k.name)
			}
		}
	}
	return nil, conflict("The operation cannot be performed at this time. An update is in progress for resource: %s", k.arn())
}
