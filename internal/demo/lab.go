package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// bigSize is what clients upload in parts.
const (
	bigSize  = 20 << 20
	partSize = 8 << 20
)

// oddKeys must arrive as they are.
var oddKeys = []string{"in/a name with spaces.png", "in/1+1=2 & more.png", "in/Grüße/画像-ñ.png"}

// lab is one run: the client, and the names it chose.
type lab struct {
	cfg     Config
	out     io.Writer
	client  *client
	suffix  string
	roleARN string
}

func (l *lab) source() string      { return "source-" + l.suffix }
func (l *lab) destination() string { return "destination-" + l.suffix }
func (l *lab) policyName() string  { return "copy-" + l.suffix }
func (l *lab) roleName() string    { return "copier-" + l.suffix }

func (l *lab) policyARN() string {
	return "arn:aws:iam::" + l.cfg.Account + ":policy/" + l.policyName()
}

func (l *lab) functionARN(name string) string {
	return "arn:aws:lambda:" + l.cfg.Region + ":" + l.cfg.Account + ":function:" + name
}

const trustLambda = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

const logActions = `{"Effect":"Allow","Action":["logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}`

// foundation creates what every function of the lab shares.
func (l *lab) foundation() []step {
	createBucket := func(name string) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			_, err := l.client.s3(ctx, http.MethodPut, name, "", "", nil, nil)
			return name, err
		}
	}
	return []step{
		{name: "create the source bucket", run: createBucket(l.source())},
		{name: "create the destination bucket", run: createBucket(l.destination())},
		{name: "create a policy: read the source, write the destination, log", run: func(ctx context.Context) (string, error) {
			doc := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[`+
				`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"},`+
				`{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::%s/*"},%s]}`, l.source(), l.destination(), logActions)
			_, err := l.client.iam(ctx, "CreatePolicy", map[string]string{"PolicyName": l.policyName(), "PolicyDocument": doc})
			return l.policyARN(), err
		}},
		{name: "create a role that Lambda may assume", run: func(ctx context.Context) (string, error) {
			arn, err := l.createRole(ctx, l.roleName())
			l.roleARN = arn
			return arn, err
		}},
		{name: "attach the policy to the role", run: func(ctx context.Context) (string, error) {
			_, err := l.client.iam(ctx, "AttachRolePolicy", map[string]string{"RoleName": l.roleName(), "PolicyArn": l.policyARN()})
			return "", err
		}},
	}
}

func (l *lab) createRole(ctx context.Context, name string) (string, error) {
	a, err := l.client.iam(ctx, "CreateRole", map[string]string{"RoleName": name, "AssumeRolePolicyDocument": trustLambda})
	if err != nil {
		return "", err
	}
	var out struct {
		ARN string `xml:"CreateRoleResult>Role>Arn"`
	}
	if err := xml.Unmarshal(a.body, &out); err != nil || out.ARN == "" {
		return "", fmt.Errorf("no role ARN in %s: %w", a.body, errors.Join(err, errors.New("unexpected answer")))
	}
	return out.ARN, nil
}

// withFunction runs the lab's middle with one runtime and one style of code.
func (l *lab) withFunction(runtime string, v variant) []step {
	name := strings.NewReplacer(".", "", "js", "").Replace(runtime) + "-" + v.name + "-" + l.suffix
	arn := l.functionARN(name)
	return []step{
		{name: "create the function", run: func(ctx context.Context) (string, error) {
			return l.createFunction(ctx, name, runtime, v, l.roleARN, l.destination())
		}},
		{name: "let the source bucket invoke it", run: func(ctx context.Context) (string, error) {
			return "", l.addPermission(ctx, name, l.source())
		}},
		{name: "add the trigger", run: func(ctx context.Context) (string, error) {
			return "", l.putNotification(ctx, l.source(), arn)
		}},
		{name: "upload a picture (cold function)", run: func(ctx context.Context) (string, error) {
			return l.uploadPicture(ctx, "in/lamp.png")
		}},
		{name: "upload a picture (warm function)", run: func(ctx context.Context) (string, error) {
			return l.uploadPicture(ctx, "in/lamp-again.png")
		}},
		{name: "upload keys with spaces, + and non-ASCII letters", run: func(ctx context.Context) (string, error) {
			for _, key := range oddKeys {
				if _, err := l.uploadPicture(ctx, key); err != nil {
					return "", fmt.Errorf("%q: %w", key, err)
				}
			}
			return "", nil
		}},
		{name: "upload 20 MB in parts", run: func(ctx context.Context) (string, error) { return l.uploadBig(ctx, "in/big.png") }},
		{name: "an upload outside the filter triggers nothing", run: func(ctx context.Context) (string, error) {
			return "", l.uploadUnmatched(ctx)
		}},
		{name: "invoke it with a test event and read the log tail", run: func(ctx context.Context) (string, error) {
			return "", l.invokeByHand(ctx, name)
		}},
		{name: "read its log lines from CloudWatch Logs", run: func(ctx context.Context) (string, error) {
			return l.readLogs(ctx, name)
		}},
		{name: "delete the function and empty both buckets", run: func(ctx context.Context) (string, error) {
			if err := l.removeNotification(ctx, l.source()); err != nil {
				return "", err
			}
			if _, err := l.client.lambda(ctx, http.MethodDelete, "/"+name, nil, nil); err != nil {
				return "", err
			}
			for _, b := range []string{l.source(), l.destination()} {
				if err := l.empty(ctx, b); err != nil {
					return "", err
				}
			}
			return "", nil
		}},
	}
}

