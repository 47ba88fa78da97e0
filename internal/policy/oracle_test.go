//go:build oracle

package policy

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestOracle compares Decide with an independent evaluator on random cases:
//
//	scripts/differential
//
// installs it and runs this. ORACLE_SEED chooses the cases. Where the two
// differ for a reason that AWS's documentation decides, the cases leave it out
// (docs/decisions/policy-oracle.md has the links):
//
//   - a * that ends a segment of a Resource runs past the colon
//     (reference_policies_elements_resource.html);
//   - ForAnyValue with IfExists holds for a missing key
//     (reference_policies_elements_condition_operators.html#Conditions_IfExists);
//   - a date may be seconds since the epoch (#Conditions_Date);
//   - an IPv6 address is not in an IPv4 range, so NotIpAddress holds;
//   - a grant to the session itself is not limited by its session policy
//     (reference_policies_evaluation-logic_policy-eval-basics.html);
//   - NotPrincipal in a Deny spares a caller only if its user or role is named
//     beside its account (reference_policies_elements_notprincipal.html);
//   - a variable without a value in a negated element of a Deny: Davy denies.
func TestOracle(t *testing.T) {
	dir := os.Getenv("ORACLE_DIR")
	if dir == "" {
		t.Skip("ORACLE_DIR is not set")
	}
	seed, _ := strconv.ParseUint(os.Getenv("ORACLE_SEED"), 10, 64)
	r := chooser{rand.New(rand.NewPCG(seed, 0))}
	cases := make([]oracleCase, 20_000)
	for i := range cases {
		cases[i] = r.oracleCase()
	}
	differences, explained := 0, 0
	for i, want := range askOracle(t, dir, cases) {
		c := &cases[i]
		d := c.decide(t)
		got := "ImplicitlyDenied"
		switch {
		case d.Allowed && d.Layer == ResourceLayer && c.Session != nil && want != "Allowed":
			explained++
			continue
		case d.Allowed:
			got = "Allowed"
		case d.Explicit():
			got = "ExplicitlyDenied"
		}
		if got != want {
			text, _ := json.Marshal(c)
			if differences++; differences <= 10 {
				t.Errorf("case %d: %s; the oracle says %s\n%s", i, d.Explain(), want, text)
			}
		}
	}
	t.Logf("%d random cases: %d unexplained differences, %d explained", len(cases), differences, explained)
}

// TestOracle_ByHand asks the other evaluator the cases of testdata/oracle.
func TestOracle_ByHand(t *testing.T) {
	dir := os.Getenv("ORACLE_DIR")
	if dir == "" {
		t.Skip("ORACLE_DIR is not set")
	}
	byHand := casesByHand(t)
	cases := make([]oracleCase, len(byHand))
	for i, c := range byHand {
		documents := func(layer string) (out []object) {
			for _, text := range c.texts[layer] {
				var o object
				if err := json.Unmarshal([]byte(text), &o); err != nil {
					t.Fatal(err)
				}
				out = append(out, o)
			}
			return out
		}
		cases[i] = oracleCase{
			Caller: c.caller, ARN: principalNamed(c.caller).ARN, Action: c.action, Resource: c.on, Owner: home, Context: c.context,
			ResourcePolicy: documents("resource"),
		}
		if cases[i].ARN != "" {
			cases[i].Identity, cases[i].Boundary, cases[i].Session = documents("identity"), documents("boundary"), documents("session")
		}
	}
	words := map[string]string{"allow": "Allowed", "explicit": "ExplicitlyDenied", "implicit": "ImplicitlyDenied"}
	differences := 0
	for i, got := range askOracle(t, dir, cases) {
		if c := byHand[i]; got != words[c.want] {
			differences++
			t.Errorf("%s: %s; the oracle says %s", c.file, c.line, got)
		}
	}
	t.Logf("%d cases by hand: %d unexplained differences", len(cases), differences)
}

