package policy

import "testing"

// A bound policy means who had the name, not who has it now; what was bound is
// still shown as it was written.
func TestDocument_Bind(t *testing.T) {
	const name = "arn:aws:iam::" + home + ":user/alice"
	src := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + name + `","arn:aws:iam::` + home + `:user/bob"]},"Action":"s3:GetObject","Resource":"*"}]}`
	doc, err := Parse(src, Resource)
	if err != nil {
		t.Fatal(err)
	}
	bound := doc.Bind(map[string]string{name: "AIDAEXAMPLE123456789"})
	may := func(d *Document, p Principal) bool {
		answer := Decide(&Request{Principal: p, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Owner: home, ResourcePolicy: &Attached{Document: d}})
		return answer.Allowed
	}
	alice := principalNamed("alice")
	later := alice
	later.UserID = "AIDALATER00000000000"
	renamed := alice
	renamed.ARN = "arn:aws:iam::" + home + ":user/alicia"
	for _, tc := range []struct {
		who                string
		p                  Principal
		byName, afterwards bool
	}{
		{"who was bound", alice, true, true},
		{"who has the name now", later, true, false},
		{"who was bound, renamed", renamed, false, true},
		{"another, not bound", principalNamed("bob"), true, true},
		{"a stranger", Principal{ARN: "arn:aws:iam::" + home + ":user/eve", UserID: "AIDAEVE0000000000000", Account: home}, false, false},
	} {
		if got := may(doc, tc.p); got != tc.byName {
			t.Errorf("%s, by name: %v", tc.who, got)
		}
		if got := may(bound, tc.p); got != tc.afterwards {
			t.Errorf("%s, bound: %v", tc.who, got)
		}
	}
	if got := bound.Statements[0].Text; got != doc.Statements[0].Text || got != src[doc.Statements[0].Start:][:len(got)] {
		t.Errorf("text %q", got)
	}
	if doc.Bind(nil) != doc || (*Document)(nil).Bind(map[string]string{name: "x"}) != nil {
		t.Error("nothing to bind makes another document")
	}
}
