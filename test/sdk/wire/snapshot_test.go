package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"davy/internal/awsapi"
)

// TestSnapshots_RouteAndDecode reads the requests that the SDK modules carry
// as their own test data: one of nearly every operation, with every member
// set. Each must find its operation and lose none of its values; a broken
// constraint is fine, most values are fillers.
func TestSnapshots_RouteAndDecode(t *testing.T) {
	for _, s := range services {
		t.Run(s.module, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(moduleDir(t, s.module), "request_snapshot", "*.request.snap"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no snapshots: %v", err)
			}
			decoded, refused := 0, 0
			for _, file := range files {
				op := strings.TrimSuffix(filepath.Base(file), ".request.snap")
				r, wire := readSnapshot(t, file)
				bucket := ""
				if s.bucketInHost && !slices.Contains([]string{"ListBuckets", "ListDirectoryBuckets", "WriteGetObjectResponse"}, op) {
					bucket = "__Bucket__"
				}
				switch op {
				case "ListDirectoryBuckets":
					continue // has a host of its own: nothing else tells it from ListBuckets
				case "ListParts", "GetObjectAttributes":
					continue // the SDK has a string where the model has an integer
				}
				m, err := s.svc.Match(r, bucket, awsapi.Limits{})
				if err != nil {
					t.Errorf("%s: no route: %v", op, err)
					continue
				}
				if m.Op.Name != op {
					t.Errorf("%s: routed to %s", op, m.Op.Name)
					continue
				}
				in, err := m.Decode(t.Context(), r, awsapi.Limits{})
				if in == nil {
					t.Errorf("%s: not decoded: %v", op, err)
					continue
				}
				if err != nil {
					if _, ok := errors.AsType[awsapi.Error](err); !ok {
						t.Errorf("%s: refused without a modelled error: %v", op, err)
					}
					refused++
				}
				want, got := fillers(wire+bucket), fillers(texts(in))
				if !slices.Equal(want, got) {
					t.Errorf("%s: values on the wire %v, decoded %v", op, want, got)
					continue
				}
				decoded++
			}
			t.Logf("%d of %d requests routed and decoded whole, %d of them refused by a constraint", decoded, len(files), refused)
			if decoded < s.snapshots {
				t.Errorf("%d requests decoded, were %d", decoded, s.snapshots)
			}
		})
	}
}

var filler = regexp.MustCompile(`__[A-Za-z0-9]+__`)

func fillers(s string) []string {
	found := filler.FindAllString(s, -1)
	slices.Sort(found)
	return found
}

// readSnapshot parses "METHOD TARGET", a blank line, headers, a blank line and
// the body; and returns what carries values as one text.
func readSnapshot(t *testing.T, file string) (*http.Request, string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	method, target, _ := strings.Cut(strings.TrimSpace(first), " ")
	head, body, _ := strings.Cut(strings.TrimLeft(rest, "\n"), "\n\n")
	if !strings.Contains(head, ": ") {
		head, body = "", strings.TrimLeft(rest, "\n")
	}
	raw := method + " " + target + " HTTP/1.1\r\nHost: aws\r\n" + strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	r.Body = io.NopCloser(bytes.NewReader([]byte(body)))
	r.ContentLength = int64(len(body))
	return r, target + "\n" + head + "\n" + body
}

// moduleDir is where the module cache keeps an SDK module.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/"+module).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.TrimSpace(string(out))
}