func (l *lab) createFunction(ctx context.Context, name, runtime string, v variant, role, destination string) (string, error) {
	code, err := zipOf(v.file, v.code)
	if err != nil {
		return "", err
	}
	_, err = l.client.lambda(ctx, http.MethodPost, "", map[string]string{"Content-Type": "application/json"}, map[string]any{
		"FunctionName": name, "Runtime": runtime, "Role": role, "Handler": "index.handler",
		"Code": map[string]any{"ZipFile": code}, "Timeout": 30, "MemorySize": 512,
		"Environment": map[string]any{"Variables": map[string]string{"DESTINATION": destination}},
	})
	return fmt.Sprintf("%d bytes of zip", len(code)), err
}

func (l *lab) addPermission(ctx context.Context, function, bucket string) error {
	_, err := l.client.lambda(ctx, http.MethodPost, "/"+function+"/policy", nil, map[string]any{
		"StatementId": "from-" + bucket, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
		"SourceArn": "arn:aws:s3:::" + bucket, "SourceAccount": l.cfg.Account,
	})
	return err
}

func (l *lab) putNotification(ctx context.Context, bucket, functionARN string) error {
	body := `<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><CloudFunctionConfiguration>` +
		`<Id>copy</Id><CloudFunction>` + functionARN + `</CloudFunction><Event>s3:ObjectCreated:*</Event><Filter><S3Key>` +
		`<FilterRule><Name>prefix</Name><Value>in/</Value></FilterRule><FilterRule><Name>suffix</Name><Value>.png</Value></FilterRule>` +
		`</S3Key></Filter></CloudFunctionConfiguration></NotificationConfiguration>`
	_, err := l.client.s3(ctx, http.MethodPut, bucket, "", "notification", nil, []byte(body))
	return err
}

func (l *lab) removeNotification(ctx context.Context, bucket string) error {
	_, err := l.client.s3(ctx, http.MethodPut, bucket, "", "notification", nil,
		[]byte(`<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></NotificationConfiguration>`))
	return err
}

func (l *lab) uploadPicture(ctx context.Context, key string) (string, error) {
	body, err := picture()
	if err != nil {
		return "", err
	}
	began := time.Now()
	if _, err := l.client.s3(ctx, http.MethodPut, l.source(), key, "", map[string]string{"Content-Type": "image/png"}, body); err != nil {
		return "", err
	}
	answered := time.Now()
	if err := l.expectCopy(ctx, key, "image/png", body); err != nil {
		return "", err
	}
	return fmt.Sprintf("put %s, copied %s later", round(answered.Sub(began)), round(time.Since(answered))), nil
}

func (l *lab) uploadBig(ctx context.Context, key string) (string, error) {
	body := make([]byte, bigSize)
	state := uint32(2463534242)
	for i := range body { // xorshift: nothing that compresses
		state ^= state << 13
		state ^= state >> 17
		state ^= state << 5
		body[i] = byte(state)
	}
	a, err := l.client.s3(ctx, http.MethodPost, l.source(), key, "uploads", map[string]string{"Content-Type": "image/png"}, nil)
	if err != nil {
		return "", fmt.Errorf("start: %w", err)
	}
	var started struct{ UploadId string }
	if err := xml.Unmarshal(a.body, &started); err != nil {
		return "", fmt.Errorf("start: %w", err)
	}
	var done strings.Builder
	done.WriteString("<CompleteMultipartUpload>")
	for n := 1; (n-1)*partSize < bigSize; n++ {
		part := body[(n-1)*partSize : min(n*partSize, bigSize)]
		q := url.Values{"partNumber": {fmt.Sprint(n)}, "uploadId": {started.UploadId}}
		a, err := l.client.s3(ctx, http.MethodPut, l.source(), key, q.Encode(), nil, part)
		if err != nil {
			return "", fmt.Errorf("part %d: %w", n, err)
		}
		fmt.Fprintf(&done, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n, a.header.Get("Etag"))
	}
	done.WriteString("</CompleteMultipartUpload>")
	q := url.Values{"uploadId": {started.UploadId}}
	if _, err := l.client.s3(ctx, http.MethodPost, l.source(), key, q.Encode(), nil, []byte(done.String())); err != nil {
		return "", fmt.Errorf("complete: %w", err)
	}
	completed := time.Now()
	if err := l.expectCopy(ctx, key, "image/png", body); err != nil {
		return "", err
	}
	return "copied " + round(time.Since(completed)) + " later", nil
}

