package execenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"
)

// authority is a certificate authority and the server certificate it signed.
type authority struct {
	pem    []byte
	server tls.Certificate
}

func newAuthority(t testing.TB, names ...string) authority {
	t.Helper()
	sign := func(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, key := newKey(), newKey()
	validity := func(c *x509.Certificate) *x509.Certificate {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		return c
	}
	ca := validity(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of " + names[0]},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	caDER := sign(ca, ca, caKey, caKey)
	leaf := validity(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return authority{
		pem:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		server: tls.Certificate{Certificate: [][]byte{sign(leaf, ca, key, caKey)}, PrivateKey: key},
	}
}

// httpDoor answers every request over TLS.
type httpDoor struct{ server *http.Server }

func newHTTPDoor(t testing.TB, a authority, h http.HandlerFunc) *httpDoor {
	d := &httpDoor{&http.Server{
		Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{a.server}},
		ReadHeaderTimeout: time.Minute,
	}}
	t.Cleanup(func() { d.server.Close() })
	return d
}

func (d *httpDoor) Serve(l net.Listener) error { return d.server.ServeTLS(l, "", "") }

// toDoor makes every connection lead to the door's port on the fake driver's
// loopback, which DNS and the address do in a real sandbox.
const toDoor = `
let door;
const { Socket } = require("net");
const { connect } = Socket.prototype;
Socket.prototype.connect = function (...args) {
	const options = Array.isArray(args[0]) ? args[0][0] : args[0];
	options.port = door;
	options.lookup = (host, o, cb) => o.all ? cb(null, [{ address: "127.0.0.1", family: 4 }]) : cb(null, "127.0.0.1", 4);
	return connect.apply(this, args);
};
`

func TestTrust_AWSNamesAndNoOthers(t *testing.T) {
	ca := newAuthority(t, "*.us-east-1.amazonaws.com", "bucket.s3.amazonaws.com", "other.example")
	door := newHTTPDoor(t, ca, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.TLS.ServerName, r.URL.Path)
	})
	ways := map[string]string{
		"https":                          `(host) => new Promise((ok, no) => require("https").get({ host, path: "/p", agent: false }, (r) => { let s = ""; r.on("data", (d) => s += d); r.on("end", () => ok(s)) }).on("error", no))`,
		"https url":                      `(host) => new Promise((ok, no) => require("https").get("https://" + host + "/p", (r) => { let s = ""; r.on("data", (d) => s += d); r.on("end", () => ok(s)) }).on("error", no))`,
		"agent":                          `(host) => new Promise((ok, no) => require("https").get({ host, path: "/p", agent: new (require("https").Agent)({ keepAlive: true, rejectUnauthorized: true }) }, (r) => { let s = ""; r.on("data", (d) => s += d); r.on("end", () => ok(s)) }).on("error", no))`,
		"fetch":                          `async (host) => (await fetch("https://" + host + "/p")).text()`,
		"tls.connect":                    `(host) => new Promise((ok, no) => { const s = require("tls").connect({ host, port: 443, servername: host }, () => { s.destroy(); ok(host + " /p") }).on("error", no) })`,
		"tls.connect with port and host": `(host) => new Promise((ok, no) => { const s = require("tls").connect(443, "localhost", { servername: host }, () => { s.destroy(); ok(host + " /p") }).on("error", no) })`,
	}
	for _, rt := range allRuntimes {
		for name, way := range ways {
			t.Run(name+"/"+rt, func(t *testing.T) {
				t.Parallel()
				store := openStore(t, ca.pem)
				b := newBench(t, func(c *Config) {
					c.Runtimes, c.TrustCA, c.Door = hostRuntime{store}, true, door
				})
				f := b.js(toDoor + `const get = ` + way + `;
				exports.handler = async (e) => {
					door = e.door;
					try { return door && await get(e.host) } catch (e) { return "refused: " + (e.code ?? e.cause?.code ?? e.stack) }
				}`)
				f.Runtime = rt
				b.invoke(f, `{}`)
				port := b.envs.fleets[f.ARN+" $LATEST"].idle[0].current.Load().addrs[listenHTTPS].(*net.TCPAddr).Port
				for host, want := range map[string]string{
					"sqs.us-east-1.amazonaws.com": `"sqs.us-east-1.amazonaws.com /p"`,
					"bucket.s3.amazonaws.com":     `"bucket.s3.amazonaws.com /p"`,
					"other.example":               `"refused: UNABLE_TO_VERIFY_LEAF_SIGNATURE"`,
				} {
					if got := answer(b.invoke(f, fmt.Sprintf(`{"host":%q,"door":%d}`, host, port))); got != want {
						t.Errorf("%s: %s, want %s", host, got, want)
					}
				}
			})
		}
	}
}
