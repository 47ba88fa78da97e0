//go:build ablation

package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every check of the chain, the code that makes it, and the script that must
// notice when it is taken out. Run with `go test -tags ablation -run Ablation`.
var checks = []struct {
	check   string
	file    string // below internal/
	code    string
	without string
	noticed string // script
}{
	{
		check: "the signature is compared", file: "sigv4/verify.go",
		code: "\tif mismatch != nil {\n\t\treturn Identity{}, mismatch\n\t}", without: "\t_ = mismatch", noticed: "refuse-signature",
	},
	{
		check: "a request is signed", file: "sigv4/verify.go",
		code: "if !t.AllowAnonymous {", without: "if false {", noticed: "refuse-signature",
	},
	{
		check: "the signature is of now", file: "sigv4/verify.go",
		code:    "if refusal = c.checkTime(v.now().UTC(), v.skew); refusal == nil {",
		without: "if refusal = nil; true {", noticed: "refuse-signature",
	},
	{
		check: "an operation needs its permission", file: "authz/authz.go",
		code:    "\t\tif err := q.check(&needs[i]); err != nil {\n\t\t\treturn err\n\t\t}",
		without: "\t\t_ = q.check(&needs[i])", noticed: "refuse-create-function",
	},
	{
		check: "passing a role needs iam:PassRole", file: "authz/lambda.go",
		code: "out = append(out, passRole(role, lambdaService, function))", without: "_, _ = role, function", noticed: "refuse-create-function",
	},
	{
		check: "a layer needs lambda:GetLayerVersion", file: "authz/lambda.go",
		code: `out = append(out, need{action: "lambda:GetLayerVersion", resource: l})`, without: "_ = l", noticed: "layers",
	},
	{
		check: "the role trusts Lambda", file: "server/joins.go",
		code: `return e.authz.Trusts(ctx, roleARN, "lambda.amazonaws.com")`, without: "return nil", noticed: "refuse-create-function",
	},
	{
		check: "the function lets the bucket in", file: "server/joins.go",
		code: "\tif !may {\n\t\treturn s3.ErrDestination\n\t}", without: "\t_ = may", noticed: "refuse-trigger",
	},
	{
		check: "the role may write the destination", file: "authz/authz.go",
		code:    "\t\tif err := q.check(&needs[i]); err != nil {\n\t\t\treturn err\n\t\t}",
		without: "\t\tif err := q.check(&needs[i]); err != nil && needs[i].action != \"s3:PutObject\" {\n\t\t\treturn err\n\t\t}", noticed: "refuse-trigger",
	},
}

func TestAblation_EveryCheckIsMissed(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		t.Run(strings.ReplaceAll(c.check, " ", "_"), func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(root, "internal", c.file)
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(src), c.code); n != 1 {
				t.Fatalf("%s has the check %d times: this table is out of date", c.file, n)
			}
			changed := filepath.Join(dir, "changed.go")
			if err := os.WriteFile(changed, []byte(strings.Replace(string(src), c.code, c.without, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: changed}})
			if err != nil {
				t.Fatal(err)
			}
			overlayFile, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "davy")
			if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlayFile, "-o", bin, "./cmd/davy")
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build without the check: %v\n%s", err, out)
			}
			run := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", "TestScripts/"+c.noticed+"$", ".")
			run.Env = append(os.Environ(), "DAVY_BINARY="+bin)
			out, err := run.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "FAIL: testdata/") {
				t.Fatalf("nobody missed it: %v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "FAIL: testdata/") {
					t.Logf("missed: %s", strings.TrimSpace(line))
				}
			}
		})
	}
}
