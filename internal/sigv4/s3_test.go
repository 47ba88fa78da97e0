package sigv4

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The worked examples of the S3 documentation.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
const (
	docKey    = "AKIAIOSFODNN7EXAMPLE"
	docSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

var docTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func newVerifier(t testing.TB, now time.Time) *Verifier {
	t.Helper()
	v, err := New(Config{Keys: staticKeys{docKey, docSecret, ""}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// request builds a server's request; a host line sets Host.
func request(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RequestURI = target
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if strings.EqualFold(name, "host") {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	return r
}

var s3Target = Target{Service: "s3", Family: S3}

func TestS3_DocumentedRequests(t *testing.T) {
	const scope = "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
	for _, tc := range []struct {
		name string
		r    *http.Request
	}{
		{"get a range", request("GET", "/test.txt", "", "Host: examplebucket.s3.amazonaws.com", "Range: bytes=0-9",
			"x-amz-content-sha256: "+EmptyPayload, "x-amz-date: 20130524T000000Z",
			"Authorization: AWS4-HMAC-SHA256 "+scope+"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")},
		{"put with Date only", request("PUT", "/test%24file.text", "Welcome to Amazon S3.", "Host: examplebucket.s3.amazonaws.com",
			"Date: Fri, 24 May 2013 00:00:00 GMT", "x-amz-date: 20130524T000000Z", "x-amz-storage-class: REDUCED_REDUNDANCY",
			"x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			"Authorization: AWS4-HMAC-SHA256 "+scope+"SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")},
		{"get bucket lifecycle", request("GET", "/?lifecycle", "", "Host: examplebucket.s3.amazonaws.com",
			"x-amz-content-sha256: "+EmptyPayload, "x-amz-date: 20130524T000000Z",
			"Authorization: AWS4-HMAC-SHA256 "+scope+"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")},
		{"list objects", request("GET", "/?max-keys=2&prefix=J", "", "Host: examplebucket.s3.amazonaws.com",
			"x-amz-content-sha256: "+EmptyPayload, "x-amz-date: 20130524T000000Z",
			"Authorization: AWS4-HMAC-SHA256 "+scope+"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")},
		{"presigned", request("GET", "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", "",
			"Host: examplebucket.s3.amazonaws.com")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id, err := newVerifier(t, docTime).Verify(tc.r, s3Target)
			if err != nil {
				t.Fatal(err)
			}
			if id.AccessKeyID != docKey || id.Scope != (Scope{"20130524", "us-east-1", "s3"}) {
				t.Fatalf("identity %+v", id)
			}
			if _, err := io.ReadAll(tc.r.Body); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
func documentedChunks() *http.Request {
	a := strings.Repeat("a", 65536)
	body := "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + a + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + a[:1024] + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
	return request("PUT", "/examplebucket/chunkObject.txt", body, "Host: s3.amazonaws.com", "x-amz-date: 20130524T000000Z",
		"x-amz-storage-class: REDUCED_REDUNDANCY", "x-amz-content-sha256: "+StreamingPayload, "Content-Encoding: aws-chunked", "x-amz-decoded-content-length: 66560",
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
}

// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
func documentedTrailers() *http.Request {
	a := strings.Repeat("a", 65536)
	body := "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + a + "\r\n" +
		"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + a[:1024] + "\r\n" +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\r\n" +
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	return request("PUT", "/examplebucket/chunkObject.txt", body, "Host: s3.amazonaws.com", "x-amz-date: 20130524T000000Z",
		"x-amz-storage-class: REDUCED_REDUNDANCY", "x-amz-content-sha256: "+StreamingPayloadTrailer, "Content-Encoding: aws-chunked,gzip", "x-amz-decoded-content-length: 66560",
		"x-amz-trailer: x-amz-checksum-crc32c")
}

func TestS3_DocumentedChunks(t *testing.T) {
	r := documentedChunks()
	if _, err := newVerifier(t, docTime).Verify(r, s3Target); err != nil {
		t.Fatal(err)
	}
	if r.ContentLength != 66560 || r.Header.Get("Content-Encoding") != "" {
		t.Errorf("length %d, encoding %q", r.ContentLength, r.Header.Get("Content-Encoding"))
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != strings.Repeat("a", 66560) {
		t.Errorf("body of %d bytes differs", len(b))
	}
}

// The seed signature of the documented trailer example does not follow from
// the headers that it shows, so its chunks are checked from the seed on.
func TestS3_DocumentedTrailers(t *testing.T) {
	r := documentedTrailers()
	scope := Scope{"20130524", "us-east-1", "s3"}
	p, refusal := s3Payload(r, &claim{}, nil)
	if refusal != nil {
		t.Fatal(refusal)
	}
	p.wrap(r, chunkSigner{
		family: S3, key: signingKey(docSecret, scope), scope: scope, at: "20130524T000000Z",
		previous: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
	})
	b, err := io.ReadAll(r.Body)
	if err != nil || string(b) != strings.Repeat("a", 66560) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if got := r.Trailer.Get("x-amz-checksum-crc32c"); got != "sOO8/Q==" {
		t.Errorf("trailer %q", got)
	}
	if got := r.Header.Get("Content-Encoding"); got != "gzip" {
		t.Errorf("encoding %q", got)
	}
}

// chunked frames body as a client would and signs it where signer is given.
func chunked(body []byte, size int, s *chunkSigner, trailers ...string) string {
	var b strings.Builder
	piece := func(data []byte) {
		fmt.Fprintf(&b, "%x", len(data))
		if s != nil {
			h := sha256.Sum256(data)
			s.previous = sign(s.key, s.chunkToSign(fmt.Sprintf("%x", h)))
			b.WriteString(";chunk-signature=" + s.previous)
		}
		b.WriteString("\r\n")
		b.Write(data)
		if len(data) > 0 {
			b.WriteString("\r\n")
		}
	}
	for len(body) > 0 {
		n := min(size, len(body))
		piece(body[:n])
		body = body[n:]
	}
	piece(nil)
	var signed strings.Builder
	for _, t := range trailers {
		b.WriteString(t + "\r\n")
		signed.WriteString(t + "\n")
	}
	if s != nil && len(trailers) > 0 {
		b.WriteString("x-amz-trailer-signature:" + sign(s.key, s.trailerToSign(hashHex([]byte(signed.String())))) + "\r\n")
	}
	return b.String() + "\r\n"
}

// chunkedPut is a signed upload of body in chunks of size.
func chunkedPut(mode string, body []byte, size int, trailers ...string) *http.Request {
	r := request("PUT", "/b/k", "", "Host: localhost", "Content-Encoding: aws-chunked", fmt.Sprintf("x-amz-decoded-content-length: %d", len(body)))
	for _, t := range trailers {
		name, _, _ := strings.Cut(t, ":")
		r.Header.Add("X-Amz-Trailer", name)
	}
	Sign(r, Credentials{AccessKeyID: docKey, SecretAccessKey: docSecret}, "s3", "us-east-1", docTime, mode)
	var signer *chunkSigner
	if mode != StreamingUnsignedTrailer {
		_, seed, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
		scope := Scope{"20130524", "us-east-1", "s3"}
		signer = &chunkSigner{key: signingKey(docSecret, scope), scope: scope, at: "20130524T000000Z", previous: seed}
	}
	framed := chunked(body, size, signer, trailers...)
	r.Body = io.NopCloser(strings.NewReader(framed))
	r.ContentLength = int64(len(framed))
	return r
}

func TestS3_ChunkedRoundTrip(t *testing.T) {
	for _, mode := range []string{StreamingPayload, StreamingPayloadTrailer, StreamingUnsignedTrailer} {
		for _, n := range []int{0, 1, 8191, 8192, 8193, 100_000} {
			t.Run(fmt.Sprintf("%s/%d", mode, n), func(t *testing.T) {
				var trailers []string
				if mode != StreamingPayload {
					trailers = []string{"x-amz-checksum-crc32:AAAAAA==", "x-amz-checksum-sha1:QUJD"}
				}
				body := bytes.Repeat([]byte("x"), n)
				r := chunkedPut(mode, body, 8192, trailers...)
				if _, err := newVerifier(t, docTime).Verify(r, s3Target); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
				if err != nil || !bytes.Equal(got, body) || r.ContentLength != int64(n) {
					t.Fatalf("%d bytes, %v, length %d", len(got), err, r.ContentLength)
				}
				if mode != StreamingPayload && (len(r.Trailer) != 2 || r.Trailer.Get("x-amz-checksum-sha1") != "QUJD") {
					t.Errorf("trailers %v", r.Trailer)
				}
				if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("read after the end: %v", err)
				}
			})
		}
	}
}

// readError verifies r, reads its body and returns the code of what failed.
func readError(t testing.TB, r *http.Request, target Target, now time.Time) string {
	t.Helper()
	_, err := newVerifier(t, now).Verify(r, target)
	if err == nil {
		_, err = io.ReadAll(r.Body)
	}
	if err == nil {
		return ""
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("not a modelled error: %v", err)
	}
	return e.Code
}

func TestS3_BodyRefused(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 20_000)
	edit := func(mode, from, to string, trailers ...string) *http.Request {
		r := chunkedPut(mode, body, 8192, trailers...)
		framed, _ := io.ReadAll(r.Body)
		changed := strings.Replace(string(framed), from, to, 1)
		if changed == string(framed) {
			t.Fatalf("%q is not in the body", from)
		}
		r.Body = io.NopCloser(strings.NewReader(changed))
		return r
	}
	plain := func(hash, body string) *http.Request {
		r := request("PUT", "/b/k", body, "Host: localhost")
		Sign(r, Credentials{AccessKeyID: docKey, SecretAccessKey: docSecret}, "s3", "us-east-1", docTime, hash)
		return r
	}
	const crc = "x-amz-checksum-crc32:AAAAAA=="
	noLength := plain(StreamingPayload, "")
	for _, tc := range []struct {
		name string
		r    *http.Request
		code string
	}{
		{"hash of another body", plain(hashHex([]byte("a")), "b"), "XAmzContentSHA256Mismatch"},
		{"hash that is none", plain("abc", "b"), "InvalidArgument"},
		{"no decoded length", noLength, "MissingContentLength"},
		{"SigV4a chunks", plain("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", ""), "NotImplemented"},
		{"trailer mode without trailers", plain(StreamingPayloadTrailer, ""), "InvalidRequest"},
		{"a trailer that is no checksum", chunkedPut(StreamingUnsignedTrailer, body, 8192, "x-amz-meta-a:b"), "InvalidRequest"},
		{"data changed", edit(StreamingPayload, "xxx", "xyx"), "SignatureDoesNotMatch"},
		{"chunk signature changed", edit(StreamingPayload, "chunk-signature=", "chunk-signature=0"), "SignatureDoesNotMatch"},
		{"chunk signature missing", edit(StreamingPayload, ";chunk-signature=", ";chunk-sig="), "IncompleteBody"},
		{"size changed", edit(StreamingPayload, "2000;", "2001;"), "IncompleteBody"},
		{"size not hex", edit(StreamingPayload, "2000;", "-2000;"), "IncompleteBody"},
		{"size beyond the decoded length", edit(StreamingUnsignedTrailer, "2000\r\n", "7fffffffffffffff\r\n", crc), "IncompleteBody"},
		{"line without end", edit(StreamingPayload, "2000;", "2000;"+strings.Repeat("a", 300)), "IncompleteBody"},
		{"more after the end", edit(StreamingUnsignedTrailer, "AAAAAA==\r\n\r\n", "AAAAAA==\r\n\r\nmore", crc), "IncompleteBody"},
		{"cut off", edit(StreamingUnsignedTrailer, crc+"\r\n\r\n", "", crc), "IncompleteBody"},
		{"trailer not announced", edit(StreamingUnsignedTrailer, "crc32:", "crc32c:", crc), "MalformedTrailerError"},
		{"trailer twice", edit(StreamingUnsignedTrailer, crc, crc+"\r\n"+crc, crc), "MalformedTrailerError"},
		{"trailer missing", edit(StreamingUnsignedTrailer, crc+"\r\n", "", crc), "MalformedTrailerError"},
		{"trailer changed", edit(StreamingPayloadTrailer, "AAAAAA==", "AAAAAB==", crc), "SignatureDoesNotMatch"},
		{"trailer signature missing", edit(StreamingPayloadTrailer, "x-amz-trailer-signature:", "x-amz-other:", crc), "MalformedTrailerError"},
		{"small chunk in the middle", chunkedPut(StreamingUnsignedTrailer, body, 8191, crc), "InvalidChunkSizeError"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := readError(t, tc.r, s3Target, docTime); got != tc.code {
				t.Errorf("code %q, want %q", got, tc.code)
			}
		})
	}
}

func TestS3_DecodedLengthMustBeMet(t *testing.T) {
	r := chunkedPut(StreamingUnsignedTrailer, []byte("hello"), 8192, "x-amz-checksum-crc32:AAAAAA==")
	r.Header.Set("X-Amz-Decoded-Content-Length", "6")
	Sign(r, Credentials{AccessKeyID: docKey, SecretAccessKey: docSecret}, "s3", "us-east-1", docTime, StreamingUnsignedTrailer)
	if got := readError(t, r, s3Target, docTime); got != "IncompleteBody" {
		t.Errorf("code %q", got)
	}
}

func TestS3_Anonymous(t *testing.T) {
	v := newVerifier(t, docTime)
	r := request("GET", "/b/k", "")
	if _, err := v.Verify(r, s3Target); err == nil || err.(*Error).Code != "AccessDenied" {
		t.Errorf("anonymous where not allowed: %v", err)
	}
	id, err := v.Verify(r, Target{Service: "s3", Family: S3, AllowAnonymous: true})
	if err != nil || !id.Anonymous {
		t.Errorf("%+v, %v", id, err)
	}
	signed := chunkedPut(StreamingPayload, []byte("hello"), 8192)
	signed.Header.Del("Authorization")
	if _, err := v.Verify(signed, Target{Service: "s3", Family: S3, AllowAnonymous: true}); err == nil {
		t.Error("signed chunks without a signature were accepted")
	}
}

// TestS3_HTTPTrailers: what comes after a body of HTTP's own chunks is not
// signed, so no service sees it.
func TestS3_HTTPTrailers(t *testing.T) {
	for _, mode := range []string{UnsignedPayload, hashHex([]byte("hello"))} {
		r := request("PUT", "/b/k", "", "Host: localhost")
		Sign(r, docCredentials, "s3", "us-east-1", docTime, mode)
		var b strings.Builder
		fmt.Fprintf(&b, "PUT /b/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Amz-Checksum-Crc32\r\n")
		for name, values := range r.Header {
			fmt.Fprintf(&b, "%s: %s\r\n", name, values[0])
		}
		b.WriteString("\r\n5\r\nhello\r\n0\r\nX-Amz-Checksum-Crc32: AAAAAA==\r\nX-Amz-Other: x\r\n\r\n")
		in, err := http.ReadRequest(bufio.NewReader(strings.NewReader(b.String())))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newVerifier(t, docTime).Verify(in, s3Target); err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(in.Body); err != nil || string(body) != "hello" {
			t.Errorf("body %q, %v", body, err)
		}
		if len(in.Trailer) != 0 {
			t.Errorf("%s: trailers %v", mode, in.Trailer)
		}
	}
}

func TestSecrets_areNotPrinted(t *testing.T) {
	for _, v := range []any{docCredentials, Credential{SecretAccessKey: docSecret}} {
		var b strings.Builder
		slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
		if out := fmt.Sprintf("%v %+v %s", v, v, b.String()); strings.Contains(out, docSecret) {
			t.Errorf("printed: %s", out)
		}
	}
}
