package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// byHand is a case of testdata/oracle: policies, and lines of the form
//
//	PRINCIPAL ACTION RESOURCE [KEY=VALUE,VALUE]... => allow | explicit | implicit
type byHand struct {
	file, line, want   string
	caller, action, on string
	values             Values
	context            map[string]any
	grants             *Grants
	resource           *Attached
	texts              map[string][]string // documents by layer
}

func casesByHand(t *testing.T) []byHand {
	t.Helper()
	files, err := filepath.Glob("testdata/oracle/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	var out []byHand
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ar := txtar.Parse(data)
		g, resource, _, lines := world(t, ar)
		texts := map[string][]string{}
		for _, f := range ar.Files {
			layer, _, _ := strings.Cut(f.Name, ".")
			texts[layer] = append(texts[layer], string(f.Data))
		}
		for _, line := range lines {
			ask, want, ok := strings.Cut(line, " => ")
			fields := strings.Fields(ask)
			if !ok || len(fields) < 3 {
				t.Fatalf("%s: bad case %q", file, line)
			}
			c := byHand{
				file: filepath.Base(file), line: line, want: want, caller: fields[0], action: fields[1], on: fields[2],
				values: Values{}, context: map[string]any{}, grants: g, resource: resource, texts: texts,
			}
			for _, kv := range fields[3:] {
				k, v, _ := strings.Cut(kv, "=")
				c.values[strings.ToLower(k)] = strings.Split(v, ",")
				if c.context[k] = any(v); strings.EqualFold(k, "aws:TagKeys") {
					c.context[k] = strings.Split(v, ",")
				}
			}
			out = append(out, c)
		}
	}
	return out
}

func (c *byHand) decide() Decision {
	p := principalNamed(c.caller)
	g := c.grants
	if p.ARN == "" {
		g = nil
	}
	return Decide(&Request{Principal: p, Action: c.action, Resource: c.on, Owner: home, Context: c.values, Grants: g, ResourcePolicy: c.resource})
}

// TestDecide_ByHand runs the cases that the differential test asks the other
// evaluator too.
func TestDecide_ByHand(t *testing.T) {
	cases := casesByHand(t)
	if len(cases) < 200 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		d := c.decide()
		got := "implicit"
		if d.Allowed {
			got = "allow"
		} else if d.Explicit() {
			got = "explicit"
		}
		if got != c.want {
			t.Errorf("%s: %s\n%s", c.file, c.line, d.Explain())
		}
	}
}
