package awsapi

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
)

// index finds operations by what a request shows of them.
type index struct {
	byName map[string]*Operation
	routes map[string][]*route // REST: by method
	// subresources are the S3 query names that select an operation. One that
	// the operation found does not know must not be ignored: the client meant
	// another operation.
	subresources map[string]bool
}

// route is an operation's URI template, taken apart.
type route struct {
	op       *Operation
	segments []string          // literal, or "" for a label
	labels   []string          // label of each segment, "" for a literal
	greedy   string            // label of the rest of the path
	literals map[string]string // query that must be there
	query    []string          // required query members
	headers  []string          // required header members
	known    map[string]bool   // all query members
	shared   bool              // other operations have the same method and path
}

// Match is a request's operation, with what the route tells of its input.
type Match struct {
	Op *Operation

	svc    *Service
	labels map[string]string
	query  url.Values // REST
	form   url.Values // Query
}

func (s *Service) index0() *index {
	s.once.Do(func() {
		x := index{byName: map[string]*Operation{}, routes: map[string][]*route{}, subresources: map[string]bool{}}
		shape := map[string]int{}
		for _, op := range s.Operations {
			x.byName[op.Name] = op
			if s.Protocol == RESTJSON || s.Protocol == RESTXML {
				r := s.routeOf(op)
				x.routes[op.Method] = append(x.routes[op.Method], r)
				shape[r.form()]++
				for name := range r.literals {
					x.subresources[name] = true
				}
			}
		}
		for _, routes := range x.routes {
			for _, r := range routes {
				r.shared = shape[r.form()] > 1
				if r.hard() {
					for _, name := range r.query {
						x.subresources[name] = true
					}
				}
			}
		}
		s.index = x
	})
	return &s.index
}

func (s *Service) routeOf(op *Operation) *route {
	r := &route{op: op, literals: map[string]string{}, known: map[string]bool{}}
	path, query, _ := strings.Cut(op.URI, "?")
	for seg := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		label, isLabel := strings.CutPrefix(seg, "{")
		label = strings.TrimSuffix(label, "}")
		switch {
		case isLabel && strings.HasSuffix(label, "+"):
			r.greedy = strings.TrimSuffix(label, "+")
		case isLabel:
			r.segments, r.labels = append(r.segments, ""), append(r.labels, label)
		case seg != "":
			r.segments, r.labels = append(r.segments, seg), append(r.labels, "")
		}
	}
	for part := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(part, "="); name != "" {
			r.literals[name] = value
		}
	}
	for _, f := range s.planOf(op.Input).fields {
		switch f.loc {
		case inQuery:
			r.known[f.wire] = true
			if f.required {
				r.query = append(r.query, f.wire)
			}
		case inHeader:
			if f.required {
				r.headers = append(r.headers, f.header)
			}
		}
	}
	return r
}

// form is equal for routes that the path does not tell apart.
func (r *route) form() string {
	f := r.op.Method + " " + strings.Join(r.segments, "/")
	if r.greedy != "" {
		f += "+"
	}
	return f
}

// hard tells whether the required members are part of the route: only they
// make a request this operation and not one on the same path.
func (r *route) hard() bool { return r.shared && len(r.literals) == 0 }

// path matches segments, still escaped, and the raw rest behind them.
func (r *route) path(segments []string) bool {
	if r.greedy == "" && len(segments) != len(r.segments) || r.greedy != "" && len(segments) <= len(r.segments) {
		return false
	}
	for i, lit := range r.segments {
		if lit != "" && lit != segments[i] || segments[i] == "" {
			return false
		}
	}
	return true
}

// score ranks the routes that fit: more literal segments, more literal query,
// all required members there, more of them, not deprecated, named by x-id.
func (r *route) score(q url.Values, h http.Header) (int, bool) {
	for name, value := range r.literals {
		got, ok := q[name]
		if !ok || value != "" && (len(got) == 0 || got[0] != value) {
			return 0, false
		}
	}
	met := 0
	for _, name := range r.query {
		if _, ok := q[name]; ok {
			met++
		}
	}
	for _, name := range r.headers {
		if h.Get(name) != "" {
			met++
		}
	}
	all := met == len(r.query)+len(r.headers)
	if !all && r.hard() {
		return 0, false
	}
	score := len(r.literals) * 1000
	for _, lit := range r.segments {
		if lit != "" {
			score += 10000
		}
	}
	if all {
		score += 500 + met*10
	}
	if !r.op.Deprecated {
		score += 2
	}
	if q.Get("x-id") == r.op.Name {
		score++
	}
	return score + 1, true
}

