package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/internal/awsapi"
	"davy/internal/gateway/localca"
	"davy/internal/sigv4"
)

const (
	accessKey = "AKIAEXAMPLE"
	secret    = "a secret"
)

type keys struct{}

func (keys) Lookup(_ context.Context, id, _ string) (sigv4.Credential, error) {
	if id != accessKey {
		return sigv4.Credential{}, sigv4.ErrUnknownKey
	}
	return sigv4.Credential{SecretAccessKey: secret, Principal: awsapi.Principal{ARN: "arn:aws:iam::000000000000:user/ann", Account: "000000000000"}}, nil
}

// judge allows all but what refuse names, and notes what it was asked.
type judge struct {
	mu     sync.Mutex
	refuse string
	asked  []string
}

func (j *judge) Authorize(_ context.Context, call *awsapi.Call, service, operation string, _ any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, service+":"+operation+" "+call.Principal.ARN)
	if operation == j.refuse {
		return awsapi.Errorf(http.StatusForbidden, "AccessDenied", "no")
	}
	return nil
}

type fakeS3 struct {
	s3api.Unimplemented
	mu   sync.Mutex
	got  map[string]string // bucket/key: body
	fail error
	// unread: the body of an upload is closed instead of read, and refused
	unread bool
}

func (f *fakeS3) PutObject(_ context.Context, in *s3api.PutObjectRequest) (*s3api.PutObjectOutput, error) {
	if f.unread {
		return nil, errors.Join(awsapi.Errorf(http.StatusInsufficientStorage, "InsufficientStorage", "no"), in.Body.Close())
	}
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got[*in.Bucket+"/"+*in.Key] = string(body)
	return &s3api.PutObjectOutput{ETag: new(`"e"`)}, nil
}

func (f *fakeS3) GetObject(_ context.Context, in *s3api.GetObjectRequest) (*s3api.GetObjectOutput, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	if *in.Key == "panic" {
		panic("a bug")
	}
	return &s3api.GetObjectOutput{Body: io.NopCloser(strings.NewReader("body of " + *in.Key))}, nil
}

type fakeIAM struct{ iamapi.Unimplemented }

func (fakeIAM) ListUsers(_ context.Context, in *iamapi.ListUsersRequest) (*iamapi.ListUsersResponse, error) {
	return &iamapi.ListUsersResponse{Users: []iamapi.User{}, Marker: in.PathPrefix}, nil
}

type fakeLambda struct{ lambdaapi.Unimplemented }

func (fakeLambda) Invoke(_ context.Context, in *lambdaapi.InvocationRequest) (*lambdaapi.InvocationResponse, error) {
	return &lambdaapi.InvocationResponse{StatusCode: new(int32(200)), Payload: in.Payload}, nil
}

// stand is a gateway that serves on loopback.
type stand struct {
	g     *Gateway
	stop  func() // ends the outside
	url   string
	s3    *fakeS3
	judge *judge
	ca    *localca.CA
	log   *bytes.Buffer
	logMu sync.Mutex
}

func (s *stand) Write(p []byte) (int, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.Write(p)
}

func (s *stand) logged() string {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.String()
}

func newStand(t *testing.T) *stand { return newStandWith(t, func(*Gateway) {}) }

