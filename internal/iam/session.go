package iam

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"davy/internal/policy"
)

// session is what temporary credentials stand for. It is stored nowhere: the
// session token is the session, sealed with the account's key and bound to its
// access key id.
type session struct {
	Of   string `json:"of"`             // id of the user or role; empty: root
	Name string `json:"name,omitempty"` // role session name, or of the federated user
	// Federated says that it is of GetFederationToken.
	Federated bool              `json:"federated,omitempty"`
	Secret    string            `json:"secret"`
	Issued    int64             `json:"iat"` // Unix seconds, as Expires
	Expires   int64             `json:"exp"`
	Policies  []string          `json:"policies,omitempty"` // session policies
	ARNs      []string          `json:"arns,omitempty"`     // managed session policies
	Tags      map[string]string `json:"tags,omitempty"`
	// Transitive are the keys of Tags that go on to the next role.
	Transitive []string `json:"transitive,omitempty"`
	Source     string   `json:"source,omitempty"` // source identity
	// Claims are further condition keys, in lower case: those that the token
	// of an identity provider gave.
	Claims map[string]string `json:"claims,omitempty"`

	docs []policy.Attached // Policies, compiled
	more map[string][]string
}

// SessionCredentials are temporary credentials of a role.
type SessionCredentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
}

// String shows the access key id only.
func (c SessionCredentials) String() string { return c.AccessKeyID }

// LogValue shows the access key id only.
func (c SessionCredentials) LogValue() slog.Value { return slog.StringValue(c.AccessKeyID) }

// compile parses what the token carries.
func (ss *session) compile() error {
	for _, text := range ss.Policies {
		doc, err := policy.Parse(text, policy.Identity)
		if err != nil {
			return err
		}
		ss.docs = append(ss.docs, policy.Attached{Name: "session policy", Document: doc})
	}
	ss.more = map[string][]string{
		"aws:tokenissuetime":         {time.Unix(ss.Issued, 0).UTC().Format(time.RFC3339)},
		"aws:multifactorauthpresent": {"false"},
	}
	for k, v := range ss.Claims {
		ss.more[k] = []string{v}
	}
	if ss.Source != "" {
		ss.more["aws:sourceidentity"] = []string{ss.Source}
	}
	return nil
}

// hasTag reports whether the session has a tag; case does not matter.
func (ss *session) hasTag(key string) bool {
	for k := range ss.Tags {
		if strings.EqualFold(k, key) {
			return true
		}
	}
	return false
}

var errToken = errors.New("session token is not authentic")

const tokenVersion = 1

// sealer returns the cipher of one token. Each access key id has its own key,
// so a token is worth nothing with another id, and random nonces suffice for
// any number of tokens.
func sealer(key []byte, accessKeyID string) (cipher.AEAD, error) {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("session token " + accessKeyID))
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, fmt.Errorf("session cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("session cipher: %w", err)
	}
	return aead, nil
}

// seal makes the token of a session.
func (ss *session) seal(key []byte, accessKeyID string) (string, error) {
	text, err := json.Marshal(ss)
	if err != nil {
		return "", fmt.Errorf("encode session: %w", err)
	}
	aead, err := sealer(key, accessKeyID)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(aead.Seal([]byte{tokenVersion}, nil, text, []byte{tokenVersion})), nil
}

// maxToken bounds what is decoded of a stranger's token. A session with the
// largest policies and fifty tags stays well below.
const maxToken = 64 << 10

// unseal reads a token. The error is errToken unless it was sealed here for
// this access key.
func unseal(key []byte, accessKeyID, token string) (*session, error) {
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") {
		return nil, errToken
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) == 0 || raw[0] != tokenVersion {
		return nil, errToken
	}
	aead, err := sealer(key, accessKeyID)
	if err != nil {
		return nil, err
	}
	text, err := aead.Open(nil, nil, raw[1:], raw[:1])
	if err != nil {
		return nil, errToken
	}
	ss := &session{}
	if err := json.Unmarshal(text, ss); err != nil {
		return nil, fmt.Errorf("decode session: %w", err)
	}
	return ss, ss.compile()
}

// sessionCache keeps unsealed sessions: two generations, the old forgotten
// when the young is full.
type sessionCache struct {
	mu         sync.Mutex
	young, old map[string]cachedSession // by access key id
}

type cachedSession struct {
	token string
	*session
}

const sessionsKept = 4096

// get returns a session by its access key. Token nil: any; else it must be
// the one that was unsealed.
func (c *sessionCache) get(accessKeyID string, token *string) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[accessKeyID]
	if !ok {
		if e, ok = c.old[accessKeyID]; !ok {
			return nil
		}
		c.put(accessKeyID, e)
	}
	if token != nil && subtle.ConstantTimeCompare([]byte(e.token), []byte(*token)) != 1 {
		return nil
	}
	return e.session
}

func (c *sessionCache) add(accessKeyID, token string, ss *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(accessKeyID, cachedSession{token, ss})
}

func (c *sessionCache) put(accessKeyID string, e cachedSession) {
	if c.young == nil || len(c.young) >= sessionsKept {
		c.old, c.young = c.young, make(map[string]cachedSession)
	}
	c.young[accessKeyID] = e
}

// open makes the credentials of a new session that lasts for d.
func (s *Service) open(ss *session, d time.Duration) (*SessionCredentials, error) {
	at := s.now()
	ss.Issued, ss.Expires, ss.Secret = at.Unix(), at.Add(d).Unix(), newSecret()
	if err := ss.compile(); err != nil {
		return nil, err
	}
	account := s.snap.Load().account
	id := newAccessKeyID("ASIA", account.Account)
	token, err := ss.seal(account.SessionKey, id)
	if err != nil {
		return nil, err
	}
	s.sessions.add(id, token, ss)
	return &SessionCredentials{AccessKeyID: id, SecretAccessKey: ss.Secret, SessionToken: token, Expires: at.Add(d)}, nil
}