// Match finds the operation of r. The bucket is the one that the host name
// gave, or empty if the path is complete. An awsQuery request names its
// operation in the body: Match reads that whole, within lim, and keeps it for
// Decode. So what checks the body, as a signature does, must wrap r.Body
// before. The error is what AWS answers for an unknown operation.
func (s *Service) Match(r *http.Request, bucket string, lim Limits) (*Match, error) {
	switch s.Protocol {
	case JSON:
		return s.matchTarget(r)
	case Query:
		return s.matchAction(r, lim)
	}
	path := r.URL.EscapedPath()
	if bucket != "" {
		path = "/" + url.PathEscape(bucket) + path
	}
	return s.MatchPath(r.Method, path, r.URL.RawQuery, r.Header)
}

func (s *Service) matchTarget(r *http.Request) (*Match, error) {
	target := r.Header.Get("X-Amz-Target")
	name, ok := strings.CutPrefix(target, s.TargetPrefix+".")
	op := s.index0().byName[name]
	if !ok || op == nil || r.Method != http.MethodPost {
		return nil, &ErrorResponse{Status: http.StatusBadRequest, Code: "UnknownOperationException"}
	}
	return &Match{Op: op, svc: s}, nil
}

// MatchPath finds the operation of a REST request. The path is escaped and
// complete; nothing in it is cleaned, so S3 keys keep their //, .. and %2F.
func (s *Service) MatchPath(method, path, rawQuery string, h http.Header) (*Match, error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, s.badURI()
	}
	full := strings.TrimPrefix(path, "/")
	segments := strings.Split(full, "/")
	short := segments
	if full == "" {
		short = nil
	} else if segments[len(segments)-1] == "" {
		short = segments[:len(segments)-1] // a trailing slash is tolerated
	}
	x := s.index0()
	var best *route
	top := 0
	for _, r := range x.routes[method] {
		if r.greedy != "" {
			// a key may be anything but empty
			if !r.path(segments) || len(segments) == len(r.segments)+1 && segments[len(segments)-1] == "" {
				continue
			}
		} else if !r.path(short) {
			continue
		}
		if n, ok := r.score(q, h); ok && n > top {
			best, top = r, n
		}
	}
	if best == nil {
		return nil, s.noRoute(method, len(short))
	}
	if s.Protocol == RESTXML {
		for name := range q {
			if _, lit := best.literals[name]; x.subresources[name] && !lit && !best.known[name] {
				return nil, s.noRoute(method, len(short))
			}
		}
	}
	m := &Match{Op: best.op, svc: s, query: q, labels: map[string]string{}}
	for i, label := range best.labels {
		if label == "" {
			continue
		}
		if m.labels[label], err = url.PathUnescape(segments[i]); err != nil {
			return nil, s.badURI()
		}
	}
	if best.greedy != "" {
		rest := strings.Join(segments[len(best.segments):], "/")
		if m.labels[best.greedy], err = url.PathUnescape(rest); err != nil {
			return nil, s.badURI()
		}
	}
	return m, nil
}

func (s *Service) badURI() error {
	if s.Protocol == RESTXML {
		return Errorf(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.")
	}
	return Errorf(http.StatusBadRequest, "SerializationException", "The request URI is not valid.")
}

func (s *Service) noRoute(method string, depth int) error {
	if s.Protocol != RESTXML {
		return &ErrorResponse{Status: http.StatusNotFound, Code: "UnknownOperationException"}
	}
	kind := "OBJECT"
	switch depth {
	case 0:
		kind = "SERVICE"
	case 1:
		kind = "BUCKET"
	}
	return &ErrorResponse{
		Status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed",
		Message: "The specified method is not allowed against this resource.",
		Fields:  map[string]string{"Method": method, "ResourceType": kind},
	}
}

// Label returns the decoded value of a path label, such as Bucket or Key. It
// serves what must be known before the input is decoded.
func (m *Match) Label(name string) string { return m.labels[name] }

// StreamsInput tells whether the request's body reaches the handler unread.
func (o *Operation) StreamsInput(s *Service) bool {
	p := s.planOf(o.Input).payload
	return p != nil && o.Input.Field(p.index).Type.Kind() == reflect.Interface
}
