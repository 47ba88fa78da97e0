package iam

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"time"

	"davy/api/iamapi"
)

// passwordIterations makes one guess cost a good part of a second, as OWASP
// asks of PBKDF2 with SHA-256.
// https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
const passwordIterations = 600_000

// login is a user's password, of which only hashes are kept. The zero value is
// none.
type login struct {
	Created    time.Time `json:"created"`
	Changed    time.Time `json:"changed"`         // when the password was last set
	Reset      bool      `json:"reset,omitempty"` // the user must choose another at the next sign-in
	Salt       []byte    `json:"salt"`            // of all hashes
	Iterations int       `json:"iterations"`
	Hash       []byte    `json:"hash"`
	Earlier    [][]byte  `json:"earlier,omitempty"` // the passwords before this one, the newest first
}

func (l *login) present() bool { return len(l.Hash) > 0 }

// derive hashes a password as l has it. It takes its time on purpose; the
// caller holds hashing, so that logins never take more than one processor.
func (l *login) derive(password string) ([]byte, error) {
	key, err := pbkdf2.Key(sha256.New, password, l.Salt, l.Iterations, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	return key, nil
}

// set replaces the password by the one that has the hash.
func (l *login) set(hash []byte, at time.Time, reset bool) {
	if l.present() {
		l.Earlier = slices.Insert(l.Earlier, 0, l.Hash)
		if len(l.Earlier) > maxReusePrevention {
			l.Earlier = l.Earlier[:maxReusePrevention]
		}
	}
	l.Hash, l.Changed, l.Reset = hash, at, reset
}

// used reports whether one of the last n passwords had the hash.
func (l *login) used(hash []byte, n int32) bool {
	for i, h := range slices.Insert(slices.Clone(l.Earlier), 0, l.Hash) {
		if i < int(n) && subtle.ConstantTimeCompare(h, hash) == 1 {
			return true
		}
	}
	return false
}

// newLogin returns a login that has no password yet.
func (s *Service) newLogin() login {
	l := login{Created: s.now(), Salt: make([]byte, 16), Iterations: s.iterations}
	rand.Read(l.Salt)
	return l
}

// hash hashes a password for a login, alone.
func (s *Service) hash(l *login, password string) ([]byte, error) {
	s.hashing.Lock()
	defer s.hashing.Unlock()
	return l.derive(password)
}

// sameLogin reports whether a password is still the one that was looked at.
func sameLogin(a, b *login) bool { return bytes.Equal(a.Hash, b.Hash) && bytes.Equal(a.Salt, b.Salt) }

const (
	defaultMinLength   = 6 // of a policy that does not say
	maxReusePrevention = 24
)

// passwords is the account's password policy. The zero value is none: AWS's
// default then counts.
type passwords struct {
	MinLength       int32 `json:"minLength"`
	Symbols         bool  `json:"symbols,omitempty"`
	Numbers         bool  `json:"numbers,omitempty"`
	Uppercase       bool  `json:"uppercase,omitempty"`
	Lowercase       bool  `json:"lowercase,omitempty"`
	UsersMayChange  bool  `json:"usersMayChange,omitempty"`
	HardExpiry      bool  `json:"hardExpiry,omitempty"`
	MaxAge          int32 `json:"maxAge,omitempty"`          // days; 0: for ever
	ReusePrevention int32 `json:"reusePrevention,omitempty"` // passwords; 0: none
}

func (p *passwords) present() bool { return p.MinLength > 0 }

// expired reports whether a password has come of age.
func (p *passwords) expired(l *login, now time.Time) bool {
	return p.MaxAge > 0 && !now.Before(l.Changed.AddDate(0, 0, int(p.MaxAge)))
}

// The kinds of character that a policy can ask for.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_passwords_account-policy.html
const (
	upperCase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lowerCase = "abcdefghijklmnopqrstuvwxyz"
	digits    = "0123456789"
	symbols   = "!@#$%^&*()_+-=[]{}|'"
)

// check refuses a password that the policy does not allow.
func (p *passwords) check(password string, account *accountRecord) error {
	length, kinds := 0, 0
	for range password {
		length++
	}
	ok := true
	for _, k := range []struct {
		characters string
		required   bool
	}{{upperCase, p.Uppercase}, {lowerCase, p.Lowercase}, {digits, p.Numbers}, {symbols, p.Symbols}} {
		if strings.ContainsAny(password, k.characters) {
			kinds++
		} else if k.required {
			ok = false
		}
	}
	if p.present() {
		ok = ok && length >= int(p.MinLength)
	} else {
		ok = length >= 8 && kinds >= 3 && password != account.Account && (account.Alias == "" || password != account.Alias)
	}
	if !ok {
		return passwordViolation()
	}
	return nil
}

func passwordViolation() error {
	return &iamapi.PasswordPolicyViolationException{Message: new("Password does not conform to the account password policy.")}
}
