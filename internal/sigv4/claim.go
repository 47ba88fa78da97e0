package sigv4

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Parameters of query authentication.
const (
	queryAlgorithm     = "X-Amz-Algorithm"
	queryCredential    = "X-Amz-Credential"
	queryDate          = "X-Amz-Date"
	queryExpires       = "X-Amz-Expires"
	querySignedHeaders = "X-Amz-SignedHeaders"
	querySignature     = "X-Amz-Signature"
	queryToken         = "X-Amz-Security-Token"
	queryPayload       = "X-Amz-Content-Sha256"
)

// Kind is how a request says who it is from.
type Kind int

// The kinds.
const (
	Anonymous   Kind = iota // no signature at all
	Header                  // Authorization: AWS4-HMAC-SHA256 ...
	Presigned               // X-Amz-Signature in the query
	Unsupported             // another scheme: Signature Version 2, SigV4a, Basic, ...
)

// Hint is what a request claims, nothing of it verified.
type Hint struct {
	Kind        Kind
	AccessKeyID string
	Scope       Scope // zero where it cannot be read
}

// Peek tells what a request claims, so that its service can be chosen before
// the signature is verified. It never fails; Verify has the errors.
func Peek(r *http.Request) Hint {
	authorization := r.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(authorization, algorithm+" "):
		h := Hint{Kind: Header}
		if _, after, ok := strings.Cut(authorization, "Credential="); ok {
			if i := strings.IndexAny(after, ", "); i >= 0 {
				after = after[:i]
			}
			h.AccessKeyID, h.Scope, _, _ = parseCredential(after)
		}
		return h
	case authorization != "":
		return Hint{Kind: Unsupported}
	}
	_, raw := rawTarget(r)
	if !strings.Contains(raw, "Signature") && !strings.Contains(raw, "X-Amz-") {
		return Hint{}
	}
	var h Hint
	for _, p := range parseQuery(raw) {
		switch p.key {
		case queryAlgorithm:
			if h.Kind = Presigned; p.value != algorithm {
				h.Kind = Unsupported
			}
		case querySignature, querySignedHeaders:
			if h.Kind == Anonymous {
				h.Kind = Presigned
			}
		case queryCredential:
			if h.Kind == Anonymous {
				h.Kind = Presigned
			}
			h.AccessKeyID, h.Scope, _, _ = parseCredential(p.value)
		case "Signature", "SignatureVersion":
			if h.Kind == Anonymous {
				h.Kind = Unsupported
			}
		}
	}
	return h
}

// parseCredential reads KEY/DATE/REGION/SERVICE/TERMINATOR.
func parseCredential(s string) (key string, scope Scope, term string, ok bool) {
	parts := strings.SplitN(s, "/", 6)
	if len(parts) != 5 {
		return "", Scope{}, "", false
	}
	return parts[0], Scope{Date: parts[1], Region: parts[2], Service: parts[3]}, parts[4], true
}

// claim is a signature with all that it says of itself.
type claim struct {
	family        Family
	presigned     bool
	accessKeyID   string
	scope         Scope
	terminator    string
	signedHeaders []string
	signature     string
	token         string
	at            time.Time
	dateHeader    string // the header that gave the time; empty when presigned
	expires       time.Duration
}

func (c *claim) signs(name string) bool {
	for _, h := range c.signedHeaders {
		if h == name {
			return true
		}
	}
	return false
}

// headerClaim reads an Authorization header.
func headerClaim(r *http.Request, f Family) (*claim, *Error) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return nil, f.malformed(false, "only one Authorization header is allowed", "Only one Authorization header is allowed.")
	}
	value := values[0]
	c := &claim{family: f}
	parts := make(map[string]string, 3)
	for item := range strings.SplitSeq(strings.TrimPrefix(value, algorithm), ",") {
		k, v, ok := strings.Cut(strings.Trim(item, " "), "=")
		if !ok {
			return nil, f.malformed(false,
				"the authorization header requires three components: Credential, SignedHeaders, and Signature.",
				"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '"+hashed(value)+"'.")
		}
		if _, twice := parts[k]; twice {
			return nil, f.malformed(false, "the component "+strconv.Quote(k)+" was given twice.", "Authorization header has '"+k+"' twice.")
		}
		parts[k] = v
	}
	var missing string
	for _, k := range []string{"Credential", "Signature", "SignedHeaders"} {
		if parts[k] == "" {
			missing += "Authorization header requires '" + k + "' parameter. "
		}
	}
	if missing == "" && len(parts) != 3 {
		missing = "Authorization header has an unknown parameter. "
	}
	if missing != "" {
		return nil, f.malformed(false,
			"the authorization header requires three components: Credential, SignedHeaders, and Signature.",
			missing+"(Hashed with SHA-256 and encoded with Base64) Authorization="+hashed(value))
	}
	if err := c.setCredential(parts["Credential"]); err != nil {
		return nil, err
	}
	c.signedHeaders = strings.Split(parts["SignedHeaders"], ";")
	c.signature = parts["Signature"]

	for _, name := range []string{"X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "Date"} {
		if len(r.Header[name]) > 1 {
			return nil, f.malformed(false, "only one "+name+" header is allowed", "Only one "+name+" header is allowed.")
		}
	}
	c.token = r.Header.Get("X-Amz-Security-Token")
	return c, c.setTime(r, value)
}

