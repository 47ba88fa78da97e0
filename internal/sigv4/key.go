package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// signingKey derives the key of a scope from a secret.
func signingKey(secret string, s Scope) [sha256.Size]byte {
	k := sum([]byte("AWS4"+secret), s.Date)
	k = sum(k[:], s.Region)
	k = sum(k[:], s.Service)
	return sum(k[:], terminator)
}

func sum(key []byte, data string) (out [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	h.Sum(out[:0])
	return out
}

// sign returns the signature of a string in hex.
func sign(key [sha256.Size]byte, stringToSign string) string {
	s := sum(key[:], stringToSign)
	return hex.EncodeToString(s[:])
}

// hashHex returns the SHA-256 of b in hex.
func hashHex(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// stringToSign returns the string to sign of a request.
func stringToSign(at string, scope Scope, canonical []byte) string {
	return algorithm + "\n" + at + "\n" + scope.String() + "\n" + hashHex(canonical)
}

// keyCache keeps derived signing keys. It holds two generations of at most
// size keys; when the young one is full it becomes the old one, and the old
// one is forgotten. Only keys that verified a signature get in.
type keyCache struct {
	mu         sync.Mutex
	size       int
	young, old map[cacheKey][sha256.Size]byte
}

type cacheKey struct {
	secret string
	scope  Scope
}

func (c *keyCache) get(secret string, scope Scope) (key [sha256.Size]byte, cached bool) {
	k := cacheKey{secret, scope}
	c.mu.Lock()
	key, cached = c.young[k]
	if !cached {
		if key, cached = c.old[k]; cached {
			c.put(k, key)
		}
	}
	c.mu.Unlock()
	if !cached {
		key = signingKey(secret, scope)
	}
	return key, cached
}

func (c *keyCache) add(secret string, scope Scope, key [sha256.Size]byte) {
	c.mu.Lock()
	c.put(cacheKey{secret, scope}, key)
	c.mu.Unlock()
}

// put is called with mu held.
func (c *keyCache) put(k cacheKey, key [sha256.Size]byte) {
	if c.young == nil || len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[cacheKey][sha256.Size]byte)
	}
	c.young[k] = key
}
