package policy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

func addSeeds(f *testing.F, add func(src string)) {
	files, _ := filepath.Glob("testdata/decide/*.txtar")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range txtar.Parse(data).Files {
			if part.Name != "cases" {
				add(string(part.Data))
			}
		}
	}
	add(statement(allowS3 + `,"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32"]},"DateLessThan":{"aws:CurrentTime":"2026-11-22T00:00:00Z"}}`))
	add(`{"Statement":{"Effect":"Deny","NotAction":"a:${*}","NotResource":"arn:aws:s3:::${a,'b'}"}}`)
}

// FuzzParse: any text is either refused with a reason or gives a document that
// can be asked.
func FuzzParse(f *testing.F) {
	addSeeds(f, func(src string) {
		for kind := range 4 {
			f.Add(src, kind)
		}
	})
	f.Fuzz(func(t *testing.T, src string, kind int) {
		doc, err := Parse(src, Kind(kind&3))
		if err != nil {
			if e, ok := err.(*MalformedError); !ok || e.Reason == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		if len(doc.Statements) == 0 {
			t.Fatal("a document without statements")
		}
		doc.ContextKeys()
	})
}

// FuzzDecide: with one policy, nothing is allowed unless an Allow statement of
// it says so, and nothing breaks.
func FuzzDecide(f *testing.F) {
	addSeeds(f, func(src string) { f.Add(src, "s3:GetObject", "arn:aws:s3:::b/k", "aws:username", "alice") })
	f.Fuzz(func(t *testing.T, src, action, resource, key, value string) {
		identity, _ := Parse(src, Identity)
		res, _ := Parse(src, Resource)
		if identity == nil && res == nil {
			return
		}
		r := Request{Principal: principalNamed("alice"), Action: action, Resource: resource, Owner: home, Context: Values{key: {value}}, Trace: true}
		r.Grants = &Grants{Identity: []Attached{{Document: identity}}}
		if res != nil {
			r.ResourcePolicy = &Attached{Document: res}
		}
		d := Decide(&r)
		if d.Allowed && (d.Statement == nil || d.Statement.Effect != Allow) {
			t.Fatalf("allowed by nothing: %s", d.Explain())
		}
		for _, m := range d.Matched {
			if d.Allowed && m.Statement.Effect == Deny {
				t.Fatalf("allowed past a Deny: %s", d.Explain())
			}
		}
	})
}
