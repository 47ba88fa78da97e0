package localca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

func newCA(t *testing.T) *CA {
	t.Helper()
	cert, key, err := Generate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := Load(cert, key, "amazonaws.com", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestCA_SignsOnlyItsNames(t *testing.T) {
	ca := newCA(t)
	for _, tc := range []struct {
		name string
		ok   bool
	}{
		{"s3.amazonaws.com", true},
		{"amazonaws.com", true},
		{"source.s3.eu-west-1.amazonaws.com", true},
		{"localhost", true},
		{"b.s3.localhost", true},
		{"127.0.0.1", true},
		{"169.254.100.1", true},
		{"evilamazonaws.com", false},
		{"amazonaws.com.evil.example", false},
		{"example.com", false},
		{"8.8.8.8", false},
		{"", false},
	} {
		_, err := ca.leafFor(tc.name)
		if (err == nil) != tc.ok || (err != nil && !errors.Is(err, ErrName)) {
			t.Errorf("leafFor(%q) = %v, want ok %v", tc.name, err, tc.ok)
		}
	}
}

func TestCA_ClientThatTrustsItConnects(t *testing.T) {
	ca := newCA(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.CertificatePEM())
	for _, name := range []string{"source.s3.amazonaws.com", "lambda.us-east-1.amazonaws.com"} {
		client, server := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- tls.Server(server, ca.TLSConfig()).HandshakeContext(t.Context()) }()
		err := tls.Client(client, &tls.Config{ServerName: name, RootCAs: pool}).HandshakeContext(t.Context())
		if err != nil {
			t.Errorf("handshake with %s: %v", name, err)
		}
		if err := <-done; err != nil {
			t.Errorf("server side of %s: %v", name, err)
		}
	}
}

func TestCA_CacheIsBounded(t *testing.T) {
	ca := newCA(t)
	for i := range leafCacheSize + 10 {
		if _, err := ca.leafFor(fmt.Sprintf("b%d.s3.amazonaws.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(ca.leaves) != leafCacheSize || ca.recent.Len() != leafCacheSize {
		t.Fatalf("cache holds %d and %d certificates, want %d", len(ca.leaves), ca.recent.Len(), leafCacheSize)
	}
}

func TestLoad_RefusesForeignKey(t *testing.T) {
	cert, _, err := Generate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := Generate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(cert, key); err == nil {
		t.Fatal("a certificate loads with another authority's key")
	}
}
