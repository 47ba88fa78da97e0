package live_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// buildBootstrap builds the function in Go and zips it.
func buildBootstrap(t *testing.T) []byte {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", exe, "./bootstrap")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	content, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	h := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	h.SetMode(0o755)
	f, err := w.CreateHeader(h)
	if err == nil {
		_, err = f.Write(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// A function in Go, on the unmodified aws-lambda-go, as a custom runtime.
func TestCustomRuntime_Go(t *testing.T) {
	w := start(t)
	w.lab(t)
	if err := w.put(t.Context(), "a key"); err != nil {
		t.Fatal(err)
	}
	_, err := w.lambda.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("go"), Role: aws.String("arn:aws:iam::" + account + ":role/copier"),
		Runtime: lambdatypes.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Code: &lambdatypes.FunctionCode{ZipFile: buildBootstrap(t)}, Timeout: aws.Int32(600),
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:lambda:us-east-1:" + account + ":function:go"
	for _, tc := range []struct{ event, want, log string }{
		{`{"Do":"count"}`, `1`, "START RequestId"},
		{`{"Do":"count"}`, `2`, "REPORT RequestId"},
		{`{"Do":"context"}`, `[true,"go","` + arn + `","b",true,true]`, "seen "},
		{`{"Do":"read","Key":"a key"}`, `2048`, ""},
		{`{"Do":"stream"}`, `"in parts"`, ""},
		{`{"Do":"fail"}`, `errorString: it failed`, ""},
		{`{"Do":"count"}`, `7`, ""},
		{`{"Do":"panic"}`, `string: at once`, ""},
		{`{"Do":"count"}`, `1`, ""}, // the client exits after a panic
		{`{"Do":"exit"}`, `Runtime.ExitError: RequestId: ID Error: Runtime exited with error: exit status 6`, "Runtime.ExitError"},
		{`{"Do":"count"}`, `1`, ""},
	} {
		out, err := w.lambda.Invoke(t.Context(), &lambda.InvokeInput{
			FunctionName: aws.String("go"), Payload: []byte(tc.event), LogType: lambdatypes.LogTypeTail,
			ClientContext: aws.String(base64.StdEncoding.EncodeToString([]byte(`{"custom":{"a":"b"}}`))),
		})
		if err != nil {
			t.Fatal(err)
		}
		got := string(out.Payload)
		if out.FunctionError != nil {
			var e struct{ ErrorType, ErrorMessage string }
			if err := json.Unmarshal(out.Payload, &e); err != nil {
				t.Fatal(err)
			}
			if id, rest, ok := strings.Cut(strings.TrimPrefix(e.ErrorMessage, "RequestId: "), " "); ok && len(id) == 36 {
				e.ErrorMessage = "RequestId: ID " + rest
			}
			got = e.ErrorType + ": " + e.ErrorMessage
		}
		tail, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
		if err != nil || got != tc.want || !strings.Contains(string(tail), tc.log) {
			t.Errorf("%s answered\n %s\nwant\n %s\nlog %s", tc.event, got, tc.want, tail)
		}
	}
}
