package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

const (
	home    = "111122223333"
	foreign = "444455556666"
)

// principalNamed reads the short names of the cases: alice, root, anonymous,
// role/NAME/SESSION, service:NAME, federated:NAME, and the same in the other
// account after "foreign:".
func principalNamed(name string) Principal {
	account := home
	if rest, ok := strings.CutPrefix(name, "foreign:"); ok {
		account, name = foreign, rest
	}
	switch {
	case name == "anonymous":
		return Principal{}
	case name == "root":
		return Principal{ARN: "arn:aws:iam::" + account + ":root", Account: account, UserID: account}
	case strings.HasPrefix(name, "service:"):
		return Principal{Service: name[8:]}
	case strings.HasPrefix(name, "federated:"):
		return Principal{Federated: name[10:]}
	case strings.HasPrefix(name, "role/"):
		role, session, _ := strings.Cut(name[5:], "/")
		return Principal{
			ARN:     "arn:aws:sts::" + account + ":assumed-role/" + role + "/" + session,
			RoleARN: "arn:aws:iam::" + account + ":role/" + role,
			UserID:  "AROAEXAMPLE123456789:" + session, Account: account,
		}
	}
	return Principal{ARN: "arn:aws:iam::" + account + ":user/" + name, UserID: "AIDAEXAMPLE123456789", Account: account}
}

// world reads the policies of a txtar file.
func world(t *testing.T, ar *txtar.Archive) (g *Grants, resource *Attached, trust bool, cases []string) {
	t.Helper()
	g = &Grants{}
	for _, f := range ar.Files {
		if f.Name == "cases" {
			cases = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
			continue
		}
		layer, _, _ := strings.Cut(f.Name, ".")
		kind := map[string]Kind{"resource": Resource, "trust": Trust}[layer]
		doc, err := Parse(string(f.Data), kind)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		a := Attached{Name: f.Name, Document: doc}
		switch layer {
		case "identity":
			g.Identity = append(g.Identity, a)
		case "managed":
			a.ARN = "arn:aws:iam::" + home + ":policy/" + f.Name
			g.Identity = append(g.Identity, a)
		case "boundary":
			g.Boundary = &a
		case "session":
			g.Session = append(g.Session, a)
		case "scp":
			g.ServiceControl = append(g.ServiceControl, []Attached{a})
		case "resource", "trust":
			resource, trust = &a, layer == "trust"
		default:
			t.Fatalf("what is %s?", f.Name)
		}
	}
	return g, resource, trust, cases
}

// TestDecide runs testdata/decide: policies, and cases of the form
//
//	PRINCIPAL ACTION RESOURCE [KEY=VALUE,VALUE]... => allow: who | deny: reason
//
// The resource belongs to the home account. A principal of the other account
// has the same policies attached.
func TestDecide(t *testing.T) {
	files, err := filepath.Glob("testdata/decide/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			g, resource, trust, cases := world(t, txtar.Parse(data))
			if len(cases) == 0 {
				t.Fatal("no cases")
			}
			for _, line := range cases {
				if line == "" || line[0] == '#' {
					continue
				}
				ask, want, _ := strings.Cut(line, " => ")
				fields := strings.Fields(ask)
				if len(fields) < 3 {
					t.Fatalf("bad case %q", line)
				}
				values := Values{}
				for _, kv := range fields[3:] {
					k, v, _ := strings.Cut(kv, "=")
					values[strings.ToLower(k)] = strings.Split(v, ",")
				}
				r := &Request{
					Principal: principalNamed(fields[0]), Action: fields[1], Resource: fields[2], Owner: home,
					Context: values, Grants: g, ResourcePolicy: resource, Trust: trust,
				}
				if fields[0] == "anonymous" || strings.Contains(fields[0], ":") && !strings.HasPrefix(fields[0], "foreign:") {
					r.Grants = nil
				}
				d := Decide(r)
				got := "deny: " + d.Reason()
				if d.Allowed {
					got = "allow: " + d.Deciding()
				}
				if got != strings.TrimSpace(want) {
					t.Errorf("%s\n got  %s\n want %s", ask, got, want)
				}
			}
		})
	}
}
