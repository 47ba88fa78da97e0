package iam

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what is fetched from identity providers.
const (
	providerAnswer  = 1 << 20 // bytes of a document
	providerKeys    = 100     // keys of one provider
	providersKept   = 256
	keysFresh       = time.Hour        // fetched again after this
	keysRetry       = 30 * time.Second // not sooner for an unknown key id
	providerTimeout = 5 * time.Second
)

// providerClient is the HTTP client that keys are fetched with. It follows no
// redirect: the issuer alone says where its keys are.
func providerClient() *http.Client {
	return &http.Client{
		Timeout:       providerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// keyFetcher fetches and keeps the public keys of OIDC providers.
// https://openid.net/specs/openid-connect-discovery-1_0.html
type keyFetcher struct {
	http  *http.Client
	clock func() time.Time

	mu   sync.Mutex
	kept map[string]*providerKeySet // by issuer
}

// providerKeySet is what one provider has published.
type providerKeySet struct {
	mu   sync.Mutex // held while they are fetched: one request, many waiters
	keys map[string]crypto.PublicKey
	at   time.Time
}

// errProvider is wrapped when a provider cannot be asked.
var errProvider = errors.New("identity provider")

// find returns the key with the id kid of an issuer; nil: it has none. An
// empty kid finds the only key.
func (f *keyFetcher) find(ctx context.Context, issuer, kid string, thumbprints []string) (crypto.PublicKey, error) {
	set := f.set(issuer)
	set.mu.Lock()
	defer set.mu.Unlock()
	age := f.clock().Sub(set.at)
	key := set.key(kid)
	if set.keys != nil && (key != nil && age < keysFresh || key == nil && age < keysRetry) {
		return key, nil
	}
	keys, err := f.fetch(ctx, issuer, thumbprints)
	if err != nil {
		return nil, err
	}
	set.keys, set.at = keys, f.clock()
	return set.key(kid), nil
}

func (f *keyFetcher) set(issuer string) *providerKeySet {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.kept[issuer]; s != nil {
		return s
	}
	if f.kept == nil || len(f.kept) >= providersKept {
		f.kept = map[string]*providerKeySet{}
	}
	s := &providerKeySet{}
	f.kept[issuer] = s
	return s
}

func (s *providerKeySet) key(kid string) crypto.PublicKey {
	if kid == "" && len(s.keys) == 1 {
		for _, k := range s.keys {
			return k
		}
	}
	return s.keys[kid]
}

func (f *keyFetcher) fetch(ctx context.Context, issuer string, thumbprints []string) (map[string]crypto.PublicKey, error) {
	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := f.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", thumbprints, &discovery); err != nil {
		return nil, err
	}
	if discovery.Issuer != issuer {
		return nil, fmt.Errorf("%w %s: its discovery document is of issuer %q", errProvider, issuer, discovery.Issuer)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := f.get(ctx, discovery.JWKSURI, thumbprints, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > providerKeys {
		return nil, fmt.Errorf("%w %s: more than %d keys", errProvider, issuer, providerKeys)
	}
	keys := make(map[string]crypto.PublicKey, len(set.Keys))
	for _, raw := range set.Keys {
		// A key of a kind that is not known is another's.
		if kid, key := readKey(raw); key != nil {
			keys[kid] = key
		}
	}
	return keys, nil
}

// get fetches a JSON document.
func (f *keyFetcher) get(ctx context.Context, from string, thumbprints []string, into any) error {
	u, err := url.Parse(from)
	if err != nil || !fetchable(u) {
		return fmt.Errorf("%w: %q is no https URL", errProvider, from)
	}
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errProvider, err)
	}
	client := f.http
	if len(thumbprints) > 0 && client.Transport == nil {
		transport := pinned(thumbprints)
		defer transport.CloseIdleConnections()
		c := *client
		c.Transport = transport
		client = &c
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errProvider, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, providerAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s: %w", errProvider, from, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: %s: status %d", errProvider, from, resp.StatusCode)
	case len(body) > providerAnswer:
		return fmt.Errorf("%w: %s: more than %d bytes", errProvider, from, providerAnswer)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %s: %w", errProvider, from, err)
	}
	return nil
}

// fetchable reports whether keys may be fetched from u: over https, or from
// this machine.
func fetchable(u *url.URL) bool {
	if u.Host == "" || u.User != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// pinned trusts, beside the machine's authorities, a certificate of the chain
// that has one of the thumbprints (SHA-1 in hexadecimal).
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc_verify-thumbprint.html
func pinned(thumbprints []string) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, // VerifyConnection does it
			VerifyConnection: func(state tls.ConnectionState) error {
				options := x509.VerifyOptions{DNSName: state.ServerName, Intermediates: x509.NewCertPool()}
				for _, c := range state.PeerCertificates[1:] {
					options.Intermediates.AddCert(c)
				}
				_, err := state.PeerCertificates[0].Verify(options)
				if err == nil {
					return nil
				}
				for _, c := range state.PeerCertificates {
					sum := sha1.Sum(c.Raw)
					named := func(t string) bool { return strings.EqualFold(t, hex.EncodeToString(sum[:])) }
					if slices.ContainsFunc(thumbprints, named) {
						options.Roots = x509.NewCertPool()
						options.Roots.AddCert(c)
						_, err = state.PeerCertificates[0].Verify(options)
						return err
					}
				}
				return err
			},
		},
	}
}

// readKey reads one JSON Web Key for signatures; nil: none that is known.
// https://www.rfc-editor.org/rfc/rfc7517
func readKey(raw []byte) (kid string, key crypto.PublicKey) {
	var k struct {
		Kid, Kty, Use, Crv, N, E, X, Y string
	}
	if json.Unmarshal(raw, &k) != nil || k.Use != "" && k.Use != "sig" {
		return "", nil
	}
	number := func(s string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
		if err != nil || len(b) == 0 || len(b) > 1024 {
			return nil
		}
		return new(big.Int).SetBytes(b)
	}
	switch k.Kty {
	case "RSA":
		n, e := number(k.N), number(k.E)
		if n == nil || e == nil || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || n.BitLen() < 2048 || n.BitLen() > 8192 {
			return "", nil
		}
		return k.Kid, &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Crv]
		x, y := number(k.X), number(k.Y)
		if curve == nil || x == nil || y == nil {
			return "", nil
		}
		size := (curve.Params().BitSize + 7) / 8
		if x.BitLen() > 8*size || y.BitLen() > 8*size {
			return "", nil
		}
		point := append([]byte{4}, x.FillBytes(make([]byte, size))...)
		pub, err := ecdsa.ParseUncompressedPublicKey(curve, append(point, y.FillBytes(make([]byte, size))...))
		if err != nil { // not on the curve
			return "", nil
		}
		return k.Kid, pub
	}
	return "", nil
}
