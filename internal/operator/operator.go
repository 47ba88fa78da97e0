// Package operator is the small API that Davy has beside AWS's, for whoever
// runs it: adding accounts, and explaining decisions. Handler serves it below
// Path; Client is what the commands use.
//
// The invariant: only the root user of the first account is answered. A request
// is signed as AWS's are (SigV4, service "davy"), with the key that lies in
// DIR/credentials; being able to read that file is what makes an operator.
package operator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"davy/internal/awsapi"
	"davy/internal/sigv4"
)

const (
	// Path is what the paths of this API start with.
	Path = "/_davy/operator/"

	service = "davy" // in the scope of signatures
	maxBody = 256 << 10
)

// Account is an account that was added.
type Account struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Profile string `json:"profile"` // in DIR/credentials and DIR/config
}

// Question is what `davy iam explain` asks.
type Question struct {
	Principal string              `json:"principal"`
	Action    string              `json:"action"`
	Resource  string              `json:"resource"`
	Context   map[string][]string `json:"context,omitempty"`
}

// Statement is a statement that applied to a question.
type Statement struct {
	Effect string `json:"effect"`
	Policy string `json:"policy"` // ARN or name
	Type   string `json:"type"`   // identity-based policy, ...
	Name   string `json:"name"`   // effect, position and Sid
	Text   string `json:"text"`   // as it was written
}

// Answer is a decision with what it rests on.
type Answer struct {
	Allowed bool `json:"allowed"`
	// Decision is the line that the log has for it.
	Decision string `json:"decision"`
	// Message is the end of what AWS tells the caller; empty when allowed.
	Message  string      `json:"message,omitempty"`
	Deciding *Statement  `json:"deciding,omitempty"` // nil: none applied, or root
	Matched  []Statement `json:"matched,omitempty"`
	// Encoded is the decision for DecodeAuthorizationMessage; empty when allowed.
	Encoded string `json:"encodedMessage,omitempty"`
}

// Operations are what the API does. An error that wraps ErrRefused is the
// operator's and is told; any other is logged.
type Operations interface {
	AddAccount(ctx context.Context, nameOrID string) (Account, error)
	Accounts(ctx context.Context) ([]Account, error)
	Explain(ctx context.Context, q Question) (Answer, error)
}

// ErrRefused marks what the operator asked wrongly.
var ErrRefused = errors.New("refused")

// Config of Handler.
type Config struct {
	Operations Operations
	Verifier   *sigv4.Verifier
	// Operator reports whether a caller is the root user of the first account.
	Operator func(awsapi.Principal) bool
	Log      *slog.Logger
}

// Handler serves the API.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+Path+"accounts", cfg.answer(func(ctx context.Context, _ []byte) (any, error) {
		return cfg.Operations.Accounts(ctx)
	}))
	mux.Handle("POST "+Path+"accounts", cfg.answer(func(ctx context.Context, body []byte) (any, error) {
		var in struct {
			Account string `json:"account"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, errors.Join(ErrRefused, err)
		}
		return cfg.Operations.AddAccount(ctx, in.Account)
	}))
	mux.Handle("POST "+Path+"explain", cfg.answer(func(ctx context.Context, body []byte) (any, error) {
		var q Question
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, errors.Join(ErrRefused, err)
		}
		return cfg.Operations.Explain(ctx, q)
	}))
	return mux
}

// answer wraps an operation: who asks is checked first, and what is answered
// is JSON.
func (cfg Config) answer(do func(context.Context, []byte) (any, error)) http.Handler {
	fail := func(w http.ResponseWriter, status int, text string) {
		write(w, status, map[string]string{"error": text})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := cfg.Verifier.Verify(r, sigv4.Target{Service: service, Family: sigv4.JSON, MaxBody: maxBody})
		if refusal, ok := errors.AsType[*sigv4.Error](err); ok {
			fail(w, refusal.Status, refusal.Message)
			return
		}
		p, _ := id.Principal.(awsapi.Principal)
		if err == nil && !cfg.Operator(p) {
			fail(w, http.StatusForbidden, "only the root user of the first account may do this")
			return
		}
		var body []byte
		var out any
		if err == nil {
			body, err = io.ReadAll(r.Body)
		}
		if err == nil {
			out, err = do(r.Context(), body)
		}
		switch {
		case errors.Is(err, ErrRefused):
			fail(w, http.StatusBadRequest, err.Error())
		case err != nil:
			cfg.Log.ErrorContext(r.Context(), "operator's request failed", "path", r.URL.Path, "error", err)
			fail(w, http.StatusInternalServerError, "the server failed; its log says why")
		default:
			write(w, http.StatusOK, out)
		}
	})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
