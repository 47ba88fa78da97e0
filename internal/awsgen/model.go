package main

import (
	"archive/zip"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
)

// model is a C2J service description. Only what Davy uses is decoded, so
// documentation never enters the program.
type model struct {
	Metadata struct {
		APIVersion     string `json:"apiVersion"`
		EndpointPrefix string `json:"endpointPrefix"`
		JSONVersion    string `json:"jsonVersion"`
		Protocol       string `json:"protocol"`
		ServiceID      string `json:"serviceId"`
		SigningName    string `json:"signingName"`
		TargetPrefix   string `json:"targetPrefix"`
		XMLNamespace   string `json:"xmlNamespace"`
	} `json:"metadata"`
	Operations map[string]*operation `json:"operations"`
	Shapes     map[string]*shape     `json:"shapes"`

	overlay overlay
}

type operation struct {
	Name string `json:"name"`
	HTTP struct {
		Method       string `json:"method"`
		RequestURI   string `json:"requestUri"`
		ResponseCode int    `json:"responseCode"`
	} `json:"http"`
	Input      *ref   `json:"input"`
	Output     *ref   `json:"output"`
	Errors     []ref  `json:"errors"`
	Deprecated bool   `json:"deprecated"`
	AuthType   string `json:"authtype"`
	Endpoint   struct {
		HostPrefix string `json:"hostPrefix"`
	} `json:"endpoint"`
}

// ref is a use of a shape: a member, an element, an input or an output.
type ref struct {
	Shape         string        `json:"shape"`
	LocationName  string        `json:"locationName"`
	Location      string        `json:"location"`
	XMLNamespace  *xmlNamespace `json:"xmlNamespace"`
	XMLAttribute  bool          `json:"xmlAttribute"`
	Flattened     bool          `json:"flattened"`
	Streaming     bool          `json:"streaming"`
	EventPayload  bool          `json:"eventpayload"`
	EventHeader   bool          `json:"eventheader"`
	Idempotency   bool          `json:"idempotencyToken"`
	ResultWrapper string        `json:"resultWrapper"`
	JSONValue     bool          `json:"jsonvalue"`
}

type xmlNamespace struct {
	Prefix string `json:"prefix"`
	URI    string `json:"uri"`
}

type shape struct {
	Type            string          `json:"type"`
	Members         map[string]*ref `json:"members"`
	Required        []string        `json:"required"`
	Member          *ref            `json:"member"`
	Key             *ref            `json:"key"`
	Value           *ref            `json:"value"`
	Enum            []string        `json:"enum"`
	Min             *float64        `json:"min"`
	Max             *float64        `json:"max"`
	Pattern         string          `json:"pattern"`
	Sensitive       bool            `json:"sensitive"`
	Flattened       bool            `json:"flattened"`
	Streaming       bool            `json:"streaming"`
	Payload         string          `json:"payload"`
	LocationName    string          `json:"locationName"`
	XMLNamespace    *xmlNamespace   `json:"xmlNamespace"`
	TimestampFormat string          `json:"timestampFormat"`
	Union           bool            `json:"union"`
	Document        bool            `json:"document"`
	EventStream     bool            `json:"eventstream"`
	Event           bool            `json:"event"`
	Exception       bool            `json:"exception"`
	Fault           bool            `json:"fault"`
	Error           struct {
		Code           string `json:"code"`
		HTTPStatusCode int    `json:"httpStatusCode"`
		SenderFault    bool   `json:"senderFault"`
	} `json:"error"`

	order []string // member names, sorted
}

// overlay corrects a model: Merge is merged over it, as botocore does with its
// own extras; Patterns rewrites what RE2 cannot say; Roots names XML root
// elements that C2J does not carry.
type overlay struct {
	Merge    map[string]any     `json:"merge"`
	Patterns map[string]pattern `json:"patterns"`
	Roots    map[string]string  `json:"roots"`
	MaxBody  map[string]int64   `json:"maxBody"` // by operation; "" is the service's
	Open     []string           `json:"open"`    // enumerations whose values the service judges
	Enums    map[string]enum    `json:"enums"`
	// PatternTexts says, by pattern, what a service answers instead of showing
	// the pattern; %s is the member.
	PatternTexts map[string]string `json:"patternTexts"`
}

// enum is an error of its own for values that an enumeration does not have.
type enum struct {
	Code string `json:"code"`
	Note string `json:"note"`
}

// pattern replaces a model's pattern: a value matches if Accept matches the
// whole of it and Reject does not.
type pattern struct {
	Model  string `json:"model"` // the pattern replaced, so that a change is noticed
	Accept string `json:"accept"`
	Reject string `json:"reject"`
}

