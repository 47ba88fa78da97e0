package iam

import (
	"context"
	"encoding/base64"
	"strings"

	"davy/api/stsapi"
	"davy/internal/awsapi"
)

// An encoded message is what a refusal rests on, sealed with the account's key:
// whoever is refused may hold it, and who is allowed to may have it decoded.
// AWS's EC2 and a few other services answer with such messages; Davy makes them
// where it explains a decision.

const messageLabel = "authorization message"

// EncodeMessage seals a message of an account for DecodeAuthorizationMessage.
func (a *Accounts) EncodeMessage(account, message string) (string, error) {
	s := a.Of(account)
	if s == nil {
		s = a.first
	}
	aead, err := sealer(s.snap.Load().account.SessionKey, messageLabel)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal([]byte{tokenVersion}, nil, []byte(message), []byte(messageLabel))), nil
}

// DecodeAuthorizationMessage opens an encoded message of the caller's account.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
func (s *sts) DecodeAuthorizationMessage(_ context.Context, in *stsapi.DecodeAuthorizationMessageRequest) (*stsapi.DecodeAuthorizationMessageResponse, error) {
	invalid := &stsapi.InvalidAuthorizationMessageException{Message: new("Message is not valid")}
	text := awsapi.Val(in.EncodedMessage)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) == 0 || raw[0] != tokenVersion || strings.ContainsAny(text, "\r\n") {
		return nil, invalid
	}
	aead, err := sealer(s.snap.Load().account.SessionKey, messageLabel)
	if err != nil {
		return nil, err
	}
	message, err := aead.Open(nil, nil, raw[1:], []byte(messageLabel))
	if err != nil {
		return nil, invalid
	}
	return &stsapi.DecodeAuthorizationMessageResponse{DecodedMessage: new(string(message))}, nil
}
