package sigv4

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// wire writes a request as a client sends it.
func wire(r *http.Request) []byte {
	body, _ := io.ReadAll(r.Body)
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: %s\r\n", name, r.Header.Get(name))
	}
	if len(body) > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// receive verifies a request off the wire. What it returns is all that a
// service may look at, in a form that is equal only if the meaning is.
func receive(v *Verifier, raw []byte, target Target) (meaning string, err error) {
	in := bytes.NewReader(raw)
	r, err := http.ReadRequest(bufio.NewReader(in))
	if err != nil {
		return "", err
	}
	if _, err := v.Verify(r, target); err != nil {
		return "", err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	path, query := rawTarget(r)
	if target.Family != S3 { // whose signature covers the path in its normal form
		path = cleanPath(path)
	}
	var segments []string
	for s := range strings.SplitSeq(path, "/") {
		segments = append(segments, unescape(s, false))
	}
	q := parseQuery(query)
	slices.SortFunc(q, func(a, b pair) int { return strings.Compare(a.key+"="+a.value, b.key+"="+b.value) })
	var headers []string
	for name, values := range r.Header {
		// A header that no service knows may come unsigned, and means nothing.
		if strings.HasPrefix(name, "X-Amz-") || slices.Contains([]string{"Content-Type", "Content-Encoding", "Content-Md5"}, name) {
			headers = append(headers, name+": "+string(appendCollapsed(nil, strings.Join(values, ","))))
		}
	}
	slices.Sort(headers)
	return fmt.Sprintf("%s %q %q %q %q %q %q", r.Method, segments, q, r.Host, headers, body, r.Trailer), nil
}

// samples are signed requests of every kind in which each byte is covered by
// the signature.
func samples() map[string]struct {
	raw    []byte
	target Target
} {
	type sample = struct {
		raw    []byte
		target Target
	}
	presigned := request("GET", "/b/key%20with%20blanks?versionId=3&x=%2B", "", "Host: localhost:4566")
	presigned.RequestURI = Presign(presigned, docCredentials, "s3", "us-east-1", docTime, time.Hour).RequestURI()
	put := request("PUT", "/b/%E1%88%B4/k+k?partNumber=1&uploadId=a%2Fb", "hello", "Host: b.s3.localhost", "X-Amz-Meta-A: some  words", "Content-Type: image/png")
	Sign(put, docCredentials, "s3", "us-east-1", docTime, hashHex([]byte("hello")))
	return map[string]sample{
		"header":            {wire(signed(families["restjson"], docTime, docCredentials)), families["restjson"]},
		"query protocol":    {wire(signed(families["query"], docTime, docCredentials)), families["query"]},
		"s3 hash":           {wire(put), s3Target},
		"s3 presigned":      {wire(presigned), s3Target},
		"s3 chunks":         {wire(chunkedPut(StreamingPayload, []byte("hello"), 8192)), s3Target},
		"s3 chunks+trailer": {wire(chunkedPut(StreamingPayloadTrailer, []byte("hello"), 8192, "x-amz-checksum-crc32:AAAAAA==")), s3Target},
	}
}

// TestMutation_everyByte changes each byte of each sample in several ways.
// What is accepted all the same must mean the same.
func TestMutation_everyByte(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, docTime)
			want, err := receive(v, s.raw, s.target)
			if err != nil {
				t.Fatal(err)
			}
			refused := 0
			for i := range s.raw {
				for _, change := range []func(byte) byte{
					func(c byte) byte { return c ^ 1 },
					func(c byte) byte { return c ^ 0x20 },
					func(c byte) byte { return c ^ 0x80 },
					func(byte) byte { return '/' },
					func(byte) byte { return '+' },
				} {
					raw := slices.Clone(s.raw)
					if raw[i] = change(raw[i]); raw[i] == s.raw[i] {
						continue
					}
					got, err := receive(v, raw, s.target)
					if err != nil {
						refused++
					} else if got != want {
						t.Fatalf("byte %d: %q became %q and was accepted as\n%s", i, s.raw[i], raw[i], got)
					}
				}
			}
			if refused < 4*len(s.raw) {
				t.Errorf("only %d of about %d changes were refused", refused, 5*len(s.raw))
			}
		})
	}
}

// TestMutation_edits removes, repeats and swaps pieces of a request.
func TestMutation_edits(t *testing.T) {
	all := samples()
	names := make([]string, 0, len(all))
	wants := map[string]string{}
	v := newVerifier(t, docTime)
	for name, s := range all {
		names = append(names, name)
		want, err := receive(v, s.raw, s.target)
		if err != nil {
			t.Fatal(err)
		}
		wants[name] = want
	}
	slices.Sort(names)
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(names).Draw(rt, "sample")
		s := all[name]
		raw := slices.Clone(s.raw)
		for range rapid.IntRange(1, 3).Draw(rt, "edits") {
			i := rapid.IntRange(0, len(raw)-1).Draw(rt, "from")
			j := min(len(raw), i+rapid.IntRange(1, 40).Draw(rt, "length"))
			switch rapid.IntRange(0, 2).Draw(rt, "kind") {
			case 0:
				raw = slices.Delete(raw, i, j)
			case 1:
				raw = slices.Insert(raw, j, slices.Clone(raw[i:j])...)
			case 2:
				raw[i] = rapid.Byte().Draw(rt, "byte")
			}
			if len(raw) == 0 {
				return
			}
		}
		if got, err := receive(v, raw, s.target); err == nil && got != wants[name] {
			rt.Fatalf("accepted:\n%q\nas %s", raw, got)
		}
	})
}

// FuzzVerify looks for panics and for forged requests.
func FuzzVerify(f *testing.F) {
	meant := map[string]bool{}
	all := samples()
	v := newVerifier(f, docTime)
	for _, s := range all {
		m, err := receive(v, s.raw, s.target)
		if err != nil {
			f.Fatal(err)
		}
		meant[m] = true
		f.Add(s.raw)
	}
	f.Add(wire(documentedTrailers()))
	f.Add([]byte("GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires= HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, target := range families {
			if m, err := receive(v, raw, target); err == nil && !meant[m] {
				t.Fatalf("forged: %s", m)
			}
		}
		if r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw))); err == nil {
			Peek(r)
		}
	})
}

// FuzzChunks feeds the reader of aws-chunked bodies.
func FuzzChunks(f *testing.F) {
	f.Add(chunked([]byte("hello"), 8192, nil, "x-amz-checksum-crc32:AAAAAA=="), false)
	f.Add("5;chunk-signature=0\r\nhello\r\n0;chunk-signature=0\r\n\r\n", true)
	f.Fuzz(func(t *testing.T, body string, sign bool) {
		r := &http.Request{Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
		p := payload{hash: StreamingUnsignedTrailer, chunked: true, signed: sign, length: 5, trailers: []string{"x-amz-checksum-crc32"}}
		p.wrap(r, chunkSigner{family: S3})
		got, err := io.ReadAll(r.Body)
		if len(got) > 5 || err == nil && (len(got) != 5 || len(r.Trailer) != 1 || sign) {
			t.Fatalf("%q: %q, %v, %v", body, got, err, r.Trailer)
		}
	})
}
