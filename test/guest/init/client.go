//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"davy/internal/operator"
	"davy/internal/sigv4"
)

const (
	dataDir  = "/var/lib/davy" // the unit's
	endpoint = "http://127.0.0.1:4566"
	region   = "us-east-1"
	account  = "000000000000"
)

// client signs requests as the root user, whose key the service wrote.
type client struct {
	creds sigv4.Credentials
	http  *http.Client
}

func newClient() (*client, error) {
	creds, err := operator.RootKey(dataDir)
	return &client{creds, &http.Client{Timeout: 10 * time.Minute}}, err
}

// do fails for every status but 2xx.
func (c *client) do(ctx context.Context, service, method, path, kind string, body []byte) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, method, endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	sum := sha256.Sum256(body)
	sigv4.Sign(r, c.creds, service, region, time.Now(), hex.EncodeToString(sum[:]))
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, resp.Header, err
}

func (c *client) s3(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	answer, _, err := c.do(ctx, "s3", method, path, "", body)
	return answer, err
}

func (c *client) iam(ctx context.Context, action string, params ...string) error {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	_, _, err := c.do(ctx, "iam", "POST", "/", "application/x-www-form-urlencoded; charset=utf-8", []byte(form.Encode()))
	return err
}

func (c *client) lambda(ctx context.Context, method, path string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	answer, header, err := c.do(ctx, "lambda", method, "/2015-03-31/functions"+path, "application/json", raw)
	if kind := header.Get("X-Amz-Function-Error"); err == nil && kind != "" {
		err = fmt.Errorf("function error %s: %s", kind, answer)
	}
	return answer, err
}

// create makes a function of one file.
func (c *client) create(ctx context.Context, f function) error {
	code, err := zipOf(f.file, f.code)
	if err != nil {
		return err
	}
	_, err = c.lambda(ctx, "POST", "", map[string]any{
		"FunctionName": f.name, "Runtime": f.runtime, "Handler": strings.TrimSuffix(f.file, f.file[strings.LastIndex(f.file, "."):]) + ".handler",
		"Role": "arn:aws:iam::" + account + ":role/" + role, "Code": map[string]any{"ZipFile": code}, "Timeout": 600, "MemorySize": f.memory,
	})
	return err
}

func (c *client) invoke(ctx context.Context, name string, event any, answer any) error {
	raw, err := c.lambda(ctx, "POST", "/"+name+"/invocations", event)
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(raw, answer)
}
