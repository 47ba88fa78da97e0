package iam

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of signatures
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
)

// webToken is a JSON Web Token whose signature is not checked yet.
type webToken struct {
	header struct {
		Alg, Kid string
		Crit     []string
	}
	claims    webClaims
	signed    string
	signature []byte
}

// webClaims are the claims that STS looks at.
type webClaims struct {
	Issuer    string      `json:"iss"`
	Subject   string      `json:"sub"`
	Audience  oneOrMany   `json:"aud"`
	Party     string      `json:"azp"`
	Expires   json.Number `json:"exp"`
	NotBefore json.Number `json:"nbf"`
	IssuedAt  json.Number `json:"iat"`
	AMR       oneOrMany   `json:"amr"`
	Source    string      `json:"https://aws.amazon.com/source_identity"`
	Tags      struct {
		Principal  map[string]oneOrMany `json:"principal_tags"`
		Transitive []string             `json:"transitive_tag_keys"`
	} `json:"https://aws.amazon.com/tags"`
}

// oneOrMany is a string or a list of strings.
type oneOrMany []string

// UnmarshalJSON implements json.Unmarshaler.
func (o *oneOrMany) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrMany{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

var errWebToken = errors.New("not a valid JWT")

// readWebToken takes a token apart.
// https://www.rfc-editor.org/rfc/rfc7519
func readWebToken(text string) (*webToken, error) {
	signed, signature, ok := cutLast(text, '.')
	head, body, ok2 := strings.Cut(signed, ".")
	if !ok || !ok2 || strings.Contains(body, ".") {
		return nil, errWebToken
	}
	t := &webToken{signed: signed}
	decode := func(s string, into any) bool {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
		return err == nil && json.Unmarshal(raw, into) == nil
	}
	var err error
	if t.signature, err = base64.RawURLEncoding.Strict().DecodeString(signature); err != nil || !decode(head, &t.header) || !decode(body, &t.claims) {
		return nil, errWebToken
	}
	if len(t.header.Crit) > 0 || t.claims.Issuer == "" || t.claims.Subject == "" {
		return nil, errWebToken
	}
	return t, nil
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// hashes are those of the algorithms that STS accepts.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
var hashes = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

// signedBy reports whether key made the signature, with the algorithm that the
// key is for: a token never chooses how it is checked.
func (t *webToken) signedBy(key crypto.PublicKey) bool {
	if len(t.header.Alg) != 5 {
		return false
	}
	hash, ok := hashes[t.header.Alg[2:]]
	if !ok {
		return false
	}
	h := hash.New()
	h.Write([]byte(t.signed))
	sum := h.Sum(nil)
	switch k := key.(type) {
	case *rsa.PublicKey:
		return t.header.Alg[:2] == "RS" && rsa.VerifyPKCS1v15(k, hash, sum, t.signature) == nil
	case *ecdsa.PublicKey:
		bits := k.Curve.Params().BitSize
		size := (bits + 7) / 8
		fits := bits == 256 && hash == crypto.SHA256 || bits == 384 && hash == crypto.SHA384 || bits == 521 && hash == crypto.SHA512
		if t.header.Alg[:2] != "ES" || !fits || len(t.signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(t.signature[:size]), new(big.Int).SetBytes(t.signature[size:])
		return ecdsa.Verify(k, sum, r, s)
	}
	return false
}

// seconds reads a NumericDate; ok is false for an absent one.
func seconds(n json.Number) (at int64, ok bool) {
	if n == "" {
		return 0, false
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1<<53 {
		return 0, true // the beginning of time: expired
	}
	return int64(f), true
}
