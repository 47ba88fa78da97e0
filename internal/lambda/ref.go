package lambda

import (
	"context"
	"strings"

	"davy/internal/awsapi"
)

// Latest is the qualifier of the unpublished version.
const Latest = "$LATEST"

// key names a function.
type key struct{ account, region, name string }

func (k key) arn() string {
	return "arn:aws:lambda:" + k.region + ":" + k.account + ":function:" + k.name
}

// qualified is the ARN with a qualifier, or without if it is empty.
func (k key) qualified(qualifier string) string {
	if qualifier == "" {
		return k.arn()
	}
	return k.arn() + ":" + qualifier
}

// ref is what a caller wrote to name a function: a name, a partial or a full
// ARN, each with or without a qualifier. What was left out is empty.
type ref struct{ region, account, name, qualifier string }

// maxRef bounds a reference: the longest that the model accepts.
const maxRef = 256

// parseRef reads a function reference. It allocates nothing.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
func parseRef(s string) (ref, bool) {
	var r ref
	if s == "" || len(s) > maxRef {
		return r, false
	}
	rest := s
	if strings.HasPrefix(s, "arn:") {
		partition, after, ok := strings.Cut(s[len("arn:"):], ":lambda:")
		if !ok || !strings.HasPrefix(partition, "aws") || !all(partition, isNameByte) {
			return r, false
		}
		if r.region, rest, ok = strings.Cut(after, ":"); !ok || r.region == "" || !all(r.region, isNameByte) {
			return r, false
		}
		if r.account, rest, ok = strings.Cut(rest, ":"); !ok || !isAccount(r.account) {
			return r, false
		}
		if rest, ok = strings.CutPrefix(rest, "function:"); !ok {
			return r, false
		}
	} else {
		if head, after, ok := strings.Cut(rest, ":"); ok && isAccount(head) {
			r.account, rest = head, after
		}
		rest = strings.TrimPrefix(rest, "function:")
	}
	var qualified bool
	if r.name, r.qualifier, qualified = strings.Cut(rest, ":"); !isName(r.name) {
		return r, false
	}
	return r, !qualified || isQualifier(r.qualifier)
}

func isAccount(s string) bool {
	return len(s) == 12 && all(s, func(c byte) bool { return '0' <= c && c <= '9' })
}

// isName also accepts the lengths that AWS refuses with an error of its own.
func isName(s string) bool { return s != "" && all(s, isNameByte) }

func isQualifier(s string) bool {
	return s == Latest || s != "" && len(s) <= 128 && all(s, isNameByte)
}

// isVersion tells a version's number from an alias: aliases are never digits
// only.
func isVersion(qualifier string) bool {
	return qualifier != "" && all(qualifier, func(c byte) bool { return '0' <= c && c <= '9' })
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

const namePattern = `(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?`

// locate finds what a reference and an optional qualifier name, seen from an
// account and a region. The qualifier is empty when none was given.
func locate(account, region, nameOrARN, qualifier string) (key, string, error) {
	r, ok := parseRef(nameOrARN)
	if !ok {
		return key{}, "", constraint(nameOrARN, "functionName", "Member must satisfy regular expression pattern: "+namePattern)
	}
	if len(r.name) > 64 {
		return key{}, "", constraint(nameOrARN, "functionName", "Member must have length less than or equal to 64")
	}
	if r.region != "" && r.region != region {
		return key{}, "", notFound("Functions from '%s' are not reachable in this region ('%s')", r.region, region)
	}
	if r.account != "" {
		account = r.account
	}
	switch {
	case qualifier == "":
		qualifier = r.qualifier
	case !isQualifier(qualifier):
		return key{}, "", constraint(qualifier, "qualifier", `Member must satisfy regular expression pattern: (|[a-zA-Z0-9$_-]+)`)
	case r.qualifier != "" && r.qualifier != qualifier:
		return key{}, "", invalid("The derived qualifier from the function name does not match the specified qualifier.")
	}
	return key{account: account, region: region, name: r.name}, qualifier, nil
}

// locate is the function that an operation's input names.
func (s *Service) locate(ctx context.Context, nameOrARN, qualifier *string) (key, string, error) {
	call := awsapi.CallFrom(ctx)
	return locate(call.Account, call.Region, awsapi.Val(nameOrARN), awsapi.Val(qualifier))
}
