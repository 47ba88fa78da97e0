package load

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"davy/internal/sigv4"
	"davy/test/davytest"
)

const (
	region  = "us-east-1"
	account = "000000000000"
	role    = "arn:aws:iam::" + account + ":role/load"
)

// client is a user of a server.
type client struct {
	endpoint string
	creds    sigv4.Credentials
	http     *http.Client
}

func newClient(endpoint, accessID, secret string) *client {
	return &client{
		endpoint: endpoint,
		creds:    sigv4.Credentials{AccessKeyID: accessID, SecretAccessKey: secret},
		http:     &http.Client{Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256}, Timeout: davytest.Limit},
	}
}

// answer is a response read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %.300s", a.status, a.body) }

// send signs a request and reads its answer; what is wrong with the connection
// is an error, an error answer is none.
func (c *client) send(ctx context.Context, service, method, target string, body []byte, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+target, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	sum := sha256.Sum256(body)
	sigv4.Sign(req, c.creds, service, region, time.Now(), hex.EncodeToString(sum[:]))
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// must sends what has to succeed.
func (c *client) must(ctx context.Context, service, method, target string, body []byte, header ...string) (answer, error) {
	a, err := c.send(ctx, service, method, target, body, header...)
	if err == nil && a.status >= 300 {
		err = fmt.Errorf("%s %s: %v", method, target, a)
	}
	return a, err
}

func (c *client) iam(ctx context.Context, action string, params ...string) error {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	_, err := c.must(ctx, "iam", http.MethodPost, "/", []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	return err
}

// prepare makes what functions need: a role and a bucket.
func (c *client) prepare(ctx context.Context) error {
	err := c.iam(ctx, "CreateRole", "RoleName", "load", "AssumeRolePolicyDocument",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
	if err == nil {
		err = c.iam(ctx, "PutRolePolicy", "RoleName", "load", "PolicyName", "work", "PolicyDocument",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:*","s3:PutObject"],"Resource":"*"}]}`)
	}
	if err == nil {
		_, err = c.must(ctx, "s3", http.MethodPut, "/"+bucket, nil)
	}
	return err
}

const functions = "/2015-03-31/functions"

func (c *client) create(ctx context.Context, name, code string) error {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("index.js")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, code); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"FunctionName": name, "Runtime": "nodejs22.x", "Role": role, "Handler": "index.handler",
		"Code": map[string]any{"ZipFile": b.Bytes()}, "Timeout": 600, "MemorySize": 256,
	})
	if err != nil {
		return err
	}
	_, err = c.must(ctx, "lambda", http.MethodPost, functions, body)
	return err
}

func (c *client) remove(ctx context.Context, name string) error {
	_, err := c.must(ctx, "lambda", http.MethodDelete, functions+"/"+name, nil)
	return err
}

// invoke runs a function that answers with the id of its event.
func (c *client) invoke(ctx context.Context, name, id string) (answer, error) {
	return c.send(ctx, "lambda", http.MethodPost, functions+"/"+name+"/invocations", fmt.Appendf(nil, `{"id":%q}`, id))
}

// check invokes and says what was wrong with the answer.
func (c *client) check(ctx context.Context, name, id string) error {
	a, err := c.invoke(ctx, name, id)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf(`{"function":%q,"id":%q}`, name, id); a.status != 200 || string(a.body) != want || a.header.Get("X-Amz-Function-Error") != "" {
		return fmt.Errorf("event %s of %s: %v", id, name, a)
	}
	return nil
}

// post queues an event; true: it was acknowledged.
func (c *client) post(ctx context.Context, name, id string) bool {
	a, err := c.send(ctx, "lambda", http.MethodPost, functions+"/"+name+"/invocations", fmt.Appendf(nil, `{"id":%q}`, id),
		"X-Amz-Invocation-Type", "Event")
	return err == nil && a.status == 202
}

const bucket = "done"

// exists says whether a function has put the object of an event.
func (c *client) exists(ctx context.Context, id string) bool {
	a, err := c.send(ctx, "s3", http.MethodHead, "/"+bucket+"/"+id, nil)
	return err == nil && a.status == 200
}

// Functions: one that answers with its event's id, one that leaves an object of
// that name.
const (
	echoCode = `exports.handler = async (e) => ({function: process.env.AWS_LAMBDA_FUNCTION_NAME, id: e.id});`
	putCode  = `const { S3Client, PutObjectCommand } = require("@aws-sdk/client-s3");
const s3 = new S3Client({});
exports.handler = async (e) => { await s3.send(new PutObjectCommand({ Bucket: "` + bucket + `", Key: e.id, Body: "x" })); };`
)
