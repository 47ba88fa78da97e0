package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"davy/internal/awsapi"
	"davy/internal/blob"
)

const (
	maxInline  = 16 << 10 // larger bodies become blobs
	maxBody    = 5 << 30  // of one PUT or part
	chunkSize  = 256 << 10
	chunkQueue = 8 // about what is read and written while MD5 falls behind
)

// upload describes a body that a client sends and what it claims about it.
type upload struct {
	body     io.Reader
	length   *int64    // Content-Length, decoded
	md5      string    // Content-MD5
	sums     []string  // x-amz-checksum-*, in the order of algorithms; empty: not sent
	declared string    // x-amz-sdk-checksum-algorithm
	also     algorithm // to compute besides
	local    bool      // the bytes are the server's own, not the request's
}

// stored is a body that was read to its end and verified.
type stored struct {
	size   int64
	md5    []byte
	sum    checksum // what the client sent, or CRC64NVME
	also   checksum // of upload.also
	inline []byte   // when blob is empty
	blob   blob.ID  // durable, in s.pending until settled
}

// ingest reads a body, hashing while it writes, and verifies it. On success
// the caller must call s.settle.
func (s *Service) ingest(ctx context.Context, u upload) (stored, error) {
	call := awsapi.CallFrom(ctx)
	if u.local {
		call = &awsapi.Call{}
	}
	want, err := u.expected(call)
	if err != nil {
		return stored{}, err
	}
	length := int64(-1)
	if u.length != nil {
		length = *u.length
	}
	if r := call.Request; r != nil {
		if v := r.Header.Get("X-Amz-Decoded-Content-Length"); v != "" {
			if length, err = strconv.ParseInt(v, 10, 64); err != nil || length < 0 {
				return stored{}, errInvalidArgument("x-amz-decoded-content-length", v, "The value of x-amz-decoded-content-length is not valid.")
			}
		} else if length < 0 && r.ContentLength < 0 {
			return stored{}, fault(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
		}
	}
	if length > maxBody {
		return stored{}, errEntityTooLarge(length, maxBody)
	}

	d := newDigester(want.algorithm, u.also)
	out, err := s.absorb(ctx, u.body, length, d)
	if err != nil {
		return stored{}, err
	}
	if out.writer != nil {
		defer out.writer.Abort()
	}
	if length >= 0 && out.size != length {
		return stored{}, fault(http.StatusBadRequest, "IncompleteBody",
			"You did not provide the number of bytes specified by the Content-Length HTTP header",
			"ExpectedSize", strconv.FormatInt(length, 10), "ActualSize", strconv.FormatInt(out.size, 10))
	}
	got := stored{size: out.size, md5: d.md5.Sum(nil), inline: out.inline}
	if err := want.verify(call, got.md5, d, u); err != nil {
		return stored{}, err
	}
	if d.sum != nil {
		got.sum = checksum{Algorithm: want.algorithm, Value: encodeSum(d.sum)}
	}
	if u.also != "" {
		got.also = checksum{Algorithm: u.also, Value: encodeSum(d.hashOf(u.also))}
	}
	if out.writer != nil {
		if got.blob, err = out.writer.Commit(); err != nil {
			return stored{}, storageError("commit body", err)
		}
		s.pending.add(got.blob)
	}
	return got, nil
}

// settle ends the life of an ingested body outside the metadata. err is the
// outcome of the metadata's commit.
func (s *Service) settle(ctx context.Context, d stored, err error) {
	if d.blob == "" {
		return
	}
	s.pending.remove(d.blob)
	var known awsapi.Error
	if err != nil && errors.As(err, &known) {
		// Refused, so nothing names the blob. After any other error the
		// transaction may have happened: the collector decides.
		if derr := s.blobs.Delete(context.WithoutCancel(ctx), d.blob); derr != nil {
			s.log.WarnContext(ctx, "unused blob not deleted", "blob", string(d.blob), "error", derr)
		}
	}
}

// extentOf gives the body an owner. Small bodies become rows of the change.
func (c *change) extentOf(d stored) extent {
	switch {
	case d.size == 0:
		return extent{}
	case d.blob != "":
		return extent{Kind: inBlob, ID: string(d.blob), Owner: newID()}
	}
	e := extent{Kind: inBody, ID: newID()}
	c.op(spaceBody, e.ID, d.inline, 0)
	return e
}

type absorbed struct {
	size   int64
	inline []byte
	writer blob.Writer // nil: inline; not committed
}

// absorb reads body to its end, into memory while it is small. The end
// matters: it carries the verdict of a streamed signature and the trailers.
func (s *Service) absorb(ctx context.Context, body io.Reader, length int64, d *digester) (absorbed, error) {
	if body == nil {
		body = http.NoBody
	}
	room := maxInline + 1
	if length >= 0 && length < maxInline {
		room = int(length) + 1
	}
	head := make([]byte, room)
	n, ended, err := fill(body, head)
	if err != nil {
		return absorbed{}, bodyError(err)
	}
	if ended {
		d.write(head[:n])
		return absorbed{size: int64(n), inline: head[:n]}, nil
	}
	w, err := s.blobs.Create(ctx)
	if err != nil {
		return absorbed{}, storageError("create body", err)
	}
	size, err := pump(ctx, w, head, body, d)
	if err != nil {
		w.Abort()
		return absorbed{}, err
	}
	return absorbed{size: size, writer: w}, nil
}

// fill reads until p is full or the body ends.
func fill(r io.Reader, p []byte) (n int, ended bool, err error) {
	for n < len(p) && !ended {
		var m int
		m, err = r.Read(p[n:])
		n += m
		if ended = errors.Is(err, io.EOF); err != nil && !ended {
			return n, false, err
		}
	}
	return n, ended, nil
}

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// pump writes head and the rest of body to w. Hashing takes about as long as
// writing, so it runs beside it, and what it has left at the end beside the
// wait for the disk.
func pump(ctx context.Context, w blob.Writer, head []byte, body io.Reader, d *digester) (size int64, err error) {
	if _, err := w.Write(head); err != nil {
		return 0, storageError("write body", err)
	}
	d.write(head)
	size = int64(len(head))

	type filled struct {
		chunk *[chunkSize]byte
		n     int
	}
	toHash := make(chan filled, chunkQueue)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range toHash {
			d.write(f.chunk[:f.n])
			chunks.Put(f.chunk)
		}
	}()
	defer func() { <-done }()
	defer close(toHash)

	// Written in pieces that end where pages do.
	room := chunkSize - len(head)%chunkSize
	for ended := false; !ended; {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		chunk := chunks.Get().(*[chunkSize]byte)
		var n int
		if n, ended, err = fill(body, chunk[:room]); err != nil {
			return size, bodyError(err)
		}
		room = chunkSize
		if size += int64(n); size > maxBody {
			return size, errEntityTooLarge(-1, maxBody)
		}
		if _, err := w.Write(chunk[:n]); err != nil {
			return size, storageError("write body", err)
		}
		toHash <- filled{chunk, n}
	}
	return size, storageError("write body", w.Flush())
}

