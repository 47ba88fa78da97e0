package awsapi

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// matchAction finds the operation of an awsQuery request: Action and Version
// in the URL or in a form body.
func (s *Service) matchAction(r *http.Request, lim Limits) (*Match, error) {
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Errorf(http.StatusBadRequest, "MalformedQueryString", "The query string is not valid.")
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method == http.MethodPost && (media == "application/x-www-form-urlencoded" || media == "") {
		body, err := s.readBody(r, nil, s.limits(nil, lim).Body)
		if err != nil {
			return nil, err
		}
		fields, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, Errorf(http.StatusBadRequest, "MalformedInput", "The request body is not a valid form.")
		}
		for name, values := range fields {
			form[name] = append(form[name], values...)
		}
	}
	action, version := form.Get("Action"), form.Get("Version")
	if action == "" {
		return nil, Errorf(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action.")
	}
	if version == "" {
		version = "NO_VERSION_SPECIFIED"
	}
	op := s.index0().byName[action]
	if op == nil || version != s.Version {
		return nil, Errorf(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", printable(action), printable(version))
	}
	return &Match{Op: op, svc: s, form: form}, nil
}

// printable bounds and cleans a name that a client invented.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 128 {
		s = strings.ToValidUTF8(s[:128], "") + "..."
	}
	return s
}

// formNode is a form field with what its name continues with after a dot.
type formNode struct {
	value    *string
	children map[string]*formNode
}

var errForm = errors.New("malformed form field")

// formTree turns names such as Tags.member.1.Key into a tree.
func formTree(form url.Values, lim Limits) (*formNode, error) {
	if len(form) > lim.Elements {
		return nil, errElements
	}
	root := &formNode{}
	nodes := 0
	for name, values := range form {
		if strings.Count(name, ".") >= lim.Depth {
			return nil, errDepth
		}
		n := root
		for part := range strings.SplitSeq(name, ".") {
			next := n.children[part]
			if next == nil {
				if nodes++; nodes > lim.Elements {
					return nil, errElements
				}
				next = &formNode{}
				if n.children == nil {
					n.children = map[string]*formNode{}
				}
				n.children[part] = next
			}
			n = next
		}
		n.value = &values[0]
	}
	return root, nil
}

func (s *Service) decodeForm(form url.Values, v reflect.Value, lim Limits) error {
	root, err := formTree(form, lim)
	if err == nil {
		err = s.formStruct(root, v)
	}
	if err != nil {
		return s.malformed(err)
	}
	return nil
}

func (s *Service) formStruct(n *formNode, v reflect.Value) error {
	for _, f := range s.planOf(v.Type()).fields {
		child := n.children[f.wire]
		if child == nil {
			continue
		}
		if err := s.formValue(child, v.Field(f.index), f.shape, f.flat); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) formValue(n *formNode, v reflect.Value, sh *Shape, flat bool) error {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case isScalar(t):
		if n.value == nil {
			return errForm
		}
		return setScalar(alloc(v), *n.value, timestampOf(sh, iso8601))
	case t.Kind() == reflect.Slice:
		return s.formList(n, v, sh, flat)
	case t.Kind() == reflect.Map:
		return s.formMap(n, v, sh, flat)
	}
	return s.formStruct(n, alloc(v))
}

// items returns the numbered children of n in order.
func (n *formNode) items() ([]*formNode, error) {
	type item struct {
		index int
		node  *formNode
	}
	var items []item
	for name, child := range n.children {
		i, err := strconv.ParseUint(name, 10, 31)
		if err != nil || name[0] == '+' {
			return nil, errForm
		}
		items = append(items, item{int(i), child})
	}
	slices.SortFunc(items, func(a, b item) int { return a.index - b.index })
	nodes := make([]*formNode, len(items))
	for i, it := range items {
		nodes[i] = it.node
	}
	return nodes, nil
}

func (s *Service) formList(n *formNode, v reflect.Value, sh *Shape, flat bool) error {
	if !flat {
		name := memberName(sh)
		if n.children != nil && n.children[name] == nil {
			return errForm
		}
		if n = n.children[name]; n == nil {
			n = &formNode{} // "List=": present and empty
		}
	}
	items, err := n.items()
	if err != nil {
		return err
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := s.formValue(item, list.Index(i), s.element(sh), false); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (s *Service) formMap(n *formNode, v reflect.Value, sh *Shape, flat bool) error {
	if !flat {
		if n = n.children["entry"]; n == nil {
			n = &formNode{}
		}
	}
	items, err := n.items()
	if err != nil {
		return err
	}
	keyName, valueName := entryNames(sh)
	m := reflect.MakeMapWithSize(v.Type(), len(items))
	for _, item := range items {
		key := item.children[keyName]
		value := item.children[valueName]
		if key == nil || key.value == nil || value == nil {
			return errForm
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := s.formValue(value, e, s.element(sh), false); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(*key.value).Convert(v.Type().Key()), e)
	}
	v.Set(m)
	return nil
}
