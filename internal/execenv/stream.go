package execenv

import (
	"fmt"
	"time"
)

// MaxStreamed is the longest response in bytes that a function can stream.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
const MaxStreamed = 200 << 20

// response puts together what a function writes in parts: for the caller at
// once, or for its answer when the caller does not listen to parts.
type response struct {
	inv      Invocation
	size     int64
	streamed int64     // of it, passed to the caller
	began    time.Time // with the first part; zero: there was none
	buffered []byte
	deaf     bool // the caller is gone
}

func (r *response) limit() int64 {
	if r.inv.Stream != nil {
		return MaxStreamed
	}
	return MaxResponse
}

// add takes a part. It reports false when the response has become too large.
func (r *response) add(part []byte, deadline time.Time) bool {
	if r.size == 0 {
		r.began = time.Now()
	}
	r.size += int64(len(part))
	switch {
	case r.size > r.limit():
		return false
	case r.inv.Stream == nil:
		r.buffered = append(r.buffered, part...)
	case !r.deaf:
		r.streamed += int64(len(part))
		r.deaf = r.inv.Stream(part, deadline) != nil
	}
	return true
}

func (r *response) tooLarge() errorPayload {
	return errorPayload{
		errorTooLarge,
		fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", r.limit()),
	}
}
