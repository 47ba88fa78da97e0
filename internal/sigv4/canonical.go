package sigv4

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// rawTarget returns the path and the query of the request line, undecoded.
func rawTarget(r *http.Request) (path, query string) {
	target := r.RequestURI
	if target == "" { // a client's request
		target = r.URL.RequestURI()
	}
	// absolute-form, as sent to proxies: only the part after the host counts
	if i := strings.Index(target, "://"); i > 0 && target[0] != '/' {
		rest := target[i+3:]
		if j := strings.IndexAny(rest, "/?"); j >= 0 {
			target = rest[j:]
		} else {
			target = "/"
		}
	}
	path, query, _ = strings.Cut(target, "?")
	if path == "" {
		path = "/"
	}
	return path, query
}

// pair is a decoded query parameter.
type pair struct{ key, value string }

// parseQuery splits a raw query. An escape that is none stays as it is. A plus
// is a space, as the decoders of the services have it: were it taken
// literally here, %2B could be changed to + under the same signature.
func parseQuery(raw string) []pair {
	if raw == "" {
		return nil
	}
	pairs := make([]pair, 0, strings.Count(raw, "&")+1)
	for raw != "" {
		var item string
		item, raw, _ = strings.Cut(raw, "&")
		if item == "" {
			continue
		}
		k, v, _ := strings.Cut(item, "=")
		pairs = append(pairs, pair{unescape(k, true), unescape(v, true)})
	}
	return pairs
}

func unescape(s string, plus bool) string {
	if strings.IndexByte(s, '%') < 0 && (!plus || strings.IndexByte(s, '+') < 0) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		case s[i] == '+' && plus:
			b = append(b, ' ')
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}

// unreserved are the bytes that stand for themselves in a canonical request.
var unreserved = func() (t [256]bool) {
	for c := range t {
		b := byte(c)
		t[c] = '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '-' || b == '.' || b == '_' || b == '~'
	}
	return t
}()

// appendEscaped appends s percent-encoded, all but the unreserved characters
// and, where slash is set, slashes.
func appendEscaped(b []byte, s string, slash bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if unreserved[c] || slash && c == '/' {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// appendPath appends the canonical path. S3 takes keys as they are, encoded
// once; every other service removes dot segments and doubled slashes and
// encodes what came, escapes included, once more.
func appendPath(b []byte, raw string, s3 bool) []byte {
	if !s3 {
		return appendEscaped(b, cleanPath(raw), true)
	}
	for i := 0; ; i++ {
		segment, rest, more := strings.Cut(raw, "/")
		b = appendEscaped(b, unescape(segment, false), false)
		if !more {
			return b
		}
		b = append(b, '/')
		raw = rest
	}
}

func cleanPath(raw string) string {
	if !strings.Contains(raw, "//") && !strings.Contains(raw, "/.") {
		return raw
	}
	var out []string
	for segment := range strings.SplitSeq(raw, "/") {
		switch segment {
		case "", ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, segment)
		}
	}
	clean := "/" + strings.Join(out, "/")
	if len(out) > 0 && (strings.HasSuffix(raw, "/") || strings.HasSuffix(raw, "/.") || strings.HasSuffix(raw, "/..")) {
		clean += "/"
	}
	return clean
}

// appendQuery appends the canonical query: sorted by encoded name, then by
// encoded value. The parameter skip, and token where set, are left out.
func appendQuery(b []byte, pairs []pair, skip string, omitToken bool) []byte {
	if len(pairs) == 0 {
		return b
	}
	encoded := make([][2][]byte, 0, len(pairs))
	for _, p := range pairs {
		if p.key == skip || omitToken && p.key == queryToken {
			continue
		}
		encoded = append(encoded, [2][]byte{appendEscaped(nil, p.key, false), appendEscaped(nil, p.value, false)})
	}
	slices.SortFunc(encoded, func(x, y [2][]byte) int {
		if c := bytes.Compare(x[0], y[0]); c != 0 {
			return c
		}
		return bytes.Compare(x[1], y[1])
	})
	for i, kv := range encoded {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, kv[0]...), '='), kv[1]...)
	}
	return b
}

// appendHeader appends "name:value\n" for a signed header. net/http keeps the
// host and the framing headers outside of r.Header.
func appendHeader(b []byte, r *http.Request, name string) []byte {
	b = append(append(b, name...), ':')
	switch name {
	case "host":
		host := r.Host
		if host == "" && r.URL != nil {
			host = r.URL.Host
		}
		b = append(b, host...)
	case "content-length":
		if r.ContentLength >= 0 {
			b = strconv.AppendInt(b, r.ContentLength, 10)
		}
	case "transfer-encoding":
		b = append(b, strings.Join(r.TransferEncoding, ",")...)
	default:
		for i, v := range r.Header[http.CanonicalHeaderKey(name)] {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCollapsed(b, v)
		}
	}
	return append(b, '\n')
}

// appendCollapsed appends v without surrounding blanks and with each run of
// blanks inside made one.
func appendCollapsed(b []byte, v string) []byte {
	v = strings.Trim(v, " \t\r\n")
	if !strings.Contains(v, "  ") {
		return append(b, v...)
	}
	for i := range len(v) {
		if v[i] == ' ' && v[i-1] == ' ' {
			continue
		}
		b = append(b, v[i])
	}
	return b
}

// canonicalRequest appends the canonical request.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func canonicalRequest(b []byte, r *http.Request, s3 bool, query []pair, signedHeaders []string, payload string, omitToken bool) []byte {
	path, _ := rawTarget(r)
	b = append(append(b, r.Method...), '\n')
	b = append(appendPath(b, path, s3), '\n')
	b = append(appendQuery(b, query, querySignature, omitToken), '\n')
	for _, name := range signedHeaders {
		b = appendHeader(b, r, name)
	}
	b = append(b, '\n')
	for i, name := range signedHeaders {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	return append(append(b, '\n'), payload...)
}
