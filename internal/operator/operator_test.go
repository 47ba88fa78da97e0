package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"davy/internal/awsapi"
	"davy/internal/sigv4"
)

// desk answers what it is asked and notes it.
type desk struct{ asked []string }

func (d *desk) AddAccount(_ context.Context, nameOrID string) (Account, error) {
	d.asked = append(d.asked, "add "+nameOrID)
	switch nameOrID {
	case "taken":
		return Account{}, fmt.Errorf("%w: taken exists already", ErrRefused)
	case "broken":
		return Account{}, errors.New("disk is on fire")
	}
	return Account{ID: "111111111111", Name: nameOrID, Profile: nameOrID}, nil
}

func (d *desk) Accounts(context.Context) ([]Account, error) {
	return []Account{{ID: "111111111111", Name: "a", Profile: "a"}}, nil
}

func (d *desk) Explain(_ context.Context, q Question) (Answer, error) {
	return Answer{Allowed: q.Context["k"][0] == "v=w", Decision: q.Principal + q.Action + q.Resource}, nil
}

// keys knows two users by their access key ids, whose secrets are "secret".
type keys struct{}

func (keys) Lookup(_ context.Context, id, _ string) (sigv4.Credential, error) {
	if id != "ROOT" && id != "USER" {
		return sigv4.Credential{}, sigv4.ErrUnknownKey
	}
	return sigv4.Credential{SecretAccessKey: "secret", Principal: awsapi.Principal{ARN: id}}, nil
}

func serve(t *testing.T) (*desk, *httptest.Server) {
	v, err := sigv4.New(sigv4.Config{Keys: keys{}})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{}
	s := httptest.NewServer(Handler(Config{
		Operations: d, Verifier: v, Operator: func(p awsapi.Principal) bool { return p.ARN == "ROOT" }, Log: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(s.Close)
	return d, s
}

// dataDir has the files that a server writes.
func dataDir(t *testing.T, endpoint, id, secret string) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"credentials": "[partner]\naws_access_key_id = OTHER\naws_secret_access_key = x\n\n[davy]\naws_access_key_id = " + id + "\naws_secret_access_key = " + secret + "\n",
		"config":      "[profile partner]\nendpoint_url = http://127.0.0.1:1\n\n[profile davy]\nregion = us-east-1\nendpoint_url = " + endpoint + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestClient(t *testing.T) {
	d, s := serve(t)
	c, err := Open(dataDir(t, s.URL, "ROOT", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := c.AddAccount(t.Context(), "new"); err != nil || a.ID != "111111111111" || a.Profile != "new" {
		t.Fatalf("%+v %v", a, err)
	}
	if list, err := c.Accounts(t.Context()); err != nil || len(list) != 1 || list[0].Name != "a" {
		t.Fatalf("%+v %v", list, err)
	}
	q := Question{Principal: "p", Action: "a", Resource: "r", Context: map[string][]string{"k": {"v=w"}}}
	if a, err := c.Explain(t.Context(), q); err != nil || !a.Allowed || a.Decision != "par" {
		t.Fatalf("%+v %v", a, err)
	}
	if _, err := c.AddAccount(t.Context(), "taken"); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a refusal: %v", err)
	}
	if _, err := c.AddAccount(t.Context(), "broken"); err == nil || strings.Contains(err.Error(), "fire") {
		t.Errorf("a failure shows its insides: %v", err)
	}
	if len(d.asked) != 3 {
		t.Errorf("asked %v", d.asked)
	}
	s.Close()
	if _, err := c.Accounts(t.Context()); err == nil || !strings.Contains(err.Error(), "must be running") {
		t.Errorf("no server: %v", err)
	}
}

// Nobody but the operator is answered, and nothing is done for others.
func TestHandler_AnswersTheOperatorOnly(t *testing.T) {
	d, s := serve(t)
	for name, tc := range map[string]struct {
		id, secret string
		want       string
	}{
		"another user":   {"USER", "secret", "only the root user"},
		"a wrong secret": {"ROOT", "guess", "signature"},
		"an unknown key": {"NOBODY", "secret", "token"},
	} {
		c, err := Open(dataDir(t, s.URL, tc.id, tc.secret))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.AddAccount(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	resp, err := http.Post(s.URL+Path+"accounts", "application/json", strings.NewReader(`{"account":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK || len(d.asked) > 0 {
		t.Errorf("status %d, done %v", resp.StatusCode, d.asked)
	}
}

func TestOpen_SaysWhatIsMissing(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "davy serve") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := Open(dataDir(t, "", "ROOT", "secret")); err == nil || !strings.Contains(err.Error(), "has no profile") {
		t.Errorf("no endpoint: %v", err)
	}
}
