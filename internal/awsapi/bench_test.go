package awsapi_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/internal/awsapi"
)

// BenchmarkRequest is the runtime's share of one request: route, decode and
// validate. The JSON floor is encoding/json into a map.
func BenchmarkRequest(b *testing.B) {
	events := make([]map[string]any, 1000)
	for i := range events {
		events[i] = map[string]any{"timestamp": 1_700_000_000_000 + i, "message": "START RequestId: 8a7c6c1f-5a0f-4d5e-9d3a-b7f2e0e8f9a1 Version: $LATEST\n"}
	}
	batch, err := json.Marshal(map[string]any{"logGroupName": "g", "logStreamName": "s", "logEvents": events})
	if err != nil {
		b.Fatal(err)
	}
	code := `{"FunctionName":"f","Role":"arn:aws:iam::000000000000:role/r","Code":{"ZipFile":"` + base64.StdEncoding.EncodeToString(make([]byte, 10<<20)) + `"}}`
	var parts strings.Builder
	parts.WriteString("<CompleteMultipartUpload>")
	for range 1000 {
		parts.WriteString(`<Part><ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag><PartNumber>1</PartNumber></Part>`)
	}
	parts.WriteString("</CompleteMultipartUpload>")
	for _, bc := range []struct {
		name string
		svc  *awsapi.Service
		req  request
	}{
		{"Invoke", lambdaapi.Service, request{line: "POST /2015-03-31/functions/f/invocations", body: `{"key":"value"}`}},
		{"PutObject", s3api.Service, request{"PUT /bucket/key", map[string]string{"X-Amz-Meta-A": "b", "Content-Type": "image/png"}, ""}},
		{"CompleteMultipartUpload1000", s3api.Service, request{line: "POST /b/k?uploadId=u", body: parts.String()}},
		{"PutLogEvents1000", logsapi.Service, logsCall("PutLogEvents", string(batch))},
		{"CreateFunction10MiB", lambdaapi.Service, request{line: "POST /2015-03-31/functions", body: code}},
		{"CreateRole", iamapi.Service, form("Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D&Tags.member.1.Key=a&Tags.member.1.Value=b")},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bc.req.body)))
			q := bc.req.build()
			for b.Loop() {
				r := *q
				r.Body = http.NoBody
				if bc.req.body != "" {
					r.Body = body{strings.NewReader(bc.req.body)}
				}
				m, err := bc.svc.Match(&r, "", awsapi.Limits{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := m.Decode(b.Context(), &r, awsapi.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("floor/PutLogEvents1000", func(b *testing.B) {
		b.SetBytes(int64(len(batch)))
		for b.Loop() {
			var v map[string]any
			if err := json.Unmarshal(batch, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type body struct{ *strings.Reader }

func (body) Close() error { return nil }

func BenchmarkWriteOutput(b *testing.B) {
	for b.Loop() {
		w := httptest.NewRecorder()
		if err := lambdaapi.Service.WriteOutput(w, &awsapi.Call{RequestID: "id"}, lambdaapi.Service.Operations[0], &lambdaapi.AddLayerVersionPermissionResponse{Statement: new("s")}); err != nil {
			b.Fatal(err)
		}
	}
}