// setTime takes the time of a header claim from X-Amz-Date or else from Date.
func (c *claim) setTime(r *http.Request, authorization string) *Error {
	var err error
	if s := r.Header.Get("X-Amz-Date"); s != "" {
		c.dateHeader = "x-amz-date"
		c.at, err = time.Parse(timeFormat, s)
	} else if s := r.Header.Get("Date"); s != "" {
		c.dateHeader = "date"
		if c.at, err = http.ParseTime(s); err != nil {
			c.at, err = time.Parse(timeFormat, s)
		}
		c.at = c.at.UTC()
	}
	if c.dateHeader != "" && err == nil {
		return nil
	}
	if c.family == S3 {
		return s3Error(http.StatusForbidden, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
	}
	if c.dateHeader == "" {
		return c.family.malformed(false, "", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "+
			"(Hashed with SHA-256 and encoded with Base64) Authorization="+hashed(authorization))
	}
	return c.family.malformed(false, "", "Date must be in ISO-8601 'basic format'. Got '"+r.Header.Get(c.dateHeader)+"'. See http://en.wikipedia.org/wiki/ISO_8601")
}

func (c *claim) setCredential(s string) *Error {
	var ok bool
	c.accessKeyID, c.scope, c.terminator, ok = parseCredential(s)
	if ok && c.accessKeyID != "" && len(c.accessKeyID) <= 128 && isDate(c.scope.Date) && isRegion(c.scope.Region) {
		return nil
	}
	const want = `expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`
	s3Message := "the Credential is mal-formed; " + want
	if c.presigned {
		s3Message = "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; " + want
	}
	return c.family.malformed(c.presigned, s3Message,
		"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '"+s+"'")
}

func isDate(s string) bool {
	_, err := time.Parse(dateFormat, s)
	return err == nil
}

// isRegion accepts every name that an ARN can carry.
func isRegion(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// queryClaim reads a presigned request's parameters.
func queryClaim(query []pair, f Family) (*claim, *Error) {
	c := &claim{family: f, presigned: true}
	got := make(map[string]string, 8)
	for _, p := range query {
		switch p.key {
		case queryAlgorithm, queryCredential, queryDate, queryExpires, querySignedHeaders, querySignature, queryToken, queryPayload:
			if _, twice := got[p.key]; twice {
				return nil, f.malformed(true, p.key+" should be given only once.", "AWS query-string parameters must be given only once: '"+p.key+"'.")
			}
			got[p.key] = p.value
		}
	}
	var missing string
	for _, k := range []string{queryAlgorithm, queryCredential, querySignature, querySignedHeaders, queryDate, queryExpires} {
		if got[k] == "" && (k != queryExpires || f == S3) {
			missing += "AWS query-string parameters must include '" + k + "'. "
		}
	}
	if missing != "" {
		return nil, f.malformed(true, "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "+
			"X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
			missing+"Re-examine the query-string parameters.")
	}
	if err := c.setCredential(got[queryCredential]); err != nil {
		return nil, err
	}
	var err error
	if c.at, err = time.Parse(timeFormat, got[queryDate]); err != nil {
		return nil, f.malformed(true, `X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`,
			"Date must be in ISO-8601 'basic format'. Got '"+got[queryDate]+"'. See http://en.wikipedia.org/wiki/ISO_8601")
	}
	c.expires = DefaultSkew // services other than S3 do not insist on X-Amz-Expires
	if s, ok := got[queryExpires]; ok {
		n, err := strconv.ParseInt(s, 10, 64)
		text := ""
		switch {
		case err != nil || s[0] == '+':
			text = "X-Amz-Expires should be a number"
		case n < 0:
			text = "X-Amz-Expires must be non-negative"
		case n > int64(MaxExpires/time.Second):
			text = "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
		}
		if text != "" {
			return nil, f.malformed(true, text, text)
		}
		c.expires = time.Duration(n) * time.Second
	}
	c.signedHeaders = strings.Split(got[querySignedHeaders], ";")
	c.signature = got[querySignature]
	c.token = got[queryToken]
	return c, nil
}