// expectCopy waits until the destination has the key and compares every byte.
func (l *lab) expectCopy(ctx context.Context, key, contentType string, want []byte) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := l.client.s3(ctx, http.MethodHead, l.destination(), key, "", nil, nil)
		if err == nil {
			break
		}
		var r *refusal
		if !errors.As(err, &r) || r.Status != http.StatusNotFound {
			return fmt.Errorf("no copy: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no copy of %q after %s", key, l.cfg.Patience)
		}
	}
	got, err := l.client.s3(ctx, http.MethodGet, l.destination(), key, "", nil, nil)
	if err != nil {
		return fmt.Errorf("read the copy: %w", err)
	}
	if sha256.Sum256(got.body) != sha256.Sum256(want) {
		return fmt.Errorf("the copy differs: %d bytes, want %d", len(got.body), len(want))
	}
	if ct := got.header.Get("Content-Type"); ct != contentType {
		return fmt.Errorf("the copy's content type is %q, want %q", ct, contentType)
	}
	return nil
}

// uploadUnmatched puts two keys outside the filter and then one inside: once
// that one is copied, the others would have been.
func (l *lab) uploadUnmatched(ctx context.Context) error {
	for _, key := range []string{"in/notes.txt", "out/lamp.png"} {
		if _, err := l.client.s3(ctx, http.MethodPut, l.source(), key, "", nil, []byte("not for the function")); err != nil {
			return err
		}
	}
	if _, err := l.uploadPicture(ctx, "in/fence.png"); err != nil {
		return err
	}
	for _, key := range []string{"in/notes.txt", "out/lamp.png"} {
		if _, err := l.client.s3(ctx, http.MethodHead, l.destination(), key, "", nil, nil); err == nil {
			return fmt.Errorf("%q was copied", key)
		}
	}
	return nil
}

// invokeByHand sends the event that S3 would send.
func (l *lab) invokeByHand(ctx context.Context, function string) error {
	event := map[string]any{"Records": []any{map[string]any{"s3": map[string]any{
		"bucket": map[string]any{"name": l.source()}, "object": map[string]any{"key": "in/lamp.png"},
	}}}}
	a, err := l.client.lambda(ctx, http.MethodPost, "/"+function+"/invocations", map[string]string{"X-Amz-Log-Type": "Tail"}, event)
	if err != nil {
		return err
	}
	if fe := a.header.Get("X-Amz-Function-Error"); fe != "" {
		return fmt.Errorf("function error %s: %s", fe, a.body)
	}
	if string(a.body) != `"copied"` {
		return fmt.Errorf("the function answered %s", a.body)
	}
	tail, err := base64.StdEncoding.DecodeString(a.header.Get("X-Amz-Log-Result"))
	if err != nil {
		return fmt.Errorf("log tail: %w", err)
	}
	for _, want := range []string{"START RequestId: ", "copied in/lamp.png", "END RequestId: ", "REPORT RequestId: "} {
		if !bytes.Contains(tail, []byte(want)) {
			return fmt.Errorf("no %q in the log tail:\n%s", want, tail)
		}
	}
	return nil
}

// readLogs waits for the report of the last invocation and counts lines.
func (l *lab) readLogs(ctx context.Context, function string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := l.client.logs(ctx, "FilterLogEvents", map[string]any{"logGroupName": "/aws/lambda/" + function})
		var r *refusal
		if err != nil && (!errors.As(err, &r) || !strings.Contains(r.Code, "ResourceNotFoundException")) {
			return "", err
		}
		if err == nil {
			var out struct {
				Events []struct {
					Message string `json:"message"`
				} `json:"events"`
			}
			if err := json.Unmarshal(a.body, &out); err != nil {
				return "", err
			}
			var starts, ends, reports, copies int
			for _, e := range out.Events {
				starts += strings.Count(e.Message, "START RequestId: ")
				ends += strings.Count(e.Message, "END RequestId: ")
				reports += strings.Count(e.Message, "REPORT RequestId: ")
				copies += strings.Count(e.Message, "\tcopied in/")
			}
			if starts == reports && ends == starts && copies == starts && starts >= 2+len(oddKeys)+3 {
				return fmt.Sprintf("%d events of %d invocations", len(out.Events), starts), nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("the log is not complete after %s", l.cfg.Patience)
		}
	}
}

func (l *lab) empty(ctx context.Context, bucket string) error {
	a, err := l.client.s3(ctx, http.MethodGet, bucket, "", "list-type=2", nil, nil)
	if err != nil {
		return err
	}
	var list struct {
		Contents []struct{ Key string }
	}
	if err := xml.Unmarshal(a.body, &list); err != nil {
		return err
	}
	for _, o := range list.Contents {
		if _, err := l.client.s3(ctx, http.MethodDelete, bucket, o.Key, "", nil, nil); err != nil {
			return fmt.Errorf("delete %q: %w", o.Key, err)
		}
	}
	return nil
}
