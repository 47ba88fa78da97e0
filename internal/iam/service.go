package iam

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"davy/api/iamapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
	"davy/internal/state"
)

// Config of a Service.
type Config struct {
	Store state.Store      // required
	Clock func() time.Time // nil means the wall clock
	HTTP  *http.Client     // asks identity providers; nil means one with limits
}

// Service is the directory and the IAM API on it; STS returns the STS API.
// Safe for concurrent use. Bootstrap must have succeeded before anything else
// is called.
type Service struct {
	iamapi.Unimplemented

	store    state.Store
	root     string // what its keys in the store start with
	peers    *Accounts
	clock    func() time.Time
	aws      map[string]*managed
	mu       sync.Mutex // held by the one that changes the directory
	snap     atomic.Pointer[snapshot]
	sessions sessionCache
	used     sync.Map   // access key or role id → lastUsed
	hashing  sync.Mutex // held while a password is hashed
	report   atomic.Pointer[credentialReport]

	iterations int // of the hash of a new password
}

var _ iamapi.API = (*Service)(nil)

// New reads the directory of the first account from the store.
func New(ctx context.Context, cfg Config) (*Service, error) {
	a, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return a.first, nil
}

// newService reads the directory whose keys start with root.
func newService(ctx context.Context, peers *Accounts, root string) (*Service, error) {
	s := &Service{store: peers.store, root: root, peers: peers, clock: peers.clock, aws: peers.aws, iterations: passwordIterations}
	snap, err := load(ctx, peers, root)
	if err != nil {
		return nil, err
	}
	s.snap.Store(snap)
	return s, nil
}

// now is the present as IAM shows times: UTC, whole seconds.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Second) }

// awsPolicies are the policies that AWS provides, as AWS publishes them. Only
// the default version of each is there.
//
//go:embed awsmanaged/policies.json
var awsPolicies []byte

// awsManaged reads AWS's policies. They are compiled when first used.
func awsManaged() (map[string]*managed, error) {
	var list []struct {
		Name, Path, PolicyId, VersionId string
		CreateDate, UpdateDate          time.Time
		Document                        json.RawMessage
	}
	if err := json.Unmarshal(awsPolicies, &list); err != nil {
		return nil, fmt.Errorf("read AWS's policies: %w", err)
	}
	out := make(map[string]*managed, len(list))
	for _, e := range list {
		text := string(e.Document)
		if e.PolicyId == "" { // AWS does not publish it: any that stays the same will do
			sum := sha256.Sum256([]byte(e.Name))
			e.PolicyId = "ANPA" + base32Text.EncodeToString(sum[:])[:17]
		}
		p := &managed{
			Name: e.Name, Path: e.Path, ID: e.PolicyId, Created: e.CreateDate, Updated: e.UpdateDate, Default: e.VersionId, aws: true,
			arnText:  arn.New("iam", "", "aws", "policy"+e.Path+e.Name).String(),
			Versions: []version{{ID: e.VersionId, Document: text, Created: e.UpdateDate}},
			doc:      sync.OnceValues(func() (*policy.Document, error) { return policy.Parse(text, policy.Managed) }),
		}
		out[p.arnText] = p
	}
	return out, nil
}

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

// newID returns a unique id: the prefix that tells what it is of, and 17
// characters (85 bits) at random.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
func newID(prefix string) string {
	var b [11]byte
	rand.Read(b[:])
	return prefix + base32Text.EncodeToString(b[:])[:17]
}

// newAccessKeyID returns an access key id, which names its account as AWS's
// do: 40 bits after the first, and 39 at random.
func newAccessKeyID(prefix, account string) string {
	n, _ := strconv.ParseUint(account, 10, 64) // twelve digits
	var b [10]byte
	rand.Read(b[:])
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], 1<<63|n<<23)
	copy(b[:5], head[:5])
	b[5] = b[5]&0x7f | head[5]&0x80
	return prefix + base32Text.EncodeToString(b[:])
}

