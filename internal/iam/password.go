package iam

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"
)

// passwordIterations makes one guess cost about a tenth of a second, as OWASP
// asks of PBKDF2 with SHA-256.
// https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
const passwordIterations = 600_000

// passwordHash is what is kept of a password.
type passwordHash struct {
	Salt       []byte `json:"salt"`
	Hash       []byte `json:"hash"`
	Iterations int    `json:"iterations"`
}

// login is a user's password. The zero value is none.
type login struct {
	passwordHash
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`         // when the password was last set
	Reset   bool      `json:"reset,omitempty"` // the user must choose another at the next sign-in
	// Earlier are the passwords before this one, the newest first.
	Earlier []passwordHash `json:"earlier,omitempty"`
}

func (l *login) present() bool { return len(l.Hash) > 0 }

// hashPassword takes its time on purpose: never call it while holding a lock.
func hashPassword(password string) (passwordHash, error) {
	h := passwordHash{Salt: make([]byte, 16), Iterations: passwordIterations}
	rand.Read(h.Salt)
	var err error
	h.Hash, err = h.derive(password)
	return h, err
}

func (h *passwordHash) derive(password string) ([]byte, error) {
	key, err := pbkdf2.Key(sha256.New, password, h.Salt, h.Iterations, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	return key, nil
}

// matches takes as long as hashPassword.
func (h *passwordHash) matches(password string) (bool, error) {
	got, err := h.derive(password)
	return err == nil && subtle.ConstantTimeCompare(got, h.Hash) == 1, err
}

// passwords is the account's password policy. The zero value is none.
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
