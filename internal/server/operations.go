package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"davy/internal/arn"
	"davy/internal/authz"
	"davy/internal/awsapi"
	"davy/internal/iam"
	"davy/internal/operator"
	"davy/internal/policy"
)

// operations are what the operator can have done.
type operations struct {
	iam      *iam.Accounts
	authz    *authz.Authorizer
	install  installation
	endpoint string
	files    sync.Mutex // held while the client files are written
}

// isOperator reports whether p is the root user of the first account.
func (o *operations) isOperator(p awsapi.Principal) bool {
	first := o.iam.First().Account()
	return p.Account == first && p.ARN == "arn:aws:iam::"+first+":root"
}

// AddAccount makes an account and a profile for its root user.
func (o *operations) AddAccount(ctx context.Context, nameOrID string) (operator.Account, error) {
	// A client that goes away does not leave an account without a profile.
	a, err := o.iam.Add(context.WithoutCancel(ctx), nameOrID)
	if errors.Is(err, iam.ErrAccount) {
		return operator.Account{}, fmt.Errorf("%w: %w", operator.ErrRefused, err)
	}
	if err != nil {
		return operator.Account{}, err
	}
	return shownAccount(a), o.writeProfile(a)
}

func shownAccount(a iam.Account) operator.Account {
	return operator.Account{ID: a.ID, Name: a.Name, Profile: a.Name}
}

func (o *operations) writeProfile(a iam.Account) error {
	o.files.Lock()
	defer o.files.Unlock()
	return o.install.profile(a.Name, a.AccessKeyID, a.SecretKey, o.endpoint)
}

// writeProfiles writes those of all accounts that were added: the endpoint may
// have changed.
func (o *operations) writeProfiles() error {
	for _, a := range o.iam.List() {
		if a.AccessKeyID == "" {
			continue // its root user has no key, and so no profile
		}
		if err := o.writeProfile(a); err != nil {
			return err
		}
	}
	return nil
}

// Accounts lists those that were added.
func (o *operations) Accounts(context.Context) ([]operator.Account, error) {
	out := []operator.Account{}
	for _, a := range o.iam.List() {
		out = append(out, shownAccount(a))
	}
	return out, nil
}

// Explain decides a question and says what the decision rests on.
func (o *operations) Explain(ctx context.Context, q operator.Question) (operator.Answer, error) {
	d, err := o.authz.Explain(ctx, authz.Question(q))
	if errors.Is(err, iam.ErrUnknownPrincipal) {
		return operator.Answer{}, fmt.Errorf("%w: there is no principal %s", operator.ErrRefused, q.Principal)
	}
	if err != nil {
		return operator.Answer{}, err
	}
	out := operator.Answer{Allowed: d.Allowed, Decision: d.Explain(), Message: d.Reason()}
	if d.Statement != nil {
		out.Deciding = new(statement(d.Layer, &d.Policy, d.Statement))
	}
	for _, m := range d.Matched {
		out.Matched = append(out.Matched, statement(m.Layer, &m.Policy, m.Statement))
	}
	if !d.Allowed {
		out.Encoded, err = o.encode(&d, &out)
	}
	return out, err
}

func statement(l policy.Layer, p *policy.Attached, s *policy.Statement) operator.Statement {
	return operator.Statement{Effect: s.Effect.String(), Policy: p.Label(), Type: l.String(), Name: s.Name(), Text: s.Text}
}

// maxEncoded is how long a message may be for DecodeAuthorizationMessage, before
// it is sealed and encoded.
const maxEncoded = 7000

// encode makes the message of a refusal that DecodeAuthorizationMessage opens,
// in its account, with the members that AWS's have.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
func (o *operations) encode(d *policy.Decision, a *operator.Answer) (string, error) {
	type items struct {
		Items []operator.Statement `json:"items"`
	}
	type message struct {
		Allowed           bool  `json:"allowed"`
		ExplicitDeny      bool  `json:"explicitDeny"`
		MatchedStatements items `json:"matchedStatements"`
		Failures          items `json:"failures"`
		Context           any   `json:"context"`
	}
	m := message{
		ExplicitDeny: d.Explicit(), MatchedStatements: items{a.Matched}, Failures: items{[]operator.Statement{}},
		Context: map[string]any{"principal": map[string]string{"arn": d.Principal}, "action": d.Action, "resource": d.Resource},
	}
	if m.MatchedStatements.Items == nil {
		m.MatchedStatements.Items = []operator.Statement{}
	}
	text, err := json.Marshal(m)
	if err == nil && len(text) > maxEncoded {
		m.MatchedStatements.Items = []operator.Statement{}
		text, err = json.Marshal(m)
	}
	if err != nil {
		return "", fmt.Errorf("encode decision: %w", err)
	}
	account := ""
	if p, err := arn.Parse(d.Principal); err == nil {
		account = p.Account
	}
	return o.iam.EncodeMessage(account, string(text))
}
