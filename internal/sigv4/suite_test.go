package sigv4

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	suiteKey    = "AKIDEXAMPLE"
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var suiteTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

// staticKeys knows one key. With a token set, requests must carry it.
type staticKeys struct{ key, secret, token string }

func (k staticKeys) Lookup(_ context.Context, key, token string) (Credential, error) {
	if key != k.key {
		return Credential{}, ErrUnknownKey
	}
	if token != k.token {
		return Credential{}, ErrInvalidToken
	}
	return Credential{SecretAccessKey: k.secret, Principal: "someone"}, nil
}

// rawRequest reads a request as the suite writes it: targets with raw blanks
// and letters, folded headers, no CR.
func rawRequest(t testing.TB, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	method, rest, _ := strings.Cut(lines[0], " ")
	target := rest[:strings.LastIndex(rest, " ")]
	r := &http.Request{Method: method, RequestURI: target, Header: http.Header{}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
	last := ""
	for _, line := range lines[1:] {
		if line[0] == ' ' || line[0] == '\t' {
			v := r.Header[last]
			v[len(v)-1] += " " + strings.TrimSpace(line)
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "host") {
			r.Host = value
			continue
		}
		last = http.CanonicalHeaderKey(name)
		r.Header[last] = append(r.Header[last], value)
	}
	return r.WithContext(t.Context())
}

func TestSuite(t *testing.T) {
	archive, err := os.ReadFile("testdata/aws-signing-test-suite-v4.txtar")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]map[string]string{}
	for i, file := range strings.Split(strings.TrimSuffix(string(archive), "\n"), "\n-- ") {
		if i == 0 {
			continue // the notice
		}
		path, data, _ := strings.Cut(file, " --\n")
		name, part, _ := strings.Cut(path, "/")
		if cases[name] == nil {
			cases[name] = map[string]string{}
		}
		cases[name][part] = data + "\n"
	}
	verified := 0
	for name, files := range cases {
		for _, where := range []string{"header", "query"} {
			t.Run(name+"/"+where, func(t *testing.T) {
				unnormalized := strings.Contains(files["context"], "unnormalized")
				omitToken := strings.Contains(files["context"], "omit-token")
				signed := strings.TrimSuffix(files[where+"-signed-request"], "\n")
				wantCanonical := strings.TrimSuffix(files[where+"-canonical-request"], "\n")
				payload := wantCanonical[strings.LastIndex(wantCanonical, "\n")+1:]

				r := rawRequest(t, signed)
				_, raw := rawTarget(r)
				query := parseQuery(raw)
				c, refusal := readClaim(r, query, Target{Service: "service", Family: Query})
				if refusal != nil {
					t.Fatal(refusal)
				}
				got := canonicalRequest(nil, r, unnormalized, query, c.signedHeaders, payload, omitToken && where == "query")
				if string(got) != wantCanonical {
					t.Fatalf("canonical request:\n%s\nwant:\n%s", got, wantCanonical)
				}
				if err := c.verifyAs(r, query, payload, unnormalized); err != nil {
					t.Fatal(err)
				}
				verified++
				if unnormalized {
					return // S3's rule for paths, S3's rules for the rest do not fit the suite
				}
				v, err := New(Config{Keys: staticKeys{suiteKey, suiteSecret, c.token}, Now: func() time.Time { return suiteTime }})
				if err != nil {
					t.Fatal(err)
				}
				id, err := v.Verify(r, Target{Service: "service", Family: Query, MaxBody: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				if id.AccessKeyID != suiteKey || id.Principal != "someone" || id.Presigned != (where == "query") || !id.Time.Equal(suiteTime) {
					t.Fatalf("identity %+v", id)
				}
			})
		}
	}
	if verified != 76 {
		t.Errorf("verified %d vectors, want 76", verified)
	}
}

// verifyAs is verify with the path rule chosen by the caller.
func (c *claim) verifyAs(r *http.Request, query []pair, payload string, s3 bool) error {
	as := *c
	if s3 {
		as.family = S3
	}
	if err := as.verify(r, query, payload, signingKey(suiteSecret, c.scope)); err != nil {
		return err
	}
	return nil
}