// accountOfKey returns the account that an access key id names; empty for one
// that was made otherwise.
func accountOfKey(accessKeyID string) string {
	if len(accessKeyID) != 20 {
		return ""
	}
	b, err := base32Text.DecodeString(accessKeyID[4:])
	if err != nil || b[0]&0x80 == 0 {
		return ""
	}
	return fmt.Sprintf("%012d", binary.BigEndian.Uint64(b)<<1>>24)
}

// newSecret returns a secret access key of 40 characters.
func newSecret() string {
	var b [30]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
}

func noSuchEntity(format string, args ...any) error {
	return &iamapi.NoSuchEntityException{Message: new(fmt.Sprintf(format, args...))}
}

func notFound(k kind, name string) error {
	if k == profileKind {
		return noSuchEntity("Instance Profile %s cannot be found.", name)
	}
	return noSuchEntity("The %s with name %s cannot be found.", k, name)
}

func alreadyExists(format string, args ...any) error {
	return &iamapi.EntityAlreadyExistsException{Message: new(fmt.Sprintf(format, args...))}
}

func deleteConflict(message string) error {
	return &iamapi.DeleteConflictException{Message: &message}
}

func limitExceeded(format string, args ...any) error {
	return &iamapi.LimitExceededException{Message: new(fmt.Sprintf(format, args...))}
}

func invalidInput(format string, args ...any) error {
	return &iamapi.InvalidInputException{Message: new(fmt.Sprintf(format, args...))}
}

func validationError(format string, args ...any) error {
	return awsapi.Errorf(http.StatusBadRequest, "ValidationError", format, args...)
}

// malformed maps what package policy refuses.
func malformed(err error) error {
	var m *policy.MalformedError
	if errors.As(err, &m) {
		return &iamapi.MalformedPolicyDocumentException{Message: &m.Reason}
	}
	return err
}

// title is a kind at the start of a sentence.
func (k kind) title() string { return strings.ToUpper(string(k[:1])) + string(k[1:]) }

// size counts a policy as its quota does: without white space.
func size(document string) int {
	n := 0
	for _, c := range document {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			n++
		}
	}
	return n
}

// encoded is a policy document as IAM returns it: percent-encoded after RFC
// 3986.
func encoded(document string) *string {
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, 2*len(document))
	for i := range len(document) {
		c := document[i]
		if '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '.' || c == '_' || c == '~' {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return new(string(b))
}

func pathOf(p *string) string {
	if p == nil {
		return "/"
	}
	return *p
}

// page cuts one page out of items, which are in the order of their names.
func page[T any](items []T, name func(T) string, marker *string, maxItems *int32) (out []T, truncated *bool, next *string, err error) {
	if marker != nil {
		raw, err := base64.RawURLEncoding.DecodeString(*marker)
		if err != nil {
			return nil, nil, nil, validationError("Invalid Marker.")
		}
		after := string(raw)
		items = items[sort.Search(len(items), func(i int) bool { return order(name(items[i]), after) > 0 }):]
	}
	n := 100
	if maxItems != nil {
		n = int(*maxItems)
	}
	if n < 1 || n > 1000 {
		return nil, nil, nil, validationError("1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and 1000", n)
	}
	if len(items) <= n {
		return items, new(false), nil, nil
	}
	return items[:n], new(true), new(base64.RawURLEncoding.EncodeToString([]byte(name(items[n-1])))), nil
}

// order compares names regardless of case, and then with it.
func order(a, b string) int {
	if c := strings.Compare(strings.ToLower(a), strings.ToLower(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

func itself(s string) string { return s }

func recordName(r *record) string { return r.Name }

// under returns the records whose path starts with prefix.
func under(records []*record, prefix *string) []*record {
	if awsapi.Val(prefix) == "" || *prefix == "/" {
		return records
	}
	return only(records, func(r *record) bool { return strings.HasPrefix(r.Path, *prefix) })
}

// only returns those of a shared list that are kept.
func only(records []*record, keep func(*record) bool) []*record {
	var out []*record
	for _, r := range records {
		if keep(r) {
			out = append(out, r)
		}
	}
	return out
}
