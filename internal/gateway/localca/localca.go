// Package localca is the certificate authority of one Davy installation.
//
// It signs certificates for AWS's own host names, so that code with hard-wired
// endpoints can talk to Davy over TLS. It is trusted only inside execution
// environments and by clients that choose to trust its certificate: the key
// never leaves the data directory, and a leaf is never valid for a name
// outside the suffixes it was made for.
package localca

import (
	"container/list"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"
)

// leafCacheSize bounds the certificates kept in memory: one per name asked for.
const leafCacheSize = 1024

// caLifetime and leafLifetime: leaves are minted anew at every start, so they
// only need to outlive a long-running server.
const (
	caLifetime   = 20 * 365 * 24 * time.Hour
	leafLifetime = 397 * 24 * time.Hour
)

// CA signs leaf certificates on demand. Safe for concurrent use.
type CA struct {
	certPEM  []byte
	keyPEM   []byte
	cert     *x509.Certificate
	key      *ecdsa.PrivateKey
	suffixes []string
	leafKey  *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[string]*list.Element
	recent *list.List
}

type leaf struct {
	name string
	cert *tls.Certificate
}

// Generate makes a new authority and returns its certificate and key as PEM.
func Generate(now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate CA key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("generate CA serial: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Davy local CA", Organization: []string{"Davy"}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign CA certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode CA key: %w", err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return certPEM, keyPEM, nil
}

// Load reads an authority that Generate made. It signs only names equal to or
// below one of the suffixes ("amazonaws.com", "localhost"), and loopback
// addresses.
func Load(certPEM, keyPEM []byte, suffixes ...string) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("load CA: key is not ECDSA")
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate leaf key: %w", err)
	}
	return &CA{
		certPEM: certPEM, keyPEM: keyPEM, cert: pair.Leaf, key: key, suffixes: suffixes,
		leafKey: leafKey, leaves: make(map[string]*list.Element), recent: list.New(),
	}, nil
}

// CertificatePEM returns the authority's certificate, for clients to trust.
func (ca *CA) CertificatePEM() []byte { return ca.certPEM }

// TLSConfig returns a server configuration whose certificate follows the name
// the client asks for (or the address it came in on when it asks for none).
func (ca *CA) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
			if name == "" {
				host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
				if err != nil {
					return nil, fmt.Errorf("address of connection: %w", err)
				}
				name = host
			}
			return ca.leafFor(name)
		},
	}
}

// ErrName is returned for a name that the authority does not sign.
var ErrName = errors.New("name is not served here")

func (ca *CA) leafFor(name string) (*tls.Certificate, error) {
	ip := net.ParseIP(name)
	switch {
	case ip != nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast()):
	case ip == nil && ca.signs(name):
	default:
		return nil, fmt.Errorf("certificate for %q: %w", name, ErrName)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if e, ok := ca.leaves[name]; ok {
		ca.recent.MoveToFront(e)
		return e.Value.(*leaf).cert, nil
	}
	cert, err := ca.sign(name, ip)
	if err != nil {
		return nil, err
	}
	ca.leaves[name] = ca.recent.PushFront(&leaf{name: name, cert: cert})
	if ca.recent.Len() > leafCacheSize {
		last := ca.recent.Back()
		ca.recent.Remove(last)
		delete(ca.leaves, last.Value.(*leaf).name)
	}
	return cert, nil
}

func (ca *CA) signs(name string) bool {
	if len(name) > 253 {
		return false
	}
	for _, s := range ca.suffixes {
		if name == s || strings.HasSuffix(name, "."+s) {
			return true
		}
	}
	return false
}

func (ca *CA) sign(name string, ip net.IP) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("generate serial: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Davy"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(leafLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &ca.leafKey.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %q: %w", name, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: ca.leafKey}, nil
}