// loadModel reads the newest version of a service and merges extras and overlay.
func loadModel(z *zip.Reader, overlays embed.FS, folder string) (*model, error) {
	root := path.Join("botocore/data", folder)
	entries, err := fs.ReadDir(z, root)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("no version in %s", root)
	}
	dir := path.Join(root, entries[len(entries)-1].Name()) // sorted by name, which is a date
	tree, err := readJSON(z, path.Join(dir, "service-2.json"))
	if err != nil {
		return nil, err
	}
	extras, err := readJSON(z, path.Join(dir, "service-2.sdk-extras.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if patch, ok := extras["merge"].(map[string]any); ok {
		merge(tree, patch)
	}
	var o overlay
	text, err := overlays.ReadFile("overlay/" + folder + ".json")
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &o); err != nil {
			return nil, fmt.Errorf("overlay: %w", err)
		}
	}
	merge(tree, o.Merge)
	text, err = json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	m := &model{overlay: o}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, err
	}
	return m, m.check()
}

func readJSON(z *zip.Reader, name string) (map[string]any, error) {
	f, err := z.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = z.Open(name + ".gz")
		if err != nil {
			return nil, err
		}
		defer f.Close()
		g, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return decode(g, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decode(f, name)
}

func decode(r io.Reader, name string) (map[string]any, error) {
	var tree map[string]any
	if err := json.NewDecoder(r).Decode(&tree); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return tree, nil
}

// merge lays patch over tree; maps are merged, anything else is replaced.
func merge(tree, patch map[string]any) {
	for k, v := range patch {
		sub, ok := v.(map[string]any)
		old, isMap := tree[k].(map[string]any)
		if ok && isMap {
			merge(old, sub)
			continue
		}
		tree[k] = v
	}
}

// check fails on what the generator and the runtime do not know.
func (m *model) check() error {
	for name, s := range m.Shapes {
		switch s.Type {
		case "structure", "list", "map", "string", "integer", "long", "float", "double", "boolean", "blob", "timestamp":
		default:
			return fmt.Errorf("shape %s: unknown type %q", name, s.Type)
		}
		if s.Document {
			return fmt.Errorf("shape %s: document types are not supported", name)
		}
		for member, r := range s.Members {
			switch r.Location {
			case "", "uri", "querystring", "header", "headers", "statusCode":
			default:
				return fmt.Errorf("%s.%s: unknown location %q", name, member, r.Location)
			}
			if r.JSONValue {
				return fmt.Errorf("%s.%s: jsonvalue is not supported", name, member)
			}
			s.order = append(s.order, member)
		}
		sort.Strings(s.order)
		for _, r := range m.refs(s) {
			if m.Shapes[r.Shape] == nil {
				return fmt.Errorf("shape %s refers to unknown shape %q", name, r.Shape)
			}
		}
	}
	for name := range m.overlay.Patterns {
		if s := m.Shapes[name]; s == nil || s.Pattern != m.overlay.Patterns[name].Model {
			return fmt.Errorf("overlay pattern %s does not replace the model's pattern", name)
		}
	}
	for name := range m.overlay.Roots {
		if m.Shapes[name] == nil {
			return fmt.Errorf("overlay root names unknown shape %s", name)
		}
	}
	for name := range m.overlay.MaxBody {
		if name != "" && m.Operations[name] == nil {
			return fmt.Errorf("overlay maxBody names unknown operation %s", name)
		}
	}
	for _, name := range append(sortedKeys(m.overlay.Enums), m.overlay.Open...) {
		if s := m.Shapes[name]; s == nil || len(s.Enum) == 0 {
			return fmt.Errorf("overlay names %s, which is no enumeration", name)
		}
	}
	return nil
}

// refs lists the shapes that s is made of.
func (m *model) refs(s *shape) []*ref {
	var refs []*ref
	for _, name := range s.order {
		refs = append(refs, s.Members[name])
	}
	for _, r := range []*ref{s.Member, s.Key, s.Value} {
		if r != nil {
			refs = append(refs, r)
		}
	}
	return refs
}

// secret tells whether a value of the named shape may hold a sensitive one.
func (m *model) secret(name string, seen map[string]bool) bool {
	if seen[name] {
		return false
	}
	seen[name] = true
	s := m.Shapes[name]
	return s.Sensitive || slices.ContainsFunc(m.refs(s), func(r *ref) bool { return m.secret(r.Shape, seen) })
}

// goName exports a model's name.
func goName(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
