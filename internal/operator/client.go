package operator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"davy/internal/sigv4"
)

// profile is the one of the first account's root user.
const profile = "davy"

// Client asks a running server.
type Client struct {
	endpoint string
	creds    sigv4.Credentials
	http     *http.Client
}

// Open reads the endpoint and the key of the server whose data directory dir
// is.
func Open(dir string) (*Client, error) {
	creds, err := RootKey(dir)
	if err != nil {
		return nil, err
	}
	c := &Client{http: &http.Client{Timeout: time.Minute}, creds: creds}
	settings, err := section(filepath.Join(dir, "config"), "profile "+profile)
	if err != nil {
		return nil, err
	}
	if c.endpoint = strings.TrimSuffix(settings["endpoint_url"], "/"); c.endpoint == "" {
		return nil, noProfile(dir)
	}
	return c, nil
}

// RootKey reads the access key of the first account's root user, which the
// server whose data directory dir is wrote there.
func RootKey(dir string) (sigv4.Credentials, error) {
	settings, err := section(filepath.Join(dir, "credentials"), profile)
	if err != nil {
		return sigv4.Credentials{}, err
	}
	creds := sigv4.Credentials{AccessKeyID: settings["aws_access_key_id"], SecretAccessKey: settings["aws_secret_access_key"]}
	if creds.AccessKeyID == "" {
		return sigv4.Credentials{}, noProfile(dir)
	}
	return creds, nil
}

func noProfile(dir string) error {
	return fmt.Errorf("%s has no profile %q: has `davy serve` run there?", dir, profile)
}

// section reads one section of an AWS configuration file.
func section(path, name string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read what `davy serve` wrote: %w", err)
	}
	out := map[string]string{}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inside = line == "["+name+"]"
			continue
		}
		if k, v, ok := strings.Cut(line, "="); ok && inside {
			out[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return out, nil
}

// AddAccount makes an account.
func (c *Client) AddAccount(ctx context.Context, nameOrID string) (Account, error) {
	var out Account
	return out, c.do(ctx, http.MethodPost, "accounts", map[string]string{"account": nameOrID}, &out)
}

// Accounts lists the accounts that were added.
func (c *Client) Accounts(ctx context.Context) ([]Account, error) {
	var out []Account
	return out, c.do(ctx, http.MethodGet, "accounts", nil, &out)
}

// Explain asks for a decision and what it rests on.
func (c *Client) Explain(ctx context.Context, q Question) (Answer, error) {
	var out Answer
	return out, c.do(ctx, http.MethodPost, "explain", q, &out)
}

func (c *Client) do(ctx context.Context, method, operation string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+Path+operation, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256(body)
	sigv4.Sign(req, c.creds, service, "us-east-1", time.Now(), hex.EncodeToString(sum[:]))
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the server, which must be running: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var refusal struct{ Error string }
		if json.Unmarshal(answer, &refusal) != nil || refusal.Error == "" {
			refusal.Error = resp.Status
		}
		return fmt.Errorf("%s", refusal.Error)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
