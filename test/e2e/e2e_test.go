// Package e2e_test runs the scripts of testdata against a real server with the
// unmodified AWS CLI. A script is a txtar file; besides testscript's own
// commands it has those listed in commands.go.
package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"davy/test/davytest"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

func TestScripts(t *testing.T) {
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS CLI is not installed: run `make test`, which installs it")
	}
	bin, err := davytest.Binary()
	if err != nil {
		t.Skip(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                commands,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			return setup(env, bin, filepath.Dir(aws))
		},
	})
}

// condition adds [root], and [client:NAME]: what scripts/fetch-clients installs
// is there.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	client, ok := strings.CutPrefix(name, "client:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	_, err := os.Stat(filepath.Join(os.Getenv("DAVY_CLIENTS"), client))
	return err == nil && os.Getenv("DAVY_CLIENTS") != "", nil
}