// bodyError says what a failed read of a request body means to the client.
func bodyError(err error) error {
	var known awsapi.Error
	if errors.As(err, &known) {
		return err // a wrong signature, an oversized body: said by the layer below
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fault(http.StatusBadRequest, "IncompleteBody",
			"You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	return fmt.Errorf("s3: read body: %w", err)
}

// digester computes what a body is verified and identified by.
type digester struct {
	md5  hash.Hash
	sum  hash.Hash // the client's algorithm; nil: none
	also hash.Hash // a second one; nil: none or the same

	algorithm algorithm
}

func newDigester(a, also algorithm) *digester {
	d := &digester{md5: md5.New(), algorithm: a}
	if a.known() {
		d.sum = a.new()
	}
	if also != "" && also != a {
		d.also = also.new()
	}
	return d
}

func (d *digester) write(p []byte) {
	d.md5.Write(p)
	if d.sum != nil {
		d.sum.Write(p)
	}
	if d.also != nil {
		d.also.Write(p)
	}
}

func (d *digester) hashOf(a algorithm) hash.Hash {
	if a == d.algorithm {
		return d.sum
	}
	return d.also
}

// expectation is what a client claims about its body.
type expectation struct {
	md5       []byte // nil: nothing
	algorithm algorithm
	claimed   bool   // the client named the algorithm
	value     string // empty while it is still to come in the trailer
}

// expected reads the claims from a request's headers.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
func (u *upload) expected(call *awsapi.Call) (expectation, error) {
	e := expectation{algorithm: crc64NVME}
	if u.md5 != "" {
		raw, err := base64.StdEncoding.DecodeString(u.md5)
		if err != nil || len(raw) != md5.Size {
			return e, fault(http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified was invalid.", "Content-MD5", u.md5)
		}
		e.md5 = raw
	}
	for i, v := range u.sums {
		if v == "" {
			continue
		}
		if e.claimed {
			return e, errInvalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		a := algorithms[i]
		if _, ok := decodeSum(a, v); !ok {
			return e, errInvalidRequest("Value for " + a.header() + " header is invalid.")
		}
		e.algorithm, e.value, e.claimed = a, v, true
	}
	if call.Request != nil {
		for _, a := range unsupportedAlgorithms {
			if call.Request.Header.Get(a.header()) != "" {
				return e, errHeader(a.header(), "Davy does not compute "+string(a)+".")
			}
		}
		if t := call.Request.Header.Get("X-Amz-Trailer"); t != "" {
			a, err := trailerAlgorithm(t)
			if err != nil {
				return e, err
			}
			if e.claimed {
				return e, errInvalidRequest("Expecting a single x-amz-checksum- header")
			}
			e.algorithm, e.claimed = a, true
		}
	}
	if declared := algorithm(strings.ToUpper(u.declared)); declared != "" {
		switch {
		case !declared.known():
			return e, errInvalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
		case !e.claimed && u.md5 == "":
			return e, errInvalidRequest("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
		case e.claimed && declared != e.algorithm:
			return e, errInvalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
		}
	}
	return e, nil
}

// trailerAlgorithm reads X-Amz-Trailer, which names the trailing header.
func trailerAlgorithm(names string) (algorithm, error) {
	for _, a := range algorithms {
		if strings.EqualFold(strings.TrimSpace(names), a.header()) {
			return a, nil
		}
	}
	for _, a := range unsupportedAlgorithms {
		if strings.EqualFold(strings.TrimSpace(names), a.header()) {
			return "", errHeader("x-amz-trailer", "Davy does not compute "+string(a)+".")
		}
	}
	return "", errInvalidRequest("The value specified in the x-amz-trailer header is not supported")
}

// verify compares the claims with what was read.
func (e *expectation) verify(call *awsapi.Call, sum []byte, d *digester, u upload) error {
	if e.md5 != nil && string(e.md5) != string(sum) {
		return fault(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.",
			"ExpectedDigest", u.md5, "CalculatedDigest", base64.StdEncoding.EncodeToString(sum))
	}
	if !e.claimed {
		return nil
	}
	if e.value == "" {
		e.value = call.Request.Trailer.Get(e.algorithm.header())
		if _, ok := decodeSum(e.algorithm, e.value); !ok {
			return errInvalidRequest("Value for " + e.algorithm.header() + " trailing header is invalid.")
		}
	}
	if e.value != encodeSum(d.sum) {
		return fault(http.StatusBadRequest, "BadDigest",
			"The "+string(e.algorithm)+" you specified did not match the calculated checksum.")
	}
	return nil
}

// etagOf is the ETag of a body that was uploaded in one piece.
func etagOf(sum []byte) string { return hex.EncodeToString(sum) }
