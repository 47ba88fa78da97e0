package e2e_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"davy/internal/sigv4"
	"davy/test/davytest"
)

// wrong-secret NAME FILE adds a profile with the access key id in FILE and a
// secret that is not its own.
func wrongSecret(ts *testscript.TestScript, neg bool, args []string) {
	id := strings.TrimSpace(ts.ReadFile(args[1]))
	name := ts.MkAbs(args[0] + ".key")
	ts.Check(os.WriteFile(name, []byte(id+" not-the-secret-of-this-access-key-000000\n"), 0o600))
	profile(ts, neg, []string{args[0], name})
}

// deactivate USER FILE makes the access key whose id is in FILE inactive.
func deactivate(ts *testscript.TestScript, neg bool, args []string) {
	id := strings.TrimSpace(ts.ReadFile(args[1]))
	ts.Check(ts.Exec("aws", "iam", "update-access-key", "--user-name", args[0], "--access-key-id", id, "--status", "Inactive"))
}

// cut IN OUT N keeps the first N bytes.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(ts.ReadFile(args[0])[:n]), 0o600))
}

// zip-named OUT NAME FILE packs FILE under NAME, whatever that is.
func zipNamed(ts *testscript.TestScript, neg bool, args []string) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	e, err := w.CreateHeader(&zip.FileHeader{Name: args[1], Method: zip.Deflate})
	ts.Check(err)
	_, err = io.WriteString(e, ts.ReadFile(args[2]))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), buf.Bytes(), 0o600))
}

// zip-zeros OUT N packs N MiB of zeros: small to send, large to unpack.
func zipZeros(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	e, err := w.Create("index.js")
	ts.Check(err)
	for range n {
		_, err = e.Write(make([]byte, 1<<20))
		ts.Check(err)
	}
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), buf.Bytes(), 0o600))
}

// signed-get SERVICE PATH OFFSET signs as root at a time that is off by OFFSET
// and prints the answer (see printAnswer).
func signedGet(ts *testscript.TestScript, neg bool, args []string) {
	offset, err := time.ParseDuration(args[2])
	ts.Check(err)
	send(ts, http.MethodGet, args[0], args[1], nil, nil, offset)
}

// signed-send METHOD SERVICE PATH BODY signs and sends BODY.
func signedSend(ts *testscript.TestScript, neg bool, args []string) {
	body := []byte(args[3])
	send(ts, args[0], args[1], args[2], body, body, 0)
}

// signed-send-tampered METHOD SERVICE PATH BODY signs BODY and sends another
// of the same length.
func signedSendTampered(ts *testscript.TestScript, neg bool, args []string) {
	other := bytes.Repeat([]byte("x"), len(args[3]))
	send(ts, args[0], args[1], args[2], []byte(args[3]), other, 0)
}

// create-bad FILE asks for a function "bad" with FILE as its package: the CLI
// would refuse to send what is no zip.
func createBad(ts *testscript.TestScript, neg bool, args []string) {
	body, err := json.Marshal(map[string]any{
		"FunctionName": "bad", "Runtime": "nodejs22.x", "Role": "arn:aws:iam::000000000000:role/worker",
		"Handler": "index.handler", "Code": map[string]any{"ZipFile": []byte(ts.ReadFile(args[0]))},
	})
	ts.Check(err)
	send(ts, http.MethodPost, "lambda", "/2015-03-31/functions", body, body, 0)
}

// presigned-get PATH LIFE OFFSET fetches a link signed off by OFFSET.
func presignedGet(ts *testscript.TestScript, neg bool, args []string) {
	life, err := time.ParseDuration(args[1])
	ts.Check(err)
	offset, err := time.ParseDuration(args[2])
	ts.Check(err)
	r, err := http.NewRequest(http.MethodGet, ts.Getenv("API")+args[0], nil)
	ts.Check(err)
	u := sigv4.Presign(r, root(ts), "s3", "us-east-1", time.Now().Add(offset), life)
	resp, err := http.Get(u.String())
	ts.Check(err)
	printAnswer(ts, resp)
}

func send(ts *testscript.TestScript, method, service, path string, signed, sent []byte, offset time.Duration) {
	r, err := http.NewRequest(method, ts.Getenv("API")+path, bytes.NewReader(sent))
	ts.Check(err)
	if service == "logs" {
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "Logs_20140328.DescribeLogGroups")
	}
	sum := sha256.Sum256(signed)
	sigv4.Sign(r, root(ts), service, "us-east-1", time.Now().Add(offset), hex.EncodeToString(sum[:]))
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	printAnswer(ts, resp)
}

func root(ts *testscript.TestScript) sigv4.Credentials {
	id, secret, err := serverOf(ts).RootKey()
	ts.Check(err)
	return sigv4.Credentials{AccessKeyID: id, SecretAccessKey: secret}
}

// printAnswer makes "STATUS CODE: MESSAGE" of an error and "STATUS BODY" of
// anything else the command's standard output.
func printAnswer(ts *testscript.TestScript, resp *http.Response) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	text := string(body)
	if resp.StatusCode >= 300 {
		var x struct {
			Code, Message string
			Error         struct{ Code, Message string }
		}
		var j struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}
		code, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
		switch {
		case xml.Unmarshal(body, &x) == nil:
			text = x.Code + x.Error.Code + ": " + x.Message + x.Error.Message
		case json.Unmarshal(body, &j) == nil:
			text = code + j.Type + ": " + j.Message
		}
	}
	ts.Check(ts.Exec("printf", "%s", fmt.Sprintf("%d %s", resp.StatusCode, text)))
}

// raw-request FILE sends the bytes of FILE (with CRLF line ends) and prints
// the answer.
func rawRequest(ts *testscript.TestScript, neg bool, args []string) {
	u, err := url.Parse(ts.Getenv("API"))
	ts.Check(err)
	c, err := net.Dial("tcp", u.Host)
	ts.Check(err)
	defer c.Close()
	ts.Check(c.SetDeadline(time.Now().Add(davytest.Limit)))
	_, err = io.WriteString(c, strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n"))
	ts.Check(err)
	answer, err := io.ReadAll(c)
	ts.Check(err)
	ts.Check(ts.Exec("printf", "%s", string(answer)))
}
