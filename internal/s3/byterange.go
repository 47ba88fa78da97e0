package s3

import (
	"net/http"
	"strconv"
	"strings"
)

// byteRange is [from, from+n).
type byteRange struct{ from, n int64 }

// parseRange reads a Range header for an object of this size. ok is false when
// S3 ignores the header: it is malformed or names several ranges.
// https://www.rfc-editor.org/rfc/rfc9110#name-range
func parseRange(header string, size int64) (r byteRange, ok bool, err error) {
	spec, found := strings.CutPrefix(header, "bytes=")
	if !found || strings.Contains(spec, ",") {
		return byteRange{}, false, nil
	}
	first, last, found := strings.Cut(strings.TrimSpace(spec), "-")
	if !found {
		return byteRange{}, false, nil
	}
	unsatisfiable := fault(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable",
		"RangeRequested", header, "ActualObjectSize", strconv.FormatInt(size, 10))
	if first == "" {
		n, valid := position(last)
		if !valid {
			return byteRange{}, false, nil
		}
		if n == 0 || size == 0 {
			return byteRange{}, false, unsatisfiable
		}
		n = min(n, size)
		return byteRange{size - n, n}, true, nil
	}
	from, valid := position(first)
	if !valid {
		return byteRange{}, false, nil
	}
	to := size - 1
	if last != "" {
		if to, valid = position(last); !valid || to < from {
			return byteRange{}, false, nil
		}
	}
	if from >= size {
		return byteRange{}, false, unsatisfiable
	}
	return byteRange{from, min(to, size-1) - from + 1}, true, nil
}

// position reads a byte position; a larger one than 2^63-1 is that.
func position(s string) (int64, bool) {
	if s == "" || strings.TrimLeft(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true
	}
	return n, true
}

// contentRange is the response's header.
func (r byteRange) contentRange(size int64) string {
	return "bytes " + strconv.FormatInt(r.from, 10) + "-" + strconv.FormatInt(r.from+r.n-1, 10) + "/" + strconv.FormatInt(size, 10)
}

// parseCopyRange reads x-amz-copy-source-range, which must lie inside the
// source.
func parseCopyRange(header string, size int64) (byteRange, error) {
	bad := errInvalidArgument("x-amz-copy-source-range", header,
		"The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	spec, found := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	from, ok1 := position(first)
	to, ok2 := position(last)
	if !found || !dash || !ok1 || !ok2 || to < from {
		return byteRange{}, bad
	}
	if to >= size {
		return byteRange{}, errInvalidArgument("x-amz-copy-source-range", header, "Range specified is not valid for source object of size: "+strconv.FormatInt(size, 10))
	}
	return byteRange{from, to - from + 1}, nil
}
