package sigv4

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	maxChunkLine   = 256  // bytes of a chunk's head line
	maxTrailerLine = 2048 // bytes of one trailer line
	maxTrailers    = 16
	minChunk       = 8192 // S3's least size of a chunk that is not the last
	chunkBuffer    = 32 << 10
)

// chunkSigner makes the signatures of chunks, each of which covers the one
// before.
type chunkSigner struct {
	family      Family
	accessKeyID string
	key         [sha256.Size]byte
	scope       Scope
	at          string
	previous    string
}

// chunkToSign is the string to sign of a chunk.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
func (s *chunkSigner) chunkToSign(hash string) string {
	return algorithm + "-PAYLOAD\n" + s.at + "\n" + s.scope.String() + "\n" + s.previous + "\n" + EmptyPayload + "\n" + hash
}

// trailerToSign is the string to sign of the trailers.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
func (s *chunkSigner) trailerToSign(hash string) string {
	return algorithm + "-TRAILER\n" + s.at + "\n" + s.scope.String() + "\n" + s.previous + "\n" + hash
}

// check verifies a signature, which becomes the previous one.
func (s *chunkSigner) check(toSign, claimed string) error {
	if !equal(sum(s.key[:], toSign), claimed) {
		return s.family.mismatch(s.accessKeyID, claimed, "", toSign)
	}
	s.previous = claimed
	return nil
}

// chunkReader takes the aws-chunked framing off a body.
type chunkReader struct {
	body    io.Closer
	in      *bufio.Reader
	payload payload
	signer  chunkSigner
	request *http.Request // gets the trailers

	started   bool
	left      int64 // of the current chunk
	size      int64 // of the current chunk
	total     int64 // of all chunks begun
	number    int
	short     bool // the current chunk is smaller than only the last may be
	hash      hash.Hash
	signature string // of the current chunk
	err       error
}

func newChunkReader(body io.ReadCloser, p payload, s chunkSigner, r *http.Request) *chunkReader {
	c := &chunkReader{body: body, in: bufio.NewReaderSize(body, chunkBuffer), payload: p, signer: s, request: r}
	if p.signed {
		c.hash = sha256.New()
	}
	return c
}

func (c *chunkReader) Close() error { return c.body.Close() }

func (c *chunkReader) Read(p []byte) (int, error) {
	for c.err == nil {
		if c.left > 0 {
			if len(p) == 0 {
				return 0, nil
			}
			if int64(len(p)) > c.left {
				p = p[:c.left]
			}
			n, err := c.in.Read(p)
			if c.hash != nil {
				c.hash.Write(p[:n])
			}
			if c.left -= int64(n); err != nil {
				c.err = cut(err)
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		if c.started {
			c.err = c.endChunk()
		}
		if c.err == nil {
			c.err = c.nextChunk()
		}
	}
	return 0, c.err
}

// cut tells a body that ends too early from one that cannot be read.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return incomplete()
	}
	return err
}

func incomplete() *Error {
	return s3Error(http.StatusBadRequest, "IncompleteBody", "The request body terminated unexpectedly")
}

// line reads up to and without CRLF (or LF) and fails beyond limit.
func (c *chunkReader) line(limit int) (string, error) {
	b, err := c.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return "", cut(err)
	}
	if err != nil || len(b) > limit {
		return "", incomplete()
	}
	return strings.TrimSuffix(string(b[:len(b)-1]), "\r"), nil
}

// nextChunk reads a chunk's head. After the last chunk it reads what follows
// and returns io.EOF.
func (c *chunkReader) nextChunk() error {
	line, err := c.line(maxChunkLine)
	if err != nil {
		return err
	}
	size, extension, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(size, 16, 63)
	if err != nil {
		return incomplete()
	}
	if c.payload.signed {
		var ok bool
		if c.signature, ok = strings.CutPrefix(extension, "chunk-signature="); !ok {
			return incomplete()
		}
		c.hash.Reset()
	} else if extension != "" {
		return incomplete()
	}
	if n > 0 && c.short {
		return s3Error(http.StatusForbidden, "InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes",
			"Chunk", strconv.Itoa(c.number), "BadChunkSize", strconv.FormatInt(c.size, 10))
	}
	c.started, c.left, c.size, c.short = true, int64(n), int64(n), n < minChunk
	c.number++
	if c.left > c.payload.length-c.total {
		return incomplete()
	}
	c.total += c.left
	if n == 0 {
		return c.end()
	}
	return nil
}

// endChunk reads the line end after a chunk's data and checks its signature.
func (c *chunkReader) endChunk() error {
	var crlf [2]byte
	if _, err := io.ReadFull(c.in, crlf[:]); err != nil {
		return cut(err)
	}
	if crlf != [2]byte{'\r', '\n'} {
		return incomplete()
	}
	return c.checkChunk()
}

func (c *chunkReader) checkChunk() error {
	if !c.payload.signed {
		return nil
	}
	return c.signer.check(c.signer.chunkToSign(hex.EncodeToString(c.hash.Sum(nil))), c.signature)
}

// end checks all that comes with and after the last chunk: its signature, the
// decoded length, the trailers, and that nothing follows.
func (c *chunkReader) end() error {
	if err := c.checkChunk(); err != nil {
		return err
	}
	if c.total != c.payload.length {
		return s3Error(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header.")
	}
	trailers := http.Header{}
	if len(c.payload.trailers) > 0 {
		if err := c.readTrailers(trailers); err != nil {
			return err
		}
	} else if line, err := c.line(2); err != nil || line != "" {
		return incomplete()
	}
	if _, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		if err == nil {
			return incomplete()
		}
		return cut(err)
	}
	c.request.Trailer = trailers
	return io.EOF
}

// readTrailers reads the trailers and, for signed payloads, the signature over
// them. Only those that x-amz-trailer has announced are taken, each once.
func (c *chunkReader) readTrailers(trailers http.Header) error {
	malformed := s3Error(http.StatusBadRequest, "MalformedTrailerError",
		"The request contained trailing data that was not well-formed or did not conform to our published schema.")
	var signed []byte
	var signature string
	blank := false
	for range 2*maxTrailers + 3 {
		line, err := c.line(maxTrailerLine)
		if err != nil {
			return err
		}
		if line == "" {
			// some clients end the trailers with a blank line and then sign them
			if c.payload.signed && signature == "" && !blank {
				blank = true
				continue
			}
			if len(trailers) != len(c.payload.trailers) || c.payload.signed && signature == "" {
				return malformed
			}
			if !c.payload.signed {
				return nil
			}
			return c.signer.check(c.signer.trailerToSign(hashHex(signed)), signature)
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(name), strings.TrimSpace(value)
		switch {
		case !ok || signature != "":
			return malformed
		case name == "x-amz-trailer-signature" && c.payload.signed:
			signature = value
		case blank || !slices.Contains(c.payload.trailers, name) || trailers.Get(name) != "" || value == "":
			return malformed
		default:
			signed = append(append(append(append(signed, name...), ':'), value...), '\n')
			trailers.Set(name, value)
		}
	}
	return malformed
}