func newStandWith(t *testing.T, edit func(*Gateway)) *stand {
	t.Helper()
	cert, key, err := localca.Generate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{s3: &fakeS3{got: map[string]string{}}, judge: &judge{}, log: &bytes.Buffer{}}
	if s.ca, err = localca.Load(cert, key, "amazonaws.com", "localhost"); err != nil {
		t.Fatal(err)
	}
	verifier, err := sigv4.New(sigv4.Config{Keys: keys{}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{
		Backends: []Backend{
			{Service: s3api.Service, Impl: s.s3},
			{Service: iamapi.Service, Impl: fakeIAM{}},
			{Service: lambdaapi.Service, Impl: fakeLambda{}},
			{Service: logsapi.Service, Impl: logsapi.Unimplemented{}},
		},
		Verifier: verifier, Authorizer: s.judge, CA: s.ca, Version: "v1",
		Pages: map[string]http.Handler{"/_davy/page/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a page") })},
		Log:   slog.New(slog.NewTextHandler(s, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	edit(g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	var served sync.WaitGroup
	served.Go(func() {
		if err := g.Run(ctx, time.Minute); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	served.Go(func() {
		if err := g.Serve(ctx, l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	s.g, s.stop = g, func() {
		stop()
		served.Wait()
	}
	t.Cleanup(s.stop)
	return s
}

// Functions that still run need the APIs when nobody else is served any more.
func TestGateway_InsideOutlivesOutside(t *testing.T) {
	s := newStand(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.g.RunInside(ctx, time.Minute); err != nil {
			t.Errorf("run inside: %v", err)
		}
	})
	served.Go(func() {
		if err := s.g.ServeInside(ctx, l); err != nil {
			t.Errorf("serve inside: %v", err)
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	health := func(address string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/_davy/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: status %d", address, resp.StatusCode)
		}
		return nil
	}
	inside := "http://" + l.Addr().String()
	if err := errors.Join(health(s.url), health(inside)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if health(s.url) == nil {
		t.Error("the outside is served after it was stopped")
	}
	if err := health(inside); err != nil {
		t.Errorf("the inside was stopped too: %v", err)
	}
	stop()
	served.Wait()
	if health(inside) == nil {
		t.Error("the inside is served after it was stopped")
	}
}

type ask struct {
	method, service, path, host, body string
	header                            map[string]string
	unsigned                          bool
}

func (s *stand) do(t *testing.T, a ask) (*http.Response, string) {
	t.Helper()
	if a.method == "" {
		a.method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(t.Context(), a.method, s.url+a.path, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if a.host != "" {
		r.Host = a.host
	}
	for k, v := range a.header {
		r.Header.Set(k, v)
	}
	if !a.unsigned {
		sum := sha256.Sum256([]byte(a.body))
		sigv4.Sign(r, sigv4.Credentials{AccessKeyID: accessKey, SecretAccessKey: secret}, a.service, "eu-west-1", time.Now(), hex.EncodeToString(sum[:]))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestGateway_FindsTheService(t *testing.T) {
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	for _, tc := range []struct {
		name   string
		ask    ask
		status int
		want   string
		asked  string
	}{
		{"S3 by path", ask{service: "s3", path: "/photos/lamp.png"}, 200, "body of lamp.png", "s3:GetObject"},
		{"S3 by host", ask{service: "s3", host: "photos.s3.localhost:4566", path: "/a/b.png"}, 200, "body of a/b.png", "s3:GetObject"},
		{"S3 by AWS's host", ask{service: "s3", host: "photos.s3.eu-west-1.amazonaws.com", path: "/x"}, 200, "body of x", "s3:GetObject"},
		{"IAM in a form", ask{method: "POST", service: "iam", path: "/", body: "Action=ListUsers&Version=2010-05-08&PathPrefix=%2Fteam%2F", header: form}, 200, "<Marker>/team/</Marker>", "iam:ListUsers"},
		{"IAM in the query", ask{service: "iam", path: "/?Action=ListUsers&Version=2010-05-08"}, 200, "<ListUsersResult>", "iam:ListUsers"},
		{"Lambda", ask{method: "POST", service: "lambda", path: "/2015-03-31/functions/f/invocations", body: `{"a":1}`}, 200, `{"a":1}`, "lambda:Invoke"},
		{"not implemented", ask{service: "lambda", path: "/2015-03-31/functions/"}, 501, "ListFunctions", "lambda:ListFunctions"},
		{"Logs not implemented", ask{method: "POST", service: "logs", path: "/", body: "{}", header: map[string]string{"X-Amz-Target": "Logs_20140328.DescribeLogGroups", "Content-Type": "application/x-amz-json-1.1"}}, 501, "DescribeLogGroups", "logs:DescribeLogGroups"},
		{"another service, JSON", ask{method: "POST", service: "dynamodb", path: "/", body: "{}", header: map[string]string{"X-Amz-Target": "DynamoDB_20120810.ListTables"}}, 501, `"__type":"NotImplemented"`, ""},
		{"another service, query", ask{method: "POST", service: "sns", path: "/", body: "Action=ListTopics", header: form}, 501, "The service sns is not implemented.", ""},
		{"unsigned Lambda", ask{path: "/2015-03-31/functions/", unsigned: true}, 403, "Missing Authentication Token", ""},
		{"unsigned IAM", ask{method: "POST", path: "/", body: "Action=ListUsers&Version=2010-05-08", header: form, unsigned: true}, 403, "MissingAuthenticationToken", ""},
		{"anonymous S3", ask{path: "/photos/lamp.png", unsigned: true}, 200, "body of lamp.png", "s3:GetObject "},
		{"health", ask{path: "/_davy/health", unsigned: true}, 200, `"version":"v1"`, ""},
		{"a page", ask{path: "/_davy/page/x", unsigned: true}, 200, "a page", ""},
		{"a bucket's key that looks like a page", ask{service: "s3", host: "photos.s3.localhost", path: "/_davy/health"}, 200, "body of _davy/health", "s3:GetObject"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t)
			resp, body := s.do(t, tc.ask)
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.want) {
				t.Fatalf("%d %s, want %d with %q", resp.StatusCode, body, tc.status, tc.want)
			}
			if got := strings.Join(s.judge.asked, ","); !strings.HasPrefix(got, tc.asked) || (tc.asked == "") != (got == "") {
				t.Fatalf("authorised %q, want %q", got, tc.asked)
			}
		})
	}
}

func TestGateway_RefusalReachesNoService(t *testing.T) {
	s := newStand(t)
	s.judge.refuse = "PutObject"
	resp, body := s.do(t, ask{method: "PUT", service: "s3", path: "/photos/x", body: "data"})
	if resp.StatusCode != 403 || !strings.Contains(body, "<Code>AccessDenied</Code>") || len(s.s3.got) > 0 {
		t.Fatalf("%d %s; stored %v", resp.StatusCode, body, s.s3.got)
	}
	if id := resp.Header.Get("X-Amz-Request-Id"); len(id) != 16 || !strings.Contains(body, id) {
		t.Errorf("request id %q is not in the answer", id)
	}
	if resp.Header.Get("X-Amz-Id-2") == "" {
		t.Error("no second id")
	}
}

// What a service leaves of a body when it refuses must not go on as requests,
// nor end the connection: the next request on it is answered.
func TestGateway_UnreadBodyIsNoRequest(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, size := range []int{1, 256<<10 - 1, 256 << 10, 256<<10 + 1, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := newStand(t)
			s.s3.unread = true
			conn := s.dial(t)
			body := strings.Repeat(smuggled, size/len(smuggled)+1)[:size]
			in := bufio.NewReader(conn)
			for range 2 {
				r := s.signed(t, body)
				go func() { _ = r.Write(conn) }()
				resp, err := http.ReadResponse(in, r)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusInsufficientStorage || resp.Close {
					t.Fatalf("%s, %v, close: %v", resp.Status, err, resp.Close)
				}
			}
		})
	}
}

// Who waits to be told to send a body is not told for a request that is
// refused without it.
func TestGateway_RefusedBodyIsNotAskedFor(t *testing.T) {
	s := newStand(t)
	s.judge.refuse = "PutObject"
	conn := s.dial(t)
	r := s.signed(t, "data")
	r.Header.Set("Expect", "100-continue")
	if _, err := fmt.Fprintf(conn, "PUT /photos/x HTTP/1.1\r\nHost: %s\r\nContent-Length: 4\r\n", r.Host); err != nil {
		t.Fatal(err)
	}
	if err := r.Header.Write(conn); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || !resp.Close {
		t.Fatalf("%s, close: %v", resp.Status, resp.Close)
	}
}

// dial connects without a client's pool.
func (s *stand) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil { // nothing else ends a failure
		t.Fatal(err)
	}
	return conn
}

// signed is an upload.
func (s *stand) signed(t *testing.T, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url+"/photos/x", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	sigv4.Sign(r, sigv4.Credentials{AccessKeyID: accessKey, SecretAccessKey: secret}, "s3", "eu-west-1", time.Now(), hex.EncodeToString(sum[:]))
	return r
}

func TestGateway_OwnFaultsAreLoggedAndHidden(t *testing.T) {
	s := newStand(t)
	s.s3.fail = errors.New("the disk is on fire at /secret/path")
	resp, body := s.do(t, ask{service: "s3", path: "/photos/x"})
	if resp.StatusCode != 500 || !strings.Contains(body, "<Code>InternalError</Code>") || strings.Contains(body, "fire") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if log := s.log.String(); strings.Count(log, "the disk is on fire") != 1 || !strings.Contains(log, resp.Header.Get("X-Amz-Request-Id")) {
		t.Fatalf("log:\n%s", log)
	}
}

func TestGateway_PanicHarmsOneRequest(t *testing.T) {
	s := newStand(t)
	resp, body := s.do(t, ask{service: "s3", path: "/photos/panic"})
	if resp.StatusCode != 500 || !strings.Contains(body, "InternalError") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if !strings.Contains(s.log.String(), "a bug") {
		t.Error("the panic is not in the log")
	}
	if resp, _ := s.do(t, ask{service: "s3", path: "/photos/fine"}); resp.StatusCode != 200 {
		t.Fatalf("the next request: %d", resp.StatusCode)
	}
}

func TestGateway_BodyThatIsNotWhatWasSigned(t *testing.T) {
	s := newStand(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url+"/photos/x", strings.NewReader("forged"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("signed"))
	sigv4.Sign(r, sigv4.Credentials{AccessKeyID: accessKey, SecretAccessKey: secret}, "s3", "us-east-1", time.Now(), hex.EncodeToString(sum[:]))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 400 || !strings.Contains(string(body), "XAmzContentSHA256Mismatch") || len(s.s3.got) > 0 {
		t.Fatalf("%d %s; stored %v", resp.StatusCode, body, s.s3.got)
	}
}

func TestGateway_TooLargeIsRefusedInTheOperationsWords(t *testing.T) {
	s := newStand(t)
	resp, body := s.do(t, ask{method: "POST", service: "lambda", path: "/2015-03-31/functions/f/invocations", body: strings.Repeat("x", 7<<20)})
	if resp.StatusCode != 413 || !strings.Contains(body, "Request must be smaller than 6291456 bytes for the InvokeFunction operation") {
		t.Fatalf("%d %.300s", resp.StatusCode, body)
	}
}

func TestGateway_TLSOnTheSamePort(t *testing.T) {
	s := newStand(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.ca.CertificatePEM())
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "photos.s3.amazonaws.com"},
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https" + strings.TrimPrefix(s.url, "http") + HealthPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("status %d", resp.StatusCode)
	}
}

func TestGateway_ListenerThatClosesEndsServe(t *testing.T) {
	d := newDoor()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.serve(t.Context(), l, nil) }()
	silent, err := net.Dial("tcp", l.Addr().String()) // says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	l.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
