package live_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// A streamed response reaches the SDK in parts; the function goes on when the
// first has arrived.
func TestResponseStream(t *testing.T) {
	w := start(t)
	w.lab(t)
	role := aws.String("arn:aws:iam::" + account + ":role/copier")
	// It waits for an object that the test makes when it has the first part.
	const code = `const { S3Client, GetObjectCommand } = require('@aws-sdk/client-s3');
const s3 = new S3Client({ maxAttempts: 1 });
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.write('first ');
  if (event.fail) throw new RangeError('no more');
  for (;;) {
    try { await (await s3.send(new GetObjectCommand({ Bucket: 'source', Key: 'go' }))).Body.transformToString(); break } catch { await new Promise((r) => setTimeout(r, 20)) }
  }
  stream.write('last');
  stream.end();
});`
	for _, f := range []*lambda.CreateFunctionInput{
		{FunctionName: aws.String("node"), Runtime: lambdatypes.RuntimeNodejs22x, Handler: aws.String("index.handler"), Code: &lambdatypes.FunctionCode{ZipFile: zipped(t, "index.js", code)}},
		{FunctionName: aws.String("go"), Runtime: lambdatypes.RuntimeProvidedal2023, Handler: aws.String("bootstrap"), Code: &lambdatypes.FunctionCode{ZipFile: buildBootstrap(t)}},
	} {
		f.Role, f.Timeout = role, aws.Int32(600)
		if _, err := w.lambda.CreateFunction(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ function, event, want, code, details string }{
		{"node", `{}`, "first last", "", ""},
		{"node", `{"fail":true}`, "first ", "RangeError", "no more"},
		{"go", `{"Do":"stream"}`, `"in parts"`, "", ""},
		{"go", `{"Do":"count"}`, `2`, "", ""},
		{"go", `{"Do":"fail"}`, ``, "errorString", "it failed"},
	} {
		out, err := w.lambda.InvokeWithResponseStream(t.Context(), &lambda.InvokeWithResponseStreamInput{
			FunctionName: &tc.function, Payload: []byte(tc.event), LogType: lambdatypes.LogTypeTail,
		})
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		var end *lambdatypes.InvokeWithResponseStreamCompleteEvent
		for e := range out.GetStream().Events() {
			switch e := e.(type) {
			case *lambdatypes.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
				got.Write(e.Value.Payload)
				if got.String() == "first " && tc.code == "" {
					if err := w.put(t.Context(), "go"); err != nil {
						t.Fatal(err)
					}
				}
			case *lambdatypes.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
				end = &e.Value
			}
		}
		if err := out.GetStream().Close(); err != nil {
			t.Fatal(err)
		}
		if got.String() != tc.want || end == nil || aws.ToString(end.ErrorCode) != tc.code || !strings.Contains(aws.ToString(end.ErrorDetails), tc.details) || aws.ToString(end.LogResult) == "" {
			t.Errorf("%s %s: %q, then %+v", tc.function, tc.event, got.String(), end)
		}
	}
}
