package authz

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"davy/internal/awsapi"
	"davy/internal/policy"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run the test with -update and read the diff", path)
	}
}

const (
	account = "000000000000"
	other   = "111111111111"
)

// world is what exists in a test.
type world struct {
	grants   map[string]policy.Grants // by principal or role ARN
	policies map[string]*policy.Document
	owners   map[string]string
	tags     map[string]map[string]string
	entities map[string][2]string         // kind/name: ARN, boundary
	objects  map[string]map[string]string // tags by BUCKET/KEY?VERSION
	broken   error
}

func (w *world) Grants(_ context.Context, p awsapi.Principal) (policy.Grants, error) {
	return w.grants[p.ARN], w.broken
}

func (w *world) RoleGrants(_ context.Context, role string) (policy.Grants, error) {
	return w.grants[role], w.broken
}

func (w *world) GrantsOf(_ context.Context, arn string) (awsapi.Principal, policy.Grants, error) {
	return awsapi.Principal{ARN: arn, Account: accountOf(arn), UserID: "AIDAEXPLAINED0000000"}, w.grants[arn], w.broken
}

func (w *world) Entity(_ context.Context, _, kind, name string) (arn, boundary string, err error) {
	e := w.entities[kind+"/"+name]
	return e[0], e[1], w.broken
}

// ResourcePolicy looks objects up by their bucket.
func (w *world) ResourcePolicy(_ context.Context, resource string) (*policy.Document, string, map[string]string, error) {
	if w.broken != nil {
		return nil, "", nil, w.broken
	}
	for r := resource; r != "."; r = filepath.Dir(r) {
		if w.policies[r] != nil || w.owners[r] != "" || w.tags[r] != nil {
			return w.policies[r], w.owners[r], w.tags[r], nil
		}
	}
	return nil, "", nil, nil
}

func (w *world) ObjectTags(_ context.Context, bucket, key, version string) (map[string]string, error) {
	return w.objects[bucket+"/"+key+"?"+version], w.broken
}

var errBroken = errors.New("store is broken")

func testAuthorizer(t testing.TB, cfg Config) *Authorizer {
	t.Helper()
	if cfg.Identities == nil {
		w := &world{}
		cfg.Identities, cfg.Resources = w, w
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) authorizer(t testing.TB) *Authorizer {
	return testAuthorizer(t, Config{Identities: w, Resources: w, Entities: w, Objects: w})
}

func userPrincipal(name string) awsapi.Principal {
	return awsapi.Principal{ARN: "arn:aws:iam::" + account + ":user/" + name, UserID: "AIDAEXAMPLEEXAMPLE00", Account: account}
}

func parse(t testing.TB, kind policy.Kind, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(text, kind)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return d
}

// identity returns grants of one inline policy with the statements.
func identity(t testing.TB, statements string) policy.Grants {
	t.Helper()
	doc := parse(t, policy.Identity, `{"Version":"2012-10-17","Statement":[`+statements+`]}`)
	return policy.Grants{Identity: []policy.Attached{{Name: "inline", Document: doc}}}
}

// brokenTags is a world whose resources can't be read.
type brokenTags struct{ world }

func (*brokenTags) ResourcePolicy(context.Context, string) (*policy.Document, string, map[string]string, error) {
	return nil, "", nil, errBroken
}
