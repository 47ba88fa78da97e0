package demo

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
	"strings"
	"time"

	"davy/internal/sigv4"
)

// client signs requests the way every AWS client does.
type client struct {
	endpoint string
	region   string
	creds    sigv4.Credentials
	http     *http.Client
}

func newClient(endpoint, region, accessID, secret string) *client {
	return &client{
		endpoint: strings.TrimSuffix(endpoint, "/"),
		region:   region,
		creds:    sigv4.Credentials{AccessKeyID: accessID, SecretAccessKey: secret},
		http:     &http.Client{Timeout: 2 * time.Minute},
	}
}

// as returns the same client with another identity.
func (c *client) as(creds sigv4.Credentials) *client {
	d := *c
	d.creds = creds
	return &d
}

// answer is a response read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// refusal is an error answer of any of the protocols.
type refusal struct {
	Status  int
	Code    string
	Message string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Message)
}

// request describes one call before it is signed.
type request struct {
	service string
	method  string
	path    string // escaped
	query   url.Values
	header  map[string]string
	body    []byte
}

func (c *client) do(ctx context.Context, r request) (*answer, error) {
	target := c.endpoint + r.path
	if len(r.query) > 0 {
		// S3 signs "%20", never "+".
		target += "?" + strings.ReplaceAll(r.query.Encode(), "+", "%20")
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	sum := sha256.Sum256(r.body)
	hash := hex.EncodeToString(sum[:])
	sigv4.Sign(req, c.creds, r.service, c.region, time.Now(), hash)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, body: body}
	if resp.StatusCode >= 300 {
		return nil, a.refusal()
	}
	return a, nil
}

// refusal reads the error of whichever protocol answered.
func (a *answer) refusal() *refusal {
	r := &refusal{Status: a.status}
	var doc struct {
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
		Error   struct {
			Code    string `xml:"Code"`
			Message string `xml:"Message"`
		} `xml:"Error"`
	}
	if xml.Unmarshal(a.body, &doc) == nil {
		r.Code, r.Message = doc.Code+doc.Error.Code, doc.Message+doc.Error.Message
		return r
	}
	var js struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if json.Unmarshal(a.body, &js) == nil {
		r.Code, r.Message = js.Type, js.Message
	}
	if h := a.header.Get("X-Amzn-Errortype"); h != "" {
		r.Code, _, _ = strings.Cut(h, ":")
	}
	return r
}

// s3 calls the object store. key may be empty.
func (c *client) s3(ctx context.Context, method, bucket, key, query string, header map[string]string, body []byte) (*answer, error) {
	path := "/" + bucket
	if key != "" {
		path += "/" + escapeKey(key)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, request{service: "s3", method: method, path: path, query: q, header: header, body: body})
}

// escapeKey encodes an object key for a path: every byte but the unreserved
// ones and the slash.
func escapeKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		ch := key[i]
		if ch == '/' || ch == '-' || ch == '_' || ch == '.' || ch == '~' ||
			'0' <= ch && ch <= '9' || 'a' <= ch && ch <= 'z' || 'A' <= ch && ch <= 'Z' {
			b.WriteByte(ch)
		} else {
			fmt.Fprintf(&b, "%%%02X", ch)
		}
	}
	return b.String()
}

// iam calls IAM's query protocol.
func (c *client) iam(ctx context.Context, action string, params map[string]string) (*answer, error) {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for k, v := range params {
		form.Set(k, v)
	}
	return c.do(ctx, request{
		service: "iam", method: http.MethodPost, path: "/", body: []byte(form.Encode()),
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
	})
}

// lambda calls Lambda's REST protocol with a JSON body.
func (c *client) lambda(ctx context.Context, method, path string, header map[string]string, body any) (*answer, error) {
	raw, ok := body.([]byte)
	if !ok && body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	return c.do(ctx, request{service: "lambda", method: method, path: "/2015-03-31/functions" + path, header: header, body: raw})
}

// logs calls CloudWatch Logs' JSON protocol.
func (c *client) logs(ctx context.Context, operation string, body any) (*answer, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, request{
		service: "logs", method: http.MethodPost, path: "/", body: raw,
		header: map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Logs_20140328." + operation},
	})
}
