package fulldisk

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"davy/internal/sigv4"
)

// client is a user of a server.
type client struct {
	endpoint string
	creds    sigv4.Credentials
	http     http.Client
}

// answer is a response read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %.300s", a.status, a.body) }

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

// errorCode is the code of an error answer in any of AWS's protocols.
func (a answer) errorCode() string {
	if t := a.header.Get("X-Amzn-Errortype"); t != "" {
		return t
	}
	_, rest, _ := strings.Cut(string(a.body), "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	if code == "" {
		_, rest, _ = strings.Cut(string(a.body), `"__type":"`)
		code, _, _ = strings.Cut(rest, `"`)
	}
	return code
}

func (c *client) send(ctx context.Context, service, method, target string, body []byte, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+target, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	sum := sha256.Sum256(body)
	sigv4.Sign(req, c.creds, service, "us-east-1", time.Now(), hex.EncodeToString(sum[:]))
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

func (c *client) s3(ctx context.Context, method, target string, body []byte, header ...string) (answer, error) {
	return c.send(ctx, "s3", method, target, body, header...)
}

func (c *client) query(ctx context.Context, service, version, action string, params ...string) (answer, error) {
	form := url.Values{"Action": {action}, "Version": {version}}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	return c.send(ctx, service, http.MethodPost, "/", []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

func (c *client) iam(ctx context.Context, action string, params ...string) (answer, error) {
	return c.query(ctx, "iam", "2010-05-08", action, params...)
}

func (c *client) logs(ctx context.Context, action string, in map[string]any) (answer, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return answer{}, err
	}
	return c.send(ctx, "logs", http.MethodPost, "/", body, "Content-Type", "application/x-amz-json-1.1", "X-Amz-Target", "Logs_20140328."+action)
}

const (
	functions = "/2015-03-31/functions"
	role      = "arn:aws:iam::000000000000:role/full"
)

// create makes a function with so much ballast in its package.
func (c *client) create(ctx context.Context, name, code string, ballast int) (answer, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range []struct {
		name string
		body []byte
	}{{"index.js", []byte(code)}, {"ballast", noise(ballast)}} {
		e, err := w.Create(f.name)
		if err == nil {
			_, err = e.Write(f.body)
		}
		if err != nil {
			return answer{}, err
		}
	}
	if err := w.Close(); err != nil {
		return answer{}, err
	}
	body, err := json.Marshal(map[string]any{
		"FunctionName": name, "Runtime": "nodejs22.x", "Role": role, "Handler": "index.handler",
		"Code": map[string]any{"ZipFile": b.Bytes()}, "Timeout": 30, "MemorySize": 256,
	})
	if err != nil {
		return answer{}, err
	}
	return c.send(ctx, "lambda", http.MethodPost, functions, body)
}

func (c *client) invoke(ctx context.Context, name, kind string, event []byte) (answer, error) {
	return c.send(ctx, "lambda", http.MethodPost, functions+"/"+name+"/invocations", event, "X-Amz-Invocation-Type", kind)
}

// noise cannot be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
