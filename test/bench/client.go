package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"davy/internal/sigv4"
)

const region = "us-east-1"

// client is the one client of all measures, floors included: it signs every
// request and keeps its connections.
type client struct {
	endpoint string
	creds    sigv4.Credentials
	http     *http.Client
}

func newClient(endpoint, accessID, secret string) *client {
	return &client{
		endpoint: endpoint,
		creds:    sigv4.Credentials{AccessKeyID: accessID, SecretAccessKey: secret},
		http: &http.Client{Transport: &http.Transport{
			MaxIdleConns: 256, MaxIdleConnsPerHost: 256, DisableCompression: true,
			WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
		}, Timeout: 2 * time.Minute},
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// payload is a body and its hash, which is computed once.
type payload struct {
	bytes []byte
	hash  string
}

func payloadOf(b []byte) payload {
	sum := sha256.Sum256(b)
	return payload{b, hex.EncodeToString(sum[:])}
}

// call is a request before it is signed.
type call struct {
	service string
	method  string
	target  string // escaped path and query
	header  map[string]string
	body    payload
}

// answer is a response read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration // from the signed request to the last byte
}

// do signs and sends. An error answer is an error.
func (c *client) do(ctx context.Context, r call) (answer, error) {
	a, err := c.try(ctx, r)
	if err == nil && a.status >= 300 {
		err = fmt.Errorf("%s %s: %d %.300s", r.method, r.target, a.status, a.body)
	}
	return a, err
}

// try is do, but for an error answer being an answer.
func (c *client) try(ctx context.Context, r call) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.endpoint+r.target, bytes.NewReader(r.body.bytes))
	if err != nil {
		return answer{}, err
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	hash := r.body.hash
	if hash == "" {
		hash = payloadOf(r.body.bytes).hash
	}
	sigv4.Sign(req, c.creds, r.service, region, time.Now(), hash)
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = readBody(resp); err != nil {
		return a, fmt.Errorf("read answer: %w", err)
	}
	a.took = time.Since(began)
	return a, nil
}

func readBody(resp *http.Response) ([]byte, error) {
	if resp.ContentLength <= 0 || resp.Request.Method == http.MethodHead {
		return io.ReadAll(resp.Body)
	}
	b := make([]byte, resp.ContentLength)
	_, err := io.ReadFull(resp.Body, b)
	return b, err
}

// iam calls IAM's query protocol and returns one element of the answer.
func (c *client) iam(ctx context.Context, action string, params map[string]string, into any) error {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for k, v := range params {
		form.Set(k, v)
	}
	a, err := c.do(ctx, call{
		service: "iam", method: http.MethodPost, target: "/", body: payloadOf([]byte(form.Encode())),
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
	})
	if err != nil || into == nil {
		return err
	}
	return xml.Unmarshal(a.body, into)
}

// lambda calls Lambda's control plane.
func (c *client) lambda(ctx context.Context, method, target string, body any) (answer, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return answer{}, err
		}
	}
	return c.do(ctx, call{
		service: "lambda", method: method, target: target, body: payloadOf(raw),
		header: map[string]string{"Content-Type": "application/json"},
	})
}

// invoke calls a function. One that fails is an error.
func (c *client) invoke(ctx context.Context, function string, event payload) (answer, error) {
	a, err := c.do(ctx, call{
		service: "lambda", method: http.MethodPost, body: event,
		target: "/2015-03-31/functions/" + function + "/invocations",
		header: map[string]string{"Content-Type": "application/json"},
	})
	if err == nil && a.header.Get("X-Amz-Function-Error") != "" {
		err = fmt.Errorf("function %s failed: %.300s", function, a.body)
	}
	return a, err
}

// s3 calls the object store; the path holds characters that need no escape.
func (c *client) s3(ctx context.Context, method, target string, header map[string]string, body payload) (answer, error) {
	return c.do(ctx, call{service: "s3", method: method, target: target, header: header, body: body})
}