// oracleCase is what both evaluators are asked. Lists of policies are unions.
type oracleCase struct {
	Caller, ARN, Action, Resource, Owner        string
	Context                                     map[string]any
	Identity, ResourcePolicy, Boundary, Session []object
}

func (c *oracleCase) decide(t *testing.T) Decision {
	t.Helper()
	documents := func(kind Kind, list []object) (out []Attached) {
		for _, p := range list {
			src, _ := json.Marshal(p)
			doc, err := Parse(string(src), kind)
			if err != nil {
				t.Fatalf("%v in %s", err, src)
			}
			out = append(out, Attached{Name: "p", Document: doc})
		}
		return out
	}
	first := func(list []Attached) *Attached {
		if len(list) == 0 {
			return nil
		}
		return &list[0]
	}
	values := Values{}
	for k, v := range c.Context {
		switch v := v.(type) {
		case string:
			values[strings.ToLower(k)] = []string{v}
		case []string:
			values[strings.ToLower(k)] = v
		}
	}
	return Decide(&Request{
		Principal: principalNamed(c.Caller), Action: c.Action, Resource: c.Resource, Owner: c.Owner, Context: values,
		Grants: &Grants{
			Identity: documents(Identity, c.Identity),
			Boundary: first(documents(Identity, c.Boundary)),
			Session:  documents(Identity, c.Session),
		},
		ResourcePolicy: first(documents(Resource, c.ResourcePolicy)),
	})
}

func askOracle(t *testing.T, dir string, cases []oracleCase) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "testdata/oracle/oracle.mjs", dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		enc := json.NewEncoder(in)
		for i := range cases {
			if err := enc.Encode(&cases[i]); err != nil {
				sent <- err
				return
			}
		}
		sent <- in.Close()
	}()
	var answers []string
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var a struct{ Result, Error string }
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil || a.Error != "" {
			t.Fatalf("case %d: %v %s", len(answers), err, a.Error)
		}
		answers = append(answers, a.Result)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || len(answers) != len(cases) {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	return answers
}

// chooser draws cases.
type chooser struct{ *rand.Rand }

func (r chooser) one(list ...string) string { return list[r.IntN(len(list))] }

func (r chooser) some(list ...string) []string {
	out := make([]string, 1+r.IntN(2))
	for i := range out {
		out[i] = r.one(list...)
	}
	return out
}

func (r chooser) oracleCase() oracleCase {
	c := oracleCase{Owner: home, Caller: r.one("alice", "alice", "role/dev/s", "foreign:alice", "foreign:role/dev/s", "anonymous")}
	c.ARN = principalNamed(c.Caller).ARN
	c.Action = r.one("s3:GetObject", "lambda:InvokeFunction")
	c.Resource = r.one("arn:aws:s3:::b/k", "arn:aws:s3:::b/a:b", "arn:aws:s3:::b/alice/x", "arn:aws:s3:::b/none/x", "arn:aws:s3:::c/axb")
	if c.Action == "lambda:InvokeFunction" {
		f := "arn:aws:lambda:us-east-1:" + home + ":function:"
		c.Resource = r.one(f+"f", f+"fg", f+"f:live")
	}
	c.Context = map[string]any{"aws:username": "alice"}
	add := func(key string, values ...string) {
		if r.IntN(2) == 0 {
			c.Context[key] = r.one(values...)
		}
	}
	if c.ARN != "" {
		add("aws:PrincipalTag/team", "red", "none", "*")
	}
	add("aws:MultiFactorAuthAge", "10", "15", "20")
	add("aws:CurrentTime", "2026-11-22T00:00:00Z", "2026-11-22T00:00:01Z")
	add("aws:SecureTransport", "true", "false")
	add("aws:SourceIp", "10.1.1.1", "203.0.113.7")
	add("aws:SourceArn", "arn:aws:s3:::b", "arn:aws:s3:::bc", "arn:aws:sns:us-east-1:"+home+":t")
	if r.IntN(2) == 0 {
		c.Context["aws:TagKeys"] = r.some("a", "b", "A")
	}
	if c.ARN != "" {
		for range r.IntN(3) {
			c.Identity = append(c.Identity, r.document(Identity))
		}
		if r.IntN(4) == 0 {
			c.Boundary = []object{r.document(Identity)}
		}
		if strings.Contains(c.Caller, "role/") && r.IntN(3) == 0 {
			c.Session = []object{r.document(Identity)}
		}
	}
	if r.IntN(2) == 0 {
		c.ResourcePolicy = []object{r.document(Resource)}
	}
	return c
}

