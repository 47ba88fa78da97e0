package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Buffered is a request body that is in memory as a whole.
type Buffered struct {
	bytes.Reader
	data []byte
}

// Bytes returns the whole body, read or not. It must not be changed.
func (b *Buffered) Bytes() []byte { return b.data }

// Close does nothing.
func (b *Buffered) Close() error { return nil }

// bufferBody reads the body into memory, replaces it with a *Buffered and
// returns its hash.
func bufferBody(r *http.Request, t Target) (string, error) {
	var data []byte
	if r.Body != nil && r.Body != http.NoBody {
		tooLarge := &Error{
			Status: http.StatusRequestEntityTooLarge, Code: t.Family.pick("", "RequestEntityTooLarge", "RequestEntityTooLargeException"),
			Message: "Request must be smaller than " + strconv.FormatInt(t.MaxBody, 10) + " bytes",
		}
		if r.ContentLength > t.MaxBody {
			return "", tooLarge
		}
		// A declared length is trusted for a megabyte; beyond that memory
		// follows what really arrives.
		var buf bytes.Buffer
		buf.Grow(int(min(max(r.ContentLength, 0), 1<<20)) + bytes.MinRead)
		if _, err := buf.ReadFrom(io.LimitReader(r.Body, t.MaxBody+1)); err != nil {
			return "", fmt.Errorf("read request body: %w", err)
		}
		if data = buf.Bytes(); int64(len(data)) > t.MaxBody {
			return "", tooLarge
		}
	}
	b := &Buffered{data: data}
	b.Reset(data)
	r.Body, r.ContentLength = b, int64(len(data))
	return hashHex(data), nil
}

// payload is how an S3 request's body is protected.
type payload struct {
	hash     string // last line of the canonical request
	chunked  bool   // aws-chunked framing
	signed   bool   // each chunk carries a signature
	trailers []string
	length   int64 // of the decoded body, when chunked
}

// s3Payload reads how the body of an S3 request is protected. A nil claim is
// an anonymous request.
func s3Payload(r *http.Request, c *claim, query []pair) (payload, *Error) {
	p := payload{hash: r.Header.Get("X-Amz-Content-Sha256")}
	if p.hash == "" && c != nil && c.presigned {
		for _, q := range query {
			if q.key == queryPayload {
				p.hash = q.value
			}
		}
	}
	if p.hash == "" {
		if c != nil && !c.presigned {
			return p, s3Error(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
		}
		p.hash = UnsignedPayload
	}
	switch p.hash {
	case UnsignedPayload:
		return p, nil
	case StreamingPayload:
		p.chunked, p.signed = true, true
	case StreamingPayloadTrailer, StreamingUnsignedTrailer:
		p.chunked, p.signed = true, p.hash == StreamingPayloadTrailer
		for _, line := range r.Header["X-Amz-Trailer"] {
			for name := range strings.SplitSeq(line, ",") {
				if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
					p.trailers = append(p.trailers, name)
				}
			}
		}
		other := func(name string) bool { return !strings.HasPrefix(name, "x-amz-checksum-") }
		if len(p.trailers) == 0 || len(p.trailers) > maxTrailers || slices.ContainsFunc(p.trailers, other) {
			return p, s3Error(http.StatusBadRequest, "InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
		}
	default:
		if strings.HasPrefix(p.hash, "STREAMING-"+algorithmV4a) {
			return p, s3Error(http.StatusNotImplemented, "NotImplemented", "Payloads of the kind "+p.hash+" (SigV4a) are not implemented.")
		}
		if _, err := hex.DecodeString(p.hash); err != nil || len(p.hash) != 2*sha256.Size {
			return p, s3Error(http.StatusBadRequest, "InvalidArgument",
				"x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "+
					"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, "+
					"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
				"ArgumentName", "x-amz-content-sha256", "ArgumentValue", p.hash)
		}
		return p, nil
	}
	if p.signed && c == nil {
		return p, S3.missingToken()
	}
	n, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || n < 0 || len(r.Header["X-Amz-Decoded-Content-Length"]) != 1 {
		return p, s3Error(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
	}
	p.length = n
	return p, nil
}

// wrap makes the request's body check itself.
func (p payload) wrap(r *http.Request, signer chunkSigner) {
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	switch {
	case p.chunked:
		r.Body = newChunkReader(body, p, signer, r)
		r.ContentLength = p.length
		r.Trailer = nil // filled at the end; those of HTTP itself are not signed
		stripChunkedCoding(r.Header)
	case p.hash == UnsignedPayload:
		r.Body = &plainReader{body: body, request: r}
	default:
		r.Body = &plainReader{body: body, request: r, hash: sha256.New(), want: p.hash}
	}
}

// stripChunkedCoding removes aws-chunked from Content-Encoding: it is framing,
// not a property of the object.
func stripChunkedCoding(h http.Header) {
	var keep []string
	for _, line := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "aws-chunked") {
				keep = append(keep, coding)
			}
		}
	}
	if len(keep) == 0 {
		h.Del("Content-Encoding")
		return
	}
	h.Set("Content-Encoding", strings.Join(keep, ","))
}

// plainReader passes a body through. At its end it fails if the hash is not the
// one that was signed, and drops the trailers of HTTP itself: nobody signed them.
type plainReader struct {
	body    io.ReadCloser
	request *http.Request
	hash    hash.Hash // nil: the body is not signed
	want    string
	err     error
}

func (p *plainReader) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.body.Read(b)
	if p.hash != nil {
		p.hash.Write(b[:n])
	}
	if errors.Is(err, io.EOF) {
		err = p.end()
	}
	p.err = err
	return n, err
}

func (p *plainReader) end() error {
	p.request.Trailer = nil
	if p.hash == nil {
		return io.EOF
	}
	// The hash was signed as it was sent; hex has two cases.
	if got := hex.EncodeToString(p.hash.Sum(nil)); !strings.EqualFold(got, p.want) {
		return s3Error(http.StatusBadRequest, "XAmzContentSHA256Mismatch",
			"The provided 'x-amz-content-sha256' header does not match what was computed.",
			"ClientComputedContentSHA256", p.want, "S3ComputedContentSHA256", got)
	}
	return io.EOF
}

func (p *plainReader) Close() error { return p.body.Close() }
