package execenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A wrapper in a layer starts the runtime; one that cannot be started is the
// function's failure, told as AWS's start script tells it.
func TestSandboxed_ExecWrapper(t *testing.T) {
	b := newSandboxedBench(t, nil)
	layer := b.function(map[string]string{
		"wrapper":      "#!/bin/sh\nexport WRAPPED=yes\nexec \"$@\"\n",
		"plain":        "#!/bin/sh\nexec \"$@\"\n",
		"interpreter":  "#!/opt/none\n",
		"folder/empty": "",
	})
	for _, name := range []string{"wrapper", "interpreter"} {
		if err := os.Chmod(filepath.Join(b.code.dirs[layer.CodeSHA256], name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ wrapper, want, says string }{
		{"/opt/wrapper", `"yes"`, ""},
		{"/opt/missing", "Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 127", "/opt/missing: does not exist\n"},
		{"/opt/plain", "Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 126", "/opt/plain: is not an executable\n"},
		{"/opt/folder", "Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 126", "/opt/folder: is not an executable\n"},
		{"/opt/interpreter", "Runtime.ExitError: RequestId: " + testID + " Error: Runtime exited with error: exit status 127", "/opt/interpreter: does not exist\n"},
	} {
		f := b.js(`exports.handler = async () => process.env.WRAPPED`)
		f.Layers, f.ARN = []string{layer.CodeSHA256}, f.ARN+filepath.Base(tc.wrapper)
		f.Environment = map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": tc.wrapper}
		if got := strings.TrimPrefix(answer(b.invoke(f, `{}`)), "Unhandled: "); got != tc.want {
			t.Errorf("%s answered %s, want %s", tc.wrapper, got, tc.want)
		}
		if said := strings.Join(b.logs.all(), ""); !strings.Contains(said, tc.says) {
			t.Errorf("%s: the log is %q", tc.wrapper, said)
		}
	}
}