func (r chooser) document(kind Kind) object {
	list := make([]object, 1+r.IntN(3))
	for i := range list {
		list[i] = r.statement(kind)
	}
	return object{"Version": Version2012, "Statement": list}
}

func (r chooser) statement(kind Kind) object {
	s := object{"Effect": r.one("Allow", "Allow", "Allow", "Deny")}
	set := func(name string, values ...string) {
		if r.IntN(5) == 0 {
			name = "Not" + name
		}
		s[name] = r.some(values...)
	}
	set("Action", "s3:GetObject", "s3:PutObject", "s3:*", "s3:Get*", "*", "s3:?etObject", "S3:GETOBJECT", "lambda:InvokeFunction", "lambda:Invoke*")
	set("Resource", "*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/k", "arn:aws:s3:::b/a:b", "arn:aws:s3:::*/a*b", "arn:aws:s3:::b/?", "arn:aws:s3:::b/${*}",
		"arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/${aws:PrincipalTag/team, 'none'}/*",
		"arn:aws:lambda:us-east-1:"+home+":function:f", "arn:aws:lambda:*:"+home+":function:f", "arn:aws:lambda:us-*-1:*:function:f*")
	if kind == Resource {
		s["Principal"] = object{"AWS": r.some(append(someNames, "arn:aws:iam::"+foreign+":role/dev")...)}
	}
	if r.IntN(2) == 0 {
		s["Condition"] = r.condition()
	}
	return s
}

func (r chooser) condition() object {
	suffix := r.one("", "", "IfExists")
	text := func() string {
		return r.one("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike")
	}
	switch r.IntN(9) {
	case 0:
		return object{"ForAllValues:" + text() + suffix: object{"aws:TagKeys": r.some("a", "b", "A", "*", "a*")}}
	case 1:
		return object{"ForAnyValue:" + text(): object{"aws:TagKeys": r.some("a", "b", "A", "*", "a*")}}
	case 2:
		return object{r.one("NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals") + suffix: object{"aws:MultiFactorAuthAge": r.some("10", "10.5", "-1", "20")}}
	case 3:
		return object{r.one("DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals") + suffix: object{"aws:CurrentTime": r.some("2026-11-22T00:00:00Z", "2025-01-01T00:00:00Z", "2027-01-01")}}
	case 4:
		return object{"Bool" + suffix: object{r.one("aws:SecureTransport", "aws:MultiFactorAuthPresent"): r.one("true", "false")}}
	case 5:
		return object{r.one("IpAddress", "NotIpAddress") + suffix: object{"aws:SourceIp": r.some("10.0.0.0/8", "203.0.113.7")}}
	case 6:
		return object{r.one("ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike") + suffix: object{"aws:SourceArn": r.some("arn:aws:s3:::b", "arn:aws:s3:::*", "arn:aws:sns:*:"+home+":t", "arn:*:s3:::b?")}}
	case 7:
		return object{"Null": object{r.one("aws:SourceArn", "aws:TagKeys"): r.one("true", "false")}}
	}
	return object{text() + suffix: object{r.one("aws:username", "aws:PrincipalTag/team", "AWS:UserName"): r.some("alice", "Alice", "al*", "bob", "${aws:username}", "red", "?lice")}}
}
